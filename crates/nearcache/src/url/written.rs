//! The URL as it was written: decodes its parts, and makes errors that point into it without showing its secrets.

use std::ops::Range;

use percent_encoding::percent_decode_str;

use super::OPTIONS;
use crate::error::{Error, ErrorKind, Result};

/// The URL as it was written, for errors that point into it.
pub(super) struct Written<'u> {
    pub(super) url: &'u str,
}

impl<'u> Written<'u> {
    pub(super) fn new(url: &'u str) -> Self {
        Written { url }
    }

    pub(super) fn decode(&self, range: Range<usize>) -> Result<String> {
        percent_decode_str(&self.url[range.clone()])
            .decode_utf8()
            .map(Into::into)
            .map_err(|_| {
                self.error(
                    range,
                    "this is not UTF-8 once its %XX are decoded",
                    "encode UTF-8, as in %C3%A9 for é",
                )
            })
    }

    /// Where the scheme ends. A text with other characters is not a scheme, and may be a password.
    pub(super) fn scheme(&self) -> Option<usize> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let end = self.url.find("://")?;
        self.url[..end].bytes().all(legal).then_some(end)
    }

    /// The parts that must not be shown: the password before `@` (all of it, even if an unescaped character cut it in
    /// two), the value of `password=`, and the values of unknown options, because one of them may be a misspelled
    /// `password`.
    fn secrets(&self) -> Vec<Range<usize>> {
        let mut secrets = Vec::new();
        let start = self.scheme().map_or(0, |at| at + 3);
        let query = self.url.find('?').unwrap_or(self.url.len());
        let pairs = |from: usize, end: usize| {
            let pairs = self.url.get(from..end).unwrap_or_default().split('&');
            pairs.scan(from, |at, pair| {
                let from = std::mem::replace(at, *at + pair.len() + 1);
                Some((from, pair))
            })
        };
        if let Some(at) = self.url.rfind('@') {
            // An `@` after the `?` belongs to the value of an option, if there is another `@` before the `?` and only
            // options between the two.
            let options = pairs(query + 1, at).all(|(_, pair)| {
                pair.split_once('=')
                    .is_some_and(|(name, _)| OPTIONS.contains(&name))
            });
            let before = self.url[..query].rfind('@').filter(|_| options);
            let at = before.unwrap_or(at);
            if at >= start {
                let user = self.url[start..at]
                    .find(':')
                    .map_or(start, |colon| start + colon + 1);
                secrets.push(user..at);
            }
        }
        let mut from = start;
        while let Some(found) = self.url[from..].find("password=") {
            let value = from + found + "password=".len();
            let end = self.url[value..]
                .find('&')
                .map_or(self.url.len(), |end| value + end);
            secrets.push(value..end);
            from = end;
        }
        for (at, pair) in pairs(query + 1, self.url.len()) {
            if let Some((name, value)) = pair.split_once('=')
                && !OPTIONS.contains(&name)
            {
                secrets.push(at + pair.len() - value.len()..at + pair.len());
            }
        }
        secrets
    }

    /// The URL with `***` in place of each secret.
    #[cfg(feature = "config")]
    pub(super) fn masked(&self) -> String {
        let secrets = self.secrets();
        let mut shown = String::new();
        for (at, character) in self.url.char_indices() {
            match secrets.iter().find(|secret| secret.contains(&at)) {
                Some(secret) if secret.start == at => shown.push_str("***"),
                Some(_) => {}
                None => shown.push(character),
            }
        }
        shown
    }

    /// Whether this range overlaps a secret.
    pub(super) fn hides(&self, range: &Range<usize>) -> bool {
        let secrets = self.secrets();
        secrets
            .iter()
            .any(|secret| secret.start < range.end && range.start < secret.end)
    }

    /// The error for a part that is probably the rest of an unescaped password.
    pub(super) fn unescaped(&self, wrong: Range<usize>) -> Error {
        self.error(
            wrong,
            "a user or password with special characters must be percent-encoded",
            "write %2F for /, %40 for @, %3F for ?, %23 for # and %25 for %",
        )
    }

    /// The error: why, the URL without its secrets, and a line of carets under the part that is wrong.
    pub(super) fn error(&self, wrong: Range<usize>, why: &str, help: &str) -> Error {
        let secrets = self.secrets();
        let mut shown = String::new();
        let mut carets = String::new();
        for (at, character) in self.url.char_indices() {
            let hidden = secrets.iter().find(|secret| secret.contains(&at));
            let text = match hidden {
                Some(secret) if secret.start == at => "***".to_owned(),
                Some(_) => continue,
                None => character.escape_debug().to_string(),
            };
            let pointed_at = wrong.contains(&at)
                || hidden
                    .is_some_and(|secret| secret.start < wrong.end && wrong.start < secret.end);
            let mark = if pointed_at { "^" } else { " " };
            carets.push_str(&mark.repeat(text.chars().count()));
            shown.push_str(&text);
        }
        let carets = carets.trim_end();
        let message = if carets.is_empty() {
            format!("{why}\n  {shown}\n{help}")
        } else {
            format!("{why}\n  {shown}\n  {carets}\n{help}")
        };
        Error::new(ErrorKind::InvalidUrl, message)
    }
}
