//! The inverted index of logs: which transactions have logs of an address, or with a topic at a position.
//!
//! # Design
//! A term is a hash of 64 bits over the kind of a value and the value. Postings are sorted by term, then place. What a
//! term finds is a candidate: two values may share a term, so each candidate is compared with the log itself.
//! Candidates come from the rarest group of alternatives first; the others narrow them as long as their lists are not
//! much longer than what is left.

mod postings;
mod query;
mod search;

pub(crate) use postings::{Place, Posting, Run, put_list, take_list};
pub use query::{FoundLog, LogQuery};
pub(crate) use search::{Lists, candidates};
