//! Transactions for a pool. Their signatures are dummies: the pool never looks at them.

use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEip2930, TxLegacy};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Signature, TxKind};
use keystead_mempool::{Inserted, Limits, Pool, PoolError};
use keystead_types::{Account, Address, Bytes, Recovered, U256};
use std::sync::Arc;

pub(crate) const CHAIN_ID: u64 = 19_283;
pub(crate) const GAS_LIMIT: u64 = 150_000_000;
pub(crate) const BASE_FEE: u64 = 1_000;
pub(crate) const RICH: Account = account(0, u128::MAX);

pub(crate) const fn account(nonce: u64, balance: u128) -> Account {
    Account {
        nonce,
        balance: U256::from_limbs([balance as u64, (balance >> 64) as u64, 0, 0]),
        code_hash: alloy_primitives::KECCAK256_EMPTY,
    }
}

pub(crate) fn sender(seed: u64) -> Address {
    Address::left_padding_from(&(seed + 1).to_be_bytes())
}

/// A transaction to be; the default is a type 2 transfer with a tip of 10.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) kind: u8,
    pub(crate) from: u64,
    pub(crate) nonce: u64,
    pub(crate) create: bool,
    pub(crate) value: u128,
    pub(crate) input: Bytes,
    pub(crate) gas: u64,
    pub(crate) max_fee: u128,
    pub(crate) tip: u128,
    pub(crate) chain_id: Option<u64>,
    pub(crate) access_list: AccessList,
}

impl Default for Tx {
    fn default() -> Self {
        Self {
            kind: 2,
            from: 1,
            nonce: 0,
            create: false,
            value: 0,
            input: Bytes::new(),
            gas: 21_000,
            max_fee: 10_000,
            tip: 10,
            chain_id: Some(CHAIN_ID),
            access_list: AccessList::default(),
        }
    }
}

impl Tx {
    pub(crate) fn new(from: u64, nonce: u64, tip: u128) -> Self {
        Self { from, nonce, tip, ..Self::default() }
    }

    pub(crate) fn recovered(&self) -> Arc<Recovered> {
        let to = if self.create { TxKind::Create } else { TxKind::Call(sender(0xdd)) };
        let (value, input, nonce) = (U256::from(self.value), self.input.clone(), self.nonce);
        let (gas_limit, gas_price) = (self.gas, self.max_fee);
        let chain_id = self.chain_id.unwrap_or_default();
        let access_list = self.access_list.clone();
        // Hashes differ by sender, as they do with real signatures.
        let signature = Signature::new(U256::MAX - U256::from(self.from), U256::MAX, false);
        let transaction = match self.kind {
            0 => TxLegacy { chain_id: self.chain_id, nonce, gas_price, gas_limit, to, value, input }
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
        Arc::new(Recovered::new_unchecked(transaction, sender(self.from)))
    }

    pub(crate) fn hash(&self) -> alloy_primitives::B256 {
        *self.recovered().tx_hash()
    }
}

pub(crate) fn pool() -> Pool {
    with_limits(Limits::default())
}

pub(crate) fn with_limits(limits: Limits) -> Pool {
    Pool::new(limits, CHAIN_ID, GAS_LIMIT)
}

/// Bytes that a default transfer counts for.
pub(crate) fn transfer_bytes() -> usize {
    let mut pool = pool();
    put(&mut pool, &Tx::default()).unwrap();
    pool.bytes()
}

/// Inserts from a sender who can pay for anything.
pub(crate) fn put(pool: &mut Pool, tx: &Tx) -> Result<Inserted, PoolError> {
    pool.insert(tx.recovered(), &RICH, BASE_FEE)
}

/// What the pool would propose: sender and nonce.
pub(crate) fn best(pool: &Pool) -> Vec<(Address, u64)> {
    use alloy_consensus::Transaction as _;
    pool.best(BASE_FEE).map(|tx| (tx.signer(), tx.nonce())).collect()
}
