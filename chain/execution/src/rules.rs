//! The execution rules of one chain at one block, as data.
//!
//! # Design
//! Nothing else in this crate asks which chain it runs: it asks these fields. Keystead's chains have one set of rules, a
//! foreign chain under Ethereum's own rules has one per fork.

use crate::env::BlockEnv;
use alloy_consensus::{TxType, constants::ETH_TO_WEI};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7825::MAX_TX_GAS_LIMIT_OSAKA,
    eip7840::BlobParams,
};
use alloy_primitives::{Address, B256};
use keystead_types::{ChainSpec, Fork, Forks};
use revm::{context::CfgEnv, primitives::hardfork::SpecId};

/// Execution rules of one chain at one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// EIP-155 chain id.
    pub(crate) chain_id: u64,
    /// The fork whose opcodes, prices and precompiles apply.
    pub(crate) fork: SpecId,
    /// Transaction types that a block may hold.
    pub(crate) transaction_types: TransactionTypes,
    /// Whether a transaction of type 0 may name a chain id (EIP-155).
    pub(crate) legacy_chain_ids: bool,
    /// Whether an account with code may send (EIP-3607 forbids it).
    pub(crate) code_sends: bool,
    /// Largest gas limit of one transaction (EIP-7825); `None` before Osaka.
    pub(crate) transaction_gas_max: Option<u64>,
    /// Number and price of blobs; `None` if there are none.
    pub(crate) blobs: Option<BlobParams>,
    /// Calls made before the first transaction, in this order.
    pub(crate) system_calls: &'static [SystemCall],
    /// Whether a block's beacon values are written into their contract, after those calls (specs/0007-beacon.md §5).
    pub(crate) beacon: bool,
    /// Whether accounts that are empty when they are touched vanish (EIP-161).
    pub(crate) clears_empty: bool,
    /// Whether receipts hold the root of the state after their transaction instead of its status (EIP-658).
    pub(crate) receipts_have_roots: bool,
    /// What the beneficiary of a block gets for its work, in wei; zero without proof of work.
    pub(crate) block_reward: u128,
    /// Whether the consensus layer pays withdrawals (EIP-4895).
    pub(crate) withdrawals: bool,
    /// The deposit contract, if the block has requests for the consensus layer (EIP-7685, EIP-6110).
    pub(crate) deposit_contract: Option<Address>,
}

/// A set of EIP-2718 types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionTypes(u8);

impl TransactionTypes {
    /// All types up to one. They came in the order of their numbers.
    pub(crate) const fn up_to(last: TxType) -> Self {
        Self(u8::MAX >> 7_u8.saturating_sub(last as u8))
    }

    /// Types 0, 1, 2 and 4: Osaka's without blobs.
    pub(crate) const WITHOUT_BLOBS: Self = Self(
        (1 << TxType::Legacy as u8)
            | (1 << TxType::Eip2930 as u8)
            | (1 << TxType::Eip1559 as u8)
            | (1 << TxType::Eip7702 as u8),
    );

    /// True if a block may hold this type.
    pub(crate) const fn contains(self, kind: TxType) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

/// A call of the system address into a contract at the beginning of a block. If there is no contract, or it fails, the
/// state stays as it was, as both EIPs ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemCall {
    /// The contract.
    pub(crate) contract: Address,
    /// The 32 bytes that it gets.
    pub(crate) input: fn(&BlockEnv) -> B256,
}

/// EIP-4788, then EIP-2935: the order of Ethereum's clients.
const CANCUN_AND_PRAGUE: &[SystemCall] = &[
    SystemCall { contract: BEACON_ROOTS_ADDRESS, input: |env| env.parent_beacon_block_root },
    SystemCall { contract: HISTORY_STORAGE_ADDRESS, input: |env| env.parent_hash },
];

/// EIP-4788 alone.
const CANCUN: &[SystemCall] = CANCUN_AND_PRAGUE.split_at(1).0;

impl Rules {
    /// The rules of a chain at a block.
    pub(crate) fn of(spec: &ChainSpec, env: &BlockEnv) -> Self {
        match &spec.ethereum {
            None => Self::keystead(spec),
            Some(forks) => Self::ethereum(spec, forks, env),
        }
    }

    /// The rules of every Keystead chain: Osaka from genesis, no blobs, no requests of Ethereum's deposit contracts.
    pub(crate) const fn keystead(spec: &ChainSpec) -> Self {
        Self {
            chain_id: spec.chain_id,
            fork: SpecId::OSAKA,
            transaction_types: TransactionTypes::WITHOUT_BLOBS,
            legacy_chain_ids: true,
            code_sends: spec.code_sends,
            transaction_gas_max: Some(MAX_TX_GAS_LIMIT_OSAKA),
            blobs: None,
            system_calls: CANCUN_AND_PRAGUE,
            beacon: true,
            clears_empty: true,
            receipts_have_roots: false,
            block_reward: 0,
            withdrawals: false,
            deposit_contract: None,
        }
    }

    /// Ethereum's own rules.
    fn ethereum(spec: &ChainSpec, forks: &Forks, env: &BlockEnv) -> Self {
        let fork = forks.fork(env.number, env.timestamp, env.difficulty);
        let last_type = match fork {
            Fork::Prague | Fork::Osaka => TxType::Eip7702,
            Fork::Cancun => TxType::Eip4844,
            Fork::London | Fork::Paris | Fork::Shanghai => TxType::Eip1559,
            Fork::Berlin => TxType::Eip2930,
            _ => TxType::Legacy,
        };
        let reward_eth = match fork {
            _ if fork >= Fork::Paris => 0,
            _ if fork >= Fork::Petersburg => 2,
            Fork::Byzantium => 3,
            _ => 5,
        };
        Self {
            chain_id: spec.chain_id,
            fork: evm_fork(fork),
            transaction_types: TransactionTypes::up_to(last_type),
            legacy_chain_ids: fork >= Fork::SpuriousDragon,
            code_sends: spec.code_sends,
            transaction_gas_max: (fork >= Fork::Osaka).then_some(MAX_TX_GAS_LIMIT_OSAKA),
            blobs: forks.blobs(fork, env.timestamp),
            system_calls: match fork {
                Fork::Prague | Fork::Osaka => CANCUN_AND_PRAGUE,
                Fork::Cancun => CANCUN,
                _ => &[],
            },
            beacon: false,
            clears_empty: fork >= Fork::SpuriousDragon,
            receipts_have_roots: fork < Fork::Byzantium,
            block_reward: ETH_TO_WEI.saturating_mul(reward_eth),
            withdrawals: fork >= Fork::Shanghai,
            deposit_contract: (fork >= Fork::Prague).then_some(forks.deposit_contract),
        }
    }

    /// The same in the form that revm reads, with every check on.
    pub(crate) fn configuration(&self) -> CfgEnv {
        let mut configuration = CfgEnv::new_with_spec(self.fork).with_chain_id(self.chain_id);
        configuration.tx_chain_id_check = true;
        configuration.disable_eip3607 = self.code_sends;
        configuration.tx_gas_limit_cap = Some(self.transaction_gas_max.unwrap_or(u64::MAX));
        configuration.max_blobs_per_tx = Some(self.blobs.map_or(0, |blobs| blobs.max_blobs_per_tx));
        configuration
    }
}

/// The fork in revm's words, pinned one by one: revm's own "latest" moves.
const fn evm_fork(fork: Fork) -> SpecId {
    match fork {
        Fork::Frontier => SpecId::FRONTIER,
        Fork::Homestead => SpecId::HOMESTEAD,
        Fork::TangerineWhistle => SpecId::TANGERINE,
        Fork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
        Fork::Byzantium => SpecId::BYZANTIUM,
        Fork::Petersburg => SpecId::PETERSBURG,
        Fork::Istanbul => SpecId::ISTANBUL,
        Fork::Berlin => SpecId::BERLIN,
        Fork::London => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        Fork::Prague => SpecId::PRAGUE,
        Fork::Osaka => SpecId::OSAKA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keystead_takes_all_types_but_blobs() {
        let types = Rules::keystead(&ChainSpec::keystead(1)).transaction_types;
        for kind in [TxType::Legacy, TxType::Eip2930, TxType::Eip1559, TxType::Eip7702] {
            assert!(types.contains(kind), "{kind:?}");
        }
        assert!(!types.contains(TxType::Eip4844));
    }

    #[test]
    fn keystead_runs_osaka_and_its_gas_cap() {
        let configuration = Rules::keystead(&ChainSpec::keystead(7)).configuration();
        assert_eq!((configuration.spec, configuration.chain_id), (SpecId::OSAKA, 7));
        assert_eq!(configuration.tx_gas_limit_cap, Some(16_777_216));
    }

    #[test]
    fn each_fork_of_ethereum_adds_its_rules() {
        let rules = |fork| {
            let spec = ChainSpec::ethereum(1, 30_000_000, Forks::always(fork));
            Rules::of(&spec, &BlockEnv { number: 1, timestamp: 1, ..BlockEnv::default() })
        };
        let last_type = |fork| (0..8).rev().find(|kind| rules(fork).transaction_types.0 & (1 << kind) != 0);
        assert_eq!(last_type(Fork::Istanbul), Some(0));
        assert_eq!(last_type(Fork::Berlin), Some(1));
        assert_eq!(last_type(Fork::Shanghai), Some(2));
        assert_eq!(last_type(Fork::Cancun), Some(3));
        assert_eq!(last_type(Fork::Osaka), Some(4));
        assert!(!rules(Fork::TangerineWhistle).clears_empty && rules(Fork::SpuriousDragon).clears_empty);
        assert!(rules(Fork::SpuriousDragon).receipts_have_roots && !rules(Fork::Byzantium).receipts_have_roots);
        let rewards = [Fork::SpuriousDragon, Fork::Byzantium, Fork::Petersburg, Fork::London, Fork::Paris];
        assert_eq!(rewards.map(|fork| rules(fork).block_reward / ETH_TO_WEI), [5, 3, 2, 2, 0]);
        let calls = [Fork::Shanghai, Fork::Cancun, Fork::Prague].map(|fork| rules(fork).system_calls.len());
        assert_eq!(calls, [0, 1, 2]);
        assert_eq!(rules(Fork::Osaka).transaction_gas_max, Some(16_777_216));
        assert!(rules(Fork::Cancun).deposit_contract.is_none() && rules(Fork::Prague).deposit_contract.is_some());
    }
}
