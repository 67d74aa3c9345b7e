//! `rediss-sentinel://`: TLS to the Sentinels, and to the servers that they name.

use std::fs;

use nearcache::ErrorKind;
use nearcache_testkit::{SecureRedis, Sentinels};

use crate::site::both;

#[test]
fn sentinels_and_servers_are_spoken_to_over_tls() {
    let anonymous = ["--tls-auth-clients", "no"];
    let server = SecureRedis::start_with(&anonymous);
    let sentinel = SecureRedis::start_with(&["--sentinel", "--tls-auth-clients", "no"]);
    let (name, port) = (Sentinels::MASTER, server.tls_port());
    let said = sentinel.inline(&format!("SENTINEL MONITOR {name} 127.0.0.1 {port} 3"));
    assert!(said.starts_with("+OK"), "{said}");
    // Each has an authority of its own.
    let both_of_them = server.authority().file("both.pem");
    let pem = |redis: &SecureRedis| fs::read_to_string(redis.authority().ca()).unwrap();
    fs::write(&both_of_them, format!("{}{}", pem(&server), pem(&sentinel))).unwrap();
    let address = sentinel.tls_address();
    both(async |way| {
        for scheme in ["rediss-sentinel", "valkeys-sentinel"] {
            let url = format!("{scheme}://{address}/{name}?ca={}", both_of_them.display());
            let cache = way.open(&url, "");
            call!(cache.set("k", &1)).unwrap();
            assert_eq!(server.inline("GET app:k"), "1");
        }
        // The servers' certificates are checked as the Sentinels' are.
        let url = format!(
            "rediss-sentinel://{address}/{name}?ca={}",
            sentinel.authority().ca().display()
        );
        let cache = way.open(&url, "&breaker=off");
        let error = call!(cache.ping()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        assert!(error.to_string().contains(&server.tls_address()), "{error}");
    });
}
