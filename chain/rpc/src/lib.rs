//! Ethereum's JSON-RPC, and Keystead's own proofs, over HTTP: how every wallet, library and explorer meets a node.
//!
//! # Design
//! ```text
//! server (HTTP, bounds) -> dispatch (calls, lanes, time) -> methods (one function each) -> store, pool, execution, proof
//! ```
//! [`serve`] is the whole interface: it takes a [`Context`], a listener and [`ServerLimits`]. Framing (`message.rs`)
//! and dispatch know nothing of HTTP, so that other transports can carry the same messages. One table
//! (`methods/mod.rs`) lists every method with its documentation.
//!
//! # Invariants
//! - Everything that a caller can fill is bounded by a field of [`ServerLimits`].
//! - Work that blocks or computes never runs on the threads that serve connections.
//! - Answers are read from committed blocks only, so none of them is ever taken back.
//!
//! # Not here
//! Writing of any kind: a transaction goes to [`Submit`], which the node implements. Keys: the server signs nothing.

mod chain;
mod context;
mod dispatch;
mod error;
mod lanes;
mod limits;
mod message;
mod methods;
mod metrics;
mod params;
mod render;
mod server;
mod service;

pub use context::{Context, Network, Submit, SubmitError, ValidatorInfo};
pub use error::Error;
pub use limits::{Cors, ServerLimits};
pub use server::serve;
