//! Whether a delivered result is right: which units to run again, and what follows from the comparison.
//!
//! # Design
//! [`judge`] gives the verdict on one unit, for whoever judges. [`check`] is the customer's own sample check of a delivery
//! (specs/0003-job.md §10); [`draw`] and [`economics`] are the rules of audits by drawn checkers (specs/0008-audit.md). Everything is a
//! pure function of the delivery, the rule, a seed and the answers of an injected [`Rerun`]; the caller owns clocks, randomness,
//! processes and money.
//!
//! # Invariants
//! An honest delivery is never found wrong: that needs a differing commitment, a wrong count, or a unit that re-ran to another result
//! (beyond the sound bound, for class tolerance). Whatever the checker could not do itself is *inconclusive*.
//!
//! # Not here
//! Running anything, transactions, deadlines.

pub mod check;
pub mod detection;
pub mod draw;
pub mod economics;
pub mod judge;
pub mod rounds;
pub mod sample;
pub mod tolerance;

pub use check::{Check, Delivery, Rejection, Report, Rerun, Verdict, Why};
pub use draw::Draw;
pub use judge::{Answer, Evidence, Judgement, Task};
pub use sample::{SampleRule, Seed};
