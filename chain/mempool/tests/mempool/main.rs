//! The pool through its public API: single rules, bounds, and invariants under random operations.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise and computes with small numbers"
)]

mod admission;
mod bounds;
mod delegation;
mod invariants;
mod order;
mod sample;
