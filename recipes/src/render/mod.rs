//! A picture of a scene by path tracing: bands of rows, samples added in segments, a PNG at the end.
//!
//! # Design
//! Class *tolerance*: random numbers are integers and a function of pixel and sample, so that two devices follow the same paths but for rounding; where rounding
//! sends a path elsewhere a pixel is an outlier. Scene file and layouts: `recipes/render/README.md`.
//!
//! # Not here
//! Textures, meshes of thousands of triangles (every ray meets every shape), denoising.

mod paths;
mod picture;
mod plan;
mod scene;

pub use plan::Render;
