//! A world state in memory, transactions for it, and an `apply` that checks the promises of a change set.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxLegacy};
use alloy_eips::{eip2930::AccessList, eip2935, eip4788};
use alloy_primitives::{
    Signature, TxKind, keccak256,
    map::{AddressMap, B256Map, HashMap},
};
use keystead_execution::{BeaconWrite, BlockEnv};
use keystead_types::{Account, Address, B256, Bytes, ChainSpec, ChangeSet, Recovered, StateView, U256, ViewError};

pub(crate) const CHAIN_ID: u64 = 19_283;
pub(crate) const SPEC: ChainSpec = ChainSpec::keystead(CHAIN_ID);
pub(crate) const BASE_FEE: u64 = 1_000_000_000;
pub(crate) const TIP: u128 = 7;
/// Fee cap of the standard transaction.
pub(crate) const MAX_FEE: u128 = 2 * BASE_FEE as u128;
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;
pub(crate) const BENEFICIARY: Address = Address::repeat_byte(0xbe);

/// Which read fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Account(Address),
    Storage(Address),
    Code(B256),
    BlockHash(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) accounts: AddressMap<Account>,
    pub(crate) storage: HashMap<(Address, U256), U256>,
    pub(crate) codes: B256Map<Bytes>,
    pub(crate) broken: Option<Broken>,
}

impl World {
    /// Ten rich accounts.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        for seed in 1..=10 {
            world.fund(user(seed), 1_000 * ETHER);
        }
        world
    }

    /// The same with Keystead's two system contracts.
    pub(crate) fn with_system_contracts() -> Self {
        let mut world = Self::new();
        world.contract(eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE);
        world.contract(eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE);
        world
    }

    pub(crate) fn fund(&mut self, address: Address, balance: u128) {
        self.accounts.entry(address).or_default().balance = U256::from(balance);
    }

    pub(crate) fn contract(&mut self, address: Address, code: &[u8]) {
        let code_hash = keccak256(code);
        self.codes.insert(code_hash, Bytes::copy_from_slice(code));
        let account = self.accounts.entry(address).or_default();
        account.nonce = 1;
        account.code_hash = code_hash;
    }

    pub(crate) fn balance(&self, address: Address) -> U256 {
        self.accounts.get(&address).map_or(U256::ZERO, |account| account.balance)
    }

    pub(crate) fn slot(&self, address: Address, slot: u64) -> U256 {
        self.storage.get(&(address, U256::from(slot))).copied().unwrap_or_default()
    }

    /// How many slots of an account are not zero.
    pub(crate) fn slots(&self, address: Address) -> usize {
        self.storage.iter().filter(|((owner, _), value)| *owner == address && !value.is_zero()).count()
    }

    pub(crate) fn code_of(&self, address: Address) -> Option<&Bytes> {
        self.codes.get(&self.accounts.get(&address)?.code_hash)
    }

    /// Applies a change set as a store does, and checks that it names only what differs and all code it needs.
    pub(crate) fn apply(&mut self, changes: &ChangeSet) {
        self.codes.extend(changes.code.iter().map(|(hash, code)| {
            assert_eq!(*hash, keccak256(code), "code under a wrong hash");
            (*hash, code.clone())
        }));
        for (address, change) in &changes.accounts {
            let before = self.accounts.get(address).copied();
            let slots = change.storage.iter();
            let slot_changes = slots.clone().any(|(slot, value)| self.storage_of(address, slot) != *value);
            assert!(before != change.account || slot_changes || change.storage_cleared, "no change: {address}");
            if change.storage_cleared {
                assert!(before.is_some(), "storage of an account that did not exist is cleared: {address}");
                self.storage.retain(|(owner, _), _| owner != address);
            }
            for (slot, value) in slots {
                assert_ne!(self.storage_of(address, slot), *value, "slot written with the value it had");
                self.storage.insert((*address, *slot), *value);
            }
            self.storage.retain(|_, value| !value.is_zero());
            match change.account {
                Some(account) => {
                    assert!(!account.is_empty(), "EIP-161: an empty account exists: {address}");
                    assert!(
                        account.code_hash == Account::default().code_hash
                            || self.codes.contains_key(&account.code_hash),
                        "code is missing: {address}"
                    );
                    self.accounts.insert(*address, account);
                }
                None => {
                    assert!(
                        change.storage.is_empty() && change.storage_cleared,
                        "storage of a dead account: {address}"
                    );
                    self.accounts.remove(address);
                }
            }
        }
    }

    fn storage_of(&self, address: &Address, slot: &U256) -> U256 {
        self.storage.get(&(*address, *slot)).copied().unwrap_or_default()
    }

    fn check(&self, read: Broken) -> Result<(), ViewError> {
        if self.broken == Some(read) { Err(ViewError(format!("disk on fire: {read:?}"))) } else { Ok(()) }
    }
}

impl StateView for World {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        self.check(Broken::Account(*address))?;
        Ok(self.accounts.get(address).copied())
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        self.check(Broken::Storage(*address))?;
        Ok(self.storage_of(address, slot))
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        self.check(Broken::Code(*hash))?;
        self.codes.get(hash).cloned().ok_or_else(|| ViewError(format!("no code {hash}")))
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.check(Broken::BlockHash(number))?;
        Ok(hash_of(number))
    }
}

/// What this world says about the hash of a block.
pub(crate) fn hash_of(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

pub(crate) const fn user(seed: u8) -> Address {
    Address::repeat_byte(seed)
}

pub(crate) const fn env() -> BlockEnv {
    BlockEnv {
        number: 100,
        timestamp: 1_700_000_000,
        beneficiary: BENEFICIARY,
        gas_limit: SPEC.gas_limit,
        base_fee: BASE_FEE,
        difficulty: U256::ZERO,
        excess_blob_gas: 0,
        prev_randao: B256::repeat_byte(0x4d),
        parent_beacon_block_root: B256::repeat_byte(0xbb),
        parent_hash: B256::repeat_byte(0x99),
        beacon: BeaconWrite::NONE,
    }
}

/// A transaction to be; the default is a type 2 transfer of nothing to nobody from user 1.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) kind: u8,
    pub(crate) from: Address,
    pub(crate) nonce: u64,
    pub(crate) to: Option<Address>,
    pub(crate) value: u128,
    pub(crate) input: Bytes,
    pub(crate) gas: u64,
    pub(crate) max_fee: u128,
    pub(crate) tip: u128,
    pub(crate) chain_id: u64,
}

impl Default for Tx {
    fn default() -> Self {
        Self {
            kind: 2,
            from: user(1),
            nonce: 0,
            to: Some(user(0xdd)),
            value: 0,
            input: Bytes::new(),
            gas: 21_000,
            max_fee: MAX_FEE,
            tip: TIP,
            chain_id: CHAIN_ID,
        }
    }
}

impl Tx {
    pub(crate) fn transfer(from: u8, nonce: u64, to: Address, value: u128) -> Self {
        Self { from: user(from), nonce, to: Some(to), value, ..Self::default() }
    }

    pub(crate) fn call(from: u8, nonce: u64, to: Address, input: impl Into<Bytes>) -> Self {
        Self { from: user(from), nonce, to: Some(to), input: input.into(), gas: 1_000_000, ..Self::default() }
    }

    pub(crate) fn create(from: u8, nonce: u64, init_code: impl Into<Bytes>) -> Self {
        Self { to: None, ..Self::call(from, nonce, Address::ZERO, init_code) }
    }

    /// The transaction with its sender. The signature is a dummy: the executor never looks at it.
    pub(crate) fn recovered(&self) -> Recovered {
        let to = self.to.map_or(TxKind::Create, TxKind::Call);
        let (value, input, nonce) = (U256::from(self.value), self.input.clone(), self.nonce);
        let (chain_id, gas_limit, gas_price) = (self.chain_id, self.gas, self.max_fee);
        let access_list = AccessList::default();
        let signature = Signature::test_signature();
        let transaction = match self.kind {
            0 => TxLegacy { chain_id: Some(chain_id), nonce, gas_price, gas_limit, to, value, input }
                .into_signed(signature)
                .into(),
            1 => TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
                .into_signed(signature)
                .into(),
            _ => TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: self.max_fee,
                max_priority_fee_per_gas: self.tip,
                to,
                value,
                access_list,
                input,
            }
            .into_signed(signature)
            .into(),
        };
        Recovered::new_unchecked(transaction, self.from)
    }
}

pub(crate) fn recovered(transactions: &[Tx]) -> Vec<Recovered> {
    transactions.iter().map(Tx::recovered).collect()
}

/// Calldata of these 32-byte words.
pub(crate) fn words(words: &[U256]) -> Bytes {
    words.iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}
