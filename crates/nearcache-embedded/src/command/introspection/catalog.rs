//! What clients are told of each command: the table `catalog.txt`, which is read when somebody asks for the first
//! time.
//!
//! The table has Redis's commands whether they exist here or not. Its columns are the name, the flags, the categories
//! that do not follow from the flags, the group, the version since which the command exists, how long it takes, where
//! its keys are, hints, and what it does. `-` stands for nothing.

use std::collections::HashMap;
use std::sync::OnceLock;

#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) flags: Vec<&'static str>,
    own_categories: Vec<&'static str>,
    pub(super) group: &'static str,
    pub(super) since: &'static str,
    pub(super) complexity: &'static str,
    pub(super) keys: Vec<Spec>,
    pub(super) tips: Vec<&'static str>,
    pub(super) summary: &'static str,
}

/// Where some of a command's keys are, and what happens to them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) begin: Begin,
    pub(super) find: Find,
    pub(super) flags: Vec<&'static str>,
}

/// Where the keys begin. In the table: `1`, `STORE@6` or `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Index(i64),
    /// After this word, which is looked for from that argument on; from the end, if negative.
    After(&'static str, i64),
    Unknown,
}

/// Which arguments are keys from there on. In the table: `last/step/limit`, `#count/first/step` or `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Find {
    /// Every `step`-th up to the `last`, which counts from the first key, or from the end if negative. A `limit` of 2
    /// means only the first half of them.
    Range {
        last: i64,
        step: i64,
        limit: i64,
    },
    /// As many as an argument says.
    Counted {
        count: i64,
        first: i64,
        step: i64,
    },
    Unknown,
}

/// The categories, in the order in which a server lists them.
pub(in crate::command) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

impl Details {
    /// Those of a command; all empty if it is not in the table.
    pub(super) fn of(name: &str) -> &'static Details {
        static ALL: OnceLock<(HashMap<&str, Details>, Details)> = OnceLock::new();
        let (all, none) = ALL.get_or_init(|| (table(), Details::default()));
        all.get(name).unwrap_or(none)
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    pub(super) fn is_in(&self, category: &str) -> bool {
        self.own_categories.contains(&category)
            || match category {
                // A script is what it does.
                "read" => self.has("readonly") && !self.own_categories.contains(&"scripting"),
                "write" => self.has("write") && !self.own_categories.contains(&"scripting"),
                "admin" | "pubsub" | "fast" | "blocking" => self.has(category),
                "slow" => !self.has("fast"),
                "dangerous" => self.has("admin"),
                _ => false,
            }
    }

    pub(super) fn may_lack_keys(&self) -> bool {
        self.has("no_mandatory_keys")
    }

    /// The first key, the last one, and the step between them, as far as a range can tell.
    pub(super) fn range(&self) -> (i64, i64, i64) {
        let ranges = self
            .keys
            .iter()
            .filter_map(|spec| match (spec.begin, spec.find) {
                (Begin::Index(first), Find::Range { last, step, .. }) => {
                    Some((first, if last < 0 { last } else { first + last }, step))
                }
                _ => None,
            });
        let mut whole = (0, 0, 0);
        for (first, last, step) in ranges {
            if self.keys.len() == 1 {
                return (first, last, step);
            }
            if step != 1 || whole.1 != 0 && whole.1 != first - 1 {
                continue;
            }
            let from = if whole.0 == 0 { first } else { whole.0 };
            whole = (from, last, 1);
        }
        whole
    }
}

fn table() -> HashMap<&'static str, Details> {
    include_str!("catalog.txt")
        .lines()
        .filter_map(|line| {
            let mut columns = line
                .split(" | ")
                .map(|text| if text == "-" { "" } else { text });
            let mut column = || columns.next();
            let words = |text: &'static str| text.split_whitespace().collect();
            let name = column()?;
            let details = Details {
                flags: words(column()?),
                own_categories: words(column()?),
                group: column()?,
                since: column()?,
                complexity: column()?,
                keys: column()?.split("; ").filter_map(Spec::read).collect(),
                tips: words(column()?),
                summary: column()?,
            };
            Some((name, details))
        })
        .collect()
}

impl Spec {
    fn read(text: &'static str) -> Option<Self> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let begin = match words.next()? {
            "?" => Begin::Unknown,
            text => match text.split_once('@') {
                Some((word, from)) => Begin::After(word, from.parse().ok()?),
                None => Begin::Index(text.parse().ok()?),
            },
        };
        let find = words.next()?;
        let mut numbers = find.trim_start_matches('#').split('/').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let find = match find.as_bytes() {
            [b'?'] => Find::Unknown,
            [b'#', ..] => Find::Counted {
                count: number()?,
                first: number()?,
                step: number()?,
            },
            _ => Find::Range {
                last: number()?,
                step: number()?,
                limit: number()?,
            },
        };
        Some(Spec {
            begin,
            find,
            flags: words.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Access, Keys, table};
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = include_str!("catalog.txt").lines();
        for line in lines.clone() {
            assert_eq!(line.split(" | ").count(), 9, "{line}");
            let name = line.split(' ').next().unwrap();
            let details = Details::of(name);
            assert!(!details.summary.is_empty(), "{line}");
            let specs = line.split(" | ").nth(6).unwrap();
            let expected = if specs == "-" {
                0
            } else {
                specs.split("; ").count()
            };
            assert_eq!(details.keys.len(), expected, "{line}");
            for category in &details.own_categories {
                assert!(CATEGORIES.contains(category), "{line}");
            }
        }
        let mut names: Vec<_> = lines.map(|line| line.split(' ').next()).collect();
        names.dedup();
        assert_eq!(names.len(), super::table().len());
    }

    #[test]
    fn every_command_is_in_the_table_and_what_it_says_of_it_is_true() {
        for command in table::all() {
            let details = Details::of(command.name);
            assert!(
                !details.summary.is_empty(),
                "{} is not in catalog.txt",
                command.name
            );
            if details.keys.is_empty() {
                continue;
            }
            assert_eq!(
                details.has("denyoom"),
                command.access == Access::Growing,
                "{}",
                command.name
            );
            if command.access == Access::Shared {
                assert!(!details.has("write"), "{}", command.name);
            }
            if let Keys::Range { first, last, step } = command.keys {
                let range = (first as i64, last as i64, step as i64);
                assert_eq!(details.range(), range, "{}", command.name);
            }
        }
    }
}
