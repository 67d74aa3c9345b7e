//! Redis Cluster's hash slots, which decide which keys are on the same node.
//!
//! Rule and polynomial are those of the Redis Cluster specification: CRC16 XMODEM, modulo 16,384. Of a key with a hash
//! tag `{...}`, only the tag counts.

use std::sync::LazyLock;

/// How many there are.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key.
pub(crate) fn slot(key: &[u8]) -> u16 {
    crc16(0, hash_tag(key).unwrap_or(key)) % SLOTS
}

/// The text between the first `{` and the next `}`, if it is not empty.
pub(crate) fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let inside = &key[open + 1..];
    let close = inside.iter().position(|byte| *byte == b'}')?;
    (close > 0).then(|| &inside[..close])
}

/// A suffix that moves `key`, which has no hash tag, to the wanted slot: four letters and digits, or nothing if the
/// slot is already right. The same key always gets the same suffix.
pub(crate) fn suffix(key: &[u8], wanted: u16) -> Vec<u8> {
    let crc = crc16(0, key);
    if crc % SLOTS == wanted {
        return Vec::new();
    }
    // CRC16 is linear: the suffix contributes the same to every key, by exclusive or with what four zero bytes make of
    // the key. So one table serves all keys.
    let residue = (crc16(crc, &[0; SUFFIX]) % SLOTS) ^ wanted;
    digits(FIRST[usize::from(residue)]).to_vec()
}

/// How long a suffix is.
const SUFFIX: usize = 4;

/// For each residue of a suffix's CRC16, modulo the slots, the first number whose digits have it. 20 bits to choose
/// from, for 14 that must agree: there is one for each (a test goes through all).
static FIRST: LazyLock<Box<[u32]>> = LazyLock::new(|| {
    const NONE: u32 = u32::MAX;
    let mut first = vec![NONE; SLOTS.into()];
    let mut left = first.len();
    for number in 0..1 << 20 {
        let residue = &mut first[usize::from(crc16(0, &digits(number)) % SLOTS)];
        if *residue == NONE {
            *residue = number;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    first.into()
});

/// Twenty bits as four characters.
fn digits(number: u32) -> [u8; SUFFIX] {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    [15, 10, 5, 0].map(|shift| DIGITS[(number >> shift) as usize % 32])
}

/// CRC16 of each byte, for eight bits at a time.
const CRC: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc << 1) ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

fn crc16(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |crc, byte| {
        (crc << 8) ^ CRC[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are from the specification, and from `CLUSTER KEYSLOT` of Redis 7.0.15.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(0, b"123456789"), 0x31C3);
        for (key, expected) in [
            ("somekey", 11_058),
            ("foo{hash_tag}", 2_515),
            ("bar{hash_tag}", 2_515),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    /// The forms are frozen: the first number that fits, as one finds by trying all of them.
    #[test]
    fn a_suffix_is_the_first_that_fits_for_every_slot() {
        assert!(FIRST.iter().all(|number| *number < 1 << 20));
        let key = b"a}stray#nearcache:lease";
        for wanted in (0..SLOTS).step_by(97) {
            let tried = (0..1 << 20)
                .map(digits)
                .find(|suffix| crc16(crc16(0, key), suffix) % SLOTS == wanted);
            let suffix = suffix(key, wanted);
            if !suffix.is_empty() {
                assert_eq!(Some(&*suffix), tried.as_ref().map(|digits| &digits[..]));
            }
            assert_eq!(slot(&[&key[..], &suffix].concat()), wanted);
        }
    }
}
