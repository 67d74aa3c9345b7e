//! Opening and closing.

use nearcache::ErrorKind;
use nearcache::compat::component::{self, Component, Context, Descriptor, Params};
use nearcache_testkit::{Port, random_prefix};

use crate::either::{Either, at, open};
use crate::target::Target;

brief_suite! {
    it_is_not_open_at_first_and_needs_a_connection,
    a_call_that_comes_too_early_or_too_late_says_so,
    it_is_closed_and_opened_as_often_as_you_like,
    opening_needs_no_server,
    a_context_is_nothing_a_text_or_a_context,
}

async fn it_is_not_open_at_first_and_needs_a_connection(target: Target) {
    let component = Either::new(target);
    assert!(!component.is_open());
    let error = on!(component.open("123")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::NoConnection, Some("123"))
    );
    assert!(error.to_string().contains("connection.host"), "{error}");
    assert!(!component.is_open());
    // Options alone say nothing of where it is.
    component.configure(&Params::from([("options.retries", 1)]));
    assert_eq!(
        on!(component.open("123")).unwrap_err().kind(),
        ErrorKind::NoConnection
    );
    component.configure(&at(target, &random_prefix()));
    on!(component.open("123")).unwrap();
    assert!(component.is_open());
}

async fn a_call_that_comes_too_early_or_too_late_says_so(target: Target) {
    let component = Either::new(target);
    component.configure(&at(target, &random_prefix()));
    for _ in 0..2 {
        let errors = [
            on!(component.store("123", "k", 1, None)).unwrap_err(),
            on!(component.retrieve::<i32>("123", "k")).unwrap_err(),
            on!(component.remove::<i32>("123", "k")).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(
                (error.kind(), error.trace_id()),
                (ErrorKind::NotOpen, Some("123"))
            );
            assert!(error.to_string().contains("trace id 123"), "{error}");
        }
        on!(component.open("123")).unwrap();
        on!(component.store("123", "k", 1, None)).unwrap();
        on!(component.close("123")).unwrap();
    }
}

async fn it_is_closed_and_opened_as_often_as_you_like(target: Target) {
    let (component, prefix) = open(target, Params::new()).await;
    on!(component.open("123")).unwrap();
    on!(component.store("123", "k", "v", None)).unwrap();
    // What keeps an embedded store is one that has it open.
    let other = Either::new(target);
    other.configure(&at(target, &prefix));
    on!(other.open(None)).unwrap();
    on!(component.close("123")).unwrap();
    on!(component.close("123")).unwrap();
    assert!(!component.is_open());
    assert_eq!(
        on!(other.retrieve::<String>(None, "k")).unwrap().as_deref(),
        Some("v")
    );
    on!(component.open("123")).unwrap();
    assert_eq!(
        on!(component.retrieve::<String>("123", "k"))
            .unwrap()
            .as_deref(),
        Some("v")
    );
}

async fn opening_needs_no_server(target: Target) {
    let component = Either::new(target);
    let nobody = Port::unused();
    component.configure(&Params::from([("connection.port", &nobody)]).with("options.retries", 0));
    on!(component.open("123")).unwrap();
    assert!(component.is_open());
    let error = on!(component.retrieve::<i32>("123", "k")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::Connect, Some("123"))
    );
    assert!(error.to_string().contains("localhost:"), "{error}");
}

async fn a_context_is_nothing_a_text_or_a_context(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    let context = Context::from("123");
    on!(component.store(None, "k", "ABC", None)).unwrap();
    on!(component.store("123", "k", "ABC", None)).unwrap();
    on!(component.store("123".to_owned(), "k", "ABC", None)).unwrap();
    on!(component.store(&context, "k", "ABC", None)).unwrap();
    on!(component.store(context, "k", "ABC", None)).unwrap();
    assert_eq!(
        on!(component.retrieve::<String>(None, "k"))
            .unwrap()
            .as_deref(),
        Some("ABC")
    );
    on!(component.close(None)).unwrap();
    assert_eq!(
        on!(component.retrieve::<String>("", "k"))
            .unwrap_err()
            .trace_id(),
        None
    );
}

#[test]
fn a_factory_finds_it_by_its_descriptor() {
    for (text, ours) in [
        ("pip-services:cache:redis:default:1.0", true),
        ("*:cache:*:*:1.0", true),
        ("pip-services:cache:memory:default:1.0", false),
        ("pip-services:cache:redis:default:2.0", false),
    ] {
        let descriptor: Descriptor = text.parse().unwrap();
        assert_eq!(component::create(&descriptor).is_some(), ours, "{text}");
    }
    let error = "cache:redis".parse::<Descriptor>().unwrap_err();
    assert!(
        error.to_string().contains("group:type:kind:name:version"),
        "{error}"
    );
}

#[test]
fn it_crosses_threads_and_shows_no_password() {
    fn check<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let component = std::sync::Arc::new(Component::new());
    component.configure(
        &Params::from([("connection.uri", "redis://:hunter2@h")])
            .with("credential.password", "hunter2")
            .with("credentials.0.pass", "hunter2"),
    );
    check(&component);
    crate::face::run(async {
        component.open(None).await.unwrap();
        assert!(
            !format!("{component:?}").contains("hunter2"),
            "{component:?}"
        );
        // A call can be a task of its own.
        let other = component.clone();
        component.configure(&Params::from([("connection.uri", "memory://")]));
        component.close(None).await.unwrap();
        component.open(None).await.unwrap();
        let task = tokio::spawn(async move {
            other.store("123", "k", "v".to_owned(), None).await?;
            let value = other.retrieve::<String>("123", "k").await?;
            other.remove::<String>("123", "k").await?;
            other.close("123").await?;
            Ok::<_, nearcache::Error>(value)
        });
        assert_eq!(task.await.unwrap().unwrap().as_deref(), Some("v"));
    });
}
