//! The customer: from files to a checked, paid result with a certificate.
//!
//! # Design
//! [`plan`] makes the job, [`choose`] picks a provider, [`follow`] asks the chain again and again what to do next
//! ([`crate::compute::lifecycle`]), [`talk`] moves bytes, [`check`] re-runs a sample in this machine's own worker, [`result`] writes the
//! files. Nothing is accepted that was not checked, and nothing is rejected that could not be checked.

mod check;
mod choose;
mod follow;
mod plan;
mod result;
mod setup;
mod show;
mod talk;

pub(crate) use setup::run;
