//! The table of commands: the rows of all families, and how a command is found by its name.

use super::Command;

/// The rows of each family of commands.
static FAMILIES: &[&[Command]] = &[
    super::strings::COMMANDS,
    super::streams::COMMANDS,
    super::counters::COMMANDS,
    super::bitmaps::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::keys::COMMANDS,
    super::object::COMMANDS,
    super::expiry::COMMANDS,
    super::scan::COMMANDS,
    super::lists::COMMANDS,
    super::sorted_sets::COMMANDS,
    super::geo::COMMANDS,
    super::transactions::COMMANDS,
    super::scripting::COMMANDS,
    super::session::COMMANDS,
    super::client::COMMANDS,
    super::auth::COMMANDS,
    super::admin::COMMANDS,
    super::slow_log::COMMANDS,
    super::latency::COMMANDS,
    super::tracking::COMMANDS,
    super::pubsub::COMMANDS,
    super::hello::COMMANDS,
    super::config::COMMANDS,
    super::info::COMMANDS,
    super::server::COMMANDS,
    super::lcs::COMMANDS,
    super::sort::COMMANDS,
    super::persistence::COMMANDS,
    super::list_moves::COMMANDS,
    super::hashes::COMMANDS,
    super::sets::COMMANDS,
    super::set_algebra::COMMANDS,
    super::introspection::COMMANDS,
];

/// A hash index of the names: the row as `family << 8 | position`, plus one; or 0 for none. At most half full, so
/// that a name is found with one or two probes.
static INDEX: [u16; SLOTS] = index();
/// The bit of an entry that says that it is a subcommand.
const SUBCOMMAND: u16 = 1 << 15;
/// Room for 512 commands.
pub(crate) const SLOTS: usize = 1024;

const fn index() -> [u16; SLOTS] {
    let mut slots = [0; SLOTS];
    let (mut family, mut count) = (0, 0);
    while family < FAMILIES.len() {
        let mut row = 0;
        while row < FAMILIES[family].len() {
            let mut slot = slot_of(FAMILIES[family][row].name.as_bytes());
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            assert!(family < 127 && row < 255 && count < SLOTS / 2);
            slots[slot] = (family << 8 | row) as u16 + 1;
            if is_subcommand(FAMILIES[family][row].name.as_bytes()) {
                slots[slot] |= SUBCOMMAND;
            }
            row += 1;
            count += 1;
        }
        family += 1;
    }
    slots
}

const fn is_subcommand(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() && name[at] != b'|' {
        at += 1;
    }
    at < name.len()
}

/// A hash that ignores case.
const fn slot_of(name: &[u8]) -> usize {
    let mut word = name.len() as u64;
    let mut at = 0;
    while at < name.len() {
        word = word.rotate_left(7) ^ (name[at] | 0x20) as u64;
        at += 1;
    }
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % SLOTS
}

/// The command or subcommand of that name, in any case.
#[inline]
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    search(name, 0)
}

/// The same, but no subcommand: these have a container, which comes first.
#[inline]
pub(super) fn find_command(name: &[u8]) -> Option<&'static Command> {
    search(name, SUBCOMMAND)
}

#[inline]
fn search(name: &[u8], without: u16) -> Option<&'static Command> {
    let mut slot = slot_of(name);
    loop {
        let entry = INDEX[slot];
        let place = usize::from(entry & !SUBCOMMAND).checked_sub(1)?;
        let command = &FAMILIES[place >> 8][place & 0xff];
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command).filter(|_| entry & without == 0);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The slot of a command: a number below [`SLOTS`].
#[inline]
pub(crate) fn slot(name: &str) -> Option<usize> {
    let mut slot = slot_of(name.as_bytes());
    loop {
        let place = usize::from(INDEX[slot] & !SUBCOMMAND).checked_sub(1)?;
        if FAMILIES[place >> 8][place & 0xff].name == name {
            return Some(slot);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// All rows.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().copied().flatten()
}

/// The name of some row, for any number.
#[cfg(any(fuzzing, test))]
pub(crate) fn name(row: u16) -> &'static str {
    let row = usize::from(row) % all().count();
    all().nth(row).map_or("", |command| command.name)
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for command in all() {
            for name in [command.name.to_lowercase(), command.name.to_uppercase()] {
                assert_eq!(
                    find(name.as_bytes()).map(|found| found.name),
                    Some(command.name)
                );
            }
        }
    }

    #[test]
    fn what_is_no_command_is_not_found() {
        for name in ["", "ge", "gett", "\0", "client|nope", "get "] {
            assert!(find(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn a_subcommand_is_no_command() {
        assert!(find(b"object|encoding").is_some());
        assert!(find_command(b"object|encoding").is_none());
        assert!(find_command(b"object").is_some());
    }

    #[test]
    fn a_name_is_in_the_table_once() {
        let mut names: Vec<_> = all().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn a_container_has_subcommands_and_is_never_run_as_one() {
        for command in all() {
            let subcommand = format!("{}|", command.name);
            let is_container = all().any(|other| other.name.starts_with(&subcommand));
            assert_eq!(
                is_container,
                command.place == Place::Container,
                "{}",
                command.name
            );
        }
    }
}
