//! The first things that one tries.
use nearcache_embedded::Store;
use redis::{Commands, ConnectionLike, Value, cmd, pipe};

#[test]
fn a_value_is_set_and_read_again() {
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
    let keys: Option<String> = cmd("RANDOMKEY").query(&mut con).unwrap();
    assert!(keys.is_some());
    assert!(matches!(
        con.req_command(&cmd("NOPE")).unwrap(),
        Value::ServerError(_)
    ));
}
