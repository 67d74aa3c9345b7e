//! Checks the imports of the library against the order of its layers: none goes upwards, and no two folders import
//! each other.
//!
//! It reads the paths that begin with `crate::` in the code, in `use` lines and elsewhere, but not in tests and
//! comments. A name that is re-exported at the crate's root belongs to the root, which is above all layers, so code
//! inside the crate names the module that defines a thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// From the lowest to the highest. Modules in one layer may import each other, but not in both directions.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "foundation",
        &[
            "coarse", "error", "keyspace", "runtime", "script", "slot", "striped", "ttl",
        ],
    ),
    ("where it runs", &["connect"]),
    ("resilience", &["resilience"]),
    ("client", &["client", "codec", "hooks"]),
    ("read-through", &["read_through"]),
    (
        "faces",
        &[
            "__decorator",
            "blocking",
            "cache",
            "command",
            "compat",
            "config",
            "patterns",
            "serve",
            "structures",
            "url",
        ],
    ),
];

/// The crate's root, with its re-exports.
const ROOT: &str = "the crate's root";

/// The single files of one folder may import each other.
const ONE_FOLDER: &[&str] = LAYERS[0].1;

/// # Errors
/// Each import that is wrong, with its file.
pub(crate) fn check(sources: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    list(sources, &mut files)?;
    let mut wrong = String::new();
    // Which module imports which, and a file that does so.
    let mut arrows: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for file in &files {
        let inside = file.strip_prefix(sources).unwrap_or(file);
        let Some(from) = module_of(inside) else {
            continue;
        };
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for to in imports(code_of(&text)) {
            let to = if layer(&to).is_some() {
                to
            } else {
                ROOT.to_owned()
            };
            if to != from {
                arrows
                    .entry((from.clone(), to))
                    .or_insert_with(|| inside.to_owned());
            }
        }
    }
    for ((from, to), file) in &arrows {
        let place = || format!("{} ({from}) imports {to}", file.display());
        let Some(height) = layer(from) else {
            let _ = writeln!(wrong, "{}: {from} is in no layer", file.display());
            continue;
        };
        match layer(to) {
            None if height < LAYERS.len() - 1 => {
                let _ = writeln!(wrong, "{}: name the module where it is defined", place());
            }
            Some(other) if other > height => {
                let _ = writeln!(
                    wrong,
                    "{}: upwards, from \"{}\" to \"{}\"",
                    place(),
                    LAYERS[height].0,
                    LAYERS[other].0
                );
            }
            _ => {}
        }
    }
    for circle in circles(&arrows) {
        let _ = writeln!(wrong, "a circle: {}", circle.join(", "));
    }
    if wrong.is_empty() {
        let count = files.len();
        Ok(format!(
            "{count} files, {} arrows, none upwards",
            arrows.len()
        ))
    } else {
        Err(wrong)
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Tests may import anything.
        if matches!(&*name, "tests" | "tests.rs" | "twins.rs") {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The module at the crate's root that a file belongs to; `None` for the root itself.
fn module_of(file: &Path) -> Option<String> {
    let first = file.components().next()?.as_os_str().to_string_lossy();
    match first.trim_end_matches(".rs") {
        "lib" => None,
        "decorator" => Some("__decorator".to_owned()),
        name => Some(name.to_owned()),
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// The code of a file, up to its tests.
fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| {
            !(line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test"))
        })
        .map(|line| line.split("//").next().unwrap_or_default())
}

/// The first names after `crate::`.
fn imports<'t>(code: impl Iterator<Item = &'t str>) -> BTreeSet<String> {
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        // `$crate::` of a macro is the same crate; `xcrate::` is not.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(names_of_group(group)),
            None => found.extend(name(rest)),
        }
    }
    found
}

/// The names in a group, up to its end: `{a, b::{c, d}}` has `a` and `b`.
fn names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut part) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name(std::mem::take(&mut part).trim())),
            _ => {}
        }
        if c != ',' || depth > 0 {
            part.push(c);
        }
    }
    names.extend(name(part.trim()));
    names
}

fn name(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Modules that import each other in a circle, except for those of one folder.
fn circles(arrows: &BTreeMap<(String, String), PathBuf>) -> Vec<Vec<String>> {
    let modules: BTreeSet<&str> = arrows
        .keys()
        .flat_map(|(from, to)| [&**from, &**to])
        .filter(|module| *module != ROOT && !ONE_FOLDER.contains(module))
        .collect();
    let reached = |from: &str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for (_, to) in arrows.keys().filter(|(from, _)| from == module) {
                if modules.contains(&**to) && reached.insert(&**to) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let mut circles: Vec<Vec<String>> = Vec::new();
    for module in &modules {
        let known = circles.iter().flatten().any(|known| known == module);
        if known || !reached(module).contains(module) {
            continue;
        }
        let circle = modules
            .iter()
            .filter(|other| reached(module).contains(**other) && reached(other).contains(*module));
        circles.push(circle.map(|module| (*module).to_owned()).collect());
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_each_path_is_an_import() {
        let code = "use crate::{a::b, c, d::{e, f}};\nuse crate::g::H; // crate::i\nlet j = crate::k();\n#[cfg(test)]\nuse crate::l;";
        let found: Vec<String> = imports(code_of(code)).into_iter().collect();
        assert_eq!(found, ["a", "c", "d", "g", "k"]);
    }

    #[test]
    fn an_arrow_upwards_a_circle_and_a_re_export_are_found() {
        let folder = std::env::temp_dir().join(format!("layers-{}", std::process::id()));
        for (file, text) in [
            ("connect/mod.rs", "use crate::cache::Cache;"),
            ("codec/mod.rs", "use crate::hooks::Hook;\nuse crate::Stats;"),
            ("hooks/mod.rs", "use crate::codec::Codec;"),
            ("error.rs", "use crate::keyspace::Key;"),
            ("keyspace.rs", "use crate::error::Error;"),
        ] {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let wrong = check(&folder).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        let lines: Vec<&str> = wrong.lines().collect();
        assert_eq!(lines.len(), 3, "{wrong}");
        assert!(lines[0].contains("imports the crate's root"), "{wrong}");
        assert!(
            lines[1].contains("upwards, from \"where it runs\" to \"faces\""),
            "{wrong}"
        );
        assert_eq!(lines[2], "a circle: codec, hooks");
    }
}
