//! The outputs that stay in the folder of a result, held against what a proved certificate binds.
//!
//! # Design
//! A certificate binds the outputs of units, not the files that a recipe makes of them. `keystead run --keep-outputs` leaves the outputs in [`FILE`]
//! ([`packed`]), `keystead map` beside its journal ([`mapped`]); [`look()`] reads one of them and says, with [`keystead_proof::Results`], what is equal, what
//! differs, and what nothing was found out about.
//!
//! # Invariants
//! - The folder may be anybody's: links are not followed, only plain files are opened, no length in a file is believed before the file's own is known, and
//!   a piece of a file and a name for each unit are all that is held.
//! - Nothing is written.
//!
//! Spec: specs/0002-proof-bundle.md §13.

mod look;
mod mapped;
mod packed;
mod plain;

pub(crate) use look::{Looked, Standing, look};

/// Where `keystead run --keep-outputs` leaves the outputs: a pack (specs/0011-stream.md §3) of one part a unit, and of a job of several segments of the list of
/// states of each unit behind them: the result root is made of both.
pub(crate) const FILE: &str = "outputs.pack";
