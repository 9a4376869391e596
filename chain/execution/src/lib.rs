//! Runs the transactions of a block: from a state before it and its transactions to receipts and a change set.
//!
//! # Design
//! [`execute`] is what every validator does with a proposal, [`build`] is what the proposer does; both drive the same
//! block run, so what was built executes to the identical [`Outcome`]. [`call`] and [`estimate_gas`] answer questions
//! and change nothing, and so do the traces (`trace/`), access lists and simulations. All of them read through a [`keystead_types::StateView`] and never know where it comes from.
//! The rules of a chain are data (`rules.rs`), derived from its [`keystead_types::ChainSpec`]: forks, transaction
//! types, gas caps and system calls are looked up there, not decided in the code that runs. A foreign chain runs under
//! Ethereum's own rules of every fork; [`execute_ethereum`] adds what such a block does around its transactions.
//!
//! # Invariants
//! - A view that cannot be read stops everything with [`Error::View`]; it is never taken for an empty account.
//! - The same view, rules, environment and transactions give the same outcome, byte for byte: no clock, no randomness,
//!   no iteration over a hash map reaches a result.
//! - A change set names only accounts and slots whose value differs from before the block.
//!
//! # Not here
//! State roots (`keystead-state`), signatures (checked when a transaction becomes
//! [`keystead_types::Recovered`]), header rules (the node compares an outcome with the header).
//!
//! Spec: specs/0000-chain.md §3 and §4, specs/0007-beacon.md §5.

mod access_list;
mod beacon;
mod block;
mod build;
mod call;
mod codes;
mod deposits;
mod env;
mod error;
mod estimate;
mod ethereum;
mod evm;
mod overlay;
mod overrides;
mod precompiles;
mod receipt;
mod rules;
mod simulate;
mod trace;

pub use access_list::{AccessListOutcome, access_list};
pub use beacon::BeaconWrite;
pub use block::{Outcome, execute};
pub use build::{BuildLimits, Built, build};
pub use call::{Bundle, BundleOutcome, CallLimits, CallOutcome, CallPrice, CallRequest, CallStatus, call, call_many};
pub use env::BlockEnv;
pub use error::{BlockFault, Error, EstimateError, InvalidTransaction, OverrideError};
pub use estimate::estimate_gas;
pub use ethereum::{EthereumBlock, StateRoot, execute_ethereum, execute_transactions};
pub use overrides::Overrides;
pub use simulate::{
    BlockRequest, HeaderStyle, SIMULATED_BLOCKS_MAX, SimulateError, SimulateOptions, SimulatedBlock, SimulatedCall,
    SimulatedResult, SimulatedRoot, simulate,
};
pub use trace::{
    CallSite, ExecutedBlock, ParityCall, TraceError, TraceLimits, internal_operations, parity_call, parity_results,
    parity_traces, trace_call, trace_transactions,
};
