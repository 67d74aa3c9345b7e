//! Making a connection: the socket, TLS, the handshake with credentials, the greeting, and tracking.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::super::alive::Alive;
use super::super::carrier::{self, Beat, Carrier};
use super::super::driver::Driver;
use super::super::greeting::{self, Met};
use super::super::lane::{Lane, Wire};
use super::super::pushes::{KEPT_PUSHES, Kept, Pushes, keep_in};
use super::super::target::{Address, Place, Protocol, Target};
#[cfg(feature = "tls")]
use super::super::tls;
use super::super::tls::perhaps_needed;
use super::super::{Common, dial, renewal, result_of};
use super::Driven;
use crate::coarse;
use crate::error::{Error, ErrorKind, Result};

/// How many commands may be queued for writing. Further callers wait for room in the queue.
const QUEUE: usize = 1_024;

impl Driven {
    /// Connects, and does the handshake, with the credentials of the target's provider if it has one.
    pub(in super::super) async fn open(
        target: &Target,
        pushes: Pushes,
        common: &Arc<Common>,
    ) -> Result<Self> {
        let Some(supply) = &target.supply else {
            return Self::open_with(target, pushes, common).await;
        };
        let mut held = supply.ask(common.runtime(), None).await?;
        let user = target.with_credentials(&held.credentials);
        let mut opened = Self::open_with(&user, pushes, common).await;
        if let Err(error) = &opened
            && error.kind() == ErrorKind::Auth
        {
            let anew = supply.ask(common.runtime(), Some(&held)).await?;
            // The same once more would be refused once more.
            if !anew.credentials.are_those_of(&held.credentials) {
                let user = target.with_credentials(&anew.credentials);
                held = anew;
                opened = Self::open_with(&user, pushes, common).await;
            }
        }
        let mut connected = opened?;
        connected.note_expiry(&held);
        // Nobody knows what else is going on on a connection that somebody has for himself, such as a transaction.
        if pushes != Pushes::Kept && held.renewal().is_some() {
            connected.renewer = Some(renewal::keep(supply, held, &connected.itself, common));
        }
        Ok(connected)
    }

    async fn open_with(target: &Target, pushes: Pushes, common: &Arc<Common>) -> Result<Self> {
        match target.protocol {
            Some(protocol) => Self::open_as(target, protocol, pushes, common).await,
            None => match Self::open_as(target, Protocol::Resp3, pushes, common).await {
                // The server does not support HELLO or RESP3, or this user may not call it.
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::Denied) => {
                    Self::open_as(target, Protocol::Resp2, pushes, common).await
                }
                outcome => outcome,
            },
        }
    }

    async fn open_as(
        target: &Target,
        protocol: Protocol,
        pushes: Pushes,
        common: &Arc<Common>,
    ) -> Result<Self> {
        let failed = |error: io::Error| Error::from_redis(error.into());
        match &target.place {
            #[cfg(feature = "tls")]
            Place::Tcp { host, port } | Place::Node(Address { host, port })
                if target.tls.is_some() =>
            {
                Self::over_tls(host, *port, target, (protocol, pushes), common).await
            }
            Place::Tcp { host, port } | Place::Node(Address { host, port }) => {
                let stream = dial::tcp(host, *port, common.runtime())
                    .await
                    .map_err(failed)?;
                let view = SockRef::from(&stream).try_clone().ok();
                Self::over(stream, view, target, (protocol, pushes), common)
                    .await
                    .map_err(perhaps_needed)
            }
            #[cfg(unix)]
            Place::Unix { path } => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                let view = SockRef::from(&stream).try_clone().ok();
                Self::over(stream, view, target, (protocol, pushes), common).await
            }
            place => Err(failed(io::Error::other(format!("{place} is not a server")))),
        }
    }

    #[cfg(feature = "tls")]
    async fn over_tls(
        host: &str,
        port: u16,
        target: &Target,
        how: (Protocol, Pushes),
        common: &Arc<Common>,
    ) -> Result<Self> {
        let tls = target.tls.clone().unwrap_or_default();
        // Files are read before there is a connection to keep waiting.
        let secured = tls::handshake::prepare(&tls, host).await?;
        let stream = dial::tcp(host, port, common.runtime()).await;
        let stream = stream.map_err(|error| Error::from_redis(error.into()))?;
        let view = SockRef::from(&stream).try_clone().ok();
        let stream = secured.over(stream).await?;
        let connected = Self::over(stream, view, target, how, common).await;
        connected.map_err(|error| secured.why(error))
    }

    async fn over<S>(
        stream: S,
        view: Option<Socket>,
        target: &Target,
        (protocol, pushes): (Protocol, Pushes),
        common: &Arc<Common>,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Debug + Unpin + Send + 'static,
    {
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let mut kept = None;
        if pushes == Pushes::Kept && protocol == Protocol::Resp3 {
            let (sender, receiver) = mpsc::channel(KEPT_PUSHES);
            let bytes = Arc::<AtomicUsize>::default();
            config = config.set_push_sender(keep_in(sender, Arc::clone(&bytes)));
            kept = Some(Kept {
                messages: tokio::sync::Mutex::new(receiver),
                bytes,
            });
        }
        if pushes == Pushes::Told && protocol == Protocol::Resp3 {
            let listeners = Arc::clone(common);
            config = config.set_push_sender(move |push| {
                carrier::deliver(&listeners, push);
                Ok::<(), ()>(())
            });
        }
        let handshake = target.handshake(protocol);
        // Somebody has the connection for himself, and may ask for what is answered otherwise: SUBSCRIBE, MONITOR.
        let alone = pushes == Pushes::Kept;
        let (wire, stream) = Wire::over(stream, alone);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&handshake, stream, config)
                .await
                .map_err(Error::from_redis)?;
        let alive = Arc::new(Alive {
            alive: AtomicBool::new(true),
            view: Mutex::new(view),
            given_up: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            met: OnceLock::new(),
            carrier: OnceLock::new(),
            wire: Arc::downgrade(&wire) as _,
            common: Arc::clone(common),
            lane: Lane::new(matches!(target.place, Place::Node(_))),
        });
        let itself = Arc::<OnceLock<Weak<Driven>>>::default();
        let driver = Driver::new(wire, Box::pin(driver), &alive);
        let driver = common.runtime().spawn(driver);
        // From here on, dropping this value ends the driver.
        let mut connected = Driven {
            connection,
            alive,
            driver,
            met: Met::default(),
            partings: common.partings(),
            made: common.runtime().now(),
            used: AtomicU64::new(0),
            expires: AtomicU64::new(u64::MAX),
            renewer: None,
            doubtful: AtomicBool::new(false),
            proving: tokio::sync::Mutex::default(),
            in_vain: AtomicU32::new(0),
            in_vain_since: Mutex::default(),
            itself,
            pushes: kept,
            led: None,
        };
        let mut greeting = Pipeline::new();
        greeting::write(target, &mut greeting);
        let replies = connected
            .connection
            .send_packed_commands(&greeting, 0, greeting.len())
            .await
            .map_err(Error::from_redis)?;
        connected.met = greeting::read(target, replies)?;
        let _ = connected.alive.met.set(connected.met.clone());
        if pushes == Pushes::Told {
            connected.track(target, protocol).await?;
        }
        Ok(connected)
    }

    /// Asks the server to tell of changes of what is read over this connection. Whatever it answers, the connection has
    /// a carrier then.
    async fn track(&mut self, target: &Target, protocol: Protocol) -> Result<()> {
        let Some(tracking) = &target.tracking else {
            return Ok(());
        };
        let (mut refused, mut known) = (None, None);
        let asked = coarse::now();
        if protocol == Protocol::Resp3 {
            let mut asking = Pipeline::with_capacity(2);
            asking.cmd("CLIENT").arg("TRACKING").arg("ON").arg("NOLOOP");
            if tracking.of_cluster {
                asking.add_command(Beat::command(tracking));
            }
            let sending = self
                .connection
                .send_packed_commands(&asking, 0, asking.len());
            let replies = sending.await;
            let mut replies = replies.map_err(Error::from_redis)?.into_iter();
            let reply = replies.next().unwrap_or(redis::Value::Nil);
            refused = result_of(reply).err();
            known = replies.next();
        }
        let common = &self.alive.common;
        let carrier = if protocol == Protocol::Resp3 && refused.is_none() {
            let run_id = self.met.run_id.clone();
            let carrier = Carrier::tracking(asked, tracking, run_id);
            common.runtime().spawn(carrier::listen_for(
                Arc::clone(&carrier),
                self.connection.clone(),
                Arc::clone(common),
                Beat::new(tracking, known.as_ref()),
            ));
            carrier
        } else {
            common.warn_of_no_tracking(refused.as_ref());
            Carrier::silent()
        };
        let _ = self.alive.carrier.set(carrier);
        Ok(())
    }
}
