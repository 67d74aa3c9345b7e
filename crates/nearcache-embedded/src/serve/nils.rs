//! Which commands reply with null arrays, where others reply with null strings.

use super::encode::Nils;
use crate::command::Command;
use crate::session::Session;

/// What the nils in the reply to this command stand for.
#[inline]
pub(crate) fn of(session: &Session, command: &Command, args: usize) -> Nils {
    if command.keys.is_queued() {
        return of_transaction(session);
    }
    of_command(command.name, args)
}

#[inline]
fn of_command(name: &str, args: usize) -> Nils {
    if name == "xpending" {
        return Nils::Last;
    }
    let arrays = match name.as_bytes() {
        [b'b', ..] => matches!(
            name,
            "blpop" | "brpop" | "blmpop" | "bzpopmin" | "bzpopmax" | "bzmpop"
        ),
        [b'l' | b'r', ..] => name == "lmpop" || args > 2 && matches!(name, "lpop" | "rpop"),
        [b'z', ..] => name == "zmpop",
        [b'x', ..] => matches!(name, "xread" | "xreadgroup"),
        [b'g', ..] => name == "geopos",
        _ => false,
    };
    if arrays { Nils::Arrays } else { Nils::Strings }
}

#[cold]
fn of_transaction(session: &Session) -> Nils {
    let queue = session.transaction.iter().flat_map(|open| &open.queue);
    Nils::Each(
        queue
            .map(|queued| of_command(queued.command.name, queued.args.len()))
            .collect(),
    )
}
