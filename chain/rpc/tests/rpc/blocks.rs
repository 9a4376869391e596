//! `keystead_getBlocks`: what a follower gets, and how long it waits for it.

use crate::{
    chain::{CHAIN_ID, Chain, Server},
    client::PATIENCE,
};
use alloy_primitives::Bytes;
use keystead_rpc::ServerLimits;
use keystead_state::Section;
use keystead_types::{Block, Genesis};
use serde_json::{Value, json};
use std::time::Instant;

fn block(item: &Value) -> Block {
    let bytes: Bytes = serde_json::from_value(item["block"].clone()).unwrap();
    Block::decode(&bytes).unwrap()
}

fn heights(answer: &Value) -> Vec<u64> {
    answer["blocks"].as_array().unwrap().iter().map(|item| block(item).number()).collect()
}

#[test]
fn blocks_come_in_order_up_to_the_newest_certificate_and_no_further() {
    let server = Server::full();
    let chain = &server.chain;
    let provable = chain.store.certificate_at_or_below(u64::MAX).unwrap().unwrap().0;
    let answer = server.client.call("keystead_getBlocks", json!(["0x1", "0x100"]));
    assert_eq!(answer["chainId"], json!(format!("{CHAIN_ID:#x}")));
    assert_eq!((&answer["head"], &answer["oldest"]), (&json!(format!("{provable:#x}")), &json!("0x1")));
    assert_eq!(heights(&answer), (1..=provable).collect::<Vec<_>>());
    for item in answer["blocks"].as_array().unwrap() {
        let (got, stored) = (block(item), chain.store.block(block(item).number()).unwrap().unwrap());
        assert_eq!(got, *stored);
        match chain.store.certificate(got.number()).unwrap() {
            Some(certificate) => assert_eq!(item["certificate"]["blockHash"], json!(certificate.block_hash)),
            None => assert!(item["certificate"].is_null()),
        }
    }
    assert_eq!(heights(&server.client.call("keystead_getBlocks", json!(["0x2", "0x2"]))), [2, 3]);
    assert_eq!(heights(&server.client.call("keystead_getBlocks", json!(["0xffffffffffffffff", "0x2"]))), [0; 0]);
    let head = chain.store.head().number;
    chain.produce(Vec::new());
    let above = json!([format!("{:#x}", provable + 1), "0x10"]);
    assert_eq!(heights(&server.client.call("keystead_getBlocks", above.clone())), [0; 0], "nobody could check it");
    chain.certify(head + 1);
    assert_eq!(
        heights(&server.client.call("keystead_getBlocks", above)),
        (provable + 1..=head + 1).collect::<Vec<_>>()
    );
    for wrong in [json!(["0x1"]), json!(["0x1", "0x0"]), json!(["x", "0x1"]), json!(["0x1", "0x1", "soon"])] {
        assert_eq!(server.client.fail("keystead_getBlocks", wrong.clone()).0, -32_602, "{wrong}");
    }
}

#[test]
fn the_genesis_file_is_the_one_whose_block_the_first_block_names() {
    let server = Server::full();
    let file = server.client.call("keystead_getGenesis", json!([]));
    let genesis = Genesis::from_json(&file.to_string()).unwrap();
    assert_eq!(keystead_state::genesis_block(&genesis), *server.chain.store.genesis());
    let answer = server.client.call("keystead_getBlocks", json!(["0x1", "0x1"]));
    assert_eq!(block(&answer["blocks"][0]).header().parent_hash, server.chain.store.genesis().hash());
}

#[test]
fn the_state_comes_in_chunks_behind_a_key_and_ends() {
    let server = Chain::archive().serve(ServerLimits::default());
    for number in [0_u64, 3, 7] {
        for section in [Section::Accounts, Section::Storage] {
            let want: Vec<_> = server.chain.store.export(number).unwrap().unwrap().map(Result::unwrap).collect();
            let want: u64 = want.iter().filter(|chunk| chunk.section == section).map(|chunk| chunk.entries).sum();
            let ask = |after: &Value| {
                let params = json!([format!("{number:#x}"), section.name(), after]);
                server.client.call("keystead_getState", params)
            };
            let first = ask(&json!("0x"));
            if want == 0 {
                assert!(first.is_null());
                continue;
            }
            assert_eq!(first["entries"], json!(format!("{want:#x}")), "block {number}");
            assert!(ask(&first["last"]).is_null(), "nothing behind the last key");
        }
    }
    assert_eq!(server.client.fail("keystead_getState", json!(["0x1", "nothing", "0x"])).0, -32_602);
    assert!(server.client.fail("keystead_getState", json!(["0x99", "code", "0x"])).1.contains("not kept"));
}

#[test]
fn a_call_that_waits_is_answered_by_the_certificate_of_the_next_block_or_with_nothing() {
    let server = Chain::full().serve(ServerLimits { sync_timeout_max: PATIENCE, ..ServerLimits::default() });
    let client = server.client;
    let head = server.chain.store.head().number;
    server.chain.certify(head);
    let next = format!("{:#x}", head + 1);
    let empty = client.call("keystead_getBlocks", json!([next, "0x10", "0x1"]));
    assert_eq!(heights(&empty), [0; 0]);
    std::thread::scope(|scope| {
        let wait_ms = format!("{:#x}", PATIENCE.as_millis());
        let params = json!({ "from": next, "count": "0x10", "waitMs": wait_ms });
        let begun = Instant::now();
        let asked = scope.spawn(move || client.call("keystead_getBlocks", params));
        server.chain.produce(Vec::new());
        server.chain.certify(head + 1);
        assert_eq!(heights(&asked.join().unwrap()), [head + 1]);
        assert!(begun.elapsed() < PATIENCE / 2, "it waited for its time, not for the block");
    });
    // What is there comes at once, but not all of it.
    let many = client.call("keystead_getBlocks", json!(["0x1", "0x100", "0x2710"]));
    assert_eq!(heights(&many), (1..=head + 1).take(16).collect::<Vec<_>>());
}
