//! How long messages, blocks and inputs take between machines of six regions.
//!
//! # Design
//! Whole numbers only. A machine's region, its city and its line are drawn from the seed and its number, so they cost no memory and stay the same. A way takes half of
//! the median round trip of the two regions, times a log-normal of spread 0.35, as 32 quantiles of equal weight; one message in 64 is lost or queued, and takes 4 to
//! 20 times as long. A transaction goes to a validator of its sender's region, waits for the next block, and is final after two rounds of votes
//! between regions. Inputs go before the lease, and a commitment behind the last unit, as the product sends them (specs/0005-transfer.md, specs/0004-market.md).
//!
//! Medians, spread, late messages and lines are assumptions, without a source and not measured by this project: 5 ms within a city, 250 ms at most,
//! between them what the distances suggest; lines from a slow home's to a data centre's.
//!
//! # Not here
//! Outputs, whose way begins after the commitment that the times end with. Messages of drawn checkers and of beats: their times are constants of the world, with room for these.

use crate::random::Random;

/// Machines of a thousand in each region: North and South America, Europe, Africa, Asia, Oceania.
const SHARES: [u32; 6] = [300, 60, 300, 40, 260, 40];
/// Median round trips, ms: assumed.
const ROUND_TRIPS_MS: [[u64; 6]; 6] = [
    [35, 140, 95, 200, 160, 170],
    [140, 30, 190, 250, 250, 250],
    [95, 190, 20, 140, 160, 250],
    [200, 250, 140, 60, 220, 250],
    [160, 250, 160, 220, 60, 120],
    [170, 250, 250, 250, 120, 25],
];
/// Two machines of one region are in one city once in so many pairs.
const CITIES: u32 = 10;
const CITY_MS: u64 = 5;
/// Quantiles (1/64, 3/64, ..) of a log-normal with median 1 and spread 0.35, thousandths.
const SPREAD: [u64; 32] = [
    471, 556, 609, 650, 686, 718, 748, 776, 803, 830, 856, 882, 907, 933, 960, 986, 1_014, 1_042, 1_071, 1_102, 1_134,
    1_169, 1_205, 1_245, 1_289, 1_337, 1_393, 1_458, 1_538, 1_643, 1_798, 2_125,
];
/// One message in so many is late.
const LATE: u32 = 64;
const LATE_LEAST: u64 = 4;
const LATE_KINDS: u32 = 17;
/// Five blocks a second; two rounds of votes, each as long as the median between the three large regions.
const BLOCK_MS: u32 = 200;
const VOTES_MS: u64 = 160;
/// Lines, kbit/s, each as frequent as the others: assumed.
const DOWN: [u64; 8] = [8_000, 20_000, 50_000, 100_000, 200_000, 300_000, 600_000, 1_000_000];
const UP: [u64; 8] = [2_000, 5_000, 10_000, 20_000, 40_000, 100_000, 300_000, 1_000_000];
/// Inputs of a window, bytes, each as frequent as the others: most jobs have parameters or a small table, some have scenes.
pub(super) const INPUTS: [u64; 8] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 8 << 20];

/// Whose machine it is.
#[derive(Clone, Copy, Debug)]
enum Side {
    Provider = 1,
    Customer = 2,
}

/// Times of one lease, ms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    /// From the choice of the provider until it computes: it sees the order, the customer dials it and sends the inputs, and the lease is final.
    pub(super) begin_ms: u64,
    /// From the last unit until the commitment is final.
    pub(super) commit_ms: u64,
}

/// The network of a world.
#[derive(Debug)]
pub(super) struct Latency {
    seed: u64,
    random: Random,
}

impl Latency {
    pub(super) const fn new(seed: u64) -> Self {
        let seed = Random::new(seed ^ 0x6c61_7465_6e63_7900).word();
        Self { seed, random: Random::new(seed) }
    }

    /// What is drawn once for a machine.
    const fn of(&self, side: Side, number: u32) -> Random {
        let mut mixed = Random::new(self.seed ^ ((side as u64) << 32) ^ number as u64);
        Random::new(mixed.word())
    }

    fn region(&self, side: Side, number: u32) -> usize {
        let mut at = self.of(side, number).below(1_000);
        for (region, share) in SHARES.into_iter().enumerate() {
            if at < share {
                return region;
            }
            at = at.saturating_sub(share);
        }
        0
    }

    /// A message's way between two machines.
    fn way_ms(&mut self, from: usize, to: usize) -> u64 {
        let is_city = from == to && self.random.below(CITIES) == 0;
        let median_ms = if is_city { CITY_MS } else { ROUND_TRIPS_MS[from][to] };
        let late = if self.random.below(LATE) == 0 {
            LATE_LEAST.saturating_add(u64::from(self.random.below(LATE_KINDS)))
        } else {
            1
        };
        median_ms.saturating_mul(SPREAD[self.random.below(32) as usize]).saturating_mul(late) / 2_000
    }

    /// A transaction, until it is final and a machine of this region knows.
    fn final_ms(&mut self, region: usize) -> u64 {
        let there = self.way_ms(region, region);
        let block = u64::from(self.random.below(BLOCK_MS));
        let votes = VOTES_MS.saturating_mul(SPREAD[self.random.below(32) as usize]) / 1_000;
        there.saturating_add(block).saturating_add(votes).saturating_add(self.way_ms(region, region))
    }

    /// From a customer's command until its order is final.
    pub(super) fn placing_ms(&mut self, window: u32) -> u64 {
        let region = self.region(Side::Customer, window);
        self.final_ms(region)
    }

    /// Bytes of a window's inputs.
    pub(super) const fn input_bytes(&self, window: u32) -> u64 {
        let mut own = self.of(Side::Customer, window);
        own.word();
        INPUTS[own.below(8) as usize]
    }

    /// How long so many bytes of a customer take to a provider, beside the ways of messages.
    pub(super) fn transfer_ms(&self, window: u32, provider: u32, bytes: u64) -> u64 {
        let (mut customer, mut provider) = (self.of(Side::Customer, window), self.of(Side::Provider, provider));
        let line = |own: &mut Random, lines: [u64; 8]| {
            own.word();
            own.word();
            lines[own.below(8) as usize]
        };
        let slower = line(&mut customer, UP).min(line(&mut provider, DOWN));
        // Bits for each bit of a millisecond.
        bytes.saturating_mul(8).div_ceil(slower)
    }

    /// Dialling and asking: two round trips, and one until the first byte of the inputs.
    pub(super) fn dial_ms(&mut self, window: u32, provider: u32) -> u64 {
        let (from, to) = (self.region(Side::Customer, window), self.region(Side::Provider, provider));
        (0..6).fold(0, |sum: u64, _| sum.saturating_add(self.way_ms(from, to)))
    }

    /// The ways of a lease of this window.
    pub(super) fn ways(&mut self, window: u32, provider: u32) -> Ways {
        let there = self.region(Side::Provider, provider);
        let inputs = self.transfer_ms(window, provider, self.input_bytes(window));
        let dial = self.dial_ms(window, provider);
        let begin_ms = dial.saturating_add(inputs).saturating_add(self.final_ms(there));
        Ways { begin_ms, commit_ms: self.final_ms(there) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_symmetric_and_medians_lie_between_5_and_250_ms() {
        for (from, row) in ROUND_TRIPS_MS.iter().enumerate() {
            for (to, median) in row.iter().enumerate() {
                assert_eq!(*median, ROUND_TRIPS_MS[to][from]);
                assert!((CITY_MS..=250).contains(median));
            }
        }
        assert_eq!(SHARES.iter().sum::<u32>(), 1_000);
    }

    #[test]
    fn the_mean_of_a_way_is_that_of_its_formula_and_its_median_and_tail_are_too() {
        let mut latency = Latency::new(1);
        let mut ways: Vec<u64> = (0..200_000).map(|_| latency.way_ms(0, 4)).collect();
        let mean = ways.iter().sum::<u64>() as f64 / ways.len() as f64;
        let spread = SPREAD.iter().sum::<u64>() as f64 / 32_000.0;
        // Of 64 messages one takes 12 times as long in the mean; whole milliseconds lose half of one.
        let formula = 80.0 * spread * (63.0 + 12.0) / 64.0 - 0.5;
        assert!((mean - formula).abs() < formula * 0.01, "{mean} {formula}");
        ways.sort_unstable();
        assert!((78..=82).contains(&ways[100_000]), "{}", ways[100_000]);
        // Beyond the log-normal's own last quantile lies only what is late.
        assert!(ways[198_500] > 300, "{}", ways[198_500]);
    }

    #[test]
    fn machines_are_where_the_shares_say_and_stay_there() {
        let latency = Latency::new(2);
        let mut counts = [0_u32; 6];
        for number in 0..60_000 {
            let region = latency.region(Side::Provider, number);
            assert_eq!(region, latency.region(Side::Provider, number));
            counts[region] += 1;
        }
        for (count, share) in counts.into_iter().zip(SHARES) {
            assert!(count.abs_diff(share * 60) < 700, "{counts:?}");
        }
    }

    #[test]
    fn the_slower_line_of_the_two_counts() {
        let latency = Latency::new(3);
        for (window, provider) in (0..50).zip(100..150) {
            let [one, two] = [1_000_000, 2_000_000].map(|bytes| latency.transfer_ms(window, provider, bytes));
            // 1 Gbit/s at most, 2 Mbit/s at least.
            assert!((8..=4_000).contains(&one) && two >= one * 2 - 1, "{one} {two}");
        }
    }
}
