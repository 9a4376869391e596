//! Accounts as execution sees them, and what a block changed.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use std::collections::BTreeMap;

/// An account without its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent (or contracts created) so far.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// keccak256 of the code; [`KECCAK256_EMPTY`] for an account without code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    /// True for an account that EIP-161 removes: no nonce, no balance, no code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }
}

/// What one block did to one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The account after the block; `None` if it no longer exists (its storage is then gone as well).
    pub account: Option<Account>,
    /// All storage from before the block is gone; `storage` is applied to an empty storage.
    pub storage_cleared: bool,
    /// New values of the changed slots; zero deletes the slot.
    pub storage: BTreeMap<U256, U256>,
}

/// What one block did to the world state, in key order.
///
/// Shape: every account and slot whose value differs from before, and possibly some that were written with the value
/// they had. Code is listed once per hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Changes by address.
    pub accounts: BTreeMap<Address, AccountChange>,
    /// Code that some account of the block newly refers to, by its keccak256.
    pub code: BTreeMap<B256, Bytes>,
}

/// The view cannot be read: the store is broken or the view is gone. Never a statement about the state itself.
#[derive(Debug, thiserror::Error)]
#[error("state view: {0}")]
pub struct ViewError(pub String);

/// A read-only world state at one block.
///
/// Trust: values come from our own store and are taken as true.
pub trait StateView: Send + Sync {
    /// The account at `address`, `None` if it does not exist.
    ///
    /// # Errors
    /// [`ViewError`] if the store cannot answer; the caller must stop, not assume absence.
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError>;

    /// As [`StateView::account`], and whether any slot of the account is not zero. A view that cannot tell says no.
    ///
    /// Only an account without nonce and code may not become a contract if it has storage (EIP-7610); such accounts
    /// come from a genesis file, or from blocks before Spurious Dragon.
    ///
    /// # Errors
    /// As [`StateView::account`].
    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        Ok(self.account(address)?.map(|account| (account, false)))
    }

    /// The value of a storage slot; zero if absent.
    ///
    /// # Errors
    /// As [`StateView::account`].
    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError>;

    /// The code with this keccak256. Empty for [`KECCAK256_EMPTY`].
    ///
    /// # Errors
    /// As [`StateView::account`]; also if no such code is known.
    fn code(&self, hash: &B256) -> Result<Bytes, ViewError>;

    /// The hash of the canonical block at `number`, as the `BLOCKHASH` opcode needs it for the last 256 blocks;
    /// zero if `number` is not an ancestor of this view or too old.
    ///
    /// # Errors
    /// As [`StateView::account`].
    fn block_hash(&self, number: u64) -> Result<B256, ViewError>;
}

impl<V: StateView + ?Sized> StateView for std::sync::Arc<V> {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        (**self).account(address)
    }

    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        (**self).account_with_storage(address)
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        (**self).storage(address, slot)
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        (**self).code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        (**self).block_hash(number)
    }
}
