//! Patterns of `KEYS` and `SCAN`: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` to escape a character.

/// A pattern. Matching takes at most the product of the lengths of pattern and text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glob<'a>(&'a [u8]);

impl<'a> Glob<'a> {
    pub(crate) fn new(pattern: &'a [u8]) -> Self {
        Glob(pattern)
    }

    pub(crate) fn matches(self, text: &[u8]) -> bool {
        let (mut pattern, mut text) = (self.0, text);
        // Where to continue if the pattern after the last star does not match here. Only that star needs to be
        // retried: an earlier one could not match more.
        let mut retry: Option<(&[u8], &[u8])> = None;
        loop {
            if let [b'*', rest @ ..] = pattern {
                pattern = rest;
                retry = Some((rest, text));
                continue;
            }
            let step = match text {
                [] if pattern.is_empty() => return true,
                // If the star took more of the text, even less would be left to match.
                [] => return false,
                [byte, rest @ ..] => one(pattern, *byte).map(|pattern| (pattern, rest)),
            };
            (pattern, text) = match (step, retry) {
                (Some(step), _) => step,
                (None, Some((after_star, [_, rest @ ..]))) => {
                    retry = Some((after_star, rest));
                    (after_star, rest)
                }
                (None, _) => return false,
            };
        }
    }
}

/// Matches one byte against the pattern's first element, and returns the rest of the pattern.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (matched, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', class @ ..] => class_matches(class, byte),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [literal, rest @ ..] => (*literal == byte, rest),
    };
    matched.then_some(rest)
}

/// Whether a class (without its opening bracket) contains the byte, and the rest of the pattern after the class. A
/// class that is not closed extends to the end of the pattern.
fn class_matches(class: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut class) = match class {
        [b'^', class @ ..] => (true, class),
        class => (false, class),
    };
    let mut found = false;
    loop {
        class = match class {
            [] => return (found != negated, class),
            [b']', rest @ ..] => return (found != negated, rest),
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                rest
            }
            [low, b'-', high, rest @ ..] => {
                found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                found |= *literal == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "anything"),
            ("user:*", "user:1"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            (r"\*", "*"),
            (r"[\]]", "]"),
            ("a*b*c", "aXbbYc"),
            ("*a*a*b", "aaaab"),
            ("[ab", "a"),
            (r"a\", r"a\"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("h[^e]llo", "hello"),
            (r"\*", "a"),
            ("[]", "a"),
            ("a*b", "ab "),
            ("h[a-c]llo", "hdllo"),
        ] {
            assert!(!matches(pattern, text), "{pattern} should not match {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        assert!(!matches(
            &format!("{}b", "*a".repeat(200)),
            &"a".repeat(10_000)
        ));
    }
}
