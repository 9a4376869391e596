//! The customer's side of each job recipe: from files to a plan, from unit outputs to results, and the reference that checks them.
//!
//! # Design
//! A recipe is a folder (`recipes/<name>`: recipe.toml, kernel, golden result, outside check) and a type here that implements
//! [`CustomerSide`]. Nothing here runs a kernel: a provider runs the program, this crate says what goes in and reads what comes out.
//! The kernels and manifests are embedded, so a binary needs no recipe folder. A recipe of somebody else is a [`Folder`]: its manifest says how
//! work is cut and joined, so it needs no code here.
//!
//! # Invariants
//! [`CustomerSide::plan`] is a pure function of files and parameters: equal on every machine, so equal jobs have equal hashes.
//! [`CustomerSide::reference`] gives the bytes that the kernel gives. [`CustomerSide::assemble`] treats outputs as hostile.
//!
//! # Not here
//! Hashing and ordering a job (`keystead-job`), running it (`keystead-runner`), clocks, randomness, network.

pub mod align;
mod customer_side;
mod error;
mod general;
mod inputs;
pub mod matmul;
pub mod nbody;
mod npy;
pub mod plain;
mod png;
pub mod render;
mod settings;
pub mod sha256_search;
pub mod template;
pub mod value_at_risk;
mod words;

pub use customer_side::{CustomerSide, Plan, ResultFile, all, find};
pub use error::Error;
pub use general::{Fault, Folder, MANIFEST_FILE, Step};
pub use inputs::{FILE_BYTES_MAX, InputFile, Inputs};
