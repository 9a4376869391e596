//! Agrees on the next block: glue between the Commonware simplex engine and a [`Ledger`] that builds and checks blocks.
//!
//! # Design
//! The engine is threshold simplex with a VRF (BLS12-381, MinSig): votes are partial signatures, a certificate is one
//! 48-byte signature under a key that never changes. It runs over authenticated connections between the validators on
//! the list, and knows execution only through [`Ledger`], which the node implements, so that either side can be
//! replaced. [`run`] instantiates the whole generic stack here, with concrete types, behind a function that is not
//! generic: the cost of compiling it is paid in this crate alone.
//!
//! Spec: specs/0000-chain.md, specs/0001-certificate.md, specs/0007-beacon.md.
//!
//! # Invariants
//! - A block is verified (executed, roots compared) before this node votes for it.
//! - A node whose ledger reports [`LedgerError::Broken`] stops: it neither votes nor proposes again.
//! - A node that may have forgotten a vote follows without signing until that vote can no longer matter.
//! - After finality a share signs only what the signer in `beacon/` knows: a closed list of purposes.
//! - A finalized block is acknowledged to the engine only after the ledger has made it durable.
//!
//! # Not here
//! Key generation without a dealer, resharing and attributable votes: they replace [`deal`] and the signing scheme.

mod application;
mod beacon;
mod block;
mod engine;
mod finalizer;
mod gossip;
mod keys;
mod ledger;
mod pacing;
mod reach;
mod run;
mod seeds;
mod votes;

pub use gossip::{GOSSIP_BATCH_BYTES_MAX, Gossip, Outgoing};
pub use keys::{Dealing, KeysError, Member, ValidatorKeys, deal};
pub use ledger::{BuildRequest, Ledger, LedgerError, Verdict};
pub use pacing::Pacing;
pub use run::{Error, Peer, RunConfig, run};
// For a test that connects as a member and lies.
#[doc(hidden)]
pub use run::{connections, peers};
