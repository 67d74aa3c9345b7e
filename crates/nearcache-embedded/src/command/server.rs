//! What a server says of itself.

use std::fmt::Write;

use redis::{ProtocolVersion, Value, VerbatimFormat};

use super::{Args, table};
use crate::context::Context;
use crate::reply::{Error, Reply, bulk, count};

/// The version whose behaviour this is.
pub(super) const VERSION: &str = "7.0.15";

pub(super) fn time(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    let now = cx.now();
    let part = |number: i64| bulk(itoa::Buffer::new().format(number).as_bytes());
    Ok(Value::Array(vec![
        part(now / 1000),
        part(now % 1000 * 1000),
    ]))
}

pub(super) fn info(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let wanted = |name: &str| {
        args.len() == 1
            || args[1..].iter().any(|arg| {
                [name, "all", "everything", "default"]
                    .iter()
                    .any(|word| arg.eq_ignore_ascii_case(word.as_bytes()))
            })
    };
    let sections: [(&str, fn(&Context<'_>) -> String); 6] = [
        ("Server", server_section),
        ("Clients", |_| {
            "connected_clients:1\r\nblocked_clients:0\r\n".to_owned()
        }),
        ("Persistence", |_| {
            "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\naof_enabled:0\r\n"
                .to_owned()
        }),
        ("Replication", |_| {
            "role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n".to_owned()
        }),
        ("Cluster", |_| "cluster_enabled:0\r\n".to_owned()),
        ("Keyspace", keyspace_section),
    ];
    let texts = sections
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, text)| format!("# {name}\r\n{}", text(cx)));
    let text = texts.collect::<Vec<_>>().join("\r\n");
    Ok(match cx.session.protocol {
        ProtocolVersion::RESP2 => Value::BulkString(text.into_bytes()),
        _ => Value::VerbatimString {
            format: VerbatimFormat::Text,
            text,
        },
    })
}

fn server_section(cx: &Context<'_>) -> String {
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

fn keyspace_section(cx: &Context<'_>) -> String {
    let mut sizes = std::collections::BTreeMap::<u32, (usize, usize)>::new();
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

/// A command that has subcommands, without one.
pub(super) fn container(_: &mut Context<'_>, args: Args<'_>) -> Reply {
    let name = String::from_utf8_lossy(args[0]).to_lowercase();
    Err(Error::from(format!(
        "ERR wrong number of arguments for '{name}' command"
    )))
}

/// The details that a server tells of each command are left out.
pub(super) fn command(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(Value::Array(Vec::new()))
}

pub(super) fn command_count(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(count(table::count()))
}
