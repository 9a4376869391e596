//! The smallest SHA-256 digests of a message with every nonce of a range, in integers on any GPU.
//!
//! # Design
//! A message is a prefix and the nonce as 16 lower-case hexadecimal digits, so that everybody can repeat a hit with a shell. The customer
//! compresses the prefix' whole blocks once; the kernel hashes the one or two blocks that are left. Layouts: `recipes/sha256-search/README.md`.

mod plan;
mod search;
mod sha256;

pub use plan::Sha256Search;
