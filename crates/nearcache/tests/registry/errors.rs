//! What is wrong with an element, and in which of its files.

use crate::app::App;

const MINE: &str = "caches.MyRedis";
const PLACE: &str = r#"{"url": "memory://"}"#;

/// What is said of an element with this configuration.
fn configured(config: &str) -> String {
    let app = App::new();
    app.element(MINE, "caches.RedisType", config);
    let text = app.error(MINE);
    let file = app
        .folder()
        .join("caches/MyRedis/MyRedis.json")
        .display()
        .to_string();
    assert!(text.contains(&file), "{text}");
    text
}

#[test]
fn a_missing_field_is_told_with_its_file() {
    assert!(
        configured(r#"{"port": 6379, "password": null}"#).contains(": host: the field is missing")
    );
    assert!(
        configured(r#"{"host": null, "port": 6379, "password": null}"#)
            .contains(": host: the field is missing")
    );
    assert!(
        configured(r#"{"host": "h", "password": null}"#).contains(": port: the field is missing")
    );
    let text = configured(r#"{"host": "h", "port": 6379}"#);
    assert!(
        text.contains(": password: the field is missing; write null"),
        "{text}"
    );
}

#[test]
fn a_field_that_does_not_exist_has_a_suggestion() {
    let text = configured(r#"{"host": "h", "port": 1, "password": null, "socket_timout": 1}"#);
    assert!(
        text.contains("socket_timout: there is no such field; did you mean \"socket_timeout\"?"),
        "{text}"
    );
    let text = configured(r#"{"host": "h", "port": 1, "password": null, "prefix": "x"}"#);
    assert!(
        text.contains("prefix: the prefix of every key is the application's id"),
        "{text}"
    );
}

#[test]
fn a_field_out_of_its_range_is_told() {
    for (field, says) in [
        (
            r#""port": "{{NO_SUCH_VARIABLE}}""#,
            "port: the environment variable NO_SUCH_VARIABLE is not set",
        ),
        (
            r#""port": "http""#,
            "port: expected a number from 1 to 65535",
        ),
        (r#""port": 1, "db": -1"#, "db: expected a number from 0"),
        (
            r#""port": 1, "socket_timeout": 0"#,
            "socket_timeout: expected a time",
        ),
        (
            r#""port": 1, "socket_connect_timeout": "soon""#,
            "socket_connect_timeout: expected a time",
        ),
        (
            r#""port": 1, "charset": "utf-16""#,
            "charset: expected \"utf-8\"",
        ),
        (
            r#""port": 1, "decode_responses": "perhaps""#,
            "decode_responses: expected true or false",
        ),
    ] {
        let text = configured(&format!(
            r#"{{"host": "h", "password": "hunter2", {field}}}"#
        ));
        assert!(text.contains(says), "{field}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_json_is_told() {
    let app = App::new();
    let text = app.error(MINE);
    assert!(
        text.contains("there is no element caches.MyRedis")
            && text.contains("caches/MyRedis/e.json"),
        "{text}"
    );
    app.declare(MINE, "caches.RedisType");
    let text = app.error(MINE);
    assert!(text.contains("MyRedis.json: the file is missing"), "{text}");
    app.file("caches/MyRedis/MyRedis.json", "{\"password\": \"hunter2\"");
    let text = app.error(MINE);
    assert!(
        text.contains("MyRedis.json: line 1") && !text.contains("hunter2"),
        "{text}"
    );
    app.file("caches/MyRedis/MyRedis.json", "[]")
        .file("caches/MyRedis/e.json", "{");
    assert!(app.error(MINE).contains("e.json: line 1"));
}

#[test]
fn a_declaration_that_lacks_something_is_told() {
    let app = App::new();
    app.element(MINE, "caches.RedisType", PLACE);
    for (declaration, says) in [
        (
            r#"{"title": "x", "type": "caches.RedisType"}"#,
            "e.json: backendBundleEntry: the field is missing",
        ),
        (
            r#"{"backendBundleEntry": "..", "title": "x", "type": "caches.RedisType"}"#,
            "e.json: backendBundleEntry: expected \".\"",
        ),
        (
            r#"{"backendBundleEntry": ".", "type": "caches.RedisType"}"#,
            "e.json: title: the field is missing",
        ),
        (
            r#"{"backendBundleEntry": ".", "title": "x", "tpye": "caches.RedisType"}"#,
            "e.json: type: the field is missing; it has \"tpye\"?",
        ),
        (
            r#"{"backendBundleEntry": ".", "title": "x", "type": 5}"#,
            "e.json: type: expected text",
        ),
        (
            r#"{"backendBundleEntry": ".", "title": "x", "type": "caches.RedisType", "icon": []}"#,
            "e.json: icon: expected text",
        ),
        ("[]", "e.json: expected an object"),
    ] {
        app.file("caches/MyRedis/e.json", declaration);
        let text = app.error(MINE);
        assert!(text.contains(says), "{declaration}: {text}");
    }
}

#[test]
fn types_that_come_back_to_themselves_are_told() {
    let app = App::new();
    app.element(MINE, "caches.A", PLACE);
    app.declare("caches.A", "caches.B")
        .declare("caches.B", "caches.A");
    let text = app.error(MINE);
    assert!(text.contains("caches/B/e.json: type: the Types refer back to themselves: caches.MyRedis → caches.A → caches.B → caches.A"), "{text}");
    app.declare(MINE, MINE);
    assert!(app.error(MINE).contains("caches.MyRedis → caches.MyRedis"));
}

#[test]
fn a_type_that_does_not_exist_has_a_suggestion() {
    let app = App::new();
    app.element(MINE, "caches.RedisTyp", PLACE);
    let text = app.error(MINE);
    assert!(
        text.contains(
            "e.json: type: there is no Type caches.RedisTyp; did you mean \"caches.RedisType\"?"
        ),
        "{text}"
    );
    app.declare(MINE, "caches.Meta");
    assert!(app.error(MINE).contains("this is a Type"));
    app.declare(MINE, "../../etc");
    assert!(app.error(MINE).contains("is not the name of an element"));
    assert!(
        app.error("../../etc/passwd")
            .contains("is not the name of an element")
    );
    assert!(app.error("").contains("is not the name of an element"));
}
