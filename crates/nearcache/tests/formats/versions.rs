//! Versions of keys: caches of two versions see nothing of each other.

use crate::face::Face;
use crate::target::{Options, Target, keys_matching, raw};

brief_suite! {
    versions_see_nothing_of_each_other,
    a_version_is_a_part_of_the_key,
}

fn of(target: Target, url: &str, prefix: &str, version: Option<&str>) -> Face {
    let options = Options {
        prefix,
        version,
        ..Options::default()
    };
    target.build(url, options).unwrap()
}

async fn versions_see_nothing_of_each_other(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let (old, new) = (
        of(target, &url, &prefix, Some("v1")),
        of(target, &url, &prefix, Some("v2")),
    );
    call!(old.set("user:1", "of the old").tags(["users"])).unwrap();
    assert_eq!(call!(new.get::<String>("user:1")).unwrap(), None);
    call!(new.set("user:1", &2).tags(["users"])).unwrap();
    call!(new.invalidate_tag("users")).unwrap();
    assert_eq!(call!(new.get::<u8>("user:1")).unwrap(), None);
    assert_eq!(
        call!(old.get::<String>("user:1")).unwrap().as_deref(),
        Some("of the old")
    );
    call!(new.clear()).unwrap();
    assert_eq!(keys_matching(&old, b"*").await, [b"user:1"]);
    assert!(keys_matching(&new, b"*").await.is_empty());
}

async fn a_version_is_a_part_of_the_key(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let url = target.url(&prefix);
    let join = if url.contains('?') { '&' } else { '?' };
    for cache in [
        of(target, &url, &prefix, Some("v7")),
        of(target, &format!("{url}{join}version=v7"), &prefix, None),
    ] {
        call!(cache.set("k", &1)).unwrap();
        let stored = format!("{prefix}:v7:k");
        let found = raw(&cache, &[b"GETDEL", stored.as_bytes()]).await;
        assert_eq!(found, ::redis::Value::BulkString(b"1".to_vec()));
    }
}

#[test]
fn an_empty_version_is_an_error() {
    let error = nearcache::Cache::builder("memory://").version("").build();
    assert!(error.unwrap_err().to_string().contains("version is empty"));
    let error = nearcache::Cache::open("memory://?version=").unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
}

#[test]
fn a_codec_in_the_url_that_is_none_is_pointed_at() {
    for (url, help) in [
        ("memory://?format=msgpak", "write json, msgpack or postcard"),
        ("memory://?compression=gzip", "write zstd, lz4 or zlib"),
        ("memory://?compression=zstd:x", "zstd:1"),
        ("memory://?compression=zstd:23", "-7 to 22"),
        ("memory://?fromat=json", "did you mean \"format\"?"),
    ] {
        let error = nearcache::Cache::open(url).unwrap_err().to_string();
        assert!(error.contains(help), "{error}");
    }
    nearcache::Cache::open("memory://?format=postcard&compression=zlib:9").unwrap();
}
