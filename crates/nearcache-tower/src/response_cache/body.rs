//! The body of a response: what was stored, what the handler sends, or what was read of that and then the rest.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that passed a [`ResponseCacheLayer`](crate::ResponseCacheLayer).
    #[project = Projected]
    pub struct ResponseBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = ProjectedKind]
    enum Kind<B: Body> {
        /// What is in memory.
        Whole { bytes: Option<Bytes>, trailers: Option<HeaderMap> },
        /// What the handler sends.
        Streamed { #[pin] body: B },
        /// What was read of it, and then the rest, or the error that ended it.
        Begun { read: VecDeque<Bytes>, end: End<B> },
    }
}

/// What comes after the frames that were read.
enum End<B: Body> {
    Rest(Pin<Box<B>>),
    Error(Option<B::Error>),
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    pub(super) fn empty() -> Self {
        ResponseBody::whole(Bytes::new(), None)
    }

    pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        ResponseBody {
            kind: Kind::Whole { bytes, trailers },
        }
    }

    fn begun(read: VecDeque<Bytes>, end: End<B>) -> Self {
        ResponseBody {
            kind: Kind::Begun { read, end },
        }
    }

    pub(super) fn streamed(body: B) -> Self {
        ResponseBody {
            kind: Kind::Streamed { body },
        }
    }
}

/// What reading a body came to.
pub(super) enum Collected<B: Body> {
    /// All of it.
    Whole {
        bytes: Bytes,
        trailers: Option<HeaderMap>,
    },
    /// It is longer than the limit: it is passed on as it comes, after what was read.
    TooLong(ResponseBody<B>),
    /// It broke off: what was read is passed on, and then the error.
    Broken(ResponseBody<B>),
}

/// Reads a body up to a limit. Nothing is lost: what is not stored is sent.
pub(super) async fn collect<B: Body<Data = Bytes>>(body: B, limit: usize) -> Collected<B> {
    if body.size_hint().lower() > limit as u64 {
        return Collected::TooLong(ResponseBody::streamed(body));
    }
    let mut body = Box::pin(body);
    let (mut read, mut size) = (VecDeque::new(), 0);
    let mut trailers: Option<HeaderMap> = None;
    loop {
        match std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => {
                let bytes = joined(read);
                return Collected::Whole { bytes, trailers };
            }
            Some(Err(error)) => {
                let end = End::Error(Some(error));
                return Collected::Broken(ResponseBody::begun(read, end));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    size += data.len();
                    read.push_back(data);
                    if size > limit {
                        let end = End::Rest(body);
                        return Collected::TooLong(ResponseBody::begun(read, end));
                    }
                }
                Err(frame) => {
                    if let Ok(more) = frame.into_trailers() {
                        trailers.get_or_insert_default().extend(more);
                    }
                }
            },
        }
    }
}

fn joined(mut read: VecDeque<Bytes>) -> Bytes {
    if read.len() <= 1 {
        return read.pop_front().unwrap_or_default();
    }
    read.iter().flatten().copied().collect()
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            ProjectedKind::Whole { bytes, trailers } => {
                let data = bytes.take().map(Frame::data);
                let frame = data.or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(frame.map(Ok))
            }
            ProjectedKind::Streamed { body } => body.poll_frame(context),
            ProjectedKind::Begun { read, end } => match (read.pop_front(), end) {
                (Some(data), _) => Poll::Ready(Some(Ok(Frame::data(data)))),
                (None, End::Rest(body)) => body.as_mut().poll_frame(context),
                (None, End::Error(error)) => Poll::Ready(error.take().map(Err)),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { bytes, trailers } => bytes.is_none() && trailers.is_none(),
            Kind::Streamed { body } => body.is_end_stream(),
            Kind::Begun { read, end } => {
                let ended = match end {
                    End::Rest(body) => body.is_end_stream(),
                    End::Error(error) => error.is_none(),
                };
                read.is_empty() && ended
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Kind::Streamed { body } => body.size_hint(),
            Kind::Begun { read, end } => {
                let read = read.iter().map(|data| data.len() as u64).sum::<u64>();
                let mut hint = match end {
                    End::Rest(body) => body.size_hint(),
                    // How much would have come is not known.
                    End::Error(_) => SizeHint::default(),
                };
                let upper = hint.upper().and_then(|upper| upper.checked_add(read));
                hint.set_lower(
                    hint.lower()
                        .saturating_add(read)
                        .min(upper.unwrap_or(u64::MAX)),
                );
                if let Some(upper) = upper {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Whole { .. } => "whole",
            Kind::Streamed { .. } => "streamed",
            Kind::Begun { .. } => "begun",
        };
        f.debug_tuple("ResponseBody").field(&kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http_body_util::BodyExt;

    use super::*;

    /// Frames, one after the other.
    struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    fn trailers() -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", "7".parse().unwrap());
        trailers
    }

    async fn read(
        mut body: ResponseBody<Frames>,
    ) -> (String, Option<HeaderMap>, Option<&'static str>) {
        let (mut text, mut trailers, mut error) = (String::new(), None, None);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Err(why) => error = Some(why),
            }
        }
        assert!(body.is_end_stream() || error.is_none());
        (text, trailers, error)
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_with_its_trailers() {
        let frames = [data("ab"), data("cd"), Ok(Frame::trailers(trailers()))];
        match collect(Frames(frames.into()), 4).await {
            Collected::Whole {
                bytes,
                trailers: found,
            } => {
                assert_eq!((&*bytes, found.clone()), (&b"abcd"[..], Some(trailers())));
                let again = read(ResponseBody::whole(bytes, found)).await;
                assert_eq!(again, ("abcd".to_owned(), Some(trailers()), None));
            }
            _ => panic!("it is within the limit"),
        }
    }

    #[tokio::test]
    async fn a_longer_body_passes_whole() {
        let frames = [
            data("abc"),
            data("de"),
            data("fg"),
            Ok(Frame::trailers(trailers())),
        ];
        let Collected::TooLong(body) = collect(Frames(frames.into()), 4).await else {
            panic!("it is beyond the limit");
        };
        assert_eq!(body.size_hint().lower(), 5);
        assert_eq!(
            read(body).await,
            ("abcdefg".to_owned(), Some(trailers()), None)
        );
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_still_does() {
        let frames = [data("abc"), Err("reset")];
        let Collected::Broken(body) = collect(Frames(frames.into()), 100).await else {
            panic!("it is not whole");
        };
        assert_eq!(read(body).await, ("abc".to_owned(), None, Some("reset")));
    }
}
