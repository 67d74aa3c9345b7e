//! What the code under test logs, for tests that share their process with others.
//!
//! A subscriber for a scope (`tracing::subscriber::with_default`) cannot tell that in one of many threads. `tracing`
//! asks only once who wants to hear of a line of code, when it is first reached; if that happens in a thread without
//! a subscriber, the answer is nobody, and it is kept. So there is one subscriber here for the whole process, which is
//! always there and never gives an answer that may be kept; and each [`Logs`] is handed what its own thread logs.

use std::cell::RefCell;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

thread_local! {
    static LISTENING: RefCell<Vec<Heard>> = const { RefCell::new(Vec::new()) };
}

/// The lines that this thread logs from now on, until this is dropped. Those of other threads are not among them.
///
/// A line is what `tracing_subscriber::fmt` writes: level, spans, target, message and fields. A new span is a line, too.
#[derive(Debug)]
pub struct Logs {
    heard: Heard,
    /// It stays in its thread.
    _thread: PhantomData<Rc<()>>,
}

#[derive(Clone, Debug)]
struct Heard {
    up_to: Level,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Logs {
    /// Those that an application shows unless told otherwise: `INFO` and what is graver.
    pub fn of_this_thread() -> Logs {
        Logs::up_to(Level::INFO)
    }

    /// Those of this level, and what is graver.
    ///
    /// # Panics
    /// If the process has a subscriber of its own.
    pub fn up_to(level: Level) -> Logs {
        install();
        let heard = Heard {
            up_to: level,
            text: Arc::default(),
        };
        LISTENING.with_borrow_mut(|listening| listening.push(heard.clone()));
        Logs {
            heard,
            _thread: PhantomData,
        }
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        let text = self.heard.text.lock();
        String::from_utf8_lossy(&text.unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// How often they have these words.
    pub fn count(&self, words: &str) -> usize {
        self.text().matches(words).count()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        LISTENING.with_borrow_mut(|listening| {
            listening.retain(|one| !Arc::ptr_eq(&one.text, &self.heard.text));
        });
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(Listeners)
            .with_span_events(FmtSpan::NEW)
            .with_ansi(false)
            .without_time();
        let subscriber = Registry::default().with(lines).with(Listeners);
        tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    });
}

/// Before `main`, so that no thread reaches a line of code while there is no subscriber yet. Where this is not known to
/// be possible, the first [`Logs`] does it.
#[allow(unsafe_code, reason = "std has nothing that runs before main")]
// SAFETY: the section holds functions of this signature, and the C library calls each of them once, in the only thread.
// What is called does not rely on anything that `main` prepares.
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(
    target_vendor = "apple",
    unsafe(link_section = "__DATA,__mod_init_func")
)]
#[used]
static AT_THE_START: extern "C" fn() = {
    extern "C" fn at_the_start() {
        install();
    }
    at_the_start
};

/// Those of the current thread.
#[derive(Clone, Copy, Debug)]
struct Listeners;

impl Listeners {
    fn of(metadata: &Metadata<'_>) -> Vec<Heard> {
        // A thread that ends has none any more.
        let listening = LISTENING.try_with(|listening| {
            let listening = listening.borrow();
            let wanted = listening
                .iter()
                .filter(|one| *metadata.level() <= one.up_to);
            wanted.cloned().collect()
        });
        listening.unwrap_or_default()
    }
}

impl<S: Subscriber> Layer<S> for Listeners {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !Listeners::of(metadata).is_empty()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

impl<'w> MakeWriter<'w> for Listeners {
    type Writer = Writer;

    /// Never used: each line has its metadata.
    fn make_writer(&'w self) -> Writer {
        Writer(Vec::new())
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Writer {
        Writer(Listeners::of(metadata))
    }
}

struct Writer(Vec<Heard>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for heard in &self.0 {
            let text = heard.text.lock();
            text.unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_line_is_heard_in_its_thread_whoever_reached_it_first_and_whoever_stops_listening() {
        fn line() {
            tracing::info!(number = 7, "a line");
        }
        let logs = Logs::of_this_thread();
        thread::spawn(line).join().expect("it does not panic");
        assert_eq!(logs.text(), "");
        line();
        assert_eq!(logs.count("a line number=7"), 1, "{}", logs.text());
        let others = thread::spawn(|| {
            let logs = Logs::up_to(Level::ERROR);
            line();
            logs.text()
        });
        assert_eq!(others.join().expect("it does not panic"), "");
        line();
        assert_eq!(logs.count("a line number=7"), 2, "{}", logs.text());
        drop(logs);
        line();
        assert_eq!(Logs::of_this_thread().text(), "");
    }

    #[test]
    fn the_level_is_a_limit_and_a_span_is_a_line() {
        let (all, grave) = (Logs::up_to(Level::TRACE), Logs::up_to(Level::WARN));
        tracing::debug_span!("a span").in_scope(|| {
            tracing::trace!("fine");
            tracing::warn!("grave");
        });
        assert_eq!(all.text().lines().count(), 3, "{}", all.text());
        assert_eq!(all.count("a span: nearcache_testkit::logs::tests: "), 3);
        assert_eq!(grave.text().lines().count(), 1, "{}", grave.text());
        assert_eq!(grave.count("grave"), 1);
    }

    /// The subscriber is there before any thread of a test is.
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[test]
    fn it_is_there_from_the_start() {
        assert!(tracing::dispatcher::has_been_set());
        assert!(tracing::enabled!(Level::TRACE) || LevelFilter::current() == LevelFilter::TRACE);
    }
}
