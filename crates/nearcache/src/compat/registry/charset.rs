//! How text becomes bytes: the field `charset`. UTF-8, ASCII and Latin-1 are built in; the feature `charset` adds GBK,
//! Big5, Shift_JIS and the others of the WHATWG Encoding Standard that contain ASCII.
//!
//! The names are Python's as well as the standard's, in any case, with `-` or `_`.

use std::fmt;

/// A charset that contains ASCII, so that numbers, and the prefix of a key, have the same bytes in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Ascii,
    Latin1,
    #[cfg(feature = "charset")]
    Other(&'static encoding_rs::Encoding),
}

/// The byte of a text at which a character begins that the charset does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotThere(pub(super) usize);

/// What a configuration may say.
#[cfg(feature = "charset")]
pub(super) const CHARSETS: &str = "\"utf-8\", \"ascii\", \"latin-1\", or another charset that contains ASCII, such as \
                                   \"gbk\", \"gb18030\", \"big5\", \"shift_jis\" or \"cp1252\"";

/// What a configuration may say.
#[cfg(not(feature = "charset"))]
pub(super) const CHARSETS: &str = "\"utf-8\", \"ascii\" or \"latin-1\"; the feature \"charset\" of nearcache adds \
                                   \"gbk\", \"big5\" and others";

impl Charset {
    pub(super) fn named(name: &str) -> Option<Charset> {
        let name = name.trim().to_ascii_lowercase().replace('_', "-");
        match name.as_str() {
            "utf-8" | "utf8" | "u8" => Some(Charset::Utf8),
            "ascii" | "us-ascii" | "646" => Some(Charset::Ascii),
            "latin-1" | "latin1" | "latin" | "l1" | "iso-8859-1" | "iso8859-1" | "8859"
            | "cp819" => Some(Charset::Latin1),
            name => Charset::of_the_standard(name),
        }
    }

    #[cfg(not(feature = "charset"))]
    fn of_the_standard(_: &str) -> Option<Charset> {
        None
    }

    #[cfg(feature = "charset")]
    fn of_the_standard(name: &str) -> Option<Charset> {
        // What Python calls otherwise.
        let label = match name {
            "cp936" | "936" | "ms936" => "gbk".to_owned(),
            "cp950" | "950" | "ms950" => "big5".to_owned(),
            "cp932" | "932" | "ms932" => "shift_jis".to_owned(),
            "cp949" | "949" | "ms949" => "euc-kr".to_owned(),
            name => match name.strip_prefix("cp125") {
                Some(number) => format!("windows-125{number}"),
                None => name.to_owned(),
            },
        };
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes())
            .or_else(|| encoding_rs::Encoding::for_label(label.replace('-', "_").as_bytes()))?;
        // Not UTF-16, which is written as UTF-8 there, nor one with escapes between its characters.
        let fits = encoding.is_ascii_compatible() && encoding.output_encoding() == encoding;
        fits.then_some(Charset::Other(encoding))
    }

    pub(super) fn encode(self, text: &str) -> Result<Vec<u8>, NotThere> {
        let narrow = |last: u32| {
            text.char_indices()
                .map(|(at, c)| match u32::from(c) {
                    code if code <= last => Ok(code as u8),
                    _ => Err(NotThere(at)),
                })
                .collect()
        };
        match self {
            Charset::Utf8 => Ok(text.as_bytes().to_vec()),
            Charset::Ascii => narrow(0x7f),
            Charset::Latin1 => narrow(0xff),
            #[cfg(feature = "charset")]
            Charset::Other(encoding) => {
                let (bytes, _, replaced) = encoding.encode(text);
                if !replaced {
                    return Ok(bytes.into_owned());
                }
                let mut characters = text.char_indices();
                let missing =
                    characters.find(|(_, c)| encoding.encode(c.encode_utf8(&mut [0; 4])).2);
                Err(NotThere(missing.map_or(0, |(at, _)| at)))
            }
        }
    }

    /// `None` for bytes that are no text in this charset.
    pub(super) fn decode(self, bytes: Vec<u8>) -> Option<String> {
        match self {
            Charset::Utf8 => String::from_utf8(bytes).ok(),
            Charset::Ascii => String::from_utf8(bytes).ok().filter(|text| text.is_ascii()),
            Charset::Latin1 => Some(bytes.into_iter().map(char::from).collect()),
            #[cfg(feature = "charset")]
            Charset::Other(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(&bytes)
                .map(std::borrow::Cow::into_owned),
        }
    }

    /// A glob pattern. In some charsets a byte of a character is one of the pattern's own signs (`[`, `\`): it is escaped.
    pub(super) fn encode_pattern(self, pattern: &str) -> Result<Vec<u8>, NotThere> {
        let mut bytes = Vec::with_capacity(pattern.len());
        for (at, character) in pattern.char_indices() {
            let encoded = self
                .encode(character.encode_utf8(&mut [0; 4]))
                .map_err(|NotThere(_)| NotThere(at))?;
            for byte in encoded {
                if !character.is_ascii()
                    && matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-')
                {
                    bytes.push(b'\\');
                }
                bytes.push(byte);
            }
        }
        Ok(bytes)
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Charset::Utf8 => "utf-8",
            Charset::Ascii => "ascii",
            Charset::Latin1 => "latin-1",
            #[cfg(feature = "charset")]
            Charset::Other(encoding) => encoding.name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> Charset {
        Charset::named(name).expect(name)
    }

    #[test]
    fn the_names_are_those_of_python() {
        for (names, charset) in [
            (
                &["utf-8", "UTF-8", "utf8", "utf_8", " U8"][..],
                Charset::Utf8,
            ),
            (&["ascii", "US-ASCII", "646"], Charset::Ascii),
            (
                &["latin-1", "latin_1", "iso-8859-1", "L1", "cp819"],
                Charset::Latin1,
            ),
        ] {
            for name in names {
                assert_eq!(named(name), charset, "{name}");
            }
        }
        for name in ["", "utf-16", "utf_16_le", "utf-7", "klingon"] {
            assert!(Charset::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_narrow_charset_says_where_a_text_leaves_it() {
        let (ascii, latin) = (named("ascii"), named("latin-1"));
        assert_eq!(ascii.encode("abc"), Ok(b"abc".to_vec()));
        assert_eq!(ascii.encode("aé"), Err(NotThere(1)));
        assert_eq!(latin.encode("aé"), Ok(vec![b'a', 0xe9]));
        assert_eq!(latin.encode("é张"), Err(NotThere(2)));
        assert_eq!(latin.decode(vec![0xe9, 0x80]).as_deref(), Some("é\u{80}"));
        assert_eq!(ascii.decode(vec![0xe9]), None);
        assert_eq!(named("utf-8").decode(vec![0xe9]), None);
    }

    #[cfg(feature = "charset")]
    #[test]
    fn the_charsets_of_the_standard_are_there() {
        // What Python's `str.encode` writes.
        for (name, text, bytes) in [
            ("gbk", "张三", &b"\xd5\xc5\xc8\xfd"[..]),
            ("cp936", "张三", b"\xd5\xc5\xc8\xfd"),
            ("gb18030", "€", b"\xa2\xe3"),
            ("big5", "張", b"\xb1i"),
            ("shift_jis", "日", b"\x93\xfa"),
            ("euc_kr", "한", b"\xc7\xd1"),
            ("cp1252", "€", b"\x80"),
            ("koi8_r", "Ж", b"\xf6"),
        ] {
            let charset = named(name);
            assert_eq!(charset.encode(text).as_deref(), Ok(bytes), "{name}");
            assert_eq!(
                charset.decode(bytes.to_vec()).as_deref(),
                Some(text),
                "{name}"
            );
        }
        assert_eq!(named("gbk").decode(vec![0xff]), None);
        assert_eq!(named("big5").encode("a张三😀"), Err(NotThere(1)));
        assert!(Charset::named("iso2022_jp").is_none());
    }

    /// `張` ends in an `i` in Big5, and `許` in a `\`.
    #[cfg(feature = "charset")]
    #[test]
    fn a_sign_of_the_pattern_inside_a_character_is_none() {
        let big5 = named("big5");
        assert_eq!(big5.encode("許").as_deref(), Ok(&b"\xb3\\"[..]));
        assert_eq!(big5.encode_pattern("許*").as_deref(), Ok(&b"\xb3\\\\*"[..]));
        assert_eq!(
            big5.encode_pattern("a\\*[x]").as_deref(),
            Ok(&b"a\\*[x]"[..])
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".{0,40}", name in prop::sample::select(vec!["utf-8", "ascii", "latin-1"])) {
            let charset = named(name);
            if let Ok(bytes) = charset.encode(&text) {
                prop_assert_eq!(charset.decode(bytes), Some(text));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for name in ["utf-8", "ascii", "latin-1", "gbk", "big5", "shift_jis", "gb18030"] {
                if let Some(charset) = Charset::named(name) {
                    let _ = charset.decode(bytes.clone());
                }
            }
        }
    }
}
