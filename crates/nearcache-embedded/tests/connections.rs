//! Connections: how redis-rs uses them.

use nearcache_embedded::{Connection, Store};
use redis::{Commands, ConnectionLike, ErrorKind, ProtocolVersion, Value, cmd, pipe};

#[test]
fn the_commands_of_redis_rs_work() {
    let mut con = Store::new().connect();
    let () = con.set("k", "v").unwrap();
    assert_eq!(con.get::<_, String>("k").unwrap(), "v");
    assert_eq!(con.incr::<_, _, i64>("n", 5).unwrap(), 5);
    let (a, b): (String, i64) = pipe()
        .atomic()
        .get("k")
        .incr("n", 1)
        .query(&mut con)
        .unwrap();
    assert_eq!((a.as_str(), b), ("v", 6));
    let mut keys: Vec<String> = con.scan().unwrap().map(Result::unwrap).collect();
    keys.sort();
    assert_eq!(keys, ["k", "n"]);
    assert!(con.check_connection() && con.is_open());
}

#[test]
fn connections_are_clients_of_their_own_and_clones_are_not() {
    let store = Store::new();
    let (a, b) = (store.connect(), store.connect());
    assert_ne!(a.id(), b.id());
    assert_eq!(a.id(), a.clone().id());
    assert_eq!(store.clone().connect().id(), 3);
}

#[test]
fn a_clone_has_its_own_database_and_transaction_from_then_on() {
    let mut con = Store::new().connect();
    con.select(3).unwrap();
    con.set_protocol(ProtocolVersion::RESP3);
    cmd("CLIENT")
        .arg("SETNAME")
        .arg("me")
        .exec(&mut con)
        .unwrap();
    cmd("MULTI").exec(&mut con).unwrap();
    let mut clone = con.clone();
    assert_eq!((clone.db(), clone.protocol()), (3, ProtocolVersion::RESP3));
    assert_eq!(
        cmd("CLIENT")
            .arg("GETNAME")
            .query::<String>(&mut clone)
            .unwrap(),
        "me"
    );
    clone.select(4).unwrap();
    assert_eq!((con.db(), redis::ConnectionLike::get_db(&clone)), (3, 4));
    assert!(
        cmd("EXEC")
            .exec(&mut clone)
            .unwrap_err()
            .to_string()
            .contains("EXEC without MULTI")
    );
    cmd("EXEC").exec(&mut con).unwrap();
}

#[test]
fn databases_are_as_many_as_asked_for() {
    let store = Store::builder().databases(2).build();
    let mut con = store.connect();
    con.select(1).unwrap();
    assert!(con.select(2).is_err() && con.select(-1).is_err());
    assert_eq!(con.db(), 1);
    let () = con.set("k", "v").unwrap();
    con.select(0).unwrap();
    assert!(!con.exists::<_, bool>("k").unwrap());
}

#[test]
fn an_error_is_a_reply_of_execute_and_an_error_of_a_query() {
    let mut con = Store::new().connect();
    let () = con.set("k", "text").unwrap();
    assert!(matches!(
        con.execute(cmd("INCR").arg("k")),
        Value::ServerError(_)
    ));
    let error = con.incr::<_, _, i64>("k", 1).unwrap_err();
    assert_eq!(
        error.detail(),
        Some("value is not an integer or out of range")
    );
    let error = con.lpush::<_, _, i64>("k", 1).unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
}

#[test]
fn what_is_no_command_is_refused_without_harm() {
    let mut con = Store::new().connect();
    assert_eq!(
        redis::Cmd::new().exec(&mut con).unwrap_err().kind(),
        ErrorKind::Client
    );
    for garbage in [
        &b""[..],
        b"GET k\r\n",
        b"*1\r\n$-1\r\n",
        b"*2\r\n$3\r\nGET\r\n",
        b"*0\r\n",
        b"\xff",
    ] {
        assert!(con.req_packed_command(garbage).is_err());
    }
    assert!(
        con.req_packed_commands(b"*1\r\n$4\r\nPING\r\n*1\r\n", 0, 2)
            .is_err()
    );
    assert!(con.check_connection());
}

#[test]
fn a_command_that_wants_no_reply_is_run_and_gets_none() {
    let mut con = Store::new().connect();
    let mut set = cmd("SET");
    set.arg("k").arg("v").set_no_response(true);
    assert_eq!(con.req_command(&set).unwrap(), Value::Nil);
    assert_eq!(con.get::<_, String>("k").unwrap(), "v");
}

#[test]
fn quit_and_reset_leave_a_connection_as_new() {
    let mut con = Store::new().connect();
    for leave in ["QUIT", "RESET"] {
        con.select(5).unwrap();
        cmd("MULTI").exec(&mut con).unwrap();
        cmd(leave).exec(&mut con).unwrap();
        assert_eq!(con.db(), 0);
        assert!(cmd("EXEC").exec(&mut con).is_err());
    }
}

#[test]
fn client_setinfo_is_accepted_as_a_newer_server_does() {
    let mut con = Store::new().connect();
    let set = |con: &mut Connection, name: &str, value: &str| {
        cmd("CLIENT").arg("SETINFO").arg(name).arg(value).exec(con)
    };
    set(&mut con, "LIB-NAME", "redis-rs").unwrap();
    set(&mut con, "lib-ver", "1.8").unwrap();
    assert!(
        set(&mut con, "lib-ver", "1 8")
            .unwrap_err()
            .to_string()
            .contains("lib-ver cannot contain spaces")
    );
    assert!(
        set(&mut con, "other", "x")
            .unwrap_err()
            .to_string()
            .contains("Unrecognized option 'other'")
    );
}

#[test]
fn info_says_what_tools_read() {
    let mut con = Store::new().connect();
    let () = con.set("k", "v").unwrap();
    let () = con.set_ex("e", "v", 100).unwrap();
    let info: String = cmd("INFO").query(&mut con).unwrap();
    for line in [
        "redis_version:7.0.15",
        "redis_mode:standalone",
        "tcp_port:0",
        "role:master",
        "db0:keys=2,expires=1,avg_ttl=0",
    ] {
        assert!(
            info.lines().any(|found| found == line),
            "{line} is not in\n{info}"
        );
    }
    con.set_protocol(ProtocolVersion::RESP3);
    let one = con.execute(cmd("INFO").arg("keyspace"));
    let Value::VerbatimString { text, .. } = one else {
        panic!("{one:?}")
    };
    assert_eq!(text, "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n");
}

#[test]
fn a_watched_key_that_somebody_else_changes_makes_the_transaction_fail() {
    let store = Store::new();
    let (mut con, mut other) = (store.connect(), store.connect());
    let mut attempt = |meanwhile: &mut dyn FnMut()| {
        cmd("WATCH").arg("k").exec(&mut con).unwrap();
        meanwhile();
        pipe()
            .atomic()
            .set("done", 1)
            .query::<Option<Value>>(&mut con)
            .unwrap()
            .is_some()
    };
    assert!(attempt(&mut || {}));
    assert!(!attempt(&mut || other.set("k", "v").unwrap()));
    assert!(attempt(&mut || drop(other.get::<_, Value>("k").unwrap())));
    assert!(attempt(&mut || other.set("unrelated", "v").unwrap()));
    assert!(!attempt(&mut || other.expire("k", 100).unwrap()));
    assert!(!attempt(&mut || other.del("k").unwrap()));
    // It is gone already: nothing changes.
    assert!(attempt(&mut || other.del("k").unwrap()));
    assert!(attempt(&mut || cmd("FLUSHALL").exec(&mut other).unwrap()));
    assert!(!attempt(&mut || {
        let () = other.set("k", "v").unwrap();
    }));
    assert!(!attempt(&mut || cmd("FLUSHALL").exec(&mut other).unwrap()));
}

#[test]
fn unwatched_keys_are_forgotten() {
    let store = Store::new();
    let (mut con, mut other) = (store.connect(), store.connect());
    for forget in ["UNWATCH", "DISCARD", "RESET"] {
        cmd("WATCH").arg("k").exec(&mut con).unwrap();
        if forget == "DISCARD" {
            cmd("MULTI").exec(&mut con).unwrap();
        }
        cmd(forget).exec(&mut con).unwrap();
        let () = other.incr("k", 1).unwrap();
        assert!(
            pipe()
                .atomic()
                .get("k")
                .query::<Option<(i64,)>>(&mut con)
                .unwrap()
                .is_some()
        );
    }
}
