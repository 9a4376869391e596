//! The product of two matrices in single precision, with a program that tells a right product from a wrong one far more cheaply than computing it.
//!
//! # Design
//! Class *self-checking*: devices round differently, so outputs are not compared with each other; each is checked by Freivalds' method against
//! its own input. Layouts, bound and proof: `recipes/matmul/README.md`.

mod blob;
mod plan;
mod product;

pub use plan::Matmul;
