//! Entries: arbitrary bytes under a key, and values written by any codec.
//!
//! 1. No bytes cause a panic, and no bytes become a value of more than 64 MiB.
//! 2. A value that was read, written and read again is the same.
//! 3. An opened entry seals to the same bytes; a value that was sealed by any codec opens and decodes to itself.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use serde::{Deserialize, Serialize};

use super::{some, text};
use crate::codec::compression::MAX_UNPACKED;
use crate::codec::envelope::Head;
use crate::codec::{self, Codec, Compression, Decode, Encode, Format, Raw, Stored, Text};
use crate::read_through::entry::{Entry, Judgement, Versions};

#[derive(Debug, Deserialize, Serialize)]
struct Sample {
    id: u64,
    small: i8,
    large: i128,
    float: f64,
    half: f32,
    name: String,
    letter: char,
    tags: Vec<String>,
    manager: Option<u64>,
    levels: BTreeMap<i32, bool>,
    kind: Kind,
    pair: (u8, String),
    nothing: (),
    #[serde(default)]
    kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize, Serialize)]
enum Kind {
    Unit,
    New(Option<String>),
    Tuple(i64, bool),
    Struct { part: u16, whole: Vec<u8> },
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Text(String),
    Parts(Vec<Untagged>),
}

/// A type that contains itself in every way. In postcard, no value nests more than twice as deep as in the other
/// formats.
#[derive(Debug, Deserialize, Serialize)]
enum Tree {
    Leaf(()),
    Boxed(Box<Tree>),
    Next { next: Option<Box<Tree>> },
    Pair(Box<Tree>, Box<Tree>),
    Many(Vec<Tree>),
    Named(BTreeMap<u8, Tree>),
}

const FORMATS: [Format; 3] = [Format::Json, Format::MessagePack, Format::Postcard];

/// Reads the data as an entry, or as instructions for a value to write.
pub fn entries(data: &[u8]) {
    match data.split_first() {
        Some((first, bytes)) if first & 1 == 0 => read(bytes),
        Some((_, rest)) => {
            let _ = written(&mut Unstructured::new(rest));
        }
        None => {}
    }
}

fn read(bytes: &[u8]) {
    let entry = Entry::new(bytes.to_vec());
    assert_eq!(entry.bytes(), bytes);
    let judged = entry.judge(&Versions::default(), 1 << 40);
    if !entry.is_readable() {
        assert_eq!(judged, Judgement::Dead);
    }
    let _ = entry.is_due(1.0, 1 << 40);
    if let Ok(Some((head, form, at))) = Head::open(bytes) {
        let body = &bytes[at..];
        let sealed = head.seal_as(form, body).into_owned();
        let opened = match Head::open(&sealed).expect("what was sealed") {
            Some((head, form, at)) => (head, form, &sealed[at..]),
            None => (Head::default(), codec::Form::default(), &sealed[..]),
        };
        assert_eq!(opened, (head, form, body), "promise 3");
    }
    let plain = entry.value().into_owned();
    both::<Raw>(bytes, &plain, &FORMATS);
    both::<Text>(bytes, &plain, &FORMATS);
    both::<Sample>(bytes, &plain, &FORMATS);
    both::<Kind>(bytes, &plain, &FORMATS);
    both::<Option<String>>(bytes, &plain, &FORMATS);
    both::<Vec<(f64, Option<bool>)>>(bytes, &plain, &FORMATS);
    both::<BTreeMap<String, i128>>(bytes, &plain, &FORMATS);
    both::<Vec<()>>(bytes, &plain, &FORMATS);
    // postcard may read values that nest too deep for the other formats.
    both::<Tree>(bytes, &plain, &[Format::Postcard]);
    // postcard does not support types that need a self-describing format.
    if format_of(bytes) != Format::Postcard {
        both::<serde_json::Value>(bytes, &plain, &[Format::Json, Format::MessagePack]);
        both::<Untagged>(bytes, &plain, &[Format::Json, Format::MessagePack]);
    }
}

/// Reads the bytes with their envelope, and without it.
fn both<T: Decode + Encode + Debug>(bytes: &[u8], plain: &[u8], formats: &[Format]) {
    let value = decoded::<T>(bytes);
    if Entry::new(bytes.to_vec()).is_readable() {
        let plain = decoded::<T>(plain);
        assert_eq!(value.as_ref().map(shown), plain.as_ref().map(shown));
    }
    let Some(value) = value else { return };
    assert!(
        shown(&value).len() <= 16 * bytes.len().max(MAX_UNPACKED),
        "promise 1"
    );
    for &format in formats {
        let Ok(body) = codec::encode(&value, &Codec::new(format)) else {
            continue;
        };
        // A float that is not a number becomes null in JSON, and reads back as nothing.
        let entry = Head::default().seal(&body).into_owned();
        let Some(again) = decoded::<T>(&entry) else {
            assert!(format == Format::Json && contains_no_number(&shown(&value)));
            continue;
        };
        if format == format_of(bytes) {
            assert_eq!(shown(&value), shown(&again), "promise 2");
        }
    }
}

fn format_of(bytes: &[u8]) -> Format {
    match Head::open(bytes) {
        Ok(Some((_, form, _))) => form.format,
        _ => Format::Json,
    }
}

fn shown<T: Debug>(value: &T) -> String {
    format!("{value:?}")
}

fn contains_no_number(shown: &str) -> bool {
    shown.contains("NaN") || shown.contains("inf")
}

fn decoded<T: Decode>(bytes: &[u8]) -> Option<T> {
    match Entry::new(bytes.to_vec()).decode::<T>(&Codec::json()) {
        Ok(Stored::Value(value)) => Some(value),
        Ok(Stored::Nothing) => T::nothing(),
        Err(error) => {
            let _ = format!("{error} {error:?}");
            None
        }
    }
}

fn written(data: &mut Unstructured<'_>) -> Result<()> {
    let format = *data.choose(&FORMATS)?;
    let mut codec = Codec::new(format);
    let level = data.int_in_range(0..=5)?;
    codec.compression = match data.int_in_range(0..=3)? {
        0 => None,
        1 => Some(Compression::zstd().level(level - 2).above(0)),
        2 => Some(Compression::lz4().above(0)),
        _ => Some(Compression::zlib().level(level).above(0)),
    };
    let tags = (0..data.int_in_range(0..=3_u8)?)
        .map(|number| {
            // A tag has at least one byte.
            let tag = [&[number], some(data, 20)?].concat();
            Ok((tag, data.arbitrary()?))
        })
        .collect::<Result<_>>()?;
    let head = Head {
        soft: data.arbitrary()?,
        load: data
            .arbitrary::<Option<u32>>()?
            .map(|micros| Duration::from_micros(micros.into())),
        tags,
    };
    match data.int_in_range(0..=4)? {
        0 => {
            let bytes = some(data, 200)?.repeat(data.int_in_range(1..=40)?);
            comes_back(&head, &codec, &Raw(bytes));
        }
        1 => {
            let text = text(data, 200)?.repeat(data.int_in_range(1..=40)?);
            comes_back(&head, &codec, &Text(text));
        }
        2 => comes_back(&head, &codec, &data.arbitrary::<Option<bool>>()?),
        3 => {
            let maps: Vec<BTreeMap<String, u128>> = data.arbitrary()?;
            comes_back(&head, &codec, &maps);
        }
        _ => comes_back(&head, &codec, &sample(data, format)?),
    }
    Ok(())
}

fn comes_back<T: Decode + Encode + Debug>(head: &Head, codec: &Codec, value: &T) {
    let body = codec::encode(value, codec).expect("a value of this form");
    let length = body.bytes.len();
    let body = body.packed(codec).expect("compressed");
    assert!(body.bytes.len() <= length, "only what helps is compressed");
    let entry = Entry::new(head.seal(&body).into_owned());
    assert!(entry.is_readable() && !entry.is_damaged());
    assert!(entry.tags().eq(head.tags.iter().map(|(tag, _)| &**tag)));
    let mut versions = Versions::default();
    for (tag, version) in head.tags.iter().rev() {
        versions.insert(tag, *version);
    }
    let twice = |tag: &[u8]| head.tags.iter().filter(|(other, _)| other == tag).count() > 1;
    if !head.tags.iter().any(|(tag, _)| twice(tag)) {
        let at = head.soft.unwrap_or(u64::MAX);
        if let Some(before) = at.checked_sub(1) {
            assert_eq!(entry.judge(&versions, before), Judgement::Fresh);
        }
        if head.soft.is_some() {
            assert_eq!(entry.judge(&versions, at), Judgement::Stale(Duration::ZERO));
        }
    }
    if !head.tags.is_empty() {
        assert_eq!(entry.judge(&Versions::default(), 0), Judgement::Dead);
    }
    for bytes in [entry.bytes(), &entry.value()] {
        let read = decoded::<T>(bytes).expect("what was written");
        assert_eq!(shown(&read), shown(value), "promise 3");
    }
}

fn sample(data: &mut Unstructured<'_>, format: Format) -> Result<Sample> {
    let mut float: f64 = data.arbitrary()?;
    let mut half: f32 = data.arbitrary()?;
    if format == Format::Json {
        float = if float.is_finite() { float } else { 0.5 };
        half = if half.is_finite() { half } else { 0.5 };
    }
    Ok(Sample {
        id: data.arbitrary()?,
        small: data.arbitrary()?,
        large: data.arbitrary()?,
        float,
        half,
        name: data.arbitrary()?,
        letter: data.arbitrary()?,
        tags: data.arbitrary()?,
        manager: data.arbitrary()?,
        levels: data.arbitrary()?,
        kind: data.arbitrary()?,
        pair: data.arbitrary()?,
        nothing: (),
        kinds: data.arbitrary()?,
    })
}

impl<'d> Arbitrary<'d> for Kind {
    fn arbitrary(data: &mut Unstructured<'d>) -> Result<Self> {
        Ok(match data.int_in_range(0..=3)? {
            0 => Kind::Unit,
            1 => Kind::New(data.arbitrary()?),
            2 => Kind::Tuple(data.arbitrary()?, data.arbitrary()?),
            _ => Kind::Struct {
                part: data.arbitrary()?,
                whole: data.arbitrary()?,
            },
        })
    }
}
