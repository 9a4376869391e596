//! The execution rules of one chain as data.
//!
//! # Design
//! Nothing else in this crate asks which chain it runs: it asks these fields. A foreign chain under Ethereum's own
//! rules is a second constructor.

use crate::env::BlockEnv;
use alloy_consensus::TxType;
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7825::MAX_TX_GAS_LIMIT_OSAKA};
use alloy_primitives::{Address, B256};
use keystead_types::ChainSpec;
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
    /// Largest gas limit of one transaction (EIP-7825); `None` before Osaka.
    pub(crate) transaction_gas_max: Option<u64>,
    /// Calls made before the first transaction, in this order.
    pub(crate) system_calls: &'static [SystemCall],
}

/// A set of EIP-2718 types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionTypes(u8);

impl TransactionTypes {
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

impl Rules {
    /// The rules of every Keystead chain: Osaka from genesis, no blobs, no requests of Ethereum's deposit contracts.
    pub(crate) const fn keystead(spec: &ChainSpec) -> Self {
        Self {
            chain_id: spec.chain_id,
            fork: SpecId::OSAKA,
            transaction_types: TransactionTypes::WITHOUT_BLOBS,
            transaction_gas_max: Some(MAX_TX_GAS_LIMIT_OSAKA),
            system_calls: CANCUN_AND_PRAGUE,
        }
    }

    /// The same in the form that revm reads, with every check on.
    pub(crate) fn configuration(&self) -> CfgEnv {
        let mut configuration = CfgEnv::new_with_spec(self.fork).with_chain_id(self.chain_id);
        configuration.tx_chain_id_check = true;
        configuration.tx_gas_limit_cap = Some(self.transaction_gas_max.unwrap_or(u64::MAX));
        configuration
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
}
