//! Which offer runs a job, for how much, and why not: the customer's planner over on-chain listings, capability records and live probes.
//!
//! # Design
//! [`record`] reads what a provider says about its machine and what others measured.
//! Spec: specs/0010-capability.md.
//!
//! # Not here
//! Network, chain, clock, randomness: listings, records, probes, times and seeds come in as parameters.

pub mod amount;
pub mod band;
pub mod change;
mod cost;
pub mod filter;
pub mod need;
pub mod offer;
pub mod plan;
mod query;
pub mod quote;
pub mod record;
pub mod split;
pub mod table;
pub mod touchstone;
pub mod why_not;

pub use amount::{Currency, Unit};
pub use change::Change;
pub use filter::Filter;
pub use need::Need;
pub use offer::{Key, Listed, Offer};
pub use plan::{Match, Plan, plan};
pub use quote::FirmPrice;
pub use record::Record;
pub use table::{Probe, Table};
pub use why_not::{Relaxation, WhyNot, why_not};
