//! EIP-7702: what an authorization could make invalid does not stack in the pool, however it is tried.

use crate::sample::*;
use alloy_consensus::{SignableTransaction as _, TxEip7702, crypto::secp256k1::sign_message};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Signature, U256, keccak256};
use keystead_mempool::{Candidate, Limits, Pool, PoolError};
use keystead_types::{Account, Recovered};
use std::sync::Arc;

/// Somebody who can sign authorizations.
#[derive(Clone, Copy)]
struct Person {
    key: B256,
    address: Address,
}

impl Person {
    fn new(seed: u8) -> Self {
        let key = B256::repeat_byte(seed);
        let signature = sign_message(key, B256::ZERO).unwrap();
        Self { key, address: signature.recover_address_from_prehash(&B256::ZERO).unwrap() }
    }

    fn authorize_on(&self, chain_id: u64, nonce: u64) -> SignedAuthorization {
        let authorization = Authorization { chain_id: U256::from(chain_id), address: Address::ZERO, nonce };
        let signature = sign_message(self.key, authorization.signature_hash()).unwrap();
        authorization.into_signed(signature)
    }

    fn authorize(&self) -> SignedAuthorization {
        self.authorize_on(CHAIN_ID, 0)
    }

    /// A transfer of this person.
    fn transfer(&self, nonce: u64) -> Arc<Recovered> {
        let transaction = Tx::new(1, nonce, 10).recovered().inner().clone();
        // Hashes differ by sender, as they do with real signatures.
        let body = transaction.as_eip1559().unwrap().tx().clone();
        let signature = Signature::new(U256::from_be_bytes(keccak256(self.address).0), U256::MAX, false);
        Arc::new(Recovered::new_unchecked(body.into_signed(signature).into(), self.address))
    }
}

/// A transaction of type 4 from somebody with a fee factor, so that one can replace another.
fn set_code(from: Address, nonce: u64, fee: u128, list: Vec<SignedAuthorization>) -> Arc<Recovered> {
    let gas_limit = 21_000 + 25_000 * list.len() as u64;
    let body = TxEip7702 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 10_000 * fee,
        max_priority_fee_per_gas: 10 * fee,
        authorization_list: list,
        ..TxEip7702::default()
    };
    let signature = Signature::new(U256::from_be_bytes(keccak256(from).0), U256::from(fee), false);
    Arc::new(Recovered::new_unchecked(body.into_signed(signature).into(), from))
}

fn insert(pool: &mut Pool, transaction: Arc<Recovered>) -> Result<(), PoolError> {
    pool.insert(transaction, &RICH, BASE_FEE).map(|_| ())
}

fn delegated(nonce: u64) -> Account {
    Account { code_hash: keccak256([0xef, 0x01, 0x00]), ..account(nonce, u128::MAX) }
}

#[test]
fn authorizations_are_needed_and_bounded_and_pay_for_themselves() {
    let person = Person::new(1);
    let list = |count| vec![person.authorize(); count];
    let sized = |count, gas_limit| {
        let mut body = set_code(sender(1), 0, 1, list(count)).inner().as_eip7702().unwrap().tx().clone();
        body.gas_limit = gas_limit;
        let transaction = body.into_signed(Signature::test_signature()).into();
        insert(&mut pool(), Arc::new(Recovered::new_unchecked(transaction, sender(1))))
    };
    assert_eq!(sized(0, 100_000), Err(PoolError::AuthorizationsMissing));
    assert_eq!(sized(Limits::AUTHORIZATIONS_MAX, 21_000 + 64 * 25_000), Ok(()));
    assert_eq!(sized(65, 10_000_000), Err(PoolError::AuthorizationsTooMany { got: 65, max: 64 }));
    assert_eq!(sized(2, 71_000), Ok(()));
    assert_eq!(sized(2, 70_999), Err(PoolError::IntrinsicGas { gas_limit: 70_999, needed: 71_000 }));
    let error = sized(0, 100_000).unwrap_err();
    assert!(error.to_string().starts_with("set code tx must have at least one authorization tuple"), "{error}");
}

#[test]
fn an_account_with_code_has_one_transaction_at_a_time() {
    let mut pool = pool();
    let person = Person::new(1);
    let mut put = |transaction, account: Account| pool.insert(transaction, &account, BASE_FEE).map(|_| ());
    assert_eq!(put(person.transfer(6), delegated(5)), Err(PoolError::DelegatedGap { nonce: 6, expected: 5 }));
    assert_eq!(put(person.transfer(5), delegated(5)), Ok(()));
    let error = put(person.transfer(6), delegated(5)).unwrap_err();
    assert_eq!(error, PoolError::DelegatedLimit { sender: person.address, waiting: 1 });
    assert!(error.to_string().starts_with("in-flight transaction limit reached for delegated accounts"), "{error}");
    // It may be replaced, by type 4 as well.
    assert_eq!(put(set_code(person.address, 5, 2, vec![person.authorize()]), delegated(5)), Ok(()));
    pool.on_block(BASE_FEE, [(person.address, delegated(7))]);
    assert!(pool.is_empty());
    assert!(pool.insert(person.transfer(7), &delegated(7), BASE_FEE).unwrap().executable);
}

#[test]
fn an_account_that_an_authorization_names_stacks_nothing_until_that_is_gone() {
    let mut pool = pool();
    let (sponsor, victim) = (sender(1), Person::new(2));
    let naming = set_code(sponsor, 0, 1, vec![victim.authorize()]);
    insert(&mut pool, naming.clone()).unwrap();
    assert_eq!(insert(&mut pool, victim.transfer(1)), Err(PoolError::DelegatedGap { nonce: 1, expected: 0 }));
    insert(&mut pool, victim.transfer(0)).unwrap();
    assert!(matches!(insert(&mut pool, victim.transfer(1)), Err(PoolError::DelegatedLimit { .. })));
    pool.remove(naming.tx_hash()).unwrap();
    insert(&mut pool, victim.transfer(1)).unwrap();
    insert(&mut pool, victim.transfer(9)).unwrap();
}

#[test]
fn an_authorization_may_not_name_an_account_with_a_stack() {
    let mut pool = pool();
    let victim = Person::new(2);
    let naming = || set_code(sender(1), 0, 1, vec![Person::new(3).authorize(), victim.authorize()]);
    insert(&mut pool, victim.transfer(0)).unwrap();
    insert(&mut pool, victim.transfer(7)).unwrap();
    let before = (pool.len(), pool.bytes(), pool.hashes_since(0, 9));
    let error = insert(&mut pool, naming()).unwrap_err();
    assert_eq!(error, PoolError::AuthorityReserved { authority: victim.address, waiting: 2 });
    assert!(error.to_string().starts_with("authority already reserved"), "{error}");
    assert_eq!(before, (pool.len(), pool.bytes(), pool.hashes_since(0, 9)));
    // The refusal left no trace of the other name.
    insert(&mut pool, Person::new(3).transfer(0)).unwrap();
    insert(&mut pool, Person::new(3).transfer(1)).unwrap();
    pool.remove(victim.transfer(7).tx_hash()).unwrap();
    assert!(
        matches!(insert(&mut pool, naming()), Err(PoolError::AuthorityReserved { .. })),
        "now the other one has two"
    );
    pool.remove(Person::new(3).transfer(1).tx_hash()).unwrap();
    insert(&mut pool, naming()).unwrap();
}

#[test]
fn who_authorizes_with_its_own_transaction_has_no_second_one() {
    let person = Person::new(1);
    let own = |nonce, fee| set_code(person.address, nonce, fee, vec![person.authorize_on(CHAIN_ID, nonce + 1)]);
    let mut one = pool();
    insert(&mut one, own(0, 1)).unwrap();
    assert!(matches!(insert(&mut one, person.transfer(1)), Err(PoolError::DelegatedLimit { .. })));
    // A replacement that names the same account is judged without what it replaces.
    insert(&mut one, own(0, 2)).unwrap();
    // On top of a stack it would make the stack invalid.
    let mut two = pool();
    insert(&mut two, person.transfer(0)).unwrap();
    insert(&mut two, person.transfer(1)).unwrap();
    assert!(matches!(insert(&mut two, own(2, 1)), Err(PoolError::AuthorityReserved { waiting: 2, .. })));
}

#[test]
fn a_replacement_names_others_and_frees_those_that_it_no_longer_names() {
    let mut pool = pool();
    let (first, second) = (Person::new(2), Person::new(3));
    insert(&mut pool, set_code(sender(1), 0, 1, vec![first.authorize()])).unwrap();
    insert(&mut pool, set_code(sender(1), 0, 2, vec![second.authorize()])).unwrap();
    assert_eq!(pool.len(), 1);
    for nonce in 0..2 {
        insert(&mut pool, first.transfer(nonce)).unwrap();
    }
    insert(&mut pool, second.transfer(0)).unwrap();
    assert!(matches!(insert(&mut pool, second.transfer(1)), Err(PoolError::DelegatedLimit { .. })));
    // A plain transaction in its place frees both.
    let dear = Tx { max_fee: 100_000, ..Tx::new(1, 0, 100) };
    insert(&mut pool, dear.recovered()).unwrap();
    insert(&mut pool, second.transfer(1)).unwrap();
}

#[test]
fn two_authorizations_of_one_account_are_both_counted() {
    let mut pool = pool();
    let victim = Person::new(2);
    let naming = [1, 2].map(|from| set_code(sender(from), 0, 1, vec![victim.authorize(), victim.authorize()]));
    for transaction in &naming {
        insert(&mut pool, transaction.clone()).unwrap();
    }
    insert(&mut pool, victim.transfer(0)).unwrap();
    pool.remove(naming[0].tx_hash()).unwrap();
    assert!(matches!(insert(&mut pool, victim.transfer(1)), Err(PoolError::DelegatedLimit { .. })));
    pool.on_block(BASE_FEE, [(sender(2), account(1, u128::MAX))]);
    insert(&mut pool, victim.transfer(1)).unwrap();
}

#[test]
fn authorizations_that_cannot_take_effect_restrict_nobody() {
    let victim = Person::new(2);
    let forged = SignedAuthorization::new_unchecked(victim.authorize().inner().clone(), 0, U256::MAX, U256::from(1));
    let valid = victim.authorize();
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let high_s =
        SignedAuthorization::new_unchecked(valid.inner().clone(), 1 - valid.y_parity(), valid.r(), order - valid.s());
    let parity = SignedAuthorization::new_unchecked(valid.inner().clone(), 2, valid.r(), valid.s());
    for idle in [victim.authorize_on(1, 0), victim.authorize_on(CHAIN_ID, u64::MAX), forged, high_s, parity] {
        let mut pool = pool();
        insert(&mut pool, set_code(sender(1), 0, 1, vec![idle])).unwrap();
        for nonce in 0..3 {
            insert(&mut pool, victim.transfer(nonce)).unwrap();
        }
    }
    // Chain id zero means every chain.
    let mut pool = pool();
    insert(&mut pool, set_code(sender(1), 0, 1, vec![victim.authorize_on(0, 0)])).unwrap();
    insert(&mut pool, victim.transfer(0)).unwrap();
    assert!(insert(&mut pool, victim.transfer(1)).is_err());
}

#[test]
fn an_authorization_that_was_used_restricts_nobody_when_it_is_sent_again() {
    let victim = Person::new(2);
    let old = |nonce| {
        let list = vec![victim.authorize_on(CHAIN_ID, 3), victim.authorize_on(CHAIN_ID, 1)];
        let mut candidate = Candidate::from(set_code(sender(1), 0, 1, list));
        candidate
            .forget_used(|address| if *address == victim.address { Ok(nonce) } else { Err(()) })
            .map(|()| candidate)
    };
    for (nonce, restricts) in [(0, true), (3, true), (4, false)] {
        let mut pool = pool();
        pool.insert(old(nonce).unwrap(), &RICH, BASE_FEE).unwrap();
        insert(&mut pool, victim.transfer(0)).unwrap();
        assert_eq!(insert(&mut pool, victim.transfer(1)).is_err(), restricts, "{nonce}");
    }
}

#[test]
fn an_evicted_authorization_restricts_nobody_and_one_that_stays_does() {
    let victim = Person::new(2);
    let naming = set_code(sender(1), 0, 1, vec![victim.authorize()]);
    let mut big = pool();
    insert(&mut big, naming.clone()).unwrap();
    let room = big.bytes();
    // Room for it alone: whoever pays more takes its place.
    let mut pool = with_limits(Limits { bytes_max: room, ..Limits::default() });
    insert(&mut pool, naming.clone()).unwrap();
    let cheap = Tx { tip: 1, ..Tx::new(5, 0, 1) };
    assert!(matches!(insert(&mut pool, cheap.recovered()), Err(PoolError::Full { .. })));
    // Eviction that is tried and given up leaves the restriction as it was.
    let large = Tx { input: vec![1; 200].into(), gas: 100_000, ..Tx::new(6, 0, 500) };
    assert!(matches!(insert(&mut pool, large.recovered()), Err(PoolError::Full { .. })));
    assert!(pool.contains(naming.tx_hash()));
    assert!(matches!(insert(&mut pool, victim.transfer(1)), Err(PoolError::DelegatedGap { .. })));
    let dear = Tx::new(7, 0, 500);
    insert(&mut pool, dear.recovered()).unwrap();
    assert!(!pool.contains(naming.tx_hash()));
    pool.remove(&dear.hash()).unwrap();
    insert(&mut pool, victim.transfer(1)).unwrap();
}
