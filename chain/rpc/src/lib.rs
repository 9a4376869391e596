//! Ethereum's JSON-RPC, and Keystead's own proofs, over HTTP and WebSocket: how every wallet, library and explorer meets a node.
//!
//! # Design
//! ```text
//! server (HTTP, WebSocket, bounds) -> dispatch (calls, lanes, time) -> methods (one function each) -> store, pool, execution, proof
//! ```
//! [`serve`] is the whole interface: it takes a [`Context`], a listener and [`ServerLimits`]. Framing (`message.rs`)
//! and dispatch know nothing of the transport. One table (`methods/mod.rs`) lists every method with its documentation.
//! What is told to subscribers and to those who poll is read from the chain by cursors (`feed.rs`), never queued.
//!
//! # Invariants
//! - Everything that a caller can fill is bounded by a field of [`ServerLimits`].
//! - Work that blocks or computes never runs on the threads that serve connections.
//! - Answers are read from committed blocks only, so none of them is ever taken back.
//!
//! # Not here
//! Writing of any kind: a transaction goes to [`Submit`], which the node implements. Keys: the server signs nothing; what a
//! development node signs and changes goes through [`Dev`], which a validator does not have.

mod chain;
mod context;
mod dev;
mod dispatch;
mod error;
mod feed;
mod filters;
mod lanes;
mod limits;
mod message;
mod methods;
mod metrics;
mod params;
mod pending;
mod render;
mod server;
mod service;
mod subscriptions;
mod sync;

pub use context::{Context, Network, Submit, SubmitError, ValidatorInfo};
pub use dev::{Amendment, Dev, DevError, MineOrder, Mining, Setting, Unsigned};
pub use error::Error;
pub use limits::{Cors, ServerLimits};
pub use server::serve;
