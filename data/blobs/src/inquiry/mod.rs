//! Questions to a provider outside of any order: what it offers (its capability record), and whether it takes orders now.
//!
//! # Design
//! Anybody may ask, so an answer costs the provider next to nothing and has a bound: one protocol of its own, a question a stream, a few questions a
//! connection, a few seconds in all. The record is opaque bytes here, asked for by the hash that stands on the chain; the asker hashes what it gets.
//! The state is a handful of numbers and a reason with a code. The asker measures the round trip itself.
//!
//! Spec: specs/0005-transfer.md §7.
//!
//! # Not here
//! Who holds which blob: a name is not a permission, and a stranger is not told what customers sent.

mod asker;
mod provider;
mod wire;

pub use asker::Inquiry;
pub use provider::Inquiries;
pub use wire::{Availability, State};

use crate::hash::HASH_BYTES;
use alloy_primitives::Bytes;

/// Name of the protocol in the TLS handshake.
pub const INQUIRY_ALPN: &[u8] = b"keystead/info/1";
/// Longest record, bytes (inclusive): that of a capability record (specs/0010-capability.md §2).
pub const RECORD_BYTES_MAX: usize = 32_768;
/// Questions that one connection may ask.
pub const QUESTIONS_MAX: usize = 8;

/// Answers questions of strangers. Called often and by anybody: it must be cheap and must not block.
pub trait Inform: Send + Sync + 'static {
    /// The record with this hash, if it is the present or the previous one: at most [`RECORD_BYTES_MAX`] bytes.
    fn record(&self, name: [u8; HASH_BYTES]) -> Option<Bytes>;

    /// Whether orders are taken now.
    fn state(&self) -> State;
}
