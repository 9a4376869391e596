//! Runs transactions again, or calls that nobody sent, and records what happens inside, for debuggers and explorers.
//!
//! # Design
//! ```text
//! ExecutedBlock -> replay.rs: system calls, earlier transactions as they ran, then one after another under
//!                  Watch<Inspector> (watch.rs), which spends a Budget (budget.rs) -> a Recorder makes the trace
//! ```
//! The recorders are the families of methods that tools know: geth's tracers (`geth.rs`), OpenEthereum's traces
//! (`parity.rs`), Otterscan's internal operations (`operations.rs`). The inspectors and the shapes of their results are
//! those of the crates revm-inspectors and alloy-rpc-types-trace.
//!
//! # Invariants
//! - A trace costs at most what its [`TraceLimits`] say in steps and bytes, and ends soon after the caller says stop,
//!   whatever the transaction does: it gives an error then, never a shortened trace.
//! - What runs again gives the same receipts: the same code prepares the block, and inspectors only look.

mod budget;
mod geth;
mod operations;
mod parity;
mod replay;
mod watch;

pub(crate) use budget::Budget;
pub use budget::{TraceError, TraceLimits};
pub use geth::{trace_call, trace_transactions};
pub use operations::internal_operations;
pub use parity::{ParityCall, parity_call, parity_results, parity_traces};
pub use replay::{CallSite, ExecutedBlock};
pub(crate) use replay::{Recorder, Subject, record, replay_calls};
pub(crate) use watch::Detail;
