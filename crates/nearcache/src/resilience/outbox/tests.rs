//! The outbox without a server: what it keeps, replaces, forgets and sends again. With a server: `tests/outage`.

use super::ring::RECENT;
use super::waiting::Task;
use super::*;
use crate::keyspace::lease_of;
use crate::resilience::invalidation::{Goal, Kind};

fn key(name: &str) -> Invalidation {
    named(Kind::Entry, format!("p:{name}"), 2)
}

fn bare(name: &str) -> Invalidation {
    named(Kind::Entry, name.to_owned(), 0)
}

fn lease(name: &str) -> Invalidation {
    let lease = lease_of(format!("p:{name}").as_bytes(), 2);
    Invalidation {
        name: lease.as_slice().into(),
        ..key(name)
    }
    .of(Kind::Lease)
}

fn named(kind: Kind, name: String, prefix: usize) -> Invalidation {
    Invalidation {
        kind,
        name: name.into_bytes().into(),
        prefix,
    }
}

impl Invalidation {
    fn of(self, kind: Kind) -> Self {
        Invalidation { kind, ..self }
    }
}

fn keyspace(prefix: &str) -> Keyspace {
    Keyspace::new(prefix, ":").unwrap()
}

fn host() -> Arc<str> {
    "host".into()
}

fn outbox() -> (Outbox, Instant) {
    (Outbox::new(true, Epoch::default()), Instant::now())
}

impl Outbox {
    /// The names of what a call about these names must send first.
    fn claimed(&self, names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
        let claim = self.claim(&names, false, Instant::now());
        let names = claim.part().iter();
        names
            .map(|(one, _)| String::from_utf8_lossy(&one.name).into_owned())
            .collect()
    }

    /// As if the server acknowledged what a call about this name must send first.
    fn acknowledge(&self, name: &str) {
        let claim = self.claim(&[name.as_bytes()], false, Instant::now());
        for (invalidation, number) in claim.part() {
            let mut state = self.state.lock();
            state.waiting.remove(invalidation, *number);
        }
        self.note_waiting(&self.state.lock());
    }

    /// One page of the background's sweep. Returns what it deletes of the keys that the server found.
    fn swept(&self, found: &[&str], next: u64) -> Vec<String> {
        let mut state = self.state.lock();
        let Some(Task::Page(sweep, at)) = state.waiting.task(|_| Some(Goal::default())) else {
            panic!("there is a sweep");
        };
        let found = found.iter().map(|name| name.as_bytes().to_vec()).collect();
        let doomed = state.waiting.doomed(&sweep, at, found).unwrap();
        let next = (next != 0).then_some(next);
        state.waiting.go_on(&sweep, at, next, &doomed);
        let doomed = doomed.into_iter();
        doomed
            .map(|name| String::from_utf8(name).unwrap())
            .collect()
    }

    fn fill(&self, now: Instant) {
        let many = (0..ENTRIES).map(|number| key(&number.to_string()));
        assert!(self.defer(many, now));
    }
}

#[test]
fn invariant_1_a_call_sends_what_waits_of_its_own_names() {
    let (outbox, now) = outbox();
    let tag = named(Kind::Tag, "p:#nearcache:tag:t".into(), 2);
    outbox.defer([key("a"), key("b"), lease("c"), tag], now);
    assert_eq!(outbox.claimed(&["p:a", "p:x"]), ["p:a"]);
    assert_eq!(outbox.claimed(&["p:c"]), [""; 0], "only its lease waits");
    let lease = "p:{p:c}#nearcache:lease";
    assert_eq!(outbox.claimed(&["p:c", lease]), [lease]);
    let version = "p:#nearcache:tag:t";
    assert_eq!(outbox.claimed(&[version]), [version]);
    assert_eq!(outbox.waiting(), 4, "they were not acknowledged");
    outbox.acknowledge("p:a");
    assert_eq!(outbox.claimed(&["p:a"]), [""; 0]);
    assert_eq!(outbox.waiting(), 3);
}

#[test]
fn invariant_1_two_caches_that_reach_one_key_by_two_prefixes_have_two_leases() {
    let (outbox, now) = outbox();
    outbox.defer([key("q:a"), named(Kind::Entry, "p:q:a".into(), 4)], now);
    assert_eq!(outbox.claimed(&["p:q:a"]), ["p:q:a"; 2]);
}

#[test]
fn invariant_3_the_newest_of_a_key_stays_when_an_older_one_was_sent() {
    let (outbox, now) = outbox();
    outbox.defer([key("a"), key("b")], now);
    let Some(Task::Send(part)) = outbox.state.lock().waiting.task(|_| Some(Goal::default())) else {
        panic!("there is something to send");
    };
    outbox.defer([key("a")], now);
    for (invalidation, number) in &part {
        let mut state = outbox.state.lock();
        state.waiting.remove(invalidation, *number);
    }
    assert_eq!(outbox.waiting(), 1);
    assert_eq!(outbox.claimed(&["p:a", "p:b"]), ["p:a"]);
}

#[test]
fn invariant_4_what_the_list_cannot_hold_becomes_a_mark() {
    let (outbox, now) = outbox();
    outbox.fill(now);
    assert_eq!(outbox.sweeps(), 0);
    assert!(outbox.defer([key("marked"), lease("added"), bare("bare")], now));
    assert!(outbox.defer([key("7")], now), "it is there already");
    assert_eq!(outbox.waiting(), ENTRIES + 3);
    assert_eq!(outbox.sweeps(), 2, "one for each prefix");
    assert_eq!(outbox.claimed(&["p:other", "p:added"]), [""; 0]);
    assert_eq!(outbox.claimed(&["p:marked"]), ["p:marked"]);
    let added = "p:{p:added}#nearcache:lease";
    outbox.acknowledge(added);
    assert_eq!(outbox.claimed(&[added]), [""; 0]);
    outbox.acknowledge("bare");
    assert_eq!(outbox.claimed(&["bare"]), [""; 0]);
}

#[test]
fn invariant_4_claims_do_not_make_the_list_longer() {
    let (outbox, now) = outbox();
    outbox.fill(now);
    assert!(outbox.defer([key("a"), key("b")], now));
    for name in ["p:a", "p:b"] {
        assert_eq!(outbox.claimed(&[name]), [name]);
        assert_eq!(outbox.waiting(), ENTRIES + 2);
        assert_eq!(outbox.state.lock().waiting.listed(), ENTRIES);
    }
}

#[test]
fn invariant_4_what_the_marks_cannot_hold_clears_the_prefix() {
    let (outbox, now) = outbox();
    outbox.fill(now);
    let marks = (0..MARKS).map(|number| key(&format!("m{number}")));
    assert!(outbox.defer(marks, now));
    assert_eq!(outbox.waiting(), ENTRIES + MARKS);
    assert!(!outbox.defer([bare("without a prefix")], now));
    assert!(outbox.defer([lease("x")], now));
    assert_eq!(outbox.claimed(&["p:x"]), [""; 0], "an add costs its lease");
    assert!(outbox.defer([key("one more")], now));
    assert_eq!(outbox.claimed(&["p:anything"]), ["p:anything"]);
    assert_eq!(outbox.waiting(), ENTRIES + 3, "two sweeps, and a claim");
}

#[test]
fn invariant_4_a_tag_that_finds_no_room_clears_the_prefix() {
    let (outbox, now) = outbox();
    outbox.fill(now);
    let tag = |prefix| named(Kind::Tag, "p:#nearcache:tag:t".into(), prefix);
    assert!(outbox.defer([tag(2)], now));
    assert!(!outbox.defer([tag(0)], now));
    assert_eq!(outbox.claimed(&["p:anything"]), ["p:anything"]);
}

#[test]
fn invariant_4_what_is_remembered_is_bounded_by_its_size() {
    let (outbox, now) = outbox();
    outbox.note_connection(&host(), Some("first".into()), now);
    for number in 0..200 {
        let long = format!("{number}{}", "x".repeat(60_000));
        outbox.record([key(&long)], now);
        assert!(outbox.state.lock().done.bytes() <= BYTES);
    }
    // Nor does a replay make the list larger than it may be.
    let most = BYTES / 60_010;
    outbox.defer(
        (0..most).map(|at| key(&format!("{at}{}", "y".repeat(60_000)))),
        now,
    );
    let listed = outbox.state.lock().waiting.listed();
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("second".into()), now);
    assert!(outbox.state.lock().waiting.bytes() <= BYTES);
    assert!(outbox.waiting() > listed + 50, "the rest is marked");
}

#[test]
fn invariant_5_what_was_acknowledged_shortly_before_a_loss_waits_when_the_server_is_another() {
    let (outbox, start) = outbox();
    outbox.note_connection(&host(), Some("first".into()), start);
    outbox.record([key("old")], start);
    let last = start + RECENT + Duration::from_millis(1);
    outbox.record([key("recent")], last);
    outbox.record_sweep(&keyspace("p"), b"user:*", None, last);
    // However late the loss is noticed, the time of the last acknowledgement counts.
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("first".into()), last);
    assert!(!outbox.is_waiting(), "the same server lost nothing");
    let epoch = outbox.epoch();
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("second".into()), last);
    assert!(outbox.is_waiting());
    assert_ne!(outbox.epoch(), epoch);
    assert_eq!(outbox.waiting(), 2);
    let waits = outbox.claimed(&["p:old", "p:recent", "p:user:1"]);
    assert_eq!(waits, ["p:recent", "p:user:1"]);
}

#[test]
fn invariant_5_the_first_server_has_replaced_nobody() {
    let (outbox, now) = outbox();
    outbox.clear_on_loss(&keyspace("p"));
    outbox.defer([key("a")], now);
    // Connections were refused, and the breaker dropped what there was.
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("first".into()), now);
    assert_eq!((outbox.waiting(), outbox.sweeps()), (1, 0));
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("second".into()), now);
    assert_eq!((outbox.waiting(), outbox.sweeps()), (2, 1));
}

#[test]
fn invariant_5_a_server_that_does_not_say_who_it_is_counts_as_another_after_a_loss() {
    let (outbox, now) = outbox();
    outbox.note_connection(&host(), None, now);
    outbox.record([key("a")], now);
    outbox.note_connection(&host(), None, now);
    assert!(!outbox.is_waiting(), "one more connection is no loss");
    outbox.note_loss(&host());
    outbox.note_connection(&host(), None, now);
    assert!(outbox.is_waiting());
}

#[test]
fn a_sweep_goes_on_whatever_comes_meanwhile() {
    let (outbox, now) = outbox();
    outbox.defer_sweep(&keyspace("p"), b"user:*");
    let leases = ["p:{p:user:1}#nearcache:lease", "p:{p:x}#nearcache:lease"];
    assert_eq!(outbox.swept(&leases, 7), leases[..1]);
    outbox.defer([key("user:2")], now);
    outbox.acknowledge("p:user:2");
    assert_eq!(outbox.swept(&[], 0), [""; 0]);
    // What was written meanwhile is spared, and what it is not about anyway.
    outbox.acknowledge("p:user:3");
    let found = ["p:user:1", "p:user:3", "p:x", "q:user:1"];
    assert_eq!(outbox.swept(&found, 9), ["p:user:1"]);
    assert_eq!(outbox.sweeps(), 1);
    assert_eq!(outbox.swept(&[], 0), [""; 0]);
    assert_eq!((outbox.sweeps(), outbox.waiting()), (0, 0));
}

#[test]
fn a_sweep_spares_the_leases_of_what_was_taken_over() {
    let (outbox, _) = outbox();
    outbox.defer_sweep(&keyspace("p"), b"*");
    outbox.acknowledge("p:a");
    // By its name, the first could also belong to a key "{p:a}".
    let leases = ["a", "b"].map(|key| format!("p:{{p:{key}}}#nearcache:lease"));
    let found = leases.each_ref().map(String::as_str);
    assert_eq!(outbox.swept(&found, 0), leases[1..]);
}

#[test]
fn a_sweep_that_is_owed_again_goes_on_and_then_begins_again() {
    let (outbox, _) = outbox();
    let owe = || outbox.defer_sweep(&keyspace("p"), b"*");
    owe();
    outbox.swept(&[], 0);
    outbox.acknowledge("p:a");
    assert_eq!(outbox.swept(&["p:a"], 5), [""; 0]);
    owe();
    assert_eq!(outbox.claimed(&["p:a"]), ["p:a"], "it may be old again");
    outbox.acknowledge("p:a");
    assert_eq!(outbox.swept(&["p:b"], 0), ["p:b"], "it was not begun again");
    assert_eq!(outbox.sweeps(), 1);
    outbox.swept(&[], 0);
    assert_eq!(outbox.swept(&["p:a", "p:c"], 0), ["p:c"]);
    assert_eq!(outbox.sweeps(), 0);
}

#[test]
fn a_sweep_begins_again_on_another_server() {
    let (outbox, now) = outbox();
    outbox.note_connection(&host(), Some("first".into()), now);
    outbox.defer_sweep(&keyspace("p"), b"*");
    outbox.swept(&[], 0);
    outbox.acknowledge("p:a");
    let epoch = outbox.epoch();
    outbox.note_loss(&host());
    outbox.note_connection(&host(), Some("second".into()), now);
    assert_ne!(
        outbox.epoch(),
        epoch,
        "a call may have found nothing to send"
    );
    let lease = "p:{p:a}#nearcache:lease";
    assert_eq!(outbox.swept(&[lease], 0), [lease], "leases again");
    assert_eq!(outbox.swept(&["p:a"], 0), ["p:a"]);
}

#[test]
fn marks_that_come_while_they_are_swept_are_swept_again() {
    let (outbox, now) = outbox();
    outbox.fill(now);
    outbox.defer([key("a"), key("b")], now);
    {
        let mut state = outbox.state.lock();
        while let Some(Task::Send(part)) = state.waiting.task(|_| Some(Goal::default())) {
            for (invalidation, number) in part {
                state.waiting.remove(&invalidation, number);
            }
        }
    }
    // The last call has begun it.
    outbox.state.lock().waiting.mark_for_test(&key("late"));
    let leases = ["p:{p:a}#nearcache:lease", "p:{p:x}#nearcache:lease"];
    assert_eq!(outbox.swept(&leases, 0), leases[..1]);
    assert_eq!(
        outbox.swept(&["p:a", "p:x", "p:late"], 0),
        ["p:a", "p:late"]
    );
    // "b" is not there, and "late" may have come back before it was marked.
    assert_eq!((outbox.sweeps(), outbox.waiting()), (1, 1));
    outbox.swept(&[], 0);
    outbox.swept(&[], 0);
    assert_eq!((outbox.sweeps(), outbox.waiting()), (0, 0));
}

#[test]
fn a_sweep_that_a_later_clear_has_done_is_not_owed() {
    let (outbox, now) = outbox();
    let everything = keyspace("p");
    outbox.defer_sweep(&everything, b"*");
    let number = outbox.number_of(&everything, b"*");
    outbox.defer_sweep(&everything, b"*");
    outbox.record_sweep(&everything, b"*", number, now);
    assert_eq!(outbox.sweeps(), 1, "it was owed again meanwhile");
    let number = outbox.number_of(&everything, b"*");
    outbox.record_sweep(&everything, b"*", number, now);
    assert!(!outbox.is_waiting());
}

#[test]
fn a_listing_hides_what_was_invalidated_before_it_was_listed() {
    let (outbox, now) = outbox();
    outbox.defer([key("a"), key("b")], now);
    let listing = outbox.listing();
    outbox.acknowledge("p:b");
    let mut keys = ["p:a", "p:b", "p:c"]
        .map(|key| key.as_bytes().to_vec())
        .to_vec();
    listing.hide(&mut keys);
    assert_eq!(keys, [b"p:c"]);
}

#[test]
fn an_embedded_store_keeps_nothing() {
    let outbox = Outbox::new(false, Epoch::default());
    let now = Instant::now();
    assert!(!outbox.defer([key("a")], now));
    assert!(!outbox.defer_sweep(&keyspace("p"), b"*"));
    outbox.record([key("a")], now);
    outbox.record_sweep(&keyspace("p"), b"*", None, now);
    assert!(outbox.state.lock().done.is_empty());
}
