//! Splits the line of an inline command into words, with the quotes and escapes that a server knows.

/// The words of a line; `None` if a quote is not closed, or a closing quote is not followed by a space. A line ends at
/// a NUL byte.
pub(crate) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?;
        words.push(word);
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    &line[blanks..]
}

/// Reads one word, and returns what comes after it. A word may have quoted parts.
fn read_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b' ' | b'\n' | b'\r' | b'\t', after @ ..] => return Some(after),
            [b'"', after @ ..] => return ends(read_double(after, word)?),
            [b'\'', after @ ..] => return ends(read_single(after, word)?),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// A closing quote ends a word, so a blank or nothing must come next.
fn ends(rest: &[u8]) -> Option<&[u8]> {
    rest.first()
        .is_none_or(|byte| is_blank(*byte))
        .then_some(rest)
}

fn read_double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn read_single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_server_splits_it() {
        let cases: [(&[u8], &[&[u8]]); 8] = [
            (b"", &[]),
            (b"  \t ", &[]),
            (b"SET  key\tvalue ", &[b"SET", b"key", b"value"]),
            (b"a\"b c\" d", &[b"ab c", b"d"]),
            (b"\"\\x41\\n\\\"\\q\\xg\"", &[b"A\n\"qxg"]),
            (b"'it\\'s \\n' ''", &[b"it's \\n", b""]),
            (b"one\0two", &[b"one"]),
            (b"\"a\"\x0bb", &[b"a", b"b"]),
        ];
        for (line, words) in cases {
            let split = split(line);
            assert_eq!(
                split,
                Some(words.iter().map(|word| word.to_vec()).collect())
            );
        }
        for bad in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\"] {
            assert_eq!(split(bad), None);
        }
    }
}
