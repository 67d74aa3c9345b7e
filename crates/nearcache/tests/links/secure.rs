//! Connections over TLS: certificates that are wrong, missing or renewed, servers that do not speak it, handshakes that
//! stand still, servers that come back.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nearcache::{Cache, ErrorKind, Tls, blocking};
use nearcache_testkit::{Authority, Identity, Logs, Redis, SecureRedis, Valid, eventually};

use crate::face::{Face, run};
use crate::faces;
use crate::way::Way;

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What both faces say, on a call and on a connection of the caller's own.
async fn each_says(url: &str, kind: ErrorKind, parts: &[&str]) {
    let with = if url.contains('?') { '&' } else { '?' };
    for face in faces(&format!("{url}{with}timeout=20s&breaker=off")) {
        let alone = match &face {
            Face::Async(cache) => cache.connection().await.map(drop),
            Face::Blocking(cache) => cache.connection().run().map(drop),
        };
        for outcome in [call!(face.set("k", &1)), call!(face.ping()), alone] {
            let error = outcome.unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), kind, "{text}");
            for part in parts {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(!text.contains("PRIVATE"), "{text}");
        }
    }
}

#[test]
fn a_certificate_that_does_not_fit_says_what_is_wrong_with_it() {
    let redis = SecureRedis::start();
    let (url, ours) = (redis.tls_url(), redis.authority());
    let stranger = Authority::new();
    run(async {
        for (shown, says) in [
            (
                ours.issue_valid(Valid::Expired, &NAMES),
                ["expired", "days ago; renew it"],
            ),
            (
                ours.issue_valid(Valid::Later, &NAMES),
                ["not valid yet", "clocks"],
            ),
            (
                ours.issue(&["redis.internal", "10.0.0.7"]),
                [
                    "is for redis.internal, 10.0.0.7, and not for 127.0.0.1",
                    "server_name=",
                ],
            ),
            (
                stranger.issue(&NAMES),
                ["not signed by the CA in", "ca.pem"],
            ),
        ] {
            redis.show(&shown);
            each_says(&url, ErrorKind::Connect, &says).await;
        }
        // The system trusts none of our own.
        let url = format!("rediss://{}", redis.tls_address());
        each_says(
            &url,
            ErrorKind::Connect,
            &["nobody whom this system trusts", "ca=FILE"],
        )
        .await;
    });
}

#[test]
fn a_server_may_be_reached_by_another_name_than_its_certificate_has() {
    let redis = SecureRedis::start();
    redis.show(&redis.authority().issue(&["redis.internal"]));
    let other = Authority::new();
    let stranger = other.issue(&["nobody"]);
    run(async {
        for face in faces(&format!("{}&server_name=redis.internal", redis.tls_url())) {
            call!(face.set("k", &1)).unwrap();
        }
        // Whoever it is.
        redis.show(&stranger);
        for face in faces(&format!("{}&tls_verify=none", redis.tls_url())) {
            call!(face.set("k", &1)).unwrap();
        }
    });
}

#[test]
fn a_client_certificate_that_is_missing_or_refused_is_told() {
    let redis = SecureRedis::start();
    let stranger = Authority::new();
    let expired = redis.authority().issue_valid(Valid::Expired, &["a-client"]);
    let nobody = redis.anonymous_url_at(&redis.tls_address());
    let showing = |identity: &Identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        format!("{nobody}&cert={cert}&key={key}")
    };
    run(async {
        for protocols in ["TLSv1.2 TLSv1.3", "TLSv1.2"] {
            redis.inline(&format!("CONFIG SET tls-protocols \"{protocols}\""));
            let asks = ["asks for a client certificate", "cert=FILE and key=FILE"];
            each_says(&nobody, ErrorKind::Connect, &asks).await;
            for identity in [&stranger.issue(&["a-client"]), &expired] {
                each_says(
                    &showing(identity),
                    ErrorKind::Connect,
                    &["client certificate"],
                )
                .await;
            }
            for face in faces(&redis.tls_url()) {
                call!(face.set("k", &1)).unwrap();
            }
        }
        redis.inline("CONFIG SET tls-auth-clients no");
        for face in faces(&nobody) {
            call!(face.set("k", &1)).unwrap();
        }
    });
}

#[test]
fn a_server_without_tls_and_a_url_without_it_say_which_scheme_to_write() {
    let (redis, plain) = (SecureRedis::start(), Redis::start());
    run(async {
        // Redis waits for the end of the line, which never comes.
        let url = format!(
            "{}&breaker=off&timeout=150ms",
            redis.tls_url_at(&plain.address())
        );
        for face in faces(&url) {
            let error = call!(face.set("k", &1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(error.to_string().contains("write redis://"), "{error}");
        }
        // Others say something that is not TLS.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let _ = client.unwrap().write_all(b"-ERR unknown command\r\n");
            }
        });
        each_says(
            &redis.tls_url_at(&address),
            ErrorKind::Connect,
            &["write redis://"],
        )
        .await;
        for protocol in ["", "?protocol=2", "?protocol=3"] {
            let url = format!("redis://{}{protocol}", redis.tls_address());
            each_says(&url, ErrorKind::Connect, &["rediss://"]).await;
        }
    });
}

/// Client and server change to certificates of another CA while the caches are open.
#[test]
fn renewed_certificates_are_used_from_the_next_connect_on() {
    let redis = SecureRedis::start();
    let other = Authority::new();
    let files = Authority::new();
    let (ca, cert, key) = (files.file("ca"), files.file("cert"), files.file("key"));
    let put = |from: &Authority| {
        let client = from.issue(&["a-client"]);
        fs::copy(from.ca(), &ca).unwrap();
        fs::copy(&client.cert, &cert).unwrap();
        fs::copy(&client.key, &key).unwrap();
    };
    put(redis.authority());
    let memory = |file| fs::read(file).unwrap();
    let (ca_pem, cert_pem, key_pem) = (memory(&ca), memory(&cert), memory(&key));
    let from_memory = Tls::new().ca_pem(ca_pem).identity_pem(cert_pem, key_pem);
    let bare = format!("rediss://{}?breaker=off&timeout=20s", redis.tls_address());
    let fixed = Cache::builder(&bare).tls(from_memory).build().unwrap();
    let url = format!(
        "{bare}&ca={}&cert={}&key={}",
        ca.display(),
        cert.display(),
        key.display()
    );
    run(async {
        let open = faces(&url);
        for face in &open {
            call!(face.set("k", &1)).unwrap();
        }
        fixed.set("k", &1).await.unwrap();
        let shown = other.issue(&NAMES);
        let said = redis.inline(&format!(
            "CONFIG SET tls-ca-cert-file {} tls-cert-file {} tls-key-file {}",
            other.ca().display(),
            shown.cert.display(),
            shown.key.display()
        ));
        assert!(said.starts_with("+OK"), "{said}");
        redis.inline("CLIENT KILL TYPE normal");
        // What is on the disk is of yesterday.
        for face in &open {
            let tried = async || call!(face.set("k", &2));
            let mut outcome = tried().await;
            if outcome.is_ok() {
                panic!("{face:?}: the old certificates are not good any more");
            }
            outcome = tried().await;
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Connect);
        }
        put(&other);
        for face in &open {
            call!(face.set("k", &3)).unwrap();
        }
        assert!(fixed.set("k", &4).await.is_err(), "what is in memory stays");
        assert_eq!(redis.inline("GET k"), "3");
        // A renewal that is not complete: what was read before is still good.
        fs::write(&cert, "").unwrap();
        redis.inline("CLIENT KILL TYPE normal");
        for face in &open {
            eventually("the connection is closed", || {
                !redis.inline("CLIENT LIST").contains("lib-name=nearcache")
            });
            call!(face.get::<u8>("k")).unwrap();
            call!(face.set("k", &5)).unwrap();
        }
    });
}

/// The server takes the connection, and then nothing comes: before the handshake, and in the middle of it.
#[test]
fn a_handshake_that_stands_still_ends_at_the_calls_limit() {
    let redis = SecureRedis::start();
    let way = Way::to(redis.tls_port());
    let url = redis.tls_url_at(&way.address());
    run(async {
        for options in ["timeout=150ms", "timeout=20s&connect_timeout=150ms"] {
            for face in faces(&format!("{url}&breaker=off&{options}")) {
                way.stall(true);
                let begun = Instant::now();
                for _ in 0..3 {
                    let error = call!(face.set("k", &1)).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                    let text = error.to_string();
                    assert!(text.contains("ms in the TLS handshake"), "{text}");
                    assert!(text.contains("write redis://"), "{text}");
                }
                // Far from the other limits, in which a loaded machine might be late.
                assert!(begun.elapsed() < Duration::from_secs(15));
                way.stall(false);
                let patient = face.within(Duration::from_secs(20));
                eventually_set(&patient).await;
            }
        }
    });
}

/// Until the connection that was begun in vain is given up.
async fn eventually_set(face: &Face) {
    let since = Instant::now();
    while let Err(error) = call!(face.set("k", &1)) {
        assert!(since.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_server_that_was_killed_and_comes_back_is_found_and_gets_what_was_kept() {
    for blocking in [false, true] {
        let mut redis = SecureRedis::start();
        let url = format!("{}&breaker=off&timeout=5s&prefix=app", redis.tls_url());
        let face = match blocking {
            true => Face::Blocking(blocking::Cache::open(&url).unwrap()),
            false => Face::Async(Cache::open(&url).unwrap()),
        };
        run(async {
            call!(face.set("k", &1)).unwrap();
            redis.kill();
            let error = call!(face.get::<u8>("k")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
            let error = call!(face.delete("k")).unwrap_err();
            assert!(error.is_deferred(), "{error}");
            redis.restart();
            redis.inline("SET app:k 2");
            // What was kept is sent first.
            assert_eq!(call!(face.get::<u8>("k")).unwrap(), None);
            call!(face.set("k", &3)).unwrap();
            assert_eq!(redis.inline("GET app:k"), "3");
        });
    }
}

/// A client of redis-rs that uses TLS says where, and not with which certificates.
#[test]
fn a_client_over_tls_is_a_place_for_a_cache() {
    let redis = SecureRedis::start();
    let info = redis::IntoConnectionInfo::into_connection_info("redis://localhost").unwrap();
    let client = |insecure| {
        let address = redis::ConnectionAddr::TcpTls {
            host: "localhost".to_owned(),
            port: redis.tls_port(),
            insecure,
            tls_params: None,
        };
        redis::Client::open(info.clone().set_addr(address)).unwrap()
    };
    let shown = redis.client();
    let identity = || Tls::new().identity_files(&shown.cert, &shown.key);
    run(async {
        let trusting = identity().ca_file(redis.authority().ca());
        for (insecure, tls) in [(false, trusting), (true, identity())] {
            let cache = Cache::builder("redis://?prefix=app").client(&client(insecure));
            cache.tls(tls).build().unwrap().set("k", &1).await.unwrap();
        }
        assert_eq!(redis.inline("GET app:k"), "1");
        let cache = Cache::builder("redis://").client(&client(false)).build();
        let error = cache.unwrap().ping().await.unwrap_err();
        assert!(error.to_string().contains("ca=FILE"), "{error}");
        let plain = redis::Client::open(redis.url()).unwrap();
        let refused = Cache::builder("redis://")
            .client(&plain)
            .tls(identity())
            .build();
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("not over TLS"), "{error}");
    });
}

/// A Cluster of one node.
#[cfg(feature = "cluster")]
#[test]
fn a_cluster_is_reached_over_tls() {
    let bus = nearcache_testkit::Port::unused();
    let bus_number = bus.number().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus_number];
    let redis = SecureRedis::start_with(&[&cluster[..], &["--tls-cluster", "yes"]].concat());
    redis.inline("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually("the Cluster is there", || {
        redis.inline("CLUSTER INFO").contains("cluster_state:ok")
    });
    let url = redis.tls_url().replace("rediss://", "rediss-cluster://");
    run(async {
        for face in faces(&format!("{url}&prefix=app&timeout=20s")) {
            call!(face.set_many([("a", 1), ("b", 2), ("c", 3)])).unwrap();
            let found = call!(face.get_many::<u8>(["a", "b", "c"])).unwrap();
            assert_eq!(found.into_iter().flatten().sum::<u8>(), 6);
            call!(face.clear()).unwrap();
        }
    });
}

#[test]
fn each_cache_that_accepts_any_certificate_is_warned_of() {
    let redis = SecureRedis::start();
    let url = format!("{}&tls_verify=none", redis.tls_url());
    let logs = Logs::of_this_thread();
    let caches = faces(&url);
    let text = logs.text();
    let warnings = text.matches("TLS WITHOUT VERIFICATION").count();
    assert_eq!(warnings, caches.len(), "{text}");
    assert!(text.contains("WARN"), "{text}");
    assert!(text.contains(&redis.tls_address()), "{text}");
    drop(faces(&redis.tls_url()));
    assert_eq!(logs.count("TLS WITHOUT VERIFICATION"), warnings);
}
