//! A write takes a value, or a reference to one. A time is a text or a duration wherever one is given.

use std::time::Duration;

use nearcache::{Cache, ErrorKind, Raw, Text};
use serde::{Deserialize, Serialize};

use crate::face::run;
use crate::faces;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

#[test]
fn a_value_is_written_by_value_and_by_reference() {
    run(async {
        for face in faces() {
            let user = User {
                name: "Alice".into(),
            };
            call!(face.set("by reference", &user)).unwrap();
            call!(face.set("by value", user.clone())).unwrap();
            for key in ["by reference", "by value"] {
                assert_eq!(
                    call!(face.get::<User>(key)).unwrap().as_ref(),
                    Some(&user),
                    "{key}"
                );
            }
            call!(face.set("text", "plain")).unwrap();
            call!(face.set("text", &"plain")).unwrap();
            call!(face.set("text", String::from("plain"))).unwrap();
            call!(face.set("text", &String::from("plain"))).unwrap();
            call!(face.set("number", 5)).unwrap();
            call!(face.set("list", vec![1, 2])).unwrap();
            call!(face.set("list", &[1, 2][..])).unwrap();
            call!(face.set("none", None::<u8>)).unwrap();
            call!(face.set("boxed", Box::new(1))).unwrap();
            let (html, bytes) = (Text("<p>"), Raw(vec![0, 255]));
            call!(face.set("html", &html)).unwrap();
            call!(face.set("html", html)).unwrap();
            call!(face.set("bytes", &bytes)).unwrap();
            call!(face.set("bytes", bytes)).unwrap();
            assert_eq!(
                call!(face.get::<Text>("html")).unwrap(),
                Some(Text("<p>".to_owned()))
            );
            assert_eq!(
                call!(face.get::<Raw>("bytes")).unwrap(),
                Some(Raw(vec![0, 255]))
            );
            assert!(!call!(face.add("text", String::from("x"))).unwrap());
            assert!(call!(face.replace("text", String::from("x"))).unwrap());
            assert!(call!(face.set("text", 'y').only_if_present()).unwrap());
            call!(face.bind("text").set(user.clone())).unwrap();
            call!(face.set_many([("a", &user)])).unwrap();
            call!(face.set_many([("a", user.clone())])).unwrap();
            call!(face.set_many([("h", &Text("x"))])).unwrap();
        }
    });
}

/// A helper of an application, generic over what it stores.
async fn put<T: Serialize + ?Sized>(cache: &Cache, value: &T) -> nearcache::Result<()> {
    cache.set("put", value).await
}

#[test]
fn a_generic_helper_stores_what_it_borrows() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        put(&cache, "text").await.unwrap();
        put(&cache, &[1, 2][..]).await.unwrap();
        put(&cache, &User { name: "Eve".into() }).await.unwrap();
        assert!(cache.get::<User>("put").await.unwrap().is_some());
    });
}

#[test]
fn a_write_by_value_does_not_keep_what_it_was_given() {
    run(async {
        let cache = Cache::open("memory://").unwrap();
        let write = {
            let user = User { name: "Bob".into() };
            cache.set("user", user).ttl("1m")
        };
        write.await.unwrap();
        assert!(cache.contains("user").await.unwrap());
        // A future that runs in another task need not hold the value, which need not be `Send`.
        let write = cache.set("user", std::rc::Rc::new(1)).into_future();
        fn sent<T: Send>(future: T) -> T {
            future
        }
        sent(write).await.unwrap();
    });
}

#[test]
fn a_timeout_is_a_text_a_duration_or_seconds() {
    run(async {
        for face in faces() {
            let given = match &face {
                crate::Face::Async(cache) => [
                    cache.within("50ms").ping().await,
                    cache.within(Duration::from_millis(50)).ping().await,
                    cache.within(1).ping().await,
                ],
                crate::Face::Blocking(cache) => [
                    cache.within("50ms").ping().run(),
                    cache.within(Duration::from_millis(50)).ping().run(),
                    cache.within(1).ping().run(),
                ],
            };
            assert!(given.iter().all(Result::is_ok), "{given:?}");
            for (wrong, why) in [
                ("50", "no unit after 50"),
                ("soon", "\"soon\""),
                ("2h", "1h"),
                ("0s", "1ms"),
            ] {
                let error = match &face {
                    crate::Face::Async(cache) => cache.within(wrong).get::<u8>("k").await,
                    crate::Face::Blocking(cache) => cache.within(wrong).get::<u8>("k").run(),
                };
                let error = error.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong}");
                let text = error.to_string();
                assert!(text.contains(why) && text.contains("timeout"), "{text}");
                assert!(!text.contains("forever"), "{text}");
            }
        }
        for (lease, is_one) in [("30s", true), ("50ms", false), ("2h", false), ("x", false)] {
            let built = Cache::builder("memory://").lease(lease).build();
            let kind = built.map_err(|error| error.kind()).err();
            assert_eq!(
                kind,
                (!is_one).then_some(ErrorKind::InvalidConfig),
                "{lease}"
            );
        }
        let error = Cache::builder("memory://")
            .timeout("never")
            .build()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(Cache::builder("memory://").timeout("250ms").build().is_ok());
    });
}
