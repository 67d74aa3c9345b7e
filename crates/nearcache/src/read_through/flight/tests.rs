use super::*;

fn value(text: &str) -> Answer {
    Answer::Value(Arc::from(text.as_bytes()))
}

fn text(turn: &Turn) -> Option<&str> {
    match turn {
        Turn::Take(Answer::Value(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

async fn turn(waiter: Waiter) -> Turn {
    waiter.turn(&Runtime::Tokio, None).await
}

#[tokio::test]
async fn rule_2_who_joined_after_the_command_was_sent_is_not_answered_by_it() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let early = flights.join(b"k").unwrap_err();
    let covers = leader.covers();
    let late = flights.join(b"k").unwrap_err();
    leader.answer(covers, value("v"));
    assert_eq!(text(&turn(early).await), Some("v"));
    let Turn::Lead(next) = turn(late).await else {
        panic!("answered by what was sent before it asked");
    };
    drop(next);
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn rule_3_one_of_the_unanswered_leads_for_the_others() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let waiters: Vec<_> = (0..10).map(|_| flights.join(b"k").unwrap_err()).collect();
    drop(leader);
    let mut turns = Vec::new();
    for waiter in waiters {
        turns.push(tokio::spawn(turn(waiter)));
    }
    let mut taken = 0;
    for waiting in turns {
        match waiting.await.unwrap() {
            Turn::Lead(leader) => {
                let covers = leader.covers();
                leader.answer(covers, value("v"));
            }
            turn => {
                assert_eq!(text(&turn), Some("v"));
                taken += 1;
            }
        }
    }
    assert_eq!((taken, flights.len()), (9, 0));
}

#[tokio::test]
async fn an_invalidation_detaches_a_load_that_may_not_answer_everybody() {
    let flights = Arc::<Flights>::default();
    flights.detach(b"k");
    let leader = flights.join(b"k").unwrap();
    let early = flights.join(b"k").unwrap_err();
    // The loader will be called after all of them have asked.
    flights.detach(b"k");
    let covers = leader.calls_loader();
    let late = flights.join(b"k").unwrap_err();
    let slow = flights.join(b"k").unwrap_err();
    drop(flights.join(b"k").unwrap_err());
    let waiting = tokio::spawn(turn(late));
    tokio::task::yield_now().await;
    flights.detach(b"k");
    let Turn::Lead(next) = waiting.await.unwrap() else {
        panic!("it waits on");
    };
    leader.answer(covers, value("old"));
    assert_eq!(text(&turn(early).await), Some("old"));
    // One who has not woken yet is in the new flight all the same, before its loader is called.
    let covers = next.calls_loader();
    next.answer(covers, value("new"));
    assert_eq!(text(&turn(slow).await), Some("new"));
    assert_eq!((flights.any(), flights.len()), (false, 0));
}

#[tokio::test]
async fn one_load_at_a_time_is_detached() {
    let flights = Arc::<Flights>::default();
    let first = flights.join(b"k").unwrap();
    first.calls_loader();
    flights.detach(b"k");
    let second = flights.join(b"k").unwrap();
    second.calls_loader();
    flights.detach(b"k");
    let late = flights.join(b"k").unwrap_err();
    drop(first);
    flights.detach(b"k");
    assert!(matches!(turn(late).await, Turn::Lead(_)));
    drop(second);
    assert_eq!((flights.any(), flights.len()), (false, 0));
    assert!(flights.table.lock().detached.is_empty());
}

#[tokio::test]
async fn who_goes_away_from_a_detached_flight_leaves_nothing_behind() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let _covers = leader.calls_loader();
    let gone = flights.join(b"k").unwrap_err();
    let also = flights.join(b"k").unwrap_err();
    drop(gone);
    flights.detach(b"k");
    assert_eq!(flights.len(), 1);
    drop(also);
    assert_eq!((flights.any(), flights.len()), (false, 0));
    drop(leader);
    assert_eq!((flights.any(), flights.len()), (false, 0));
}

#[tokio::test]
async fn a_detached_flight_whose_leader_goes_away_gets_no_other() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let early = flights.join(b"k").unwrap_err();
    let _covers = leader.calls_loader();
    flights.detach(b"k");
    drop(leader);
    assert!(matches!(turn(early).await, Turn::Again));
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn rule_5_those_who_go_away_leave_nothing_behind() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let waiter = flights.join(b"k").unwrap_err();
    drop(leader);
    drop(waiter);
    assert_eq!(flights.len(), 0);
    assert!(flights.lead_alone(b"k").is_some());
    assert_eq!(flights.len(), 0);
}

#[tokio::test]
async fn an_error_reaches_everyone_and_the_key_can_be_loaded_again() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let _covers = leader.covers();
    let late = flights.join(b"k").unwrap_err();
    leader.fail(Error::closed());
    assert!(matches!(turn(late).await, Turn::Take(Answer::Failed(_))));
    assert!(flights.join(b"k").is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_who_has_waited_too_long_leads_in_the_leaders_place() {
    let flights = Arc::<Flights>::default();
    let leader = flights.join(b"k").unwrap();
    let patience = Some(Duration::from_secs(1));
    let first = flights.join(b"k").unwrap_err();
    let second = flights.join(b"k").unwrap_err();
    let Turn::Lead(substitute) = first.turn(&Runtime::Tokio, patience).await else {
        panic!("no substitute");
    };
    assert!(substitute.is_late());
    let waiting = tokio::spawn(async move { second.turn(&Runtime::Tokio, patience).await });
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!waiting.is_finished(), "a second substitute");
    let covers = substitute.covers();
    substitute.answer(covers, value("v"));
    assert_eq!(text(&waiting.await.unwrap()), Some("v"));
    leader.answer(0, value("late"));
    assert_eq!(flights.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_who_has_waited_too_long_for_the_substitute_too_loads_alone() {
    let flights = Arc::<Flights>::default();
    let _leader = flights.join(b"k").unwrap();
    let patience = Some(Duration::from_secs(1));
    let mut waiters: Vec<_> = (0..3).map(|_| flights.join(b"k").unwrap_err()).collect();
    let begun = tokio::time::Instant::now();
    let (first, second) = (waiters.pop().unwrap(), waiters.pop().unwrap());
    let Turn::Lead(substitute) = first.turn(&Runtime::Tokio, patience).await else {
        panic!("no substitute");
    };
    assert!(substitute.is_late());
    let Turn::Lead(alone) = second.turn(&Runtime::Tokio, patience).await else {
        panic!("it waits for ever");
    };
    assert!(alone.is_late());
    assert_eq!(begun.elapsed().as_secs(), 3);
    // One who comes now waits once: the substitute is late already.
    let late = flights.join(b"k").unwrap_err();
    let Turn::Lead(alone) = late.turn(&Runtime::Tokio, patience).await else {
        panic!("it waits for ever");
    };
    assert_eq!(begun.elapsed().as_secs(), 4);
    // Its answer is for all who joined before its loader was called.
    let covers = alone.covers();
    alone.answer(covers, value("v"));
    let third = waiters.pop().unwrap();
    assert_eq!(
        text(&third.turn(&Runtime::Tokio, patience).await),
        Some("v")
    );
    drop(substitute);
}

#[cfg(feature = "embedded")]
#[test]
fn caches_of_one_place_share_their_flights() {
    use crate::connect::Mode;
    use crate::connect::target::{Place, Target};
    let open = |name: &str| {
        let name = Some(name.to_owned());
        crate::resilience::open(&Target::new(Place::Embedded { name }), Mode::Async)
    };
    let (here, there) = (open("flights").unwrap(), open("other-flights").unwrap());
    let flights = Flights::of(&here);
    assert!(Arc::ptr_eq(&flights, &Flights::of(&here)));
    assert!(!Arc::ptr_eq(&flights, &Flights::of(&there)));
}
