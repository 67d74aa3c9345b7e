//! Realistic popularity: the second most popular thing is asked for about half as often as the first, the third a
//! third as often, and so on (Zipf's law).

use fastrand::Rng;

/// An endless sequence of numbers below a limit, some far more popular than others. The same seed gives the same
/// sequence.
#[derive(Clone, Debug)]
pub struct Zipf {
    random: Rng,
    /// For each rank, the probability of it or a more popular one.
    cumulative: Vec<f64>,
    /// Maps ranks to numbers, so that the popular numbers are not all neighbours.
    numbers: Vec<u32>,
}

impl Zipf {
    /// Numbers from 0 to `limit - 1`; rank r has the weight 1 / r^`exponent`.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn new(limit: u32, exponent: f64, seed: u64) -> Self {
        assert!(limit > 0, "the limit must not be 0");
        let mut random = Rng::with_seed(seed);
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=limit)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|chance| *chance /= sum);
        let mut numbers: Vec<u32> = (0..limit).collect();
        random.shuffle(&mut numbers);
        Zipf {
            random,
            cumulative,
            numbers,
        }
    }
}

impl Iterator for Zipf {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let drawn = self.random.f64();
        let rank = self.cumulative.partition_point(|chance| *chance <= drawn);
        // Rounding may leave the last sum slightly below 1.
        Some(self.numbers[rank.min(self.numbers.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_popular_is_asked_for_twice_as_often_as_the_second() {
        let mut seen = [0_u32; 100];
        for number in Zipf::new(100, 1.0, 7).take(100_000) {
            seen[number as usize] += 1;
        }
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let ratio = f64::from(seen[0]) / f64::from(seen[1]);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(seen[99] > 0);
    }
}
