//! What Rust needs to know about Keystead's contracts: bindings, genesis code, and where an order lies in storage.
//!
//! # Design
//! Everything comes from the committed artifacts (`artifacts/*.json`), which `build.mjs` makes from the Solidity sources and
//! compares with them in CI. So `cargo build` needs no Node and no Solidity compiler.
//! - [`bindings`]: calls, events and errors, generated from the ABI.
//! - [`genesis`]: which code stands at which address from block 0 on.
//! - [`storage`]: slot keys and decoders, for storage proofs. Spec: specs/0004-market.md section 6, specs/0009-channel.md
//!   section 8.
//! - [`limits`]: the bounds that the contracts enforce, for checks before a transaction is sent.
//!
//! # Not here
//! No I/O, no client, no signing: callers encode a call here and send it through their own provider.
//!
//! # Example
//! ```
//! use alloy_primitives::U256;
//! use keystead_contracts::{bindings::market::Market, genesis, storage};
//! use alloy_sol_types::SolCall;
//!
//! let call_data = Market::leaseCall { orderId: U256::from(7) }.abi_encode();
//! assert_eq!(call_data.len(), 4 + 32);
//! // What to ask `eth_getProof` for, to show the state of order 7:
//! let slots = storage::OrderSlots::of(U256::from(7));
//! assert_ne!(slots.progress, slots.terms);
//! assert_eq!(genesis::contracts()[1].address, keystead_contracts::MARKET_ADDRESS);
//! ```

pub mod bindings;
pub mod genesis;
pub mod limits;
pub mod storage;

pub use genesis::{
    AUDIT_ADDRESS, BEACON_ADDRESS, BOND_ADDRESS, CHANNEL_ADDRESS, MARKET_ADDRESS, PANELS_ADDRESS, PROVIDERS_ADDRESS,
    REFEREE_ADDRESS, TOUCHSTONE_ADDRESS,
};
