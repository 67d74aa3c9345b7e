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

/// Whoever prints the chain of an error sees each text once, and no key that the message does not show.
#[test]
fn a_copy_has_the_sources_of_its_original_and_not_the_original() {
    let loader = std::io::Error::other("the disk is full");
    let shared = Error::new(ErrorKind::Loader, "session:0123456789 has no row").caused_by(loader);
    let copy = shared
        .clone()
        .named(b"session:0123456789", true)
        .on_host(&"h".into());
    let again = copy.clone().deferred();
    for error in [copy, again] {
        let mut texts = vec![error.to_string(), format!("{error:?}")];
        let mut source = error.source();
        while let Some(inner) = source {
            texts.push(inner.to_string());
            source = inner.source();
        }
        assert_eq!(texts[2..], ["the disk is full"], "{texts:?}");
        assert!(!texts.concat().contains("session:0123456789"), "{texts:?}");
        assert!(error.downcast_ref::<std::io::Error>().is_some());
    }
}

#[cfg(any(feature = "anyhow", feature = "eyre"))]
#[test]
fn what_was_given_as_a_context_is_found_by_its_type() {
    #[derive(Debug)]
    struct NotFound(u8);
    impl fmt::Display for NotFound {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("not found")
        }
    }
    impl StdError for NotFound {}

    let check = |source: BoxError| {
        let error = Error::new(ErrorKind::Loader, "").caused_by(source);
        let error = error.clone().named(b"k", false);
        assert_eq!(
            error.downcast_ref::<NotFound>().map(|found| found.0),
            Some(7)
        );
        assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
        assert!(error.downcast_ref::<fmt::Error>().is_none());
    };
    let cause = || "x".parse::<u8>().unwrap_err();
    #[cfg(feature = "anyhow")]
    check(boxed(
        anyhow::Error::from(cause())
            .context(NotFound(7))
            .context("a text"),
    ));
    #[cfg(feature = "eyre")]
    check(boxed(
        eyre::Report::from(cause())
            .wrap_err(NotFound(7))
            .wrap_err("a text"),
    ));
}

#[test]
fn what_came_too_late_says_why_in_words_of_its_own() {
    let late = Error::too_late("closed too early", "loads run".into());
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let late = late.clone().on_host(&"h".into());
    assert_eq!(late.to_string(), "closed too early at h: loads run");
}
