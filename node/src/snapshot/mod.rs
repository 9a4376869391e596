//! Snapshots: a folder that holds the whole state after one certified block, from which a follower starts without older blocks.
//!
//! # Design
//! `manifest` says what the folder must hold and decides what of it the network key proves; `make` writes a folder from a store,
//! `download` from a running node, `load` makes a store from a folder. A chunk is believed only as far as its hash stands in the manifest, the manifest's chunks
//! only once the root of all of them is the state root of a certified header.
//!
//! Spec: specs/0006-snapshot.md.

mod download;
mod load;
mod make;
mod manifest;
mod writer;

pub(crate) use download::download;
pub(crate) use load::load;
pub(crate) use make::{Made, make};
