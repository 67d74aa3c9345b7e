//! tower-sessions' own tests of a store (`tests/common` of the crate), run with the store of nearcache-tower, on the
//! embedded store and on Redis.
//!
//! They come with the crate from crates.io, stay where cargo keeps it, and are never a part of this project: a small
//! crate under `target/` includes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{succeed, target};

const VERSION: &str = "0.15.0";

/// What runs the tests: `COMMON` is their file.
const TESTS: &str = r#"
#[macro_use]
#[path = "COMMON"]
mod common;

macro_rules! on {
    ($place:ident, $cache:expr) => {
        mod $place {
            use axum::Router;
            use nearcache_tower::SessionStore;
            use tower_sessions::SessionManagerLayer;

            use crate::common::build_app;

            async fn app(max_age: Option<Duration>, domain: Option<String>) -> Router {
                let store = SessionStore::new(&$cache);
                build_app(SessionManagerLayer::new(store).with_secure(true), max_age, domain)
            }

            route_tests!(app);
        }
    };
}

on!(embedded, nearcache::Cache::open("memory://").unwrap());
on!(redis, nearcache::Cache::open(&nearcache_testkit::Redis::shared().url()).unwrap());
"#;

/// Runs the tests.
pub(crate) fn run() -> Result<(), String> {
    let folder = target().join("peers/tower-sessions");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))
    };
    fs::create_dir_all(folder.join("src")).map_err(|error| error.to_string())?;
    write("src/lib.rs", "")?;
    write("Cargo.toml", &manifest(&workspace))?;
    // The same versions as everything else.
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))
        .map_err(|error| format!("Cargo.lock: {error}"))?;
    let common = source(&folder)?.join("tests/common/mod.rs");
    fs::create_dir_all(folder.join("tests")).map_err(|error| error.to_string())?;
    let common = common.display().to_string();
    write("tests/own.rs", &TESTS.replace("COMMON", &common))?;
    succeed(
        Command::new("cargo")
            .args(["test", "--quiet", "--test", "own"])
            .env("CARGO_TARGET_DIR", target())
            .current_dir(&folder),
    )
}

fn manifest(workspace: &Path) -> String {
    let crates = workspace.join("crates");
    let path = |name: &str| crates.join(name).display().to_string();
    format!(
        r#"[package]
name = "tower-sessions-own-tests"
version = "0.0.0"
edition = "2021"

[workspace]

[dev-dependencies]
axum = {{ version = "0.8", default-features = false, features = ["http1", "tokio"] }}
axum-core = "0.5"
http = "1"
http-body-util = "0.1"
nearcache = {{ path = "{}" }}
nearcache-testkit = {{ path = "{}" }}
nearcache-tower = {{ path = "{}", default-features = false, features = ["sessions"] }}
time = "0.3"
tokio = {{ version = "1", features = ["macros", "rt-multi-thread"] }}
tower = {{ version = "0.5", features = ["util"] }}
tower-cookies = "0.11"
tower-sessions = {{ version = "={VERSION}", default-features = false, features = ["axum-core"] }}
"#,
        path("nearcache"),
        path("nearcache-testkit"),
        path("nearcache-tower"),
    )
}

/// Where cargo keeps the crate's source.
fn source(folder: &Path) -> Result<PathBuf, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1"])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let ending = format!("/tower-sessions-{VERSION}/Cargo.toml");
    text.split('"')
        .find(|part| part.ends_with(&ending))
        .and_then(|manifest| Path::new(manifest).parent())
        .map(Path::to_owned)
        .ok_or_else(|| format!("cargo has no tower-sessions {VERSION}"))
}
