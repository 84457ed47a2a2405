//! A small, fast, seedable random generator (xoshiro256++), for load balancing, jitter and
//! sampling. Never for secrets.

/// A random generator; equal seeds give equal sequences.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn from_seed(seed: u64) -> Rng {
        let mut sow = seed;
        let state = std::array::from_fn(|_| split_mix(&mut sow));
        Rng { state }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 if `bound` is 0. Unbiased enough for balancing (the bias is
    /// below `bound / 2^64`).
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_and_bounds_hold() {
        let (mut one, mut two) = (Rng::from_seed(7), Rng::from_seed(7));
        for _ in 0..1_000 {
            assert_eq!(one.next_u64(), two.next_u64());
            assert!(one.below(10) < 10);
            assert!((0.0..1.0).contains(&one.unit()));
            two.below(10);
            two.unit();
        }
        assert_eq!(one.below(0), 0);
    }
}
