//! A full node outside of the committee: takes blocks and certificates from nodes that it does not trust, checks, executes.
//!
//! # Design
//! ```text
//! Source (HTTP) -> fetch (parallel, checked one by one) -> Line (proven by certificates, in order) -> Chain (executed, committed)
//! ```
//! `source` asks one node and names what is wrong with its answer. `standing` are the rules by which sources are chosen and left
//! alone. `fetch` runs several requests at once and brings their blocks into order; which of them are final is decided by
//! `keystead_proof::Line`. `execute` puts them through the ledger of a validator on a thread of its own. `forward` passes transactions
//! on. Nothing here knows `keystead follow`: a validator that is far behind can use the same parts.
//!
//! # Invariants
//! - Only a block that a certificate of the network key proves is executed, and only one that executes as its header says is committed.
//! - A source can delay, never mislead: whatever is wrong in an answer leads to another source and a growing pause.
//!
//! ADR: docs/adr/0008-followers.md.

mod execute;
mod fetch;
mod folder;
mod forward;
mod origin;
mod source;
mod standing;

pub(crate) use execute::Executor;
pub(crate) use fetch::{Ended, Fetcher, Trust, ask};
pub(crate) use folder::Folder;
pub(crate) use forward::Forwarder;
pub(crate) use origin::{Origin, fetch_genesis, fetch_origin};
pub(crate) use source::{Range, Source, Sources};
