//! Goes from an instance up to the Meta: finds its Types, and collects their fields.

use super::element::{self, Declared, Element, Field};
use super::{Factory, Inner, META, REDIS_TYPE, invalid};
use crate::config::suggestion;
use crate::error::Result;

/// An instance, with its own fields, and those of its Types where it has none.
///
/// # Errors
/// Those of [`Registry::cache`](super::Registry::cache).
pub(super) fn element(registry: &Inner, name: &str) -> Result<Element> {
    let Some(folder) = element::folder(registry, name)? else {
        let roots: Vec<_> = registry
            .roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        return Err(invalid(format!(
            "there is no element {name}: no {}/e.json in {}",
            name.replace('.', "/"),
            roots.join(", ")
        )));
    };
    let declared = element::declared(registry, folder)?;
    let (file, own) = element::fields(registry, &declared.folder, name)?;
    let source = registry.reader.source(file.display());
    let Some(own) = own else {
        return Err(source.error(
            "",
            "the file is missing: it is the configuration of the cache",
        ));
    };
    let mut element = Element {
        name: name.to_owned(),
        title: declared.title.clone(),
        icon: declared.icon.clone(),
        types: Vec::new(),
        app_id: registry.app_id.clone(),
        fields: Vec::new(),
        reader: registry.reader.clone(),
        factory: None,
        file: file.clone(),
    };
    for (name, value) in own {
        let file = file.clone();
        element.fields.push(Field { name, value, file });
    }
    if declared.kind == META {
        return Err(source_of(registry, &declared).error(
            "type",
            "this is a Type: its instances are caches, and it is not",
        ));
    }
    climb(registry, &mut element, declared)?;
    Ok(element)
}

fn source_of<'r>(registry: &'r Inner, declared: &Declared) -> crate::config::Source<'r> {
    registry.reader.source(declared.file.display())
}

/// Goes from Type to Type, until the Meta or a built-in or registered Type.
fn climb(registry: &Inner, element: &mut Element, mut declared: Declared) -> Result<()> {
    let mut seen = vec![element.name.clone()];
    loop {
        let kind = declared.kind.clone();
        let wrong = |why: &str| Err(source_of(registry, &declared).error("type", why));
        if seen.contains(&kind) {
            seen.push(kind);
            return wrong(&format!(
                "the Types refer back to themselves: {}",
                seen.join(" → ")
            ));
        }
        if kind == META {
            return Ok(());
        }
        seen.push(kind.clone());
        element.types.push(kind.clone());
        let made: Option<&Factory> = registry.types.get(&kind);
        if element.factory.is_none() {
            element.factory = made.cloned();
        }
        let Some(folder) = element::folder(registry, &kind)? else {
            return if made.is_some() || kind == REDIS_TYPE {
                Ok(())
            } else {
                let mut known: Vec<&str> = registry.types.keys().map(String::as_str).collect();
                known.push(REDIS_TYPE);
                wrong(&format!(
                    "there is no Type {}{}; register it with `type_of`, or add a folder with an e.json",
                    kind.escape_debug(),
                    suggestion(&kind, &known)
                ))
            };
        };
        declared = element::declared(registry, folder)?;
        let (file, said) = element::fields(registry, &declared.folder, &kind)?;
        for (name, value) in said.into_iter().flatten() {
            if !element.has(&name) && !is_elsewhere(element, &name) {
                let file = file.clone();
                element.fields.push(Field { name, value, file });
            }
        }
    }
}

/// Whether a field says where the cache is, while the element already says it in the other way (`url`, or `host` and
/// `port`).
fn is_elsewhere(element: &Element, field: &str) -> bool {
    match field {
        "url" => element.has("host"),
        "host" | "port" => element.has("url"),
        _ => false,
    }
}
