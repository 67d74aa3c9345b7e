//! Glob patterns as Redis matches them: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a character to mean itself.
//!
//! The outbox must know which keys a sweep is about before the server has found them.

/// Whether a pattern matches the whole text. Takes no longer than the two lengths multiplied.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on if what follows the last star does not match here. An earlier star need not be tried again,
    // because it could do no more than the last.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = rest;
            retry = Some((rest, text));
            continue;
        }
        let step = match text {
            [] => return pattern.is_empty(),
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

/// Whether a class, which begins after its bracket, holds the byte; and what follows the class. A class that is not
/// closed goes to the end of the pattern.
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
    use nearcache_testkit::Redis;
    use redis::Value;

    #[test]
    fn a_pattern_matches_what_it_says() {
        for (pattern, text, matched) in [
            ("*", "", true),
            ("user:*", "user:1", true),
            ("h[^e]llo", "hello", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b", "ab ", false),
        ] {
            let says = matches(pattern.as_bytes(), text.as_bytes());
            assert_eq!(says, matched, "{pattern} {text}");
        }
    }

    /// If the two differed, a key that a sweep is about would be read before it is deleted.
    #[test]
    fn it_agrees_with_redis() {
        let redis = Redis::start();
        let client = redis::Client::open(redis.url()).unwrap();
        let mut link = client.get_connection().unwrap();
        let alphabet = b"ab*?[]^-\\";
        let mut random = fastrand::Rng::with_seed(7);
        let mut text = |most: usize| -> Vec<u8> {
            // No key is empty. (An empty one is not matched by "**" in Redis.)
            let length = random.usize(1..=most);
            let mut letter = || alphabet[random.usize(..alphabet.len())];
            (0..length).map(|_| letter()).collect()
        };
        let mut keys: Vec<Vec<u8>> = (0..300).map(|_| text(5)).collect();
        keys.sort();
        keys.dedup();
        for key in &keys {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(1).exec(&mut link).unwrap();
        }
        for _ in 0..2_000 {
            let pattern = text(7);
            let reply: Value = redis::cmd("KEYS").arg(&pattern).query(&mut link).unwrap();
            let mut found: Vec<Vec<u8>> = redis::from_redis_value(reply).unwrap();
            found.sort();
            let ours = keys.iter().filter(|key| matches(&pattern, key));
            let ours: Vec<_> = ours.cloned().collect();
            assert_eq!(ours, found, "{}", pattern.escape_ascii());
        }
    }
}
