//! The state as the running block sees it: the view below, the block's own changes above.
//!
//! # Design
//! Every value is remembered twice, as it was before the block and as it is now, so the change set is a comparison and
//! needs no journal. revm keeps its own journal within a transaction and hands over the touched accounts at its end.
//! What a simulation overrides is written as if an earlier transaction had done it: `now` changes, `before` stays.

use crate::{codes, env::BlockEnv, error::Error};
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256,
    map::{AddressMap, B256Map, U256Map, hash_map::Entry},
};
use keystead_types::{Account, AccountChange, ChangeSet, StateView, ViewError};
use revm::{
    Database, DatabaseRef,
    bytecode::Bytecode,
    database_interface::DBErrorMarker,
    state::{AccountInfo, EvmState},
};
use std::{cell::RefCell, collections::BTreeMap};

/// [`ViewError`] as revm's error type.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ReadError(#[from] pub(crate) ViewError);

impl DBErrorMarker for ReadError {}

/// A view with a block's changes on top.
pub(crate) struct Overlay<'a> {
    view: &'a dyn StateView,
    accounts: AddressMap<Touched>,
    /// Code read or deployed in this block.
    codes: B256Map<Bytecode>,
    parent: Parent,
    /// Whether empty accounts vanish when they are touched (EIP-161).
    clears_empty: bool,
    /// Hashes of blocks that only a simulation knows.
    hashes: BTreeMap<u64, B256>,
}

/// The one block hash that the view cannot be asked for with certainty: it may itself be the parent, not yet final.
#[derive(Clone, Copy)]
pub(crate) struct Parent {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

struct Touched {
    before: Option<Account>,
    now: Option<Account>,
    /// The view has storage of it.
    stored: bool,
    /// Nothing of the storage in the view is valid any more.
    wiped: bool,
    slots: U256Map<Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// Meaningless once the account is wiped.
    before: U256,
    now: U256,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(view: &'a dyn StateView, parent: Parent) -> Self {
        Self {
            view,
            accounts: AddressMap::default(),
            codes: B256Map::default(),
            parent,
            clears_empty: true,
            hashes: BTreeMap::new(),
        }
    }

    /// Says whether empty accounts vanish when they are touched, which they do from Spurious Dragon on.
    pub(crate) const fn set_clears_empty(&mut self, clears_empty: bool) {
        self.clears_empty = clears_empty;
    }

    /// As the block with this environment finds it.
    pub(crate) fn of(view: &'a dyn StateView, env: &BlockEnv) -> Self {
        Self::new(view, Parent { number: env.number.wrapping_sub(1), hash: env.parent_hash })
    }

    /// Lets `BLOCKHASH` of `number` answer `hash`, whatever the view says.
    pub(crate) fn name_block(&mut self, number: u64, hash: B256) {
        self.hashes.insert(number, hash);
    }

    /// Writes an account as if a transaction had done it.
    pub(crate) fn set_account(&mut self, address: &Address, account: Account) -> Result<(), ViewError> {
        let touched = self.touched(address)?;
        touched.now = if account.is_empty() && touched.before.is_none() { None } else { Some(account) };
        Ok(())
    }

    /// Gives an account this code; the hash goes into the account.
    pub(crate) fn add_code(&mut self, code: Bytes) -> B256 {
        if code.is_empty() {
            return KECCAK256_EMPTY;
        }
        let hash = keccak256(&code);
        self.codes.insert(hash, codes::analyse(code));
        hash
    }

    /// Forgets all storage of an account.
    pub(crate) fn wipe_storage(&mut self, address: &Address) -> Result<(), ViewError> {
        let touched = self.touched(address)?;
        touched.wiped = true;
        touched.slots.clear();
        Ok(())
    }

    /// Writes one slot.
    pub(crate) fn set_slot(&mut self, address: &Address, key: U256, value: U256) -> Result<(), ViewError> {
        // The read notes what the slot was before.
        self.slot(address, key)?;
        if let Some(slot) = self.touched(address)?.slots.get_mut(&key) {
            slot.now = value;
        } else {
            self.touched(address)?.slots.insert(key, Slot { before: U256::ZERO, now: value });
        }
        Ok(())
    }

    fn slot(&mut self, address: &Address, key: U256) -> Result<U256, ViewError> {
        let view = self.view;
        let touched = self.touched(address)?;
        match touched.slots.entry(key) {
            Entry::Occupied(entry) => Ok(entry.get().now),
            Entry::Vacant(_) if touched.wiped || touched.before.is_none() => Ok(U256::ZERO),
            Entry::Vacant(entry) => {
                let value = view.storage(address, &key)?;
                Ok(entry.insert(Slot { before: value, now: value }).now)
            }
        }
    }

    /// The account as the next transaction sees it.
    pub(crate) fn account(&mut self, address: &Address) -> Result<Option<Account>, ViewError> {
        Ok(self.touched(address)?.now)
    }

    fn touched(&mut self, address: &Address) -> Result<&mut Touched, ViewError> {
        match self.accounts.entry(*address) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let (before, stored) = self.view.account_with_storage(address)?.unzip();
                let stored = stored.unwrap_or(false);
                Ok(entry.insert(Touched { before, now: before, stored, wiped: false, slots: U256Map::default() }))
            }
        }
    }

    /// Takes over what one transaction or system call did.
    ///
    /// # Errors
    /// [`Error::View`]; [`Error::Machine`] if an account got code that was not handed over.
    pub(crate) fn absorb(&mut self, state: EvmState) -> Result<(), Error> {
        let clears_empty = self.clears_empty;
        // The order of a hash map does not matter here: accounts do not depend on each other.
        for (address, mut account) in state {
            if !account.is_touched() {
                continue;
            }
            let code = account.info.code.take();
            let touched = self.touched(&address)?;
            // Before EIP-161 a touch alone makes an account, and an empty one stays.
            let cleared = clears_empty && account.is_empty() && !account.is_created();
            let removed = account.is_selfdestructed() || cleared;
            if removed || account.is_created() {
                touched.wiped = true;
                touched.slots.clear();
            }
            if removed {
                touched.now = None;
                continue;
            }
            let now = from_evm(&account.info);
            let code_is_new = touched.now.is_none_or(|old| old.code_hash != now.code_hash);
            touched.now = Some(now);
            for (key, slot) in account.storage {
                if slot.is_changed() {
                    let now = slot.present_value;
                    let original = slot.original_value;
                    touched
                        .slots
                        .entry(key)
                        .and_modify(|slot| slot.now = now)
                        .or_insert(Slot { before: original, now });
                }
            }
            if code_is_new && now.code_hash != KECCAK256_EMPTY {
                let code = code.ok_or_else(|| Error::Machine(format!("no code for its hash: {}", now.code_hash)))?;
                self.codes.insert(now.code_hash, code);
            }
        }
        Ok(())
    }

    /// Adds to a balance; false if it would overflow.
    pub(crate) fn credit(&mut self, address: &Address, wei: U256) -> Result<bool, ViewError> {
        let clears_empty = self.clears_empty;
        let touched = self.touched(address)?;
        let mut account = touched.now.unwrap_or_default();
        let Some(balance) = account.balance.checked_add(wei) else { return Ok(false) };
        account.balance = balance;
        touched.now = (!clears_empty || !account.is_empty()).then_some(account);
        Ok(true)
    }

    /// What differs from the view.
    pub(crate) fn changes(&self) -> ChangeSet {
        let mut changes = ChangeSet::default();
        let mut accounts = Vec::with_capacity(self.accounts.len());
        for (address, touched) in &self.accounts {
            if let Some(now) = &touched.now
                && now.code_hash != KECCAK256_EMPTY
                && touched.before.is_none_or(|before| before.code_hash != now.code_hash)
                && let Some(code) = self.codes.get(&now.code_hash)
            {
                changes.code.insert(now.code_hash, code.original_bytes());
            }
            if let Some(change) = touched.change() {
                accounts.push((*address, change));
            }
        }
        changes.accounts = accounts.into_iter().collect();
        changes
    }
}

impl Touched {
    /// True if no contract may be created here though there is neither nonce nor code (EIP-7610).
    fn bars_creation(&self) -> bool {
        let bare = self.now.is_some_and(|now| now.nonce == 0 && now.code_hash == KECCAK256_EMPTY);
        let stored = || (self.stored && !self.wiped) || self.slots.values().any(|slot| !slot.now.is_zero());
        bare && stored()
    }

    fn change(&self) -> Option<AccountChange> {
        match (self.before, self.now) {
            // Storage of an account that does not exist is none.
            (None, None) => None,
            (Some(_), None) => Some(AccountChange { account: None, storage_cleared: true, storage: BTreeMap::new() }),
            (before, Some(now)) => {
                // An account that did not exist has no storage to clear.
                let storage_cleared = self.wiped && before.is_some();
                let changed = |slot: &Slot| if self.wiped { !slot.now.is_zero() } else { slot.now != slot.before };
                let storage: BTreeMap<U256, U256> =
                    self.slots.iter().filter(|(_, slot)| changed(slot)).map(|(key, slot)| (*key, slot.now)).collect();
                let same = before == Some(now) && !storage_cleared && storage.is_empty();
                (!same).then_some(AccountChange { account: Some(now), storage_cleared, storage })
            }
        }
    }
}

impl Database for Overlay<'_> {
    type Error = ReadError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        let touched = self.touched(&address)?;
        let info = touched.now.map(into_evm);
        // revm takes every code hash but that of nothing for a collision, and zero for no code in all other places; the
        // one that shows it to contracts is `evm::code_hash`.
        let hidden = |info: AccountInfo| AccountInfo { code_hash: B256::ZERO, ..info };
        Ok(if touched.bars_creation() { info.map(hidden) } else { info })
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, ReadError> {
        if hash == KECCAK256_EMPTY || hash.is_zero() {
            return Ok(Bytecode::default());
        }
        match self.codes.entry(hash) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => Ok(entry.insert(codes::load(self.view, &hash)?).clone()),
        }
    }

    fn storage(&mut self, address: Address, key: U256) -> Result<U256, ReadError> {
        Ok(self.slot(&address, key)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, ReadError> {
        match self.hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None if number == self.parent.number => Ok(self.parent.hash),
            None => Ok(self.view.block_hash(number)?),
        }
    }
}

/// An overlay for those who only look: it fills itself while it is read.
pub(crate) struct Before<'o, 'a>(RefCell<&'o mut Overlay<'a>>);

impl<'o, 'a> Before<'o, 'a> {
    pub(crate) const fn new(overlay: &'o mut Overlay<'a>) -> Self {
        Self(RefCell::new(overlay))
    }
}

impl DatabaseRef for Before<'_, '_> {
    type Error = ReadError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ReadError> {
        self.0.borrow_mut().basic(address)
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ReadError> {
        self.0.borrow_mut().code_by_hash(hash)
    }

    fn storage_ref(&self, address: Address, key: U256) -> Result<U256, ReadError> {
        self.0.borrow_mut().storage(address, key)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ReadError> {
        self.0.borrow_mut().block_hash(number)
    }
}

/// Code is left out: revm asks for it by hash when it runs it.
const fn into_evm(account: Account) -> AccountInfo {
    AccountInfo {
        balance: account.balance,
        nonce: account.nonce,
        code_hash: account.code_hash,
        account_id: None,
        code: None,
    }
}

fn from_evm(info: &AccountInfo) -> Account {
    let code_hash = if info.code_hash.is_zero() { KECCAK256_EMPTY } else { info.code_hash };
    Account { nonce: info.nonce, balance: info.balance, code_hash }
}
