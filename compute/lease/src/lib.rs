//! Who does which steps of a job, until when: the table of leases from which a customer hands out work.
//!
//! # Design
//! [`Table`] is a state machine without clock, disk or network. The caller writes each of its decisions to a journal and repeats them
//! after a crash by [`Table::adopt`], [`Table::settle`], [`Table::end`] and [`Table::convict`]: the table is then where it was.
//! Spec: specs/0011-stream.md sections 2 and 4.
//!
//! # Invariants
//! - A step is in at most one live lease, and a unit in at most one.
//! - A step that was settled is never granted again, unless the provider that made it is convicted.
//! - A unit's steps are settled in order, without gaps.
//! - What is not settled waits or is leased: nothing is lost.
//!
//! # Not here
//! Money (`keystead-payment`), checks (`keystead-audit`), what a step computes.

mod lease;
mod pace;
mod party;
mod rules;
mod table;

pub use lease::{End, Item, Lease, Refused};
pub use party::{Out, Provider};
pub use rules::{PROBE_STEPS, Rules, STEPS_MAX};
pub use table::{Convicted, Failing, Table};
