//! `cargo xtask demo`: the whole market once, as a story that a stranger can follow and that fails if it is not true.
//!
//! # Design
//! Four validators agree; eight providers compute, of whom one cheats, one dies, and one has an owner that comes back; two customers order with every
//! recipe. [`play`] is the story; [`cast`] who plays; [`jobs`] what is ordered; [`books`] holds what everybody got against what they should have got, to
//! the wei; [`chain`] asks the node.
//!
//! # Invariants
//! Every process ends with this one, also after Ctrl-C; every wait has an end; whatever is not as promised is an error that says what.

mod books;
mod cast;
mod chain;
mod jobs;
mod play;

pub(crate) use play::{Options, run};
