//! A Cluster behind proxies, one before each node. The nodes' own words are changed on their way, so that a client that
//! is told where a slot is goes to that node's proxy.

use super::Cluster;
use crate::{Frames, Hold, Proxy};

/// See the module. Each holder of one has a way to the Cluster of its own, as each process has.
#[derive(Debug)]
pub struct Proxies(Vec<Proxy>);

impl Proxies {
    pub(super) fn start(cluster: &Cluster) -> Proxies {
        let nodes = 0..cluster.len();
        let proxies = nodes.map(|i| Proxy::start(&cluster.node(i).address()));
        let proxies: Vec<Proxy> = proxies.collect();
        let ports = proxies.iter().enumerate();
        let renames = ports.map(|(i, proxy)| (cluster.node(i).port(), proxy.port()));
        let renames: Vec<(u16, u16)> = renames.collect();
        for proxy in &proxies {
            proxy.rename_ports(renames.clone());
        }
        Proxies(proxies)
    }

    /// `redis-cluster://`, with every proxy.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.0.iter().map(Proxy::address).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// The proxy before a node.
    pub fn of(&self, node: usize) -> &Proxy {
        &self.0[node]
    }

    /// All of them, in the order of the nodes.
    pub fn all(&self) -> &[Proxy] {
        &self.0
    }

    /// Keeps these frames back, whichever node they are of.
    pub fn hold(&self, frames: &Frames) -> Vec<Hold> {
        self.0
            .iter()
            .map(|proxy| proxy.hold(frames.clone()))
            .collect()
    }

    /// The commands that arrived, at whichever node: in order for each, and not between them.
    pub fn commands(&self) -> Vec<String> {
        self.0.iter().flat_map(Proxy::commands).collect()
    }
}
