//! What members sign with their shares after a height is final: the beacon now, the gate later.
//!
//! # Design
//! `signer.rs` is the only place that holds the share for this: a closed list of purposes, each signed only once the height
//! that it names is final and committed here. `state.rs` collects the partials of all members and combines them;
//! `wire.rs` is the message; `actor.rs` moves messages. Nothing is kept on disk: what is not on chain yet is signed and sent again.
//!
//! Spec: specs/0007-beacon.md §2 to §4.

mod actor;
mod signer;
mod state;
mod wire;

pub(crate) use actor::{Beacon, Members, receive, send};
pub(crate) use signer::{Committee, Purpose, Signer, Standing};
pub(crate) use state::State;
pub(crate) use wire::MESSAGE_BYTES_MAX;
