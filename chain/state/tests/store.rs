//! The store through its public API: against oracles, against crashes and against damaged files.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "a test stops where an assumption fails"
)]

#[path = "store/commits.rs"]
mod commits;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/history.rs"]
mod history;
#[path = "store/model.rs"]
mod model;
#[path = "store/oracle.rs"]
mod oracle;
#[path = "store/rewrite.rs"]
mod rewrite;
#[path = "store/segments.rs"]
mod segments;
#[path = "store/transfer.rs"]
mod transfer;
#[path = "store/verify.rs"]
mod verify;
