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
mod cost;
pub mod filter;
pub mod need;
pub mod offer;
pub mod plan;
mod query;
pub mod record;
pub mod table;

pub use amount::{Currency, Unit};
pub use filter::Filter;
pub use need::Need;
pub use offer::{Key, Listed, Offer};
pub use plan::{Match, Plan, plan};
pub use record::Record;
pub use table::{Probe, Table};
