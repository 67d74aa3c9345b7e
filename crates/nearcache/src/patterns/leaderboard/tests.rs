//! The scripts and their twins do the same; and a leaderboard is what a sorted list says.

use fastrand::Rng;
use proptest::prelude::*;
use redis::{Cmd, Value};

use super::{AROUND, Ranked, STANDING, SUBMIT};
use crate::Cache;
use crate::script::twins::{self, Family, Step};
use crate::script::{Input, Script};

static ALL: [&Script; 3] = [&SUBMIT, &STANDING, &AROUND];
const KEYS: [&[u8]; 2] = [b"{t}a", b"{t}b"];

fn step(rng: &mut Rng) -> Step {
    let key = KEYS[rng.usize(..KEYS.len())];
    let player = rng.u8(..9).to_string();
    let score = (f64::from(rng.i8(-4..4)) / 2.0).to_string();
    let mut input = Input::default();
    input.key(key);
    match rng.u8(..10) {
        0..5 => {
            let keep: [&[u8]; 3] = [b"best", b"sum", b"last"];
            input.arg(keep[rng.usize(..3)]).arg(score.as_bytes());
            input.arg(player.as_bytes());
            let ends: [&[u8]; 3] = [b"0", b"4102444800000", b"1"];
            input.arg(
                ends[match rng.u8(..20) {
                    0 => 2,
                    1..10 => 1,
                    _ => 0,
                }],
            );
            Step::Call("SUBMIT", &SUBMIT, input)
        }
        5..7 => {
            input.arg(player.as_bytes());
            Step::Call("STANDING", &STANDING, input)
        }
        7..9 => {
            input.arg(player.as_bytes());
            input.arg(rng.u8(..4).to_string().as_bytes());
            Step::Call("AROUND", &AROUND, input)
        }
        _ => {
            let mut other = Cmd::new();
            match rng.u8(..4) {
                0 => other.arg("SET").arg(key).arg("x"),
                1 => other.arg("ZREM").arg(key).arg(player),
                _ => other.arg("UNLINK").arg(key),
            };
            Step::Other(other)
        }
    }
}

#[test]
fn scripts_and_their_twins_do_the_same() {
    twins::compare(&Family {
        scripts: &ALL,
        sequences: 200,
        steps: 40,
        step,
        contents: || {
            let mut contents = redis::Pipeline::new();
            for key in KEYS {
                contents.cmd("TYPE").arg(key);
                contents
                    .cmd("ZRANGE")
                    .arg(key)
                    .arg(0)
                    .arg(-1)
                    .arg("WITHSCORES");
                contents.cmd("PTTL").arg(key);
            }
            contents
        },
        alike: twins::alike,
        answer: |_, reply| match reply {
            Value::Nil => "nil".to_owned(),
            Value::Array(_) => "an answer".to_owned(),
            other => format!("{other:?}"),
        },
        answers: &[
            "SUBMIT an answer",
            "SUBMIT WRONGTYPE",
            "STANDING nil",
            "STANDING an answer",
            "STANDING WRONGTYPE",
            "AROUND nil",
            "AROUND an answer",
            "AROUND WRONGTYPE",
        ],
    });
}

/// In the order of their bytes, which is not that of an alphabet.
const PLAYERS: [&str; 9] = [
    "",
    "07",
    "7",
    "A",
    "a",
    "aa",
    "b",
    "a b",
    "\u{e4}\u{0}\u{1f980}",
];

/// Few enough that many are equal, of either sign, some fractions, and the furthest there are.
const SCORES: [f64; 14] = [
    -9_007_199_254_740_992.0,
    -1e300,
    -2.0,
    -1.5,
    -0.1,
    -0.0,
    0.0,
    0.1,
    1.0,
    1.5,
    2.0,
    9_007_199_254_740_991.0,
    9_007_199_254_740_992.0,
    1e300,
];

#[derive(Clone, Copy, Debug)]
enum Act {
    Best(usize, f64),
    Sum(usize, f64),
    Last(usize, f64),
    Remove(usize),
    Top(u32),
    Around(usize, u32),
    Standing(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let player = || 0..PLAYERS.len();
    let score = || prop::sample::select(&SCORES[..]);
    let act = prop_oneof![
        4 => (player(), score()).prop_map(|(player, score)| Act::Best(player, score)),
        2 => (player(), score()).prop_map(|(player, score)| Act::Sum(player, score)),
        3 => (player(), score()).prop_map(|(player, score)| Act::Last(player, score)),
        1 => player().prop_map(Act::Remove),
        2 => (0..12_u32).prop_map(Act::Top),
        3 => (player(), 0..6_u32).prop_map(|(player, beside)| Act::Around(player, beside)),
        2 => player().prop_map(Act::Standing),
    ];
    prop::collection::vec(act, 1..80)
}

/// What a sorted list says: the best score first, and those with the same one by their bytes.
#[derive(Default)]
struct Model(Vec<(&'static str, f64)>);

impl Model {
    fn score(&self, player: &str) -> Option<f64> {
        let line = self.0.iter().find(|line| line.0 == player);
        line.map(|line| line.1)
    }

    fn put(&mut self, player: &'static str, score: f64) {
        self.0.retain(|line| line.0 != player);
        // A zero has no sign.
        self.0.push((player, score + 0.0));
        self.0
            .sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(other.0)));
    }

    fn rank(&self, score: f64) -> u64 {
        let better = self.0.iter().take_while(|line| line.1 > score);
        1 + better.count() as u64
    }

    fn standing(&self, player: &str) -> Option<(u64, u64)> {
        let score = self.score(player)?;
        Some((self.rank(score), score.to_bits()))
    }

    /// So many lines, from this one on.
    fn lines(&self, from: usize, lines: usize) -> Vec<(String, u64, u64)> {
        let some = self.0.iter().skip(from).take(lines);
        some.map(|(player, score)| ((*player).to_owned(), self.rank(*score), score.to_bits()))
            .collect()
    }
}

fn lines(found: Vec<Ranked<String>>) -> Vec<(String, u64, u64)> {
    let line = |line: Ranked<String>| (line.player, line.rank, line.score.to_bits());
    found.into_iter().map(line).collect()
}

async fn agree(acts: Vec<Act>) {
    let cache = Cache::open("memory://").unwrap();
    let board = cache.leaderboard::<String>("game");
    let mut model = Model::default();
    for act in acts {
        match act {
            Act::Best(player, score) | Act::Sum(player, score) | Act::Last(player, score) => {
                let player = PLAYERS[player];
                let old = model.score(player);
                let (submit, kept) = match act {
                    Act::Best(..) => (
                        board.submit(player, score),
                        old.map_or(score, |old| old.max(score)),
                    ),
                    Act::Sum(..) => (
                        board.submit(player, score).sum(),
                        old.unwrap_or(0.0) + score,
                    ),
                    _ => (board.submit(player, score).last(), score),
                };
                model.put(player, kept);
                let found = submit.await.unwrap();
                let found = Some((found.rank, found.score.to_bits()));
                assert_eq!(found, model.standing(player), "{act:?}");
            }
            Act::Remove(player) => {
                let player = PLAYERS[player];
                let removed = board.remove(player).await.unwrap();
                assert_eq!(removed, model.score(player).is_some());
                model.0.retain(|line| line.0 != player);
            }
            Act::Top(players) => {
                let top = lines(board.top(players).await.unwrap());
                assert_eq!(top, model.lines(0, players as usize));
            }
            Act::Around(player, beside) => {
                let at = model.0.iter().position(|line| line.0 == PLAYERS[player]);
                let each_side = beside as usize;
                let wanted = at.map_or_else(Vec::new, |at| {
                    let from = at.saturating_sub(each_side);
                    model.lines(from, at + each_side + 1 - from)
                });
                let found = board.around(PLAYERS[player], beside).await.unwrap();
                assert_eq!(lines(found), wanted, "{act:?}");
            }
            Act::Standing(player) => {
                let found = board.standing(PLAYERS[player]).await.unwrap();
                let found = found.map(|found| (found.rank, found.score.to_bits()));
                assert_eq!(found, model.standing(PLAYERS[player]));
            }
        }
    }
    assert_eq!(board.len().await.unwrap(), model.0.len() as u64);
    assert_eq!(lines(board.top(99).await.unwrap()), model.lines(0, 99));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_leaderboard_is_what_a_sorted_list_says(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(agree(acts));
    }
}
