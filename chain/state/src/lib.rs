//! The world state and the chain on disk: what is committed, what is pending, and proofs of both.
//!
//! # Design
//! Flat tables of hashed keys answer reads; a Merkle-Patricia trie of branches in memory gives roots and proofs. A
//! [`Snapshot`] is the state after one block and never changes: committed ones read the tables as they were after that
//! block, pending ones put the changes of their blocks over a committed one. [`Snapshot::child`] computes the state after
//! a block, [`Store::commit`] makes a pending block the head: one atomic batch, one fsync, with block, receipts, senders
//! and indices. [`Store::export`] gives a whole state in chunks, [`Load`] makes a store of them. At start the trie is built from the tables, and its root must be the one in the head's header.
//!
//! # Invariants
//! - After a crash at any moment the head is the old or the new block, and the tables are exactly its state.
//! - Nothing is reported as committed before it is synced.
//! - Only a store that was opened for development ([`Purpose`]) changes what it has.
//! - What cannot be the state of the head block is an error, never an answer.
//!
//! # Not here
//! Execution, verification of certificates and branch records on disk. No clock, no
//! randomness that could reach a result.
//!
//! # Example
//! ```
//! # use keystead_state::{Options, Store};
//! # use keystead_types::{Account, AccountChange, Address, ChangeSet, Genesis, StateView, U256};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let genesis = Genesis::from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#)?;
//! let store = Store::open(dir.path(), &genesis, Options::default())?;
//! let mut changes = ChangeSet::default();
//! let account = Account { balance: U256::from(5), ..Account::default() };
//! let change = AccountChange { account: Some(account), ..AccountChange::default() };
//! changes.accounts.insert(Address::repeat_byte(1), change);
//! let child = store.latest().child(changes)?;
//! assert_ne!(child.state_root(), store.head().state_root);
//! # Ok(())
//! # }
//! ```

mod blocks;
mod cache;
mod certificates;
mod commit;
mod error;
mod export;
mod genesis;
mod history;
mod keccak;
mod layer;
mod load;
mod logs;
mod mark;
mod open;
mod receipts;
mod record;
mod rewrite;
mod segment;
mod snapshot;
mod state;
mod stats;
mod store;
mod tables;
mod trie;
mod verify;

pub use error::{Corruption, Error};
pub use export::{CHUNK_BYTES_MAX, Chunk, Export, Part, Section};
pub use genesis::genesis_block;
pub use history::History;
pub use load::{Load, LoadEnd, LoadError, LoadPlan};
pub use logs::{FoundLog, LogQuery};
pub use segment::Sealed;
pub use snapshot::{AccountProof, Child, Snapshot, StorageProof};
pub use stats::{Pruned, Stats, TableStats};
pub use store::{Commit, Head, Listener, Options, Purpose, Store};
pub use verify::{Progress, Verified, verify};
