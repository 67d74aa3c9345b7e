//! Templates in the texts of a configuration: `{{NAME}}` is the value of a variable, `{{NAME:default}}` has a default
//! for a variable that is not set, and `{{{{` stands for `{{`.
//!
//! 1. The value of a variable is not expanded: braces in it are no template.
//! 2. No error contains the value of a variable, or the text around it.
//! 3. Any text, escaped and expanded, is the same text again.

use std::borrow::Cow;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'t> {
    Text(&'t str),
    Variable {
        name: &'t str,
        default: Option<&'t str>,
    },
}

/// Why a text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The template at this byte is malformed.
    Malformed { at: usize, why: &'static str },
    /// A variable that is not set, and has no default.
    Unset { name: String },
}

/// An expanded text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// The variables whose values are in it.
    pub(crate) variables: Vec<String>,
}

/// Splits a text into its plain parts and its templates.
///
/// # Errors
/// `Malformed`: braces that are not closed, or an invalid name.
pub(crate) fn parse(text: &str) -> Result<Vec<Part<'_>>, Failed> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("{{") {
        let at = from + found;
        if found > 0 {
            parts.push(Part::Text(&text[from..at]));
        }
        if text[at..].starts_with("{{{{") {
            parts.push(Part::Text("{{"));
            from = at + 4;
            continue;
        }
        let malformed = |why| Err(Failed::Malformed { at, why });
        let Some(length) = text[at + 2..].find("}}") else {
            return malformed("{{ is not closed; write {{NAME}}, or {{{{ for {{ itself");
        };
        let inside = &text[at + 2..at + 2 + length];
        let (name, default) = match inside.split_once(':') {
            Some((name, default)) => (name.trim(), Some(default)),
            None => (inside.trim(), None),
        };
        if !is_name(name) {
            return malformed(
                "a variable's name has letters, digits and _; write {{NAME}} or {{NAME:default}}, or {{{{ for {{ itself",
            );
        }
        parts.push(Part::Variable { name, default });
        from = at + 2 + length + 2;
    }
    if from < text.len() {
        parts.push(Part::Text(&text[from..]));
    }
    Ok(parts)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text with the values of its variables.
///
/// # Errors
/// Those of [`parse`]; a variable that is not set and has no default.
pub(crate) fn expand(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Expanded, Failed> {
    let mut expanded = Expanded::default();
    for part in parse(text)? {
        match part {
            Part::Text(text) => expanded.text.push_str(text),
            Part::Variable { name, default } => match (lookup(name), default) {
                (Some(value), _) => {
                    expanded.text.push_str(&value);
                    expanded.variables.push(name.to_owned());
                }
                (None, Some(default)) => expanded.text.push_str(default),
                (None, None) => {
                    return Err(Failed::Unset {
                        name: name.to_owned(),
                    });
                }
            },
        }
    }
    Ok(expanded)
}

/// The text that expands to this one.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains("{{") {
        text.replace("{{", "{{{{").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db.example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "BRACES" => Some("{{HOST}}".to_owned()),
            _ => None,
        }
    }

    fn text(text: &str) -> String {
        expand(text, lookup).expect(text).text
    }

    #[test]
    fn variables_are_put_in() {
        for (template, expanded) in [
            ("no template", "no template"),
            ("", ""),
            ("{{HOST}}", "db.example.com"),
            (
                "redis://{{ HOST }}:{{PORT:6379}}/0",
                "redis://db.example.com:6379/0",
            ),
            ("{{URL:redis://localhost}}", "redis://localhost"),
            ("[{{UNSET:}}]", "[]"),
            ("[{{EMPTY:default}}]", "[]"),
            ("{{HOST:other}}", "db.example.com"),
            ("{app}:x", "{app}:x"),
            ("}}", "}}"),
            ("{{{{HOST}}", "{{HOST}}"),
            ("{{BRACES}}", "{{HOST}}"),
        ] {
            assert_eq!(text(template), expanded, "{template}");
        }
        let variables = expand("{{HOST}} {{PORT:1}} {{EMPTY}}", lookup)
            .unwrap()
            .variables;
        assert_eq!(variables, ["HOST", "EMPTY"]);
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        assert_eq!(
            expand("{{HOST}}{{PORT}}", lookup),
            Err(Failed::Unset {
                name: "PORT".to_owned()
            })
        );
        for (template, place) in [
            ("a{{HOST", 1),
            ("{{}}", 0),
            ("{{A B}}", 0),
            ("ab{{1A}}", 2),
            ("{{:x}}", 0),
            ("{{{A}}", 0),
        ] {
            match expand(template, lookup) {
                Err(Failed::Malformed { at, .. }) => assert_eq!(at, place, "{template}"),
                other => panic!("{template}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(template in ".{0,60}") {
            let _ = expand(&template, lookup);
        }

        #[test]
        fn no_text_of_the_right_letters_panics(template in "[{}:A-C é]{0,40}") {
            let _ = expand(&template, lookup);
        }

        #[test]
        fn an_escaped_text_expands_to_itself(original in "[{}:A-C é]{0,40}") {
            let expanded = expand(&escape(&original), |_| None);
            prop_assert_eq!(expanded.map(|expanded| expanded.text), Ok(original));
        }

        #[test]
        fn what_a_variable_holds_is_taken_as_it_is(value in ".{0,40}") {
            let expanded = expand("<{{VALUE}}>", |_| Some(value.clone()));
            prop_assert_eq!(expanded.map(|expanded| expanded.text), Ok(format!("<{value}>")));
        }
    }
}
