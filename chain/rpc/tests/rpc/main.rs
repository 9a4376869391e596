//! The server as its callers meet it: a real store with executed blocks behind real HTTP on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise"
)]
#![allow(unreachable_pub, missing_docs, reason = "a test program has no public items")]

mod calls;
mod chain;
mod client;
mod code;
mod framing;
mod hostile;
mod logs;
mod proofs;
mod reads;
mod sending;
mod tools;
mod tracing;
