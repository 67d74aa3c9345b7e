//! Connecting to a host that may have several addresses: Happy Eyeballs (RFC 8305).
//!
//! 1. The families take turns, beginning with that of the resolver's first address.
//! 2. The next address is tried [`STAGGER`] after the one before it, or at once when one fails. The tries go on side by
//!    side, and the first connection is taken. So an address that is silently dropped costs [`STAGGER`], not the limit.
//! 3. If all fail, the error is that of the try that failed last.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::runtime::Runtime;

/// How long a try is alone before the next one begins: what RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// TCP keepalive: after how much silence the peer is probed, and how often after that.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// Sets the options of every TCP connection.
fn set_up(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE.0)
        .with_interval(KEEPALIVE.1);
    socket.set_tcp_keepalive(&keepalive)
}

/// Connects to a host, for async callers. The caller ends it at its limit.
pub(super) async fn tcp(host: &str, port: u16, runtime: &Runtime) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    let stream = race(interleaved(addresses), runtime, TcpStream::connect).await?;
    set_up(&SockRef::from(&stream))?;
    Ok(stream)
}

/// Takes the first connection of `dial`. Dropping the future ends the tries.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    runtime: &Runtime,
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    first_of(addresses, STAGGER, runtime, dial).await
}

/// Tries several things as invariants 2 and 3 say, and takes the first that succeeds.
pub(super) async fn first_of<A, T, E, F>(
    things: Vec<A>,
    stagger: Duration,
    runtime: &Runtime,
    attempt: impl Fn(A) -> F,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<io::Error> + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut failure = no_address().into();
    let mut tries = JoinSet::new();
    let mut things = things.into_iter();
    loop {
        let next = things.next();
        let last = next.is_none();
        if let Some(thing) = next {
            tries.spawn(attempt(thing));
        }
        let ended = if last {
            Some(tries.join_next().await)
        } else {
            runtime.timeout(stagger, || tries.join_next()).await
        };
        match ended {
            // The time of the newest try alone is over.
            None => {}
            Some(None) if last => return Err(failure),
            Some(None) => {}
            Some(Some(Ok(Ok(done)))) => return Ok(done),
            Some(Some(Ok(Err(error)))) => failure = error,
            Some(Some(Err(ended))) => failure = io::Error::other(ended).into(),
        }
    }
}

/// The addresses in the order of invariant 1.
fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let first_is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

/// The same for blocking callers.
#[cfg(feature = "blocking")]
pub(super) mod blocking {
    use std::io;
    use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
    use std::sync::Arc;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::thread;
    use std::time::{Duration, Instant};

    use socket2::SockRef;

    use super::{STAGGER, interleaved, no_address, set_up};

    /// Connects to a host until the deadline.
    pub(in super::super) fn tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = interleaved(resolve(host, port, deadline)?);
        let stream = race(addresses, deadline, move |address| {
            TcpStream::connect_timeout(&address, left(deadline)?)
        })?;
        set_up(&SockRef::from(&stream))?;
        Ok(stream)
    }

    /// Takes the first connection of `dial`.
    pub(super) fn race<T: Send + 'static>(
        addresses: Vec<SocketAddr>,
        deadline: Instant,
        dial: impl Fn(SocketAddr) -> io::Result<T> + Send + Sync + 'static,
    ) -> io::Result<T> {
        first_of(addresses, STAGGER, deadline, dial)
    }

    /// Tries several things, and takes the first that succeeds. Each try has a thread, unless there is only one: the
    /// system connects one socket at a time for a caller that blocks. A try that lost ends by the deadline, and closes
    /// what it connected.
    pub(in super::super) fn first_of<A, T, E>(
        things: Vec<A>,
        stagger: Duration,
        deadline: Instant,
        attempt: impl Fn(A) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        A: Send + 'static,
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
    {
        let mut failure = no_address().into();
        let mut things = things.into_iter();
        if things.len() == 1
            && let Some(thing) = things.next()
        {
            return attempt(thing);
        }
        let attempt = Arc::new(attempt);
        let (tell, told) = mpsc::channel();
        let mut running = 0;
        loop {
            let next = things.next();
            let last = next.is_none();
            if let Some(thing) = next {
                let (tell, attempt) = (tell.clone(), Arc::clone(&attempt));
                thread::Builder::new()
                    .name("nearcache-connect".into())
                    .spawn(move || {
                        // The caller may have another connection by now.
                        let _ = tell.send(attempt(thing));
                    })?;
                running += 1;
            }
            if running == 0 {
                return Err(failure);
            }
            let patience = left(deadline)?;
            match told.recv_timeout(if last {
                patience
            } else {
                patience.min(stagger)
            }) {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => {
                    running -= 1;
                    failure = error;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// The addresses of a host. Names are looked up on another thread, because the system's resolver has no deadline:
    /// if it hangs, it blocks that thread and not the caller's.
    fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let (tell, told) = mpsc::channel();
        let host = host.to_owned();
        thread::Builder::new()
            .name("nearcache-resolve".into())
            .spawn(move || {
                let addresses = (host.as_str(), port)
                    .to_socket_addrs()
                    .map(Iterator::collect);
                // The caller may have stopped waiting.
                let _ = tell.send(addresses);
            })?;
        told.recv_timeout(left(deadline)?)
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// # Errors
    /// `TimedOut` if no time is left.
    pub(in super::super) fn left(deadline: Instant) -> io::Result<Duration> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::moved;
    use std::sync::Arc;

    /// Nobody is dialled at these.
    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|n| ([127, 0, 0, n], 6_379).into())
            .collect()
    }

    fn last_of(address: SocketAddr) -> u8 {
        match address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        }
    }

    #[test]
    fn invariant_1_families_take_turns() {
        let texts = |order: &[&str]| -> Vec<SocketAddr> {
            order.iter().map(|text| text.parse().unwrap()).collect()
        };
        let resolved = texts(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let expected = texts(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleaved(resolved), expected);
        assert_eq!(interleaved(texts(&["1.1.1.1:1"])), texts(&["1.1.1.1:1"]));
        assert!(interleaved([]).is_empty());
    }

    /// The first two are dropped on the way; only the clock brings the third.
    #[tokio::test]
    async fn invariant_2_a_silent_address_does_not_keep_the_next_one_waiting() {
        let clock = moved::Clock::new();
        let runtime = Runtime::Moved(clock.clone());
        let dialled = Arc::new(std::sync::Mutex::new(Vec::new()));
        let dialling = Arc::clone(&dialled);
        let racing = tokio::spawn(async move {
            race(addresses(3), &runtime, move |address| {
                let number = last_of(address);
                dialling.lock().unwrap().push(number);
                async move {
                    if number < 3 {
                        std::future::pending::<()>().await;
                    }
                    Ok(number)
                }
            })
            .await
        });
        for expected in [1, 2] {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(dialled.lock().unwrap().len(), expected);
            clock.advance(STAGGER);
        }
        assert_eq!(racing.await.unwrap().unwrap(), 3);
    }

    /// The clock stands still: nothing but the failures brings the next one.
    #[tokio::test]
    async fn invariants_2_and_3_a_failure_starts_the_next_one_at_once() {
        let runtime = Runtime::Moved(moved::Clock::new());
        let refused = |fine: u8| {
            move |address| async move {
                let number = last_of(address);
                let error = io::Error::new(io::ErrorKind::ConnectionRefused, number.to_string());
                (number == fine).then_some(number).ok_or(error)
            }
        };
        let third = race(addresses(3), &runtime, refused(3)).await;
        assert_eq!(third.unwrap(), 3);
        let nobody = race(addresses(3), &runtime, refused(9)).await;
        assert_eq!(nobody.unwrap_err().to_string(), "3");
        let none = race(Vec::new(), &runtime, refused(1)).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[cfg(feature = "blocking")]
    #[test]
    fn invariants_2_and_3_hold_for_blocking_callers() {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        // The first is silent for as long as the test runs, the second is refused.
        let (_hold, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let third = blocking::race(addresses(3), deadline, move |address| {
            match last_of(address) {
                1 => {
                    let _ = held.lock().unwrap().recv();
                    Err(io::ErrorKind::TimedOut.into())
                }
                2 => Err(io::ErrorKind::ConnectionRefused.into()),
                number => Ok(number),
            }
        });
        assert_eq!(third.unwrap(), 3);
        let nobody = blocking::race(addresses(3), deadline, |_| -> io::Result<()> {
            Err(io::ErrorKind::ConnectionRefused.into())
        });
        assert_eq!(nobody.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
