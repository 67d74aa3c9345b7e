//! What is searched for in every key: short searches in short texts.

/// Whether this byte is among them. Every key is looked through with every call, and most keys are short: so eight bytes
/// are compared at a time, without a search that would have to begin and to end.
///
/// (A byte is zero if taking one from it borrows, and it was below 128: "Hacker's Delight", 2nd edition, 6-1.)
#[inline]
pub(super) fn has(bytes: &[u8], byte: u8) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks();
    let all = ONES * u64::from(byte);
    let is_in = |word: &[u8; 8]| {
        let other = u64::from_ne_bytes(*word) ^ all;
        other.wrapping_sub(ONES) & !other & HIGH != 0
    };
    words.iter().any(is_in) || rest.contains(&byte)
}

/// Searches for `#` first, because most keys contain none.
pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
