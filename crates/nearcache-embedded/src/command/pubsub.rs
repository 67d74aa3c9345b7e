//! Pub/sub: clients subscribe to channels and patterns, and get what others publish there.
//!
//! The commands that subscribe and unsubscribe are answered by one confirmation for each name. These go through the
//! client's mailbox, so that they are in order with the messages. Within a transaction the first one is the reply,
//! and the others follow it.

use std::sync::Arc;

use redis::{ProtocolVersion, PushKind, Value};

use super::Args;
use super::object::lines;
use super::row::prelude::*;
use super::server::container;
use crate::context::Context;
use crate::event::Record;
use crate::exchange::Topic;
use crate::mailbox::Mailbox;
use crate::reply::{Reply, bulk, bulk_or_nil, count};

#[rustfmt::skip]
pub(super) const COMMANDS: &[Command] = rows![
    ("subscribe",            -2, Shared, NONE, NoScript,  subscribe),
    ("unsubscribe",          -1, Shared, NONE, NoScript,  unsubscribe),
    ("psubscribe",           -2, Shared, NONE, NoScript,  psubscribe),
    ("punsubscribe",         -1, Shared, NONE, NoScript,  punsubscribe),
    ("ssubscribe",           -2, Shared, NONE, NoScript,  ssubscribe),
    ("sunsubscribe",         -1, Shared, NONE, NoScript,  sunsubscribe),
    ("publish",               3, Shared, NONE, Anywhere,  publish),
    ("spublish",              3, Shared, NONE, Anywhere,  spublish),
    ("pubsub",               -2, Shared, NONE, Container, container),
    ("pubsub|channels",      -2, Shared, NONE, Anywhere,  channels),
    ("pubsub|numsub",        -2, Shared, NONE, Anywhere,  numsub),
    ("pubsub|numpat",         2, Shared, NONE, Anywhere,  numpat),
    ("pubsub|shardchannels", -2, Shared, NONE, Anywhere,  shardchannels),
    ("pubsub|shardnumsub",   -2, Shared, NONE, Anywhere,  shardnumsub),
    ("pubsub|help",           2, Shared, NONE, Anywhere,  help),
];

/// Whether a command may be called by a client of RESP2 that is subscribed.
pub(crate) fn is_for_subscribers(command: &Command) -> bool {
    const ALLOWED: [&str; 9] = [
        "ping",
        "subscribe",
        "ssubscribe",
        "unsubscribe",
        "sunsubscribe",
        "psubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ];
    ALLOWED.contains(&command.name)
}

pub(super) fn subscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    begin(cx, Topic::Channel, args)
}

pub(super) fn psubscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    begin(cx, Topic::Pattern, args)
}

pub(super) fn ssubscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    begin(cx, Topic::Shard, args)
}

pub(super) fn unsubscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    end(cx, Topic::Channel, args)
}

pub(super) fn punsubscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    end(cx, Topic::Pattern, args)
}

pub(super) fn sunsubscribe(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    end(cx, Topic::Shard, args)
}

fn begin(cx: &mut Context<'_>, topic: Topic, args: Args<'_>) -> Reply {
    let mut answer = Answer::new(cx, topic, true);
    let subscriptions = cx.session.subscribe(cx.shared);
    for name in &args[1..] {
        subscriptions.add(topic, name, |count| answer.confirm(Some(name), count));
    }
    cx.session.silent = !cx.queued;
    Ok(answer.reply(cx.session.protocol))
}

fn end(cx: &mut Context<'_>, topic: Topic, args: Args<'_>) -> Reply {
    let mut answer = Answer::new(cx, topic, false);
    let all;
    let names: Vec<&[u8]> = if args.len() > 1 {
        args[1..].to_vec()
    } else {
        let subscriptions = cx.session.subscriptions.as_ref();
        all = subscriptions.map_or_else(Vec::new, |known| known.all(topic));
        all.iter().map(AsRef::as_ref).collect()
    };
    let mut left = cx.session.subscriptions.as_mut();
    for name in &names {
        if let Some(subscriptions) = &mut left {
            subscriptions.remove(topic, name);
        }
        answer.confirm(
            Some(name),
            left.as_ref().map_or(0, |left| left.count(topic)),
        );
    }
    if names.is_empty() {
        answer.confirm(None, left.as_ref().map_or(0, |left| left.count(topic)));
    }
    cx.session.subscriptions.take_if(|left| left.is_empty());
    cx.session.silent = !cx.queued;
    Ok(answer.reply(cx.session.protocol))
}

/// The confirmations of a command.
struct Answer {
    kind: PushKind,
    mailbox: Arc<Mailbox>,
    /// Whether the first one is the reply, and not left in the mailbox.
    replies: bool,
    first: Option<Value>,
}

impl Answer {
    fn new(cx: &mut Context<'_>, topic: Topic, begins: bool) -> Self {
        let kind = match (topic, begins) {
            (Topic::Channel, true) => PushKind::Subscribe,
            (Topic::Channel, false) => PushKind::Unsubscribe,
            (Topic::Pattern, true) => PushKind::PSubscribe,
            (Topic::Pattern, false) => PushKind::PUnsubscribe,
            (Topic::Shard, true) => PushKind::SSubscribe,
            (Topic::Shard, false) => PushKind::SUnsubscribe,
        };
        Answer {
            kind,
            mailbox: cx.session.open_mailbox(cx.shared).clone(),
            replies: cx.queued,
            first: None,
        }
    }

    fn confirm(&mut self, name: Option<&[u8]>, subscriptions: usize) {
        let push = Value::Push {
            kind: self.kind.clone(),
            data: vec![bulk_or_nil(name), count(subscriptions)],
        };
        let is_first = self.first.is_none();
        if !(is_first && self.replies) {
            self.mailbox.push(push.clone());
        }
        if is_first {
            self.first = Some(push);
        }
    }

    /// The first confirmation, as the protocol has it.
    fn reply(self, protocol: ProtocolVersion) -> Value {
        match self.first {
            Some(Value::Push { kind, mut data }) if protocol == ProtocolVersion::RESP2 => {
                data.insert(0, bulk(name_of(&kind).as_bytes()));
                Value::Array(data)
            }
            first => first.unwrap_or_default(),
        }
    }
}

fn name_of(kind: &PushKind) -> &'static str {
    match kind {
        PushKind::Subscribe => "subscribe",
        PushKind::Unsubscribe => "unsubscribe",
        PushKind::PSubscribe => "psubscribe",
        PushKind::PUnsubscribe => "punsubscribe",
        PushKind::SSubscribe => "ssubscribe",
        _ => "sunsubscribe",
    }
}

pub(super) fn publish(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (channel, message) = (args[1], args[2]);
    if cx.holds_locks() {
        let receivers = cx.shared.exchange.receivers(Topic::Channel, channel);
        tell_later(cx, Topic::Channel, args, receivers);
        return Ok(count(receivers));
    }
    Ok(count(cx.shared.exchange.publish(channel, message)))
}

pub(super) fn spublish(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    let (channel, message) = (args[1], args[2]);
    if cx.holds_locks() {
        let receivers = cx.shared.exchange.receivers(Topic::Shard, channel);
        tell_later(cx, Topic::Shard, args, receivers);
        return Ok(count(receivers));
    }
    Ok(count(cx.shared.exchange.publish_to_shard(channel, message)))
}

/// In a transaction or a script: the message goes out when the locks are released.
fn tell_later(cx: &Context<'_>, topic: Topic, args: Args<'_>, receivers: usize) {
    if receivers > 0 {
        cx.tell(Record::Published {
            topic,
            channel: args[1].into(),
            message: args[2].into(),
        });
    }
}

pub(super) fn channels(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    names(cx, Topic::Channel, args)
}

pub(super) fn shardchannels(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    names(cx, Topic::Shard, args)
}

fn names(cx: &Context<'_>, topic: Topic, args: Args<'_>) -> Reply {
    if args.len() > 3 {
        return Err(super::subcommand_syntax(args));
    }
    let names = cx.shared.exchange.names(topic, args.get(2).copied());
    Ok(Value::Array(names.iter().map(|name| bulk(name)).collect()))
}

pub(super) fn numsub(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    numbers(cx, Topic::Channel, args)
}

pub(super) fn shardnumsub(cx: &mut Context<'_>, args: Args<'_>) -> Reply {
    numbers(cx, Topic::Shard, args)
}

fn numbers(cx: &Context<'_>, topic: Topic, args: Args<'_>) -> Reply {
    let number = |name: &&[u8]| {
        let subscribers = cx.shared.exchange.subscribers(topic, name);
        [bulk(name), count(subscribers)]
    };
    Ok(Value::Array(args[2..].iter().flat_map(number).collect()))
}

pub(super) fn numpat(cx: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(count(cx.shared.exchange.count(Topic::Pattern)))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>) -> Reply {
    Ok(lines(&[
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
        "HELP",
        "    Prints this help.",
    ]))
}
