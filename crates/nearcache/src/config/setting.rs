//! The types of options, and how their values are read and written: text, numbers, times, choices.
//!
//! A value can be read from its own type or from text (environment variables are always text), and is written as its
//! own type. An error does not quote the value, because it may be a secret in the wrong place.

use std::fmt;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::codec::{Compression, Format};
use crate::connect::{Protocol, ReadFrom};
use crate::read_through::delivery::Undelivered;
use crate::resilience::{DataLoss, Fallback};
use crate::ttl::{IntoTtl, Ttl};

/// The value of an option.
pub(crate) trait Setting: Sized {
    /// # Errors
    /// What to write instead, as a continuation of "expected".
    fn read(value: &Value) -> Result<Self, String>;

    fn write(&self) -> Value;

    /// Like [`write`](Setting::write), but to be shown to people.
    fn show(&self) -> Value {
        self.write()
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Err("text; write it in quotes".to_owned()),
            _ => Err("text".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

/// A password. It is shown as `***` everywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The password itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Setting for Secret {
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(Secret)
    }

    fn write(&self) -> Value {
        Value::String(self.0.clone())
    }

    fn show(&self) -> Value {
        Value::String("***".to_owned())
    }
}

/// The URL of a cache. Its password is not shown.
impl Setting for super::Url {
    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(super::Url::from)
    }

    fn write(&self) -> Value {
        Value::String(self.as_str().to_owned())
    }

    fn show(&self) -> Value {
        Value::String(crate::url::masked(self.as_str()))
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(on) => Ok(*on),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" => Ok(true),
                "false" | "off" => Ok(false),
                _ => Err("true or false".to_owned()),
            },
            _ => Err("true or false".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Bool(*self)
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            fn read(value: &Value) -> Result<Self, String> {
                let number = match value {
                    Value::Number(number) => number.as_u64(),
                    Value::String(text) => text.trim().parse().ok(),
                    _ => None,
                };
                number
                    .and_then(|number| number.try_into().ok())
                    .ok_or_else(|| "a whole number".to_owned())
            }

            fn write(&self) -> Value {
                Value::Number((*self).into())
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);

impl Setting for f64 {
    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| "a number".to_owned())
    }

    fn write(&self) -> Value {
        Number::from_f64(*self).map_or(Value::Null, Value::Number)
    }
}

impl Setting for Ttl {
    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse::<f64>().ok(),
            _ => None,
        };
        let ttl = match (number, value) {
            (Some(seconds), _) => Duration::try_from_secs_f64(seconds)
                .ok()
                .and_then(|time| time.into_ttl().ok()),
            (None, Value::String(text)) => text.parse().ok(),
            (None, _) => None,
        };
        ttl.ok_or_else(|| {
            "a time, as in \"500ms\", \"90s\" or \"2h30m\", or a number of seconds".to_owned()
        })
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// Written to the millisecond.
impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        Ttl::read(value).map(Ttl::as_duration)
    }

    fn write(&self) -> Value {
        self.into_ttl().map_or(Value::Null, |time| time.write())
    }
}

/// What reads return while Redis is away: the part of [`Fallback`] that a configuration can express. (Give a function
/// of your own to the [`Builder`](crate::Builder).)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnUnavailable {
    /// [`Fallback::Error`].
    #[default]
    Error,
    /// [`Fallback::Miss`].
    Miss,
    /// [`Fallback::Stale`].
    Stale,
}

impl From<OnUnavailable> for Fallback {
    fn from(choice: OnUnavailable) -> Self {
        match choice {
            OnUnavailable::Error => Fallback::Error,
            OnUnavailable::Miss => Fallback::Miss,
            OnUnavailable::Stale => Fallback::Stale,
        }
    }
}

/// Whether the certificate of a server over TLS is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsVerify {
    /// It must be valid, for the server's name, and signed by one of the roots.
    #[default]
    Full,
    /// **Any** certificate is accepted: whoever is on the way to the server can read and change everything.
    None,
}

/// The name, and optionally a colon and the level: `zstd`, `zlib:9`.
impl Setting for Compression {
    fn read(value: &Value) -> Result<Self, String> {
        let read = || {
            let text = value.as_str()?.trim();
            let compression = match text.split_once(':') {
                None => Compression::named(text)?,
                Some((name, level)) => Compression::named(name)?.level(level.parse().ok()?),
            };
            Some(compression)
        };
        read().ok_or_else(|| "\"zstd\", \"lz4\" or \"zlib\", or with a level \"zstd:1\"".to_owned())
    }

    fn write(&self) -> Value {
        Value::String(self.written())
    }
}

macro_rules! choices {
    ($($type:ty: $help:literal { $($name:literal $(| $other:literal)* => $choice:path),* $(,)? })*) => {$(
        impl Setting for $type {
            fn read(value: &Value) -> Result<Self, String> {
                let text = match value {
                    Value::String(text) => text.trim().to_lowercase(),
                    Value::Number(number) => number.to_string(),
                    _ => String::new(),
                };
                match text.as_str() {
                    $($name $(| $other)* => Ok($choice),)*
                    _ => Err($help.to_owned()),
                }
            }

            fn write(&self) -> Value {
                #[allow(unreachable_patterns, reason = "some of these enums may grow")]
                match self {
                    $($choice => Value::String($name.to_owned()),)*
                    _ => Value::Null,
                }
            }
        }
    )*};
}

choices! {
    Format: "\"json\", \"msgpack\" or \"postcard\"" {
        "json" => Format::Json,
        "msgpack" => Format::MessagePack,
        "postcard" => Format::Postcard,
    }
    Protocol: "\"resp2\" or \"resp3\"" {
        "resp2" | "2" => Protocol::Resp2,
        "resp3" | "3" => Protocol::Resp3,
    }
    ReadFrom: "\"primary\" or \"replica\"" {
        "primary" => ReadFrom::Primary,
        "replica" => ReadFrom::Replica,
    }
    OnUnavailable: "\"error\", \"miss\" or \"stale\"" {
        "error" => OnUnavailable::Error,
        "miss" => OnUnavailable::Miss,
        "stale" => OnUnavailable::Stale,
    }
    TlsVerify: "\"full\" or \"none\"" {
        "full" => TlsVerify::Full,
        "none" => TlsVerify::None,
    }
    Undelivered: "\"error\" or \"deferred\"" {
        "error" => Undelivered::Error,
        "deferred" => Undelivered::Deferred,
    }
    DataLoss: "\"replay\" or \"clear\"" {
        "replay" => DataLoss::Replay,
        "clear" => DataLoss::Clear,
    }
}
