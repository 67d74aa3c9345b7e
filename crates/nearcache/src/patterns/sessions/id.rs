//! A session's id: a secret. Whoever has it is the user.
//!
//! 1. A new id has 192 random bits from the operating system's generator; without that generator there is no id.
//! 2. No `Debug`, error, log, hook or metric shows an id. What is stored and told is its SHA-256.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::error::{Error, ErrorKind, Result};

/// The random bytes of a new id. A multiple of three: each three are four characters.
const BYTES: usize = 24;

/// How many characters an id may have: 128 bits take 22, 256 bits take 43.
const LENGTHS: std::ops::RangeInclusive<usize> = 22..=43;

/// The alphabet of base64url (RFC 4648, section 5): all of it may stand in a cookie and in a URL.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The id of a session: a secret, which a service gives to a browser in a cookie and gets back with each request.
///
/// A new one has 192 random bits from the operating system's generator, and is written as 32 characters of base64url,
/// which a cookie and a URL can hold as they are. `Display` writes it, and [`FromStr`] reads it; `Debug` does not show
/// it. Redis never sees it: what is stored is its SHA-256, so who can read Redis cannot take sessions over.
///
/// ```
/// # async fn example() -> nearcache::Result<()> {
/// # let cache = nearcache::Cache::open("memory://")?;
/// use nearcache::patterns::SessionId;
///
/// let sessions = cache.sessions::<String>();
/// let id = sessions.create(&"alice".to_owned()).await?;
/// let cookie = format!("id={id}; HttpOnly; Secure; SameSite=Lax");
///
/// let back: SessionId = cookie[3..35].parse()?;
/// assert_eq!(back, id);
/// assert_eq!(format!("{id:?}"), "SessionId(..)");
/// # Ok(())
/// # }
/// # nearcache::__example(example());
/// ```
///
/// An id of another library is one, too, if it is text of 22 to 43 characters of base64url (128 to 256 bits). It must
/// be random.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(SmallVec<[u8; 43]>);

impl SessionId {
    /// A new id.
    ///
    /// # Errors
    /// `Refused` if the operating system has no random bits.
    pub(super) fn random() -> Result<Self> {
        let mut bits = [0; BYTES];
        getrandom::fill(&mut bits).map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                format!(
                    "the operating system gives no random bits ({error}), and no session's id is \
                     made without them"
                ),
            )
        })?;
        Ok(SessionId::of(bits))
    }

    fn of(bits: [u8; BYTES]) -> Self {
        let mut text = SmallVec::new();
        for three in bits.chunks_exact(3) {
            let bits = three
                .iter()
                .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
            for shift in [18, 12, 6, 0] {
                text.push(ALPHABET[(bits >> shift & 63) as usize]);
            }
        }
        SessionId(text)
    }

    /// The id as text, for a cookie.
    pub fn as_str(&self) -> &str {
        // It is ASCII: an id is made of the alphabet, or was checked to be.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What stands for the id in Redis: its SHA-256, in lower-case hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        Sha256::digest(&self.0)
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .map(|digit| char::from_digit(digit.into(), 16).unwrap_or_default())
            .collect()
    }
}

/// The text, for a cookie.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Does not show the id.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// Reads an id. What a browser sent may be anything: what is no id is an error, and stands for no session.
impl FromStr for SessionId {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidKey`], which does not show the text.
    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        if LENGTHS.contains(&bytes.len()) && bytes.iter().all(|byte| ALPHABET.contains(byte)) {
            return Ok(SessionId(SmallVec::from_slice(bytes)));
        }
        Err(Error::new(
            ErrorKind::InvalidKey,
            "this is no session's id, which has 22 to 43 of the characters A-Z a-z 0-9 - _. Treat \
             whoever sent it as somebody without a session",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_written_in_base64url_and_reads_back() {
        let mut bits = [0; BYTES];
        for (at, byte) in bits.iter_mut().enumerate() {
            *byte = at as u8 * 11;
        }
        let id = SessionId::of(bits);
        // As Python's base64.urlsafe_b64encode has it.
        assert_eq!(id.as_str(), "AAsWISw3Qk1YY255hI-apbC7xtHc5_L9");
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
    }

    #[test]
    fn the_digest_is_that_of_the_text() {
        let id: SessionId = "AAsWISw3Qk1YY255hI-apbC7xtHc5_L9".parse().unwrap();
        // printf %s AAsWISw3Qk1YY255hI-apbC7xtHc5_L9 | sha256sum
        assert_eq!(
            id.digest(),
            "370e852da16870b11b6b95ff936c99255dbd7c755daa6cf56c54e79105dcbf49"
        );
    }

    #[test]
    fn what_is_no_id_is_an_error_that_does_not_show_it() {
        for text in [
            "",
            "short",
            "012345678901234567890",
            "01234567890123456789012345678901234567890123",
            "0123456789012345678 0123",
            "012345678901234567890%3D",
            "012345678901234567890=12",
            "0123456789012345678é012",
            "0123456789012345678\n0123",
        ] {
            let error = text.parse::<SessionId>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{text}");
            assert!(text.is_empty() || !format!("{error} {error:?}").contains(text));
        }
        assert!("0123456789012345678901".parse::<SessionId>().is_ok());
    }

    /// The tests of NIST SP 800-22 for single bits (2.1) and for runs (2.3), and Pearson's chi-square over the
    /// characters of each place. At these thresholds a good generator fails once in some millions of runs.
    #[test]
    fn ids_are_random_and_none_repeats() {
        const IDS: usize = 40_000;
        let ids: Vec<SessionId> = (0..IDS).map(|_| SessionId::random().unwrap()).collect();
        let different: HashSet<&SessionId> = ids.iter().collect();
        assert_eq!(different.len(), IDS);

        let letter = |byte: &u8| ALPHABET.iter().position(|letter| letter == byte).unwrap();
        let bits: Vec<bool> = ids
            .iter()
            .flat_map(|id| id.0.iter().map(letter))
            .flat_map(|six| (0..6).rev().map(move |shift| six >> shift & 1 == 1))
            .collect();
        let count = bits.len() as f64;
        assert_eq!(bits.len(), IDS * 192);

        let ones = bits.iter().filter(|bit| **bit).count() as f64;
        let deviation = (2.0 * ones - count).abs() / count.sqrt();
        assert!(deviation < 5.5, "monobit: {deviation}");

        let share = ones / count;
        let runs = 1.0 + bits.windows(2).filter(|two| two[0] != two[1]).count() as f64;
        let mean = 2.0 * count * share * (1.0 - share);
        let deviation = (runs - mean).abs() / (2.0 * count.sqrt() * share * (1.0 - share));
        assert!(deviation < 5.5, "runs: {deviation}");

        for place in 0..32 {
            let mut counts = [0_u32; 64];
            for id in &ids {
                counts[letter(&id.0[place])] += 1;
            }
            let expected = IDS as f64 / 64.0;
            let chi: f64 = counts
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            // 63 degrees of freedom: mean 63, standard deviation 11.2.
            assert!(
                (15.0..150.0).contains(&chi),
                "chi-square of place {place}: {chi}"
            );
        }
    }
}
