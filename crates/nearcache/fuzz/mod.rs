//! Whatever bytes come: a function for each fuzz target of `fuzz/`, which says what must hold then.
//!
//! `entries` is what lies in Redis, `urls` what a person writes, `keys` what becomes of keys and patterns,
//! `replies` what a server answers.

#![allow(
    clippy::unwrap_in_result,
    reason = "a Result is of bytes that have ended; what must hold is asserted"
)]

mod entries;
mod keys;
mod replies;
mod urls;

pub use self::entries::entries;
pub use self::keys::keys;
pub use self::replies::replies;
pub use self::urls::urls;

use arbitrary::{Result, Unstructured};

/// So many bytes at most.
fn some<'d>(data: &mut Unstructured<'d>, most: usize) -> Result<&'d [u8]> {
    let length = data.int_in_range(0..=most)?;
    data.bytes(length.min(data.len()))
}

/// So many bytes of text at most.
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
        all("replies", super::replies);
        all("urls", super::urls);
    }
}
