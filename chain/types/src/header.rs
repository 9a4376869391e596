//! What a header of a foreign chain must say, given its parent: Ethereum's rules of every fork.
//!
//! # Not here
//! Seals of proof of work and of the consensus layer: an imported chain is trusted to be the canonical one. Roots that
//! only execution knows are compared by whoever executes.

use crate::{
    forks::{Fork, Forks},
    spec::ChainSpec,
};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7840::BlobParams};
use alloy_primitives::{B64, B256, U256};

/// Longest `extraData`. Spec: Ethereum yellow paper §4.4.4.
const EXTRA_DATA_BYTES_MAX: usize = 32;
/// A child's gas limit differs from its parent's by less than the parent's divided by this.
const GAS_LIMIT_DIVISOR: u64 = 1_024;
/// Lowest gas limit of a block.
const GAS_LIMIT_MIN: u64 = 5_000;
/// Highest gas limit of a block (EIP-1985).
const GAS_LIMIT_MAX: u64 = i64::MAX as u64;
/// Lowest difficulty under proof of work.
const DIFFICULTY_MIN: u64 = 131_072;
/// Blocks in which the difficulty bomb doubles.
const BOMB_PERIOD: u64 = 100_000;

/// A header that breaks a rule of its chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// It is not the child of the block it was compared with.
    #[error("not the child of its parent: number={number} parent_number={parent_number} parent_hash={parent_hash}")]
    NotChild {
        /// Its height.
        number: u64,
        /// Height of the other.
        parent_number: u64,
        /// The parent that it names.
        parent_hash: B256,
    },
    /// Its time is not after its parent's.
    #[error("timestamp is not after the parent's: got={got} parent={parent}")]
    Timestamp {
        /// Its time in seconds.
        got: u64,
        /// The parent's.
        parent: u64,
    },
    /// `extraData` is too long.
    #[error("extra data is too long: got_bytes={got_bytes} max_bytes={max_bytes}")]
    ExtraData {
        /// Its length.
        got_bytes: usize,
        /// The greatest.
        max_bytes: usize,
    },
    /// The gas limit is too far from the parent's, or outside all bounds.
    #[error("gas limit out of bounds: got={got} parent={parent}")]
    GasLimit {
        /// Its gas limit.
        got: u64,
        /// The parent's, doubled where London begins.
        parent: u64,
    },
    /// More gas used than the limit allows.
    #[error("gas used above the limit: used={used} limit={limit}")]
    GasUsed {
        /// Gas used.
        used: u64,
        /// Gas limit.
        limit: u64,
    },
    /// Another base fee than the parent asks for.
    #[error("base fee: got={got:?} want={want:?}")]
    BaseFee {
        /// Its base fee in wei.
        got: Option<u64>,
        /// What the rules give; `None` before London.
        want: Option<u64>,
    },
    /// Another difficulty than the rules give.
    #[error("difficulty: got={got} want={want}")]
    Difficulty {
        /// Its difficulty.
        got: U256,
        /// What the rules give; zero after the merge.
        want: U256,
    },
    /// A seal or ommers after the merge.
    #[error("field must be empty after the merge: field={field}")]
    Seal {
        /// Name of the field as in JSON-RPC.
        field: &'static str,
    },
    /// A field that its fork asks for and that is absent, or the other way round.
    #[error("field does not belong to the fork: field={field} fork={fork:?} present={present}")]
    Presence {
        /// Name of the field as in JSON-RPC.
        field: &'static str,
        /// The fork of the block.
        fork: Fork,
        /// Whether it is there.
        present: bool,
    },
    /// Another excess of blob gas than the parent asks for.
    #[error("excess blob gas: got={got} want={want}")]
    ExcessBlobGas {
        /// Its excess.
        got: u64,
        /// What the rules give.
        want: u64,
    },
    /// More blob gas than a block may use, or no whole number of blobs.
    #[error("blob gas used: got={got} max={max}")]
    BlobGasUsed {
        /// Blob gas used.
        got: u64,
        /// The most.
        max: u64,
    },
}

/// Checks a header against its parent under Ethereum's rules.
///
/// Trust: `header` is hostile; `parent` was checked before. `parent_hash` is the parent's hash.
///
/// # Errors
/// [`HeaderFault`]: the first rule that is broken.
pub fn check_header(
    header: &Header,
    parent: &Header,
    parent_hash: B256,
    spec: &ChainSpec,
    forks: &Forks,
) -> Result<(), HeaderFault> {
    if header.parent_hash != parent_hash || Some(header.number) != parent.number.checked_add(1) {
        let (number, parent_number, parent_hash) = (header.number, parent.number, header.parent_hash);
        return Err(HeaderFault::NotChild { number, parent_number, parent_hash });
    }
    if header.timestamp <= parent.timestamp {
        return Err(HeaderFault::Timestamp { got: header.timestamp, parent: parent.timestamp });
    }
    let got_bytes = header.extra_data.len();
    if got_bytes > EXTRA_DATA_BYTES_MAX {
        return Err(HeaderFault::ExtraData { got_bytes, max_bytes: EXTRA_DATA_BYTES_MAX });
    }
    let fork = forks.fork(header.number, header.timestamp, header.difficulty);
    check_presence(header, fork)?;
    check_work(header, parent, fork, forks)?;
    check_gas(header, parent, fork, spec)?;
    check_blobs(header, parent, fork, forks)
}

fn check_presence(header: &Header, fork: Fork) -> Result<(), HeaderFault> {
    let fields = [
        ("baseFeePerGas", header.base_fee_per_gas.is_some(), fork >= Fork::London),
        ("withdrawalsRoot", header.withdrawals_root.is_some(), fork >= Fork::Shanghai),
        ("blobGasUsed", header.blob_gas_used.is_some(), fork >= Fork::Cancun),
        ("excessBlobGas", header.excess_blob_gas.is_some(), fork >= Fork::Cancun),
        ("parentBeaconBlockRoot", header.parent_beacon_block_root.is_some(), fork >= Fork::Cancun),
        ("requestsHash", header.requests_hash.is_some(), fork >= Fork::Prague),
        ("blockAccessListHash", header.block_access_list_hash.is_some(), false),
        ("slotNumber", header.slot_number.is_some(), false),
    ];
    match fields.into_iter().find(|(_, present, wanted)| present != wanted) {
        Some((field, present, _)) => Err(HeaderFault::Presence { field, fork, present }),
        None => Ok(()),
    }
}

fn check_work(header: &Header, parent: &Header, fork: Fork, forks: &Forks) -> Result<(), HeaderFault> {
    let merged = fork >= Fork::Paris;
    let want = if merged { U256::ZERO } else { difficulty(header, parent, fork, forks) };
    if header.difficulty != want {
        return Err(HeaderFault::Difficulty { got: header.difficulty, want });
    }
    if merged && header.nonce != B64::ZERO {
        return Err(HeaderFault::Seal { field: "nonce" });
    }
    if merged && header.ommers_hash != EMPTY_OMMER_ROOT_HASH {
        return Err(HeaderFault::Seal { field: "sha3Uncles" });
    }
    Ok(())
}

/// The difficulty of a block under proof of work. Spec: yellow paper §4.4.4, EIP-2, EIP-100, EIP-649.
fn difficulty(header: &Header, parent: &Header, fork: Fork, forks: &Forks) -> U256 {
    let seconds = header.timestamp.saturating_sub(parent.timestamp);
    let step = parent.difficulty.wrapping_div(U256::from(2_048));
    let up: u64 = if fork >= Fork::Byzantium && parent.ommers_hash != EMPTY_OMMER_ROOT_HASH { 2 } else { 1 };
    let (rise, fall) = match fork {
        Fork::Frontier if seconds < 13 => (1, 0),
        Fork::Frontier => (0, 1),
        Fork::Homestead | Fork::TangerineWhistle | Fork::SpuriousDragon => (up, seconds / 10),
        _ => (up, seconds / 9),
    };
    let base = match rise.checked_sub(fall) {
        Some(rise) => parent.difficulty.saturating_add(step.saturating_mul(U256::from(rise))),
        None => {
            let fall = fall.saturating_sub(rise).min(99);
            parent.difficulty.saturating_sub(step.saturating_mul(U256::from(fall)))
        }
    };
    let base = base.max(U256::from(DIFFICULTY_MIN));
    let delay = forks.bomb_delay(header.number);
    match (header.number.saturating_sub(delay) / BOMB_PERIOD).checked_sub(2) {
        Some(doublings) => {
            let doublings = usize::try_from(doublings).unwrap_or(usize::MAX);
            base.saturating_add(U256::from(1).checked_shl(doublings).unwrap_or(U256::MAX))
        }
        None => base,
    }
}

fn check_gas(header: &Header, parent: &Header, fork: Fork, spec: &ChainSpec) -> Result<(), HeaderFault> {
    let (used, limit) = (header.gas_used, header.gas_limit);
    if used > limit {
        return Err(HeaderFault::GasUsed { used, limit });
    }
    let first_of_london = fork >= Fork::London && parent.base_fee_per_gas.is_none();
    let parent_limit = if first_of_london { parent.gas_limit.saturating_mul(2) } else { parent.gas_limit };
    let near = limit.abs_diff(parent_limit) < parent_limit / GAS_LIMIT_DIVISOR;
    if !near || !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&limit) {
        return Err(HeaderFault::GasLimit { got: limit, parent: parent_limit });
    }
    let want = (fork >= Fork::London).then(|| spec.next_base_fee(parent));
    let got = header.base_fee_per_gas;
    if got == want { Ok(()) } else { Err(HeaderFault::BaseFee { got, want }) }
}

fn check_blobs(header: &Header, parent: &Header, fork: Fork, forks: &Forks) -> Result<(), HeaderFault> {
    let (Some(got), Some(used)) = (header.excess_blob_gas, header.blob_gas_used) else { return Ok(()) };
    let params = forks.blobs(fork, header.timestamp).unwrap_or_else(BlobParams::cancun);
    let max = params.max_blob_gas_per_block();
    if used > max || used.checked_rem(DATA_GAS_PER_BLOB) != Some(0) {
        return Err(HeaderFault::BlobGasUsed { got: used, max });
    }
    // The first block of Cancun has a parent without an excess: it counts as none.
    let want = parent.next_block_excess_blob_gas(params).unwrap_or(0);
    if got == want { Ok(()) } else { Err(HeaderFault::ExcessBlobGas { got, want }) }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests compute with small numbers")]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    fn spec(fork: Fork) -> (ChainSpec, Forks) {
        let forks = Forks::always(fork);
        (ChainSpec::ethereum(1, 30_000_000, forks), forks)
    }

    fn parent(fork: Fork) -> Header {
        Header {
            number: 9,
            timestamp: 1_000,
            gas_limit: 30_000_000,
            gas_used: 15_000_000,
            difficulty: if fork < Fork::Paris { U256::from(1_000_000) } else { U256::ZERO },
            base_fee_per_gas: (fork >= Fork::London).then_some(1_000),
            excess_blob_gas: (fork >= Fork::Cancun).then_some(0),
            blob_gas_used: (fork >= Fork::Cancun).then_some(6 * DATA_GAS_PER_BLOB),
            ..Header::default()
        }
    }

    fn child(fork: Fork) -> Header {
        let parent = parent(fork);
        // Over the target of Cancun, at that of Prague, priced from below in Osaka.
        let blobs = match fork {
            Fork::Prague => 0,
            Fork::Osaka => 2,
            _ => 3,
        };
        Header {
            parent_hash: parent.hash_slow(),
            number: 10,
            timestamp: 1_012,
            withdrawals_root: (fork >= Fork::Shanghai).then_some(B256::ZERO),
            excess_blob_gas: (fork >= Fork::Cancun).then_some(blobs * DATA_GAS_PER_BLOB),
            blob_gas_used: (fork >= Fork::Cancun).then_some(0),
            parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
            requests_hash: (fork >= Fork::Prague).then_some(B256::ZERO),
            difficulty: match fork {
                Fork::Frontier => U256::from(1_000_488),
                Fork::Homestead | Fork::TangerineWhistle | Fork::SpuriousDragon => U256::from(1_000_000),
                Fork::Byzantium | Fork::Petersburg | Fork::Istanbul | Fork::Berlin | Fork::London => {
                    U256::from(1_000_000)
                }
                _ => U256::ZERO,
            },
            ..parent
        }
    }

    fn check(fork: Fork, change: impl FnOnce(&mut Header)) -> Result<(), HeaderFault> {
        let (spec, forks) = spec(fork);
        let parent = parent(fork);
        let mut header = child(fork);
        change(&mut header);
        check_header(&header, &parent, parent.hash_slow(), &spec, &forks)
    }

    #[test]
    fn a_good_header_of_every_fork_passes() {
        let mut fork = Fork::Frontier;
        while let Some(next) = fork.next() {
            assert_eq!(check(fork, |_| ()), Ok(()), "{fork:?}");
            fork = next;
        }
        assert_eq!(check(Fork::Osaka, |_| ()), Ok(()));
    }

    #[test]
    fn each_broken_rule_is_named() {
        use HeaderFault as Fault;
        let fault = |change: fn(&mut Header)| check(Fork::Prague, change).err();
        assert!(matches!(fault(|it| it.number = 11), Some(Fault::NotChild { .. })));
        assert!(matches!(fault(|it| it.parent_hash = B256::ZERO), Some(Fault::NotChild { .. })));
        assert!(matches!(fault(|it| it.timestamp = 1_000), Some(Fault::Timestamp { .. })));
        assert!(matches!(fault(|it| it.extra_data = Bytes::from(vec![0; 33])), Some(Fault::ExtraData { .. })));
        assert!(matches!(fault(|it| it.gas_used = 30_000_001), Some(Fault::GasUsed { .. })));
        assert!(matches!(fault(|it| it.gas_limit += 30_000_000 / 1_024), Some(Fault::GasLimit { .. })));
        assert_eq!(fault(|it| it.gas_limit += 30_000_000 / 1_024 - 1), None);
        assert!(matches!(fault(|it| it.base_fee_per_gas = Some(1_001)), Some(Fault::BaseFee { .. })));
        assert!(matches!(fault(|it| it.difficulty = U256::from(1)), Some(Fault::Difficulty { .. })));
        assert!(matches!(fault(|it| it.nonce = B64::with_last_byte(1)), Some(Fault::Seal { field: "nonce" })));
        assert!(matches!(fault(|it| it.ommers_hash = B256::ZERO), Some(Fault::Seal { field: "sha3Uncles" })));
        assert!(matches!(fault(|it| it.requests_hash = None), Some(Fault::Presence { present: false, .. })));
        assert!(matches!(fault(|it| it.slot_number = Some(1)), Some(Fault::Presence { present: true, .. })));
        assert!(matches!(fault(|it| it.excess_blob_gas = Some(1)), Some(Fault::ExcessBlobGas { got: 1, want: 0 })));
        assert!(matches!(fault(|it| it.blob_gas_used = Some(1)), Some(Fault::BlobGasUsed { .. })));
        let too_many = fault(|it| it.blob_gas_used = Some(10 * DATA_GAS_PER_BLOB));
        assert!(matches!(too_many, Some(Fault::BlobGasUsed { .. })));
        assert!(check(Fork::Berlin, |it| it.base_fee_per_gas = Some(7)).is_err());
    }

    #[test]
    fn the_first_block_of_london_doubles_the_gas_limit_and_starts_at_one_gwei() {
        let (spec, forks) = spec(Fork::London);
        let parent = parent(Fork::Berlin);
        let mut header = child(Fork::London);
        header.parent_hash = parent.hash_slow();
        header.gas_limit = 60_000_000;
        header.base_fee_per_gas = Some(1_000_000_000);
        assert_eq!(check_header(&header, &parent, header.parent_hash, &spec, &forks), Ok(()));
        header.gas_limit = 30_000_000;
        assert!(check_header(&header, &parent, header.parent_hash, &spec, &forks).is_err());
    }

    #[test]
    fn the_difficulty_falls_by_at_most_99_steps_and_the_bomb_doubles_every_hundred_thousand_blocks() {
        let forks = Forks::always(Fork::Homestead);
        let parent =
            Header { difficulty: U256::from(2_048_000_000_u64), timestamp: 0, number: 399_999, ..Header::default() };
        let header = Header { timestamp: 100_000, number: 400_000, ..Header::default() };
        let want = 2_048_000_000_u64 - 99 * 1_000_000 + 4;
        assert_eq!(difficulty(&header, &parent, Fork::Homestead, &forks), U256::from(want));
    }
}
