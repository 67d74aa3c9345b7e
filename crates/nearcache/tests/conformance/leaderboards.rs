//! Leaderboards: ranks as people count them, and periods.

use std::collections::BTreeMap;

use nearcache::ErrorKind;

use crate::target::{Target, keys_matching};

suite! {
    equal_scores_share_a_rank,
    a_score_is_kept_as_it_was_asked_for,
    a_model_agrees,
    what_is_no_score_is_an_error,
    a_period_has_a_leaderboard_of_its_own,
}

async fn equal_scores_share_a_rank(target: Target) {
    let cache = target.cache();
    for (player, score) in [("eve", 4), ("bob", 9), ("ada", 9), ("dan", 12), ("cat", 4)] {
        call!(cache.leaderboard::<String>("game").submit(player, score)).unwrap();
    }
    let top = call!(cache.leaderboard::<String>("game").top(10)).unwrap();
    let lines: Vec<_> = top
        .iter()
        .map(|line| (&*line.player, line.rank, line.score))
        .collect();
    let wanted = [
        ("dan", 1, 12.0),
        ("ada", 2, 9.0),
        ("bob", 2, 9.0),
        ("cat", 4, 4.0),
        ("eve", 4, 4.0),
    ];
    assert_eq!(lines, wanted);
    let eve = call!(cache.leaderboard::<String>("game").standing("eve"))
        .unwrap()
        .unwrap();
    assert_eq!((eve.rank, eve.score), (4, 4.0));
    let none = call!(cache.leaderboard::<String>("game").standing("nobody")).unwrap();
    assert_eq!(none, None);
    let around = call!(cache.leaderboard::<String>("game").around("bob", 1)).unwrap();
    let lines: Vec<_> = around
        .iter()
        .map(|line| (&*line.player, line.rank))
        .collect();
    assert_eq!(lines, [("ada", 2), ("bob", 2), ("cat", 4)]);
    let around = call!(cache.leaderboard::<String>("game").around("nobody", 1)).unwrap();
    assert!(around.is_empty());
    assert!(
        call!(cache.leaderboard::<String>("game").top(0))
            .unwrap()
            .is_empty()
    );
    assert_eq!(call!(cache.leaderboard::<String>("game").len()).unwrap(), 5);
    assert!(call!(cache.leaderboard::<String>("game").remove("dan")).unwrap());
    assert!(!call!(cache.leaderboard::<String>("game").remove("dan")).unwrap());
    // Hidden, and spared.
    assert!(keys_matching(&cache, b"*").await.is_empty());
    call!(cache.clear()).unwrap();
    assert_eq!(call!(cache.leaderboard::<String>("game").len()).unwrap(), 4);
    assert!(call!(cache.leaderboard::<String>("game").reset()).unwrap());
    assert!(!call!(cache.leaderboard::<String>("game").reset()).unwrap());
}

async fn a_score_is_kept_as_it_was_asked_for(target: Target) {
    let cache = target.cache();
    let scores = [5.0, 3.0, -8.0, 0.0];
    for score in scores {
        call!(cache.leaderboard::<u8>("best").submit(1, score)).unwrap();
        call!(cache.leaderboard::<u8>("sum").submit(1, score).sum()).unwrap();
        call!(cache.leaderboard::<u8>("last").submit(1, score).last()).unwrap();
    }
    for (name, wanted) in [("best", 5.0_f64), ("sum", 0.0), ("last", 0.0)] {
        let found = call!(cache.leaderboard::<u8>(name).standing(1))
            .unwrap()
            .unwrap();
        assert_eq!(found.score.to_bits(), wanted.to_bits(), "{name}");
    }
}

/// Against a plain map.
async fn a_model_agrees(target: Target) {
    let cache = target.cache();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut model = BTreeMap::<String, f64>::new();
    for _ in 0..100 {
        let player = rng.u8(..15).to_string();
        let score = f64::from(rng.i8(-3..4));
        let old = model.get(&player).copied();
        let (kept, standing) = match rng.u8(..3) {
            0 => {
                let kept = old.map_or(score, |old| old.max(score));
                (
                    kept,
                    call!(
                        cache
                            .leaderboard::<String>("m")
                            .submit(&player, score)
                            .best()
                    ),
                )
            }
            1 => {
                let kept = old.unwrap_or(0.0) + score;
                (
                    kept,
                    call!(
                        cache
                            .leaderboard::<String>("m")
                            .submit(&player, score)
                            .sum()
                    ),
                )
            }
            _ => (
                score,
                call!(
                    cache
                        .leaderboard::<String>("m")
                        .submit(&player, score)
                        .last()
                ),
            ),
        };
        model.insert(player.clone(), kept);
        let rank = |score: f64| 1 + model.values().filter(|other| **other > score).count() as u64;
        let standing = standing.unwrap();
        assert_eq!((standing.rank, standing.score), (rank(kept), kept));
        let mut order: Vec<(String, f64)> = model.clone().into_iter().collect();
        order.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        let lines: Vec<_> = order
            .iter()
            .map(|(name, score)| (name.clone(), rank(*score), *score))
            .collect();
        let top = call!(cache.leaderboard::<String>("m").top(50)).unwrap();
        let top: Vec<_> = top
            .into_iter()
            .map(|line| (line.player, line.rank, line.score))
            .collect();
        assert_eq!(top, lines);
        let beside = rng.u32(..4);
        let around = call!(cache.leaderboard::<String>("m").around(&player, beside)).unwrap();
        let around: Vec<_> = around
            .into_iter()
            .map(|line| (line.player, line.rank, line.score))
            .collect();
        let at = lines.iter().position(|line| line.0 == player).unwrap();
        let last = (at + beside as usize).min(lines.len() - 1);
        assert_eq!(around, lines[at.saturating_sub(beside as usize)..=last]);
    }
}

async fn what_is_no_score_is_an_error(target: Target) {
    let cache = target.cache();
    let error = call!(cache.leaderboard::<u8>("x").submit(1, f64::NAN)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let error = call!(cache.leaderboard::<u8>("").top(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = call!(cache.leaderboard::<u8>("x").resets("10ms").top(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = call!(cache.leaderboard::<u8>("x").resets("soon").top(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTtl);
    let error = call!(cache.leaderboard::<u8>("x").last_period().top(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = call!(
        cache
            .leaderboard::<u8>("x")
            .resets("1w")
            .last_period()
            .submit(1, 1)
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}

async fn a_period_has_a_leaderboard_of_its_own(target: Target) {
    let cache = target.cache();
    call!(cache.leaderboard::<u8>("x").submit(1, 1)).unwrap();
    call!(cache.leaderboard::<u8>("x").resets("1w").submit(2, 2)).unwrap();
    let week = call!(cache.leaderboard::<u8>("x").resets("1w").top(9)).unwrap();
    assert_eq!(week.len(), 1);
    assert_eq!((week[0].player, week[0].rank), (2, 1));
    let all = call!(cache.leaderboard::<u8>("x").top(9)).unwrap();
    assert_eq!(all[0].player, 1);
    let before = call!(
        cache
            .leaderboard::<u8>("x")
            .resets("1w")
            .last_period()
            .top(9)
    )
    .unwrap();
    assert!(before.is_empty());
}
