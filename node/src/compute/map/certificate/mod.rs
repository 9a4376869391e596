//! The certificate of an audited map: what of its result strangers checked, in a file that needs nobody's word.
//!
//! # Design
//! [`make`] puts it together once nothing can be taken back any more. [`arrange`] is the pure part: which windows are listed, and in which order. [`fetch`]
//! gets the chain's part from the node, all of one block. A process that dies before the file is there is followed by one that makes it up: what it takes
//! is in the journal. Spec: specs/0002-proof-bundle.md §12.

mod arrange;
mod fetch;
mod make;

pub(super) use make::{FILE, Missing, Work, impossible, make};
