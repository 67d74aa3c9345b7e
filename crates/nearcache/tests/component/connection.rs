//! Where its server is, and as whom it goes there.

use std::fs;
use std::sync::Arc;

use nearcache::ErrorKind;
use nearcache::compat::component::{
    Component, Context, CredentialStore, Discovery, InEnvironment, InFile, InMemory, Params,
    References, Resolving,
};
use nearcache_testkit::{Port, Redis, random_prefix};

use crate::either::{Either, at};
use crate::face::run;
use crate::target::Target;

brief_suite! {
    a_discovery_service_says_where_it_is,
    a_service_that_is_missing_fails_or_knows_nothing_is_told,
}

/// Where a server is, as its parameters say it.
fn of(redis: &Redis) -> Params {
    Params::from([
        ("host", "127.0.0.1".to_owned()),
        ("port", redis.port().to_string()),
    ])
}

async fn a_discovery_service_says_where_it_is(target: Target) {
    let prefix = random_prefix();
    let services = InMemory::new().with("redis", Params::from([("uri", target.url(&prefix))]));
    let component = Either::new(target);
    component.configure(&Params::from([
        ("connection.discovery_key", "redis"),
        ("options.prefix", &prefix),
    ]));
    component.set_references(&References::new().discovery("default", services.clone()));
    on!(component.open("123")).unwrap();
    on!(component.store("123", "k", 1, None)).unwrap();
    assert_eq!(on!(component.retrieve::<i32>("123", "k")).unwrap(), Some(1));
    // What is registered later holds from the next opening on.
    services.register("redis", Params::from([("port", "junk")]));
    assert_eq!(on!(component.retrieve::<i32>("123", "k")).unwrap(), Some(1));
    on!(component.close("123")).unwrap();
    assert_eq!(
        on!(component.open("123")).unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

async fn a_service_that_is_missing_fails_or_knows_nothing_is_told(target: Target) {
    #[derive(Debug)]
    struct Broken;

    impl Discovery for Broken {
        fn resolve<'a>(&'a self, context: &'a Context, _: &'a str) -> Resolving<'a> {
            assert_eq!(context.trace_id(), Some("123"));
            Box::pin(async { Err("the zone is on fire".into()) })
        }
    }

    impl CredentialStore for Broken {
        fn lookup<'a>(&'a self, _: &'a Context, _: &'a str) -> Resolving<'a> {
            Box::pin(async { Err("the vault is sealed".into()) })
        }
    }

    let discovery = Params::from([("connection.discovery_key", "redis")]);
    let vault = at(target, &random_prefix()).with("credential.store_key", "app");
    for (params, references, kind, says) in [
        (
            &discovery,
            None,
            ErrorKind::Unresolved,
            "*:discovery:*:*:1.0",
        ),
        (
            &discovery,
            Some(References::new()),
            ErrorKind::Unresolved,
            "there is no discovery service",
        ),
        (
            &discovery,
            Some(References::new().credential_store("x", InMemory::new())),
            ErrorKind::Unresolved,
            "redis",
        ),
        (
            &discovery,
            Some(References::new().discovery("x", InMemory::new())),
            ErrorKind::NoConnection,
            "knows redis",
        ),
        (
            &discovery,
            Some(References::new().discovery("x", Broken)),
            ErrorKind::Unresolved,
            "the zone is on fire",
        ),
        (
            &vault,
            None,
            ErrorKind::Unresolved,
            "*:credential-store:*:*:1.0",
        ),
        (
            &vault,
            Some(References::new().credential_store("x", InMemory::new())),
            ErrorKind::Unresolved,
            "knows \"app\"",
        ),
        (
            &vault,
            Some(References::new().credential_store("x", Broken)),
            ErrorKind::Unresolved,
            "the vault is sealed",
        ),
    ] {
        let component = Either::new(target);
        component.configure(params);
        if let Some(references) = references {
            component.set_references(&references);
        }
        let error = on!(component.open("123")).unwrap_err();
        assert_eq!(
            (error.kind(), error.trace_id()),
            (kind, Some("123")),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert!(!component.is_open());
    }
}

/// Whether a component of these parameters gets through to its server.
async fn reaches(params: Params, references: &References) -> Result<(), nearcache::Error> {
    let component = Component::new();
    component.configure(
        &params
            .with("options.call_timeout", 10_000)
            .with("options.retries", 0),
    );
    component.set_references(references);
    component.open(None).await?;
    component
        .store(None, &random_prefix(), 1, None)
        .await
        .map(drop)
}

#[test]
fn a_connection_can_be_said_in_every_way() {
    let redis = Redis::start();
    let (port, none) = (redis.port().to_string(), References::new());
    let unused = Port::unused();
    let nobody = unused.to_string();
    run(async {
        for params in [
            Params::from([("host", "127.0.0.1"), ("port", &port)]),
            Params::from([("connection.host", "127.0.0.1"), ("connection.port", &port)]),
            Params::from([("connection.ip", "127.0.0.1"), ("connection.port", &port)]),
            Params::from([("connection.port", &port)]),
            Params::from([("connection.uri", redis.url())]),
            Params::from([("uri", redis.url())]),
            // The first that says itself where it is.
            Params::from([
                ("connections.0.discovery_key", "unknown"),
                ("connections.2.port", &port),
                ("connections.10.port", &nobody),
            ]),
            Params::from([("connections.port", &port)]),
        ] {
            reaches(params.clone(), &none)
                .await
                .unwrap_or_else(|error| panic!("{params:?}: {error}"));
        }
        let error = reaches(Params::from([("connection.port", "junk")]), &none)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("connection.port: expected a number from 1 to 65535"),
            "{error}"
        );
        let error = reaches(
            Params::from([("connection.uri", "redis://:hunter2@h:x")]),
            &none,
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    });
}

#[test]
fn services_in_memory_environment_and_file_are_asked_in_turn() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let folder = std::env::temp_dir().join(random_prefix());
    fs::create_dir(&folder).unwrap();
    let (toml, json) = (
        folder.join("services.toml"),
        folder.join("credentials.json"),
    );
    fs::write(
        &toml,
        "[main.redis]\nhost = \"127.0.0.1\"\nport = \"{{PORT}}\"",
    )
    .unwrap();
    fs::write(&json, r#"{"app": {"username": "x", "password": "s3cret"}}"#).unwrap();
    let port = redis.port().to_string();
    let vars = [
        ("MAIN_REDIS_HOST", "127.0.0.1"),
        ("MAIN_REDIS_PORT", &port),
        ("APP_PASSWORD", "s3cret"),
        ("PORT", &port),
    ];
    let by_key = Params::from([
        ("connection.discovery_key", "main.redis"),
        ("credential.store_key", "app"),
    ]);
    let credentials = InMemory::new().with("app", Params::from([("password", "s3cret")]));
    run(async {
        for references in [
            References::new()
                .discovery("memory", InMemory::new().with("main.redis", of(&redis)))
                .credential_store("memory", credentials.clone()),
            References::new()
                .discovery("empty", InMemory::new())
                .discovery("environment", InEnvironment::new().vars(vars))
                .credential_store("empty", InMemory::new())
                .credential_store("environment", InEnvironment::new().vars(vars)),
            References::new()
                .discovery_at(
                    "ours:discovery:file:default:1.0".parse().unwrap(),
                    Arc::new(InFile::new(&toml).vars(vars)),
                )
                .credential_store_at(
                    "ours:credential-store:file:default:1.0".parse().unwrap(),
                    Arc::new(InFile::new(&json)),
                ),
        ] {
            reaches(by_key.clone(), &references).await.unwrap();
            assert!(
                !format!("{references:?}").contains("s3cret"),
                "{references:?}"
            );
        }
        // Of another version, it is another service.
        let other = References::new().discovery_at(
            "ours:discovery:file:default:2.0".parse().unwrap(),
            Arc::new(InFile::new(&toml).vars(vars)),
        );
        assert_eq!(
            reaches(by_key.clone(), &other).await.unwrap_err().kind(),
            ErrorKind::Unresolved
        );
        // What is found out and what is configured are put together; what is found out goes first.
        let half = References::new().discovery(
            "memory",
            InMemory::new().with("key", Params::from([("port", &port)])),
        );
        let params = Params::from([
            ("connection.discovery_key", "key"),
            ("connection.host", "127.0.0.1"),
            ("connection.port", "1"),
            ("credential.password", "s3cret"),
        ]);
        reaches(params, &half).await.unwrap();
        // A file that is not there.
        let missing = References::new().discovery("file", InFile::new(folder.join("no.toml")));
        let error = reaches(by_key.clone(), &missing).await.unwrap_err();
        assert!(
            error.to_string().contains("no.toml") && error.to_string().contains("cannot be read"),
            "{error}"
        );
    });
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_username_is_used_when_the_option_says_so() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    redis.inlines(&["AUTH s3cret", "ACL SETUSER app on >apps-own ~* +@all"]);
    let with = |pairs: &[(&str, &str)]| {
        pairs.iter().fold(
            Params::from([("connection.uri", redis.url())]),
            |params, (name, value)| params.with(*name, value),
        )
    };
    run(async {
        let none = References::new();
        // The password alone: the default user's.
        reaches(
            with(&[
                ("credential.username", "app"),
                ("credential.password", "s3cret"),
            ]),
            &none,
        )
        .await
        .unwrap();
        reaches(
            with(&[
                ("credentials.0.user", "app"),
                ("credentials.0.pass", "s3cret"),
            ]),
            &none,
        )
        .await
        .unwrap();
        let apps = [("credential.user", "app"), ("credential.pass", "apps-own")];
        let error = reaches(with(&apps), &none).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth);
        assert!(!format!("{error:?}").contains("apps-own"), "{error:?}");
        reaches(with(&apps).with("options.use_username", "true"), &none)
            .await
            .unwrap();
    });
}
