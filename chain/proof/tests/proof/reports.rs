//! What a person reads.

use crate::network::{BLOCK_MS, Chain, NOW_MS, address, contract};
use alloy_primitives::{U256, keccak256};
use keystead_proof::{Bundle, Report, Statement, output_hash, result_root, verify};
use std::sync::LazyLock;

static CHAIN: LazyLock<Chain> = LazyLock::new(Chain::sample);

fn report(bundle: &Bundle, now_ms: u64) -> Report {
    verify(bundle.to_json().as_bytes(), &CHAIN.network.key(), now_ms, None)
}

#[test]
fn a_proved_report_reads_well() {
    let bundle = CHAIN.bundle_by_descendant(CHAIN.world.storage_claim(42, contract(), U256::from(7)));
    insta::assert_snapshot!(report(&bundle, NOW_MS));
}

#[test]
fn a_report_that_is_proved_false_reads_well() {
    let mut bundle = CHAIN.bundle(CHAIN.receipt_claim(3));
    if let Statement::Receipt { succeeded, .. } = &mut bundle.claim.statement {
        *succeeded = true;
    }
    insta::assert_snapshot!(report(&bundle, NOW_MS));
}

#[test]
fn a_stale_report_reads_well() {
    let bundle = CHAIN.bundle(CHAIN.world.account_claim(42, address(11)));
    insta::assert_snapshot!(report(&bundle, BLOCK_MS + 95_000));
}

#[test]
fn a_report_about_a_job_reads_well() {
    let bundle = CHAIN.bundle(CHAIN.world.order_claim(42, 7));
    insta::assert_snapshot!(report(&bundle, BLOCK_MS + 90_000_000));
}

#[test]
fn a_report_about_a_log_reads_well() {
    insta::assert_snapshot!(report(&CHAIN.bundle(CHAIN.log_claim(5, 1)), NOW_MS));
}

#[test]
fn a_truncated_path_and_foreign_signatures_read_well() {
    let mut bundle = CHAIN.bundle(CHAIN.transaction_claim(4));
    let good = bundle.clone();
    if let Statement::Transaction(transaction) = &mut bundle.claim.statement {
        transaction.nodes.pop();
    }
    insta::assert_snapshot!(report(&bundle, NOW_MS));
    insta::assert_snapshot!(report(&Bundle { chain_id: 1, ..good }, NOW_MS));
}

#[test]
fn a_report_about_no_bundle_reads_well() {
    insta::assert_snapshot!(verify(b"{\"format\":1}", &CHAIN.network.key(), NOW_MS, None));
}

#[test]
fn delivered_outputs_are_checked_against_a_proved_order() {
    let outputs: [&[u8]; 3] = [b"unit 0", b"unit 1", b"unit 2"];
    let root = result_root(outputs.map(output_hash));
    let mut world = CHAIN.world.clone();
    let mut order = crate::network::order(6);
    (order.result_root, order.units) = (root, 3);
    for (slot, word) in keystead_proof::order_slots(6).into_iter().zip(crate::network::words(&order)) {
        world.put(keystead_proof::MARKET_ADDRESS, slot.into(), word);
    }
    let chain = Chain::with(world, 1);
    let report = report(&chain.bundle(chain.world.order_claim(42, 6)), NOW_MS);
    let Some(Statement::JobResult { order, .. }) = report.proved().map(|claim| &claim.statement) else {
        panic!("{report}")
    };
    assert_eq!((order.result_root, order.units), (root, 3));
    assert_ne!(order.result_root, keccak256("something else"));
}
