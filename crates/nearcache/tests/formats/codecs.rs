//! A cache reads what any codec wrote, by whichever verb.

use nearcache::{Codec, Compression, Lookup, Raw, Text};
use serde::{Deserialize, Serialize};

use crate::all_codecs;
use crate::face::Face;
use crate::scene::Source;
use crate::target::{Options, Target, raw};

brief_suite! {
    whatever_was_written_is_read_whatever_is_written_now,
    a_nothing_is_one_in_every_format,
    what_is_loaded_is_stored_in_the_codec_and_reaches_those_who_wait,
    many_are_written_and_loaded_in_it,
    a_call_has_a_codec_of_its_own,
    text_and_bytes_stay_as_they_are_and_are_compressed,
    what_another_program_wrote_reads_as_such,
    a_bomb_is_a_miss,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    id: u64,
    title: String,
    words: Vec<String>,
    parent: Option<u64>,
}

fn page() -> Page {
    Page {
        id: 7,
        title: "a page".to_owned(),
        words: vec!["word".to_owned(); 200],
        parent: None,
    }
}

fn with(target: Target, prefix: &str, codec: Codec) -> Face {
    let options = Options {
        prefix,
        codec: Some(codec),
        ..Options::default()
    };
    target.build(&target.url(prefix), options).unwrap()
}

async fn whatever_was_written_is_read_whatever_is_written_now(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let caches: Vec<_> = all_codecs()
        .into_iter()
        .map(|codec| with(target, &prefix, codec))
        .collect();
    for (at, writer) in caches.iter().enumerate() {
        let key = format!("page:{at}");
        call!(writer.set(&key, &page()).tags(["pages"])).unwrap();
        call!(writer.set(format!("plain:{at}"), &page())).unwrap();
        for reader in &caches {
            assert_eq!(call!(reader.get::<Page>(&key)).unwrap(), Some(page()));
            let found = call!(reader.get_many::<Page>([key.clone(), format!("plain:{at}")]));
            assert_eq!(found.unwrap(), [Some(page()), Some(page())]);
        }
    }
    for (at, reader) in caches.iter().enumerate() {
        let key = format!("plain:{at}");
        assert_eq!(call!(reader.take::<Page>(&key)).unwrap(), Some(page()));
    }
}

async fn a_nothing_is_one_in_every_format(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    for codec in all_codecs() {
        let cache = with(target, &prefix, codec.clone());
        call!(cache.set("none", &None::<u8>)).unwrap();
        assert_eq!(call!(cache.lookup::<u8>("none")).unwrap(), Lookup::Nothing);
        assert_eq!(
            call!(cache.lookup::<Page>("none")).unwrap(),
            Lookup::Nothing
        );
        // And what looks like one in a format without types is none.
        for value in [Some(0_u8), Some(1)] {
            call!(cache.set("some", &value)).unwrap();
            let found = call!(cache.lookup::<Option<u8>>("some")).unwrap();
            assert_eq!(found, Lookup::Hit(value), "{codec:?}");
        }
        call!(cache.set("zero", &0_u8)).unwrap();
        assert_eq!(call!(cache.get("zero")).unwrap(), Some(0_u8));
        call!(cache.set("false", &false)).unwrap();
        assert_eq!(call!(cache.get("false")).unwrap(), Some(false));
    }
}

async fn what_is_loaded_is_stored_in_the_codec_and_reaches_those_who_wait(target: Target) {
    for codec in all_codecs() {
        let cache = with(target, &nearcache_testkit::random_prefix(), codec.clone());
        let source = Source::new();
        let first = tokio::spawn(remember!(cache, "page", source.holds(page()); .ttl("1h")));
        source.begun().await;
        let others: Vec<_> = (0..3)
            .map(|_| tokio::spawn(remember!(cache, "page", source.gives(page()))))
            .collect();
        source.go_on();
        assert_eq!(first.await.unwrap().unwrap(), page());
        for other in others {
            assert_eq!(other.await.unwrap().unwrap(), page());
        }
        assert_eq!(call!(cache.get("page")).unwrap(), Some(page()));
        let none = remember!(cache, "none", source.gives(None::<Page>)).await;
        assert_eq!(none.unwrap(), None);
        assert_eq!(
            call!(cache.lookup::<Page>("none")).unwrap(),
            Lookup::Nothing
        );
        let stats = ask!(cache.stats());
        assert_eq!((stats.undecodable, stats.load_errors), (0, 0), "{codec:?}");
    }
}

async fn many_are_written_and_loaded_in_it(target: Target) {
    for codec in all_codecs() {
        let cache = with(target, &nearcache_testkit::random_prefix(), codec.clone());
        let pages = [("a", page()), ("b", page())];
        call!(cache.set_many(pages)).unwrap();
        let found = match &cache {
            Face::Async(cache) => {
                let load = async |keys: Vec<&'static str>| {
                    let loaded = keys.into_iter().map(|key| (key, page()));
                    Ok::<_, nearcache::Error>(loaded.collect::<Vec<_>>())
                };
                cache.remember_many(["a", "c", "c"], load).await
            }
            Face::Blocking(cache) => {
                let load = |keys: Vec<&'static str>| {
                    let loaded = keys.into_iter().map(|key| (key, page()));
                    Ok::<_, nearcache::Error>(loaded.collect::<Vec<_>>())
                };
                cache.remember_many(["a", "c", "c"], load).run()
            }
        };
        assert_eq!(found.unwrap(), vec![Some(page()); 3]);
        assert_eq!(call!(cache.get("c")).unwrap(), Some(page()));
    }
}

async fn a_call_has_a_codec_of_its_own(target: Target) {
    let cache = target.cache();
    call!(cache.with_codec(Codec::postcard()).set("k", &page())).unwrap();
    call!(cache.set("j", &page())).unwrap();
    let form = |bytes: Option<Raw>| bytes.unwrap().0[..2].to_vec();
    assert_eq!(form(call!(cache.get::<Raw>("k")).unwrap()), [7, 6]);
    assert_eq!(form(call!(cache.get::<Raw>("j")).unwrap()), b"{\"");
    assert_eq!(call!(cache.get("k")).unwrap(), Some(page()));
    let wrong = Codec::json().compressed(Compression::zstd().level(99));
    let error = call!(cache.with_codec(wrong).set("k", &page())).unwrap_err();
    assert!(error.to_string().contains("-7 to 22"), "{error}");
}

async fn text_and_bytes_stay_as_they_are_and_are_compressed(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let long = "text ".repeat(1_000);
    for codec in all_codecs() {
        let cache = with(target, &prefix, codec.clone());
        call!(cache.set("text", &Text(&long))).unwrap();
        assert_eq!(call!(cache.get("text")).unwrap(), Some(Text(long.clone())));
        assert_eq!(
            call!(cache.get("text")).unwrap(),
            Some(Raw(long.clone().into_bytes()))
        );
        let stored = raw(&cache, &[b"STRLEN", format!("{prefix}:text").as_bytes()]).await;
        let ::redis::Value::Int(stored) = stored else {
            panic!("STRLEN answers with a number");
        };
        match codec.compression() {
            None => assert_eq!(stored, 5_000),
            Some(_) => assert!(stored < 500, "{stored} with {codec:?}"),
        }
        call!(cache.set("page", &page())).unwrap();
        // What is in another format is no text, and stays.
        let text = call!(cache.get::<Text>("page")).unwrap();
        assert_eq!(text.is_some(), codec.format() == nearcache::Format::Json);
    }
}

async fn what_another_program_wrote_reads_as_such(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = with(target, &prefix, Codec::message_pack());
    let wrote = async |value: &[u8]| {
        let key = format!("{prefix}:foreign");
        raw(&cache, &[b"SET", key.as_bytes(), value]).await;
    };
    wrote(b"{\"id\": 7, \"title\": \"t\", \"words\": [], \"parent\": null, \"more\": 1}").await;
    assert_eq!(call!(cache.get::<Page>("foreign")).unwrap().unwrap().id, 7);
    wrote(b"-12").await;
    assert_eq!(call!(cache.get("foreign")).unwrap(), Some(-12));
    assert_eq!(call!(cache.incr("foreign")).unwrap(), -11);
    wrote("schöner Text".as_bytes()).await;
    assert_eq!(
        call!(cache.get("foreign")).unwrap(),
        Some("schöner Text".to_owned())
    );
    assert_eq!(
        call!(cache.get("foreign")).unwrap(),
        Some(Text("schöner Text".to_owned()))
    );
    wrote(b"\x00\xff").await;
    assert_eq!(
        call!(cache.get("foreign")).unwrap(),
        Some(Raw(b"\x00\xff".to_vec()))
    );
}

async fn a_bomb_is_a_miss(target: Target) {
    let prefix = nearcache_testkit::random_prefix();
    let cache = with(target, &prefix, Codec::json());
    for algorithm in [1, 2, 3] {
        for length in [u32::MAX, 1 << 27, 1 << 20] {
            let mut entry = b"\xC1NC\x01\x10".to_vec();
            entry.push(algorithm);
            entry.extend_from_slice(&length.to_be_bytes());
            entry.extend_from_slice(&[0; 50]);
            let key = format!("{prefix}:bomb");
            raw(&cache, &[b"SET", key.as_bytes(), &entry]).await;
            assert_eq!(call!(cache.get::<Raw>("bomb")).unwrap(), None);
        }
    }
    assert_eq!(ask!(cache.stats()).undecodable, 9);
}
