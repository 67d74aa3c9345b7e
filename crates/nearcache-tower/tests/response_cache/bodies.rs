//! Bodies: nothing is lost, and nothing that is cut off is stored.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};
use http_body::Frame;
use tower::BoxError;

use crate::site::{Place, Site, page};

places! {
    a_body_beyond_the_limit_passes_whole_and_is_not_stored,
    a_body_that_breaks_off_does_so_for_the_client_and_is_not_stored,
    a_body_shorter_than_it_says_is_not_stored,
    trailers_are_stored,
    an_empty_body_is_stored,
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// Frames, one after the other, each only when it is asked for twice.
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
    waited: bool,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        Poll::Ready(self.frames.pop_front())
    }
}

fn streamed(
    frames: impl IntoIterator<Item = Result<Frame<Bytes>, BoxError>>,
    headers: &[(&str, &str)],
) -> Response<Body> {
    let frames = Frames {
        frames: frames.into_iter().collect(),
        waited: false,
    };
    page(0, headers).map(|_| Body::new(frames))
}

fn data(text: impl Into<Bytes>) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(text.into()))
}

async fn a_body_beyond_the_limit_passes_whole_and_is_not_stored(place: Place) {
    for stated in [true, false] {
        let site = Site::serve(
            &place.cache(),
            |options| options.body_limit(10_000),
            move |request, run| async move {
                let size = if request.uri().path() == "/long" {
                    10_001
                } else {
                    10_000
                };
                let (number, length) = (run.to_string(), size.to_string());
                let mut headers = vec![FRESH, ("run", number.as_str())];
                if stated {
                    headers.push(("content-length", length.as_str()));
                }
                let frames = (0..size)
                    .step_by(100)
                    .map(|at| data(vec![b'a' + (at / 100 % 26) as u8; (size - at).min(100)]));
                Ok(streamed(frames, &headers))
            },
        );
        let expected: String = (0..10_001)
            .map(|at| (b'a' + (at / 100 % 26) as u8) as char)
            .collect();
        for run in ["0", "1"] {
            let got = site.get("/long").await;
            assert_eq!(got.header("run"), Some(run));
            assert!(got.body == expected, "{} bytes", got.body.len());
        }
        for _ in 0..2 {
            let got = site.get("/short").await;
            assert_eq!(got.header("run"), Some("2"));
            assert!(got.body == expected[..10_000], "{} bytes", got.body.len());
        }
    }
}

async fn a_body_that_breaks_off_does_so_for_the_client_and_is_not_stored(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, run| async move {
            let end = match run {
                0 | 1 => Err("reset".into()),
                _ => data("efg"),
            };
            Ok(streamed([data("ab"), data("cd"), end], &[FRESH]))
        },
    );
    for _ in 0..2 {
        let got = site.get("/page").await;
        assert_eq!((got.body.as_str(), got.broken), ("abcd", true));
    }
    for _ in 0..2 {
        let got = site.get("/page").await;
        assert_eq!((got.body.as_str(), got.broken), ("abcdefg", false));
    }
    assert_eq!(site.runs(), 3);
}

async fn a_body_shorter_than_it_says_is_not_stored(place: Place) {
    for length in ["5", "3", "many"] {
        let site = Site::serve(
            &place.cache(),
            |options| options,
            move |_, _| async move {
                Ok(streamed(
                    [data("abcd")],
                    &[FRESH, ("content-length", length)],
                ))
            },
        );
        for runs in 1..3 {
            assert_eq!(site.get("/page").await.body, "abcd");
            assert_eq!(site.runs(), runs, "{length}");
        }
    }
}

async fn trailers_are_stored(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, _| async move {
            let mut trailers = HeaderMap::new();
            trailers.insert("checksum", "7".parse()?);
            Ok(streamed(
                [data("abcd"), Ok(Frame::trailers(trailers))],
                &[FRESH],
            ))
        },
    );
    for _ in 0..2 {
        let got = site.get("/page").await;
        assert_eq!(got.body, "abcd");
        assert_eq!(got.trailers.unwrap()["checksum"], "7");
    }
    assert_eq!(site.runs(), 1);
}

async fn an_empty_body_is_stored(place: Place) {
    let site = Site::serve(
        &place.cache(),
        |options| options,
        |_, _| async move {
            let mut response = page(0, &[FRESH]).map(|_| Body::empty());
            *response.status_mut() = axum::http::StatusCode::NO_CONTENT;
            Ok::<_, BoxError>(response)
        },
    );
    for _ in 0..2 {
        let got = site.get("/page").await;
        assert_eq!((got.status, got.body.as_str()), (204, ""));
    }
    assert_eq!(site.runs(), 1);
}
