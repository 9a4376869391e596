//! Block 0: written on the first start, compared with the given genesis on every other.
//!
//! # Design
//! To compare, a digest of what the genesis block depends on is stored: its state root would cost as much as building
//! the whole state once more. The chain id stands beside it, as no field of the genesis block depends on it.

use crate::{
    commit::{self, Bundle},
    error::Error,
    history::Window,
    layer::Changes,
    record,
    state::{Shared, State},
    tables::{Tables, malformed, meta, missing},
};
use alloy_primitives::{B256, KECCAK256_EMPTY, Keccak256, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use keystead_types::{Block, Genesis};
use std::sync::Arc;

/// What this program writes. A change of any table raises it.
pub(crate) const FORMAT: u32 = 2;
/// The same for a store that began with a snapshot: an older program would take what it lacks for damage.
pub(crate) const FORMAT_WITH_BASE: u32 = 3;

/// Bytes under [`meta::GENESIS`]: chain id, hash of block 0, digest.
const IDENTITY_BYTES: usize = 8 + 32 + 32;

/// Which chain a store holds.
pub(crate) struct Identity {
    chain_id: u64,
    hash: B256,
    digest: B256,
}

impl Identity {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.chain_id.to_be_bytes().as_slice(), self.hash.as_slice(), self.digest.as_slice()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; IDENTITY_BYTES] = bytes.try_into().ok()?;
        let (chain_id, rest) = bytes.split_at_checked(8)?;
        let (hash, digest) = rest.split_at_checked(32)?;
        let chain_id = record::decode_height(chain_id)?;
        Some(Self { chain_id, hash: B256::from_slice(hash), digest: B256::from_slice(digest) })
    }
}

/// Block 0 of the store, which is that of the given genesis; written if the store is new.
///
/// # Errors
/// [`Error::WrongGenesis`], [`Error::WrongChain`], or a failure of the store.
pub(crate) fn load_or_create(shared: &Arc<Shared>, genesis: &Genesis) -> Result<Block, Error> {
    let (meta, name) = (&shared.tables.meta, meta::GENESIS);
    let digest = digest(genesis);
    let chain_id = genesis.spec.chain_id;
    let Some(bytes) = shared.tables.meta(name)? else {
        let (block, changes) = compute(shared, genesis)?;
        let identity = Identity { chain_id, hash: block.hash(), digest };
        write(shared, &identity, &block, &changes)?;
        return Ok(block);
    };
    let stored = Identity::decode(&bytes).ok_or_else(|| malformed(meta, name.as_bytes()))?;
    if stored.digest != digest {
        let (block, _) = compute(shared, genesis)?;
        if block.hash() != stored.hash {
            return Err(Error::WrongGenesis { stored: stored.hash, given: block.hash() });
        }
    }
    if stored.chain_id != chain_id {
        return Err(Error::WrongChain { stored: stored.chain_id, given: chain_id });
    }
    let (table, key) = (&shared.tables.blocks, 0_u64.to_be_bytes());
    let bytes = table.get(key)?.ok_or_else(|| missing(table, &key))?;
    commit::decode_block(&shared.tables, 0, stored.hash, &bytes)
}

/// Refuses tables of another format or chain.
///
/// # Errors
/// [`Error::Version`], [`Error::WrongChain`], damage, or a failure of the store. A genesis whose digest differs is not
/// looked at further.
pub(crate) fn check_known(tables: &Tables, genesis: &Genesis) -> Result<(), Error> {
    let (format, name) = (meta::FORMAT, meta::GENESIS);
    let stored = tables.meta(format)?.ok_or_else(|| missing(&tables.meta, format.as_bytes()))?;
    let stored: [u8; 4] = stored.try_into().map_err(|_| malformed(&tables.meta, format.as_bytes()))?;
    let stored = u32::from_be_bytes(stored);
    if stored != FORMAT && stored != FORMAT_WITH_BASE {
        return Err(Error::Version { stored, known: FORMAT });
    }
    let bytes = tables.meta(name)?.ok_or_else(|| missing(&tables.meta, name.as_bytes()))?;
    let stored = Identity::decode(&bytes).ok_or_else(|| malformed(&tables.meta, name.as_bytes()))?;
    if stored.chain_id != genesis.spec.chain_id {
        return Err(Error::WrongChain { stored: stored.chain_id, given: genesis.spec.chain_id });
    }
    Ok(())
}

/// Block 0 of a chain, without a store. Cost: hashes the whole genesis state.
#[must_use]
pub fn genesis_block(genesis: &Genesis) -> Block {
    let accounts = genesis.accounts.iter().map(|(address, account)| {
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let leaf = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: storage_root_unhashed(slots.map(|(slot, value)| (B256::from(*slot), *value))),
            code_hash: if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) },
        };
        (*address, leaf)
    });
    genesis.block(state_root_unhashed(accounts))
}

/// What says in a store that its chain begins with a genesis, whose block is given.
pub(crate) fn identify(genesis: &Genesis, block: &Block) -> Identity {
    Identity { chain_id: genesis.spec.chain_id, hash: block.hash(), digest: digest(genesis) }
}

/// The genesis block, and the changes that make its state out of nothing.
fn compute(shared: &Arc<Shared>, genesis: &Genesis) -> Result<(Block, Changes), Error> {
    let nothing = State::of_nothing(Arc::clone(shared));
    let (changes, trie) = nothing.apply(genesis.changes())?;
    Ok((genesis.block(trie.root()), changes))
}

fn write(shared: &Shared, identity: &Identity, block: &Block, changes: &Changes) -> Result<(), Error> {
    let tables = &shared.tables;
    let mut batch = commit::batch(tables);
    batch.insert(&tables.meta, meta::FORMAT, FORMAT.to_be_bytes());
    batch.insert(&tables.meta, meta::GENESIS, identity.encode());
    Window { oldest: 0 }.put(&mut batch, tables);
    batch.insert(&tables.meta, meta::INDEXED, 0_u64.to_be_bytes());
    batch.insert(&tables.meta, meta::SEALED, 0_u64.to_be_bytes());
    let bundle = Bundle { block, senders: &[], receipts: &[], certificate: None };
    commit::put_block(&mut batch, tables, &bundle);
    commit::put_changes(&mut batch, tables, None, changes)?;
    Ok(batch.commit()?)
}

/// keccak256 over everything that the genesis block is made from; lengths stand before what has one.
fn digest(genesis: &Genesis) -> B256 {
    let mut hasher = Keccak256::new();
    for number in [genesis.timestamp, genesis.spec.gas_limit, genesis.spec.base_fee_initial] {
        hasher.update(number.to_be_bytes());
    }
    if let Some(header) = &genesis.header {
        hasher.update(header.hash_slow());
    }
    for (address, account) in &genesis.accounts {
        hasher.update(address);
        hasher.update(account.nonce.to_be_bytes());
        hasher.update(account.balance.to_be_bytes::<32>());
        for length in [account.code.len(), account.storage.len()] {
            hasher.update((length as u64).to_be_bytes());
        }
        hasher.update(&account.code);
        for (slot, value) in &account.storage {
            hasher.update(slot.to_be_bytes::<32>());
            hasher.update(value.to_be_bytes::<32>());
        }
    }
    hasher.finalize()
}
