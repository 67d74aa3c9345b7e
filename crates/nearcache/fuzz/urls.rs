//! Texts that a person writes: URLs, TTLs, templates, configurations.
//!
//! 1. No text causes a panic.
//! 2. No password is shown, neither in what was parsed nor in an error.
//! 3. A TTL parses what it prints, and is the sum of its parts; an escaped text expands to itself; a configuration
//!    reads back what it writes.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value};

use super::text;
use crate::config::{Config, OPTIONS, template};
use crate::url;
use crate::{IntoTtl, Ttl};

const SECRET: &str = "hunter2";

/// Chooses one kind of text.
pub fn urls(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let _ = match kind % 8 {
        0 => {
            a_url(&text);
            Ok(())
        }
        1 => {
            a_ttl(&text);
            Ok(())
        }
        2 => {
            a_template(&text);
            Ok(())
        }
        3 => {
            for config in [Config::from_toml(&text), Config::from_json(&text)] {
                let _ = config.map(|config| comes_back(&config));
            }
            Ok(())
        }
        4 => a_url_with_a_secret(&mut Unstructured::new(rest)),
        5 => a_sum(&mut Unstructured::new(rest)),
        _ => a_config(&mut Unstructured::new(rest)),
    };
}

fn a_url(text: &str) {
    match url::parse(text) {
        Ok(parsed) => {
            let _ = format!("{parsed:?}");
            if let Some(ttl) = parsed.default_ttl {
                a_ttl(&ttl.to_string());
            }
            assert!(
                parsed
                    .ttl_jitter
                    .is_none_or(|ratio| (0.0..=1.0).contains(&ratio))
            );
            assert!((1..=url::MAX_POOL_SIZE).contains(&parsed.target.pool_size));
        }
        Err(error) => {
            let _ = format!("{error} {error:?}");
        }
    }
    let _ = url::masked(text);
}

/// Text that does not contain the secret.
fn junk(data: &mut Unstructured<'_>, most: usize) -> Result<String> {
    Ok(text(data, most)?.replace(SECRET, "other"))
}

fn a_url_with_a_secret(data: &mut Unstructured<'_>) -> Result<()> {
    const SCHEMES: [&str; 6] = ["redis", "valkey", "redis+unix", "memory", "rediss", "rdis"];
    let scheme = *data.choose(&SCHEMES)?;
    let [user, before, after, rest] = [
        junk(data, 8)?,
        junk(data, 8)?,
        junk(data, 8)?,
        junk(data, 20)?,
    ];
    // A text that is not a user is part of the password, a text that looks like an option is one, and the last @ ends
    // the password.
    let looks_like_options =
        before.contains('@') && [&before, &after].iter().any(|text| text.contains('='));
    let clear = !user.contains([':', '@', '/', '?']) && !rest.contains('@') && !looks_like_options;
    let url = match data.int_in_range(0..=3)? {
        0 if clear => format!("{scheme}://{user}:{before}{SECRET}{after}@{rest}"),
        // As an option among others, at any place.
        1 => format!("{scheme}://{rest}?{before}&password={SECRET}{after}"),
        // Without a scheme.
        2 if clear => format!("{user}:{before}{SECRET}{after}@{rest}"),
        // As a misspelled `password` option.
        _ => {
            let name = *data.choose(&["pasword", "Password", "pass", "pw", "passw%6Frd"])?;
            let rest = rest.replace('?', "");
            format!("{scheme}://{rest}?{name}={SECRET}{after}")
        }
    };
    let shown = match url::parse(&url) {
        Ok(parsed)
            if parsed
                .target
                .password
                .as_ref()
                .is_some_and(|password| password.contains(SECRET)) =>
        {
            format!("{parsed:?}{}", url::masked(&url))
        }
        // Here the URL has it as something else: a user, a path, a prefix.
        Ok(_) => url::masked(&url),
        Err(error) => format!("{error} {error:?}{}", url::masked(&url)),
    };
    assert!(!shown.contains(SECRET), "{url}: {shown}");
    Ok(())
}

fn a_ttl(text: &str) {
    match text.into_ttl() {
        Ok(ttl) => {
            assert!((Ttl::MIN..=Ttl::MAX).contains(&ttl));
            assert_eq!(ttl.to_string().parse::<Ttl>().expect("what it prints"), ttl);
            assert_eq!(ttl.as_duration().into_ttl().expect("the same"), ttl);
            assert!((Ttl::MIN..=Ttl::MAX).contains(&ttl.jittered(1.0)));
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
}

fn a_sum(data: &mut Unstructured<'_>) -> Result<()> {
    const UNITS: [(&str, u128); 8] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("MS", 1),
        (" H", 3_600_000),
    ];
    let (mut sum, mut text) = (Some(0u128), String::new());
    for _ in 0..data.int_in_range(1..=4)? {
        let number = match data.arbitrary()? {
            true => u128::from(data.arbitrary::<u32>()?),
            false => data.arbitrary::<u128>()?,
        };
        let (unit, factor) = *data.choose(&UNITS)?;
        text += &format!("{number}{unit}");
        sum = number
            .checked_mul(factor)
            .and_then(|part| sum?.checked_add(part));
    }
    let expected = sum.filter(|sum| (1..=u128::from(Ttl::MAX.as_millis())).contains(sum));
    let read = text
        .parse::<Ttl>()
        .ok()
        .map(|ttl| u128::from(ttl.as_millis()));
    assert_eq!(read, expected, "{text}");
    Ok(())
}

fn a_template(text: &str) {
    let lookup = |name: &str| name.len().is_multiple_of(2).then(|| SECRET.to_owned());
    if let Err(why) = template::expand(text, lookup) {
        assert!(!format!("{why:?}").contains(SECRET) || text.contains(SECRET));
    }
    let escaped = template::escape(text);
    let expanded = template::expand(&escaped, |_| None).expect("no template");
    assert_eq!(expanded.text, text);
    assert!(expanded.variables.is_empty());
}

/// Options with a secret among their values.
fn a_config(data: &mut Unstructured<'_>) -> Result<()> {
    let mut options = options(data)?;
    if data.arbitrary()? {
        let mut caches = Map::new();
        for _ in 0..data.int_in_range(0..=2)? {
            caches.insert(text(data, 4)?, Value::Object(self::options(data)?));
        }
        options.insert("caches".to_owned(), Value::Object(caches));
    }
    let toml: String = options
        .iter()
        .filter(|(_, value)| value.is_string() || value.is_i64())
        .map(|(name, value)| format!("{} = {value}\n", Value::from(&**name)))
        .collect();
    let reader = || Config::reader().vars([("V", SECRET), ("E", "")]);
    for config in [
        reader().toml(&toml),
        reader().json(&Value::from(options).to_string()),
    ] {
        match config {
            Ok(config) => comes_back(&config),
            Err(error) => {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains(SECRET), "{shown}");
            }
        }
    }
    Ok(())
}

fn options(data: &mut Unstructured<'_>) -> Result<Map<String, Value>> {
    let mut options = Map::new();
    for _ in 0..data.int_in_range(0..=4)? {
        let name = match data.ratio(7, 8)? {
            true => OPTIONS[data.choose_index(OPTIONS.len())?].name.to_owned(),
            false => junk(data, 6)?,
        };
        let value = match data.int_in_range(0..=6)? {
            0 => Value::from(data.arbitrary::<i64>()?),
            1 => Value::from(data.arbitrary::<bool>()?),
            2 => Value::from(junk(data, 12)?),
            3 => Value::from(*data.choose(&[
                "1s",
                "2h30m",
                "0.5",
                "on",
                "off",
                "2",
                "redis://h",
                "memory://x",
                "zstd:3",
                "{{V}}",
            ])?),
            4 => Value::from(format!(
                "redis://u:{SECRET}@{}",
                junk(data, 8)?.replace('@', "")
            )),
            5 => Value::from(vec![Value::from(SECRET)]),
            // The name of a variable is not a secret.
            _ => {
                let [before, after] = [junk(data, 6)?, junk(data, 6)?];
                Value::from(format!("{}{SECRET}{after}", before.replace('{', "")))
            }
        };
        options.insert(name, value);
    }
    Ok(options)
}

/// What a configuration writes reads back the same, and no password is shown.
fn comes_back(config: &Config) {
    let written = config.to_toml();
    let read = Config::reader().vars([("", ""); 0]).toml(&written);
    let read = read.unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(read.to_toml(), written);
    assert_eq!(read, *config);
    for name in config.names() {
        let Ok(settings) = config.settings(name) else {
            continue;
        };
        let shown = format!("{settings:?} {settings} {config:?} {config}");
        if settings.password == Some(SECRET.into()) && written.matches(SECRET).count() == 1 {
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
}
