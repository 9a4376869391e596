//! The provider: offers this machine, runs what customers order, is paid.
//!
//! # Design
//! Every order that a customer came for has one [`course::Course`]: a task that asks the chain where the order stands and does the next
//! step of [`crate::compute::lifecycle`], whether or not the customer is connected. Sessions ([`session`]) only attach to it: they bring
//! inputs, watch progress, and take outputs. The state of a course is one file ([`record`]), so a restart goes on where it stopped. The window of an
//! audited order is attended to ([`window`]) until it is closed, whatever becomes of the order: who does not open a unit is convicted.
//! What the machine is and costs stands in its capability record ([`claims`], [`offering`]), which anybody is given who asks ([`desk`]).
//! Work that comes in leases over a payment channel is [`stream`]'s.
//!
//! # Invariants
//! - Nothing is leased before its inputs are here and verified.
//! - The secret of a commitment is on disk before the commitment is on the chain.
//! - One job runs at a time, in one worker process, which ends with this process.

mod ask;
mod backlog;
mod book;
mod canary;
mod cards;
mod claims;
mod course;
mod deadline;
mod desk;
mod devices;
mod fault;
mod machine;
mod offering;
mod owner;
mod payout;
mod portion;
mod power;
mod proving;
mod questions;
mod record;
mod room;
mod said;
mod savings;
mod self_test;
mod session;
mod setup;
mod stream;
mod turns;
mod watch;
mod window;

pub(crate) use book::Book;
pub(crate) use self_test::Capability;
pub(crate) use setup::run;
pub(crate) use turns::{InTurn, Turn};

/// The checker's folder in the provider's.
const CHECKER_FOLDER: &str = "checker";
