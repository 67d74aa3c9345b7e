//! Reads requests off a buffer: arrays of bulk strings, and inline commands.
//!
//! A request is parsed in place: its arguments are ranges of the buffer, and nothing is copied or allocated for them.
//! A request that has not arrived in full is gone on with where the bytes ended, so a byte is looked at once, however
//! slowly it comes. What a client claims about sizes never decides how much is allocated.

use std::borrow::Cow;
use std::ops::Range;

use super::inline;

/// A line with a length, or an inline command, is at most this long.
const MAX_LINE: usize = 64 * 1024;
/// Before it has authenticated, a client may send this many arguments, and arguments of this length.
const MOST_ARGS_UNAUTHENTICATED: i64 = 10;
const LONGEST_ARG_UNAUTHENTICATED: i64 = 16 * 1024;

/// A violation of the protocol: the text of the error, after which the connection is closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) Cow<'static, str>);

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// The longest argument: `proto-max-bulk-len`.
    pub(crate) longest: i64,
    /// Whether the client has still to authenticate.
    pub(crate) unauthenticated: bool,
}

/// How far a request has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There are more bytes to come.
    Partial,
    /// It is complete, and takes this many bytes.
    Complete(usize),
}

/// A request that is being read.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// The arguments that were read so far.
    args: Vec<Range<usize>>,
    /// How many arguments are still to come.
    missing: usize,
    /// The length of the argument that is to come, once it is known.
    length: Option<usize>,
    /// How far the buffer has been parsed.
    at: usize,
    /// How far it has been searched for the end of a line.
    searched: usize,
    /// The arguments of an inline command, which may have escapes.
    inline: Vec<Vec<u8>>,
}

impl Request {
    /// Goes on reading. `input` begins with the request's first byte.
    pub(crate) fn read(&mut self, input: &[u8], allowed: Allowed) -> Result<Progress, Violation> {
        if self.missing == 0 {
            match input.first() {
                None => return Ok(Progress::Partial),
                Some(b'*') => {}
                Some(_) => return self.read_inline(input),
            }
            let Some(count) = self.read_count(input, allowed)? else {
                return Ok(Progress::Partial);
            };
            if count == 0 {
                return Ok(Progress::Complete(self.at));
            }
            self.missing = count;
        }
        while self.missing > 0 {
            let length = match self.length {
                Some(length) => length,
                None => match self.read_length(input, allowed)? {
                    Some(length) => length,
                    None => return Ok(Progress::Partial),
                },
            };
            let end = self.at + length;
            if input.len() < end + 2 {
                self.length = Some(length);
                return Ok(Progress::Partial);
            }
            self.args.push(self.at..end);
            self.at = end + 2;
            self.searched = self.at;
            self.length = None;
            self.missing -= 1;
        }
        Ok(Progress::Complete(self.at))
    }

    /// How many bytes the argument that is being read still needs.
    pub(crate) fn wanted(&self, received: usize) -> usize {
        self.length
            .map_or(0, |length| (self.at + length + 2).saturating_sub(received))
    }

    /// How many bytes the arguments take that were read so far.
    pub(crate) fn bytes(&self) -> usize {
        self.args.iter().map(Range::len).sum()
    }

    /// Gives back the memory of a request with many arguments.
    pub(crate) fn shrink(&mut self) {
        self.args.shrink_to(64);
    }

    /// Forgets the request, for the next one.
    pub(crate) fn clear(&mut self) {
        self.args.clear();
        self.inline.clear();
        self.at = 0;
        self.searched = 0;
        self.missing = 0;
        self.length = None;
    }

    /// Calls `run` with the arguments of a complete request.
    #[inline]
    pub(crate) fn with_args<R>(&self, input: &[u8], run: impl FnOnce(&[&[u8]]) -> R) -> R {
        /// Up to this many arguments are passed without an allocation.
        const ON_STACK: usize = 16;
        let get = |range: &Range<usize>| input.get(range.clone()).unwrap_or_default();
        if !self.inline.is_empty() {
            let args: Vec<&[u8]> = self.inline.iter().map(Vec::as_slice).collect();
            return run(&args);
        }
        if self.args.len() <= ON_STACK {
            let mut args = [&[][..]; ON_STACK];
            for (slot, range) in args.iter_mut().zip(&self.args) {
                *slot = get(range);
            }
            return run(&args[..self.args.len()]);
        }
        let args: Vec<&[u8]> = self.args.iter().map(get).collect();
        run(&args)
    }

    /// The number of arguments.
    fn read_count(&mut self, input: &[u8], allowed: Allowed) -> Result<Option<usize>, Violation> {
        const TOO_BIG: Violation = violation("too big mbulk count string");
        const INVALID: Violation = violation("invalid multibulk length");
        const UNAUTHENTICATED: Violation = violation("unauthenticated multibulk length");
        let Some(line) = self.line(input, TOO_BIG)? else {
            return Ok(None);
        };
        let count = number(&input[line.start + 1..line.end]).ok_or(INVALID)?;
        if count > i64::from(i32::MAX) {
            return Err(INVALID);
        }
        if count > MOST_ARGS_UNAUTHENTICATED && allowed.unauthenticated {
            return Err(UNAUTHENTICATED);
        }
        self.end_line(line.end);
        Ok(Some(usize::try_from(count).unwrap_or(0)))
    }

    /// The length of the next argument.
    fn read_length(&mut self, input: &[u8], allowed: Allowed) -> Result<Option<usize>, Violation> {
        const TOO_BIG: Violation = violation("too big bulk count string");
        const INVALID: Violation = violation("invalid bulk length");
        const UNAUTHENTICATED: Violation = violation("unauthenticated bulk length");
        let Some(line) = self.line(input, TOO_BIG)? else {
            return Ok(None);
        };
        let first = input[line.start];
        if first != b'$' {
            // The character as a server prints it: the byte itself.
            let text = format!("Protocol error: expected '$', got '{}'", char::from(first));
            return Err(Violation(text.into()));
        }
        let length = number(input.get(line.start + 1..line.end).unwrap_or_default());
        let length = length
            .filter(|length| (0..=allowed.longest).contains(length))
            .ok_or(INVALID)?;
        if length > LONGEST_ARG_UNAUTHENTICATED && allowed.unauthenticated {
            return Err(UNAUTHENTICATED);
        }
        self.end_line(line.end);
        usize::try_from(length).map(Some).map_err(|_| INVALID)
    }

    /// The line that begins where the parsed bytes end, without its end; `None` if it has not arrived in full.
    #[inline]
    fn line(
        &mut self,
        input: &[u8],
        too_big: Violation,
    ) -> Result<Option<Range<usize>>, Violation> {
        let from = self.searched.max(self.at);
        let rest = input.get(from..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\r') {
            Some(found) => {
                let end = from + found;
                // The line feed has to be there, too.
                self.searched = end;
                Ok((end + 1 < input.len()).then_some(self.at..end))
            }
            None => {
                self.searched = input.len();
                if input.len() - self.at > MAX_LINE {
                    return Err(too_big);
                }
                Ok(None)
            }
        }
    }

    fn end_line(&mut self, end: usize) {
        self.at = end + 2;
        self.searched = self.at;
    }

    /// A line of words.
    fn read_inline(&mut self, input: &[u8]) -> Result<Progress, Violation> {
        const TOO_BIG: Violation = violation("too big inline request");
        const UNBALANCED: Violation = violation("unbalanced quotes in request");
        let rest = input.get(self.searched..).unwrap_or_default();
        let Some(found) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            if input.len() > MAX_LINE {
                return Err(TOO_BIG);
            }
            return Ok(Progress::Partial);
        };
        let end = self.searched + found;
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.inline = inline::split(line).ok_or(UNBALANCED)?;
        Ok(Progress::Complete(end + 1))
    }
}

const fn violation(text: &'static str) -> Violation {
    Violation(Cow::Borrowed(text))
}

/// The text of the error as it is sent.
impl Violation {
    pub(crate) fn line(&self) -> String {
        let text = self.0.strip_prefix("Protocol error: ").unwrap_or(&self.0);
        format!("-ERR Protocol error: {text}\r\n")
    }
}

/// A number as it stands in a request: in canonical form.
#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    // The usual case: one or two digits.
    match digits {
        [one @ b'0'..=b'9'] => Some(i64::from(one - b'0')),
        [ten @ b'1'..=b'9', one @ b'0'..=b'9'] => {
            Some(i64::from(ten - b'0') * 10 + i64::from(one - b'0'))
        }
        _ => crate::command::integer(digits).ok(),
    }
}

/// The requests in some bytes that arrive `step` at a time, and the violation that ends them.
#[cfg(any(fuzzing, test))]
pub(crate) fn read_all(bytes: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let allowed = Allowed {
        longest: 1 << 20,
        unauthenticated: false,
    };
    let (mut request, mut start, mut seen) = (Request::default(), 0, Vec::new());
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        loop {
            let input = bytes.get(start..end).unwrap_or_default();
            match request.read(input, allowed) {
                Ok(Progress::Partial) => break,
                Ok(Progress::Complete(length)) => {
                    seen.push(
                        request
                            .with_args(input, |args| args.iter().map(|arg| arg.to_vec()).collect()),
                    );
                    request.clear();
                    start += length;
                }
                Err(violation) => return (seen, Some(violation.line())),
            }
        }
    }
    (seen, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: Allowed = Allowed {
        longest: 512 << 20,
        unauthenticated: false,
    };

    fn requests(mut input: &[u8], allowed: Allowed) -> Result<Vec<Vec<Vec<u8>>>, Violation> {
        let mut request = Request::default();
        let mut requests = Vec::new();
        while let Progress::Complete(length) = request.read(input, allowed)? {
            requests.push(request.with_args(input, |args| {
                args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>()
            }));
            request.clear();
            input = &input[length..];
        }
        Ok(requests)
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_request_is_the_same_however_its_bytes_arrive() {
        let input: &[u8] =
            b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING \"a b\"\r\n*0\r\n*1\r\n$4\r\nQUIT\r\n";
        let expected = vec![
            words(&["GET", "a\r\n"]),
            words(&["PING", "a b"]),
            words(&[]),
            words(&["QUIT"]),
        ];
        assert_eq!(requests(input, ALLOWED), Ok(expected.clone()));
        for step in 1..=input.len() {
            let (seen, violation) = read_all(input, step);
            assert_eq!(seen, expected, "{step} at a time");
            assert_eq!(violation, None);
        }
    }

    #[test]
    fn violations_have_the_texts_of_a_server() {
        let unauthenticated = Allowed {
            unauthenticated: true,
            ..ALLOWED
        };
        let long = [b'a'; MAX_LINE + 1];
        let many = [b"*".as_slice(), &[b'1'; MAX_LINE]].concat();
        let cases: [(&[u8], Allowed, &str); 11] = [
            (b"*x\r\n", ALLOWED, "invalid multibulk length"),
            (b"*2147483648\r\n", ALLOWED, "invalid multibulk length"),
            (
                b"*11\r\n",
                unauthenticated,
                "unauthenticated multibulk length",
            ),
            (
                b"*1\r\n$16385\r\n",
                unauthenticated,
                "unauthenticated bulk length",
            ),
            (b"*1\r\n$-1\r\n", ALLOWED, "invalid bulk length"),
            (b"*1\r\n$x\r\n", ALLOWED, "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", ALLOWED, "invalid bulk length"),
            (b"*1\r\nfooz\r\n", ALLOWED, "expected '$', got 'f'"),
            (b"PING \"a\r\n", ALLOWED, "unbalanced quotes in request"),
            (&long, ALLOWED, "too big inline request"),
            (&many, ALLOWED, "too big mbulk count string"),
        ];
        for (input, allowed, text) in cases {
            let violation = requests(input, allowed).unwrap_err();
            assert_eq!(violation.line(), format!("-ERR Protocol error: {text}\r\n"));
        }
    }

    #[test]
    fn a_claimed_count_allocates_nothing() {
        let mut request = Request::default();
        let progress = request.read(b"*2147483647\r\n$3\r\nGET\r\n", ALLOWED);
        assert_eq!(progress, Ok(Progress::Partial));
        assert!(request.args.capacity() < 1024);
    }
}
