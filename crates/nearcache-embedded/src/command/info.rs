//! `INFO`: the fields that tools read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Args;
use super::parse::is;
use super::row::prelude::*;
use super::server::VERSION;
use crate::context::Context;
use crate::reply::{self, Reply};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("info",  -1, Shared,    Keys::InTurn, Anywhere,  info),
];

struct Section {
    name: &'static str,
    text: fn(&Context<'_>) -> String,
}

const SECTIONS: [Section; 8] = [
    Section {
        name: "Server",
        text: server,
    },
    Section {
        name: "Clients",
        text: clients,
    },
    Section {
        name: "Memory",
        text: memory,
    },
    Section {
        name: "Persistence",
        text: super::persistence::info,
    },
    Section {
        name: "Stats",
        text: stats,
    },
    Section {
        name: "Replication",
        text: |_| "role:master\r\nconnected_slaves:0\r\n".into(),
    },
    Section {
        name: "Cluster",
        text: |_| "cluster_enabled:0\r\n".into(),
    },
    Section {
        name: "Keyspace",
        text: keyspace,
    },
];

pub(super) fn info(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let wanted = |section: &&Section| {
        let names = |arg: &&[u8]| {
            [section.name, "all", "everything", "default"]
                .iter()
                .any(|word| is(arg, word))
        };
        args.len() == 1 || args[1..].iter().any(names)
    };
    let print = |section: &Section| format!("# {}\r\n{}", section.name, (section.text)(cx));
    let text = SECTIONS
        .iter()
        .filter(wanted)
        .map(print)
        .collect::<Vec<_>>()
        .join("\r\n");
    Ok(reply::text(cx.session.protocol, text))
}

fn server(cx: &Context<'_>) -> String {
    let uptime = cx.shared.started.elapsed().as_secs();
    let now = cx.now();
    format!(
        "redis_version:{VERSION}\r\nredis_mode:standalone\r\nos:{} {}\r\narch_bits:{}\r\nprocess_id:{}\r\nrun_id:{}\r\n\
         tcp_port:0\r\nserver_time_usec:{now}000\r\nuptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n\
         nearcache_embedded_version:{}\r\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        cx.shared.run_id,
        uptime / 86_400,
        env!("CARGO_PKG_VERSION"),
    )
}

fn clients(cx: &Context<'_>) -> String {
    let waiting = cx.shared.count_waiting();
    format!("connected_clients:1\r\nblocked_clients:{waiting}\r\n")
}

fn memory(cx: &Context<'_>) -> String {
    let mut used = 0;
    cx.walk_shards(0, |_, shard| {
        used += shard.bytes();
        true
    });
    let settings = &cx.shared.settings;
    let max = settings.maxmemory.load(Ordering::Relaxed);
    format!(
        "used_memory:{used}\r\nused_memory_human:{}\r\nmaxmemory:{max}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{}\r\n",
        human(used),
        human(max),
        settings.policy(),
    )
}

/// A size in the form that a server writes for people.
fn human(bytes: usize) -> String {
    if bytes < 1 << 10 {
        return format!("{bytes}B");
    }
    let (unit, name) = match bytes {
        0..0x10_0000 => (1u64 << 10, 'K'),
        0x10_0000..0x4000_0000 => (1 << 20, 'M'),
        _ => (1 << 30, 'G'),
    };
    format!("{:.2}{name}", bytes as f64 / unit as f64)
}

fn stats(cx: &Context<'_>) -> String {
    let evictor = &cx.shared.evictor;
    format!(
        "expired_keys:{}\r\nevicted_keys:{}\r\n",
        evictor.expired.load(Ordering::Relaxed),
        evictor.evicted.load(Ordering::Relaxed),
    )
}

fn keyspace(cx: &Context<'_>) -> String {
    let mut sizes = BTreeMap::<u32, (usize, usize)>::new();
    cx.walk_shards(0, |_, shard| {
        for (db, table) in shard.tables() {
            let (keys, expires) = sizes.entry(db).or_default();
            *keys += table.len();
            *expires += table.volatile();
        }
        true
    });
    let mut text = String::new();
    for (db, (keys, expires)) in sizes.into_iter().filter(|(_, (keys, _))| *keys > 0) {
        // Writing to a string cannot fail.
        let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl=0\r\n");
    }
    text
}
