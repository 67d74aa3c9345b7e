//! A real server on our folder, and we on a server's.

mod persist;

use std::path::Path;

use nearcache_embedded::{Fsync, Store};
use nearcache_testkit::{Redis, eventually};
use persist::{Contents, Folder, contents, run};
use redis::{Connection, ConnectionLike, Value};

/// Something of every type, and of every kind of change; one command a line.
const WRITES: &str = "
    SET string value
    SET number 5
    INCRBY number 37
    INCRBYFLOAT fraction 2.5
    APPEND string s
    SETRANGE string 2 XYZ
    SET volatile v EX 10000
    SET later v PXAT 33177117420000
    GETEX later EXAT 33177117421
    SETEX setex 5000 v
    GETDEL nothing
    MSET m1 1 m2 2 m3 3
    MSETNX m1 1 m4 4
    DEL m2
    RENAME m3 m5
    COPY string copy
    EXPIRE copy 7777
    PERSIST volatile
    RPUSH list a b c d e f
    LPUSH list z y x
    LPOP list 2
    RPOPLPUSH list list2
    LMOVE list list2 LEFT RIGHT
    LINSERT list BEFORE c bc
    LSET list 0 first
    LTRIM list 0 4
    LREM list 1 bc
    HSET hash f1 v1 f2 v2 f3 v3
    HINCRBY hash n 5
    HINCRBYFLOAT hash fl 1.25
    HDEL hash f2
    SADD set a b c 1 2 3
    SADD numbers 1 2 3 4 5
    SREM set b
    SPOP numbers
    SMOVE set numbers a
    SUNIONSTORE union set numbers
    ZADD zset 1 a 2.5 b -inf c inf d 1e20 e
    ZADD zset GT CH 7 a
    ZINCRBY zset 1.1 b
    ZRANGESTORE zset2 zset 0 2
    ZPOPMIN zset
    ZUNIONSTORE zset3 2 zset zset2 WEIGHTS 2 3
    XADD stream 1-1 a 1 b 2
    XADD stream * c 3
    XADD stream 99999999999999-* c 3
    XADD trimmed MAXLEN 2 1-1 a b
    XADD trimmed MAXLEN 2 1-2 a b
    XADD trimmed MAXLEN 2 1-3 a b
    XDEL trimmed 1-3
    XGROUP CREATE stream group 0
    XGROUP CREATECONSUMER stream group idle
    XREADGROUP GROUP group worker COUNT 2 STREAMS stream >
    XACK stream group 1-1
    XGROUP CREATE empty group $ MKSTREAM
    SETBIT bits 77 1
    BITFIELD bits SET u8 8 200
    BITOP NOT unbits bits
    PFADD hll a b c d e
    PFMERGE hll2 hll
    GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
    GEOSEARCHSTORE near geo FROMLONLAT 15 37 BYRADIUS 200 km
    SORT list ALPHA STORE sorted
    SELECT 2
    SET other db2
    MOVE other 3
    SET kept 1
    SELECT 1
    SET swapped 1
    SWAPDB 1 3
    SELECT 0";

/// Runs the commands; those that a store does not know yet are left out.
fn write(connection: &mut impl ConnectionLike) -> usize {
    let lines = WRITES.lines().map(str::trim);
    let mut run_them = 0;
    for line in lines.filter(|line| !line.is_empty()) {
        match run(connection, line) {
            Value::ServerError(error) if is_unknown(&error) => {}
            Value::ServerError(error) => panic!("{line}: {error:?}"),
            _ => run_them += 1,
        }
    }
    run_them
}

fn is_unknown(error: &redis::ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    details.starts_with("unknown command") || details.starts_with("no such key")
}

fn connect(server: &Redis) -> Connection {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    eventually("the server has loaded its files", || {
        redis::cmd("PING").exec(&mut connection).is_ok()
    });
    connection
}

fn start(folder: &Path, preamble: &str) -> Redis {
    let dir = folder.to_str().unwrap();
    let arguments = [
        "--dir",
        dir,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-use-rdb-preamble",
        preamble,
        "--save",
        "",
    ];
    Redis::start_with(&arguments)
}

fn rewrite(connection: &mut impl ConnectionLike) {
    run(connection, "BGREWRITEAOF");
    eventually("the rewrite ends", || {
        let info: String = redis::from_redis_value(run(connection, "INFO persistence")).unwrap();
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    });
}

fn of_store(folder: &Folder) -> Contents {
    contents(&mut folder.open().connect())
}

fn of_server(folder: &Folder) -> Contents {
    contents(&mut connect(&start(folder.path(), "no")))
}

#[track_caller]
fn assert_same(ours: &Contents, theirs: &Contents) {
    for (key, value) in ours {
        assert_eq!(Some(value), theirs.get(key), "{key:?}");
    }
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
}

#[test]
fn a_server_starts_on_our_log() {
    let folder = Folder::new();
    {
        let store = folder.open();
        assert!(write(&mut store.connect()) > 10);
    }
    assert_same(&of_store(&folder), &of_server(&folder));
}

#[test]
fn a_server_starts_on_our_base_and_we_on_what_it_went_on_with() {
    let folder = Folder::new();
    let before = {
        let store = folder.open();
        let mut connection = store.connect();
        write(&mut connection);
        for n in 0..200 {
            run(&mut connection, &format!("RPUSH long {n}"));
            run(&mut connection, &format!("HSET wide f{n} {n}"));
            run(&mut connection, &format!("SADD many m{n}"));
            run(&mut connection, &format!("SADD integers {n}"));
            run(&mut connection, &format!("ZADD scores {n}.5 m{n}"));
        }
        store.rewrite().unwrap();
        contents(&mut connection)
    };
    assert_same(&before, &of_server(&folder));
    {
        let server = start(folder.path(), "no");
        let mut connection = connect(&server);
        run(&mut connection, "INCR went-on");
        rewrite(&mut connection);
        run(&mut connection, "INCR went-on");
    }
    let ours = of_store(&folder);
    assert_eq!(ours.len(), before.len() + 1);
    assert_same(&ours, &of_server(&folder));
}

#[test]
fn we_start_on_a_servers_log_and_on_its_base() {
    let folder = Folder::new();
    for _ in 0..2 {
        let server = start(folder.path(), "no");
        let mut connection = connect(&server);
        run(&mut connection, "FLUSHALL");
        // Only what the store knows.
        let known = Store::new();
        let lines = WRITES.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            let reply = run(&mut known.connect(), line);
            let unknown = matches!(&reply, Value::ServerError(error)
                if error.details().unwrap_or_default().starts_with("unknown command"));
            if !unknown {
                run(&mut connection, line);
            }
        }
        drop((connection, server));
        // Compared with a server that was started again: it does not log all that it knows of a group.
        let ours = of_store(&folder);
        assert!(ours.len() > 30);
        assert_same(&ours, &of_server(&folder));

        let server = start(folder.path(), "no");
        let mut connection = connect(&server);
        run(&mut connection, "CONFIG SET aof-timestamp-enabled yes");
        rewrite(&mut connection);
        run(&mut connection, "SET after rewrite");
        drop((connection, server));
        assert_same(&of_store(&folder), &of_server(&folder));
    }
}

#[test]
fn a_servers_rdb_base_is_refused_and_converts_as_the_error_says() {
    let folder = Folder::new();
    {
        let server = start(folder.path(), "yes");
        let mut connection = connect(&server);
        run(&mut connection, "SET a 1");
        rewrite(&mut connection);
    }
    let error = folder.try_open(Fsync::No).unwrap_err().to_string();
    assert!(error.contains("this is an RDB file"), "{error}");
    {
        let server = start(folder.path(), "yes");
        let mut connection = connect(&server);
        run(&mut connection, "CONFIG SET aof-use-rdb-preamble no");
        rewrite(&mut connection);
    }
    assert_eq!(of_store(&folder).len(), 1);
}
