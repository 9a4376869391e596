//! The ledger alone: what it says of blocks that lost their height, and of more gossip than it can check.

use super::validators::{Parts, call, genesis, parts, sign, signer};
use alloy_eips::eip2718::Encodable2718 as _;
use keystead_consensus::{BuildRequest, Ledger as _, LedgerError, Verdict};
use keystead_rpc::{Submit as _, SubmitError};
use keystead_types::{Address, Block, Bytes, ConsensusContext};
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
    parts.chain.build(BuildRequest { parent, context, timestamp_ms }).unwrap()
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
