//! The outbox without a server: what it keeps, replaces, forgets and sends again. With a server: `tests/outage`.

use super::*;

fn key(name: &str) -> Invalidation {
    Invalidation::Entry {
        key: name.as_bytes().into(),
        lease: format!("{{{name}}}").as_bytes().into(),
    }
}

fn keyspace(prefix: &str) -> Keyspace {
    Keyspace::new(prefix, ":").unwrap()
}

#[test]
fn invariant_3_the_newest_of_a_key_stays_when_an_older_one_was_sent() {
    let outbox = Outbox::new(true, Epoch::default());
    outbox.defer([key("a"), key("b")], &keyspace("p"));
    let (part, _) = outbox.state.lock().part();
    outbox.defer([key("a")], &keyspace("p"));
    for (invalidation, number) in &part {
        outbox.state.lock().remove(invalidation, *number);
    }
    assert_eq!(outbox.waiting(), 1);
    assert!(outbox.state.lock().invalidations.contains_key(&key("a")));
}

#[test]
fn invariant_4_what_overflows_becomes_a_sweep_or_is_refused() {
    let outbox = Outbox::new(true, Epoch::default());
    let many = (0..ENTRIES).map(|number| key(&number.to_string()));
    assert!(outbox.defer(many, &keyspace("p")));
    assert!(outbox.state.lock().sweeps.is_empty());
    assert!(outbox.defer([key("one more")], &keyspace("p")));
    assert!(
        outbox
            .state
            .lock()
            .sweeps
            .contains_key(&(keyspace("p"), EVERYTHING.to_vec()))
    );
    assert!(!outbox.defer([key("without a prefix")], &keyspace("")));
    assert!(
        outbox.defer([key("7")], &keyspace("")),
        "it is there already"
    );
    assert_eq!(outbox.waiting(), ENTRIES + 1);
}

#[test]
fn invariant_5_what_was_acknowledged_shortly_before_a_loss_waits_when_the_server_is_another() {
    let outbox = Outbox::new(true, Epoch::default());
    let start = Instant::now();
    outbox.note_connection(Some("first".into()));
    outbox.record([key("old")], start);
    let last = start + RECENT + Duration::from_millis(1);
    outbox.record([key("recent")], last);
    outbox.record_sweep(&keyspace("p"), b"user:*", last);
    // However late the loss is noticed, the time of the last acknowledgement counts.
    outbox.note_loss();
    outbox.note_connection(Some("first".into()));
    assert!(!outbox.is_waiting(), "the same server lost nothing");
    let epoch = outbox.epoch();
    outbox.note_loss();
    outbox.note_connection(Some("second".into()));
    assert!(outbox.is_waiting());
    assert_ne!(outbox.epoch(), epoch);
    assert_eq!(outbox.waiting(), 2);
    let state = outbox.state.lock();
    assert!(state.invalidations.contains_key(&key("recent")));
    let sweep = (keyspace("p"), b"user:*".to_vec());
    assert!(state.sweeps.contains_key(&sweep));
}

#[test]
fn what_comes_while_a_sweep_is_under_way_makes_it_begin_again() {
    let outbox = Outbox::new(true, Epoch::default());
    let everything = (keyspace("p"), EVERYTHING.to_vec());
    let number = || outbox.state.lock().sweeps[&everything].0;
    outbox.defer_sweep(&keyspace("p"), EVERYTHING);
    let first = number();
    outbox.defer([key("a")], &keyspace("p"));
    let second = number();
    assert_ne!(first, second, "it may have passed the key already");
    outbox.defer_sweep(&keyspace("p"), EVERYTHING);
    assert_ne!(second, number());
    assert_eq!(outbox.waiting(), 1);
}

#[test]
fn invariant_5_a_server_that_does_not_say_who_it_is_counts_as_another_after_a_loss() {
    let outbox = Outbox::new(true, Epoch::default());
    let now = Instant::now();
    outbox.note_connection(None);
    outbox.record([key("a")], now);
    outbox.note_connection(None);
    assert!(!outbox.is_waiting(), "one more connection is no loss");
    outbox.note_loss();
    outbox.note_connection(None);
    assert!(outbox.is_waiting());
}

#[test]
fn an_embedded_store_keeps_nothing() {
    let outbox = Outbox::new(false, Epoch::default());
    assert!(!outbox.defer([key("a")], &keyspace("p")));
    outbox.record([key("a")], Instant::now());
    assert!(outbox.state.lock().done.is_empty());
}
