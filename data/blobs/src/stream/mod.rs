//! The session in which a job goes over in leases and is paid by vouchers: its messages, and a link that carries them.
//!
//! # Design
//! [`wire`] are the messages, pure and bounded. A [`Link`] is one end of a session, the same for both sides: messages one way and the
//! other, and blobs that either side lets the other fetch. Who dials uses [`dial`]; a provider gives [`acceptor`] to
//! [`crate::serve_with`], so that one endpoint speaks both protocols. [`pack`] puts many small blobs into one.
//!
//! Spec: specs/0011-stream.md section 3.
//!
//! # Invariants
//! Nothing is said to a peer, and nothing served, before [`Streams::greet`] said yes.
//!
//! # Not here
//! What a lease is, who is paid, when a link is dialled again.

mod accept;
mod link;
pub mod pack;
pub mod wire;

pub use accept::{Streams, acceptor};
pub use link::{Link, Source, dial};
pub use wire::{End, EndCode, FromCustomer, FromProvider, Item, LeaseOffer, RefuseCode, WindowReport, stream_digest};

/// Name of the protocol in the TLS handshake.
pub const ALPN: &[u8] = b"keystead/stream/2";
/// The version before, without notes: offered and accepted besides.
pub const ALPN_BEFORE: &[u8] = b"keystead/stream/1";
