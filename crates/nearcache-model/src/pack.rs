//! A state in 256 bits, the same for all states that differ in names only.
//!
//! Four symmetries are taken out: the names of tokens, those of V's values, the two callers of a process,
//! and the two processes. Renaming is left out where a name means something: [`Symmetry`].

use std::hash::{Hash, Hasher};

use crate::state::{
    Age, At, Caller, Copied, Covered, Entry, Late, Phase, Process, Server, Stamp, State, Task,
    Token, Way, Writer, Writing,
};

/// A state as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed([u64; 4]);

/// As four numbers: as an array it would be hashed as 32 bytes, which takes longer.
impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0 {
            state.write_u64(word);
        }
    }
}

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
        if caller_shape(&process.callers[0]) > caller_shape(&process.callers[1]) {
            process.callers.swap(0, 1);
        }
    }
    if !symmetry.tokens {
        return named(state, symmetry);
    }
    let shapes = [0, 1].map(|at| shape(&state.processes[at]));
    match shapes[0].cmp(&shapes[1]) {
        std::cmp::Ordering::Less => named(state, symmetry),
        std::cmp::Ordering::Greater => {
            state.processes.swap(0, 1);
            named(state, symmetry)
        }
        std::cmp::Ordering::Equal => {
            let mut swapped = state;
            swapped.processes.swap(0, 1);
            let both = [named(state, symmetry), named(swapped, symmetry)];
            if both[0].0 <= both[1].0 {
                both[0]
            } else {
                both[1]
            }
        }
    }
}

/// Something of a process in which no name occurs: which of the two it is must not depend on names. Where
/// two are equal, both orders are tried.
fn shape(process: &Process) -> u128 {
    let mut shape = 0;
    for task in &process.tasks {
        let value = u128::from(task.value << 3 | (task.way as u8) << 1 | u8::from(task.stale));
        shape = shape << 10 | (task.at as u128) << 5 | value;
    }
    for caller in &process.callers {
        shape = shape << 16 | u128::from(caller_shape(caller));
    }
    let writer = &process.writer;
    let flags = u8::from(writer.moved) << 1 | u8::from(writer.may_miss);
    let rest = writer.left << 4 | writer.version << 2 | flags;
    shape << 17 | u128::from(process.refreshes) << 16 | (writer.at as u128) << 8 | u128::from(rest)
}

/// All of a caller: it has no names.
fn caller_shape(caller: &Caller) -> u16 {
    let flags = caller.slot << 3 | (caller.covered as u8) << 1 | caller.calls;
    u16::from(caller.floor) << 7 | u16::from(caller.phase as u8) << 4 | u16::from(flags)
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
    Packed(bits.words)
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
        words: packed.0,
        at: 0,
    };
    State::take(&mut bits)
}

/// Every field has one width whatever it holds, so that all of packing, inlined, is shifts by constants.
#[derive(Default)]
struct Bits {
    words: [u64; 4],
    at: u32,
}

impl Bits {
    #[inline(always)]
    fn put(&mut self, value: u8, width: u32) {
        debug_assert!(width == 8 || value >> width == 0, "{value} in {width} bits");
        let (word, shift) = ((self.at / 64) as usize, self.at % 64);
        self.words[word] |= u64::from(value) << shift;
        if shift + width > 64 {
            self.words[word + 1] |= u64::from(value) >> (64 - shift);
        }
        self.at += width;
    }

    #[inline(always)]
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
            #[inline(always)]
            fn put(&self, bits: &mut Bits) {
                bits.put(self.0, $width);
            }
            #[inline(always)]
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
            #[inline(always)]
            fn put(&self, bits: &mut Bits) {
                bits.put(*self as u8, $width);
            }
            #[inline(always)]
            fn take(bits: &mut Bits) -> Self {
                const ALL: &[$name] = &[$($name::$variant),*];
                ALL[bits.take($width) as usize]
            }
        }
    };
}

choice!(At, 5: Nowhere Ask Judge Acquire Waiting Mine Create Ready Loading Named CreateNamed EpochNext Checked Moved
    Filled Alone Give GiveStale GiveLoaded GiveLeader Unlink UnlinkEntry);
choice!(Way, 2: Miss Refresh Force);
choice!(Covered, 2: No ByCommand ByLoad);
choice!(Phase, 3: New Leads Joined Again Done);
choice!(Writing, 5: Idle Changed EntryDeleted LeaseDeleted LeaseRedirected EpochMoved EpochMovedToMark TagMoved SetReady
    SetStored SetUnlinked Leases LeaseFound LeasesDone Entries EntryFound EntriesDone);

/// A struct: its fields, each a number of so many bits, a flag, or a field of its own.
macro_rules! fields {
    ($name:ident: $($field:ident $($width:literal)?),*) => {
        impl Field for $name {
            #[inline(always)]
            fn put(&self, bits: &mut Bits) {
                $(fields!(@put self bits $field $($width)?);)*
            }
            #[inline(always)]
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

fields!(Task: at, way, token, seen, stale, stamp, epoch, value 2);
fields!(Caller: phase, slot 1, covered, calls 1, floor 2);
fields!(Writer: at, left 2, version 2, stamp, may_miss, moved);
fields!(Process: tasks, callers, writer, refreshes 1);
fields!(Server: entry, lease, tag, stale, epoch, copy);
fields!(State: server, source 2, floor 2, marked 2, loads 2, foreign 1, losses 1, redirects 1, failovers 1, late,
    processes);

impl Field for bool {
    #[inline(always)]
    fn put(&self, bits: &mut Bits) {
        bits.put(u8::from(*self), 1);
    }

    #[inline(always)]
    fn take(bits: &mut Bits) -> Self {
        bits.take(1) == 1
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    #[inline(always)]
    fn put(&self, bits: &mut Bits) {
        for field in self {
            field.put(bits);
        }
    }

    #[inline(always)]
    fn take(bits: &mut Bits) -> Self {
        std::array::from_fn(|_| T::take(bits))
    }
}

/// Eight bits. Two of them say that there is none, or how old it is.
impl Field for Option<Entry> {
    #[inline(always)]
    fn put(&self, bits: &mut Bits) {
        let entry = self.unwrap_or_default();
        let age = self.map_or(0, |entry| 1 + entry.age as u8);
        bits.put(age | entry.version << 2 | entry.stamp.0 << 4, 8);
    }

    #[inline(always)]
    fn take(bits: &mut Bits) -> Self {
        entry_of(bits.take(8))
    }
}

/// Eleven bits: those of an entry and a token. An entry that is none and yet has a version stands for V.
impl Field for Copied {
    #[inline(always)]
    fn put(&self, bits: &mut Bits) {
        match self {
            Copied::Stamp(stamp) => {
                bits.put(COPY_OF_V | stamp.0 << 4, 8);
                Token::NONE.put(bits);
            }
            Copied::Slot(entry, token) => {
                entry.put(bits);
                token.put(bits);
            }
        }
    }

    #[inline(always)]
    fn take(bits: &mut Bits) -> Self {
        let byte = bits.take(8);
        let token = Token::take(bits);
        if byte & 0b1111 == COPY_OF_V {
            return Copied::Stamp(Stamp(byte >> 4));
        }
        Copied::Slot(entry_of(byte), token)
    }
}

const COPY_OF_V: u8 = 0b1100;

fn entry_of(byte: u8) -> Option<Entry> {
    let age = match byte & 3 {
        0 => return None,
        1 => Age::Fresh,
        2 => Age::Soft,
        _ => Age::Corrupt,
    };
    Some(Entry {
        age,
        version: byte >> 2 & 3,
        stamp: Stamp(byte >> 4),
    })
}

/// Its kind, and what any of the kinds may hold.
impl Field for Late {
    #[inline(always)]
    fn put(&self, bits: &mut Bits) {
        let none = Token::NONE;
        let (kind, token, seen, value, stamp) = match *self {
            Late::Nothing => (0, none, None, None, Stamp::NONE),
            Late::Acquire(token, seen) => (1, token, seen, None, Stamp::NONE),
            Late::Fill(token, seen, value, epoch) => (2, token, seen, Some(value), epoch),
            Late::Invalidate(stamp) => (3, none, None, None, stamp),
            Late::Create(stamp) => (4, none, None, None, stamp),
            Late::InvalidateEpoch => (5, none, None, None, Stamp::NONE),
            Late::CreateEpoch(stamp) => (6, none, None, None, stamp),
            Late::Take(token) => (7, token, None, None, Stamp::NONE),
        };
        bits.put(kind, 3);
        token.put(bits);
        seen.put(bits);
        value.put(bits);
        stamp.put(bits);
    }

    #[inline(always)]
    fn take(bits: &mut Bits) -> Self {
        let kind = bits.take(3);
        let token = Token::take(bits);
        let seen = Field::take(bits);
        let value = <Option<Entry> as Field>::take(bits).unwrap_or_default();
        let stamp = Stamp::take(bits);
        match kind {
            0 => Late::Nothing,
            1 => Late::Acquire(token, seen),
            2 => Late::Fill(token, seen, value, stamp),
            3 => Late::Invalidate(stamp),
            4 => Late::Create(stamp),
            5 => Late::InvalidateEpoch,
            6 => Late::CreateEpoch(stamp),
            _ => Late::Take(token),
        }
    }
}
