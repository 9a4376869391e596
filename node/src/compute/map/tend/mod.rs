//! The audited windows of a map from their announcement to their end: serves checkers, answers who asks for an input, does what nobody else does.
//!
//! # Design
//! [`shelf`] has what checkers may fetch: the job's own blobs where they lie in memory anyway, the lists of steps, and the states as they lie in
//! the outputs. [`tended`] is the handle, the server on the map's own endpoint and two tasks: one answers, so that no slow transaction of the other
//! makes an answer late; the other looks at the windows in turns ([`rounds`]). What is not of maps alone is [`crate::compute::audited`].
//!
//! # Invariants
//! - Nobody is served whom the chain does not put on duty for a step of a window that was added.
//! - A state that was added once stays on the shelf: it may be the input of a later window's step.
//!
//! Spec: specs/0008-audit.md §10, §13.1, specs/0009-channel.md §6.

mod rounds;
mod shelf;
mod tended;

pub(super) use tended::{Paid, Tended};
