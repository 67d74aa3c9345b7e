//! Any stream, in any pieces: checks the promises of [`resp`](super::resp), by their numbers.

use super::resp::{Frame, Kind, Side, Splitter};

/// Short, so that frames can be longer than the limit.
const LIMIT: usize = 300;

/// A stream that is cut into pieces as the first bytes say.
pub fn frames(data: &[u8]) {
    let [first, cut, data @ ..] = data else {
        return;
    };
    let side = if first & 1 == 0 {
        Side::Replies
    } else {
        Side::Requests
    };
    let splitter = || match first & 2 {
        0 => Splitter::with_limit(side, LIMIT),
        _ => Splitter::new(side),
    };
    let whole = split(splitter(), &[data]);
    let piece = usize::from(*cut).max(1);
    let mut pieces = split(splitter(), &data.chunks(piece).collect::<Vec<_>>());
    // The pieces of a raw stream may differ, but the frames before it must be the same.
    let (mut expected, raw) = parted(whole.clone());
    let (given, rest) = parted(std::mem::take(&mut pieces));
    assert_eq!((&expected, &raw), (&given, &rest), "promise 1");
    expected.extend((!raw.is_empty()).then_some(Frame {
        kind: Kind::Raw,
        bytes: raw,
    }));
    let bytes: Vec<u8> = expected
        .iter()
        .flat_map(|frame| frame.bytes.clone())
        .collect();
    assert_eq!(bytes, data, "nothing is lost");
    for frame in &whole {
        let words: usize = frame.words().map(<[u8]>::len).sum();
        assert!(words <= frame.bytes.len());
        if frame.kind != Kind::Raw {
            // A frame on its own splits into the same frame.
            assert_eq!(
                split(splitter(), &[&frame.bytes]),
                std::slice::from_ref(frame)
            );
        }
    }
}

fn split(mut splitter: Splitter, pieces: &[&[u8]]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    for piece in pieces {
        splitter.feed(piece, &mut frames);
        assert!(
            splitter.buffer.len() <= splitter.limit.max(super::resp::MAX_LINE) + longest,
            "promise 3"
        );
    }
    frames.extend(splitter.finish());
    frames
}

/// The frames, and the raw bytes after them.
fn parted(frames: Vec<Frame>) -> (Vec<Frame>, Vec<u8>) {
    let (raw, frames): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .partition(|frame| frame.kind == Kind::Raw);
    (
        frames,
        raw.into_iter().flat_map(|frame| frame.bytes).collect(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_fuzzer_found_holds() {
        crate::corpus("frames").for_each(|bytes| super::frames(&bytes));
    }
}
