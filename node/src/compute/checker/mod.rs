//! The checker: follows the windows of audits, runs again what its seats are drawn for, says what it found, is paid for each check.
//!
//! # Design
//! [`agent`] follows the chain's events and finds by [`keystead_audit::draw`] which checks fall on this account's seats. Each is a
//! [`course::Course`]: a task that asks the chain where the check stands and does the next step of [`step`]. A seat that is drawn for a panel of
//! referees is the same: a ballot instead of a check ([`ballot`]), run on the reference. [`work`] runs, on what [`fetch`] gets;
//! [`sources`] says from whom, and [`source`] is the other end, at the provider and the customer, and ([`kept`]) at a checker that found the unit wrong. A check is one file ([`record`]), written before anything is said on the chain.
//!
//! # Invariants
//! - A check commits once and reveals what it committed, through every crash; what this machine could not find out is *inconclusive*, never *wrong*.
//! - Checks and orders take turns on the machine, unit by unit; the owner's preferences hold for both.
//! - Who has not committed can stop at any time and loses nothing.
//!
//! # Not here
//! What may be claimed about hardware (specs/0010-capability.md).

mod agent;
mod appeal;
mod ballot;
mod course;
mod fetch;
mod kept;
mod record;
mod shelf;
pub(crate) mod source;
mod sources;
mod step;
mod work;

pub(crate) use agent::{Agent, Means, status};
pub(in crate::compute) use course::credited;

use keystead_job::{Class, JobSpec, blob_hash};

/// Whether a checker program that is none of the built-in recipes' would say what is right to whoever is drawn. Its maker may have it say *wrong* to anybody, and
/// another thing to each round: nobody's bond or seat should depend on it. Named checkers risk no seat.
pub(crate) fn judged_by_foreigner(spec: &JobSpec, is_named: bool) -> bool {
    if is_named {
        return false;
    }
    let Some(checker) = spec.checker.filter(|_| spec.class == Class::SelfChecking) else { return false };
    let built_in = keystead_recipes::all().iter().filter_map(|recipe| recipe.checker());
    !built_in.into_iter().any(|program| blob_hash(program) == checker.program_hash)
}
