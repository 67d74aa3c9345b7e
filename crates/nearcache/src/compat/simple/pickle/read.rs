//! Reading a pickle: the machine, and the building of the value that it leaves.
//!
//! The machine's values are nodes that name each other by number, as Python's objects do: a list can be named twice, or
//! hold itself. Only [`Machine::build`] makes values of them, and counts what it makes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::opcode::*;
use super::{MAX_BYTES, MAX_DEPTH, MAX_VALUES};
use crate::compat::simple::{Integer, Value};

/// The newest protocol.
const NEWEST: u8 = 5;

/// How many steps the machine makes at most. The largest value takes a few for each value in it.
const MAX_STEPS: usize = 8 * MAX_VALUES;

/// The value of a pickle; `None` if it is none of plain data.
pub(in crate::compat::simple) fn read(pickle: &[u8]) -> Option<Value> {
    let bytes = MAX_BYTES.max(pickle.len().saturating_mul(2));
    let mut machine = Machine {
        rest: pickle,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        steps: MAX_STEPS,
        bytes,
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    let mut budget = Budget {
        values: MAX_VALUES,
        bytes,
    };
    machine.build(root, MAX_DEPTH, &mut budget)
}

/// The number of a node.
type Id = usize;

enum Node<'p> {
    None,
    Bool(bool),
    Int(Integer),
    Float(f64),
    Str(Cow<'p, str>),
    Bytes(Cow<'p, [u8]>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Keys and values, in turn.
    Dict(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    Callable(Callable),
}

/// What makes plain data in the older protocols.
#[derive(Clone, Copy)]
enum Callable {
    Set,
    FrozenSet,
    /// `bytes` and `bytearray`.
    Bytes,
    /// `_codecs.encode(text, 'latin1')`.
    Encode,
}

/// What may still be built.
struct Budget {
    values: usize,
    bytes: usize,
}

struct Machine<'p> {
    rest: &'p [u8],
    nodes: Vec<Node<'p>>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    steps: usize,
    /// How many bytes calls may still make.
    bytes: usize,
}

impl<'p> Machine<'p> {
    /// Carries one opcode out. Returns whether it was the last.
    fn step(&mut self) -> Option<bool> {
        self.charge(1)?;
        let opcode = self.byte()?;
        match opcode {
            PROTO => (self.byte()? <= NEWEST).then_some(())?,
            FRAME => drop(self.bytes(8)?),
            STOP => return Some(true),
            MARK => self.marks.push(self.stack.len()),
            POP if self.stack.len() == self.floor() => drop(self.marks.pop()?),
            POP => drop(self.pop()?),
            POP_MARK => drop(self.pop_mark()?),
            DUP => self.stack.push(self.top()?),
            PUT | BINPUT | LONG_BINPUT | MEMOIZE => self.remember(opcode)?,
            GET | BINGET | LONG_BINGET => {
                let name = self.memo_name(opcode)?;
                self.stack.push(*self.memo.get(&name)?);
            }
            EMPTY_TUPLE | TUPLE1 | TUPLE2 | TUPLE3 | TUPLE | EMPTY_LIST | LIST | APPEND
            | APPENDS | EMPTY_DICT | DICT | SETITEM | SETITEMS | EMPTY_SET | ADDITEMS
            | FROZENSET => {
                self.collect(opcode)?;
            }
            GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Callable(callable(module, name)?))?;
            }
            STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.text_of(module)?, self.text_of(name)?);
                let callable = callable(module.as_bytes(), name.as_bytes())?;
                self.push(Node::Callable(callable))?;
            }
            REDUCE => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.reduce(callable, arguments)?;
                self.push(made)?;
            }
            _ => {
                let scalar = self.scalar(opcode)?;
                self.push(scalar)?;
            }
        }
        Some(false)
    }

    /// A number, a text, bytes, `None`, `True` or `False`.
    fn scalar(&mut self, opcode: u8) -> Option<Node<'p>> {
        Some(match opcode {
            NONE => Node::None,
            NEWTRUE => Node::Bool(true),
            NEWFALSE => Node::Bool(false),
            INT => match self.line()? {
                b"01" => Node::Bool(true),
                b"00" => Node::Bool(false),
                digits => Node::Int(decimal(digits)?),
            },
            LONG => {
                let digits = self.line()?;
                Node::Int(decimal(digits.strip_suffix(b"L").unwrap_or(digits))?)
            }
            BININT => Node::Int(i32::from_le_bytes(self.array()?).into()),
            BININT1 => Node::Int(self.byte()?.into()),
            BININT2 => Node::Int(u16::from_le_bytes(self.array()?).into()),
            LONG1 => Node::Int(Integer::from_le_bytes(self.short()?)),
            LONG4 => Node::Int(Integer::from_le_bytes(self.medium()?)),
            FLOAT => Node::Float(std::str::from_utf8(self.line()?).ok()?.parse().ok()?),
            BINFLOAT => Node::Float(f64::from_be_bytes(self.array()?)),
            // A `str` of Python 2, which Python 3 reads as ASCII.
            STRING => Node::Str(ascii(unescaped(self.line()?)?)?),
            SHORT_BINSTRING => Node::Str(ascii(Cow::Borrowed(self.short()?))?),
            BINSTRING => Node::Str(ascii(Cow::Borrowed(self.medium()?))?),
            UNICODE => Node::Str(Cow::Owned(raw_unicode(self.line()?)?)),
            SHORT_BINUNICODE => utf8(self.short()?)?,
            BINUNICODE => utf8(self.medium()?)?,
            BINUNICODE8 => utf8(self.long()?)?,
            SHORT_BINBYTES => Node::Bytes(self.short()?.into()),
            BINBYTES => Node::Bytes(self.medium()?.into()),
            BINBYTES8 | BYTEARRAY8 => Node::Bytes(self.long()?.into()),
            _ => return None,
        })
    }

    /// Tuples, lists, dicts and sets.
    fn collect(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            EMPTY_TUPLE => self.push(Node::Tuple(Vec::new())),
            TUPLE1 | TUPLE2 | TUPLE3 => {
                let count = usize::from(opcode - TUPLE1) + 1;
                let start = self.stack.len().checked_sub(count)?;
                let items = (start >= self.floor()).then(|| self.stack.split_off(start))?;
                self.push(Node::Tuple(items))
            }
            TUPLE => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            EMPTY_LIST => self.push(Node::List(Vec::new())),
            LIST => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            EMPTY_DICT => self.push(Node::Dict(Vec::new())),
            DICT => {
                let items = self.pop_mark()?;
                items.len().is_multiple_of(2).then_some(())?;
                self.push(Node::Dict(items))
            }
            EMPTY_SET => self.push(Node::Set(Vec::new())),
            FROZENSET => {
                let items = self.pop_mark()?;
                self.push(Node::FrozenSet(items))
            }
            APPEND => {
                let items = vec![self.pop()?];
                self.extend(opcode, items)
            }
            SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(opcode, vec![key, value])
            }
            _ => {
                let items = self.pop_mark()?;
                self.extend(opcode, items)
            }
        }
    }

    /// Adds items to the list, dict or set on the top of the stack.
    fn extend(&mut self, opcode: u8, mut items: Vec<Id>) -> Option<()> {
        let top = self.top()?;
        let into = match (opcode, self.nodes.get_mut(top)?) {
            (APPEND | APPENDS, Node::List(into)) | (ADDITEMS, Node::Set(into)) => into,
            (SETITEM | SETITEMS, Node::Dict(into)) if items.len().is_multiple_of(2) => into,
            _ => return None,
        };
        into.append(&mut items);
        Some(())
    }

    /// What a call of one of the [callables](Callable) makes.
    fn reduce(&mut self, callable: Id, arguments: Id) -> Option<Node<'p>> {
        let Node::Callable(callable) = *self.nodes.get(callable)? else {
            return None;
        };
        let Node::Tuple(arguments) = self.nodes.get(arguments)? else {
            return None;
        };
        let arguments: Vec<&Node<'p>> = match arguments[..] {
            [] => Vec::new(),
            [one] => vec![self.nodes.get(one)?],
            [one, two] => vec![self.nodes.get(one)?, self.nodes.get(two)?],
            _ => return None,
        };
        let (made, steps, bytes) = match (callable, &arguments[..]) {
            (Callable::Set, []) => (Node::Set(Vec::new()), 0, 0),
            (Callable::FrozenSet, []) => (Node::FrozenSet(Vec::new()), 0, 0),
            (Callable::Set, [Node::List(items)]) => (Node::Set(items.clone()), items.len(), 0),
            (Callable::FrozenSet, [Node::List(items)]) => {
                (Node::FrozenSet(items.clone()), items.len(), 0)
            }
            (Callable::Bytes, []) => (Node::Bytes(Cow::Borrowed(&[])), 0, 0),
            (Callable::Bytes, [Node::Bytes(bytes)]) => (Node::Bytes(bytes.clone()), 0, bytes.len()),
            (Callable::Bytes | Callable::Encode, [Node::Str(text), Node::Str(codec)]) => {
                matches!(&**codec, "latin1" | "latin-1").then_some(())?;
                (Node::Bytes(Cow::Owned(latin1(text)?)), 0, text.len())
            }
            _ => return None,
        };
        self.charge(steps)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(made)
    }

    /// The value of a node.
    fn build(&self, id: Id, depth: usize, budget: &mut Budget) -> Option<Value> {
        budget.values = budget.values.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let spend = |budget: &mut Budget, bytes: usize| {
            budget.bytes = budget.bytes.checked_sub(bytes)?;
            Some(())
        };
        let hashable = |value: &Value| value.unhashable().is_none().then_some(());
        Some(match self.nodes.get(id)? {
            Node::None => Value::None,
            Node::Bool(is) => Value::Bool(*is),
            Node::Int(number) => {
                spend(budget, number.size())?;
                Value::Int(number.clone())
            }
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => {
                spend(budget, text.len())?;
                Value::Str(text.as_ref().to_owned())
            }
            Node::Bytes(bytes) => {
                spend(budget, bytes.len())?;
                Value::Bytes(bytes.as_ref().to_owned())
            }
            Node::List(items) => Value::List(self.build_all(items, depth, budget)?),
            Node::Tuple(items) => Value::Tuple(self.build_all(items, depth, budget)?),
            Node::Set(items) | Node::FrozenSet(items) => {
                let members = self.build_all(items, depth, budget)?;
                members.iter().try_for_each(hashable)?;
                let members = members.into_iter().collect();
                match self.nodes.get(id)? {
                    Node::Set(_) => Value::Set(members),
                    _ => Value::FrozenSet(members),
                }
            }
            Node::Dict(items) => {
                let mut items = self.build_all(items, depth, budget)?.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    hashable(&key)?;
                    pairs.push((key, value));
                }
                Value::Dict(pairs.into_iter().collect())
            }
            Node::Callable(_) => return None,
        })
    }

    fn build_all(&self, items: &[Id], depth: usize, budget: &mut Budget) -> Option<Vec<Value>> {
        let items = items.iter();
        items.map(|item| self.build(*item, depth, budget)).collect()
    }

    fn charge(&mut self, steps: usize) -> Option<()> {
        self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    fn push(&mut self, node: Node<'p>) -> Option<()> {
        // What is popped again was a value, too: there are never more of them than a value may hold, but for sets, which
        // have a list each in the older protocols, and its tuple.
        (self.nodes.len() < 3 * MAX_VALUES).then_some(())?;
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Some(())
    }

    /// How low the stack may be popped: to the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Option<Id> {
        (self.stack.len() > self.floor()).then(|| self.stack.last().copied())?
    }

    fn pop(&mut self) -> Option<Id> {
        (self.stack.len() > self.floor()).then(|| self.stack.pop())?
    }

    fn pop_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        Some(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn remember(&mut self, opcode: u8) -> Option<()> {
        let name = match opcode {
            MEMOIZE => self.memo.len() as u64,
            opcode => self.memo_name(opcode)?,
        };
        let top = self.top()?;
        self.memo.insert(name, top);
        Some(())
    }

    fn memo_name(&mut self, opcode: u8) -> Option<u64> {
        match opcode {
            PUT | GET => std::str::from_utf8(self.line()?).ok()?.parse().ok(),
            BINPUT | BINGET => self.byte().map(u64::from),
            _ => self.array().map(|name| u64::from(u32::from_le_bytes(name))),
        }
    }

    fn text_of(&self, id: Id) -> Option<&str> {
        match self.nodes.get(id)? {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn bytes(&mut self, count: usize) -> Option<&'p [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn array<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        self.bytes(COUNT)?.try_into().ok()
    }

    /// Bytes after a length of one byte.
    fn short(&mut self) -> Option<&'p [u8]> {
        let length = self.byte()?;
        self.bytes(length.into())
    }

    /// Bytes after a length of four bytes.
    fn medium(&mut self) -> Option<&'p [u8]> {
        let length = u32::from_le_bytes(self.array()?);
        self.bytes(usize::try_from(length).ok()?)
    }

    /// Bytes after a length of eight bytes.
    fn long(&mut self) -> Option<&'p [u8]> {
        let length = u64::from_le_bytes(self.array()?);
        self.bytes(usize::try_from(length).ok()?)
    }

    /// The rest of a line, which ends in a line feed.
    fn line(&mut self) -> Option<&'p [u8]> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.bytes(end)?;
        self.byte()?;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

fn callable(module: &[u8], name: &[u8]) -> Option<Callable> {
    match (module, name) {
        (b"builtins" | b"__builtin__", b"set") => Some(Callable::Set),
        (b"builtins" | b"__builtin__", b"frozenset") => Some(Callable::FrozenSet),
        (b"builtins" | b"__builtin__", b"bytes" | b"bytearray") => Some(Callable::Bytes),
        (b"_codecs", b"encode") => Some(Callable::Encode),
        _ => None,
    }
}

/// The bytes of a text whose letters are all in Latin-1.
fn latin1(text: &str) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return Some(text.as_bytes().to_vec());
    }
    let byte = |letter| u8::try_from(u32::from(letter)).ok();
    text.chars().map(byte).collect()
}

fn decimal(digits: &[u8]) -> Option<Integer> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

fn utf8(bytes: &[u8]) -> Option<Node<'_>> {
    Some(Node::Str(std::str::from_utf8(bytes).ok()?.into()))
}

fn ascii(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    if !bytes.is_ascii() {
        return None;
    }
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// A text as Python 2's `repr` wrote it: in quotes, with escapes.
fn unescaped(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut letters = inner.iter();
    while let Some(&letter) = letters.next() {
        if letter != b'\\' {
            bytes.push(letter);
            continue;
        }
        bytes.push(match letters.next()? {
            b'x' => {
                let mut digit = || char::from(*letters.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            quoted @ (b'\\' | b'\'' | b'"') => *quoted,
            _ => return None,
        });
    }
    Some(Cow::Owned(bytes))
}

/// Latin-1 with the escapes `\uXXXX` and `\UXXXXXXXX`.
fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.iter();
    while let Some(&letter) = letters.next() {
        let rest = letters.as_slice();
        let digits = match (letter, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(letter));
                continue;
            }
        };
        let digits = std::str::from_utf8(rest.get(1..=digits)?).ok()?;
        let code = u32::from_str_radix(digits, 16).ok()?;
        text.push(char::from_u32(code)?);
        letters = rest.get(1 + digits.len()..)?.iter();
    }
    Some(text)
}
