//! No name of the macro's own is in anybody's way, nor is anybody's in the macro's.

use nearcache::{Cache, blocking, cached};

use crate::{everywhere, everywhere_blocking};

/// Every name that an expansion has, or might have.
#[cached(
    cache = cache,
    key = "{key}:{ttl}:{load}:{__x}:{__cache}:{__key}:{__options}:{__kind}:{__value}:{__self}:{__force}",
    ttl = 1 + key,
    ttl_of = |value: &u64| *value,
    tags = ["{load}", "{value}"],
    condition = __force > 0 && __cache > 0 && __options > 0,
    bypass = __key == 0 || __kind == 0 || __value == 0 || __self == 0
)]
#[allow(clippy::too_many_arguments, reason = "there are many names")]
async fn named(
    cache: &Cache,
    key: u64,
    ttl: u64,
    load: u64,
    __x: u64,
    __cache: u64,
    __key: u64,
    __options: u64,
    __kind: u64,
    __value: u64,
    __self: u64,
    __force: u64,
    value: u64,
    options: u64,
    errand: u64,
) -> u64 {
    let first = key + ttl + load + __x + __cache + __key + __options;
    first + __kind + __value + __self + __force + value + options + errand
}

/// Every name that an expansion has, or might have.
#[cached(
    cache = cache,
    key = "{key}:{ttl}:{load}:{__x}:{__cache}:{__key}:{__options}:{__kind}:{__value}:{__self}:{__force}",
    ttl = 1 + key,
    ttl_of = |value: &u64| *value,
    tags = ["{load}", "{value}"],
    condition = __force > 0 && __cache > 0 && __options > 0,
    bypass = __key == 0 || __kind == 0 || __value == 0 || __self == 0
)]
#[allow(clippy::too_many_arguments, reason = "there are many names")]
fn named_blocking(
    cache: &blocking::Cache,
    key: u64,
    ttl: u64,
    load: u64,
    __x: u64,
    __cache: u64,
    __key: u64,
    __options: u64,
    __kind: u64,
    __value: u64,
    __self: u64,
    __force: u64,
    value: u64,
    options: u64,
    errand: u64,
) -> u64 {
    let first = key + ttl + load + __x + __cache + __key + __options;
    first + __kind + __value + __self + __force + value + options + errand
}

#[test]
fn arguments_may_be_called_anything() {
    everywhere(async |scene| {
        let cache = &scene.cache;
        for _ in 0..2 {
            let sum = named(cache, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
            assert_eq!(sum.await, 105);
        }
        let key = named::key(cache, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14).unwrap();
        assert_eq!(key, "1:2:3:4:5:6:7:8:9:10:11");
        assert!(cache.contains(&key).await.unwrap());
    });
    everywhere_blocking(|scene| {
        let sum = named_blocking(&scene.cache, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14);
        assert_eq!(sum, 105);
    });
}

mod hostile {
    //! Names of the standard library and of the crate that mean something else here.

    #![allow(non_camel_case_types, non_upper_case_globals, dead_code, unused_macros)]

    pub(super) use ::nearcache as renamed;

    mod core {}
    mod std {}
    mod nearcache {}
    struct Option;
    struct Result;
    struct Ok;
    struct Err;
    struct Some;
    struct None;
    struct Clone;
    struct Cache;
    struct Options;
    macro_rules! format {
        () => {};
    }

    #[renamed::cached(cache = one, key = "{n}", tags = ["{n}"], ttl = "1m", stale_for = 1 + n)]
    pub(super) async fn among_them(one: renamed::Cache, n: u64) -> u64 {
        n
    }

    #[renamed::cached(crate = renamed, cache = one, store_if = |n: &u64| *n > 0)]
    pub(super) fn by_another_name(one: &renamed::blocking::Cache, n: u64) -> u64 {
        n
    }

    #[renamed::cached(crate = "self::renamed", cache = one, on_error = "execute")]
    pub(super) async fn in_a_text(
        one: &renamed::Cache,
        n: ::core::option::Option<&str>,
    ) -> ::core::result::Result<u64, ::std::fmt::Error> {
        match n {
            ::core::option::Option::None => ::core::result::Result::Ok(0),
            ::core::option::Option::Some(n) => ::core::result::Result::Ok(n.len() as u64),
        }
    }
}

#[test]
fn nothing_that_is_in_scope_is_in_the_way() {
    everywhere(async |scene| {
        assert_eq!(hostile::among_them(scene.cache.clone(), 7).await, 7);
        assert_eq!(hostile::in_a_text(&scene.cache, Some("ab")).await, Ok(2));
        let primed = hostile::in_a_text::prime(&scene.cache, None, 7).await;
        primed.unwrap();
        assert_eq!(hostile::in_a_text(&scene.cache, None).await, Ok(7));
    });
    everywhere_blocking(|scene| {
        assert_eq!(hostile::by_another_name(&scene.cache, 7), 7);
    });
}
