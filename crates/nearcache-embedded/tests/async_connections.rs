//! Async connections, as redis-rs uses them.
#![cfg(feature = "aio")]

use nearcache_embedded::Store;
use nearcache_testkit::Redis;
use redis::aio::ConnectionLike;
use redis::{AsyncCommands, Value, cmd, pipe};

#[tokio::test]
async fn the_async_commands_of_redis_rs_work() {
    let mut con = Store::new().connect();
    let () = con.set("k", "v").await.unwrap();
    assert_eq!(con.get::<_, String>("k").await.unwrap(), "v");
    let both: (String, bool) = pipe()
        .get("k")
        .exists("k")
        .query_async(&mut con)
        .await
        .unwrap();
    assert_eq!(both, ("v".to_owned(), true));
    let mut scan = con.scan::<String>().await.unwrap();
    assert_eq!(scan.next_item().await.unwrap().unwrap(), "k");
}

#[tokio::test]
async fn nothing_is_run_before_the_future_is_polled() {
    let mut con = Store::new().connect();
    let mut other = con.clone();
    let set = cmd("SET").arg("k").arg("v").to_owned();
    drop(con.req_packed_command(&set));
    assert!(!other.exists::<_, bool>("k").await.unwrap());
}

/// As on a server, but for the random part.
#[tokio::test]
async fn a_refused_transaction_is_the_same_error_as_on_a_server() {
    let server = Redis::start();
    let mut theirs = redis::Client::open(server.unix_url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut ours = Store::new().connect();
    for refused in [
        &["NOPE"][..],
        &["GET"],
        &["CLIENT", "NOPE"],
        &["SCRIPT", "LOAD"],
    ] {
        let mut pipe = pipe();
        pipe.atomic()
            .set("k", "v")
            .cmd(refused[0])
            .arg(&refused[1..])
            .get("k")
            .cmd("NOPE");
        let ours = pipe.query_async::<Value>(&mut ours).await.unwrap_err();
        let theirs = pipe.query_async::<Value>(&mut theirs).await.unwrap_err();
        assert_eq!(ours.to_string(), theirs.to_string());
        assert_eq!(ours.kind(), theirs.kind());
        assert_eq!(ours.into_server_errors(), theirs.into_server_errors());
    }
}
