//! The genesis file: chain id, time, and the accounts that exist before block 1.
//!
//! Shape: the JSON that geth, anvil and Foundry use (`config.chainId`, `timestamp`, `alloc`), read with `alloy-genesis`.
//! For a chain of ours the rest of the file does not count; [`Genesis::ethereum_from_json`] reads all of it.

mod ethereum;

use crate::{
    account::{Account, AccountChange, ChangeSet},
    block::{Block, BlockParts},
    context::ConsensusContext,
    spec::{ChainSpec, MILLIS_PER_SECOND},
};
use alloy_consensus::{EMPTY_ROOT_HASH, Header};
use alloy_primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, U256, keccak256};
use std::collections::BTreeMap;

/// An account of the genesis state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenesisAccount {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce; 1 for contracts (EIP-161).
    pub nonce: u64,
    /// Runtime code.
    pub code: Bytes,
    /// Storage slots that are not zero.
    pub storage: BTreeMap<U256, U256>,
}

/// The state and the rules that a chain starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// Rules.
    pub spec: ChainSpec,
    /// Unix time of the genesis block in seconds.
    pub timestamp: u64,
    /// Accounts by address.
    pub accounts: BTreeMap<Address, GenesisAccount>,
    /// Header of block 0 of a foreign chain, whose state root does not count; `None` for a chain of ours.
    pub header: Option<Box<Header>>,
}

/// A genesis file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// Not the JSON of a genesis file.
    #[error("genesis file is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A foreign chain with rules that this program does not have.
    #[error("genesis file asks for something unknown: {0}")]
    Unsupported(String),
}

impl Genesis {
    /// Reads a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`] with the position in the file.
    pub fn from_json(json: &str) -> Result<Self, GenesisError> {
        let file: alloy_genesis::Genesis = serde_json::from_str(json)?;
        Ok(Self {
            spec: ChainSpec::keystead(file.config.chain_id),
            timestamp: file.timestamp,
            accounts: accounts(file.alloc),
            header: None,
        })
    }

    /// Writes the genesis file that [`Self::from_json`] reads.
    ///
    /// # Errors
    /// [`GenesisError`] if JSON cannot be written.
    pub fn to_json(&self) -> Result<String, GenesisError> {
        let mut file = alloy_genesis::Genesis::default();
        file.config.chain_id = self.spec.chain_id;
        file.timestamp = self.timestamp;
        file.gas_limit = self.spec.gas_limit;
        file.base_fee_per_gas = Some(u128::from(self.spec.base_fee_initial));
        file.alloc = self
            .accounts
            .iter()
            .map(|(address, account)| {
                let storage: BTreeMap<B256, B256> =
                    account.storage.iter().map(|(slot, value)| (B256::from(*slot), B256::from(*value))).collect();
                let account = alloy_genesis::GenesisAccount {
                    nonce: Some(account.nonce),
                    balance: account.balance,
                    code: (!account.code.is_empty()).then(|| account.code.clone()),
                    storage: (!storage.is_empty()).then_some(storage),
                    private_key: None,
                };
                (*address, account)
            })
            .collect();
        Ok(serde_json::to_string_pretty(&file)?)
    }

    /// The genesis state as a change of the empty state.
    #[must_use]
    pub fn changes(&self) -> ChangeSet {
        let mut changes = ChangeSet::default();
        for (address, account) in &self.accounts {
            let code_hash = if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) };
            if !account.code.is_empty() {
                changes.code.insert(code_hash, account.code.clone());
            }
            let change = AccountChange {
                account: Some(Account { nonce: account.nonce, balance: account.balance, code_hash }),
                storage_cleared: false,
                storage: account.storage.iter().filter(|(_, value)| !value.is_zero()).map(|(k, v)| (*k, *v)).collect(),
            };
            changes.accounts.insert(*address, change);
        }
        changes
    }

    /// The genesis block over the root of [`Self::changes`].
    #[must_use]
    pub fn block(&self, state_root: B256) -> Block {
        if let Some(header) = &self.header {
            return ethereum::block(header, state_root);
        }
        Block::assemble(BlockParts {
            parent_hash: B256::ZERO,
            number: 0,
            timestamp_ms: self.timestamp.saturating_mul(MILLIS_PER_SECOND),
            beneficiary: Address::ZERO,
            state_root,
            receipts_root: EMPTY_ROOT_HASH,
            logs_bloom: Bloom::ZERO,
            gas_limit: self.spec.gas_limit,
            gas_used: 0,
            base_fee: self.spec.base_fee_initial,
            transactions: Vec::new(),
            context: ConsensusContext::genesis(),
            requests: Vec::new(),
        })
    }

    /// Base fee of the child of a header under this chain's rules, in wei per gas.
    #[must_use]
    pub fn next_base_fee(&self, parent: &Header) -> u64 {
        self.spec.next_base_fee(parent)
    }
}

/// The accounts of a genesis file.
fn accounts(alloc: BTreeMap<Address, alloy_genesis::GenesisAccount>) -> BTreeMap<Address, GenesisAccount> {
    let read = |(address, account): (Address, alloy_genesis::GenesisAccount)| {
        let storage = account.storage.unwrap_or_default();
        let account = GenesisAccount {
            balance: account.balance,
            nonce: account.nonce.unwrap_or_default(),
            code: account.code.unwrap_or_default(),
            storage: storage.into_iter().map(|(slot, value)| (slot.into(), value.into())).collect(),
        };
        (address, account)
    };
    alloc.into_iter().map(read).collect()
}
