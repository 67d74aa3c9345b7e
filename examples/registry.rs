//! Caches that are elements of an application: folders with a declaration and a configuration.
//!
//! ```text
//! cargo run --example registry
//! cargo run --example registry -- redis://localhost
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nearcache::compat::registry::Registry;

/// Writes an element: its Type, and the options of its cache.
fn element(app: &Path, name: &str, kind: &str, config: &str) -> std::io::Result<()> {
    let folder = app.join(name.replace('.', "/"));
    fs::create_dir_all(&folder)?;
    let declaration =
        format!(r#"{{"backendBundleEntry": ".", "title": "One of ours", "type": "{kind}"}}"#);
    fs::write(folder.join("e.json"), declaration)?;
    let last = name.rsplit('.').next().unwrap_or(name);
    fs::write(folder.join(format!("{last}.json")), config)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = match support::url() {
        url if url == "memory://" => "memory://example".to_owned(),
        url => url,
    };
    let app = std::env::temp_dir().join(format!("nearcache-registry-{}", std::process::id()));

    // As a person would write them. (With a server it is host, port and password rather than a URL.)
    element(
        &app,
        "caches.MyRedis",
        "caches.RedisType",
        r#"{"url": "{{CACHE_URL}}"}"#,
    )?;
    // A Type of the application's own, in a folder, with defaults for its instances.
    element(
        &app,
        "caches.ShortType",
        "caches.RedisType",
        r#"{"url": "{{CACHE_URL}}", "default_ttl": "1m"}"#,
    )?;
    element(
        &app,
        "caches.Codes",
        "caches.ShortType",
        r#"{"ttl_jitter": 0.1}"#,
    )?;
    // And a Type that is a function.
    element(
        &app,
        "caches.Patient",
        "caches.PatientType",
        r#"{"url": "{{CACHE_URL}}"}"#,
    )?;

    let registry = Registry::builder("nearcache-registry")
        .root(&app)
        .vars([("CACHE_URL", &url)])
        .type_of("caches.PatientType", |element| {
            let mut config = element.redis()?;
            config.timeout = Some(Duration::from_secs(5));
            Ok(config)
        })
        .build();

    // Texts and numbers by name.
    let cache = registry.element("caches.MyRedis")?;
    cache.set("user:1001", "张三", 3600).await?;
    let name = cache.get("user:1001").await?;
    assert_eq!(name.as_deref(), Some("张三"));
    println!(
        "{} ({}) has {name:?} under nearcache-registry:user:1001, in database 1",
        cache.name(),
        cache.title()
    );

    assert_eq!(cache.incr("visits", 5).await?, 5);
    assert_eq!(cache.get_numeric("visits").await?, 5);
    let codes = registry.element("caches.Codes")?;
    codes.set("code", "123456", None).await?;
    // The cache beneath has everything else.
    println!(
        "{}: a code stays {:?}",
        codes.name(),
        codes.cache().ttl("code").await?
    );

    println!(
        "\ncaches.Patient comes to\n{}",
        registry.settings("caches.Patient")?.effective()?
    );

    // Errors name the file.
    element(&app, "caches.Wrong", "caches.RedisTyp", "{}")?;
    let error = registry.cache("caches.Wrong").unwrap_err();
    println!("caches.Wrong: {error}");
    assert!(
        error
            .to_string()
            .contains("did you mean \"caches.RedisType\"?")
    );

    cache.cache().clear().await?;
    fs::remove_dir_all(&app)?;
    support::closing("registry", &url);
    Ok(())
}
