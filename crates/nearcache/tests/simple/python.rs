//! Beside Python's own cachelib: on a real Redis, and on the embedded store's port.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nearcache::simple::{Integer, Value};
use nearcache::{Cache, ErrorKind, Remaining};
use nearcache_testkit::{Python, Redis, random_prefix};

use crate::face::{Face, run};
use crate::simple_face::Simple;

/// A cache of both languages: here, and there.
struct Both {
    simple: nearcache::simple::SimpleCache,
    cache: Cache,
    prefix: String,
    python: Python,
    port: u16,
}

/// What every program begins with: `cache`, a `RedisCache`, and `r`, its client.
const PRELUDE: &str = r#"
import cachelib, datetime, decimal, pickle, random, redis, sys
port, prefix = int(sys.argv[1]), sys.argv[2]
r = redis.Redis(host="127.0.0.1", port=port)
cache = cachelib.RedisCache(r, key_prefix=prefix)

def shown(value):
    """A text that is the same for the same values, of the same types."""
    if isinstance(value, (list, tuple)):
        parts = map(shown, value)
    elif isinstance(value, dict):
        parts = sorted(f"{shown(k)}: {shown(v)}" for k, v in value.items())
    elif isinstance(value, (set, frozenset)):
        parts = sorted(map(shown, value))
    elif type(value) is int:
        parts = [hex(value)]
    else:
        parts = [repr(value)]
    return f"{type(value).__name__}({', '.join(parts)})"

def check(name, got, want):
    if shown(got) != shown(want):
        sys.exit(f"{name}: {got!r} is not {want!r}")
"#;

impl Both {
    fn python(&self, program: &str) -> String {
        let program = format!("{PRELUDE}\n{program}");
        let port = self.port.to_string();
        self.python.run(&program, &[&port, &self.prefix])
    }
}

/// Runs a test on a real Redis and on the port of an embedded store. Without a Python it says so, and is skipped.
fn with_python(test: impl AsyncFn(Both)) {
    let Some(python) = Python::find() else { return };
    run(async {
        let redis = Redis::shared();
        let prefix = random_prefix();
        let cache = Cache::builder(&redis.url()).timeout("10s").build();
        let cache = cache.expect("a cache");
        let simple = nearcache::simple::SimpleCache::new(&cache).key_prefix(&prefix);
        test(Both {
            simple,
            cache,
            prefix,
            python,
            port: redis.port(),
        })
        .await;

        #[cfg(feature = "serve")]
        {
            let store = nearcache::embedded::Store::new();
            let server = nearcache::serve(&store).bind("127.0.0.1:0");
            let server = server.start().await.expect("a free port");
            let port = server.local_addr().expect("it listens on TCP").port();
            let serving = tokio::spawn(async move { server.serve().await });
            // Python goes through the port, and this program has the store itself.
            let cache = Cache::builder("memory://").store(&store).build();
            let cache = cache.expect("a cache");
            let prefix = random_prefix();
            let simple = nearcache::simple::SimpleCache::new(&cache).key_prefix(&prefix);
            test(Both {
                simple,
                cache,
                prefix,
                python: Python::find().expect("it was there"),
                port,
            })
            .await;
            serving.abort();
        }
    });
}

/// Values by the text that makes them in Python.
fn samples() -> Vec<(&'static str, Value)> {
    let big: Integer = "1180591620717411303424".parse().expect("an integer");
    let less: Integer = "-9223372036854775809".parse().expect("an integer");
    vec![
        ("0", 0.into()),
        ("-1", (-1).into()),
        ("2**63 - 1", i64::MAX.into()),
        ("-2**63 - 1", less.into()),
        ("2**70", big.clone().into()),
        ("None", Value::None),
        ("True", true.into()),
        ("False", false.into()),
        ("0.1", 0.1.into()),
        ("-0.0", (-0.0).into()),
        ("float('inf')", f64::INFINITY.into()),
        ("float('nan')", f64::NAN.into()),
        ("''", "".into()),
        ("'text'", "text".into()),
        ("'Zoë 张 🦀 \\0'", "Zoë 张 🦀 \0".into()),
        ("'x' * 70000", "x".repeat(70_000).into()),
        ("b''", Value::Bytes(Vec::new())),
        ("bytes(range(256))", Value::Bytes((0..=255).collect())),
        ("b'\\xff' * 70000", Value::Bytes(vec![0xff; 70_000])),
        ("[]", Value::List(Vec::new())),
        ("()", Value::Tuple(Vec::new())),
        ("{}", Value::Dict(BTreeMap::new())),
        ("set()", Value::Set([].into())),
        ("frozenset()", Value::FrozenSet([].into())),
        (
            "[1, 'a', None]",
            Value::List(vec![1.into(), "a".into(), Value::None]),
        ),
        ("(1,)", Value::Tuple(vec![1.into()])),
        ("(1, 2)", Value::Tuple(vec![1.into(), 2.into()])),
        (
            "(1, 2, 3)",
            Value::Tuple(vec![1.into(), 2.into(), 3.into()]),
        ),
        (
            "tuple(range(300))",
            Value::Tuple((0..300).map(Value::from).collect()),
        ),
        (
            "list(range(3000))",
            Value::List((0..3_000).map(Value::from).collect()),
        ),
        (
            "{'a': 1, 'b': [2.5, {'c': None}]}",
            Value::from([
                ("a", Value::from(1)),
                (
                    "b",
                    Value::List(vec![2.5.into(), [("c", Value::None)].into()]),
                ),
            ]),
        ),
        (
            "{1: 'x', (2, b'y'): 'z', None: True}",
            Value::from([
                (Value::from(1), Value::from("x")),
                (
                    Value::Tuple(vec![2.into(), Value::Bytes(b"y".to_vec())]),
                    "z".into(),
                ),
                (Value::None, true.into()),
            ]),
        ),
        (
            "{i: str(i) for i in range(2000)}",
            Value::Dict(
                (0..2_000)
                    .map(|i| (Value::from(i), Value::from(i.to_string())))
                    .collect(),
            ),
        ),
        (
            "set(range(2000))",
            Value::Set((0..2_000).map(Value::from).collect()),
        ),
        (
            "{frozenset({1, 2}), 'a'}",
            Value::Set([Value::FrozenSet([1.into(), 2.into()].into()), "a".into()].into()),
        ),
        ("[2**70, -2**70, 2**2000]", {
            let mut bytes = vec![0; 250];
            bytes.push(1);
            let negative: Integer = "-1180591620717411303424".parse().expect("an integer");
            Value::List(vec![
                big.into(),
                negative.into(),
                Integer::from_le_bytes(&bytes).into(),
            ])
        }),
        ("[[[[[[[[[[]]]]]]]]]]", {
            (0..9).fold(Value::List(Vec::new()), |inner, _| Value::List(vec![inner]))
        }),
    ]
}

#[test]
fn what_python_wrote_is_read() {
    with_python(async |both| {
        let mut program = String::from("values = [");
        for (text, _) in samples() {
            let _ = write!(program, "{text}, ");
        }
        program += "]\nfor i, value in enumerate(values): assert cache.set(i, value)\n";
        // As cachelib did in each of its times: every protocol, and integers as pickles, too.
        program += "for p in range(6):\n  for i, v in enumerate(values): r.set(f'{prefix}{p}:{i}', b'!' + pickle.dumps(v, p))";
        both.python(&program);
        for (index, (text, value)) in samples().into_iter().enumerate() {
            let read = both.simple.get(index).await.unwrap();
            assert_eq!(read, Some(value.clone()), "{text}");
            for protocol in 0..6 {
                let read = both
                    .simple
                    .get(format!("{protocol}:{index}"))
                    .await
                    .unwrap();
                assert_eq!(read, Some(value.clone()), "{text} in protocol {protocol}");
            }
        }
    });
}

#[test]
fn what_is_written_here_python_reads() {
    with_python(async |both| {
        let mut program = String::new();
        for (index, (text, value)) in samples().into_iter().enumerate() {
            assert!(both.simple.set(index, value).await.unwrap());
            let _ = writeln!(program, "check({index}, cache.get({index}), {text})");
        }
        program += "check('ttl', 100 < r.ttl(f'{prefix}0') <= 300, True)";
        both.python(&program);
    });
}

/// Values that Python makes up are read here, written here again, and compared there with what they were.
#[test]
fn whatever_python_makes_up_comes_back_as_it_was() {
    const MAKE: &str = r#"
random.seed(int(sys.argv[2][1:], 36))
def leaf():
    return random.choice([
        lambda: None, lambda: random.random() < 0.5, lambda: random.randint(-300, 300),
        lambda: random.randint(-2**80, 2**80), lambda: random.gauss(0, 1e9),
        lambda: "".join(chr(random.choice([random.randint(0, 127), random.randint(0xa0, 0xd7ff), random.randint(0x10000, 0x10ffff)]))
                        for _ in range(random.randint(0, 300))),
        lambda: random.randbytes(random.randint(0, 300))])()
def key(depth):
    if depth and random.random() < 0.2:
        return random.choice([tuple, frozenset])(key(depth - 1) for _ in range(random.randint(0, 4)))
    return leaf()
def value(depth):
    if depth == 0 or random.random() < 0.3:
        return leaf()
    return random.choice([
        lambda: [value(depth - 1) for _ in range(random.randint(0, 6))],
        lambda: tuple(value(depth - 1) for _ in range(random.randint(0, 6))),
        lambda: {key(2): value(depth - 1) for _ in range(random.randint(0, 6))},
        lambda: {key(2) for _ in range(random.randint(0, 6))},
        lambda: [[leaf()] * 3] * 3])()
values = [value(4) for _ in range(400)]
"#;
    with_python(async |both| {
        let write = "for i, v in enumerate(values): r.set(f'{prefix}{i}', cache.serializer.dumps(v, i % 6))";
        both.python(&format!("{MAKE}\n{write}"));
        for index in 0..400 {
            let value = both.simple.get(index).await.unwrap();
            let value =
                value.unwrap_or_else(|| panic!("value {index} of {} is not read", both.prefix));
            assert!(
                both.simple
                    .set(format!("again:{index}"), value)
                    .await
                    .unwrap()
            );
        }
        let compare = "for i, v in enumerate(values): check(i, cache.get(f'again:{i}'), v)";
        both.python(&format!("{MAKE}\n{compare}"));
    });
}

/// Bytes that are no pickle: Python's `int()` decides what is an integer.
#[test]
fn what_is_no_pickle_is_read_as_python_reads_it() {
    const MAKE: &str = r#"
random.seed(int(sys.argv[2][1:], 36))
letters = [b"0", b"7", b"00", b"_", b"-", b"+", b" ", b"\n", b"\t", b"\x0b", b"\x1c", b"\x85", b".", b"e", b"\0", b"\xff", b"1234567890"]
texts = [b"".join(random.choices(letters, k=random.randint(1, 6))) for _ in range(400)]
texts += [b"9" * 4300, b"9" * 4301, b"-" + b"9" * 4300, b"0" * 4301, b"1_" * 4299 + b"1", b"1_" * 4300 + b"1"]
"#;
    with_python(async |both| {
        let write = "for i, t in enumerate(texts): r.set(f'{prefix}{i}', t)";
        both.python(&format!("{MAKE}\n{write}"));
        for index in 0..406 {
            let value = both.simple.get(index).await.unwrap();
            let value =
                value.unwrap_or_else(|| panic!("text {index} of {} is not read", both.prefix));
            assert!(
                both.simple
                    .set(format!("again:{index}"), value)
                    .await
                    .unwrap()
            );
        }
        let compare =
            "for i, t in enumerate(texts): check(t, cache.get(f'again:{i}'), cache.get(i))";
        both.python(&format!("{MAKE}\n{compare}"));
    });
}

#[test]
fn what_is_no_plain_data_is_none_and_stays() {
    with_python(async |both| {
        both.python(
            r#"
values = [datetime.datetime(2026, 11, 26), decimal.Decimal("1.5"), 1j, range(3), len, "\ud800", object(), sys.exit, [[datetime.date.min]]]
for i, v in enumerate(values): assert cache.set(i, v)
deep = []
for _ in range(200): deep = [deep]
assert cache.set("deep", deep)
assert cache.set("many", [None] * 1000000)
"#,
        );
        let keys = (0..9).map(|index| index.to_string());
        for key in keys.chain(["deep".to_owned(), "many".to_owned()]) {
            assert_eq!(both.simple.get(&key).await.unwrap(), None, "{key}");
            assert!(both.simple.has(&key).await.unwrap(), "{key}");
            assert!(!both.simple.add(&key, 1).await.unwrap(), "{key}");
        }
        both.python("check('date', cache.get(0), datetime.datetime(2026, 11, 26)); check('deep', type(cache.get('deep')), list)");
    });
}

#[test]
fn both_count_one_counter_and_see_one_ttl() {
    with_python(async |both| {
        both.python("cache.set('n', 40, timeout=1000); cache.inc('m', 2); cache.set('p', True); r.set(prefix + 'old', b'!' + pickle.dumps(7))");
        assert_eq!(both.simple.inc("n").await.unwrap(), Some(41));
        assert_eq!(both.simple.dec("m").delta(5).await.unwrap(), Some(-3));
        let left = both.cache.ttl(format!("{}n", both.prefix)).await.unwrap();
        assert!(matches!(left, Remaining::In(left) if (500..=1_000).contains(&left.as_secs())));
        for key in ["p", "old"] {
            let error = both.simple.inc(key).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotInteger, "{key}");
        }
        assert_eq!(both.simple.get("old").await.unwrap(), Some(7.into()));
        assert!(both.simple.set("never", 1).timeout(0).await.unwrap());
        assert!(both.simple.add("soon", 1).timeout(1_000).await.unwrap());
        both.python(
            r#"
check("n", cache.inc("n"), 42)
check("m", cache.get("m"), -3)
check("m ttl", r.ttl(prefix + "m"), -1)
check("never", r.ttl(prefix + "never"), -1)
check("soon", 500 < r.ttl(prefix + "soon") <= 1000, True)
check("many", cache.get_many("n", "x", "never"), [42, None, 1])
check("deleted", cache.delete_many("n", "x"), ["n", "x"])
"#,
        );
        assert_eq!(
            both.simple.delete_many(["m", "x"]).await.unwrap(),
            ["m", "x"]
        );
        both.python("check('has', cache.has('m'), False); check('clear', cache.clear(), True)");
        assert!(!both.simple.clear().await.unwrap());
        both.python("check('clear', cache.clear(), False)");
    });
}

/// Its blocking form reads the same.
#[test]
fn blocking_callers_read_it_as_well() {
    with_python(async |both| {
        both.python("cache.set('user', {'name': 'Zoë', 'tags': ('a', {1})})");
        let blocking = both.cache.blocking().unwrap();
        let simple = Simple::over(&Face::Blocking(blocking));
        let simple = with!(simple, key_prefix(&both.prefix));
        let user = simply!(simple.get("user")).unwrap().unwrap();
        assert_eq!(user.get("name").and_then(Value::as_str), Some("Zoë"));
        assert!(simply!(simple.set("user", user)).unwrap());
        both.python("check('user', cache.get('user'), {'name': 'Zoë', 'tags': ('a', {1})})");
    });
}
