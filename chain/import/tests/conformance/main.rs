//! The outside vectors of Ethereum through our own executor, store and trie.
//!
//! They are public and not part of this repository (CONTRIBUTING.md, `KEYSTEAD_VECTORS`). Where they are absent each
//! suite says so and is skipped. `inapplicable.toml` lists single cases that do not apply, with reasons.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, computes with small numbers and prints counts"
)]

mod blocks;
mod rpc;
mod states;
mod suite;
mod world;
