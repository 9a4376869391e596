//! Holds signed transactions until a block takes them: who may wait, in which order, and who leaves when room is short.
//!
//! # Design
//! A pure state machine. Each sender has one queue in nonce order; the run of nonces from the account's own, as far as
//! its balance covers, is *executable*, the rest is *queued* (waiting for a nonce or for funds). [`Pool::best`] merges
//! the runs by what they pay; eviction takes from the *tail* of the sender who pays least, so it never tears a hole.
//!
//! # Invariants
//! - [`Pool::bytes`] never exceeds [`Limits::bytes_max`], nor one sender's share its own bound.
//! - [`Pool::best`] yields each sender's nonces without a gap, beginning at the account's nonce.
//! - One hash, and one transaction per sender and nonce, stands in the pool at most once.
//! - A newcomer evicts only what pays strictly less than itself; a refused newcomer changes nothing.
//! - What one transaction can invalidate is bounded: an account whose code or nonce others can change (a delegation of
//!   EIP-7702, in force or waiting here) has one transaction here, not a stack of them.
//! - Two pools that see the same operations hold the same transactions in the same order.
//!
//! # Not here
//! Signatures (a [`keystead_types::Recovered`] has its sender), gossip, persistence, clocks.

mod admission;
mod best;
mod candidate;
mod error;
mod limits;
mod pool;
mod queue;

pub use best::Best;
pub use candidate::Candidate;
pub use error::PoolError;
pub use limits::Limits;
pub use pool::{Inserted, Pool};
