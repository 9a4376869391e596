//! The proof of hardware as a provider makes it, checkers check it, and anybody looks at it.
//!
//! # Design
//! ```text
//! provider: measure -> challenge of a height -> root on chain -> vectors on chain -> open -> publish -> statements -> record
//! checker:  events of others' vectors -> drawn? -> fetch what is published -> check against the chain -> sign, or stay silent
//! ```
//! [`round`] works on the devices, [`shelf`] keeps what was published and what checkers stated, [`answers`] gives and takes both over the network,
//! [`allowance`] bounds what strangers get of it, [`checker`] is the other side, [`keeper`] decides when a proof is needed, [`draws`] knows who was drawn to prove again. Rules and formats are in `keystead-market` (`touchstone`), devices in
//! `keystead-runner` (`Touchstone`). Spec: specs/0010-capability.md §6.
//!
//! # Invariants
//! - A checker signs only what came out of `touchstone::round::check` against its own node's chain, and only when it was drawn.
//! - A statement is kept only if a drawn checker signed it about the round that is published now.
//!
//! # Not here
//! Orders: a provider without a proof works in probation lanes.

mod allowance;
pub(crate) mod answers;
pub(crate) mod chain;
pub(crate) mod checker;
mod draws;
pub(crate) mod keeper;
pub(crate) mod measure;
pub(crate) mod prove;
pub(crate) mod round;
pub(crate) mod shelf;
pub(crate) mod words;
