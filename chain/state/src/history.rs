//! States below the recent ones: old values by key and by block, how far back they reach, and proofs from them.
//!
//! # Design
//! The batch of a block holds what its changes replaced as one record, for undoing the block as a whole. Upkeep writes the
//! same values by key, for reads: the value after block N is the first old value above N, else the flat one. See ADR 4.

mod past;
mod undo;
mod undone;
mod unindexed;
mod window;

pub(crate) use past::Past;
pub(crate) use undo::Undo;
pub(crate) use undone::{Target, UndoneStates};
pub(crate) use unindexed::{Unindexed, View};
pub use window::History;
pub(crate) use window::{Window, prune};
