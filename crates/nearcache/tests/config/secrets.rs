//! A password is shown nowhere, however wrong the configuration is in which it stands.

use nearcache::config::{CacheConfig, Config};
use proptest::prelude::*;

const SECRET: &str = "hunter2";

#[test]
fn no_debug_and_no_display_shows_one() {
    let config = Config::reader()
        .vars([("PASSWORD", SECRET)])
        .toml(
            "url = \"redis://app:hunter2@h?password=hunter2\"\npassword = \"{{PASSWORD}}\"\n\
             [caches.a]\npassword = \"hunter2\"\n[caches.b]\nurl = \"redis://:hunter2@h\"",
        )
        .unwrap();
    let a = config.settings("a").unwrap();
    for text in [
        format!("{config:?}"),
        format!("{config:#?}"),
        config.to_string(),
        format!("{a:?} {a}"),
        config.effective("a").unwrap().to_string(),
        format!("{:?}", config.effective("b").unwrap()),
        format!("{:?}", config.cache("a").unwrap()),
        format!("{:?}", a.builder().unwrap()),
        format!("{:?} {:?} {}", a.password, a.url, a.url.as_ref().unwrap()),
        format!("{:?}", Config::reader().vars([("PASSWORD", SECRET)])),
    ] {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("***") || text.contains("PASSWORD"), "{text}");
    }
    assert!(
        config.to_toml().contains(SECRET),
        "a program can read it again"
    );
}

#[test]
fn no_error_shows_one() {
    let reader = Config::reader().vars([
        ("PASSWORD", SECRET),
        ("NEARCACHE_DB", SECRET),
        ("NEARCACHE_URL", SECRET),
    ]);
    for toml in [
        // Not closed, not quoted, twice, of another type.
        "password = \"hunter2",
        "password = hunter2",
        "password = \"hunter2\" \"hunter2\"",
        "password = \"hunter2\"\npassword = \"hunter2\"",
        "password = \"hunter2\\q\"",
        "password = [\"hunter2\"]",
        "password = { hunter2 = 1 }\ndb = \"x\"",
        "= \"hunter2\"",
        "[caches.a]\npassword = \"{{hunter2 }}x{{hunter2",
        // Where another option stands.
        "db = \"hunter2\"",
        "breaker = \"{{PASSWORD}}\"",
        "protocol = \"hunter2\"",
        "timeout = \"hunter2\"",
        "default_ttl = \"{{PASSWORD}}\"",
        "url = \"{{PASSWORD}}\"",
        "url = \"redis://:{{PASSWORD}}@h:port\"",
        "url = \"hunter2\"",
        "on_data_loss = \"hunter2\"",
        // Beside something that is wrong.
        "password = \"hunter2\"\nnonsense = 1",
        "password = \"{{PASSWORD}}{{NO_SUCH_NAME}}\"",
        "password = \"hunter2{{\"",
    ] {
        let error = reader.toml(toml).expect_err(toml);
        let text = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(!text.contains(SECRET), "{toml}: {text}");
    }
    for json in [
        "{\"password\": \"hunter2}",
        "{\"password\": hunter2}",
        "\"hunter2\"",
        "{\"password\": [\"hunter2\"]}",
        "{\"caches\": \"hunter2\"}",
    ] {
        let error = reader.json(json).expect_err(json).to_string();
        assert!(!error.contains(SECRET), "{json}: {error}");
        let error = serde_json::from_str::<Config>(json)
            .expect_err(json)
            .to_string();
        let ours = serde_json::from_str::<CacheConfig>(json)
            .expect_err(json)
            .to_string();
        assert!(
            !error.contains(SECRET) && !ours.contains(SECRET),
            "{json}: {error} {ours}"
        );
    }
    let error = reader.environment().unwrap_err().to_string();
    assert!(!error.contains(SECRET), "{error}");

    let mut wrong = CacheConfig::at("redis://:hunter2@h:port");
    wrong.password = Some(SECRET.into());
    for error in [wrong.cache().unwrap_err(), wrong.effective().unwrap_err()] {
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
}

proptest! {
    #[test]
    fn no_error_shows_one_whatever_is_wrong(before in "[a-z=\"'\\[\\]{}. \n]{0,20}", after in "[a-z=\"'\\[\\]{}. \n]{0,20}") {
        let texts = [
            format!("{before}password = \"hunter2\"{after}"),
            format!("password = {before}hunter2{after}"),
            format!("{{\"password\": {before}\"hunter2\"{after}}}"),
        ];
        for text in texts {
            for outcome in [Config::from_toml(&text), Config::from_json(&text)] {
                let shown = match outcome {
                    Ok(config) => format!("{config:?} {config}"),
                    Err(error) => format!("{error:?}"),
                };
                prop_assert!(!shown.contains("\"hunter2\""), "{}: {}", text, shown);
            }
        }
    }
}
