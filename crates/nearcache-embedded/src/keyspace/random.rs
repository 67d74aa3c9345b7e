//! Random choices for commands that return any element: fast, and from a seed that nobody can predict.

use std::collections::HashSet;

/// A generator of random numbers (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `n`; 0 if there is none.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }

    /// `count` of the numbers below `n`, each once, in ascending order. All of them if there are fewer.
    pub(crate) fn choose(&mut self, count: usize, n: usize) -> Vec<usize> {
        if count >= n {
            return (0..n).collect();
        }
        // Floyd's way: every choice is equally likely, and takes as long as it has numbers.
        let mut chosen = HashSet::with_capacity(count);
        for last in n - count..n {
            let any = self.below(last + 1);
            if !chosen.insert(any) {
                chosen.insert(last);
            }
        }
        let mut chosen: Vec<usize> = chosen.into_iter().collect();
        chosen.sort_unstable();
        chosen
    }
}

/// The items at these positions, which ascend.
pub(super) fn at_positions<T>(
    items: impl Iterator<Item = T>,
    positions: &[usize],
) -> impl Iterator<Item = T> {
    let mut wanted = positions.iter().copied().peekable();
    items
        .enumerate()
        .take(positions.last().map_or(0, |last| last + 1))
        .filter_map(move |(at, item)| wanted.next_if_eq(&at).map(|_| item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_has_each_number_once_and_each_number_is_as_likely() {
        let mut random = Random::new(7);
        let mut hits = [0; 10];
        for _ in 0..10_000 {
            let chosen = random.choose(3, 10);
            assert!(chosen.len() == 3 && chosen.is_sorted_by(|a, b| a < b));
            chosen.iter().for_each(|at| hits[*at] += 1);
        }
        assert!(
            hits.iter().all(|hits| (2_700..3_300).contains(hits)),
            "{hits:?}"
        );
        assert_eq!(random.choose(5, 3), [0, 1, 2]);
        assert_eq!(random.choose(0, 0), [0; 0]);
    }

    #[test]
    fn items_are_found_at_their_positions() {
        let found = |positions: &[usize]| at_positions('a'..='z', positions).collect::<String>();
        assert_eq!(found(&[0, 3, 25]), "adz");
        assert_eq!(found(&[]), "");
    }
}
