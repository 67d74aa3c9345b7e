//! A plug between a cache and its server, which can be pulled.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port of this machine that forwards to a server. When the plug is pulled, all connections break, and new ones are
/// refused.
#[derive(Debug)]
pub struct Plug {
    address: SocketAddr,
    /// `host:port`; `None` if there is no server.
    server: Option<String>,
    forwarding: Option<JoinHandle<()>>,
    url: String,
}

impl Plug {
    /// A plug to the server of this `redis://` URL; without a URL, nobody listens on its port.
    ///
    /// # Errors
    /// There is no free port, or the URL has no host.
    pub async fn new(url: Option<&str>) -> io::Result<Plug> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let Some(url) = url else {
            let url = format!("redis://{address}");
            return Ok(Plug {
                address,
                server: None,
                forwarding: None,
                url,
            });
        };
        let other = || io::Error::other("this example needs a URL like redis://host:port");
        let (scheme, rest) = url.split_once("://").ok_or_else(other)?;
        if scheme.contains("unix") || scheme == "memory" {
            return Err(other());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let at = if user.is_empty() { "" } else { "@" };
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if has_port { "" } else { ":6379" };
        let mut plug = Plug {
            address,
            server: Some(format!("{host}{port}")),
            forwarding: None,
            url: format!("{scheme}://{user}{at}{address}{rest}"),
        };
        plug.forward(listener);
        Ok(plug)
    }

    /// The URL of the plug.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether there is a server behind the plug.
    pub fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// Pulls the plug.
    pub async fn pull(&mut self) {
        if let Some(forwarding) = self.forwarding.take() {
            forwarding.abort();
            let _ = forwarding.await;
        }
    }

    /// Puts the plug back.
    ///
    /// # Errors
    /// Another process has taken its port.
    pub async fn put_back(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.forward(listener);
        Ok(())
    }

    fn forward(&mut self, listener: TcpListener) {
        let server = self.server.clone().unwrap_or_default();
        self.forwarding = Some(tokio::spawn(async move {
            // Dropped with this task, which closes all connections.
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(&server).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        }));
    }
}
