//! Reads the folder of an element: its declaration in `e.json`, and its configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Factory, Inner, invalid};
use crate::config::{CacheConfig, Reader, suggestion};
use crate::error::Result;

/// An instance, with its own fields, and those of its Types where it has none. A Type makes a cache of it.
#[derive(Clone)]
pub struct Element {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) icon: Option<String>,
    pub(super) types: Vec<String>,
    pub(super) app_id: String,
    pub(super) file: PathBuf,
    pub(super) fields: Vec<Field>,
    pub(super) reader: Reader,
    pub(super) factory: Option<Factory>,
}

/// A field, and the file that it comes from.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) file: PathBuf,
}

impl Element {
    /// Its full name: `caches.MyRedis`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its title, for people.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its icon, if its `e.json` has one.
    pub fn icon(&self) -> Option<&str> {
        self.icon.as_deref()
    }

    /// Its Type, the Type of that Type, and so on. The first is the one in its `e.json`.
    pub fn types(&self) -> &[String] {
        &self.types
    }

    /// The id of the application.
    pub fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The path of its configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the instance or one of its Types has a field (`null` counts).
    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|one| one.name == field)
    }

    /// The text of a field, with its variables expanded; a number or a boolean becomes text. `None` if the field is
    /// missing or `null`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`](crate::ErrorKind::InvalidConfig), with file and field: a variable is not set, or
    /// the field is a list or an object.
    pub fn text(&self, field: &str) -> Result<Option<String>> {
        let Some(one) = self.fields.iter().find(|one| one.name == field) else {
            return Ok(None);
        };
        let source = self.reader.source(one.file.display());
        match source.expanded(field, one.value.clone())?.0 {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Some(value.to_string())),
            Value::Array(_) | Value::Object(_) => Err(source.error(field, "expected text")),
        }
    }

    /// The element without a field. A Type with fields of its own removes them after reading, because the built-in
    /// Type rejects unknown fields.
    #[must_use]
    pub fn without(&self, field: &str) -> Element {
        let mut element = self.clone();
        element.fields.retain(|one| one.name != field);
        element
    }

    /// The configuration that the built-in Type [`REDIS_TYPE`](super::REDIS_TYPE) makes of the element.
    ///
    /// # Errors
    /// Those of [`Registry::cache`](super::Registry::cache).
    pub fn redis(&self) -> Result<CacheConfig> {
        super::redis::config(self)
    }
}

/// The names of the fields, and not their values, which may be secrets.
impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<&String> = self.fields.iter().map(|field| &field.name).collect();
        f.debug_struct("Element")
            .field("name", &self.name)
            .field("types", &self.types)
            .field("file", &self.file)
            .field("fields", &fields)
            .finish_non_exhaustive()
    }
}

/// The contents of an `e.json`.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) icon: Option<String>,
}

/// The folder of an element: the registered one, or the first that exists under a root.
///
/// # Errors
/// The name is invalid.
pub(super) fn folder(registry: &Inner, name: &str) -> Result<Option<PathBuf>> {
    if let Some(folder) = registry.folders.get(name) {
        return Ok(Some(folder.clone()));
    }
    // The name becomes a path, which must not lead out of the root.
    let legal = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    if !name.split('.').all(legal) {
        return Err(invalid(format!(
            "\"{}\" is not the name of an element; write it as caches.MyRedis",
            name.escape_debug()
        )));
    }
    let inside: PathBuf = name.split('.').collect();
    Ok(registry
        .roots
        .iter()
        .map(|root| root.join(&inside))
        .find(|folder| folder.join(E_JSON).exists()))
}

const E_JSON: &str = "e.json";

/// Reads the `e.json` of a folder.
///
/// # Errors
/// The file cannot be read, is not JSON, or lacks a field.
pub(super) fn declared(registry: &Inner, folder: PathBuf) -> Result<Declared> {
    let file = folder.join(E_JSON);
    let source = registry.reader.source(file.display());
    let Value::Object(tree) = source.json_tree(&source.file(&file)?)? else {
        return Err(source.error("", "expected an object with the element's declaration"));
    };
    let text = |field: &str| match tree.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(source.error(field, "expected text")),
        None => {
            let names: Vec<&str> = tree.keys().map(String::as_str).collect();
            let instead = suggestion(field, &names).replace("did you mean", "it has");
            let why = format!("the field is missing{instead}");
            Err(source.error(field, &why))
        }
    };
    if text("backendBundleEntry")? != "." {
        return Err(source.error("backendBundleEntry", "expected \".\""));
    }
    let icon = match tree.get("icon") {
        None | Some(Value::Null) => None,
        Some(Value::String(icon)) => Some(icon.clone()),
        Some(_) => return Err(source.error("icon", "expected text")),
    };
    Ok(Declared {
        kind: text("type")?,
        title: text("title")?,
        icon,
        file,
        folder,
    })
}

/// The configuration of an element, from the file beside its `e.json`. `None`: there is no such file.
///
/// # Errors
/// The file cannot be read, or is not JSON.
pub(super) fn fields(
    registry: &Inner,
    folder: &Path,
    name: &str,
) -> Result<(PathBuf, Option<Map<String, Value>>)> {
    let last = name.rsplit('.').next().unwrap_or(name);
    let file = folder.join(format!("{last}.json"));
    if !file.exists() {
        return Ok((file, None));
    }
    let source = registry.reader.source(file.display());
    match source.json_tree(&source.file(&file)?)? {
        Value::Object(tree) => Ok((file, Some(tree))),
        _ => Err(source.error("", "expected an object with the cache's configuration")),
    }
}
