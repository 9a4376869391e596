//! Ethereum's forks, and when a foreign chain passes them: the rules of such a chain as data.
//!
//! # Design
//! A fork is decided by what stands in a header: the height before the merge, the time after it. Forks that change
//! nothing but the difficulty bomb are kept apart from those that change execution.
//!
//! # Not here
//! The DAO's irregular state change, forks after Osaka, and total difficulty: the merge is where the genesis file says
//! (`mergeNetsplitBlock`, or a terminal total difficulty of zero), else where a header's difficulty is zero.

use alloy_eips::{eip7594::MAX_BLOBS_PER_TX_FUSAKA, eip7840::BlobParams};
use alloy_primitives::{Address, B256, U256, address};
use std::collections::BTreeSet;

/// Entries of a blob schedule: Cancun, Prague, Osaka and the five BPO forks that a genesis file can name.
pub const BLOB_ENTRIES_MAX: usize = 8;

/// Ethereum's deposit contract on the main network (EIP-6110), the default of a genesis file.
pub const DEPOSIT_CONTRACT: Address = address!("0x00000000219ab540356cBB839Cbe05303d7705Fa");

/// A fork that changes how blocks are executed or what their headers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Fork {
    Frontier,
    Homestead,
    TangerineWhistle,
    SpuriousDragon,
    Byzantium,
    /// Constantinople without EIP-1283, which no chain kept.
    Petersburg,
    Istanbul,
    Berlin,
    London,
    Paris,
    Shanghai,
    Cancun,
    Prague,
    Osaka,
}

/// Where proof of work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Nowhere.
    Never,
    /// At this height.
    Block(u64),
    /// At the first header whose difficulty is zero. No total difficulty is counted.
    ZeroDifficulty,
}

/// The price and number of blobs from some time on. Spec: EIP-4844, EIP-7691, EIP-7892.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blobs {
    /// First second, inclusive.
    pub since: u64,
    /// Blobs per block at which the price stands still.
    pub target: u64,
    /// Most blobs in a block.
    pub max: u64,
    /// Denominator of the price's exponent.
    pub update_fraction: u64,
}

/// When each fork begins: heights up to London and of the difficulty bomb's delays, seconds from Shanghai on; inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Forks {
    pub homestead: Option<u64>,
    pub tangerine_whistle: Option<u64>,
    pub spurious_dragon: Option<u64>,
    pub byzantium: Option<u64>,
    /// Petersburg's rules hold from here on, too; it counts by itself in the fork id.
    pub constantinople: Option<u64>,
    pub petersburg: Option<u64>,
    pub istanbul: Option<u64>,
    pub muir_glacier: Option<u64>,
    pub berlin: Option<u64>,
    pub london: Option<u64>,
    pub arrow_glacier: Option<u64>,
    pub gray_glacier: Option<u64>,
    pub merge: Merge,
    pub shanghai: Option<u64>,
    pub cancun: Option<u64>,
    pub prague: Option<u64>,
    pub osaka: Option<u64>,
    /// Blob schedule in ascending order of time; `None` at the end.
    pub blobs: [Option<Blobs>; BLOB_ENTRIES_MAX],
    /// The contract whose logs are deposits (EIP-6110).
    pub deposit_contract: Address,
}

impl Blobs {
    /// The parameters that alloy's own have for a fork.
    const fn preset(since: u64, params: &BlobParams) -> Self {
        let (target, max) = (params.target_blob_count, params.max_blob_count);
        // LOSSY: every fraction that Ethereum used has 24 bits.
        #[allow(clippy::cast_possible_truncation, reason = "24 bits")]
        let update_fraction = params.update_fraction as u64;
        Self { since, target, max, update_fraction }
    }

    /// The same with what the fork adds: EIP-7594 bounds the blobs of a transaction, EIP-7918 their price from below.
    #[must_use]
    pub fn params(&self, fork: Fork) -> BlobParams {
        let base = BlobParams {
            target_blob_count: self.target,
            max_blob_count: self.max,
            update_fraction: u128::from(self.update_fraction),
            max_blobs_per_tx: self.max,
            ..BlobParams::cancun()
        };
        if fork < Fork::Osaka {
            return base;
        }
        let BlobParams { blob_base_cost, .. } = BlobParams::osaka();
        BlobParams { max_blobs_per_tx: self.max.min(MAX_BLOBS_PER_TX_FUSAKA), blob_base_cost, ..base }
    }
}

impl Forks {
    /// A chain that never leaves Frontier.
    pub const FRONTIER: Self = Self {
        homestead: None,
        tangerine_whistle: None,
        spurious_dragon: None,
        byzantium: None,
        constantinople: None,
        petersburg: None,
        istanbul: None,
        muir_glacier: None,
        berlin: None,
        london: None,
        arrow_glacier: None,
        gray_glacier: None,
        merge: Merge::Never,
        shanghai: None,
        cancun: None,
        prague: None,
        osaka: None,
        blobs: [None; BLOB_ENTRIES_MAX],
        deposit_contract: DEPOSIT_CONTRACT,
    };

    /// A chain that is at `fork` from its genesis on.
    #[must_use]
    pub fn always(fork: Fork) -> Self {
        let mut forks = Self::FRONTIER;
        let mut starts = Fork::Homestead;
        while starts <= fork {
            forks.start(starts, 0);
            let Some(next) = starts.next() else { break };
            starts = next;
        }
        forks
    }

    /// Lets a fork begin at a height or, from Shanghai on, a time; blobs get the main network's numbers.
    pub fn start(&mut self, fork: Fork, at: u64) {
        let begin = Some(at);
        match fork {
            Fork::Frontier => {}
            Fork::Homestead => self.homestead = begin,
            Fork::TangerineWhistle => self.tangerine_whistle = begin,
            Fork::SpuriousDragon => self.spurious_dragon = begin,
            Fork::Byzantium => self.byzantium = begin,
            Fork::Petersburg => (self.constantinople, self.petersburg) = (begin, begin),
            Fork::Istanbul => (self.istanbul, self.muir_glacier) = (begin, begin),
            Fork::Berlin => self.berlin = begin,
            Fork::London => (self.london, self.arrow_glacier, self.gray_glacier) = (begin, begin, begin),
            Fork::Paris => self.merge = Merge::Block(at),
            Fork::Shanghai => self.shanghai = begin,
            Fork::Cancun => {
                self.cancun = begin;
                let _ = self.schedule(Blobs::preset(at, &BlobParams::cancun()));
            }
            Fork::Prague => {
                self.prague = begin;
                let _ = self.schedule(Blobs::preset(at, &BlobParams::prague()));
            }
            Fork::Osaka => self.osaka = begin,
        }
    }

    /// Adds an entry to the blob schedule; one that begins at the same time takes the place of the earlier one.
    /// False if the schedule is full.
    #[must_use]
    pub fn schedule(&mut self, blobs: Blobs) -> bool {
        let mut entries: Vec<Blobs> =
            self.blobs.iter().flatten().filter(|it| it.since != blobs.since).copied().collect();
        entries.push(blobs);
        entries.sort_by_key(|it| it.since);
        if entries.len() > BLOB_ENTRIES_MAX {
            return false;
        }
        self.blobs = std::array::from_fn(|at| entries.get(at).copied());
        true
    }

    /// True from the first block without proof of work on.
    #[must_use]
    pub fn merged(&self, number: u64, difficulty: U256) -> bool {
        match self.merge {
            Merge::Never => false,
            Merge::Block(at) => number >= at,
            Merge::ZeroDifficulty => difficulty.is_zero(),
        }
    }

    /// The fork of a block.
    #[must_use]
    pub fn fork(&self, number: u64, timestamp: u64, difficulty: U256) -> Fork {
        let begun = |(since, fork): &(Option<u64>, Fork), at: u64| since.filter(|since| *since <= at).map(|_| *fork);
        if self.merged(number, difficulty) {
            let by_time = [
                (self.osaka, Fork::Osaka),
                (self.prague, Fork::Prague),
                (self.cancun, Fork::Cancun),
                (self.shanghai, Fork::Shanghai),
            ];
            return by_time.iter().find_map(|entry| begun(entry, timestamp)).unwrap_or(Fork::Paris);
        }
        let by_height = [
            (self.london, Fork::London),
            (self.berlin, Fork::Berlin),
            (self.istanbul, Fork::Istanbul),
            (self.petersburg, Fork::Petersburg),
            (self.constantinople, Fork::Petersburg),
            (self.byzantium, Fork::Byzantium),
            (self.spurious_dragon, Fork::SpuriousDragon),
            (self.tangerine_whistle, Fork::TangerineWhistle),
            (self.homestead, Fork::Homestead),
        ];
        by_height.iter().find_map(|entry| begun(entry, number)).unwrap_or(Fork::Frontier)
    }

    /// The blob parameters of a block; `None` before Cancun.
    #[must_use]
    pub fn blobs(&self, fork: Fork, timestamp: u64) -> Option<BlobParams> {
        let entry = self.blobs.iter().flatten().rfind(|entry| entry.since <= timestamp);
        entry.filter(|_| fork >= Fork::Cancun).map(|entry| entry.params(fork))
    }

    /// Seconds at which rules change after the merge, ascending, each once: forks from Shanghai on and entries of the blob
    /// schedule.
    #[must_use]
    pub fn times(&self) -> Vec<u64> {
        let forks = [self.shanghai, self.cancun, self.prague, self.osaka];
        let blobs = self.blobs.iter().flatten().map(|entry| entry.since);
        ascending(forks.into_iter().flatten().chain(blobs))
    }

    /// The bytes whose CRC-32 is the fork id of a block (EIP-2124, EIP-6122): the genesis hash, then each height and each
    /// time at which rules changed between the genesis block and this one.
    #[must_use]
    pub fn id_bytes(&self, genesis: (B256, u64), number: u64, timestamp: u64) -> Vec<u8> {
        let (hash, genesis_time) = genesis;
        let heights = [
            self.homestead,
            self.tangerine_whistle,
            self.spurious_dragon,
            self.byzantium,
            self.constantinople,
            self.petersburg,
            self.istanbul,
            self.muir_glacier,
            self.berlin,
            self.london,
            self.arrow_glacier,
            self.gray_glacier,
            match self.merge {
                Merge::Block(at) => Some(at),
                Merge::Never | Merge::ZeroDifficulty => None,
            },
        ];
        let heights = ascending(heights.into_iter().flatten().filter(|at| (1..=number).contains(at)));
        let times = self.times().into_iter().filter(|at| *at > genesis_time && *at <= timestamp);
        let mut bytes = hash.to_vec();
        heights.into_iter().chain(times).for_each(|at| bytes.extend(at.to_be_bytes()));
        bytes
    }

    /// Blocks by which the difficulty bomb is delayed (EIP-649 and its successors).
    #[must_use]
    pub fn bomb_delay(&self, number: u64) -> u64 {
        let delays = [
            (self.gray_glacier, 11_400_000),
            (self.arrow_glacier, 10_700_000),
            (self.london, 9_700_000),
            (self.muir_glacier, 9_000_000),
            (self.petersburg, 5_000_000),
            (self.constantinople, 5_000_000),
            (self.byzantium, 3_000_000),
        ];
        delays.iter().find_map(|(since, delay)| since.filter(|since| *since <= number).map(|_| *delay)).unwrap_or(0)
    }
}

/// The numbers in order, each once.
fn ascending(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    numbers.collect::<BTreeSet<_>>().into_iter().collect()
}

impl Fork {
    /// The fork after this one.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Some(match self {
            Self::Frontier => Self::Homestead,
            Self::Homestead => Self::TangerineWhistle,
            Self::TangerineWhistle => Self::SpuriousDragon,
            Self::SpuriousDragon => Self::Byzantium,
            Self::Byzantium => Self::Petersburg,
            Self::Petersburg => Self::Istanbul,
            Self::Istanbul => Self::Berlin,
            Self::Berlin => Self::London,
            Self::London => Self::Paris,
            Self::Paris => Self::Shanghai,
            Self::Shanghai => Self::Cancun,
            Self::Cancun => Self::Prague,
            Self::Prague => Self::Osaka,
            Self::Osaka => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_always_was_at_a_fork_is_there_at_every_block() {
        let mut fork = Fork::Frontier;
        loop {
            let forks = Forks::always(fork);
            let difficulty = if fork < Fork::Paris { U256::from(131_072) } else { U256::ZERO };
            assert_eq!(forks.fork(0, 0, difficulty), fork);
            assert_eq!(forks.fork(20_000_000, 2_000_000_000, difficulty), fork);
            let Some(next) = fork.next() else { break };
            fork = next;
        }
    }

    #[test]
    fn a_fork_begins_at_its_height_or_second_and_not_one_before() {
        let mut forks = Forks::always(Fork::Berlin);
        forks.start(Fork::London, 27);
        forks.merge = Merge::Block(36);
        forks.start(Fork::Shanghai, 390);
        let work = U256::from(1);
        assert_eq!((forks.fork(26, 260, work), forks.fork(27, 270, work)), (Fork::Berlin, Fork::London));
        assert_eq!((forks.fork(35, 1_000, work), forks.fork(36, 360, U256::ZERO)), (Fork::London, Fork::Paris));
        assert_eq!((forks.fork(38, 389, U256::ZERO), forks.fork(39, 390, U256::ZERO)), (Fork::Paris, Fork::Shanghai));
    }

    #[test]
    fn the_fork_id_counts_each_change_once_and_none_of_the_genesis_block() {
        let mut forks = Forks::always(Fork::SpuriousDragon);
        let genesis = (B256::repeat_byte(7), 100);
        assert_eq!(forks.id_bytes(genesis, 9, 900), genesis.0.as_slice());
        forks.start(Fork::Byzantium, 5);
        forks.start(Fork::Petersburg, 5);
        forks.merge = Merge::Block(8);
        forks.start(Fork::Shanghai, 100);
        forks.start(Fork::Cancun, 101);
        let numbers = |number, timestamp| {
            let bytes = forks.id_bytes(genesis, number, timestamp);
            let (hash, rest) = bytes.split_at(32);
            assert_eq!(hash, genesis.0.as_slice());
            rest.chunks(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap_or_default())).collect::<Vec<_>>()
        };
        assert_eq!(numbers(4, 100), [] as [u64; 0]);
        assert_eq!(numbers(5, 100), [5]);
        // Cancun is a fork and an entry of the blob schedule; Shanghai began with the genesis block.
        assert_eq!(numbers(8, 101), [5, 8, 101]);
        assert_eq!(forks.times(), [100, 101]);
    }

    #[test]
    fn blob_parameters_change_at_their_second_and_osaka_bounds_those_of_a_transaction() {
        let mut forks = Forks::always(Fork::Osaka);
        assert!(forks.schedule(Blobs { since: 15_000, target: 10, max: 15, update_fraction: 8_346_193 }));
        assert_eq!(forks.blobs(Fork::Shanghai, 15_000), None);
        let before = forks.blobs(Fork::Osaka, 14_999).unwrap_or_else(BlobParams::cancun);
        assert_eq!((before.max_blob_count, before.max_blobs_per_tx, before.blob_base_cost), (9, 6, 8_192));
        let after = forks.blobs(Fork::Osaka, 15_000).unwrap_or_else(BlobParams::cancun);
        assert_eq!((after.max_blob_count, after.max_blobs_per_tx), (15, 6));
        let cancun = Forks::always(Fork::Cancun).blobs(Fork::Cancun, 7);
        assert_eq!(cancun, Some(BlobParams::cancun()));
    }

    #[test]
    fn a_full_blob_schedule_takes_no_further_entry() {
        let mut forks = Forks::FRONTIER;
        let entry = |since| Blobs { since, target: 1, max: 2, update_fraction: 3 };
        for since in 0..8 {
            assert!(forks.schedule(entry(since)));
        }
        assert!(!forks.schedule(entry(8)));
        assert!(forks.schedule(entry(7)), "the same time takes the place of the earlier entry");
    }
}
