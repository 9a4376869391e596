//! The nouns of the ledger and their bytes: block, transaction, receipt, certificate, account, genesis.
//!
//! # Design
//! Everything here is plain data with checked construction; nothing does I/O, reads a clock or knows the engine. A
//! block is an Ethereum block: its hash is the hash of a stock header, and the body is bound by that header's roots.
//! Spec: specs/0000-chain.md, specs/0001-certificate.md.
//!
//! # Not here
//! Execution, storage, signature checks of certificates (`keystead-proof`), and every Commonware type.

mod account;
mod beacon;
mod block;
mod certificate;
mod context;
mod forks;
mod genesis;
mod header;
mod spec;
mod transaction;

pub use account::{Account, AccountChange, ChangeSet, StateView, ViewError};
pub use beacon::{
    BEACON_ADDRESS, BEACON_NEWEST_SLOT, BEACON_REQUEST_TYPE, BEACON_RING, BEACON_VALUES_MAX, BeaconBatch, BeaconError,
    BeaconValue, beacon_slot,
};
pub use block::{Block, BlockError, BlockParts, EthereumBody};
pub use certificate::{Certificate, SIGNATURE_BYTES, Seed, network_namespace};
pub use context::{ConsensusContext, ContextError, SEEDS_MAX};
pub use forks::{BLOB_ENTRIES_MAX, Blobs, DEPOSIT_CONTRACT, Fork, Forks, Merge};
pub use genesis::{Genesis, GenesisAccount, GenesisError};
pub use header::{HeaderFault, check_header};
pub use spec::{BODY_BYTES_MAX, ChainSpec, ETHEREUM_BLOCK_BYTES_MAX, EXTRA_DATA_BYTES, MILLIS_PER_SECOND};
pub use transaction::{
    Receipt, RecoverError, Recovered, TRANSACTION_BYTES_MAX, Transaction, TransactionError, authorities,
    decode_ethereum_transaction, decode_transaction, recover, recover_all, recover_all_any_s,
};

pub use alloy_consensus::Header;
pub use alloy_eips::eip4895::{Withdrawal, Withdrawals};
pub use alloy_primitives::{Address, B256, Bytes, Log, U256};
