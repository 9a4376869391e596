//! The planner against a naive one, and the formats against their vectors.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "tests: a panic is a failure, and numbers are small"
)]

mod explanations;
mod machines;
mod oracle;
mod planner;
mod quotes;
mod records;
mod sample;
mod splits;
mod updates;
mod vectors;
