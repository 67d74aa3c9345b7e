//! What is written is read back; what is no pickle of plain data is nothing, whatever it says.

use proptest::prelude::*;

use super::*;
use crate::compat::simple::{Integer, Value};

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out).unwrap();
    out
}

/// Values of every kind, of few levels.
fn values() -> impl Strategy<Value = Value> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let hashable = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        bytes
            .clone()
            .prop_map(|bytes| Value::Int(Integer::from_le_bytes(&bytes))),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        bytes.prop_map(Value::Bytes),
    ];
    let hashable = hashable.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            prop::collection::btree_set(inner, 0..5).prop_map(Value::FrozenSet),
        ]
    });
    let keys = hashable.clone();
    hashable.prop_recursive(4, 100, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Tuple),
            prop::collection::btree_set(keys.clone(), 0..8).prop_map(Value::Set),
            prop::collection::btree_map(keys.clone(), inner, 0..8).prop_map(Value::Dict),
        ]
    })
}

/// Opcodes in any order, more or less well formed.
fn programs() -> impl Strategy<Value = Vec<u8>> {
    let opcodes: Vec<u8> = (0x80..=0x98).chain(b'('..=b'}').collect();
    let piece = prop_oneof![
        4 => prop::sample::select(opcodes).prop_map(|opcode| vec![opcode]),
        2 => prop::sample::select(vec![
            &b"]"[..], b"(", b"a", b"e", b"2", b"\x94", b"h\0", b"h\x01", b"q\0", b"}", b"s", b"u", b")", b"\x85",
            b"\x86", b"\x8f", b"\x90", b"\x91", b"N", b"K\x01", b"\x8c\x01x", b"C\x01y", b"G\x7f\xf8\0\0\0\0\0\0",
            b"cbuiltins\nset\n", b"cbuiltins\nfrozenset\n", b"R", b"c_codecs\nencode\n", b"X\x06\0\0\0latin1", b"0", b"1",
            b"I01\n", b"L99999999999999999999L\n", b"S'a\\x41'\n", b"Vx\\u00e9\n", b"\x8a\x01\xff", b"t", b"l", b"d",
        ]).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..200).prop_map(|pieces| {
        let mut program = pieces.concat();
        program.push(b'.');
        program
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in values()) {
        prop_assert_eq!(read(&written(&value)), Some(value));
    }

    #[test]
    fn half_a_pickle_is_nothing(value in values(), cut: prop::sample::Index) {
        let pickle = written(&value);
        prop_assert_eq!(read(&pickle[..cut.index(pickle.len())]), None);
    }

    #[test]
    fn no_bytes_do_harm(bytes: Vec<u8>) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_program_does_harm_and_what_it_makes_can_be_written(program in programs()) {
        if let Some(value) = read(&program) {
            prop_assert_eq!(read(&written(&value)), Some(value));
        }
    }
}

#[test]
fn what_python_wrote_in_each_protocol_is_read() {
    // `pickle.dumps([None, True, -1, 2**70, 1.5, "é\\", b"\xff", (1,), {"a": {2}}], protocol)`, by CPython 3.11.
    let expected = Value::List(vec![
        Value::None,
        true.into(),
        (-1).into(),
        (1_i128 << 70).into(),
        1.5.into(),
        "é\\".into(),
        Value::Bytes(vec![0xff]),
        Value::Tuple(vec![1.into()]),
        [("a", Value::Set([2.into()].into()))].into(),
    ]);
    let protocols: [&[u8]; 6] = [
        include_bytes!("samples/protocol-0.bin"),
        include_bytes!("samples/protocol-1.bin"),
        include_bytes!("samples/protocol-2.bin"),
        include_bytes!("samples/protocol-3.bin"),
        include_bytes!("samples/protocol-4.bin"),
        include_bytes!("samples/protocol-5.bin"),
    ];
    for (protocol, pickle) in protocols.into_iter().enumerate() {
        assert_eq!(read(pickle), Some(expected.clone()), "protocol {protocol}");
    }
}

#[test]
fn a_value_that_is_named_twice_is_there_twice() {
    // `a = ["x"]; [a, a]`
    let pickle = b"\x80\x04](]\x94\x8c\x01xah\0e.";
    let a = Value::from(vec!["x"]);
    assert_eq!(read(pickle), Some(Value::List(vec![a.clone(), a])));
}

#[test]
fn what_runs_something_is_nothing() {
    for pickle in [
        &b"cos\nsystem\n(S'true'\ntR."[..],
        b"cbuiltins\neval\n(V1\ntR.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"Pid\n.",
        b"\x82\x01.",
        b"cbuiltins\nset\n.",
    ] {
        assert_eq!(read(pickle), None, "{}", pickle.escape_ascii());
    }
}

/// A few bytes that stand for very much, in each way that there is.
#[test]
fn a_pickle_does_not_blow_up() {
    let mut twice = b"]".to_vec();
    // Each level holds the one before twice: 2^60 values.
    for level in 0..60_u8 {
        twice.extend([
            b'q', level, b'0', b']', b'(', b'h', level, b'h', level, b'e',
        ]);
    }
    twice.push(b'.');
    assert_eq!(read(&twice), None);

    let mut inside = b"]".to_vec();
    inside.extend(b"2a".repeat(40));
    inside.push(b'.');
    assert_eq!(read(&inside), None, "a list in itself");

    let deep = [b"]".repeat(200_000), b"a".repeat(199_999), b".".to_vec()].concat();
    assert_eq!(read(&deep), None);
    let marks = [b"(".repeat(1_000_000), b".".to_vec()].concat();
    assert_eq!(read(&marks), None);
    let tuples = [b")".to_vec(), b"\x85".repeat(200_000), b".".to_vec()].concat();
    assert_eq!(read(&tuples), None);

    // A long text, a thousand times.
    let mut text = b"X\0\0\x10\0".to_vec();
    text.extend(vec![b'x'; 1 << 20]);
    text.extend(b"q\x000](");
    text.extend(b"h\0".repeat(1_000));
    text.extend(b"e.");
    assert_eq!(read(&text), None);

    // A set of the same long list, again and again.
    let mut sets = b"](".to_vec();
    sets.extend(b"N".repeat(100_000));
    sets.extend(b"eq\x000");
    sets.extend(b"cbuiltins\nset\nh\0\x85R0".repeat(100_000));
    sets.extend(b"N.");
    assert_eq!(read(&sets), None);

    // The same long text as bytes, again and again.
    let mut bytes = b"c_codecs\nencode\nq\x000X\0\0\x10\0".to_vec();
    bytes.extend(vec![b'x'; 1 << 20]);
    bytes.extend(b"q\x010X\x06\0\0\0latin1q\x020");
    bytes.extend(b"h\0h\x01h\x02\x86R".repeat(1_000));
    bytes.extend(b"N.");
    assert_eq!(read(&bytes), None);

    // A length that nothing follows.
    assert_eq!(read(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f."), None);
    // Not numbers, in a set.
    let mut nans = b"\x8f(".to_vec();
    for number in 0..2_000_u32 {
        let number = if number % 3 == 0 {
            f64::NAN
        } else {
            f64::from(number * 37 % 101)
        };
        nans.push(b'G');
        nans.extend(number.to_be_bytes());
    }
    nans.extend(b"\x90.");
    assert!(matches!(read(&nans), Some(Value::Set(members)) if members.len() == 102));
}

#[test]
fn a_value_is_as_deep_and_as_large_as_can_be_read_back() {
    let nested = |levels: usize| (1..levels).fold(Value::None, |inner, _| Value::List(vec![inner]));
    let deepest = nested(MAX_DEPTH);
    assert_eq!(read(&written(&deepest)), Some(deepest));
    let refused = |value: &Value| write(value, &mut Vec::new()).unwrap_err().to_string();
    assert!(refused(&nested(MAX_DEPTH + 1)).contains("128 levels"));
    let largest = Value::List(vec![Value::None; MAX_VALUES - 1]);
    assert_eq!(read(&written(&largest)), Some(largest));
    let larger = Value::List(vec![Value::None; MAX_VALUES]);
    assert!(refused(&larger).contains("1000000 values"));
    let keyed = Value::from([(Value::Tuple(vec![Value::List(Vec::new())]), 1)]);
    assert!(refused(&keyed).contains("a list cannot be the key"));
    assert_eq!(read(b"}]Ns."), None, "a list for a key");
}
