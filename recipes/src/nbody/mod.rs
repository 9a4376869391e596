//! The motion of gravitating bodies: leapfrog with softened gravity by direct summation, in segments, for one system or an ensemble.
//!
//! # Design
//! Class *tolerance*: devices round differently, and small differences grow along a chaotic orbit; so a checker runs one segment again from the state that
//! the provider committed to, where they have not grown. Layouts and bounds: `recipes/nbody/README.md`.
//!
//! # Not here
//! Collisions, relativity, more than 512 bodies a system.

mod blob;
mod bodies;
mod motion;
mod plan;
mod report;

pub use plan::Nbody;
