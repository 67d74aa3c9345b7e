//! Connections that are a caller's own, and what is asked of one server.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use super::{Guarded, Servers};
use crate::connect::{Alone, Dedicated, ServerInfo};
use crate::error::Result;
use crate::resilience::node::Node;

impl Guarded {
    /// The server's kind, version and mode. It is asked once.
    pub(crate) async fn server(&self, limit: Duration) -> Result<ServerInfo> {
        if let Some(info) = self.server.get() {
            return Ok(info.clone());
        }
        let reply = self
            .request(redis::cmd("INFO").arg("server"), limit)
            .await?;
        let info = ServerInfo::from_info(&reply)?;
        Ok(self.server.get_or_init(|| info).clone())
    }

    /// A connection for the caller alone, opened within the limit: to the server that has this key, if one is given.
    pub(crate) async fn dedicated(&self, key: Option<&[u8]>, limit: Duration) -> Result<Dedicated> {
        self.node_for(key, limit).await?.dedicated(limit).await
    }

    /// A connection of the cache itself for commands that wait, to the server that has this key.
    pub(crate) async fn alone(&self, key: &[u8], limit: Duration) -> Result<Alone> {
        let node = self.node_for(Some(key), limit).await?;
        Ok(self.alone_over(node.dedicated(limit).await?, limit))
    }

    /// The same, for messages that the server sends by itself. `key`: of the messages; any server if there is none.
    pub(crate) async fn for_messages(&self, key: Option<&[u8]>, limit: Duration) -> Result<Alone> {
        let node = self.node_for(key, limit).await?;
        Ok(self.alone_over(node.for_messages(limit).await?, limit))
    }

    pub(super) fn alone_over(&self, dedicated: Dedicated, limit: Duration) -> Alone {
        let alone = Alone::new(dedicated, self.runtime(), limit);
        match &self.servers {
            Servers::One(_) => alone,
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => {
                let spread = Arc::downgrade(spread);
                alone.telling(move || {
                    if let Some(spread) = spread.upgrade() {
                        spread.refresh_soon();
                    }
                })
            }
        }
    }

    pub(super) async fn node_for(&self, key: Option<&[u8]>, limit: Duration) -> Result<Arc<Node>> {
        let _ = (key, limit);
        match &self.servers {
            Servers::One(node) => Ok(Arc::clone(node)),
            #[cfg(feature = "cluster")]
            Servers::Spread(spread) => spread.node_of(key, limit).await,
        }
    }

    /// Sends a command without keys to the server that has this key.
    pub(crate) async fn beside(&self, key: &[u8], command: &Cmd, limit: Duration) -> Result<Value> {
        let node = self.node_for(Some(key), limit).await?;
        self.directly_to(Some(&node), command, limit).await
    }
}
