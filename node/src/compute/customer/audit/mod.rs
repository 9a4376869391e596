//! An order whose result other people's machines check: its terms, what it costs, and the customer's part until its window closes.
//!
//! # Design
//! [`options`] is what a person can ask for; [`plan`] turns it, the job and the provider's bond into the terms of the contract, by the rules of
//! `keystead_audit::economics`; [`recourse`] says what can be done about a wrong result; [`searched`] finds the wrong segment in public if its provider keeps the states to itself; [`outcome`] says in words what the audit was worth.
//! [`referee`] sees to it that a panel can judge what is ordered. [`serve`] gives drawn checkers the inputs that the provider does not give them; [`canary`] is a unit that is wrong on purpose. What a customer does until its window closes, whatever the window
//! is of, is [`crate::compute::audited`].
//!
//! # Not here
//! The checkers' side. What the customer finds by its own sample is [`super::check`], and stays.
//!
//! Spec: specs/0008-audit.md.

pub(super) mod canary;
pub(crate) mod options;
pub(in crate::compute) mod outcome;
pub(crate) mod plan;
pub(super) mod recourse;
pub(super) mod referee;
pub(super) mod searched;
pub(super) mod serve;
