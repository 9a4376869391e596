//! Bundles of a small chain, verified as a stranger would: through the public API, with a key made here.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests stop at the first surprise"
)]

mod audited;
mod beacons;
mod certificates;
mod hostile;
mod map;
mod map_plan;
mod map_refusals;
mod market;
mod mutants;
mod network;
mod reports;
mod stretches;
mod vectors;
