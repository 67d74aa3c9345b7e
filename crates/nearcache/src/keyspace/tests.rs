use super::*;
use proptest::prelude::*;

fn keyspace(prefix: &str) -> Keyspace {
    Keyspace::new(prefix, SEPARATOR).unwrap()
}

#[test]
fn a_stored_key_is_the_prefix_the_separator_and_the_key() {
    assert_eq!(
        keyspace("app").stored(b"user:1").unwrap().as_bytes(),
        b"app:user:1"
    );
    assert_eq!(
        keyspace("").stored(b"user:1").unwrap().as_bytes(),
        b"user:1"
    );
    let bare = Keyspace::new("p", "").unwrap();
    assert_eq!(bare.stored(b"5").unwrap().as_bytes(), b"p5");
    assert_eq!(bare.stored(b"5").unwrap().user(), b"5");
}

#[test]
fn keys_have_1_byte_to_64_kib() {
    let space = keyspace("app");
    assert_eq!(space.stored(b"").unwrap_err().kind(), ErrorKind::InvalidKey);
    assert!(space.stored(&vec![b'x'; MAX_KEY]).is_ok());
    let error = space.stored(&vec![b'x'; MAX_KEY + 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    assert!(
        error.to_string().contains("65537") && error.to_string().len() < 400,
        "{error}"
    );
}

#[test]
fn the_forms_of_nearcache_cannot_be_named_and_are_not_shown() {
    let space = keyspace("app");
    for key in [
        "#nearcache:tag:users",
        "#nearcache:",
        "{user:1}#nearcache:lease",
        "x#nearcache:leaseq7",
    ] {
        assert_eq!(
            space.stored(key.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidKey,
            "{key}"
        );
        assert_eq!(space.user(format!("app:{key}").as_bytes()), None, "{key}");
    }
    for key in ["#nearcache", "a#nearcache:tag:x", "##", "#nearcache lease"] {
        assert!(space.stored(key.as_bytes()).is_ok(), "{key}");
    }
    assert_eq!(
        Keyspace::new("a#nearcache:b", ":").unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

#[test]
fn a_lease_lies_in_its_keys_slot_under_its_prefix_and_is_hidden() {
    for (prefix, key, lease) in [
        ("app", "user:1", "app:{app:user:1}#nearcache:lease"),
        ("", "user:1", "{user:1}#nearcache:lease"),
        ("app", "{user:1}:name", "app:{user:1}:name#nearcache:lease"),
        ("{app}", "user:1", "{app}:user:1#nearcache:lease"),
        ("app", "a{b", "app:a{b#nearcache:lease03dh"),
        ("app", "a}b", "app:a}b#nearcache:lease0aim"),
        ("app", "a{}b", "app:a{}b#nearcache:lease0p44"),
    ] {
        let space = keyspace(prefix);
        let stored = space.stored(key.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(stored.lease().to_vec()).unwrap(), lease);
        assert_eq!(slot::slot(&stored.lease()), slot::slot(stored.as_bytes()));
        assert_eq!(space.user(&stored.lease()), None);
        let lease = stored.lease();
        let mut entries = space.entries_of(&lease);
        assert!(entries.any(|entry| entry == stored.as_bytes()));
        assert!(space.is_lease(&stored.lease()) && !space.is_lease(stored.as_bytes()));
    }
}

/// `docs/protocols.md` says why that is harmless.
#[test]
fn a_key_and_the_same_key_in_braces_share_a_lease_only_without_a_prefix() {
    for (prefix, shared) in [("", true), ("app", false), ("{app}", false), ("a{", false)] {
        let space = keyspace(prefix);
        let lease = |key: &[u8]| space.stored(key).unwrap().lease();
        assert_eq!(lease(b"a") == lease(b"{a}"), shared, "{prefix}");
    }
}

#[test]
fn a_tag_has_1_byte_to_1_kib_and_its_version_is_hidden() {
    let space = keyspace("app");
    assert_eq!(space.tag(b"users").unwrap(), b"app:#nearcache:tag:users");
    assert_eq!(space.user(b"app:#nearcache:tag:users"), None);
    assert_eq!(space.tag_epoch(), b"app:#nearcache:tags");
    for tag in [vec![], vec![b'x'; MAX_TAG + 1]] {
        assert_eq!(space.tag(&tag).unwrap_err().kind(), ErrorKind::InvalidKey);
    }
}

#[test]
fn what_lies_outside_the_prefix_is_not_shown() {
    let space = keyspace("app");
    assert_eq!(space.user(b"app:user:1"), Some(&b"user:1"[..]));
    assert_eq!(space.user(b"apple:user:1"), None);
    assert_eq!(space.user(b"app:"), None);
    assert_eq!(space.user(b"other"), None);
}

#[test]
fn glob_characters_of_the_prefix_are_escaped() {
    assert_eq!(
        keyspace(r"a*?[b]\^-").pattern(b"u*"),
        br"a\*\?\[b\]\\\^\-:u*"
    );
    assert_eq!(keyspace("").pattern(b"u*"), b"u*");
}

#[test]
fn a_key_is_text_where_it_can_be_and_bytes_where_it_cannot() {
    let keys = [
        Key::from("user:1"),
        Key::from(""),
        Key::from(&b"a\xff\0"[..]),
    ];
    assert_eq!(keys[0].to_string(), "user:1");
    assert_eq!(format!("[{:>8}]", keys[0]), "[  user:1]");
    assert_eq!(keys[2].to_string(), "a\\xff\0");
    assert_eq!(
        serde_json::to_string(&keys).unwrap(),
        r#"["user:1","",[97,255,0]]"#
    );
    for key in &keys {
        let json = serde_json::to_vec(key).unwrap();
        assert_eq!(&serde_json::from_slice::<Key>(&json).unwrap(), key);
        #[cfg(feature = "postcard")]
        {
            let bytes = ::postcard::to_stdvec(key).unwrap();
            assert_eq!(&::postcard::from_bytes::<Key>(&bytes).unwrap(), key);
        }
        #[cfg(feature = "msgpack")]
        {
            let bytes = rmp_serde::to_vec(key).unwrap();
            assert_eq!(&rmp_serde::from_slice::<Key>(&bytes).unwrap(), key);
        }
    }
    let by_key = std::collections::HashMap::from([(keys[0].clone(), 1)]);
    assert_eq!(by_key.get(b"user:1".as_slice()), Some(&1));
    let ordered = std::collections::BTreeMap::from([(keys[0].clone(), 1)]);
    assert_eq!(ordered.get(b"user:1".as_slice()), Some(&1));
    let json = serde_json::to_string(&by_key).unwrap();
    assert_eq!(json, r#"{"user:1":1}"#);
    let read: std::collections::HashMap<Key, u8> = serde_json::from_str(&json).unwrap();
    assert_eq!(read.len(), 1);
}

#[test]
fn a_key_in_a_message_is_readable_and_short() {
    assert_eq!(format!("{:?}", Key::from("user:1")), "\"user:1\"");
    assert_eq!(
        format!("{:?}", Key::from(&b"\xff\x00"[..])),
        r#""\xff\x00""#
    );
    assert!(format!("{:?}", Key::from(&[b'k'; 5_000][..])).len() < 160);
}

proptest! {
    #[test]
    fn a_user_gets_back_the_key_that_was_stored(prefix in ".{0,10}", key in prop::collection::vec(any::<u8>(), 1..50)) {
        let space = keyspace(&prefix);
        if let Ok(stored) = space.stored(&key) {
            prop_assert_eq!(space.user(stored.as_bytes()), Some(&key[..]));
            prop_assert_eq!(stored.user(), &key[..]);
            prop_assert_eq!(slot::slot(&stored.lease()), slot::slot(stored.as_bytes()));
            prop_assert!(stored.lease().starts_with(&space.prefix));
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_is(bytes in prop::collection::vec(any::<u8>(), 0..30), byte: u8) {
        prop_assert_eq!(has(&bytes, byte), bytes.contains(&byte));
        for found in &bytes {
            prop_assert!(has(&bytes, *found));
        }
    }

    #[test]
    fn a_lease_has_its_form_whatever_its_length(prefix in "[a-z]{0,20}", key in "[a-z:]{1,120}") {
        let stored = keyspace(&prefix).stored(key.as_bytes()).unwrap();
        let before = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
        let expected = format!("{before}{{{before}{key}}}#nearcache:lease");
        prop_assert_eq!(&*stored.lease(), expected.as_bytes());
    }
}

fn helper(prefix: &str, name: &[&[u8]], part: &str) -> Vec<u8> {
    let key = keyspace(prefix).helper("lock", name, part).unwrap();
    key.as_bytes().to_vec()
}

#[test]
fn the_keys_of_a_helper_are_frozen() {
    let text =
        |prefix, name: &[&[u8]], part| String::from_utf8(helper(prefix, name, part)).unwrap();
    assert_eq!(text("app", &[b"job"], ""), "app:#nearcache:lock:{job}");
    assert_eq!(text("", &[b"job"], "token"), "#nearcache:lock:{job}:token");
    assert_eq!(
        text("app", &[b"a:b", b"{c}%#"], "x"),
        "app:#nearcache:lock:{a%3Ab:%7Bc%7D%25%23}:x"
    );
    assert_eq!(text("{t}", &[b"job"], "x"), "{t}:#nearcache:lock:{job}:x");
    assert_eq!(
        text("a{}b", &[b"job"], "x"),
        "a{}b:#nearcache:lock:{job}:x0db0"
    );
    let space = keyspace("app");
    for wrong in [&[&b""[..]][..], &[b"a", b""], &[&vec![b'x'; MAX_KEY]]] {
        let error = space.helper("lock", wrong, "").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
    }
}

proptest! {
    #[test]
    fn the_keys_of_a_name_share_a_slot_and_no_two_names_a_key(
        prefix in "[a{}:#]{0,4}",
        one in prop::collection::vec("[a{}:%#]{1,3}", 1..3),
        other in prop::collection::vec("[a{}:%#]{1,3}", 1..3),
    ) {
        let names = |name: &[String]| name.iter().map(|part| part.as_bytes().to_vec()).collect::<Vec<_>>();
        let key = |name: &[String], part| {
            let name = names(name);
            let name: Vec<&[u8]> = name.iter().map(|part| &**part).collect();
            helper(&prefix, &name, part)
        };
        let (a, b) = (key(&one, ""), key(&one, "token"));
        prop_assert_eq!(slot::slot(&a), slot::slot(&b));
        prop_assert_ne!(&a, &b);
        prop_assert!(keyspace(&prefix).user(&a).is_none(), "it is hidden");
        prop_assert!(!keyspace(&prefix).is_lease(&a));
        if one != other {
            for part in ["", "token"] {
                prop_assert_ne!(&key(&other, part), &a);
                prop_assert_ne!(&key(&other, part), &b);
            }
        }
    }
}

/// A server of a Cluster says the same of every key that must share a slot, whatever prefix and name hold.
#[test]
fn a_server_agrees_on_the_slots_of_helpers_and_leases() {
    let bus = nearcache_testkit::Port::unused();
    let bus_port = bus.number().to_string();
    let server = nearcache_testkit::Redis::start_with(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus_port,
    ]);
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut asked = |key: &[u8]| -> u16 {
        let mut command = redis::cmd("CLUSTER");
        command.arg("KEYSLOT").arg(key);
        command.query(&mut connection).unwrap()
    };
    let texts = [
        "a", "a:b", "{", "}", "{}", "}{", "a{b", "a}b", "a{}b", "{t}", "{{t}}", "#%", "张",
    ];
    for prefix in ["", "app", "{app}", "a{}b", "a{b", "a}b", "{}{t}"] {
        for text in texts {
            let part = helper(prefix, &[text.as_bytes(), b"id"], "token");
            let whole = helper(prefix, &[text.as_bytes(), b"id"], "");
            assert_eq!(asked(&part), asked(&whole), "{prefix} {text}");
            let key = keyspace(prefix).stored(text.as_bytes()).unwrap();
            let slot = asked(key.as_bytes());
            assert_eq!(asked(&key.lease()), slot, "the lease of {prefix} {text}");
            assert_eq!(slot::slot(key.as_bytes()), slot, "{prefix} {text}");
        }
    }
}
