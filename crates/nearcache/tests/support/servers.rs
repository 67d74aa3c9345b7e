//! The servers of the places that are not the installed Redis with its default user. Each is started once in a binary.

#[path = "guide.rs"]
pub(crate) mod guide;

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use nearcache_testkit::{Redis, Server};

pub(super) fn redis_6() -> &'static Redis {
    static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start_as(Server::Redis6, &[]));
    &SERVER
}

pub(super) fn valkey_9() -> &'static Redis {
    static SERVER: LazyLock<Redis> = LazyLock::new(|| Redis::start_as(Server::Valkey9, &[]));
    &SERVER
}

/// The server that has users with limits.
pub(super) fn with_users() -> &'static Redis {
    static SERVER: LazyLock<Redis> =
        LazyLock::new(|| Redis::start_with(&["--acllog-max-len", "10000"]));
    &SERVER
}

/// The URL as the user for this prefix, who is made by the line of the guide.
pub(crate) fn as_user(url: &str, prefix: &str) -> String {
    static MADE: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let name = format!("user-{}", hex(prefix));
    // What is elsewhere, or somebody else, stays so.
    if !url.starts_with("redis://") || url.contains('@') {
        return url.to_owned();
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    // A test may bring a server of its own.
    let server = url.split('?').next().unwrap_or(url);
    if made
        .get_or_insert_default()
        .insert(format!("{name} at {server}"))
    {
        let line = guide::acl_line("Everything, with topics")
            .user(&name, "secret")
            .prefix(prefix);
        let made = line.command().exec(&mut connection(server));
        made.unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
    if url.contains("db=") {
        let mut select = redis::cmd("ACL");
        select.arg("SETUSER").arg(&name).arg("+select");
        select.exec(&mut connection(server)).expect("a rule");
    }
    url.replacen("redis://", &format!("redis://{name}:secret@"), 1)
}

/// Runs a command as the default user of the server with users.
pub(super) fn as_admin(command: &redis::Cmd) -> redis::Value {
    let reply = command.query(&mut connection(&with_users().url()));
    reply.expect("a reply")
}

fn connection(url: &str) -> redis::Connection {
    let client = redis::Client::open(url).expect("a URL");
    client.get_connection().expect("a connection")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
