//! Imports the blocks of a foreign Ethereum chain into a store: every rule checked, every root recomputed.
//!
//! # Design
//! [`Importer::import`] takes one block at a time, each the child of the head: header and ommers against their
//! ancestors, signatures, execution under the rules of the block's fork, then every field of the header that execution
//! determines. Only what passes all of it is committed, with receipts, senders and indices, so JSON-RPC serves an
//! imported chain as it serves ours. [`Importer::import_file`] takes a file of blocks as Ethereum's clients export them;
//! [`ChainFile`] cuts it into blocks.
//!
//! # Invariants
//! - A block that is refused leaves the store as it was, and the refusal says which rule was broken.
//! - A failure of our own (disk, machine) is never reported as a fault of the block.
//!
//! # Not here
//! Seals: whoever imports a chain trusts its source to have followed proof of work or the consensus layer. Branches: a
//! chain is imported as a line, so a fork choice is not needed.
//!
//! # Example
//! ```
//! # use keystead_import::Importer;
//! # use keystead_state::{Options, Store};
//! # use keystead_types::Genesis;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let genesis = Genesis::ethereum_from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1388","alloc":{}}"#)?;
//! let importer = Importer::new(Store::open(dir.path(), &genesis, Options::default())?, &genesis)?;
//! importer.import_file(&[][..], |block| println!("{}", block.number()))?;
//! # Ok(())
//! # }
//! ```

mod error;
mod file;
mod importer;
mod ommers;

pub use error::{ChainError, Error, FileError, OmmerFault, Refusal};
pub use file::ChainFile;
pub use importer::Importer;
