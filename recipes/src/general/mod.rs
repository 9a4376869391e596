//! Recipes without code here: the manifest says how work is cut and what outputs become, a folder holds the programs.
//!
//! # Design
//! ```text
//! files, parameters ── cut ── units ── (workers somewhere) ── outputs ── assembly ── files
//!                       └── or a program of the recipe (step), run in a worker of this machine ──┘
//! ```
//! Everything in a folder may come from a stranger: nothing of it runs in this process. Layouts: specs/0003-job.md §8.
//!
//! # Invariants
//! Cutting and joining are functions of manifest, files, parameters and outputs. What they allocate is bounded by the format's limits.

mod assembly;
mod cut;
mod folder;
mod settings;
mod step;
mod table;

pub use folder::{Fault, Folder, MANIFEST_FILE};
pub use step::Step;
