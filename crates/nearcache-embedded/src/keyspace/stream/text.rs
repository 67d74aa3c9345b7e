//! How the fields and values of entries are written into a node, and how much room a server gives them.
//!
//! A text is a length and its bytes; or, if it is a whole number in canonical form, the bytes of the number. The
//! lowest bit of what comes first tells the two apart.

/// A field or a value, as it lies in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text<'n> {
    Bytes(&'n [u8]),
    Number(i64),
}

impl Text<'_> {
    pub(crate) fn to_vec(self) -> Vec<u8> {
        match self {
            Text::Bytes(bytes) => bytes.to_vec(),
            Text::Number(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
        }
    }

    pub(super) fn is(self, text: &[u8]) -> bool {
        match self {
            Text::Bytes(bytes) => bytes == text,
            Text::Number(number) => itoa::Buffer::new().format(number).as_bytes() == text,
        }
    }
}

/// The number that a text is, if it is printed as this text again.
fn number(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Writes a text, and returns how many bytes it would take in a server's listpack.
pub(super) fn write(buffer: &mut Vec<u8>, text: &[u8]) -> usize {
    let Some(number) = number(text) else {
        write_bytes(buffer, text);
        return served_bytes(text.len());
    };
    // A number of one or two digits is not shorter in another form.
    if text.len() < 3 {
        write_bytes(buffer, text);
    } else {
        let zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
        let bytes = zigzag.to_le_bytes();
        let len = 8 - zigzag.leading_zeros() as usize / 8;
        write_length(buffer, (len << 1 | 1) as u64);
        buffer.extend_from_slice(&bytes[..len]);
    }
    served_number(number)
}

fn write_bytes(buffer: &mut Vec<u8>, text: &[u8]) {
    write_length(buffer, (text.len() as u64) << 1);
    buffer.extend_from_slice(text);
}

/// Writes a number, the lowest seven bits first; all bytes but the last have the top bit.
pub(super) fn write_length(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// Writes a number so that it can be read from behind.
pub(super) fn write_length_backwards(buffer: &mut Vec<u8>, number: u64) {
    let from = buffer.len();
    write_length(buffer, number);
    buffer[from..].reverse();
}

/// Reads a number that ends where the bytes end, and returns it with how many bytes it takes.
pub(super) fn read_length_backwards(bytes: &[u8]) -> (u64, usize) {
    let (mut number, mut count) = (0, 0);
    for byte in bytes.iter().rev() {
        number |= u64::from(byte & 0x7f).unbounded_shl(7 * count);
        count += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (number, count as usize)
}

/// Reads what was written, from a place on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'n> {
    buffer: &'n [u8],
    pub(super) at: usize,
}

impl<'n> Reader<'n> {
    pub(super) fn new(buffer: &'n [u8], at: usize) -> Self {
        Reader { buffer, at }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.buffer.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        byte
    }

    pub(super) fn length(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f).unbounded_shl(shift);
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    fn bytes(&mut self, len: usize) -> &'n [u8] {
        let end = self.at + len;
        let bytes = self.buffer.get(self.at..end).unwrap_or_default();
        self.at = end;
        bytes
    }

    pub(super) fn text(&mut self) -> Text<'n> {
        let head = self.length();
        let bytes = self.bytes((head >> 1) as usize);
        if head & 1 == 0 {
            return Text::Bytes(bytes);
        }
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        let zigzag = u64::from_le_bytes(number);
        Text::Number((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    pub(super) fn skip_texts(&mut self, count: usize) {
        for _ in 0..count {
            let head = self.length();
            self.at += (head >> 1) as usize;
        }
    }
}

/// How many bytes a string of this length takes in a server's listpack.
fn served_bytes(len: usize) -> usize {
    let encoded = match len {
        0..64 => 1 + len,
        64..4096 => 2 + len,
        _ => 5 + len,
    };
    encoded + served_length(encoded)
}

/// How many bytes a number takes in a server's listpack.
pub(super) fn served_number(number: i64) -> usize {
    let encoded = match number {
        0..=127 => 1,
        -4096..=4095 => 2,
        -32_768..=32_767 => 3,
        -8_388_608..=8_388_607 => 4,
        -2_147_483_648..=2_147_483_647 => 5,
        _ => 9,
    };
    encoded + 1
}

/// How many bytes the length of an element takes behind it, in a server's listpack.
fn served_length(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(text: &[u8]) -> usize {
        let mut buffer = vec![b'x'];
        write(&mut buffer, text);
        let mut reader = Reader::new(&buffer, 1);
        let read = reader.text();
        assert_eq!(read.to_vec(), text);
        assert!(read.is(text) && !read.is(b"something else"));
        assert_eq!(reader.at, buffer.len());
        buffer.len() - 1
    }

    #[test]
    fn numbers_take_less_than_their_text() {
        for (text, room) in [
            ("", 1),
            ("0", 2),
            ("-0", 3),
            ("007", 4),
            ("100", 2),
            ("1000", 3),
            ("1526919030474", 7),
            ("9223372036854775807", 9),
            ("-9223372036854775808", 9),
            ("9223372036854775808", 20),
        ] {
            assert_eq!(round(text.as_bytes()), room, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300), number: i64, length: u64) {
            round(&bytes);
            round(number.to_string().as_bytes());
            let mut buffer = bytes.clone();
            write_length_backwards(&mut buffer, length);
            prop_assert_eq!(read_length_backwards(&buffer), (length, buffer.len() - bytes.len()));
        }
    }
}
