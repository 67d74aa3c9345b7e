//! What is said when the primary cannot be found: what is wrong, where, and what to do.

use nearcache::{Cache, ErrorKind};
use nearcache_testkit::{Port, Redis, Sentinels};

use crate::site::both;

#[test]
fn nobody_answers() {
    let ports = [Port::unused(), Port::unused()];
    let [one, other] = ports.each_ref().map(|port| format!("127.0.0.1:{port}"));
    both(async |way| {
        let cache = way.open(&format!("redis-sentinel://{one},{other}/main"), "");
        let error = call!(cache.get::<u8>("k")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect);
        let text = error.to_string();
        for says in ["no Sentinel answers", &one, &other] {
            assert!(text.contains(says), "{says}: {text}");
        }
    });
}

#[test]
fn nobody_knows_the_name() {
    let site = Sentinels::shared();
    let url = site.url().replace(Sentinels::MASTER, "main");
    both(async |way| {
        let cache = way.open(&url, "");
        let error = call!(cache.ping()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        let says = "it knows no primary by the name \"main\"; it knows \"mymaster\"";
        assert!(text.contains(says), "{text}");
    });
}

#[test]
fn a_server_is_no_sentinel_and_a_sentinel_no_server() {
    let site = Sentinels::shared();
    let server = site.server(0).address();
    both(async |way| {
        let cache = way.open(&format!("redis-sentinel://{server}/mymaster"), "");
        let error = call!(cache.ping()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        let text = error.to_string();
        assert!(
            text.contains("no Sentinel; for this server alone use redis://"),
            "{text}"
        );

        let sentinel = way.open(&format!("redis://{}", site.addresses()[0]), "");
        let text = call!(sentinel.ping()).unwrap_err().to_string();
        assert!(text.contains("redis-sentinel://HOST:PORT/NAME"), "{text}");
    });
}

#[test]
fn sentinels_have_users_of_their_own() {
    let site = Sentinels::shared();
    let locked = Redis::start_sentinel();
    site.watch_with(&locked, site.server(0), 3);
    // The least that a user needs there.
    let user = "ACL SETUSER app on >hunter2 -@all +sentinel|get-master-addr-by-name";
    assert!(locked.inline(user).starts_with("+OK"));
    assert!(
        locked
            .inline("ACL SETUSER default >hunter3 resetpass >hunter3")
            .starts_with("+OK")
    );
    let url = format!("redis-sentinel://{}/mymaster", locked.address());
    both(async |way| {
        for (options, fine) in [
            ("", false),
            // Those of the servers are not told to Sentinels.
            ("&password=hunter3", false),
            ("&sentinel_password=hunter2", false),
            ("&sentinel_username=app&sentinel_password=hunter2", true),
            ("&sentinel_password=hunter3", true),
        ] {
            let cache = way.open(&url, &format!("&breaker=off{options}"));
            match call!(cache.ping()) {
                Ok(_) => assert!(fine, "{options}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Auth, "{options}: {error}");
                    assert!(!fine, "{options}: {error}");
                    let text = format!("{error} {error:?} {cache:?}");
                    assert!(!text.contains("hunter"), "{text}");
                    assert!(text.contains("sentinel_username"), "{text}");
                }
            }
        }
    });
}

#[test]
fn a_url_says_what_its_place_takes() {
    for (url, says) in [
        (
            "redis://h?sentinel_password=x",
            "redis-sentinel://HOST:PORT,HOST:PORT/NAME",
        ),
        ("redis://h?read=replica", "redis-cluster://"),
        ("redis-sentinel://h/main?read=all", "primary or replica"),
    ] {
        let error = Cache::open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        assert!(error.to_string().contains(says), "{error}");
    }
    // On a builder it goes with the code from place to place.
    let builder = Cache::builder("memory://").sentinel_username("app");
    builder.read(nearcache::ReadFrom::Replica).build().unwrap();
}
