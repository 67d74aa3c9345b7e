//! The search itself, on two machines whose states can be counted by hand.

use nearcache_model::explorer::{Limits, Machine, Report, Step, Verdict, explore};

const LIMITS: Limits = Limits {
    states: 1_000_000,
    progress: false,
};

/// Two jugs, of three and of five: fill, empty, pour. Breaks once the large one holds `forbidden`.
struct Jugs {
    forbidden: u8,
}

impl Machine for Jugs {
    type State = (u8, u8);
    type Packed = (u8, u8);
    type Event = &'static str;
    type Property = &'static str;

    fn starts(&self) -> Vec<(u8, u8)> {
        vec![(0, 0)]
    }

    fn pack(&self, state: &(u8, u8)) -> (u8, u8) {
        *state
    }

    fn unpack(&self, packed: &(u8, u8)) -> (u8, u8) {
        *packed
    }

    fn steps(&self, &(small, large): &(u8, u8), out: &mut Vec<Step<Jugs>>) {
        let over = small.min(5 - large);
        let back = large.min(3 - small);
        let steps = [
            ("fill the small one", (3, large)),
            ("fill the large one", (small, 5)),
            ("empty the small one", (0, large)),
            ("empty the large one", (small, 0)),
            ("pour the small one over", (small - over, large + over)),
            ("pour the large one over", (small + back, large - back)),
        ];
        out.extend(steps.map(|(event, state)| Step {
            event,
            state,
            broken: None,
            fair: true,
        }));
    }

    fn broken(&self, state: &(u8, u8)) -> Option<&'static str> {
        (state.1 == self.forbidden).then_some("too much")
    }

    fn waiting(&self, _: &(u8, u8)) -> bool {
        false
    }

    fn stuck(&self) -> &'static str {
        "stuck"
    }
}

#[test]
fn every_state_is_reached_once() {
    let mut steps = 0;
    let report = explore(&Jugs { forbidden: 9 }, LIMITS, |_| steps += 1);
    assert!(matches!(report.verdict, Verdict::Holds));
    // Of the 24 pairs, those with at least one jug full or empty.
    assert_eq!(report.states, 16);
    assert_eq!(report.steps, 16 * 6);
    assert_eq!(steps, 16 * 6);
}

#[test]
fn the_trace_of_a_violation_is_a_shortest_one_and_a_run() {
    let machine = Jugs { forbidden: 4 };
    let Verdict::Broken { property, trace } = explore(&machine, LIMITS, |_| {}).verdict else {
        panic!("four can be measured");
    };
    assert_eq!(property, "too much");
    let events: Vec<_> = trace.iter().map(|step| step.event).collect();
    assert_eq!(
        events,
        [
            "fill the large one",
            "pour the large one over",
            "empty the small one",
            "pour the large one over",
            "fill the large one",
            "pour the large one over",
        ]
    );
    assert_eq!(trace[0].before, (0, 0));
    assert!(trace.windows(2).all(|pair| pair[0].after == pair[1].before));
    assert_eq!(trace[5].after, (3, 4));
}

#[test]
fn a_search_stops_at_its_limit() {
    let limits = Limits {
        states: 5,
        ..LIMITS
    };
    let report = explore(&Jugs { forbidden: 9 }, limits, |_| {});
    assert!(matches!(report.verdict, Verdict::TooMany));
}

/// A walk along numbers, in which everybody waits who is not at `home`.
struct Walk {
    steps: Vec<(u8, u8, bool)>,
    home: u8,
}

impl Machine for Walk {
    type State = u8;
    type Packed = u8;
    type Event = (u8, u8);
    type Property = &'static str;

    fn starts(&self) -> Vec<u8> {
        vec![0]
    }

    fn pack(&self, state: &u8) -> u8 {
        *state
    }

    fn unpack(&self, packed: &u8) -> u8 {
        *packed
    }

    fn steps(&self, state: &u8, out: &mut Vec<Step<Walk>>) {
        let steps = self.steps.iter().filter(|(from, ..)| from == state);
        out.extend(steps.map(|&(from, to, fair)| Step {
            event: (from, to),
            state: to,
            broken: (to == 99).then_some("over the edge"),
            fair,
        }));
    }

    fn broken(&self, _: &u8) -> Option<&'static str> {
        None
    }

    fn waiting(&self, state: &u8) -> bool {
        *state != self.home
    }

    fn stuck(&self) -> &'static str {
        "stuck"
    }
}

fn walk(steps: &[(u8, u8, bool)], progress: bool) -> Report<Walk> {
    let walk = Walk {
        steps: steps.to_vec(),
        home: 9,
    };
    explore(&walk, Limits { progress, ..LIMITS }, |_| {})
}

fn broken(report: &Report<Walk>) -> Option<(&'static str, usize)> {
    match &report.verdict {
        Verdict::Broken { property, trace } => Some((property, trace.len())),
        _ => None,
    }
}

#[test]
fn a_state_in_which_somebody_waits_must_not_be_the_last() {
    let report = walk(&[(0, 9, true), (0, 1, true), (1, 2, true)], false);
    assert_eq!(broken(&report), Some(("stuck", 2)));
}

#[test]
fn a_mishap_is_no_way_out() {
    let report = walk(&[(0, 1, true), (1, 9, false)], false);
    assert_eq!(broken(&report), Some(("stuck", 1)));
    let report = walk(&[(0, 1, true), (1, 9, true)], false);
    assert_eq!(broken(&report), None);
}

#[test]
fn going_round_in_a_circle_for_ever_is_found_where_progress_is_asked_for() {
    let steps = [(0, 9, true), (0, 1, false), (1, 2, true), (2, 1, true)];
    assert_eq!(broken(&walk(&steps, false)), None);
    assert_eq!(broken(&walk(&steps, true)), Some(("stuck", 1)));
    let with_a_way_out = [&steps[..], &[(2, 9, true)]].concat();
    assert_eq!(broken(&walk(&with_a_way_out, true)), None);
}

#[test]
fn a_step_can_break_something_although_it_leads_to_a_known_state() {
    let steps = [(0, 1, true), (1, 99, true), (99, 9, true)];
    assert_eq!(broken(&walk(&steps, false)), Some(("over the edge", 2)));
}
