//! Under which key a call is remembered.

use std::collections::{BTreeMap, HashMap};

use nearcache::{Cache, ErrorKind, Key, cached};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Runs, everywhere};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Org {
    id: u64,
    name: String,
}

fn acme() -> Org {
    Org {
        id: 7,
        name: "acme".into(),
    }
}

fn cache() -> Cache {
    Cache::open("memory://").expect("a cache")
}

mod template {
    use super::*;

    #[cached(cache = cache, key = "n:{n}")]
    pub(super) async fn named(cache: Cache, n: u32) -> u32 {
        n
    }

    #[cached(cache = cache, key = "{1}:{2}")]
    pub(super) async fn counted(cache: Cache, n: u32, text: &str) -> u32 {
        n
    }

    #[cached(cache = cache, key = "{n:04}|{org:?}|{price:.digits$}|{{{n}}}")]
    pub(super) async fn formatted(
        cache: Cache,
        n: u32,
        org: Option<&str>,
        price: f64,
        digits: usize,
    ) -> u32 {
        n
    }

    #[cached(cache = cache, key = "{org.id}:{org.name:>6}:{pair.0}:{3.1}")]
    pub(super) async fn fields(cache: Cache, org: &Org, pair: (u8, u8), other: (u8, u8)) -> u64 {
        org.id
    }

    #[cached(cache = cache, key = "{id}:{from}-{to}")]
    pub(super) async fn taken_apart(
        cache: Cache,
        Org { id, .. }: Org,
        (from, mut to): (u8, u8),
        _: u8,
    ) -> u64 {
        to += 1;
        id + u64::from(from) + u64::from(to)
    }

    #[cached(cache = cache, key = "{{all}}")]
    pub(super) async fn of_none(cache: Cache) -> u32 {
        1
    }

    #[cached(cache = cache, key = "{type}:{r#try}")]
    pub(super) async fn raw_names(cache: Cache, r#type: u32, r#try: u32) -> u32 {
        r#type + r#try
    }
}

#[tokio::test]
async fn a_template_is_filled_from_the_arguments() {
    let text = |key: nearcache::Result<Key>| key.unwrap().as_str().unwrap().to_owned();
    let cache = || cache();
    assert_eq!(text(template::named::key(cache(), 7)), "n:7");
    assert_eq!(text(template::counted::key(cache(), 7, "a")), "7:a");
    let formatted = template::formatted::key(cache(), 7, Some("a"), 1.5, 3);
    assert_eq!(text(formatted), "0007|Some(\"a\")|1.500|{7}");
    let fields = template::fields::key(cache(), &acme(), (1, 2), (3, 4));
    assert_eq!(text(fields), "7:  acme:1:4");
    let apart = template::taken_apart::key(cache(), acme(), (1, 2), 3);
    assert_eq!(text(apart), "7:1-2");
    assert_eq!(text(template::of_none::key(cache())), "{all}");
    assert_eq!(text(template::raw_names::key(cache(), 1, 2)), "1:2");
    // And they run.
    assert_eq!(template::taken_apart(cache(), acme(), (1, 2), 3).await, 11);
    assert_eq!(template::raw_names(cache(), 1, 2).await, 3);
}

mod expression {
    use super::*;

    #[cached(cache = cache, key = format!("{}-{text}", n + 1))]
    pub(super) async fn expression(cache: Cache, n: u32, text: &str) -> u32 {
        n
    }

    #[cached(cache = cache, key = |_, n, text| format!("{}-{}", n + 1, text.len()))]
    pub(super) async fn closure(cache: Cache, n: u32, text: &str) -> u32 {
        n
    }

    #[cached(cache = cache, key = |_: &Cache, _n, text: &str| text)]
    pub(super) async fn borrowed(cache: Cache, n: u32, text: &str) -> u32 {
        n
    }

    #[cached(cache = cache, key = key_of(n))]
    pub(super) async fn fallible(cache: Cache, n: u32) -> nearcache::Result<u32> {
        Ok(n)
    }

    fn key_of(n: u32) -> Result<Vec<u8>, std::io::Error> {
        match n {
            0 => Err(std::io::Error::other("no key of nothing")),
            n => Ok(n.to_be_bytes().to_vec()),
        }
    }

    #[cached(cache = cache, key = b"\xff\x00")]
    pub(super) async fn bytes(cache: Cache) -> u32 {
        1
    }
}

#[tokio::test]
async fn a_key_is_an_expression_or_a_closure_as_well() {
    let key = expression::expression::key(cache(), 1, "abc").unwrap();
    assert_eq!(key, "2-abc");
    let key = expression::closure::key(cache(), 1, "abc").unwrap();
    assert_eq!(key, "2-3");
    assert_eq!(expression::borrowed::key(cache(), 1, "abc").unwrap(), "abc");
    let key = expression::fallible::key(cache(), 1).unwrap();
    assert_eq!(key.as_bytes(), [0, 0, 0, 1]);
    let error = expression::fallible(cache(), 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    assert!(error.to_string().contains("no key of nothing"), "{error}");
    let key = expression::bytes::key(cache()).unwrap();
    assert_eq!(key.as_bytes(), b"\xff\0");
    assert_eq!(expression::bytes(cache()).await, 1);
}

mod by_default {
    use super::*;

    #[cached(cache = cache)]
    pub(super) async fn plain(cache: &Cache, n: u64, text: &str) -> u64 {
        n
    }

    #[cached(cache = cache)]
    pub(super) async fn nothing(cache: &Cache) -> u64 {
        1
    }

    #[cached(cache = cache)]
    pub(super) async fn generic<T, const N: usize>(cache: &Cache, list: &[u8]) -> u64
    where
        T: Default + Into<u64>,
    {
        T::default().into() + list.len() as u64 + N as u64
    }

    #[cached(cache = cache)]
    pub(super) async fn of_any(
        cache: &Cache,
        value: impl Serialize + Send + 'static,
    ) -> Option<String> {
        serde_json_like(&value)
    }

    fn serde_json_like<T>(_: &T) -> Option<String> {
        Some(std::any::type_name::<T>().to_owned())
    }

    #[derive(Clone)]
    pub(super) struct Repo<T> {
        pub(super) cache: Cache,
        pub(super) marker: std::marker::PhantomData<T>,
    }

    impl<T: Clone + Send + Sync + 'static> Repo<T> {
        #[cached(cache = self.cache)]
        pub(super) async fn find(&self, n: u64) -> u64 {
            n
        }
    }

    #[cached(cache = cache)]
    pub(super) async fn everything(
        cache: &Cache,
        text: String,
        list: Vec<String>,
        option: Option<Option<u8>>,
        float: f64,
        map: HashMap<String, i8>,
        any: Any,
        char: char,
    ) -> u8 {
        0
    }
}

/// One of each form that serde knows, told apart by no tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Unit,
    Bool(bool),
    Number(i32),
    Float(f32),
    Text(String),
    List(Vec<Any>),
    Fields { a: u8, b: Option<String> },
    Variant(Variant),
    Map(HashMap<String, u8>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Variant {
    None,
    One(u8),
    Two(u8, String),
    Fields { a: u8 },
}

#[test]
fn by_default_it_is_the_function_and_all_its_arguments() {
    let cache = &cache();
    let text = |key: nearcache::Result<Key>| key.unwrap().as_str().unwrap().to_owned();
    assert_eq!(
        text(by_default::plain::key(cache, 7, "a \"b\"\n")),
        r#"decorator::keys::by_default::plain(7,"a \"b\"\ua;")"#
    );
    assert_eq!(
        text(by_default::nothing::key(cache)),
        "decorator::keys::by_default::nothing()"
    );
    assert_eq!(
        text(by_default::generic::key::<u8, 2>(cache, &[1, 2])),
        "decorator::keys::by_default::generic<u8,2>([1,2])"
    );
    assert_eq!(
        text(by_default::of_any::key(cache, 1_u8)),
        "decorator::keys::by_default::of_any(u8 1)"
    );
    let repo = by_default::Repo {
        cache: cache.clone(),
        marker: std::marker::PhantomData::<u8>,
    };
    assert_eq!(
        text(repo.find_key(3)),
        "decorator::keys::by_default::Repo<u8>::find(3)"
    );
}

#[test]
fn functions_within_functions_have_keys_of_their_own() {
    fn one(cache: &Cache) -> Key {
        #[cached(cache = cache)]
        async fn inner(cache: &Cache) -> u8 {
            1
        }
        inner::key(cache).unwrap()
    }
    fn two(cache: &Cache) -> Key {
        #[cached(cache = cache)]
        async fn inner(cache: &Cache) -> u8 {
            2
        }
        inner::key(cache).unwrap()
    }
    let cache = cache();
    assert_ne!(one(&cache), two(&cache));
}

#[test]
fn a_generic_function_does_not_answer_one_type_with_anothers() {
    everywhere(async |scene| {
        let cache = &scene.cache;
        let any = by_default::of_any(cache, 1_u8).await;
        assert_eq!(any.as_deref(), Some("u8"));
        let any = by_default::of_any(cache, 1_u16).await;
        assert_eq!(any.as_deref(), Some("u16"));
    });
}

#[test]
fn a_text_may_hold_what_nearcache_keeps_for_itself() {
    everywhere(async |scene| {
        let text = "#nearcache:lease #nearcache:tag:x {}";
        let n = by_default::plain(&scene.cache, 1, text).await;
        assert_eq!(n, 1);
        let key = by_default::plain::key(&scene.cache, 1, text).unwrap();
        assert!(scene.cache.contains(&key).await.unwrap(), "{key:?}");
    });
}

#[test]
fn a_key_that_redis_does_not_take_runs_the_function_or_says_so() {
    everywhere(async |scene| {
        let runs = Runs::default();
        #[cached(cache = cache, key = key)]
        async fn plain(cache: &Cache, key: &str, runs: &Runs) -> usize {
            runs.add()
        }
        #[cached(cache = cache, key = key)]
        async fn fallible(cache: &Cache, key: &str) -> nearcache::Result<usize> {
            Ok(1)
        }
        assert_eq!(plain(&scene.cache, "", &runs).await, 1);
        assert_eq!(plain(&scene.cache, &"x".repeat(100_000), &runs).await, 2);
        let error = fallible(&scene.cache, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
    });
}

fn any() -> impl Strategy<Value = Any> {
    let variant = prop_oneof![
        Just(Variant::None),
        any_with::<u8>(()).prop_map(Variant::One),
        (0..3_u8, text()).prop_map(|(a, b)| Variant::Two(a, b)),
        (0..3_u8).prop_map(|a| Variant::Fields { a }),
    ];
    let leaf = prop_oneof![
        Just(Any::Unit),
        proptest::bool::ANY.prop_map(Any::Bool),
        (-2..2).prop_map(Any::Number),
        prop_oneof![Just(1.0_f32), Just(-0.0), Just(0.5), Just(f32::INFINITY)].prop_map(Any::Float),
        text().prop_map(Any::Text),
        (0..3_u8, proptest::option::of(text())).prop_map(|(a, b)| Any::Fields { a, b }),
        variant.prop_map(Any::Variant),
        proptest::collection::hash_map(text(), 0..2_u8, 0..3).prop_map(Any::Map),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        proptest::collection::vec(inner, 0..3).prop_map(Any::List)
    })
}

/// Short, and full of what keys are written with.
fn text() -> impl Strategy<Value = String> {
    r#"[a"\\,()\[\]:~\n1#é]{0,4}"#
}

type Everything = (
    String,
    Vec<String>,
    Option<Option<u8>>,
    f64,
    HashMap<String, i8>,
    Any,
    char,
);

fn everything() -> impl Strategy<Value = Everything> {
    (
        text(),
        proptest::collection::vec(text(), 0..3),
        proptest::option::of(proptest::option::of(0..2_u8)),
        prop_oneof![
            Just(0.0),
            Just(-1.5),
            Just(f64::INFINITY),
            Just(f64::NEG_INFINITY)
        ],
        proptest::collection::hash_map(text(), 0..2_i8, 0..3),
        any(),
        prop_oneof![Just('"'), Just('\''), Just('\\'), Just('a')],
    )
}

fn key_of(cache: &Cache, (a, b, c, d, e, f, g): Everything) -> Key {
    by_default::everything::key(cache, a, b, c, d, e, f, g).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_two_argument_lists_share_a_key(one in everything(), other in everything()) {
        let cache = cache();
        let same = key_of(&cache, one.clone()) == key_of(&cache, other.clone());
        // Zeros have a sign, which `==` does not see.
        prop_assert_eq!(same, format!("{:?}", sorted(&one)) == format!("{:?}", sorted(&other)));
    }

    #[test]
    fn no_two_values_of_any_form_share_a_key(values in proptest::collection::vec(any(), 2..12)) {
        let cache = cache();
        let key = |value: &Any| {
            key_of(&cache, (String::new(), vec![], None, 0.0, HashMap::new(), value.clone(), 'a'))
        };
        for one in &values {
            for other in &values {
                let equal = sorted_any(one.clone()) == sorted_any(other.clone());
                prop_assert_eq!(key(one) == key(other), equal, "{:?} {:?}", key(one), key(other));
            }
        }
    }

    #[test]
    fn no_two_texts_share_a_key(one in text(), other in text(), list in proptest::collection::vec(text(), 0..3)) {
        let cache = cache();
        let key = |text: &str, list: &[String]| {
            key_of(&cache, (text.into(), list.to_vec(), None, 0.0, HashMap::new(), Any::Unit, 'a'))
        };
        prop_assert_eq!(key(&one, &list) == key(&other, &list), one == other);
        let mut longer = list.clone();
        longer.insert(0, other.clone());
        prop_assert_ne!(key(&one, &list), key(&one, &longer));
        longer.reverse();
        let reversed = longer.iter().rev().eq(longer.iter());
        let straight: Vec<String> = longer.iter().rev().cloned().collect();
        prop_assert_eq!(key(&one, &longer) == key(&one, &straight), reversed);
    }
}

/// Maps have no order.
fn sorted(everything: &Everything) -> impl std::fmt::Debug {
    let (a, b, c, d, e, f, g) = everything.clone();
    let e: BTreeMap<_, _> = e.into_iter().collect();
    (a, b, c, d, e, sorted_any(f), g)
}

fn sorted_any(any: Any) -> String {
    match any {
        Any::Map(map) => {
            let map: BTreeMap<_, _> = map.into_iter().collect();
            format!("map {map:?}")
        }
        Any::List(list) => {
            let list: Vec<_> = list.into_iter().map(sorted_any).collect();
            format!("{list:?}")
        }
        any => format!("{any:?}"),
    }
}
