//! A full pool: who leaves, who stays, who is turned away.

use crate::sample::*;
use alloy_consensus::Transaction as _;
use keystead_mempool::{Limits, PoolError};
use keystead_types::Bytes;

/// Room for so many transfers and half a one, because the encodings of numbers differ by a few bytes.
fn room_for(transfers: usize) -> Limits {
    Limits { bytes_max: transfers * transfer_bytes() + transfer_bytes() / 2, ..Limits::default() }
}

#[test]
fn a_full_pool_takes_a_better_payer_in_place_of_the_cheapest() {
    let mut pool = with_limits(room_for(3));
    for (from, tip) in [(1, 5), (2, 3), (3, 4)] {
        put(&mut pool, &Tx::new(from, 0, tip)).unwrap();
    }
    let inserted = put(&mut pool, &Tx::new(4, 0, 6)).unwrap();
    assert_eq!(inserted.evicted, [Tx::new(2, 0, 3).hash()]);
    assert_eq!(pool.len(), 3);
    assert!(!pool.contains(&Tx::new(2, 0, 3).hash()));
}

#[test]
fn who_pays_as_much_as_the_cheapest_or_less_is_turned_away() {
    let mut pool = with_limits(room_for(2));
    put(&mut pool, &Tx::new(1, 0, 5)).unwrap();
    put(&mut pool, &Tx::new(2, 0, 4)).unwrap();
    for tip in [3, 4] {
        let error = put(&mut pool, &Tx::new(3, 0, tip)).unwrap_err();
        assert!(matches!(error, PoolError::Full { .. }), "{error}");
        assert!(error.to_string().starts_with("transaction underpriced"), "{error}");
    }
    assert_eq!(best(&pool).len(), 2);
}

#[test]
fn what_waits_for_a_nonce_leaves_before_what_can_be_executed() {
    let mut pool = with_limits(room_for(3));
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx::new(2, 7, 1_000)).unwrap();
    put(&mut pool, &Tx::new(3, 0, 2)).unwrap();
    let inserted = put(&mut pool, &Tx::new(4, 0, 1)).unwrap();
    assert_eq!(inserted.evicted, [Tx::new(2, 7, 1_000).hash()]);
    let error = put(&mut pool, &Tx::new(5, 7, 1_000)).unwrap_err();
    assert!(error.to_string().starts_with("txpool is full"), "{error}");
}

#[test]
fn eviction_takes_the_end_of_a_queue_and_tears_no_hole() {
    let mut pool = with_limits(room_for(4));
    for nonce in 0..3 {
        put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
    }
    put(&mut pool, &Tx::new(2, 0, 9)).unwrap();
    put(&mut pool, &Tx::new(3, 0, 9)).unwrap();
    assert_eq!(best(&pool), [(sender(2), 0), (sender(3), 0), (sender(1), 0), (sender(1), 1)]);
}

#[test]
fn a_dear_last_transaction_does_not_protect_cheap_ones_before_it() {
    let mut pool = with_limits(room_for(4));
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx::new(1, 1, 1_000)).unwrap();
    put(&mut pool, &Tx::new(2, 0, 5)).unwrap();
    put(&mut pool, &Tx::new(3, 0, 5)).unwrap();
    // Sender 1 can be executed only at the price of its first: it is the cheapest of all.
    let inserted = put(&mut pool, &Tx::new(4, 0, 6)).unwrap();
    assert_eq!(inserted.evicted, [Tx::new(1, 1, 1_000).hash()]);
}

#[test]
fn a_sender_who_sends_ten_thousand_cheap_ones_cannot_evict_a_better_payer() {
    let mut pool = with_limits(room_for(100));
    for from in 0..50 {
        put(&mut pool, &Tx::new(from, 0, 10)).unwrap();
    }
    for nonce in 0..10_000 {
        // Cheaper than the others; the tail of a long run and of runs with gaps.
        let _ = put(&mut pool, &Tx::new(99, nonce, 9));
        let _ = put(&mut pool, &Tx::new(98, nonce * 7 % 1_024, 9));
    }
    for from in 0..50 {
        assert!(pool.contains(&Tx::new(from, 0, 10).hash()), "sender {from} was evicted");
    }
    assert!(pool.bytes() <= room_for(100).bytes_max);
}

#[test]
fn filling_the_pool_ten_times_over_keeps_the_best_tenth() {
    let mut pool = with_limits(room_for(100));
    for round in 0..1_000_u64 {
        // Each tip from 0 to 999 once, in a scattered order.
        let _ = put(&mut pool, &Tx::new(round, 0, u128::from(round * 617 % 1_000)));
        assert!(pool.bytes() <= room_for(100).bytes_max);
    }
    let mut tips: Vec<u128> = pool.best(BASE_FEE).map(|tx| tx.max_priority_fee_per_gas().unwrap()).collect();
    tips.sort_unstable();
    assert_eq!(tips, (900..1_000).collect::<Vec<_>>());
}

#[test]
fn one_sender_has_a_bound_in_count_and_its_own_later_nonces_make_room() {
    let mut pool = with_limits(Limits { transactions_per_sender_max: 3, ..Limits::default() });
    for nonce in [0, 5, 6] {
        put(&mut pool, &Tx::new(1, nonce, 1)).unwrap();
    }
    let error = put(&mut pool, &Tx::new(1, 7, 1)).unwrap_err();
    assert!(matches!(error, PoolError::SenderFull { count: 3, count_max: 3, .. }), "{error}");
    let inserted = put(&mut pool, &Tx::new(1, 1, 1)).unwrap();
    assert_eq!(inserted.evicted, [Tx::new(1, 6, 1).hash()]);
    assert_eq!(best(&pool), [(sender(1), 0), (sender(1), 1)]);
    assert!(put(&mut pool, &Tx { max_fee: 20_000, ..Tx::new(1, 1, 2) }).is_ok(), "a replacement needs no room");
}

#[test]
fn one_sender_has_a_bound_in_bytes() {
    let mut pool = with_limits(Limits { bytes_per_sender_max: 2 * transfer_bytes() + 100, ..Limits::default() });
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    put(&mut pool, &Tx::new(1, 1, 1)).unwrap();
    let error = put(&mut pool, &Tx::new(1, 2, 1)).unwrap_err();
    assert!(error.to_string().starts_with("account limit exceeded"), "{error}");
    assert!(put(&mut pool, &Tx::new(2, 0, 1)).is_ok());
}

#[test]
fn a_large_newcomer_that_cannot_be_placed_evicts_nobody() {
    let mut pool = with_limits(room_for(10));
    for from in 0..5 {
        put(&mut pool, &Tx::new(from, 0, 1)).unwrap();
    }
    for from in 5..10 {
        put(&mut pool, &Tx::new(from, 0, 9)).unwrap();
    }
    let before = (best(&pool), pool.bytes(), pool.hashes_since(0, 100));
    // It pays more than five of them, but needs the room of eight.
    let large = Tx { input: Bytes::from(vec![1; 7 * transfer_bytes()]), gas: 1_000_000, ..Tx::new(99, 0, 5) };
    assert!(matches!(put(&mut pool, &large), Err(PoolError::Full { .. })));
    assert_eq!((best(&pool), pool.bytes(), pool.hashes_since(0, 100)), before);
    let dear = Tx { tip: 10, ..large };
    assert_eq!(put(&mut pool, &dear).unwrap().evicted.len(), 8);
}

#[test]
fn a_pool_smaller_than_one_transaction_takes_none() {
    let mut pool = with_limits(Limits { bytes_max: transfer_bytes() - 1, ..Limits::default() });
    assert!(matches!(put(&mut pool, &Tx::default()), Err(PoolError::Full { .. })));
    assert_eq!((pool.len(), pool.bytes()), (0, 0));
}

#[test]
fn a_rising_base_fee_changes_who_is_cheapest() {
    let mut pool = with_limits(room_for(2));
    // At a base fee of 1,000 the first pays 500, the second 400; at 1,400 the first pays 100.
    put(&mut pool, &Tx { max_fee: 1_500, ..Tx::new(1, 0, 500) }).unwrap();
    put(&mut pool, &Tx { max_fee: 9_999, ..Tx::new(2, 0, 400) }).unwrap();
    pool.on_block(1_400, []);
    let inserted = pool.insert(Tx::new(3, 0, 200).recovered(), &RICH, 1_400).unwrap();
    assert_eq!(inserted.evicted, [Tx { max_fee: 1_500, ..Tx::new(1, 0, 500) }.hash()]);
}
