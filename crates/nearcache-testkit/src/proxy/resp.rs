//! Finds where one Redis command or reply ends and the next begins, in bytes that arrive in any pieces.
//!
//! [`Splitter`] cuts a stream into [`Frame`]s without changing a byte: its input comes out again, in order. It makes
//! three promises, which its tests name:
//!
//! 1. However the stream is cut into pieces, the frames are the same.
//! 2. No input causes a panic. After something that is not RESP, or a frame longer than the limit, the rest of the
//!    stream is [`Kind::Raw`]: it is passed on as it arrives, in pieces that mean nothing.
//! 3. It buffers at most one frame of the limit's length, plus the piece that it was fed.

/// The language of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Arrays of bulk strings, or inline commands.
    Requests,
    /// Every type of RESP2 and RESP3.
    Replies,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Reply,
    /// Sent by a server without being asked, `>` in RESP3.
    Push,
    /// Bytes of a stream that could not be parsed.
    Raw,
}

/// One command, one reply with the attributes before it, or one piece of a raw stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

/// The longest frame that is kept together; a longer one passes in pieces.
pub(super) const MAX_FRAME: usize = 64 << 20;

/// The longest line: an inline command, a simple string, an error, a number.
pub(super) const MAX_LINE: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Splitter {
    side: Side,
    pub(super) limit: usize,
    pub(super) buffer: Vec<u8>,
    /// Where the current frame starts, where its next element starts, and how far that element's first line was
    /// searched for its end.
    start: usize,
    at: usize,
    searched: usize,
    /// How many elements the frame still lacks. The nesting is not tracked, so depth costs nothing.
    lacking: u64,
    /// The type of the current frame, after its attributes.
    top: Option<u8>,
    raw: bool,
}

enum Element {
    /// It takes this many bytes, and has this many elements in it or (for an attribute) after it.
    Whole {
        length: usize,
        more: u64,
    },
    Incomplete,
    NotResp,
}

impl Splitter {
    pub(super) fn new(side: Side) -> Splitter {
        Splitter::with_limit(side, MAX_FRAME)
    }

    pub(super) fn with_limit(side: Side, limit: usize) -> Splitter {
        Splitter {
            side,
            limit,
            buffer: Vec::new(),
            start: 0,
            at: 0,
            searched: 0,
            lacking: 1,
            top: None,
            raw: false,
        }
    }

    /// Takes the next piece of the stream, and appends the frames that it completes.
    pub(super) fn feed(&mut self, piece: &[u8], frames: &mut Vec<Frame>) {
        self.buffer.extend_from_slice(piece);
        while !self.raw {
            let (length, more) = match self.element() {
                Element::Whole { length, more } => (length, more),
                Element::Incomplete => break,
                Element::NotResp => {
                    self.raw = true;
                    break;
                }
            };
            if self.lacking == 1 && self.top.is_none() && self.buffer[self.at] != b'|' {
                self.top = Some(self.buffer[self.at]);
            }
            let lacking = (self.lacking - 1).checked_add(more);
            self.at += length;
            self.searched = self.at;
            match lacking {
                Some(lacking) if self.at - self.start <= self.limit => self.lacking = lacking,
                _ => {
                    self.raw = true;
                    break;
                }
            }
            if self.lacking == 0 {
                frames.push(self.complete());
            }
        }
        if self.raw {
            frames.extend(self.finish());
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.at -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
    }

    /// The stream has ended: returns the incomplete rest.
    pub(super) fn finish(&mut self) -> Option<Frame> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.drain(..self.start);
        (self.start, self.at, self.searched) = (0, 0, 0);
        self.raw = true;
        let kind = Kind::Raw;
        (!bytes.is_empty()).then_some(Frame { kind, bytes })
    }

    fn complete(&mut self) -> Frame {
        let kind = match (self.side, self.top) {
            (Side::Requests, _) => Kind::Request,
            (Side::Replies, Some(b'>')) => Kind::Push,
            (Side::Replies, _) => Kind::Reply,
        };
        let bytes = if self.start == 0 && self.at == self.buffer.len() {
            self.at = 0;
            self.searched = 0;
            std::mem::take(&mut self.buffer)
        } else {
            self.buffer[self.start..self.at].to_vec()
        };
        self.start = self.at;
        self.lacking = 1;
        self.top = None;
        Frame { kind, bytes }
    }

    /// The element that starts at `at`.
    fn element(&mut self) -> Element {
        let Some(&first) = self.buffer.get(self.at) else {
            return Element::Incomplete;
        };
        let starts = self.at == self.start;
        let inline = self.side == Side::Requests && starts && first != b'*';
        if self.side == Side::Requests && !starts && first != b'$' {
            return Element::NotResp;
        }
        // An unknown type is recognized by its first byte, whatever comes after it.
        if !inline && !b"+-:_#,($!=*~>%|".contains(&first) {
            return Element::NotResp;
        }
        let newline = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n');
        let Some(newline) = newline else {
            self.searched = self.buffer.len();
            return if self.searched - self.at > MAX_LINE {
                Element::NotResp
            } else {
                Element::Incomplete
            };
        };
        // The end of the line is remembered, so that it is not searched again when more of the element arrives.
        self.searched += newline;
        let line = self.searched + 1 - self.at;
        if line > MAX_LINE {
            return Element::NotResp;
        }
        let alone = Element::Whole {
            length: line,
            more: 0,
        };
        if inline {
            return alone;
        }
        let Some(text) = self.buffer[self.at + 1..self.searched].strip_suffix(b"\r") else {
            return Element::NotResp;
        };
        if b"+-:_#,(".contains(&first) {
            return alone;
        }
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let count = match number {
            Some(-1) if b"$*".contains(&first) => return alone,
            Some(count) => u64::try_from(count).ok(),
            None => None,
        };
        let Some(count) = count else {
            return Element::NotResp;
        };
        match first {
            b'$' | b'!' | b'=' => self.bulk(line, count),
            b'%' | b'|' => {
                let more = count
                    .checked_mul(2)
                    .and_then(|more| more.checked_add(u64::from(first == b'|')));
                more.map_or(Element::NotResp, |more| Element::Whole {
                    length: line,
                    more,
                })
            }
            _ => Element::Whole {
                length: line,
                more: count,
            },
        }
    }

    /// A string of `count` bytes after its line.
    fn bulk(&self, line: usize, count: u64) -> Element {
        let before = self.at + line - self.start;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // Refused at once, so that a stream which announces more than the limit is not buffered up to it.
        if before.saturating_add(count).saturating_add(2) > self.limit {
            return Element::NotResp;
        }
        let length = line + count + 2;
        match self.buffer.get(self.at + length - 2..self.at + length) {
            Some(b"\r\n") => Element::Whole { length, more: 0 },
            Some(_) => Element::NotResp,
            None => Element::Incomplete,
        }
    }
}

impl Frame {
    /// The frame's strings and numbers, flattened, in order: a command's name and arguments, or a push's kind and
    /// what it is about.
    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        Words {
            rest: &self.bytes,
            inline: self.kind == Kind::Request && self.bytes.first() != Some(&b'*'),
        }
    }
}

struct Words<'a> {
    rest: &'a [u8],
    inline: bool,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.inline {
            self.rest = self.rest.trim_ascii();
            let end = self.rest.iter().position(u8::is_ascii_whitespace);
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest;
            return (!word.is_empty()).then_some(word);
        }
        loop {
            let newline = self.rest.iter().position(|&byte| byte == b'\n')?;
            let (line, rest) = self.rest.split_at(newline + 1);
            self.rest = rest;
            let line = line.strip_suffix(b"\r\n")?;
            let (first, text) = line.split_first()?;
            match first {
                b'$' | b'!' | b'=' => {
                    let Ok(length) = std::str::from_utf8(text).ok()?.parse::<usize>() else {
                        continue;
                    };
                    let word = self.rest.get(..length)?;
                    self.rest = self.rest.get(length + 2..)?;
                    return Some(word);
                }
                b'*' | b'~' | b'>' | b'%' | b'|' | b'_' => {}
                _ => return Some(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn split(mut splitter: Splitter, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for piece in pieces {
            splitter.feed(piece, &mut frames);
        }
        frames.extend(splitter.finish());
        frames
    }

    fn texts(side: Side, stream: &str) -> Vec<(Kind, String)> {
        let frames = split(Splitter::new(side), &[stream.as_bytes()]);
        frames
            .into_iter()
            .map(|frame| {
                let text = String::from_utf8(frame.bytes).expect("was a string");
                (frame.kind, text)
            })
            .collect()
    }

    /// Checks that the stream of these frames is split into these frames.
    fn comes_apart(side: Side, frames: &[(Kind, &str)]) {
        let stream: String = frames.iter().map(|(_, text)| *text).collect();
        let expected: Vec<_> = frames
            .iter()
            .map(|(kind, text)| (*kind, (*text).to_owned()))
            .collect();
        assert_eq!(texts(side, &stream), expected);
    }

    #[test]
    fn requests_come_apart() {
        comes_apart(
            Side::Requests,
            &[
                (Kind::Request, "*1\r\n$4\r\nPING\r\n"),
                (Kind::Request, "GET inline\r\n"),
                (Kind::Request, "PING\n"),
                (Kind::Request, "\r\n"),
                (Kind::Request, "*0\r\n"),
                (Kind::Request, "*2\r\n$3\r\nGET\r\n$4\r\n\r\n*1\r\n"),
            ],
        );
    }

    #[test]
    fn replies_of_every_type_come_apart() {
        comes_apart(
            Side::Replies,
            &[
                (Kind::Reply, "+OK\r\n"),
                (Kind::Reply, "-ERR no\r\n"),
                (Kind::Reply, ":-12\r\n"),
                (Kind::Reply, "$-1\r\n"),
                (Kind::Reply, "$0\r\n\r\n"),
                (Kind::Reply, "$5\r\n+\r\n>1\r\n"),
                (Kind::Reply, "*-1\r\n"),
                (Kind::Reply, "*0\r\n"),
                (Kind::Reply, "_\r\n"),
                (Kind::Reply, "#t\r\n"),
                (Kind::Reply, ",inf\r\n"),
                (Kind::Reply, "(12345678901234567890123\r\n"),
                (Kind::Reply, "!5\r\nERR n\r\n"),
                (Kind::Reply, "=8\r\ntxt:some\r\n"),
                (
                    Kind::Reply,
                    "*2\r\n*1\r\n:1\r\n~2\r\n+a\r\n%1\r\n+k\r\n*0\r\n",
                ),
                (Kind::Reply, "%1\r\n$1\r\nk\r\n>1\r\n:1\r\n"),
                (Kind::Push, ">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n"),
                (Kind::Reply, "|1\r\n+ttl\r\n:3\r\n*1\r\n:1\r\n"),
                (Kind::Push, "|1\r\n+ttl\r\n*1\r\n:3\r\n>1\r\n+message\r\n"),
                (Kind::Reply, "*1\r\n|1\r\n+ttl\r\n:3\r\n>1\r\n+nested\r\n"),
            ],
        );
    }

    #[test]
    fn what_is_not_resp_passes_raw_and_stays_raw() {
        for garbage in [
            "?\r\n",
            "+no return\n",
            "$x\r\n",
            "$-2\r\n",
            "$3\r\nabcd\r\n",
            "*99999999999999999999\r\n",
            "%9223372036854775807\r\n",
            "*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
            "$9223372036854775807\r\n",
        ] {
            let stream = format!("+OK\r\n{garbage}+OK\r\n");
            let texts = texts(Side::Replies, &stream);
            assert_eq!(texts[0], (Kind::Reply, "+OK\r\n".to_owned()));
            let rest: String = texts[1..].iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(rest, format!("{garbage}+OK\r\n"));
            assert!(
                texts[1..].iter().all(|(kind, _)| *kind == Kind::Raw),
                "{garbage:?}"
            );
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_not_buffered() {
        let mut splitter = Splitter::with_limit(Side::Replies, 1000);
        let mut frames = Vec::new();
        splitter.feed(b"$995\r\n", &mut frames);
        assert_eq!(frames.pop().map(|frame| frame.kind), Some(Kind::Raw));
        splitter.feed(&[b'x'; 5000], &mut frames);
        assert_eq!(splitter.buffer.capacity(), 0);
        // The same holds for many small elements.
        let mut splitter = Splitter::with_limit(Side::Replies, 1000);
        splitter.feed(b"*1000000\r\n", &mut frames);
        for _ in 0..1000 {
            splitter.feed(b":1\r\n", &mut frames);
            assert!(splitter.buffer.len() <= 1010);
        }
        // And for a line without an end.
        let mut splitter = Splitter::new(Side::Requests);
        for _ in 0..100 {
            splitter.feed(&[b'x'; 1000], &mut frames);
            assert!(splitter.buffer.len() <= MAX_LINE + 1000);
        }
    }

    #[test]
    fn a_frame_gives_its_words() {
        let words = |kind, text: &str| -> Vec<String> {
            let bytes = text.as_bytes().to_vec();
            Frame { kind, bytes }
                .words()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        };
        assert_eq!(
            words(Kind::Request, "*2\r\n$3\r\nGET\r\n$3\r\na\nb\r\n"),
            ["GET", "a\nb"]
        );
        assert_eq!(words(Kind::Request, " get  a \r\n"), ["get", "a"]);
        assert_eq!(words(Kind::Request, "\r\n"), [""; 0]);
        assert_eq!(
            words(
                Kind::Push,
                ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
            ),
            ["invalidate", "a", "b"]
        );
        assert_eq!(
            words(Kind::Push, ">2\r\n+invalidate\r\n_\r\n"),
            ["invalidate"]
        );
    }

    /// One reply of any shape.
    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let bulk = |mark: char| {
            vec(any::<u8>(), 0..40).prop_map(move |body| {
                let mut bytes = format!("{mark}{}\r\n", body.len()).into_bytes();
                bytes.extend(body);
                bytes.extend(b"\r\n");
                bytes
            })
        };
        let leaf = prop_oneof![
            "[+:(,_#-][ -~]{0,20}".prop_map(|line| format!("{line}\r\n").into_bytes()),
            bulk('$'),
            bulk('='),
            bulk('!'),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            (
                prop::sample::select(vec!['*', '~', '%', '>', '|']),
                vec(inner, 0..6),
            )
                .prop_map(|(mark, mut inside)| {
                    let mut count = inside.len();
                    if mark == '%' || mark == '|' {
                        count /= 2;
                        inside.truncate(count * 2);
                    }
                    if mark == '|' {
                        inside.push(b"+after\r\n".to_vec());
                    }
                    let mut bytes = format!("{mark}{count}\r\n").into_bytes();
                    bytes.extend(inside.concat());
                    bytes
                })
        })
    }

    fn request() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(vec(any::<u8>(), 0..30), 0..5).prop_map(|words| {
                let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
                for word in words {
                    bytes.extend(format!("${}\r\n", word.len()).into_bytes());
                    bytes.extend(word);
                    bytes.extend(b"\r\n");
                }
                bytes
            }),
            "[a-zA-Z]{0,10} [ -~]{0,20}\r?\n".prop_map(String::into_bytes),
        ]
    }

    /// Cuts the stream at these places.
    fn pieces<'a>(mut stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, rest) = stream.split_at(cut % (stream.len() + 1));
            pieces.push(piece);
            stream = rest;
        }
        pieces.push(stream);
        pieces
    }

    /// Joins raw bytes, because their pieces cannot be compared.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut joined: Vec<Frame> = Vec::new();
        for frame in frames {
            match joined.last_mut() {
                Some(last) if last.kind == Kind::Raw && frame.kind == Kind::Raw => {
                    last.bytes.extend(frame.bytes);
                }
                _ => joined.push(frame),
            }
        }
        joined
    }

    proptest! {
        #[test]
        fn promise_1_frames_do_not_depend_on_the_pieces(
            replies in vec(reply(), 0..8),
            requests in vec(request(), 0..8),
            cuts in vec(0..60_usize, 0..20),
        ) {
            for (side, frames) in [(Side::Replies, replies), (Side::Requests, requests)] {
                let stream = frames.concat();
                let found = split(Splitter::new(side), &pieces(&stream, &cuts));
                let found: Vec<_> = found.into_iter().map(|frame| frame.bytes).collect();
                prop_assert_eq!(found, frames);
            }
        }

        #[test]
        fn promises_1_to_3_hold_for_garbage(
            stream in vec(prop_oneof![
                any::<u8>(), prop::sample::select(b"+-:$*%>|\r\n0123".to_vec()),
            ], 0..300),
            cuts in vec(0..30_usize, 0..20),
        ) {
            for side in [Side::Requests, Side::Replies] {
                let whole = joined(split(Splitter::with_limit(side, 40), &[&stream]));
                let cut = joined(split(Splitter::with_limit(side, 40), &pieces(&stream, &cuts)));
                prop_assert_eq!(&whole, &cut);
                let mut out = Vec::new();
                for frame in &whole {
                    out.extend_from_slice(&frame.bytes);
                    let _ = frame.words().count();
                }
                prop_assert_eq!(out, stream.clone());
            }
        }
    }
}
