//! `INFO`: the fields that tools read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::Args;
use super::parse::is;
use super::row::prelude::*;
use super::server::VERSION;
use super::table;
use crate::context::Context;
use crate::exchange::Topic;
use crate::reply::{self, Reply};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("info",  -1, Shared,    Keys::InTurn, Anywhere,  info),
];

struct Section {
    name: &'static str,
    /// Whether it is printed if nothing is asked for.
    by_default: bool,
    text: fn(&Context<'_>) -> String,
}

const fn section(
    name: &'static str,
    by_default: bool,
    text: fn(&Context<'_>) -> String,
) -> Section {
    Section {
        name,
        by_default,
        text,
    }
}

const SECTIONS: [Section; 13] = [
    section("Server", true, server),
    section("Clients", true, clients),
    section("Memory", true, memory),
    section("Persistence", true, super::persistence::info),
    section("Stats", true, stats),
    section("Replication", true, replication),
    section("CPU", true, cpu),
    section("Modules", true, |_| String::new()),
    section("Commandstats", false, command_stats),
    section("Errorstats", true, error_stats),
    section("Latencystats", false, latency_stats),
    section("Cluster", true, |_| "cluster_enabled:0\r\n".into()),
    section("Keyspace", true, keyspace),
];

pub(super) fn info(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let wanted = |section: &&Section| {
        let names = |arg: &&[u8]| {
            is(arg, section.name)
                || is(arg, "all")
                || is(arg, "everything")
                || section.by_default && is(arg, "default")
        };
        if args.len() == 1 {
            section.by_default
        } else {
            args[1..].iter().any(names)
        }
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
    let executable = std::env::current_exe().unwrap_or_default();
    format!(
        "redis_version:{VERSION}\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_mode:standalone\r\n\
         os:{} {}\r\narch_bits:{}\r\nprocess_id:{}\r\nprocess_supervised:no\r\nrun_id:{}\r\n\
         tcp_port:{}\r\nserver_time_usec:{now}000\r\nuptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n\
         hz:10\r\nconfigured_hz:10\r\nexecutable:{}\r\nconfig_file:\r\nio_threads_active:0\r\n\
         nearcache_embedded_version:{}\r\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        cx.shared.run_id,
        cx.shared.clients.port.load(Ordering::Relaxed),
        uptime / 86_400,
        executable.display(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The clients of the port. A store without one is used by its process alone.
fn clients(cx: &Context<'_>) -> String {
    let clients = &cx.shared.clients;
    let (mut most_in, mut most_out) = (0, 0);
    for client in clients.all() {
        let seen = client.seen.lock();
        most_in = most_in.max(seen.input);
        most_out = most_out.max(seen.output);
    }
    format!(
        "connected_clients:{}\r\ncluster_connections:0\r\nmaxclients:{}\r\n\
         client_recent_max_input_buffer:{most_in}\r\nclient_recent_max_output_buffer:{most_out}\r\n\
         blocked_clients:{}\r\ntracking_clients:{}\r\nclients_in_timeout_table:{}\r\n",
        clients.count().max(1),
        cx.shared.settings.port.max_clients.load(Ordering::Relaxed),
        cx.shared.count_waiting() + clients.held.load(Ordering::Relaxed),
        cx.shared.trackers.clients(),
        cx.shared.count_waiting(),
    )
}

fn replication(cx: &Context<'_>) -> String {
    format!(
        "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\nmaster_replid:{}\r\n\
         master_replid2:{:040}\r\nmaster_repl_offset:0\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\n\
         repl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
        cx.shared.run_id, 0
    )
}

/// What the system says that the process has used; nothing where it does not say.
fn cpu(_: &Context<'_>) -> String {
    /// How the kernel counts, whatever its own clock.
    const TICKS: f64 = 100.0;
    let read = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the process, in parentheses, may have spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
        Some((seconds()?, seconds()?))
    };
    let (user, system) = read().unwrap_or_default();
    format!(
        "used_cpu_sys:{system:.6}\r\nused_cpu_user:{user:.6}\r\nused_cpu_sys_children:0.000000\r\n\
         used_cpu_user_children:0.000000\r\n"
    )
}

fn command_stats(cx: &Context<'_>) -> String {
    let mut text = String::new();
    for command in table::all() {
        if let Some(counted) = cx.shared.stats.counted(command) {
            let per_call = counted.micros as f64 / counted.calls.max(1) as f64;
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "cmdstat_{}:calls={},usec={},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}\r\n",
                command.name, counted.calls, counted.micros, counted.rejected, counted.failed
            );
        }
    }
    text
}

fn error_stats(cx: &Context<'_>) -> String {
    let mut text = String::new();
    for (code, count) in cx.shared.stats.errors() {
        let code = code.replace([':', ',', '=', '\r', '\n'], "_");
        // Writing to a string cannot fail.
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
    text
}

/// The percentiles are the upper ends of the classes that durations are counted in.
fn latency_stats(cx: &Context<'_>) -> String {
    let settings = &cx.shared.settings.port;
    let mut text = String::new();
    if !settings.latency_tracking.load(Ordering::Relaxed) {
        return text;
    }
    let kept = settings
        .kept
        .lock()
        .get("latency-tracking-info-percentiles")
        .cloned();
    let percentiles = kept.unwrap_or_else(|| "50 99 99.9".to_owned());
    for command in table::all() {
        let steps = cx.shared.stats.histogram(command);
        let Some((_, calls)) = steps.last() else {
            continue;
        };
        let shown = percentiles.split(' ').filter_map(|percentile| {
            let wanted = percentile.parse::<f64>().ok()? / 100.0 * *calls as f64;
            let (micros, _) = steps.iter().find(|(_, sum)| *sum as f64 >= wanted)?;
            Some(format!("p{percentile}={micros}.000"))
        });
        let shown: Vec<_> = shown.collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "latency_percentiles_usec_{}:{}\r\n",
            command.name,
            shown.join(",")
        );
    }
    text
}

fn memory(cx: &Context<'_>) -> String {
    let mut used = 0;
    cx.walk_shards(0, |_, shard| {
        used += shard.bytes();
        true
    });
    let settings = &cx.shared.settings;
    let max = settings.maxmemory.load(Ordering::Relaxed);
    let peak = cx
        .shared
        .stats
        .peak
        .fetch_max(used as u64, Ordering::Relaxed);
    let peak = usize::try_from(peak).unwrap_or(usize::MAX).max(used);
    let resident = resident().unwrap_or(used);
    let total = total().unwrap_or(0);
    format!(
        "used_memory:{used}\r\nused_memory_human:{}\r\nused_memory_rss:{resident}\r\nused_memory_rss_human:{}\r\n\
         used_memory_peak:{peak}\r\nused_memory_peak_human:{}\r\nused_memory_peak_perc:{:.2}%\r\n\
         used_memory_overhead:0\r\nused_memory_startup:0\r\nused_memory_dataset:{used}\r\n\
         total_system_memory:{total}\r\ntotal_system_memory_human:{}\r\nused_memory_lua:0\r\n\
         used_memory_scripts:0\r\nnumber_of_cached_scripts:0\r\nnumber_of_functions:0\r\n\
         maxmemory:{max}\r\nmaxmemory_human:{}\r\nmaxmemory_policy:{}\r\n\
         mem_fragmentation_ratio:{:.2}\r\nmem_fragmentation_bytes:{}\r\nmem_not_counted_for_evict:0\r\n\
         mem_replication_backlog:0\r\nmem_clients_slaves:0\r\nmem_clients_normal:0\r\nmem_aof_buffer:0\r\n\
         mem_allocator:system\r\nactive_defrag_running:0\r\nlazyfree_pending_objects:0\r\nlazyfreed_objects:0\r\n",
        human(used),
        human(resident),
        human(peak),
        used as f64 * 100.0 / peak.max(1) as f64,
        human(total),
        human(max),
        settings.policy(),
        resident as f64 / used.max(1) as f64,
        resident.saturating_sub(used),
    )
}

/// What the process takes of the machine's memory, where the system says it.
fn resident() -> Option<usize> {
    /// Of nearly every system.
    const PAGE: usize = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * PAGE)
}

fn total() -> Option<usize> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
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
    let shared = cx.shared;
    let (evictor, stats, clients) = (&shared.evictor, &shared.stats, &shared.clients);
    let [keys, items, prefixes] = shared.trackers.counts();
    let load = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
    format!(
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\n\
         total_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\nrejected_connections:{}\r\n\
         sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\n\
         expired_keys:{}\r\nevicted_keys:{}\r\nevicted_clients:0\r\n\
         latest_fork_usec:0\r\ntotal_forks:0\r\n\
         pubsub_channels:{}\r\npubsub_patterns:{}\r\npubsubshard_channels:{}\r\n\
         tracking_total_keys:{}\r\ntracking_total_items:{}\r\ntracking_total_prefixes:{}\r\n\
         unexpected_error_replies:0\r\ntotal_error_replies:{}\r\n\
         total_reads_processed:{}\r\ntotal_writes_processed:{}\r\n",
        load(&clients.total),
        load(&stats.total_commands),
        load(&stats.last_second),
        load(&stats.bytes_in),
        load(&stats.bytes_out),
        load(&clients.refused),
        load(&evictor.expired),
        load(&evictor.evicted),
        shared.exchange.count(Topic::Channel),
        shared.exchange.count(Topic::Pattern),
        shared.exchange.count(Topic::Shard),
        keys,
        items,
        prefixes,
        load(&stats.total_errors),
        load(&stats.reads),
        load(&stats.writes),
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
