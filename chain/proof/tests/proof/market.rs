//! An order as the contract itself wrote it: `specs/vectors/market-storage.json` comes from the Solidity tests.

use alloy_primitives::{Address, B256, U256};
use keystead_proof::{MARKET_ADDRESS, Order, OrderMode, OrderReason, OrderStatus, order_slots};
use serde_json::Value;

const WORDS: [&str; 8] =
    ["progress", "terms", "job_hash", "commitment", "result_root", "evidence_hash", "customer", "provider"];

#[test]
fn slots_and_words_are_those_of_the_contract() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/market-storage.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let parse = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
    let party = |name: &str| file[name].as_str().unwrap().parse::<Address>().unwrap();
    let market = &file["market"];
    assert_eq!(market["address"].as_str().unwrap().parse::<Address>().unwrap(), MARKET_ADDRESS);
    let number = file["order_id"].as_u64().unwrap();
    assert_eq!(order_slots(number), WORDS.map(|name| parse(&market[name]["slot"])));
    let words = WORDS.map(|name| U256::from_be_bytes(parse(&market[name]["word"]).0));
    let order = Order::from_words(number, &words).unwrap();
    assert_eq!((order.status, order.reason), (OrderStatus::Rejected, OrderReason::Malformed));
    assert_eq!((order.units, order.price_wei_per_unit), (64, 7_000_000_000));
    assert_eq!((order.lease_seconds, order.deliver_seconds, order.check_seconds), (30, 600, 60));
    assert_eq!((order.customer, order.provider), (party("customer"), party("provider")));
    assert_eq!(order.result_root, parse(&market["result_root"]["word"]));
    assert_eq!(order.escrow_wei(), U256::from(64u64 * 7_000_000_000));
    assert!(order.ordered_at <= order.leased_at && order.leased_at <= order.committed_at);
    assert!(order.committed_at <= order.delivered_at && order.delivered_at <= order.closed_at);
}

#[test]
fn an_order_in_a_token_says_which() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/market-storage.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let paid = &file["in_token"];
    let word = |name: &str| U256::from_be_bytes(paid[name]["word"].as_str().unwrap().parse::<B256>().unwrap().0);
    let mut words = [U256::ZERO; 8];
    (words[6], words[7]) = (word("customer"), word("provider"));
    let order = Order::from_words(paid["order_id"].as_u64().unwrap(), &words).unwrap();
    let party = |value: &Value| value.as_str().unwrap().parse::<Address>().unwrap();
    assert_eq!(order.token, party(&paid["token"]));
    assert!(!order.is_in_kst());
    assert_eq!((order.customer, order.provider), (party(&file["customer"]), party(&file["provider"])));
}

#[test]
fn an_audited_order_says_what_was_paid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vectors/market-storage.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let audited = &file["audited"];
    let word = |name: &str| U256::from_be_bytes(audited[name]["word"].as_str().unwrap().parse::<B256>().unwrap().0);
    let mut words = [U256::ZERO; 8];
    (words[0], words[1], words[7]) = (word("progress"), word("terms"), word("provider"));
    let order = Order::from_words(audited["order_id"].as_u64().unwrap(), &words).unwrap();
    assert_eq!((order.status, order.mode), (OrderStatus::Audited, OrderMode::Audited));
    assert_eq!((order.stopped, order.done_units, order.paid_units, order.units), (true, 2, 2, 64));
    assert_eq!(order.provider, file["provider"].as_str().unwrap().parse::<Address>().unwrap());
}
