//! The pieces of RESP that replies and the commands of a log are made of.

use redis::ProtocolVersion;

use crate::reply;

/// Appends a line of a marker and a number: how long what follows is.
#[inline]
pub(crate) fn header(out: &mut Vec<u8>, marker: u8, number: usize) {
    // Most are short, and there may be one for each of a million elements.
    match number {
        0..10 => out.extend_from_slice(&[marker, b'0' + number as u8, b'\r', b'\n']),
        10..100 => {
            let [tens, ones] = [number / 10, number % 10].map(|digit| b'0' + digit as u8);
            out.extend_from_slice(&[marker, tens, ones, b'\r', b'\n']);
        }
        _ => {
            out.push(marker);
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a byte string.
#[inline]
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    const LENGTH: usize = 1 + usize::MAX.ilog10() as usize + 1 + 4;
    out.reserve(bytes.len() + LENGTH);
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number with a fraction: RESP2 has it as a byte string.
pub(crate) fn double(out: &mut Vec<u8>, protocol: ProtocolVersion, number: f64) {
    let text = reply::double_text(number);
    if protocol == ProtocolVersion::RESP2 {
        bulk(out, text.as_bytes());
    } else {
        out.push(b',');
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_any_size_is_a_line() {
        for number in [0, 9, 10, 99, 100, 12_345, usize::MAX] {
            let mut out = Vec::new();
            header(&mut out, b'*', number);
            assert_eq!(out, format!("*{number}\r\n").into_bytes());
        }
        let mut out = Vec::new();
        bulk(&mut out, &[b'x'; 10]);
        assert_eq!(out, b"$10\r\nxxxxxxxxxx\r\n");
    }
}
