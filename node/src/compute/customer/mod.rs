//! The customer: from files to a checked, paid result with a certificate.
//!
//! # Design
//! [`plan`] makes the job, [`choose`] picks a provider, [`terms`] are what it is offered, [`deliver`] for how long, [`gas`] what that costs besides; [`place`] turns the signed order into its number;
//! [`follow`] asks the chain again and again what to do next ([`crate::compute::lifecycle`]), [`talk`] moves bytes, [`check`] re-runs a
//! sample in this machine's own worker, [`result`] turns outputs into files; [`conclude`] hands them over. [`attempts`] goes from one
//! provider to the next. The price is in KST or in one token: [`setup::Buyer`] has the money, and lets the market take exactly a token's escrow before the
//! order is signed. What a program is told on the way is in [`happened`]. An order that other people's machines check goes through [`audit`] besides. What must outlive the process is in [`state`], in the
//! [`folder`] of the result.
//!
//! # Invariants
//! Nothing is accepted that was not checked and is not on the disk, and nothing is rejected that could not be checked. An order's
//! transaction is on the disk before it is sent.

mod attempts;
pub(crate) mod audit;
mod check;
mod choose;
mod conclude;
mod deliver;
mod folder;
mod follow;
mod gas;
mod happened;
mod place;
pub(in crate::compute) mod plan;
pub(in crate::compute) mod result;
mod setup;
mod show;
mod state;
pub(in crate::compute) mod stop;
mod talk;
mod terms;
mod why_not;

pub(super) use plan::job_spec;
pub(crate) use setup::run;
pub(crate) use why_not::run as why_not;
