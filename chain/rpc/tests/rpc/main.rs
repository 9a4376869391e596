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

mod beacon;
mod blocks;
mod calls;
mod chain;
mod client;
mod code;
mod described;
mod facts;
mod filters;
mod framing;
mod hostile;
mod hostile_sockets;
mod logs;
mod pool;
mod proofs;
mod reads;
mod sending;
mod sockets;
mod tools;
mod tracing;
mod waiting;
mod websocket;
