//! What a decorated function returns, and what of it is cached.

use std::borrow::Cow;

use nearcache::{Cache, Raw, Text, blocking, cached};

use crate::{Runs, everywhere, everywhere_blocking};

type Outcome<T> = Result<T, String>;

/// An error that has nothing to say of caches: those that have it say `on_error = "execute"`.
#[cached(cache = cache, key = "aliased:{id}", on_error = "execute")]
async fn aliased(cache: &Cache, id: u32, runs: &Runs) -> Outcome<u32> {
    match runs.add() {
        1 => Err("the first fails".into()),
        run => Ok(id * 100 + run as u32),
    }
}

#[test]
fn an_err_is_not_cached_whatever_the_type_is_called() {
    everywhere(async |scene| {
        let runs = Runs::default();
        let error = aliased(&scene.cache, 1, &runs).await.unwrap_err();
        assert_eq!(error, "the first fails");
        assert_eq!(aliased(&scene.cache, 1, &runs).await, Ok(102));
        assert_eq!(aliased(&scene.cache, 1, &runs).await, Ok(102));
    });
}

trait Source {
    type Answer;
}

struct Here;

impl Source for Here {
    type Answer = std::result::Result<u8, String>;
}

#[cached(cache = cache, key = "k", on_error = "execute")]
fn through_a_trait(cache: &blocking::Cache, runs: &Runs) -> <Here as Source>::Answer {
    match runs.add() {
        1 => Err("the first fails".into()),
        _ => Ok(1),
    }
}

#[test]
fn not_even_where_a_trait_names_it() {
    everywhere_blocking(|scene| {
        let runs = Runs::default();
        through_a_trait(&scene.cache, &runs).unwrap_err();
        assert_eq!(through_a_trait(&scene.cache, &runs), Ok(1));
    });
}

#[cached(cache = cache, key = "found:{id}")]
async fn found(cache: &Cache, id: u32, runs: &Runs) -> Option<String> {
    runs.add();
    (id > 0).then(|| "Alice".to_owned())
}

#[cached(cache = cache, key = "found:{id}")]
fn found_blocking(
    cache: &blocking::Cache,
    id: u32,
    runs: &Runs,
) -> nearcache::Result<Option<String>> {
    runs.add();
    Ok((id > 0).then(|| "Alice".to_owned()))
}

#[test]
fn a_none_is_cached() {
    everywhere(async |scene| {
        let runs = Runs::default();
        for _ in 0..3 {
            assert_eq!(found(&scene.cache, 0, &runs).await, None);
            let alice = found(&scene.cache, 1, &runs).await;
            assert_eq!(alice.as_deref(), Some("Alice"));
        }
        assert_eq!(runs.count(), 2);
    });
    everywhere_blocking(|scene| {
        let runs = Runs::default();
        for _ in 0..3 {
            assert_eq!(found_blocking(&scene.cache, 0, &runs).unwrap(), None);
        }
        assert_eq!(runs.count(), 1);
    });
}

#[test]
fn any_type_that_can_be_stored_is_returned_as_it_was() {
    everywhere(async |scene| {
        #[cached(cache = cache)]
        async fn unit(cache: &Cache, runs: &Runs2) {
            runs.add();
        }
        #[cached(cache = cache)]
        async fn text(cache: &Cache) -> Text {
            Text("null".into())
        }
        #[cached(cache = cache)]
        async fn raw(cache: &Cache) -> Result<Raw, nearcache::Error> {
            Ok(Raw(vec![0, 255]))
        }
        #[cached(cache = cache)]
        async fn cow(cache: &Cache) -> Cow<'static, str> {
            "a".into()
        }
        #[cached(cache = cache)]
        async fn nested(cache: &Cache) -> Vec<(u8, Option<String>)> {
            vec![(1, None), (2, Some("b".into()))]
        }
        let cache = &scene.cache;
        let runs = Runs2::default();
        for _ in 0..2 {
            unit(cache, &runs).await;
            assert_eq!(text(cache).await, Text("null".to_owned()));
            assert_eq!(raw(cache).await.unwrap(), Raw(vec![0, 255]));
            assert_eq!(cow(cache).await, "a");
            let expected = [(1, None), (2, Some("b".to_owned()))];
            assert_eq!(nested(cache).await, expected);
        }
        assert_eq!(runs.0.count(), 1);
    });
}

/// Is nothing in a key.
#[derive(Clone, Debug, Default)]
struct Runs2(Runs);

impl Runs2 {
    fn add(&self) {
        self.0.add();
    }
}

impl serde::Serialize for Runs2 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[cached(cache = cache)]
async fn generic<T>(cache: &Cache, value: T) -> Vec<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    vec![value.clone(), value]
}

#[cached(cache = cache, on_error = "execute")]
fn generic_error<E: std::fmt::Display + Clone + Send + Sync + 'static>(
    cache: &blocking::Cache,
    runs: &Runs2,
    #[allow(unused)] error: &SkippedError<E>,
) -> Result<u8, E> {
    runs.add();
    Err(error.0.clone())
}

/// Is nothing in a key.
struct SkippedError<E>(E);

impl<E> serde::Serialize for SkippedError<E> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn a_generic_function_is_remembered_by_type() {
    everywhere(async |scene| {
        assert_eq!(generic(&scene.cache, 1_u8).await, [1, 1]);
        let texts = generic(&scene.cache, "a".to_owned()).await;
        assert_eq!(texts, ["a", "a"]);
        let texts = generic(&scene.cache, "a".to_owned()).await;
        assert_eq!(texts, ["a", "a"]);
    });
    everywhere_blocking(|scene| {
        let runs = Runs2::default();
        let error = SkippedError("gone");
        for _ in 0..2 {
            let failed = generic_error(&scene.cache, &runs, &error);
            assert_eq!(failed, Err("gone"));
        }
        assert_eq!(runs.0.count(), 2);
    });
}

#[test]
fn what_cannot_be_encoded_is_returned_all_the_same() {
    // A map whose keys are no text has no form in JSON.
    type Odd = std::collections::BTreeMap<(u8, u8), u8>;
    everywhere(async |scene| {
        #[cached(cache = cache, key = "odd")]
        async fn odd(cache: &Cache, runs: &Runs) -> Odd {
            runs.add();
            Odd::from([((1, 2), 3)])
        }
        let runs = Runs::default();
        assert_eq!(odd(&scene.cache, &runs).await[&(1, 2)], 3);
        assert_eq!(runs.count(), 1, "it ran once");
    });
}
