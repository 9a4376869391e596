//! Payment through the public API: vectors, refusals, crashes and disorder, the watcher.
// Tests may stop at the first surprise; their numbers are small.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::missing_const_for_fn,
    missing_docs,
    unreachable_pub
)]

#[path = "payment/claims.rs"]
mod claims;
#[path = "payment/disorder.rs"]
mod disorder;
#[path = "payment/fixture.rs"]
mod fixture;
#[path = "payment/records.rs"]
mod records;
#[path = "payment/refusals.rs"]
mod refusals;
#[path = "payment/vectors.rs"]
mod vectors;
#[path = "payment/watcher.rs"]
mod watcher;
