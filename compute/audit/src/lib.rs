//! Whether a delivered result is right: which units to run again, and what follows from the comparison.
//!
//! # Design
//! One rule so far: the customer's own sample check of an *exact* job (specs/0003-job.md §10). Everything is a pure function of the
//! delivery, the rule, a seed and the answers of an injected [`Rerun`]; the caller owns clocks, randomness, processes and money.
//!
//! # Invariants
//! An honest delivery is never rejected: *rejected* needs a differing commitment, a wrong count, or a unit that re-ran to another
//! result. Whatever the checker could not do itself is *inconclusive*.
//!
//! # Not here
//! Checkers chosen by the beacon, bisection, stake (a later issue).

pub mod check;
pub mod detection;
pub mod sample;
pub mod tolerance;

pub use check::{Answer, Check, Delivery, Rejection, Report, Rerun, Verdict, Why};
pub use sample::{SampleRule, Seed};
