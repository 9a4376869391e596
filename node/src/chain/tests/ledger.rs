//! The ledger alone: what it says of blocks that lost their height, and of more gossip than it can check.

use super::validators::{Parts, call, genesis, parts, sign, signer};
use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Signature, U256};
use keystead_consensus::{BuildRequest, Ledger as _, LedgerError, Verdict};
use keystead_rpc::{Submit as _, SubmitError};
use keystead_types::{Address, Block, Bytes, ConsensusContext, GenesisAccount, Recovered, Transaction};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A child of the genesis block proposed in a view.
fn build(parts: &Parts, view: u64) -> Arc<Block> {
    let mut context = ConsensusContext { epoch: 0, view, parent_view: 0, leader: [1; 32], seeds: Vec::new() };
    context.seeds = vec![keystead_types::Seed([2; 48]); context.seed_count()];
    let parent = parts.store.genesis();
    let timestamp_ms = parent.timestamp_ms() + view;
    parts.chain.build(BuildRequest { parent, context, timestamp_ms, beacon: Vec::new() }).unwrap()
}

/// A node that catches up may be asked to judge, and to execute again, a block whose height another block has won. It
/// follows every rule: to call it invalid would stop a healthy node.
#[test]
fn a_block_that_lost_its_height_is_not_called_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let parts = parts(folder.path(), &genesis(), 1);
    let (lost, won) = (build(&parts, 1), build(&parts, 2));
    let parent = parts.store.genesis();
    assert_eq!(parts.chain.check(&lost, &parent).unwrap(), Verdict::Valid);
    parts.chain.commit(&won, None).unwrap();
    assert_eq!(parts.chain.check(&won, &parent).unwrap(), Verdict::Valid);
    assert!(
        matches!(parts.chain.check(&lost, &parent), Err(LedgerError::UnknownParent(hash)) if hash == parent.hash())
    );
    // To commit it would be a fork.
    assert!(matches!(parts.chain.commit(&lost, None), Err(LedgerError::Broken(_))));
}

#[test]
fn more_gossip_than_can_be_checked_makes_the_node_refuse_until_it_has_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let parts = parts(folder.path(), &genesis(), 1);
    let batch: Vec<Bytes> = (0..41)
        .map(|nonce| sign(&signer(1), call(nonce, Address::repeat_byte(9), 21_000)).encoded_2718().into())
        .collect();
    assert!(parts.submissions.ready().is_ok());
    for _ in 0..99 {
        parts.chain.receive(batch.clone());
    }
    assert!(parts.submissions.ready().is_ok(), "4,059 transactions wait: the last that are not too many");
    parts.chain.receive(batch);
    let busy = parts.submissions.ready().unwrap_err();
    assert!(matches!(busy, SubmitError::Busy { waiting: 4_100, max: 4_096 }), "{busy}");
    let Parts { submissions, inbox, .. } = parts;
    let worker = submissions.clone();
    std::thread::spawn(move || worker.work(&inbox));
    let start = Instant::now();
    while submissions.ready().is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "the node does not catch up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Full of what pays the least tip, the pool takes what pays more, and refuses the rest without a look at its signature.
#[test]
fn a_crowded_pool_looks_only_at_what_pays_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut genesis = genesis();
    let balance = U256::from(10).pow(U256::from(24));
    for seed in 10..=17 {
        genesis.accounts.insert(signer(seed).address(), GenesisAccount { balance, ..GenesisAccount::default() });
    }
    let parts = parts(folder.path(), &genesis, 1);
    let offer = |transaction: Transaction| parts.submissions.offer(vec![transaction]).pop().unwrap();
    let fill = |count: u64| {
        for index in 0..count {
            let (sender, nonce) = ((index / 4_096) as u8, index % 4_096);
            let transaction = call(nonce, Address::repeat_byte(sender + 1), 21_000);
            let transaction = transaction.into_signed(Signature::test_signature()).into();
            // Their signatures are nobody's: to make so many real ones would take longer than the rest.
            parts.submissions.submit(Recovered::new_unchecked(transaction, signer(sender + 10).address())).unwrap();
        }
    };
    let (mine, to) = (signer(17), Address::repeat_byte(9));
    let forged =
        |nonce| Transaction::from(call(nonce, to, 21_000).into_signed(Signature::new(U256::ZERO, U256::ZERO, false)));
    fill(24_576);
    assert!(offer(sign(&mine, call(0, to, 21_000))).is_ok(), "24,576 wait: the last that are no crowd");
    let equal = offer(sign(&mine, call(1, to, 21_000))).unwrap_err();
    assert!(matches!(equal, SubmitError::Busy { waiting: 24_577, max: 24_576 }), "{equal}");
    assert!(matches!(offer(forged(1)).unwrap_err(), SubmitError::Busy { .. }));
    let more = TxEip1559 { max_priority_fee_per_gas: 2, ..call(1, to, 21_000) };
    assert!(offer(sign(&mine, more)).is_ok());
    let known = offer(sign(&mine, call(0, to, 21_000))).unwrap_err();
    assert!(known.to_string().contains("already known"), "{known}");
}

/// A block may bring what gossip brings later: the sender is the same, and it is not recovered again.
#[test]
fn senders_of_a_block_are_known_when_its_transactions_come_by_gossip() {
    let folder = tempfile::tempdir().unwrap();
    let parts = parts(folder.path(), &genesis(), 1);
    let transactions: Vec<Transaction> =
        (0..6).map(|nonce| sign(&signer(1), call(nonce, Address::repeat_byte(9), 21_000))).collect();
    let recovered = parts.submissions.recover(&transactions).unwrap();
    assert!(recovered.iter().all(|it| it.signer() == signer(1).address()));
    assert_eq!(parts.submissions.senders_known(&transactions), 6);
    let forged = call(0, Address::ZERO, 21_000).into_signed(Signature::new(U256::ZERO, U256::ZERO, false)).into();
    assert!(parts.submissions.recover(&[transactions[0].clone(), forged]).is_err());
}
