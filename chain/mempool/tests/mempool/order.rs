//! Nonce order, price order, replacement, and following the head.

use crate::sample::*;
use alloy_primitives::B256;
use keystead_mempool::{Limits, Pool, PoolError};

#[test]
fn the_highest_tip_goes_first_and_the_earlier_of_equals() {
    let mut pool = pool();
    for (from, tip) in [(1, 5), (2, 9), (3, 5), (4, 7)] {
        put(&mut pool, &Tx::new(from, 0, tip)).unwrap();
    }
    assert_eq!(best(&pool), [(sender(2), 0), (sender(4), 0), (sender(1), 0), (sender(3), 0)]);
}

#[test]
fn a_sender_keeps_its_nonce_order_whatever_it_pays() {
    let mut pool = pool();
    put(&mut pool, &Tx::new(1, 1, 100)).unwrap();
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx::new(2, 0, 50)).unwrap();
    assert_eq!(best(&pool), [(sender(2), 0), (sender(1), 0), (sender(1), 1)]);
}

#[test]
fn the_tip_that_counts_is_what_the_fee_cap_leaves_above_the_base_fee() {
    let mut pool = pool();
    put(&mut pool, &Tx { max_fee: 1_005, ..Tx::new(1, 0, 100) }).unwrap();
    put(&mut pool, &Tx::new(2, 0, 6)).unwrap();
    put(&mut pool, &Tx { kind: 0, max_fee: 1_007, ..Tx::new(3, 0, 0) }).unwrap();
    assert_eq!(best(&pool), [(sender(3), 0), (sender(2), 0), (sender(1), 0)]);
}

#[test]
fn a_gap_holds_back_what_comes_after_it() {
    let mut pool = pool();
    assert!(put(&mut pool, &Tx::new(1, 0, 1)).unwrap().executable);
    assert!(!put(&mut pool, &Tx::new(1, 2, 1)).unwrap().executable);
    assert_eq!(best(&pool), [(sender(1), 0)]);
    assert_eq!((pool.pending().len(), pool.queued().len()), (1, 1));
    assert_eq!(pool.next_nonce(&sender(1), 0), 1);
    assert!(put(&mut pool, &Tx::new(1, 1, 1)).unwrap().executable);
    assert_eq!(best(&pool), [(sender(1), 0), (sender(1), 1), (sender(1), 2)]);
    assert_eq!(pool.next_nonce(&sender(1), 0), 3);
}

#[test]
fn to_outbid_is_to_pay_more_than_the_least_that_a_block_could_take() {
    let mut pool = pool();
    let outbids = |pool: &Pool, tip| pool.outbids(&Tx::new(9, 0, tip).recovered());
    assert!(outbids(&pool, 0), "nothing is here");
    put(&mut pool, &Tx::new(1, 2, 500)).unwrap();
    assert!(outbids(&pool, 0), "what waits for a nonce is no rival, whatever it promises");
    put(&mut pool, &Tx::new(2, 0, 7)).unwrap();
    put(&mut pool, &Tx::new(3, 0, 5)).unwrap();
    assert!(!outbids(&pool, 5) && outbids(&pool, 6));
    // Behind a cheap nonce stands nothing dear.
    put(&mut pool, &Tx::new(3, 1, 900)).unwrap();
    assert!(!outbids(&pool, 5) && outbids(&pool, 6));
    assert_eq!(pool.counts(), (3, 1));
}

#[test]
fn best_of_is_the_beginning_of_best() {
    let mut pool = pool();
    for (from, tip) in [(1, 5), (2, 9), (3, 5), (4, 7)] {
        (0..3).for_each(|nonce| _ = put(&mut pool, &Tx::new(from, nonce, tip)).unwrap());
    }
    let all: Vec<_> = pool.best(BASE_FEE).collect();
    assert_eq!(all.len(), 12);
    for count in [0, 1, 5, 12, 99] {
        assert_eq!(pool.best_of(BASE_FEE, count).collect::<Vec<_>>(), all[..count.min(12)]);
    }
}

#[test]
fn the_next_nonce_of_a_stranger_is_the_accounts_own() {
    let mut pool = pool();
    assert_eq!(pool.next_nonce(&sender(1), 4), 4);
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx::new(1, 5, 1)).unwrap();
    // The caller may know a later head than the pool.
    assert_eq!(pool.next_nonce(&sender(1), 3), 3);
    assert_eq!(pool.next_nonce(&sender(1), 5), 6);
}

#[test]
fn a_run_ends_where_a_fee_cap_is_below_the_base_fee() {
    let mut pool = pool();
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx { max_fee: 999, ..Tx::new(1, 1, 1) }).unwrap();
    put(&mut pool, &Tx::new(1, 2, 1)).unwrap();
    assert_eq!(best(&pool), [(sender(1), 0)]);
}

#[test]
fn a_replacement_needs_a_tenth_more_of_both_fees_rounded_down() {
    // Old fees 10,009 and 19: a tenth rounded down is 1,000 and 1.
    let old = Tx { max_fee: 10_009, ..Tx::new(1, 0, 19) };
    let with = |max_fee, tip| {
        let mut pool = pool();
        put(&mut pool, &old).unwrap();
        let result = put(&mut pool, &Tx { max_fee, ..Tx::new(1, 0, tip) });
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.contains(&old.hash()), result.is_err());
        result
    };
    assert_eq!(with(11_009, 20).unwrap().replaced, Some(old.hash()));
    for (max_fee, tip) in [(11_008, 20), (11_009, 19), (1_000_000, 19), (10_009, 1_000)] {
        let error = with(max_fee, tip).unwrap_err();
        assert!(error.to_string().starts_with("replacement transaction underpriced"), "{error}");
        let PoolError::ReplacementUnderpriced { max_fee_needed, priority_fee_needed, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((max_fee_needed, priority_fee_needed), (11_009, 20));
    }
}

#[test]
fn a_replacement_of_a_free_tip_needs_at_least_one_wei() {
    let mut pool = pool();
    put(&mut pool, &Tx::new(1, 0, 0)).unwrap();
    assert!(put(&mut pool, &Tx { max_fee: 20_000, ..Tx::new(1, 0, 0) }).is_err());
    assert!(put(&mut pool, &Tx { max_fee: 20_000, ..Tx::new(1, 0, 1) }).is_ok());
}

#[test]
fn a_replacement_is_counted_once_against_balance_and_bytes() {
    let mut pool = pool();
    let balance = account(0, 21_000 * 11_000);
    pool.insert(Tx::new(1, 0, 10).recovered(), &balance, BASE_FEE).unwrap();
    let bytes = pool.bytes();
    let replaced = pool.insert(Tx { max_fee: 11_000, ..Tx::new(1, 0, 11) }.recovered(), &balance, BASE_FEE);
    assert!(replaced.unwrap().executable);
    assert_eq!(pool.bytes(), bytes);
}

#[test]
fn a_block_removes_what_it_included_and_lets_the_next_follow() {
    let mut pool = pool();
    for nonce in 0..4 {
        put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
    }
    put(&mut pool, &Tx::new(2, 0, 1)).unwrap();
    pool.on_block(BASE_FEE, [(sender(1), account(2, u128::MAX)), (sender(9), account(1, 1))]);
    assert_eq!(pool.len(), 3);
    assert_eq!(best(&pool).len(), 3);
    assert!(!pool.contains(&Tx::new(1, 1, 1).hash()));
    let late = put(&mut pool, &Tx::new(1, 1, 1)).unwrap_err();
    assert_eq!(late, PoolError::NonceTooLow { nonce: 1, expected: 2 });
}

#[test]
fn a_block_that_included_another_transaction_of_the_same_nonce_removes_ours() {
    let mut pool = pool();
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    pool.on_block(BASE_FEE, [(sender(1), account(1, u128::MAX))]);
    assert!(pool.is_empty() && pool.bytes() == 0);
}

#[test]
fn a_smaller_balance_drops_what_it_cannot_pay_alone_and_holds_back_the_rest() {
    let mut pool = pool();
    let cost = 21_000 * 10_000;
    for (nonce, value) in [(0, 0), (1, 5 * cost), (2, 0), (3, 0)] {
        put(&mut pool, &Tx { value, ..Tx::new(1, nonce, 1) }).unwrap();
    }
    pool.on_block(BASE_FEE, [(sender(1), account(0, 2 * cost))]);
    assert_eq!(pool.len(), 3, "only nonce 1 costs more than all there is");
    assert_eq!(best(&pool), [(sender(1), 0)]);
    // The gap is filled, but the balance covers only two of the four now.
    pool.insert(Tx::new(1, 1, 1).recovered(), &account(0, 2 * cost), BASE_FEE).unwrap();
    assert_eq!(best(&pool), [(sender(1), 0), (sender(1), 1)]);
    assert_eq!(pool.next_nonce(&sender(1), 0), 4);
    pool.on_block(BASE_FEE, [(sender(1), account(0, 4 * cost))]);
    assert_eq!(best(&pool).len(), 4, "new funds make them executable again");
}

#[test]
fn an_account_that_is_gone_loses_its_transactions() {
    let mut pool = pool();
    put(&mut pool, &Tx::default()).unwrap();
    pool.on_block(BASE_FEE, [(sender(1), keystead_types::Account::default())]);
    assert!(pool.is_empty());
}

#[test]
fn a_caller_who_knows_a_later_head_moves_the_queue_on() {
    let mut pool = pool();
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    pool.insert(Tx::new(1, 1, 1).recovered(), &account(1, u128::MAX), BASE_FEE).unwrap();
    assert_eq!(best(&pool), [(sender(1), 1)]);
    assert_eq!(pool.len(), 1);
}

#[test]
fn removing_one_holds_back_the_later_ones() {
    let mut pool = pool();
    for nonce in 0..3 {
        put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
    }
    let removed = pool.remove(&Tx::new(1, 1, 1).hash()).unwrap();
    assert_eq!(*removed.tx_hash(), Tx::new(1, 1, 1).hash());
    assert_eq!(pool.remove(&Tx::new(1, 1, 1).hash()), None);
    assert_eq!(best(&pool), [(sender(1), 0)]);
    assert_eq!(pool.queued().len(), 1);
    put(&mut pool, &Tx::new(1, 1, 1)).unwrap();
    assert_eq!(best(&pool).len(), 3);
}

#[test]
fn arrivals_can_be_followed_with_a_cursor() {
    let mut pool = pool();
    assert_eq!(pool.hashes_since(0, 10), (vec![], 0));
    let hashes: Vec<B256> = (0..5)
        .map(|nonce| {
            put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
            Tx::new(1, nonce, 1).hash()
        })
        .collect();
    let (first, cursor) = pool.hashes_since(0, 2);
    assert_eq!(first, hashes[..2]);
    pool.remove(&hashes[2]);
    let (rest, cursor) = pool.hashes_since(cursor, 10);
    assert_eq!(rest, hashes[3..]);
    assert!(pool.hashes_since(cursor, 10).0.is_empty());
}

#[test]
fn best_is_bounded_by_four_blocks_of_transfers() {
    let mut pool = keystead_mempool::Pool::new(Limits::default(), CHAIN_ID, 210_000);
    for nonce in 0..100 {
        put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
    }
    assert_eq!(pool.best(BASE_FEE).len(), 44);
}
