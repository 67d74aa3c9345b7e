//! An application in a folder of its own.

#![allow(dead_code, reason = "each suite uses its part of this")]

use std::fs;
use std::path::{Path, PathBuf};

use nearcache::compat::registry::{Registry, RegistryBuilder};
use nearcache::{Error, ErrorKind};
use nearcache_testkit::random_prefix;

use crate::face::Face;
use crate::target::Target;

/// Dropped, its folder is removed.
pub(crate) struct App {
    pub(crate) id: String,
    folder: PathBuf,
}

impl App {
    pub(crate) fn new() -> App {
        let id = random_prefix();
        let folder = std::env::temp_dir().join(&id);
        fs::create_dir(&folder).expect("a folder");
        App { id, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file, and the folders on the way to it.
    pub(crate) fn file(&self, path: &str, text: &str) -> &App {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
        self
    }

    /// Writes an element: its Type, and its configuration.
    pub(crate) fn element(&self, name: &str, kind: &str, config: &str) -> &App {
        let folder = name.replace('.', "/");
        let last = name.rsplit('.').next().expect("a name");
        self.declare(name, kind)
            .file(&format!("{folder}/{last}.json"), config)
    }

    /// Writes an element without a configuration.
    pub(crate) fn declare(&self, name: &str, kind: &str) -> &App {
        let declaration = format!(
            r#"{{"backendBundleEntry": ".", "title": "One of ours", "type": "{kind}", "icon": "x"}}"#
        );
        self.file(&format!("{}/e.json", name.replace('.', "/")), &declaration)
    }

    pub(crate) fn registry(&self) -> RegistryBuilder {
        Registry::builder(&self.id).root(&self.folder)
    }

    /// An element that lives there.
    pub(crate) fn place(&self, target: Target) -> String {
        format!(r#"{{"url": "{}", "timeout": 10}}"#, target.url(&self.id))
    }

    /// The cache of `caches.MyRedis`, living there.
    pub(crate) fn cache(&self, target: Target) -> Face {
        self.element("caches.MyRedis", "caches.RedisType", &self.place(target));
        open(target, &self.registry().build(), "caches.MyRedis").expect("a cache")
    }

    /// What is said of an element.
    pub(crate) fn error(&self, name: &str) -> String {
        let error = self.registry().build().cache(name).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        error.to_string()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A cache of a registry, on either face.
pub(crate) fn open(target: Target, registry: &Registry, name: &str) -> Result<Face, Error> {
    Ok(if target.is_blocking() {
        Face::Blocking(registry.cache(name)?.blocking()?)
    } else {
        Face::Async(registry.cache(name)?)
    })
}
