//! What the customers of audited orders and of audited channels do alike while checkers look at their work.
//!
//! # Design
//! [`door`] decides which checkers are served and says where this machine is reached; [`answers`] hears who asks for an input and says so on the
//! chain, [`unasked`] when that is said without a question; [`tending`] tells how a window's audit goes, and what nobody else has done for it. What is served, and to whom that is told, is the
//! caller's: of an order in [`super::customer`], of a channel's windows in [`super::map`].
//!
//! Spec: specs/0008-audit.md §10, §13.

pub(crate) mod answers;
pub(crate) mod door;
pub(crate) mod tending;
mod unasked;
