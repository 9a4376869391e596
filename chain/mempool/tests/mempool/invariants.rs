//! What must hold after every operation, whatever the operations are.

use crate::sample::*;
use alloy_consensus::{SignableTransaction as _, Transaction as _, TxEip7702, crypto::secp256k1::sign_message};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{B256, U256};
use keystead_mempool::{Limits, Pool};
use keystead_types::{Account, Address, Recovered};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

const SENDERS: u64 = 6;

/// The senders: each has a key, so that it can sign authorizations.
static PEOPLE: LazyLock<Vec<(Address, SignedAuthorization)>> = LazyLock::new(|| {
    let person = |seed: u8| {
        let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address: Address::ZERO, nonce: 0 };
        let hash = authorization.signature_hash();
        let signature = sign_message(B256::repeat_byte(seed), hash).unwrap();
        (signature.recover_address_from_prehash(&hash).unwrap(), authorization.into_signed(signature))
    };
    (1..=SENDERS as u8).map(person).collect()
});

fn who(seed: u64) -> Address {
    PEOPLE[seed as usize].0
}

/// Whom a transaction of type 4 names: the next two.
fn named(from: u64) -> [u64; 2] {
    [1, 2].map(|next| (from + next) % SENDERS)
}

/// The transaction of one of them.
fn recovered(tx: &Tx) -> Arc<Recovered> {
    let mut transaction = tx.recovered().inner().clone();
    if tx.kind == 4 {
        let list = named(tx.from).map(|seed| PEOPLE[seed as usize].1.clone());
        let body = TxEip7702 {
            chain_id: CHAIN_ID,
            nonce: tx.nonce,
            gas_limit: 80_000,
            max_fee_per_gas: tx.max_fee,
            max_priority_fee_per_gas: tx.tip,
            input: tx.input.clone(),
            authorization_list: list.into(),
            ..TxEip7702::default()
        };
        transaction = body.into_signed(*transaction.signature()).into();
    }
    Arc::new(Recovered::new_unchecked(transaction, who(tx.from)))
}

#[derive(Clone, Debug)]
enum Operation {
    Insert(Tx),
    /// Remove the transaction at this place of the pool, if there is one.
    Remove(usize),
    /// Include this many of the best, and set this sender's balance.
    Block {
        included: usize,
        base_fee: u64,
        rich: u64,
        balance: u128,
    },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let insert = (0..SENDERS, 0_u64..12, 0_u128..40, 900_u128..3_000, 0_usize..600, 0_u8..4).prop_map(
        |(from, nonce, tip, max_fee, bytes, kind)| {
            let input = vec![1; if bytes < 400 { 0 } else { bytes }];
            // Types 0, 1, 2 and 4.
            let kind = if kind == 3 { 4 } else { kind };
            Operation::Insert(Tx { kind, max_fee, input: input.into(), gas: 60_000, ..Tx::new(from, nonce, tip) })
        },
    );
    let block = (0_usize..6, 800_u64..2_500, 0..SENDERS, 0_u128..2_000_000_000)
        .prop_map(|(included, base_fee, rich, balance)| Operation::Block { included, base_fee, rich, balance });
    let operation = prop_oneof![12 => insert, 2 => (0_usize..40).prop_map(Operation::Remove), 2 => block];
    proptest::collection::vec(operation, 0..250)
}

const fn limits() -> Limits {
    Limits {
        bytes_max: 20_000,
        bytes_per_sender_max: 9_000,
        transactions_per_sender_max: 8,
        nonce_gap_max: 6,
        priority_fee_min: 0,
        takes_any_chain: false,
    }
}

/// A pool beside the accounts it should know.
struct Model {
    pool: Pool,
    accounts: BTreeMap<Address, Account>,
    base_fee: u64,
}

impl Model {
    fn new() -> Self {
        let accounts = (0..SENDERS).map(|seed| (who(seed), account(0, 1_500_000_000))).collect();
        Self { pool: with_limits(limits()), accounts, base_fee: 1_000 }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Insert(tx) => self.insert(tx),
            Operation::Remove(place) => {
                let all = self.all();
                if let Some(tx) = all.get(*place) {
                    assert!(self.pool.remove(tx.tx_hash()).is_some());
                    assert!(!self.pool.contains(tx.tx_hash()));
                }
            }
            Operation::Block { included, base_fee, rich, balance } => {
                let mut touched = BTreeMap::new();
                for tx in self.pool.best(self.base_fee).take(*included) {
                    let account = self.accounts.get_mut(&tx.signer()).unwrap();
                    assert_eq!(account.nonce, tx.nonce(), "a block could not take this");
                    account.nonce += 1;
                    account.balance -= U256::from(21_000 * u128::from(self.base_fee));
                    touched.insert(tx.signer(), *account);
                }
                let account = self.accounts.get_mut(&who(*rich)).unwrap();
                account.balance = U256::from(*balance);
                touched.insert(who(*rich), *account);
                self.base_fee = *base_fee;
                self.pool.on_block(*base_fee, touched);
            }
        }
    }

    fn insert(&mut self, tx: &Tx) {
        let before = self.all();
        let account = self.accounts[&who(tx.from)];
        match self.pool.insert(recovered(tx), &account, self.base_fee) {
            Err(_) => assert_eq!(before, self.all(), "a refused transaction changed the pool"),
            Ok(inserted) => {
                assert!(self.pool.contains(recovered(tx).tx_hash()));
                let gone: BTreeSet<B256> = inserted.evicted.iter().chain(&inserted.replaced).copied().collect();
                let left: BTreeSet<B256> =
                    before.iter().map(|tx| *tx.tx_hash()).filter(|hash| !self.pool.contains(hash)).collect();
                assert_eq!(gone, left, "what left is what was reported");
            }
        }
    }

    fn all(&self) -> Vec<Arc<Recovered>> {
        let mut all = [self.pool.pending(), self.pool.queued()].concat();
        all.sort_by_key(|tx| (tx.signer(), tx.nonce()));
        all
    }

    fn check(&self) {
        let all = self.all();
        let limits = limits();
        let size = |tx: &Arc<Recovered>| {
            alloy_eips::eip2718::Encodable2718::encode_2718_len(tx.as_ref()) + Limits::OVERHEAD_BYTES
        };
        assert_eq!(self.pool.len(), all.len());
        assert_eq!(self.pool.counts(), (self.pool.pending().len(), self.pool.queued().len()));
        assert_eq!(self.pool.bytes(), all.iter().map(size).sum::<usize>());
        assert!(self.pool.bytes() <= limits.bytes_max);
        let places: BTreeSet<_> = all.iter().map(|tx| (tx.signer(), tx.nonce())).collect();
        assert_eq!(places.len(), all.len(), "two transactions in one place");
        for tx in &all {
            assert_eq!(self.pool.get(tx.tx_hash()).as_ref(), Some(tx));
            assert!(tx.nonce() >= self.accounts[&tx.signer()].nonce, "a used nonce waits");
        }
        let arrived: BTreeSet<B256> = self.pool.hashes_since(0, usize::MAX).0.into_iter().collect();
        assert_eq!(arrived, all.iter().map(|tx| *tx.tx_hash()).collect());
        for (address, account) in &self.accounts {
            let own: Vec<_> = all.iter().filter(|tx| tx.signer() == *address).collect();
            assert!(own.len() <= limits.transactions_per_sender_max);
            assert!(own.iter().map(|tx| size(tx)).sum::<usize>() <= limits.bytes_per_sender_max);
            let next = (account.nonce..).find(|nonce| !places.contains(&(*address, *nonce))).unwrap();
            assert_eq!(self.pool.next_nonce(address, account.nonce), next);
        }
        for tx in all.iter().filter(|tx| tx.authorization_list().is_some()) {
            let place = PEOPLE.iter().position(|(address, _)| *address == tx.signer()).unwrap();
            for authority in named(place as u64).map(who) {
                let stack = all.iter().filter(|tx| tx.signer() == authority).count();
                assert!(stack <= 1, "a stack on an account that an authorization names");
            }
        }
        self.check_best(&places);
    }

    /// Best is exactly the affordable, sufficiently priced runs, in order.
    fn check_best(&self, places: &BTreeSet<(Address, u64)>) {
        let best: Vec<_> = self.pool.best(self.base_fee).collect();
        assert_eq!(!best.is_empty(), self.pool.has_executable(self.base_fee));
        let mut next: BTreeMap<Address, Account> = self.accounts.clone();
        for tx in &best {
            let account = next.get_mut(&tx.signer()).unwrap();
            assert_eq!(tx.nonce(), account.nonce, "a gap");
            assert!(tx.max_fee_per_gas() >= u128::from(self.base_fee), "cannot pay the base fee");
            account.nonce += 1;
            let cost = U256::from(tx.gas_limit()) * U256::from(tx.max_fee_per_gas()) + tx.value();
            account.balance = account.balance.checked_sub(cost).expect("more than the balance");
        }
        // Each run is as long as it can be.
        for (address, account) in &next {
            if places.contains(&(*address, account.nonce)) {
                let tx = self.all().into_iter().find(|tx| (tx.signer(), tx.nonce()) == (*address, account.nonce));
                let tx = tx.unwrap();
                let cost = U256::from(tx.gas_limit()) * U256::from(tx.max_fee_per_gas()) + tx.value();
                assert!(cost > account.balance || tx.max_fee_per_gas() < u128::from(self.base_fee), "left out");
            }
        }
        let tip = |tx: &Arc<Recovered>| tx.effective_tip_per_gas(self.base_fee).unwrap();
        for (place, pair) in best.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            // A later one may pay more only if its sender's earlier one stood before it.
            let held_back = best[..=place].iter().any(|tx| tx.signer() == second.signer());
            assert!(tip(first) >= tip(second) || held_back, "price order");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_invariants_hold_after_every_operation(operations in operations()) {
        let mut model = Model::new();
        for operation in &operations {
            model.apply(operation);
            model.check();
        }
    }

    #[test]
    fn two_pools_that_see_the_same_operations_are_the_same(operations in operations()) {
        let (mut one, mut two) = (Model::new(), Model::new());
        for operation in &operations {
            one.apply(operation);
            two.apply(operation);
        }
        prop_assert_eq!(one.pool.best(1_000).collect::<Vec<_>>(), two.pool.best(1_000).collect::<Vec<_>>());
        prop_assert_eq!(one.all(), two.all());
    }
}
