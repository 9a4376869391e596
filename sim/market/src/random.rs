//! Pseudo-random numbers of a simulation: the same seed gives the same run, on every machine whose mathematical library rounds logarithms and powers alike.
//!
//! # Not here
//! Secrets. The draws of the audit itself come from `keystead_audit::Draw`, as on the chain.

/// SplitMix64 (Steele, Lea and Flood, 2014): 64 bits of state, passes the usual batteries, cheap enough to be one per purpose.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        // LOSSY: 53 bits fit an f64 exactly.
        (self.word() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..bound`; 0 for a bound of 0. Uneven by less than 2^-32 for bounds that fit 32 bits.
    pub(crate) const fn below(&mut self, bound: u32) -> u32 {
        // LOSSY: the product of two 32-bit numbers, shifted down, is below the bound.
        (((self.word() >> 32) * bound as u64) >> 32) as u32
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Weibull with this shape and scale: the usual law for how long a machine stays.
    pub(crate) fn weibull(&mut self, shape: f64, scale: f64) -> f64 {
        scale * (-(1.0 - self.unit()).ln()).powf(1.0 / shape)
    }

    /// Log-normal with this median and spread (standard deviation of the logarithm).
    pub(crate) fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * u.ln()).sqrt() * (core::f64::consts::TAU * v).cos();
        median * (spread * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_comes_out() {
        // First outputs of SplitMix64 for seed 1234567, as published with the reference implementation.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.word(), 6_457_827_717_110_365_317);
        assert_eq!(random.word(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn means_are_those_of_the_laws() {
        let mut random = Random::new(1);
        let mut mean = |draw: fn(&mut Random) -> f64| (0..200_000).map(|_| draw(&mut random)).sum::<f64>() / 200_000.0;
        assert!((mean(Random::unit) - 0.5).abs() < 0.005);
        assert!((mean(|random| random.exponential(3.0)) - 3.0).abs() < 0.05);
        // Shape 2, scale 1: mean = gamma(1.5) = 0.886.
        assert!((mean(|random| random.weibull(2.0, 1.0)) - 0.886).abs() < 0.01);
        // Median 1, spread 0.5: mean = exp(0.125).
        assert!((mean(|random| random.log_normal(1.0, 0.5)) - 0.125f64.exp()).abs() < 0.02);
        assert!((mean(|random| f64::from(random.below(10))) - 4.5).abs() < 0.05);
    }
}
