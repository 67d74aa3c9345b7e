//! A function for each fuzz target of `fuzz/`: it takes arbitrary bytes and checks what must hold for them.
//!
//! `entries` are the contents of Redis, `urls` is what a person writes, `keys` are keys and patterns, `replies` is
//! what a server answers, `pickles` are Python's values.

#![allow(
    clippy::unwrap_in_result,
    reason = "a Result is of bytes that have ended; what must hold is asserted"
)]

mod entries;
mod keys;
mod pickles;
mod replies;
mod urls;

pub use self::entries::entries;
pub use self::keys::keys;
pub use self::pickles::pickles;
pub use self::replies::replies;
pub use self::urls::urls;

use arbitrary::{Result, Unstructured};

/// Some bytes, at most this many.
fn some<'d>(data: &mut Unstructured<'d>, most: usize) -> Result<&'d [u8]> {
    let length = data.int_in_range(0..=most)?;
    data.bytes(length.min(data.len()))
}

/// Some text, of at most this many bytes.
fn text(data: &mut Unstructured<'_>, most: usize) -> Result<String> {
    Ok(String::from_utf8_lossy(some(data, most)?).into_owned())
}

#[cfg(test)]
mod tests {
    fn all(target: &str, check: fn(&[u8])) {
        nearcache_testkit::corpus(target).for_each(|bytes| check(&bytes));
    }

    #[test]
    fn what_a_fuzzer_found_holds() {
        all("entries", super::entries);
        all("keys", super::keys);
        all("pickles", super::pickles);
        all("replies", super::replies);
        all("urls", super::urls);
    }
}
