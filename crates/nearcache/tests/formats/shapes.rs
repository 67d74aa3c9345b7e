//! Every shape that serde has comes back as it was, in every codec.

use std::collections::BTreeMap;

use nearcache::blocking::Cache;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::all_codecs;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    Newtype(String),
    Tuple(i8, bool),
    Struct { a: u32, b: Option<Box<Choice>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    numbers: (u8, u16, u32, u64, i8, i16, i32, i64),
    wide: (u128, i128),
    floats: (f32, f64),
    letter: char,
    text: String,
    bytes: Vec<u8>,
    some: Option<Option<u8>>,
    unit: Unit,
    newtype: Newtype,
    choices: Vec<Choice>,
    by_number: BTreeMap<i64, String>,
    by_text: BTreeMap<String, Vec<f64>>,
    renamed: Renamed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    long_name: bool,
    #[serde(default)]
    left_out: u8,
}

fn choice() -> impl Strategy<Value = Choice> {
    let leaf = prop_oneof![
        Just(Choice::Unit),
        ".*".prop_map(Choice::Newtype),
        any::<(i8, bool)>().prop_map(|(a, b)| Choice::Tuple(a, b)),
    ];
    leaf.prop_recursive(3, 8, 1, |inner| {
        (any::<u32>(), proptest::option::of(inner.prop_map(Box::new)))
            .prop_map(|(a, b)| Choice::Struct { a, b })
    })
}

fn finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
}

fn everything() -> impl Strategy<Value = Everything> {
    (
        any::<(u8, u16, u32, u64, i8, i16, i32, i64)>(),
        any::<(u128, i128)>(),
        (any::<i32>(), finite()),
        (any::<char>(), ".*", any::<Vec<u8>>()),
        any::<Option<u8>>(),
        proptest::collection::vec(choice(), 0..4),
        proptest::collection::btree_map(any::<i64>(), ".*", 0..4),
        proptest::collection::btree_map(".*", proptest::collection::vec(finite(), 0..3), 0..3),
        any::<(bool, u8, u64)>(),
    )
        .prop_map(
            |(numbers, wide, floats, texts, some, choices, by_number, by_text, rest)| {
                Everything {
                    numbers,
                    wide,
                    floats: (floats.0 as f32, floats.1),
                    letter: texts.0,
                    text: texts.1,
                    bytes: texts.2,
                    // `Some(None)` is `null` in JSON, as `None` is.
                    some: some.map(Some),
                    unit: Unit,
                    newtype: Newtype(rest.2),
                    choices,
                    by_number,
                    by_text,
                    renamed: Renamed {
                        long_name: rest.0,
                        left_out: rest.1,
                    },
                }
            },
        )
}

fn back<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static>(
    cache: &Cache,
    value: &T,
) -> Option<T> {
    cache.set("k", value).run().unwrap();
    cache.get("k").run().unwrap()
}

proptest! {
    #[test]
    fn all_of_them_come_back(value in everything()) {
        for codec in all_codecs() {
            let cache = Cache::builder("memory://").codec(codec.clone()).build().unwrap();
            prop_assert_eq!(back(&cache, &value), Some(value.clone()), "{:?}", codec);
            for choice in &value.choices {
                prop_assert_eq!(back(&cache, choice), Some(choice.clone()), "{:?}", codec);
            }
            prop_assert_eq!(back(&cache, &value.by_number), Some(value.by_number.clone()));
            prop_assert_eq!(back(&cache, &value.wide), Some(value.wide));
            prop_assert_eq!(back(&cache, &value.floats.1), Some(value.floats.1));
        }
    }

    /// Whatever bytes there are, in whatever form they say they are.
    #[test]
    fn no_entry_panics(flags in 0u8..32, format in 0u8..4, packing in 0u8..5, length: u32, rest: Vec<u8>) {
        let mut entry = vec![0xC1, b'N', b'C', 1, flags];
        if flags & 1 != 0 {
            entry.extend_from_slice(&[0xFF; 8]);
        }
        if flags & 2 != 0 {
            entry.extend_from_slice(&[0; 4]);
        }
        if flags & 8 != 0 {
            entry.push(format);
        }
        if flags & 16 != 0 {
            entry.push(packing);
            entry.extend_from_slice(&(length % 10_000).to_be_bytes());
        }
        entry.extend_from_slice(&rest);
        let cache = Cache::open("memory://").unwrap();
        let mut connection = cache.connection().run().unwrap();
        let () = redis::cmd("SET").arg("k").arg(entry).query(&mut connection).unwrap();
        let _ = cache.get::<nearcache::Raw>("k").run().unwrap();
        let _ = cache.get::<Everything>("k").run().unwrap();
        let _ = cache.get::<serde_json::Value>("k").run().unwrap();
    }
}

#[test]
fn a_float_that_is_no_number_comes_back_where_the_format_has_one() {
    for codec in all_codecs() {
        let cache = Cache::builder("memory://")
            .codec(codec.clone())
            .build()
            .unwrap();
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            if codec.format() == nearcache::Format::Json {
                // It could not be read back, so it is not written.
                let error = cache.set("k", &float).run().unwrap_err();
                assert_eq!(error.kind(), nearcache::ErrorKind::Codec);
                assert!(
                    error.to_string().contains("could not be read back"),
                    "{error}"
                );
            } else {
                let found = back(&cache, &float);
                assert_eq!(found.map(f64::to_bits), Some(float.to_bits()));
            }
        }
    }
}
