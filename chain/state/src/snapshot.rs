//! The state after one block, committed or pending: reads, proofs, and the state after a child block.

use crate::{
    cache::lock,
    error::{Corruption, Error},
    history::{Past, Target, UndoneStates},
    layer::{Changes, Layer},
    state::{LAYERS_MAX, State, hash_address, hash_slot},
    store::Head,
    tables::guarded,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use keystead_types::{Account, ChangeSet, StateView, ViewError};
use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

/// How many blocks back the `BLOCKHASH` opcode reads. Spec: Ethereum yellow paper, appendix H.
const BLOCK_HASHES: u64 = 256;

/// The state after one block. Immutable, and readable for as long as it is held.
///
/// Cost: a pending snapshot holds the changes of its block and of its pending ancestors; a committed one holds a view
/// of the tables, which keeps overwritten values on disk. The data folder stays locked while any snapshot is held.
pub struct Snapshot {
    number: u64,
    hash: B256,
    root: B256,
    standing: Standing,
}

enum Standing {
    /// Recent or pending: its trie is in memory.
    Kept(State),
    /// The head at a start: its trie is built when it is first needed.
    Starting(Starting),
    /// Below the recent states.
    Past(Past),
}

/// The head at a start.
struct Starting {
    /// Reads values; its trie is empty and is never asked.
    reads: State,
    number: u64,
    /// State root in the header.
    root: B256,
    trie_bytes: u64,
    built: OnceLock<State>,
    /// Held by whoever builds the trie: the others wait for it.
    building: Mutex<()>,
}

impl Starting {
    /// The state with its trie, built from all accounts if that was not done yet.
    ///
    /// # Errors
    /// [`Corruption::StateRoot`] if it has another root than the header.
    fn proving(&self) -> Result<&State, Error> {
        let building = self.built.get().is_none().then(|| lock(&self.building));
        if let Some(state) = self.built.get() {
            return Ok(state);
        }
        let state = guarded(|| self.reads.clone().with_trie_from_tables(self.trie_bytes))??;
        let (number, header, computed) = (self.number, self.root, state.trie.root());
        if computed != header {
            return Err(Corruption::StateRoot { number, header, computed }.into());
        }
        let built = self.built.get_or_init(|| state);
        drop(building);
        Ok(built)
    }
}

/// A proof of an account, or of its absence. Spec: EIP-1186.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account and its storage root; `None` if it does not exist.
    pub account: Option<(Account, B256)>,
    /// RLP nodes of the account trie, root first; empty if there are no accounts at all.
    pub nodes: Vec<Bytes>,
}

/// A proof of a storage slot, or of its absence. Spec: EIP-1186.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The value; zero if absent.
    pub value: U256,
    /// RLP nodes of the storage trie, root first; empty if the account has no storage or does not exist.
    pub nodes: Vec<Bytes>,
}

/// The state after a child block whose hash is not known yet, because the hash covers the state root.
pub struct Child {
    parent: Arc<Snapshot>,
    state: State,
    changes: Changes,
}

impl Snapshot {
    pub(crate) fn new(number: u64, hash: B256, state: State) -> Self {
        Self { number, hash, root: state.trie.root(), standing: Standing::Kept(state) }
    }

    /// The target's state, which lies below the state `above`.
    pub(crate) fn of_past(above: Arc<Self>, undone: Arc<UndoneStates>, target: Target) -> Self {
        let Target { number, hash, root } = target;
        Self { number, hash, root, standing: Standing::Past(Past::new(above, undone, target)) }
    }

    /// The state of the head at a start, whose trie is not there yet.
    pub(crate) const fn starting(head: Head, reads: State, trie_bytes: u64) -> Self {
        let Head { number, hash, state_root, .. } = head;
        let starting =
            Starting { reads, number, root: state_root, trie_bytes, built: OnceLock::new(), building: Mutex::new(()) };
        Self { number, hash, root: state_root, standing: Standing::Starting(starting) }
    }

    /// The state for reads of values. It has the right trie, too, unless it is a past or a starting one.
    pub(crate) const fn reads(&self) -> &State {
        match &self.standing {
            Standing::Kept(state) => state,
            Standing::Starting(starting) => &starting.reads,
            Standing::Past(past) => &past.reads,
        }
    }

    /// The state with its trie.
    pub(crate) fn proving(&self) -> Result<&State, Error> {
        match &self.standing {
            Standing::Kept(state) => Ok(state),
            Standing::Starting(starting) => starting.proving(),
            Standing::Past(past) => past.proving().map(|state| &**state),
        }
    }

    /// The changes of this block over its parent; `None` if the snapshot was made from the tables.
    pub(crate) fn layer(&self) -> Option<&Arc<Layer>> {
        self.reads().layers.last()
    }

    /// Height of the block.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Hash of the block.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// Root of this state.
    #[must_use]
    pub const fn state_root(&self) -> B256 {
        self.root
    }

    /// The state after a child of this block with these changes. Any number of children may exist side by side.
    ///
    /// Cost: the branches on the changed paths. After [`crate::Store::open_early`] the first call builds the trie, or waits
    /// until it is there. The first change of an account's storage after a start reads all of its
    /// slots. For an old block see [`Self::account_proof`].
    ///
    /// # Errors
    /// [`Error::TooDeep`]: choose a newer block. [`Error::TooManyPending`]: commit or drop blocks. [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn child(self: &Arc<Self>, changes: ChangeSet) -> Result<Child, Error> {
        let mut state = self.proving()?.rebased();
        let pending = state.layers.len().saturating_add(1);
        if pending > LAYERS_MAX {
            return Err(Error::TooManyPending { pending, max: LAYERS_MAX });
        }
        let (changes, trie) = state.apply(changes)?;
        state.trie = trie;
        Ok(Child { parent: Arc::clone(self), state, changes })
    }

    /// The account with its storage root, and the nodes that prove it or its absence.
    ///
    /// Cost: for a block below the recent ones, the first proof undoes the blocks in between: their old values are read
    /// and united, and merged into a trie. The last few such states are kept.
    ///
    /// # Errors
    /// [`Error::TooDeep`]: choose a newer block. [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn account_proof(&self, address: &Address) -> Result<AccountProof, Error> {
        let (address, state) = (hash_address(address), self.proving()?);
        let account = state.account(&address)?.map(|record| (record.account, record.storage_root));
        Ok(AccountProof { account, nodes: state.account_nodes(&address)? })
    }

    /// The value of a slot, and the nodes that prove it or its absence against the account's storage root.
    ///
    /// Cost: the first proof over an account's storage reads all of its slots.
    ///
    /// # Errors
    /// As [`Self::account_proof`].
    pub fn storage_proof(&self, address: &Address, slot: &U256) -> Result<StorageProof, Error> {
        let (address, slot, state) = (hash_address(address), hash_slot(slot), self.proving()?);
        let root = state.account(&address)?.map_or(EMPTY_ROOT_HASH, |record| record.storage_root);
        let value = state.slot(&address, &slot)?;
        Ok(StorageProof { value, nodes: state.slot_nodes(&address, root, &slot)? })
    }
}

impl Child {
    /// Root of the state after the child block.
    #[must_use]
    pub fn state_root(&self) -> B256 {
        self.state.trie.root()
    }

    /// The state, and what it changes.
    pub(crate) fn into_parts(self) -> (State, Changes) {
        (self.state, self.changes)
    }

    /// The snapshot, once the block's hash is known.
    ///
    /// Trust: the hash is taken as given; [`crate::Store::commit`] compares it with the block.
    #[must_use]
    pub fn seal(mut self, block_hash: B256) -> Arc<Snapshot> {
        let number = self.parent.number.saturating_add(1);
        let layer = Layer { number, hash: block_hash, parent: self.parent.hash, changes: self.changes };
        self.state.layers.push(Arc::new(layer));
        Arc::new(Snapshot::new(number, block_hash, self.state))
    }
}

impl StateView for Snapshot {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        Ok(self.reads().account(&hash_address(address))?.map(|record| record.account))
    }

    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        let record = self.reads().account(&hash_address(address))?;
        Ok(record.map(|record| (record.account, record.storage_root != EMPTY_ROOT_HASH)))
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        Ok(self.reads().slot(&hash_address(address), &hash_slot(slot))?)
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        Ok(self.reads().code(hash)?)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        match self.number.checked_sub(number) {
            Some(0) => Ok(self.hash),
            Some(back) if back < BLOCK_HASHES => {
                // From the top: below a child of an old block lie layers that undo higher ones.
                let pending = self.reads().layers.iter().rev().find(|layer| layer.number == number);
                match pending {
                    Some(layer) => Ok(layer.hash),
                    None => Ok(self.reads().committed_hash(number)?),
                }
            }
            _ => Ok(B256::ZERO),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("number", &self.number)
            .field("hash", &self.hash)
            .field("state_root", &self.state_root())
            .field("layers", &self.reads().layers.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("parent", &self.parent)
            .field("state_root", &self.state_root())
            .finish_non_exhaustive()
    }
}
