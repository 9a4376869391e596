//! The real engine over the real ledger: four validators in this process, one of which may lie.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod beacon;
mod clock;
mod ear;
mod hostile;
mod ledger;
mod proposer;
mod tamper;
mod validators;
