//! Text and bytes that are stored unchanged: HTML, images, formats of other programs.

use super::{Codec, Decode, Encode, Format, Stored, sealed};
use crate::error::{Error, ErrorKind, Result};

/// Text that is stored as plain UTF-8, whatever the cache's format.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use nearcache::{Cache, Text};
///
/// let cache = Cache::open("memory://")?;
/// cache.set("page:home", &Text("<h1>Hello</h1>")).await?;
/// let page: Option<Text<String>> = cache.get("page:home").await?;
/// assert_eq!(page, Some(Text("<h1>Hello</h1>".to_string())));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<S = String>(pub S);

/// Bytes that are stored unchanged, whatever the cache's format. Reading into a [`Vec`] does not copy them.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// use nearcache::{Cache, Raw};
///
/// let cache = Cache::open("memory://")?;
/// cache.set("thumbnail:1", &Raw(&b"\x89PNG"[..])).await?;
/// let image: Option<Raw> = cache.get("thumbnail:1").await?;
/// assert_eq!(image, Some(Raw(b"\x89PNG".to_vec())));
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw<B = Vec<u8>>(pub B);

// `Text` and `Raw` must never implement serde's traits. Their own `impl`s of `Encode` and `Decode` would then overlap
// with those for all serde types.

impl<S: AsRef<str>> sealed::Encode for Text<S> {}
impl<S: AsRef<str>> sealed::Encode for &Text<S> {}
impl sealed::Decode for Text<String> {}
impl<B: AsRef<[u8]>> sealed::Encode for Raw<B> {}
impl<B: AsRef<[u8]>> sealed::Encode for &Raw<B> {}
impl sealed::Decode for Raw<Vec<u8>> {}

impl<S: AsRef<str>> Encode for Text<S> {
    const NOTHING: Option<&'static [u8]> = None;

    fn encode(&self, _: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        out.extend_from_slice(self.0.as_ref().as_bytes());
        Ok(Format::Json)
    }
}

/// A write takes a value or a reference to one.
impl<S: AsRef<str>> Encode for &Text<S> {
    const NOTHING: Option<&'static [u8]> = None;

    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        (**self).encode(codec, out)
    }
}

impl Decode for Text<String> {
    fn decode(format: Format, _: &Codec, bytes: &mut Vec<u8>, from: usize) -> Result<Stored<Self>> {
        if format != Format::Json {
            return Err(Error::new(
                ErrorKind::Codec,
                format!("as text: it is {format}"),
            ));
        }
        let wrong = |cause: std::str::Utf8Error| {
            let place = format!("as text: not UTF-8 at byte {}", cause.valid_up_to());
            Error::new(ErrorKind::Codec, place).caused_by(cause)
        };
        if from > 0 {
            // Checked before the bytes are moved: a failed decode must leave them unchanged.
            std::str::from_utf8(&bytes[from..]).map_err(wrong)?;
            bytes.drain(..from);
        }
        String::from_utf8(std::mem::take(bytes))
            .map(|text| Stored::Value(Text(text)))
            .map_err(|error| {
                let cause = error.utf8_error();
                *bytes = error.into_bytes();
                wrong(cause)
            })
    }

    fn nothing() -> Option<Self> {
        None
    }
}

impl<B: AsRef<[u8]>> Encode for Raw<B> {
    const NOTHING: Option<&'static [u8]> = None;

    fn encode(&self, _: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        out.extend_from_slice(self.0.as_ref());
        Ok(Format::Json)
    }
}

impl<B: AsRef<[u8]>> Encode for &Raw<B> {
    const NOTHING: Option<&'static [u8]> = None;

    fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> Result<Format> {
        (**self).encode(codec, out)
    }
}

impl Decode for Raw<Vec<u8>> {
    /// Takes any format: the bytes are those of before compression.
    fn decode(_: Format, _: &Codec, bytes: &mut Vec<u8>, from: usize) -> Result<Stored<Self>> {
        bytes.drain(..from);
        Ok(Stored::Value(Raw(std::mem::take(bytes))))
    }

    fn nothing() -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_stored_as_they_are() {
        let mut out = Vec::new();
        Text("null \"quoted\"")
            .encode(&Codec::json(), &mut out)
            .unwrap();
        assert_eq!(out, b"null \"quoted\"");
        assert_eq!(
            Text::decode(Format::Json, &Codec::json(), &mut b"null".to_vec(), 0).unwrap(),
            Stored::Value(Text("null".to_string()))
        );
        let mut out = Vec::new();
        Raw(vec![0, 255]).encode(&Codec::json(), &mut out).unwrap();
        assert_eq!(
            Raw::decode(Format::Json, &Codec::json(), &mut out, 0).unwrap(),
            Stored::Value(Raw(vec![0, 255]))
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        assert_eq!(
            Text::decode(Format::Json, &Codec::json(), &mut vec![b'a', 0xff], 0)
                .unwrap_err()
                .kind(),
            ErrorKind::Codec
        );
        let mut bytes = vec![0, b'a', 0xff];
        Text::decode(Format::Json, &Codec::json(), &mut bytes, 1).unwrap_err();
        assert_eq!(bytes, [0, b'a', 0xff]);
    }
}
