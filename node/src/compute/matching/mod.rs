//! Which provider takes a job: the customer's own program over the register, the capability records and live answers.
//!
//! # Design
//! ```text
//! register -> records (own folder, else the provider) -> table -> filters and cost -> the best are asked -> a choice, or why not
//! ```
//! [`gather`] makes a [`known::Known`] of the register: every provider either has a record, whose offers stand in the planner's table (`keystead-market`), or
//! a reason why it is left out ([`absent::Absent`]). What earlier transfers of this user showed of their lines is remembered by [`links`]. [`live`] asks the
//! best whether they take orders now, and takes out who does not. [`need`] makes a job's demands of a spec and options. [`explain`] says in words and as JSON
//! who fell where and what would bring one in. [`list`] shows all, claimed apart from proved. Spec: specs/0010-capability.md, specs/0005-transfer.md §7.
//!
//! # Invariants
//! A record counts only if it hashes to what the register says. Nothing that a provider answers makes it cheaper than its record. Every question has a
//! bound of time and bytes, and all of them together have one, too.
//!
//! # Not here
//! Ordering and paying: the caller does that with the choice.

pub(crate) mod absent;
pub(crate) mod carbon;
pub(crate) mod explain;
pub(crate) mod gather;
pub(crate) mod known;
pub(crate) mod links;
mod list;
pub(crate) mod live;
pub(crate) mod need;
mod shelf;

pub(crate) use list::run as list;
