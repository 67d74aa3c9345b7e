//! Random commands: mostly right, and wrong in every way that can be thought of.

mod bitmaps;
mod commands;
mod geo;
mod hashes;
mod hyperloglog;
mod keys;
mod lists;
mod pushes;
mod server;
mod sets;
mod sort;
mod sorted_sets;
mod streams;
mod strings;

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) type Arg = Vec<u8>;

/// What is sent in one go.
#[derive(Clone)]
pub(crate) enum Step {
    Command(Vec<Arg>),
    Pipeline {
        commands: Vec<Vec<Arg>>,
        atomic: bool,
    },
    /// A scan to its end, with these options.
    Scan(Vec<Arg>),
}

const KEYS: [&[u8]; 9] = [
    b"a",
    b"b",
    b"c",
    b"user:1",
    b"user:2",
    b"",
    b"\0\xff\r\n",
    b"a key that is too long to lie in place",
    b"[k]*",
];

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Command(args) => f.write_str(&line(args)),
            Step::Pipeline { commands, atomic } => {
                write!(
                    f,
                    "pipeline, atomic {atomic}: {:?}",
                    commands.iter().map(|args| line(args)).collect::<Vec<_>>()
                )
            }
            Step::Scan(options) => write!(f, "scan {}", line(options)),
        }
    }
}

pub(crate) fn line(args: &[Arg]) -> String {
    args.iter()
        .map(|arg| format!("\"{}\"", arg.escape_ascii()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Hostile in any position. No small positive number among them: as a time to live, it would make replies
/// depend on how fast the test runs.
const HOSTILE: [&str; 24] = [
    "",
    " ",
    "abc",
    "0",
    "-1",
    "-0",
    "+5",
    " 7",
    "00",
    "1.5",
    "1e3",
    "nan",
    "inf",
    "100000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "EX",
    "NX",
    "GET",
    "x\0\r\ny",
    "*",
];

/// A family of commands.
#[derive(Debug)]
pub(crate) struct Family {
    /// Command lines: words stand for themselves, `<words>` for a kind of argument, and `*` for any number of times.
    commands: &'static [&'static str],
    /// Kinds of arguments, and what each may be: command lines without a command.
    options: &'static [(&'static str, &'static [&'static str])],
}

const FAMILIES: &[&Family] = &[
    &strings::FAMILY,
    &keys::FAMILY,
    &lists::FAMILY,
    &pushes::FAMILY,
    &streams::FAMILY,
    &bitmaps::FAMILY,
    &commands::FAMILY,
    &sort::FAMILY,
    &hyperloglog::FAMILY,
    &sorted_sets::FAMILY,
    &geo::FAMILY,
    &hashes::FAMILY,
    &sets::FAMILY,
    &server::FAMILY,
];

fn phrase(kind: &str) -> BoxedStrategy<Vec<Arg>> {
    let one_of = |options: &'static [&'static str]| select(options).prop_map(str::to_owned).boxed();
    let text = match kind {
        // Mostly the first few, so that commands meet what others have left.
        "key" => return prop_oneof![3 => select(&KEYS[..4]), 1 => select(&KEYS[..])].prop_map(|key| vec![key.to_vec()]).boxed(),
        "value" => {
            let any = vec(any::<u8>(), 0..40);
            return prop_oneof![any, select(vec![b"hello".to_vec(), b"1".to_vec(), b"10".to_vec()])]
                .prop_map(|value| vec![value])
                .boxed();
        }
        // Long enough that whole words are looked at, and with long runs.
        "bitstring" => {
            let byte = prop_oneof![Just(0u8), Just(0xff), any::<u8>()];
            let runs = vec((byte, 1..30usize), 1..6);
            return runs
                .prop_map(|runs| vec![runs.into_iter().flat_map(|(byte, len)| vec![byte; len]).collect()])
                .boxed();
        }
        "hll" => {
            let runs = vec(any::<u8>(), 0..40);
            let parts = (select(vec![&b"HYLL\0"[..], b"HYLL\x01", b"HYLL\x02", b"HYLx\x01"]), runs, any::<bool>());
            return parts
                .prop_map(|(start, runs, zeros)| {
                    let rest = if zeros { &b"\x7f\xff"[..] } else { b"" };
                    vec![[start, &[0; 10], b"\x80", &runs, rest].concat()]
                })
                .boxed();
        }
        "many" => {
            let numbers = (any::<u16>(), 1..400u16);
            return numbers
                .prop_map(|(first, count)| (0..count).map(|n| first.wrapping_add(n).to_string().into_bytes()).collect())
                .boxed();
        }
        "zmany" | "zmanysame" => {
            let same = kind == "zmanysame";
            let score = prop_oneof![3 => -9..9i32, 1 => any::<i32>()];
            let numbers = vec((score, 0..400u16), 100..200);
            return numbers
                .prop_map(move |pairs| {
                    let pair = |(score, n): (i32, u16)| [if same { "0".into() } else { score.to_string() }, format!("m{n}")];
                    pairs.into_iter().flat_map(pair).map(String::into_bytes).collect()
                })
                .boxed();
        }
        "longitude" => (-1_800_000..1_800_000i32).prop_map(|n| (f64::from(n) / 10_007.0).to_string()).boxed(),
        "latitude" => (-850_000..850_000i32).prop_map(|n| (f64::from(n) / 10_007.0).to_string()).boxed(),
        "degrees" => (-1_800_000..1_800_000i32).prop_map(|n| (f64::from(n) / 10_007.0).to_string()).boxed(),
        "near" => (-10_000..10_000i32).prop_map(|n| (f64::from(n) / 10_007.0).to_string()).boxed(),
        "positive" => (0..10_000_000i32).prop_map(|n| (f64::from(n) / 1_009.0).to_string()).boxed(),
        "pair" => return (phrase("key"), phrase("value")).prop_map(|(key, value)| [key, value].concat()).boxed(),
        "int" => prop_oneof![
            (-100i64..100).prop_map(|n| n.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            one_of(&["9223372036854775807", "-9223372036854775808", "9223372036854775808", "01", "1.0"]),
        ]
        .boxed(),
        "float" => prop_oneof![
            (-1000i32..1000, 1u32..1000).prop_map(|(n, m)| format!("{n}.{m}")),
            any::<f64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:e}")),
            (any::<i64>(), any::<u64>(), -30i32..30).prop_map(|(n, m, e)| format!("{n}.{m}e{e}")),
            one_of(&["0.1", "0.2", "1e17", "-1e-17", "3.0e3", "nan", "inf", "-inf", "1e4932", "-1e4932", "1e400", "1e5000", ".5", "5.", "1e", "e1", "-0", "0.0000000000000000049"]),
        ]
        .boxed(),
        "ttl" => prop_oneof![9 => (1_000_000i64..1_000_000_000).prop_map(|n| n.to_string()), 1 => one_of(&HOSTILE)].boxed(),
        "seconds" => prop_oneof![
            (4_000_000_000i64..5_000_000_000).prop_map(|n| n.to_string()),
            (-5i64..1_000_000).prop_map(|n| n.to_string()),
            one_of(&["9223372036854775", "9223372036854776", "-9223372036854776"]),
        ]
        .boxed(),
        "millis" => prop_oneof![
            (4_000_000_000_000i64..5_000_000_000_000).prop_map(|n| n.to_string()),
            (-5i64..1_000_000).prop_map(|n| n.to_string()),
            one_of(&["9223372036854775807", "-9223372036854775808"]),
        ]
        .boxed(),
        "index" => prop_oneof![5 => (-50i64..50).prop_map(|n| n.to_string()), 1 => one_of(&HOSTILE)].boxed(),
        "offset" => prop_oneof![
            5 => (-2i64..60).prop_map(|n| n.to_string()),
            // The tests allow strings of a megabyte.
            1 => one_of(&["1048575", "1048576", "536870911999", "9223372036854775807", "x"]),
        ]
        .boxed(),
        "db" => one_of(&["0", "1", "2", "15", "16", "-1", "2147483648", "99999999999999999999", "x"]),
        "cursor" => one_of(&["0", "0", "0", "1", "-1", "x", "18446744073709551615", "18446744073709551616", "1x", ""]),
        "pattern" => one_of(&["*", "a", "?", "user:*", "u*r:[1]", "[^a]", "[a-c]", "[c-a]", r"\[k\]\*", "[", "[a", r"\", "", "*a*", "[]", r"[\]a]", "*\0*", "[^", "a-", "[a-", "??"]),
        "word" => one_of(&["foo", "bar's", "BAZ", "", "a rather long word, of which several are too much to be quoted in whole"]),
        "sha" => one_of(&["ffffffffffffffffffffffffffffffffffffffff", "abc", ""]),
        "bad" => one_of(&["return 1"]),
        "numkeys" => one_of(&["-1", "x", "1000", "9223372036854775807"]),
        "unknown" => one_of(&["foo", "GETX", "", "clientx", "a rather long name"]),
        "section" => one_of(&["server", "keyspace", "SERVER", "nothing"]),
        _ => {
            let mut options = FAMILIES.iter().flat_map(|family| family.options);
            let (_, options) = options
                .find(|(name, _)| *name == kind)
                .unwrap_or_else(|| panic!("no such kind: {kind}"));
            return select(*options).prop_flat_map(words).boxed();
        }
    };
    text.prop_map(|text| vec![text.into_bytes()]).boxed()
}

fn words(line: &'static str) -> BoxedStrategy<Vec<Arg>> {
    let parts: Vec<_> = line
        .split(' ')
        .map(|word| {
            let (word, many) = match word.strip_suffix('*') {
                Some(kind) if kind.ends_with('>') => (kind, true),
                _ => (word, false),
            };
            let kind = word
                .strip_prefix('<')
                .and_then(|word| word.strip_suffix('>'));
            match kind {
                Some(kind) if many => vec(phrase(kind), 0..4)
                    .prop_map(|phrases| phrases.concat())
                    .boxed(),
                Some(kind) => phrase(kind),
                None => Just(vec![word.as_bytes().to_vec()]).boxed(),
            }
        })
        .collect();
    parts.prop_map(|phrases| phrases.concat()).boxed()
}

/// Whether a command waits for as long as its arguments say, or changes something at random without one of them.
fn is_delicate(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name).to_uppercase();
    name == "SPOP"
        || name.starts_with("BZ")
        || ["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP"].contains(&name.as_str())
}

/// A command that is mostly right: in letters of any case, and now and then with an argument too much, one
/// missing, or one that is hostile.
fn command(focus: &'static Family) -> impl Strategy<Value = Vec<Arg>> {
    let all: Vec<_> = FAMILIES.iter().flat_map(|family| family.commands).collect();
    let args = prop_oneof![
        3 => select(focus.commands).prop_flat_map(words),
        1 => select(all).prop_flat_map(|line| words(line)),
    ];
    let damage = prop_oneof![
        12 => Just(None),
        1 => (any::<prop::sample::Index>(), Just(None)).prop_map(Some),
        1 => (any::<prop::sample::Index>(), select(&HOSTILE[..]).prop_map(Some)).prop_map(Some),
    ];
    (args, any::<u32>(), damage).prop_map(|(mut args, case, damage)| {
        for (at, letter) in args[0].iter_mut().enumerate() {
            if case >> 31 == 1 && case >> (at % 31) & 1 == 1 {
                letter.make_ascii_lowercase();
            }
        }
        match damage {
            None => {}
            _ if is_delicate(&args[0]) => {}
            // What is quoted in an error must be text, or redis-rs cannot read the reply: so nothing else
            // may move to where an option belongs.
            Some((at, None))
                if args.len() > 1 && args.iter().all(|arg| str::from_utf8(arg).is_ok()) =>
            {
                args.remove(1 + at.index(args.len() - 1));
            }
            Some((at, Some(hostile))) if at.index(args.len() + 1) > 0 => {
                let at = at.index(args.len() + 1);
                args.truncate(args.len().max(at));
                if at < args.len() {
                    args[at] = hostile.into();
                } else {
                    args.push(hostile.into());
                }
            }
            Some(_) => {}
        }
        streams::tame(&mut args);
        args
    })
}

/// Steps, most of them from one family: else most commands would find a key of another type.
pub(crate) fn steps(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    select(FAMILIES).prop_flat_map(move |focus| vec(step(focus), count.clone()))
}

fn step(focus: &'static Family) -> impl Strategy<Value = Step> {
    let scan_options =
        vec(phrase("scanopt"), 0..3).prop_map(|phrases| Step::Scan(phrases.concat()));
    prop_oneof![
        10 => command(focus).prop_map(Step::Command),
        2 => (vec(command(focus), 1..6), any::<bool>()).prop_map(|(commands, atomic)| Step::Pipeline { commands, atomic }),
        1 => scan_options,
    ]
}
