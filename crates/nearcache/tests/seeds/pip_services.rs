//! pip-services, "RedisCache": the component, in the order of its page.

use std::sync::Arc;
use std::time::Duration;

use nearcache::compat::component::{
    self, Component, Configurable, Context, Descriptor, InMemory, Openable, Params, Referenceable,
    References, ValueCache,
};
use nearcache::operation::Blocking;
use nearcache::{ErrorKind, Remaining, blocking};
use nearcache_testkit::{Port, Redis, random_prefix};
use serde::{Deserialize, Serialize};

use crate::either::{Either, at, open, prefix};
use crate::face::run;
use crate::target::{Target, keys_matching};

suite! {
    it_implements_the_four_interfaces,
    the_constructor_creates_one_that_is_not_open,
    close_closes_and_frees,
    configure_takes_parameters,
    is_open_says_whether_it_is,
    open_opens,
    remove_returns_the_removed_value,
    retrieve_returns_the_value_or_none,
    set_references_locates_the_dependencies,
    store_returns_the_stored_value_and_takes_milliseconds,
    the_cache_beneath_has_everything_else,
}

suite! {@on examples_embedded, asynchronous, Embedded: the_options_have_their_defaults}
suite! {@on examples_redis, asynchronous, RedisResp3: the_options_have_their_defaults}

/// "Implements: ICache, IReferenceable, IConfigurable, IOpenable": each can be behind a `dyn`.
async fn it_implements_the_four_interfaces(target: Target) {
    let prefix = prefix(target);
    let (params, context) = (at(target, &prefix), Context::from("123"));
    macro_rules! used {
        ($component:expr, $mode:ty, $($end:tt)*) => {{
            let component = Arc::new($component);
            let configurable: Arc<dyn Configurable> = component.clone();
            configurable.configure(&params);
            let referenceable: Arc<dyn Referenceable> = component.clone();
            referenceable.set_references(&References::new());
            let openable: Arc<dyn Openable<$mode>> = component.clone();
            assert!(!openable.is_open());
            openable.open(&context)$($end)*.unwrap();
            assert!(openable.is_open());

            let cache: Arc<dyn ValueCache<$mode>> = component;
            let stored = cache.store(&context, "text", &"ABC", None)$($end)*.unwrap();
            assert_eq!(stored.as_deref(), Some("ABC"));
            let text = cache.retrieve(&context, "text")$($end)*.unwrap();
            assert_eq!(text.as_deref(), Some("ABC"));
            let stored = cache.store(&context, "list", &[1, 2], None)$($end)*.unwrap();
            assert_eq!(stored.as_deref(), Some("[1,2]"));
            let list = cache.retrieve_as::<Vec<u8>>(&context, "list")$($end)*.unwrap();
            assert_eq!(list, Some(vec![1, 2]));
            assert_eq!(cache.retrieve_as::<u8>(&context, "text")$($end)*.unwrap(), None);
            let removed = cache.remove(&context, "list")$($end)*.unwrap();
            assert_eq!(removed.as_deref(), Some("[1,2]"));
            assert_eq!(cache.retrieve(&context, "list")$($end)*.unwrap(), None);
            // Nothing removes.
            assert_eq!(cache.store(&context, "text", &(), None)$($end)*.unwrap(), None);
            assert_eq!(cache.retrieve(&context, "text")$($end)*.unwrap(), None);

            openable.close(&context)$($end)*.unwrap();
            let error = cache.retrieve(&context, "text")$($end)*.unwrap_err();
            assert_eq!((error.kind(), error.trace_id()), (ErrorKind::NotOpen, Some("123")));
        }};
    }
    if target.is_blocking() {
        used!(blocking::Component::new(), Blocking, .run());
    } else {
        used!(Component::new(), nearcache::operation::Async, .await);
    }
}

/// "connection(s): host, port, uri", "credential(s): username (currently is not used), password".
#[test]
fn a_connection_is_a_host_and_a_port_or_a_uri_and_a_credential_a_password() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let port = redis.port().to_string();
    let secret = redis.url().replace("redis://", "redis://:s3cret@");
    let parameters = [
        vec![
            ("connection.host", "127.0.0.1"),
            ("connection.port", &*port),
            ("credential.password", "s3cret"),
        ],
        vec![
            ("connections.0.host", "127.0.0.1"),
            ("connections.0.port", &port),
            ("credentials.0.password", "s3cret"),
        ],
        // The username is not used: the server knows none of that name.
        vec![
            ("host", "127.0.0.1"),
            ("port", &port),
            ("credential.username", "nobody"),
            ("credential.password", "s3cret"),
        ],
        vec![("connection.uri", &secret)],
    ];
    run(async {
        for params in parameters {
            let component = Component::new();
            let params: Params = params.into_iter().collect();
            component.configure(&params.with("options.prefix", random_prefix()));
            component.open("123").await.unwrap();
            let stored = component.store("123", "key1", "ABC", None).await;
            assert_eq!(stored.unwrap(), "ABC", "{component:?}");
            assert!(
                !format!("{component:?}").contains("s3cret"),
                "{component:?}"
            );
        }
    });
}

/// "discovery_key: (optional) key to retrieve the connection from IDiscovery"; "store_key: key to retrieve parameters from
/// ICredentialStore".
#[test]
fn connections_and_credentials_are_found_by_their_keys() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]);
    let found = Params::from([("host", "127.0.0.1")]).with("port", redis.port());
    let services = InMemory::new().with("main", found);
    let secrets = InMemory::new().with("app", Params::from([("password", "s3cret")]));
    run(async {
        let component = Component::new();
        component.configure(&Params::from([
            ("connection.discovery_key", "main"),
            ("credential.store_key", "app"),
        ]));
        component.set_references(
            &References::new()
                .discovery("default", services)
                .credential_store("default", secrets),
        );
        component.open("123").await.unwrap();
        component.store("123", "key1", "ABC", None).await.unwrap();
        let value: Option<String> = component.retrieve("123", "key1").await.unwrap();
        assert_eq!(value.as_deref(), Some("ABC"));
    });
}

/// "options: retries (default: 3), timeout: default caching timeout in milliseconds (default: 1 minute), max_size: maximum
/// number of values stored in this cache (default: 1000)".
async fn the_options_have_their_defaults(target: Target) {
    let (component, prefix) = open(target, Params::new()).await;
    on!(component.store("123", "k", 1, None)).unwrap();
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let Remaining::In(left) = call!(cache.ttl("k")).unwrap() else {
        panic!("it expires")
    };
    assert!((20..=60).contains(&left.as_secs()), "{left:?}");
    for number in 0..1_010 {
        on!(component.store("123", &number.to_string(), 1, None)).unwrap();
    }
    assert_eq!(keys_matching(&cache, b"*").await.len(), 1_000);

    let params = Params::from([("options.timeout", 50_000), ("options.max_size", 2)]);
    let (component, prefix) = open(target, params).await;
    for key in ["a", "b", "c"] {
        on!(component.store("123", key, 1, None)).unwrap();
    }
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    assert_eq!(keys_matching(&cache, b"*").await.len(), 2);
    let left = call!(cache.ttl("c")).unwrap().duration().unwrap();
    assert!(left <= Duration::from_secs(50), "{left:?}");
}

/// "References: *:discovery:*:*:1.0 – (optional), *:credential-store:*:*:1.0 – (optional)".
#[test]
fn a_factory_knows_it_and_references_have_descriptors() {
    let descriptor: Descriptor = "pip-services:cache:redis:default:1.0".parse().unwrap();
    assert!(component::create(&descriptor).is_some());
    let discovery: Descriptor = "*:discovery:*:*:1.0".parse().unwrap();
    assert!(discovery.matches(&"ours:discovery:zone:main:1.0".parse().unwrap()));
    assert!(!discovery.matches(&"ours:discovery:zone:main:2.0".parse().unwrap()));
    assert!(component::create(&discovery).is_none());
}

/// "Creates a new instance of this cache. RedisCache()"
async fn the_constructor_creates_one_that_is_not_open(target: Target) {
    let component = Either::new(target);
    assert!(!component.is_open());
    let error = on!(component.retrieve::<String>("123", "key1")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::NotOpen, Some("123"))
    );
}

/// "Closes a component and frees used resources. close(context: Optional[IContext])"
async fn close_closes_and_frees(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    on!(component.close(None)).unwrap();
    assert!(!component.is_open());
    on!(component.close("123")).unwrap();
    let error = on!(component.store("123", "k", 1, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOpen);
    on!(component.open("123")).unwrap();
    on!(component.store("123", "k", 1, None)).unwrap();
}

/// "Configures a component by passing its configuration parameters."
async fn configure_takes_parameters(target: Target) {
    let component = Either::new(target);
    let error = on!(component.open("123")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::NoConnection, Some("123"))
    );
    component.configure(&at(target, &prefix(target)));
    on!(component.open("123")).unwrap();
    let wrong = Either::new(target);
    wrong.configure(&Params::from([("connection.port", "junk")]));
    assert_eq!(
        on!(wrong.open("123")).unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

/// "Checks if the component is open. True if the component is open and false otherwise."
async fn is_open_says_whether_it_is(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    assert!(component.is_open());
    on!(component.close("123")).unwrap();
    assert!(!component.is_open());
}

/// "Opens the component. context – (optional) a context to trace execution through a call chain."
async fn open_opens(target: Target) {
    let component = Either::new(target);
    component.configure(&at(target, &prefix(target)));
    on!(component.open(None)).unwrap();
    on!(component.open("123")).unwrap();
    on!(component.open(&Context::from("123"))).unwrap();
    assert!(component.is_open());
    // It does not connect: without a server it opens, and calls fail.
    let nowhere = Either::new(target);
    let port = Port::unused();
    nowhere.configure(&Params::from([("connection.port", &port)]).with("options.retries", 0));
    on!(nowhere.open("123")).unwrap();
    let error = on!(nowhere.retrieve::<String>("123", "key1")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::Connect, Some("123"))
    );
}

/// "Removes a value from the cache by its key. returns: Any - removed value."
async fn remove_returns_the_removed_value(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    on!(component.store("123", "key1", "ABC", None)).unwrap();
    let removed = on!(component.remove::<String>("123", "key1")).unwrap();
    assert_eq!(removed.as_deref(), Some("ABC"));
    assert_eq!(
        on!(component.remove::<String>("123", "key1")).unwrap(),
        None
    );
    assert_eq!(
        on!(component.retrieve::<String>("123", "key1")).unwrap(),
        None
    );
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
struct Dummy {
    id: u32,
    key: String,
}

/// "Retrieves a cached value from the cache using its key. If the value is missing in the cache or expired, it returns
/// None."
async fn retrieve_returns_the_value_or_none(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    assert_eq!(
        on!(component.retrieve::<String>("123", "key1")).unwrap(),
        None
    );
    on!(component.store("123", "soon", "ABC", Some(Duration::from_millis(1)))).unwrap();
    while on!(component.retrieve::<String>("123", "soon"))
        .unwrap()
        .is_some()
    {
        tokio::task::yield_now().await;
    }
    let dummy = Dummy {
        id: 1,
        key: "Ключ".into(),
    };
    on!(component.store("123", "dummy", &dummy, None)).unwrap();
    assert_eq!(
        on!(component.retrieve::<Dummy>("123", "dummy")).unwrap(),
        Some(dummy)
    );
    // An int reads back as text.
    on!(component.store("123", "n", 5, None)).unwrap();
    let text = on!(component.retrieve::<String>("123", "n")).unwrap();
    assert_eq!(text.as_deref(), Some("5"));
}

/// "Sets references to dependent components."
async fn set_references_locates_the_dependencies(target: Target) {
    let prefix = prefix(target);
    let services = InMemory::new().with("main", Params::from([("uri", target.url(&prefix))]));
    let component = Either::new(target);
    let params = Params::from([
        ("connection.discovery_key", "main"),
        ("options.prefix", &prefix),
    ]);
    component.configure(&params.with("options.call_timeout", 10_000));
    let error = on!(component.open("123")).unwrap_err();
    assert_eq!(
        (error.kind(), error.trace_id()),
        (ErrorKind::Unresolved, Some("123"))
    );
    component.set_references(&References::new().discovery("default", services));
    on!(component.open("123")).unwrap();
    on!(component.store("123", "key1", "ABC", None)).unwrap();
}

/// "Stores a value in the cache with an expiration time. timeout: int - expiration timeout in milliseconds. returns: Any -
/// stored value." And the page's example.
async fn store_returns_the_stored_value_and_takes_milliseconds(target: Target) {
    let (component, prefix) = open(target, Params::new()).await;
    assert_eq!(
        on!(component.store("123", "key1", "ABC", None)).unwrap(),
        "ABC"
    );
    let value = on!(component.retrieve::<String>("123", "key1")).unwrap();
    assert_eq!(value.as_deref(), Some("ABC"));
    let stored = on!(component.store(
        "123",
        "map",
        [("a", 1)],
        Some(Duration::from_millis(90_500))
    ));
    assert_eq!(stored.unwrap(), [("a", 1)]);
    let cache = target.cache_at(&target.url(&prefix), &prefix);
    let left = call!(cache.ttl("map"))
        .unwrap()
        .duration()
        .unwrap()
        .as_millis();
    assert!((40_000..=90_500).contains(&left), "{left}");
    let none = on!(component.store("123", "key1", None::<String>, None)).unwrap();
    assert_eq!(none, None);
    assert_eq!(
        on!(component.retrieve::<String>("123", "key1")).unwrap(),
        None
    );
}

/// What the interface has no method for: the cache beneath has it, under the same prefix.
async fn the_cache_beneath_has_everything_else(target: Target) {
    let (component, _) = open(target, Params::new()).await;
    on!(component.store("123", "n", 5, None)).unwrap();
    macro_rules! beneath {
        ($component:ident, $($end:tt)*) => {{
            let cache = $component.cache().unwrap();
            assert_eq!(cache.incr("n")$($end)*.unwrap(), 6);
            let user = cache.hash("user:1");
            user.set("name", "Ada")$($end)*.unwrap();
            let name: Option<String> = user.get("name")$($end)*.unwrap();
            assert_eq!(name.as_deref(), Some("Ada"));
            assert!(cache.delete("user:1")$($end)*.unwrap());
            $component.close("123")$($end)*.unwrap();
            assert_eq!($component.cache().unwrap_err().kind(), ErrorKind::NotOpen);
        }};
    }
    match component {
        Either::Async(component) => beneath!(component, .await),
        Either::Blocking(component) => beneath!(component, .run()),
    }
}
