//! Which offer runs a job, for how much, and why not: the customer's planner over on-chain listings, capability records and live probes.
//!
//! # Design
//! - [`record`] reads what a provider says about its machine and what others measured; [`offer`] makes offers of it.
//! - [`table`] holds all offers as columns and takes changes one at a time: listings, prices, probes, transfers.
//! - [`carbon`] says what is counted of an offer's power and supply, also where nothing is claimed.
//! - [`plan`](mod@plan) applies the hard filters ([`filter`]) to a [`Need`] and ranks the rest by one cost in money; [`split`] distributes many units.
//! - [`why_not`](mod@why_not) counts who fell where and finds the cheapest [`Change`] that brings an offer in; [`quote`] is the price before the click.
//! - [`touchstone`] is the proof of hardware: challenge, reference prover, verifier.
//!
//! Formats: specs/0010-capability.md.
//!
//! # Invariants
//! A price is a whole number of smallest units, no plan depends on the order in which offers came, and whatever a provider sends is bounded
//! before it is used.
//!
//! # Not here
//! Network, chain, clock, randomness: listings, records, probes, times and seeds come in as parameters.

pub mod amount;
pub mod band;
pub mod carbon;
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
pub use carbon::Counted;
pub use change::Change;
pub use filter::Filter;
pub use need::Need;
pub use offer::{Key, Listed, Offer};
pub use plan::{Match, Plan, plan};
pub use quote::FirmPrice;
pub use record::Record;
pub use table::{Probe, Table};
pub use why_not::{Relaxation, WhyNot, why_not};
