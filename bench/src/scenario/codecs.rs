//! Formats and compressors: how long each takes to write and read, and how many bytes it needs in Redis.
//!
//! A struct of 300 bytes as JSON, and JSON documents of 1 KiB and 20 KiB; through a cache on the embedded store, and
//! with the libraries alone. Each contender's name contains the size.

use nearcache::blocking::Cache;
use nearcache::{Codec, Compression, Raw};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check;
use crate::Result;
use crate::harness::{Bench, Contender, Unit, on_threads};

const PEER: &str = "json";

/// The clock is read after this many calls.
const AT_ONCE: usize = 32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    created: u64,
    items: Vec<Item>,
    paid: bool,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    article: String,
    pieces: u32,
    price: f64,
}

/// An order with this many items: 5 are 300 bytes as JSON.
fn order(items: u32) -> Order {
    let item = |number: u32| Item {
        article: format!("article-{}", number.wrapping_mul(2_654_435_761) % 100_000),
        pieces: number % 7,
        price: f64::from(number) * 1.25,
    };
    Order {
        id: 4_711,
        customer: "Ada Lovelace".to_owned(),
        created: 1_767_225_600_000,
        items: (0..items).map(item).collect(),
        paid: true,
        note: None,
    }
}

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    for (name, items) in [("300 B", 4), ("1 KiB", 19), ("20 KiB", 400)] {
        let value = order(items);
        let unit = || Unit::Nanos { threads: 1 };
        let title = |what: &str| format!("codecs/{name}/{what}");
        bench.compare(&title("set"), unit(), PEER, |_| through(&value, set))?;
        bench.compare(&title("get"), unit(), PEER, |_| through(&value, get))?;
        bench.compare(&title("encode alone"), unit(), PEER, |_| {
            alone(&value, true)
        })?;
        bench.compare(&title("decode alone"), unit(), PEER, |_| {
            alone(&value, false)
        })?;
    }
    let unit = Unit::Nanos { threads: 1 };
    bench.compare("codecs/envelope", unit, "plain", |_| envelope())
}

fn codecs() -> [(&'static str, Codec); 8] {
    let (json, small) = (Codec::json, Codec::message_pack);
    [
        (PEER, json()),
        ("msgpack", small()),
        ("postcard", Codec::postcard()),
        ("json, lz4", json().compressed(Compression::lz4())),
        (
            "json, zstd:1",
            json().compressed(Compression::zstd().level(1)),
        ),
        ("json, zstd:3", json().compressed(Compression::zstd())),
        ("json, zlib:6", json().compressed(Compression::zlib())),
        (
            "msgpack, zstd:1",
            small().compressed(Compression::zstd().level(1)),
        ),
    ]
}

/// The contender's name with the size; the peer's name stays as it is.
fn named(name: &str, bytes: usize) -> &'static str {
    match name {
        PEER | "plain" => String::from(name).leak(),
        name => format!("{name}: {bytes} B").leak(),
    }
}

fn through(
    value: &Order,
    verb: fn(&Cache, &Order) -> Result<()>,
) -> Result<Vec<Contender<'static>>> {
    let contenders = codecs().into_iter().map(|(name, codec)| {
        let cache = Cache::builder("memory://").codec(codec).build()?;
        cache.set("k", value).run()?;
        let bytes = cache.stats().bytes_out as usize;
        contender(named(name, bytes), cache, value.clone(), verb)
    });
    contenders.collect()
}

fn contender<S: Send + Sync + 'static>(
    name: &'static str,
    state: S,
    value: Order,
    verb: fn(&S, &Order) -> Result<()>,
) -> Result<Contender<'static>> {
    Ok(Contender::new(name, move |span| {
        on_threads(&mut [()], span, AT_ONCE, |(), _, calls| {
            for _ in 0..calls {
                verb(&state, &value)?;
            }
            Ok(())
        })
    }))
}

fn set(cache: &Cache, value: &Order) -> Result<()> {
    Ok(cache.set("k", value).run()?)
}

fn get(cache: &Cache, value: &Order) -> Result<()> {
    let found: Option<Order> = cache.get("k").run()?;
    check(
        found.map_or(0, |found| found.items.len()),
        value.items.len(),
    )
}

/// How a library writes and reads a value.
struct Library {
    encode: fn(&Order) -> Result<Vec<u8>>,
    decode: fn(&[u8]) -> Result<Order>,
    encoded: Vec<u8>,
}

fn alone(value: &Order, encodes: bool) -> Result<Vec<Contender<'static>>> {
    type Both = (fn(&Order) -> Result<Vec<u8>>, fn(&[u8]) -> Result<Order>);
    fn of<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        Ok(serde_json::from_slice(bytes)?)
    }
    let libraries: [(&str, Both); 5] = [
        (
            PEER,
            (
                |value| Ok(serde_json::to_vec(value)?),
                |bytes| Ok(serde_json::from_slice(bytes)?),
            ),
        ),
        (
            "msgpack",
            (
                |value| Ok(rmp_serde::to_vec_named(value)?),
                |bytes| Ok(rmp_serde::from_slice(bytes)?),
            ),
        ),
        (
            "postcard",
            (
                |value| Ok(postcard::to_stdvec(value)?),
                |bytes| Ok(postcard::from_bytes(bytes)?),
            ),
        ),
        (
            "json, lz4",
            (
                |value| {
                    Ok(lz4_flex::block::compress_prepend_size(&serde_json::to_vec(
                        value,
                    )?))
                },
                |bytes| of(&lz4_flex::block::decompress_size_prepended(bytes)?),
            ),
        ),
        (
            "json, zstd:1",
            (
                |value| Ok(zstd::bulk::compress(&serde_json::to_vec(value)?, 1)?),
                |bytes| of(&zstd::bulk::decompress(bytes, 1 << 20)?),
            ),
        ),
    ];
    let contenders = libraries.into_iter().map(|(name, (encode, decode))| {
        let encoded = encode(value)?;
        let name = named(name, encoded.len());
        let library = Library {
            encode,
            decode,
            encoded,
        };
        let verb: fn(&Library, &Order) -> Result<()> = if encodes {
            |library, value| check((library.encode)(value)?.len(), library.encoded.len())
        } else {
            |library, value| {
                let found = (library.decode)(&library.encoded)?;
                check(found.items.len(), value.items.len())
            }
        };
        contender(name, library, value.clone(), verb)
    });
    contenders.collect()
}

/// 300 bytes stored plain, and the same in an envelope because they begin like one.
fn envelope() -> Result<Vec<Contender<'static>>> {
    let contenders = [("plain", &b"   "[..]), ("in an envelope", b"\xC1NC")];
    let contenders = contenders.into_iter().map(|(name, head)| {
        let mut bytes = head.to_vec();
        bytes.resize(300, b'v');
        let cache = Cache::open("memory://")?;
        cache.set("k", &Raw(&bytes)).run()?;
        contender(name, cache, order(0), |cache, _| {
            let found: Option<Raw> = cache.get("k").run()?;
            check(found.map_or(0, |found| found.0.len()), 300)
        })
    });
    contenders.collect()
}
