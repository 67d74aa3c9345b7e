//! A state in 256 bits, the same for all states that differ in names only.
//!
//! Four symmetries are taken out: the names of tokens, those of V's values, the two callers of a process,
//! and the two processes. Renaming is left out where a name means something: [`Symmetry`].

use crate::state::{
    Age, At, Caller, Entry, Late, Phase, Process, Server, Stamp, State, Task, Token, Writer, Writing,
};

/// A state as it is kept.
pub type Packed = [u64; 4];

/// Which names carry no meaning.
#[derive(Clone, Copy, Debug)]
pub struct Symmetry {
    /// Tokens, and with them the processes.
    pub tokens: bool,
    /// V's values.
    pub stamps: bool,
}

/// The form to keep of `state`.
pub fn pack(state: &State, symmetry: Symmetry) -> Packed {
    let mut state = *state;
    for process in &mut state.processes {
        if caller_bits(&process.callers[0]) > caller_bits(&process.callers[1]) {
            process.callers.swap(0, 1);
        }
    }
    if !symmetry.tokens {
        return named(state, symmetry);
    }
    let shapes = [0, 1].map(|at| shape(&state.server, &state.processes[at]));
    match shapes[0].cmp(&shapes[1]) {
        std::cmp::Ordering::Less => named(state, symmetry),
        std::cmp::Ordering::Greater => {
            state.processes.swap(0, 1);
            named(state, symmetry)
        }
        std::cmp::Ordering::Equal => {
            let mut swapped = state;
            swapped.processes.swap(0, 1);
            named(state, symmetry).min(named(swapped, symmetry))
        }
    }
}

/// A process without its names: which of the two it is must not depend on them.
fn shape(server: &Server, process: &Process) -> Packed {
    let mut bits = Bits::default();
    let mut process = *process;
    for task in &mut process.tasks {
        task.token.0 = u8::from(task.token == server.lease);
        task.stamp.0 = u8::from(task.stamp == server.tag);
        for entry in [&mut task.seen, &mut task.hand].into_iter().flatten() {
            entry.stamp.0 = u8::from(entry.stamp == server.tag);
        }
    }
    process.writer.stamp.0 = u8::from(process.writer.stamp == server.tag);
    process.put(&mut bits);
    bits.words
}

fn named(mut state: State, symmetry: Symmetry) -> Packed {
    if symmetry.tokens {
        let mut names = Names::default();
        state.tokens(|token| token.0 = names.of(token.0));
    }
    if symmetry.stamps {
        let mut names = Names::default();
        state.stamps(|stamp| stamp.0 = names.of(stamp.0));
    }
    let mut bits = Bits::default();
    state.put(&mut bits);
    bits.words
}

/// New names, in the order in which the old ones are met. 0 stays.
#[derive(Default)]
struct Names {
    new: [u8; 32],
    last: u8,
}

impl Names {
    fn of(&mut self, old: u8) -> u8 {
        let new = &mut self.new[old as usize];
        if old != 0 && *new == 0 {
            self.last += 1;
            *new = self.last;
        }
        *new
    }
}

/// A state of the form `packed`.
pub fn unpack(packed: &Packed) -> State {
    let mut bits = Bits {
        words: *packed,
        at: 0,
    };
    State::take(&mut bits)
}

fn caller_bits(caller: &Caller) -> u64 {
    let mut bits = Bits::default();
    caller.put(&mut bits);
    bits.words[0]
}

#[derive(Default)]
struct Bits {
    words: Packed,
    at: u32,
}

impl Bits {
    fn put(&mut self, value: u8, width: u32) {
        debug_assert!(width == 8 || value >> width == 0, "{value} in {width} bits");
        let (word, shift) = ((self.at / 64) as usize, self.at % 64);
        self.words[word] |= u64::from(value) << shift;
        if shift + width > 64 {
            self.words[word + 1] |= u64::from(value) >> (64 - shift);
        }
        self.at += width;
    }

    fn take(&mut self, width: u32) -> u8 {
        let (word, shift) = ((self.at / 64) as usize, self.at % 64);
        let mut value = self.words[word] >> shift;
        if shift + width > 64 {
            value |= self.words[word + 1] << (64 - shift);
        }
        self.at += width;
        u8::try_from(value & ((1 << width) - 1)).expect("at most eight bits")
    }
}

trait Field: Sized {
    fn put(&self, bits: &mut Bits);
    fn take(bits: &mut Bits) -> Self;
}

/// A number of so many bits.
macro_rules! number {
    ($name:ident, $width:literal) => {
        impl Field for $name {
            fn put(&self, bits: &mut Bits) {
                bits.put(self.0, $width);
            }
            fn take(bits: &mut Bits) -> Self {
                $name(bits.take($width))
            }
        }
    };
}

number!(Token, 3);
number!(Stamp, 4);

/// An enum without fields: its variants, in the order of their declaration.
macro_rules! choice {
    ($name:ident, $width:literal: $($variant:ident)*) => {
        impl Field for $name {
            fn put(&self, bits: &mut Bits) {
                bits.put(*self as u8, $width);
            }
            fn take(bits: &mut Bits) -> Self {
                const ALL: &[$name] = &[$($name::$variant),*];
                ALL[bits.take($width) as usize]
            }
        }
    };
}

choice!(At, 4: Nowhere Ask Judge Acquire Waiting Mine Create Ready Loading Checked Moved Alone Give GiveStale
    GiveLeader);
choice!(Phase, 3: New Leads Joined Again Done);
choice!(Writing, 4: Idle Changed DeleteHalf SetReady SetStored SetUnlinked Leases LeaseFound LeasesDone Entries
    EntryFound EntriesDone);

/// A struct: its fields, each a number of so many bits, a flag, or a field of its own.
macro_rules! fields {
    ($name:ident: $($field:ident $($width:literal)?),*) => {
        impl Field for $name {
            fn put(&self, bits: &mut Bits) {
                $(fields!(@put self bits $field $($width)?);)*
            }
            fn take(bits: &mut Bits) -> Self {
                $(let $field = fields!(@take bits $($width)?);)*
                $name { $($field),* }
            }
        }
    };
    (@put $self:ident $bits:ident $field:ident $width:literal) => { $bits.put($self.$field, $width) };
    (@put $self:ident $bits:ident $field:ident) => { $self.$field.put($bits) };
    (@take $bits:ident $width:literal) => { $bits.take($width) };
    (@take $bits:ident) => { Field::take($bits) };
}

fields!(Task: at, refresh, token, seen, stale, hand, stamp, value 2);
fields!(Caller: phase, slot 1, covered, round 2, calls 1, floor 2);
fields!(Writer: at, left 2, version 2, stamp, may_miss);
fields!(Process: tasks, callers, writer);
fields!(Server: entry, lease, tag);
fields!(State: server, source 2, floor 2, loads 2, foreign 1, losses 1, late, processes);

impl Field for bool {
    fn put(&self, bits: &mut Bits) {
        bits.put(u8::from(*self), 1);
    }

    fn take(bits: &mut Bits) -> Self {
        bits.take(1) == 1
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn put(&self, bits: &mut Bits) {
        for field in self {
            field.put(bits);
        }
    }

    fn take(bits: &mut Bits) -> Self {
        std::array::from_fn(|_| T::take(bits))
    }
}

/// Two bits say that there is none, or how old it is.
impl Field for Option<Entry> {
    fn put(&self, bits: &mut Bits) {
        let Some(entry) = self else {
            return bits.put(0, 2);
        };
        bits.put(1 + entry.age as u8, 2);
        bits.put(entry.version, 2);
        entry.stamp.put(bits);
    }

    fn take(bits: &mut Bits) -> Self {
        let age = match bits.take(2) {
            0 => return None,
            1 => Age::Fresh,
            2 => Age::Soft,
            _ => Age::Corrupt,
        };
        Some(Entry {
            age,
            version: bits.take(2),
            stamp: Stamp::take(bits),
        })
    }
}

impl Field for Late {
    fn put(&self, bits: &mut Bits) {
        match self {
            Late::Nothing => bits.put(0, 3),
            Late::Acquire(token, seen) => {
                bits.put(1, 3);
                token.put(bits);
                seen.put(bits);
            }
            Late::Fill(token, seen, value) => {
                bits.put(2, 3);
                token.put(bits);
                seen.put(bits);
                Some(*value).put(bits);
            }
            Late::Invalidate(stamp) => {
                bits.put(3, 3);
                stamp.put(bits);
            }
            Late::Create(stamp) => {
                bits.put(4, 3);
                stamp.put(bits);
            }
        }
    }

    fn take(bits: &mut Bits) -> Self {
        match bits.take(3) {
            0 => Late::Nothing,
            1 => Late::Acquire(Token::take(bits), Field::take(bits)),
            2 => Late::Fill(
                Token::take(bits),
                Field::take(bits),
                <Option<Entry> as Field>::take(bits).expect("a value to store"),
            ),
            3 => Late::Invalidate(Stamp::take(bits)),
            _ => Late::Create(Stamp::take(bits)),
        }
    }
}
