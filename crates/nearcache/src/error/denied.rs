//! What a user may not do, and the rule that permits it.
//!
//! Servers say which command is not permitted, but not which key or channel; and those before Redis 7.2 do not say which
//! command of a script.

use super::{Error, ErrorKind};
use crate::keyspace::Keyspace;

/// What servers say of a key, of a channel, and of a command that a script calls.
const KEYS: [&str; 2] = ["one of the keys", "access a key"];
const CHANNELS: [&str; 2] = ["one of the channels", "access a channel"];
const IN_A_SCRIPT: &str = "The user executing the script can't ";
const IN_A_SCRIPT_SINCE_7_2: &str = "ACL failure in script: ";

/// The text for an error reply with this code, if it is about a permission.
pub(super) fn explained(code: &str, detail: &str) -> Option<String> {
    // What follows names the script by its hash.
    let said = detail.split(" script: ").next().unwrap_or_default();
    let said = match code {
        "NOPERM" => said,
        "ERR" | "The" | "ACL" => {
            let text = detail
                .split_once(IN_A_SCRIPT_SINCE_7_2)
                .map(|(_, said)| said);
            match text {
                Some(text) => text.split(" script: ").next().unwrap_or_default(),
                None if detail.contains(IN_A_SCRIPT) => {
                    return Some(of_a_script(detail));
                }
                None => return None,
            }
        }
        _ => return None,
    };
    Some(match command(said) {
        Some(command) => {
            format!("NOPERM {said}; permit it: ACL SETUSER <user> +{command}")
        }
        None => format!("NOPERM {said}").trim_end().to_owned(),
    })
}

fn of_a_script(detail: &str) -> String {
    if KEYS.iter().any(|words| detail.contains(words)) || detail.contains("access at least one") {
        return "NOPERM a script may not access one of the keys".to_owned();
    }
    "NOPERM a script may not run one of its commands; the server does not say which: compare the user's rules with the \
     line for it in docs/deployments.md"
        .to_owned()
}

/// The command in `... to run the 'xgroup|create' command`.
fn command(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("to run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"|-_.".contains(&byte);
    (!command.is_empty() && command.bytes().all(is_a_name)).then_some(command)
}

impl Error {
    /// Adds the rule for the keys, or the channels, of a cache, if one of them was not permitted.
    pub(crate) fn with_rule(self, keyspace: &Keyspace) -> Self {
        if self.kind() != ErrorKind::Denied || self.detail().contains("ACL SETUSER") {
            return self;
        }
        let is_about = |words: &[&str]| words.iter().any(|words| self.detail().contains(words));
        let kind = match () {
            () if is_about(&KEYS) => '~',
            () if is_about(&CHANNELS) => '&',
            () => return self,
        };
        self.permitted_by(kind, &keyspace.pattern(b"*"))
    }

    /// Adds the rule for a pattern of channels. A user who listens to a pattern needs that very pattern.
    pub(crate) fn with_rule_for(self, pattern: &[u8]) -> Self {
        match self.kind() {
            ErrorKind::Denied if CHANNELS.iter().any(|words| self.detail().contains(words)) => {
                self.permitted_by('&', pattern)
            }
            _ => self,
        }
    }

    fn permitted_by(self, kind: char, pattern: &[u8]) -> Self {
        let rule = String::from_utf8_lossy(pattern).escape_debug().to_string();
        self.with(|inner| {
            let detail = format!(
                "{}; permit it: ACL SETUSER <user> {kind}{rule}",
                inner.detail
            );
            inner.detail = detail.into();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of Redis 6.2 and 7.0, and of Valkey 9.
    #[test]
    fn the_command_that_is_not_permitted_is_named_with_its_rule() {
        let script = "script: 121f601547e827d1d52f526b90db82318cb24248, on @user_script:1.";
        for (code, detail, rule) in [
            (
                "NOPERM",
                "this user has no permissions to run the 'set' command or its subcommand"
                    .to_owned(),
                "+set",
            ),
            (
                "NOPERM",
                "User app has no permissions to run the 'xgroup|create' command".to_owned(),
                "+xgroup|create",
            ),
            (
                "ERR",
                format!(
                    "ACL failure in script: User app has no permissions to run the 'zadd' command {script}"
                ),
                "+zadd",
            ),
        ] {
            let said = explained(code, &detail).unwrap();
            assert!(
                said.ends_with(&format!(" ACL SETUSER <user> {rule}")),
                "{said}"
            );
            assert!(!said.contains("121f60"), "{said}");
        }
        let unnamed =
            format!("The user executing the script can't run this command or subcommand {script}");
        let said = explained("ERR", &unnamed).unwrap();
        assert!(said.contains("docs/deployments.md"), "{said}");
        assert!(explained("ERR", "value is not an integer").is_none());
    }

    #[test]
    fn a_key_or_a_channel_gets_the_rule_for_the_prefix() {
        let keyspace = Keyspace::new("my[app", ":").unwrap();
        for (said, rule) in [
            ("No permissions to access a key", "~my\\[app:*"),
            (
                "this user has no permissions to access one of the keys used as arguments",
                "~my\\[app:*",
            ),
            ("No permissions to access a channel", "&my\\[app:*"),
        ] {
            let text = explained("NOPERM", said).unwrap();
            let error = Error::new(ErrorKind::Denied, text).with_rule(&keyspace);
            // The backslash is shown as it is written in a string.
            let expected = format!("ACL SETUSER <user> {}", rule.escape_debug());
            assert!(error.detail().ends_with(&expected), "{error}");
            let again = error.clone().with_rule(&keyspace);
            assert_eq!(again.to_string(), error.to_string());
        }
    }
}
