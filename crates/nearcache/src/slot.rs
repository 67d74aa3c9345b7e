//! Redis Cluster's hash slots, which decide which keys are on the same node.
//!
//! Rule and polynomial are those of the Redis Cluster specification: CRC16 XMODEM, modulo 16,384. Of a key with a hash
//! tag `{...}`, only the tag counts.

const SLOTS: u16 = 16_384;

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
    // A suffix has 20 bits, and only 14 must agree, so there always is one (a test checks all slots).
    (0_u32..1 << 20)
        .map(digits)
        .find(|suffix| crc16(crc, suffix) % SLOTS == wanted)
        .map(Vec::from)
        .unwrap_or_default()
}

/// Twenty bits as four characters.
fn digits(number: u32) -> [u8; 4] {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    [15, 10, 5, 0].map(|shift| DIGITS[(number >> shift) as usize % 32])
}

fn crc16(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
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

    #[test]
    fn there_is_a_suffix_for_every_slot() {
        // CRC16 is linear: four characters that reach every slot from one key reach every slot from any other.
        let mut reached = vec![false; SLOTS.into()];
        for number in 0..1 << 20 {
            reached[usize::from(crc16(0, &digits(number)) % SLOTS)] = true;
        }
        assert!(reached.iter().all(|reached| *reached));
        let key = b"a}stray#nearcache:lease";
        for wanted in (0..SLOTS).step_by(997) {
            let found = suffix(key, wanted);
            assert_eq!(slot(&[&key[..], &found].concat()), wanted);
        }
    }
}
