//! A sorted set against a plain sorted vector.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Model(Vec<(Vec<u8>, f64)>);

impl Model {
    fn put(&mut self, member: &[u8], score: f64) {
        self.remove(member);
        let at = self
            .0
            .partition_point(|(m, s)| compare(*s, m, score, member) == Ordering::Less);
        self.0.insert(at, (member.to_vec(), score));
    }

    fn rank(&self, member: &[u8]) -> Option<usize> {
        self.0.iter().position(|(m, _)| m == member)
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let at = self.rank(member)?;
        Some(self.0.remove(at).1)
    }
}

fn limits(entries: usize) -> Compact {
    Compact {
        sorted_set_entries: entries,
        sorted_set_value: 64,
        ..Compact::default()
    }
}

fn put(set: &mut SortedSet, member: &[u8], score: f64, limits: &Compact) {
    set.change(member, limits, |_| Some(score));
}

fn check(set: &SortedSet, model: &Model) {
    assert_eq!(set.len(), model.0.len());
    assert!(
        set.iter()
            .eq(model.0.iter().map(|(member, score)| (&member[..], *score)))
    );
    if let SortedSet::Large(large) = set {
        large.check();
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5..5_i32).prop_map(f64::from),
        1 => any::<f64>().prop_filter("a number", |n| !n.is_nan()),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..60_u8).prop_map(|n| format!("m{n}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (0..5_usize).prop_map(|n| vec![b'x'; 60 + n * 2]),
    ]
}

fn end() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0..8_u8, member())
}

fn as_end((kind, member): &(u8, Vec<u8>)) -> End<'_> {
    match kind {
        0 => End::Lowest,
        1 => End::Highest,
        2..=4 => End::Including(member),
        _ => End::Excluding(member),
    }
}

proptest! {
    #[test]
    fn it_does_what_a_sorted_vector_does(
        entries in prop_oneof![Just(0_usize), Just(8), Just(10_000)],
        steps in prop::collection::vec((0..8_u8, member(), score(), any::<prop::sample::Index>()), 0..200),
        scores in (score(), score(), any::<bool>(), any::<bool>()),
        ends in (end(), end()),
    ) {
        let limits = limits(entries);
        let (mut set, mut model) = (SortedSet::default(), Model::default());
        for (kind, member, score, index) in &steps {
            match kind {
                0..=4 => {
                    put(&mut set, member, *score, &limits);
                    model.put(member, *score);
                }
                5 | 6 => prop_assert_eq!(set.remove(member), model.remove(member)),
                _ => {
                    let start = index.index(model.0.len() + 1);
                    let end = (start + member.len() % 5).min(model.0.len());
                    set.remove_range(start..end);
                    model.0.drain(start..end);
                }
            }
            check(&set, &model);
        }
        check(&set.clone(), &model);
        for (rank, (member, score)) in model.0.iter().enumerate() {
            prop_assert_eq!(set.rank(member), Some(rank));
            prop_assert_eq!(set.score(member), Some(*score));
        }
        let mut all: Vec<_> = (0..set.len()).filter_map(|index| set.at(index)).collect();
        all.sort_by(|a, b| compare(a.1, a.0, b.1, b.0));
        prop_assert!(set.iter().eq(all.clone()));
        prop_assert!(set.iter().rev().eq(all.iter().copied().rev()));
        let rebuilt = SortedSet::of(all.into_iter().rev().collect(), &limits);
        check(&rebuilt, &model);

        let (min, max, above_min, below_max) = scores;
        let scores = Scores { min, max, above_min, below_max };
        let found: Vec<_> = set.range(set.with_scores(&scores)).collect();
        let expected = set.iter().filter(|(_, score)| scores.is_above_min(*score) && scores.is_below_max(*score));
        prop_assert!(expected.eq(found.iter().copied()));

        let mut same = SortedSet::default();
        set.iter().for_each(|(member, _)| put(&mut same, member, 1.0, &limits));
        let members = Members { min: as_end(&ends.0), max: as_end(&ends.1) };
        for backwards in [false, true] {
            let found: Vec<_> = same.range(same.with_members(&members, backwards)).collect();
            let expected = same.iter().filter(|(member, _)| members.is_above_min(member) && members.is_below_max(member));
            prop_assert!(expected.eq(found.iter().copied()), "{:?} {:?}", members, found);
        }
    }
}

#[test]
fn a_large_one_of_several_levels_stays_in_order_and_gives_its_memory_back() {
    let limits = limits(128);
    let (mut set, mut model) = (SortedSet::default(), Model::default());
    let mut random = 7_u64;
    let mut next = move |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..12_000 {
        let member = format!("member:{}", next(9_000)).into_bytes();
        if next(8) == 0 {
            assert_eq!(set.remove(&member), model.remove(&member));
        } else {
            let score = next(500) as f64;
            put(&mut set, &member, score, &limits);
            model.put(&member, score);
        }
    }
    check(&set, &model);
    let full = set.bytes();
    for start in (0..model.0.len()).step_by(97) {
        let end = (start + 150).min(model.0.len());
        assert!(
            set.range(start..end)
                .map(|(member, _)| member)
                .eq(model.0[start..end].iter().map(|(member, _)| &member[..]))
        );
        assert_eq!(set.rank(&model.0[start].0), Some(start));
    }
    while model.0.len() > 100 {
        let start = next(model.0.len() as u64 - 60) as usize;
        set.remove_range(start..start + 60);
        model.0.drain(start..start + 60);
        if next(10) == 0 {
            check(&set, &model);
        }
    }
    check(&set, &model);
    assert!(set.bytes() < full / 20, "{} of {full}", set.bytes());
    let len = set.len();
    set.remove_range(1..len - 1);
    model.0.drain(1..len - 1);
    check(&set, &model);
    set.remove_range(0..2);
    assert_eq!(set.len(), 0);
}

#[test]
fn an_element_takes_no_more_than_a_servers() {
    let limits = limits(128);
    let mut set = SortedSet::default();
    for n in 0..100_000_u32 {
        let member = format!("member:{n}");
        put(
            &mut set,
            member.as_bytes(),
            f64::from(n.wrapping_mul(2_654_435_761)),
            &limits,
        );
    }
    // A server has about 100: the member, a node of the list, an entry of the dictionary, and its slot.
    let each = set.bytes() / set.len();
    assert!(each < 90, "{each}");
}
