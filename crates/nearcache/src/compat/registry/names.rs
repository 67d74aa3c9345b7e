//! The listing of an element's names, as text.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::charset::Charset;
use crate::Key;
use crate::cache::operation::{Async, Keys};
use crate::error::{Error, ErrorKind, Result};

/// The names of an element, listed lazily: for an async caller a [`Stream`](futures_core::Stream) (or use
/// [`next`](Names::next), which needs no other crate), for a blocking caller an [`Iterator`].
///
/// A key whose bytes are no text in the element's charset is an error ([`ErrorKind::Codec`]), and the listing goes on.
/// After any other error it ends.
#[must_use = "nothing is listed until it is asked for the next name"]
pub struct Names<'c, M = Async> {
    keys: Result<Keys<'c, M>, Option<Error>>,
    charset: Charset,
}

impl<'c, M> Names<'c, M> {
    pub(super) fn new(keys: Result<Keys<'c, M>>, charset: Charset) -> Self {
        Names {
            keys: keys.map_err(Some),
            charset,
        }
    }

    fn text(&self, key: Result<Key>) -> Result<String> {
        let key = key?;
        let charset = self.charset;
        charset.decode(key.as_bytes().to_vec()).ok_or_else(|| {
            let why = format!(
                "a key of {} bytes is no {charset} text; the cache beneath lists keys as bytes",
                key.as_bytes().len()
            );
            Error::new(ErrorKind::Codec, why)
        })
    }
}

impl Names<'_, Async> {
    /// The next name, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<String>> {
        std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(self), context))
            .await
    }
}

impl futures_core::Stream for Names<'_, Async> {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let key = match &mut self.keys {
            Ok(keys) => ready!(Pin::new(keys).poll_next(context)),
            Err(error) => error.take().map(Err),
        };
        Poll::Ready(key.map(|key| self.text(key)))
    }
}

#[cfg(feature = "blocking")]
impl Iterator for Names<'_, crate::operation::Blocking> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let key = match &mut self.keys {
            Ok(keys) => keys.next()?,
            Err(error) => Err(error.take()?),
        };
        Some(self.text(key))
    }
}

impl<M> fmt::Debug for Names<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}
