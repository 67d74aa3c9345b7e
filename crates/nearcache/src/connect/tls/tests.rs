//! Settings of TLS that are wrong, as building a cache tells of them, and what is shown of the others.

use std::fs;

use nearcache_testkit::{Authority, Valid};

use super::material::load;
use super::*;

fn error(tls: &Tls) -> String {
    let error = tls.check(Some("localhost")).expect_err("it is wrong");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let text = error.to_string();
    assert!(!text.contains("PRIVATE"), "{text}");
    text
}

#[test]
fn a_file_that_is_no_certificate_is_told_before_anything_connects() {
    let authority = Authority::new();
    let one = authority.issue(&["localhost"]);
    let (cert, key) = (&one.cert, &one.key);
    let write = |name: &str, text: &[u8]| {
        let file = authority.file(name);
        fs::write(&file, text).unwrap();
        file
    };
    let pem = fs::read_to_string(key).unwrap();
    let cut = write("cut", &pem.as_bytes()[..60]);
    let damaged = write("damaged", pem.replacen('M', "?", 1).as_bytes());
    let encrypted = write(
        "encrypted",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let (empty, der) = (write("empty", b" \n"), write("der", &[0x30, 0x82, 1]));
    for (tls, file, says) in [
        (
            Tls::new().ca_file("/no/such.pem"),
            "ca /no/such.pem",
            "cannot be read",
        ),
        (Tls::new().ca_file("/"), "ca /", "not a file"),
        (
            Tls::new().ca_file("/dev/zero"),
            "ca /dev/zero",
            "not a file",
        ),
        (Tls::new().ca_file(&empty), "empty", "it is empty"),
        (Tls::new().ca_file(&der), "der", "it is not PEM"),
        (Tls::new().ca_file(key), "ca ", "it has a private key only"),
        (
            Tls::new().identity_files(key, key),
            "cert ",
            "has no certificate",
        ),
        (
            Tls::new().identity_files(cert, cert),
            "key ",
            "it has certificates only",
        ),
        (
            Tls::new().identity_files(cert, &encrypted),
            "key ",
            "without a passphrase",
        ),
        (
            Tls::new().identity_files(cert, cut),
            "key ",
            "-----END line is missing",
        ),
        (
            Tls::new().identity_files(cert, damaged),
            "key ",
            "damaged PEM",
        ),
        (
            Tls::new().ca_pem(""),
            "ca, given from memory,",
            "it is empty",
        ),
        (
            Tls::new().identity_files(cert, authority.issue(&["localhost"]).key),
            "key ",
            "is not the key of the certificate in",
        ),
        (
            Tls::new().server_name("two words"),
            "server_name",
            "no certificate can be for that",
        ),
    ] {
        let text = error(&tls);
        assert!(text.contains(file) && text.contains(says), "{says}: {text}");
        assert!(!text.contains(&pem[40..80]), "{text}");
    }
    let half = Tls {
        cert: Some(Pem::File(cert.clone())),
        ..Tls::default()
    };
    assert!(error(&half).contains("key is not"));
    let other_half = Tls {
        key: Some(Pem::File(key.clone())),
        ..Tls::default()
    };
    assert!(error(&other_half).contains("cert is not"));
    let hidden = Tls {
        hidden: true,
        ..Tls::default()
    };
    assert!(error(&hidden).contains(".tls(Tls::new()"));
    Tls::new()
        .ca_file(authority.ca())
        .or(hidden)
        .check(None)
        .unwrap();
}

/// Files, or the same from memory: one connection, as long as they are the same.
#[test]
fn equal_settings_are_equal_and_show_no_key() {
    let authority = Authority::new();
    let one = authority.issue(&["localhost"]);
    let (cert, key) = (fs::read(&one.cert).unwrap(), fs::read(&one.key).unwrap());
    let from_memory = || Tls::new().identity_pem(&cert, &key).ca_pem(&cert);
    assert_eq!(from_memory(), from_memory());
    assert_ne!(from_memory(), from_memory().server_name("other"));
    from_memory().check(Some("::1")).unwrap();
    let shown = format!("{:?}", from_memory());
    let key = String::from_utf8(key).unwrap();
    assert!(!shown.contains(&key[40..60]), "{shown}");
    assert!(shown.contains("PEM bytes"), "{shown}");
    let files = Tls::new().identity_files(&one.cert, &one.key);
    assert!(format!("{files:?}").contains(one.key.to_str().unwrap()));
}

/// Invariant 1.
#[test]
fn files_are_read_again_when_they_have_changed_and_the_last_good_ones_stay() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["one"]), authority.issue(&["other"]));
    let (cert, key) = (authority.file("cert"), authority.file("key"));
    fs::copy(&one.cert, &cert).unwrap();
    fs::copy(&one.key, &key).unwrap();
    let tls = Tls::new()
        .ca_file(authority.ca())
        .identity_files(&cert, &key);
    let made = |tls: &Tls| load(tls).expect("certificates").config;
    let first = made(&tls);
    // Unchanged, it is the same, with the tickets that it has got. A clone shares it.
    assert!(Arc::ptr_eq(&first, &made(&tls.clone())));
    // In the middle of a renewal.
    fs::copy(&other.cert, &cert).unwrap();
    assert!(Arc::ptr_eq(&first, &made(&tls)));
    fs::remove_file(&key).unwrap();
    assert!(Arc::ptr_eq(&first, &made(&tls)));
    fs::copy(&other.key, &key).unwrap();
    let second = made(&tls);
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &made(&tls)));
    // An expired one is the server's to refuse.
    let expired = authority.issue_valid(Valid::Expired, &["one"]);
    let tls = Tls::new()
        .identity_files(expired.cert, expired.key)
        .ca_file(authority.ca());
    made(&tls);
}

#[test]
fn what_is_set_later_goes_before_what_a_url_says() {
    let url = Tls::new()
        .ca_file("url-ca")
        .identity_files("url-cert", "url-key")
        .server_name("url-name");
    let all = Tls::new().identity_pem("cert", "key").or(url.clone());
    assert_eq!(
        all,
        Tls::new()
            .ca_file("url-ca")
            .identity_pem("cert", "key")
            .server_name("url-name")
    );
    assert_eq!(Tls::new().or(url.clone()), url);
    assert!(Tls::new().dangerous_verify_none().or(url).accepts_anyone());
}
