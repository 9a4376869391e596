//! Smith-Waterman local alignment of proteins with affine gaps: every query with every target.
//!
//! # Design
//! Targets lie once in the common input; a unit is a block of queries with a range of targets, cut so that it takes about a
//! quarter of a second. Scores, tie rules and CIGARs are those of parasail's `sw_trace`. Layouts: `recipes/align/README.md`.
//!
//! # Not here
//! Nucleotides, global or banded alignment, statistics (bit scores, E-values): scores are integers of the matrix.

mod assembly;
mod blob;
mod fasta;
mod gotoh;
mod plan;
mod scoring;
mod wgsl;

pub use plan::Align;
pub use wgsl::AlignWgsl;
