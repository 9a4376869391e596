//! The executor through its public API, over a world in memory.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise and computes with small numbers"
)]

mod beacon;
mod blocks;
mod building;
mod calls;
mod code;
mod contracts;
mod ethereum;
mod overrides;
mod rules;
mod simulation;
mod system;
mod tracing;
mod world;
