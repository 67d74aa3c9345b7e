//! How errors are sorted, and what they say.

use super::*;

fn server_error(line: &str) -> Error {
    match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
        Ok(redis::Value::ServerError(error)) => Error::from_server(&error),
        other => panic!("not an error line: {other:?}"),
    }
}

#[test]
fn server_errors_are_sorted_by_their_code() {
    let cases = [
        ("WRONGTYPE Operation against a key", ErrorKind::WrongType),
        (
            "ERR value is not an integer or out of range",
            ErrorKind::NotInteger,
        ),
        (
            "ERR increment or decrement would overflow",
            ErrorKind::Overflow,
        ),
        ("WRONGPASS invalid username-password pair", ErrorKind::Auth),
        ("NOAUTH Authentication required.", ErrorKind::Auth),
        ("NOPERM this user has no permissions", ErrorKind::Denied),
        (
            "LOADING Redis is loading the dataset in memory",
            ErrorKind::Unavailable,
        ),
        ("OOM command not allowed", ErrorKind::Unavailable),
        ("READONLY You can't write", ErrorKind::Unavailable),
        ("ERR unknown command", ErrorKind::Server),
        ("ERR unknown command 'EVAL'", ErrorKind::Server),
        ("ERR unknown command `GET`", ErrorKind::InvalidConfig),
        (
            "ERR unknown command 'GET', with args beginning with: 'k' ",
            ErrorKind::InvalidConfig,
        ),
        ("MOVED 12182 127.0.0.1:7001", ErrorKind::InvalidConfig),
    ];
    for (line, kind) in cases {
        assert_eq!(server_error(line).kind(), kind, "{line}");
    }
}

/// The texts as servers of 6.2 and 7.0 send them for a `redis.call` that is refused in a script.
#[test]
fn an_error_inside_a_script_is_sorted_by_its_own_code() {
    let before_7 = |inner: &str| {
        let sha1 = "f_2067d915024a3e1657c4169c84f809f8ebec75d0";
        format!("ERR Error running script (call to {sha1}): @user_script:5: {inner}")
    };
    let since_7 = |error: &str| {
        format!("{error} script: 2067d915024a3e1657c4169c84f809f8ebec75d0, on @user_script:5.")
    };
    for error in [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
    ] {
        for line in [
            before_7(&format!("@user_script: 5: -{error}")),
            before_7(&format!("-{error}")),
            since_7(error),
        ] {
            let sorted = server_error(&line);
            assert_eq!(sorted.kind(), ErrorKind::Unavailable, "{line}");
            let (code, _) = error.split_once(' ').unwrap();
            // The outbox knows by the first word that no writes are accepted.
            assert!(sorted.detail().starts_with(code), "{sorted}");
        }
    }
    for (inner, kind) in [
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            ErrorKind::WrongType,
        ),
        (
            "ERR value is not an integer or out of range",
            ErrorKind::NotInteger,
        ),
        (
            "NOPERM this user has no permissions to run the 'set' command",
            ErrorKind::Denied,
        ),
        ("attempt to index a nil value", ErrorKind::Server),
        ("", ErrorKind::Server),
    ] {
        assert_eq!(server_error(&before_7(inner)).kind(), kind, "{inner}");
    }
}

#[test]
fn the_message_names_host_and_key() {
    let error = server_error("WRONGTYPE Operation against a key holding the wrong kind")
        .on_host(&Arc::from("localhost:6379"))
        .named(b"user:1", false);
    let text = error.to_string();
    assert!(
        text.contains("localhost:6379") && text.contains("user:1"),
        "{text}"
    );
    assert!(text.contains("another Redis type"), "{text}");
}

#[test]
fn a_shared_error_keeps_its_source_when_it_is_added_to() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let shared = Error::from_redis(refused.into());
    let other = shared.clone();
    let mine = shared.named(b"k", false);
    assert_eq!(mine.kind(), ErrorKind::Connect);
    assert!(mine.source().is_some() && other.key().is_none());
}

#[test]
fn an_error_can_cross_threads_and_be_cloned() {
    fn check<T: Send + Sync + Clone + StdError + 'static>() {}
    check::<Error>();
}

#[test]
fn a_redacted_key_is_not_shown_by_the_words_of_others_either() {
    let said = "ERR no access to app:session:f3a9, nor to session:f3a9";
    let error = Error::new(ErrorKind::Server, said).named(b"session:f3a9", true);
    let text = error.to_string();
    assert!(!text.contains("f3a9"), "{text}");
    assert_eq!(text.matches("#7edf3f1860fb").count(), 3, "{text}");
    assert_eq!(error.key().unwrap(), "session:f3a9");
    // A short key is as well a word of the text.
    let error = Error::new(ErrorKind::Server, "an error").named(b"a", true);
    assert!(error.to_string().ends_with(": an error"), "{error}");
    // Another caller's error, shown by a cache that shows no keys.
    let shared = Error::new(ErrorKind::Loader, "no database").named(b"session:f3a9", false);
    let shown = shared.clone().redacted(true);
    assert!(shared.to_string().contains("f3a9") && !shown.to_string().contains("f3a9"));
}
