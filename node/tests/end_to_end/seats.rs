//! The list of seats gets shorter again: `keystead bond compact`, run by somebody without a seat, on a chain whose clock the test moves.

use crate::{
    dev::{ALICE, BOB, Dev},
    network::KEYSTEAD,
    parties::text,
};
use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::SolCall;
use keystead_contracts::{BOND_ADDRESS, bindings::bond::Bond};
use serde_json::json;
use std::process::{Command, Stdio};

const SEAT: u128 = 100_000_000_000_000_000_000;
const HARDWARE: u16 = 7;
/// `wasm/1`.
const ABILITIES: u8 = 1;
/// 256 blocks.
const EPOCH: &str = "0x100";
const DAYS_14: u64 = 14 * 86_400;
/// The line of `keystead bond show` on a list that could be shorter.
const HINT: &str = "keystead bond compact makes it shorter";

fn transact<C: SolCall>(dev: &Dev, from: &str, call: &C, wei: u128) {
    let data = hex::encode_prefixed(call.abi_encode());
    let receipt = dev.transact(json!({"from": from, "to": BOND_ADDRESS, "data": data, "value": format!("{wei:#x}")}));
    assert_eq!(receipt["status"], "0x1", "{}", C::SIGNATURE);
}

fn read<C: SolCall>(dev: &Dev, call: &C) -> C::Return {
    let data = hex::encode_prefixed(call.abi_encode());
    let answer = dev.call("eth_call", json!([{"to": BOND_ADDRESS, "data": data}, "latest"]));
    let bytes: Bytes = serde_json::from_value(answer).unwrap();
    C::abi_decode_returns(&bytes).unwrap()
}

fn take_seats(dev: &Dev, account: &str, count: u32) {
    transact(dev, account, &Bond::depositCall {}, SEAT * u128::from(count));
    transact(dev, account, &Bond::seatCall { count, hardware: HARDWARE, abilities: ABILITIES }, 0);
}

/// `keystead bond` of an account that has nothing there.
fn bond(dev: &Dev, words: &[&str]) -> String {
    let output = Command::new(KEYSTEAD)
        .args(["bond", "--dev-account", "2", "--rpc", &format!("http://{}", dev.address)])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    text(&output)
}

fn wait_14_days(dev: &Dev) {
    dev.call("evm_increaseTime", json!([format!("{DAYS_14:#x}")]));
    dev.call("evm_mine", json!([]));
}

/// The list's length in the epoch after this one.
fn places(dev: &Dev) -> u32 {
    dev.call("hardhat_mine", json!([EPOCH]));
    read(dev, &Bond::placesNowCall {}).places
}

#[test]
fn holes_that_are_14_days_old_go_step_by_step_and_seats_stay() {
    // The chain id of networks whose test accounts have known keys.
    let dev = Dev::start(&["--quiet", "--chain-id", "19283"]);
    take_seats(&dev, ALICE, 3);
    take_seats(&dev, BOB, 1);
    assert_eq!(places(&dev), 4);
    let nothing = "Nothing to do: no hole of the list of seats is 14 days old.";
    assert!(bond(&dev, &["compact"]).contains(nothing));
    transact(&dev, ALICE, &Bond::unseatCall { positions: vec![0, 1, 2] }, 0);
    let shown = bond(&dev, &["show"]);
    assert!(!shown.contains(HINT), "a window may still ask who sat there: {shown}");
    assert!(bond(&dev, &["compact"]).contains(nothing));

    wait_14_days(&dev);
    let shown = bond(&dev, &["show"]);
    assert!(shown.contains(HINT), "{shown}");
    // Bob's seat moves into the oldest hole. What it leaves is a hole at the end, which is young.
    let said = bond(&dev, &["compact"]);
    assert!(said.contains("The list of seats is 1 step shorter. Nothing more can be done now."), "{said}");
    assert_eq!(places(&dev), 4);
    let bob: Address = BOB.parse().unwrap();
    let seat = read(&dev, &Bond::seatAtCall { position: 0 });
    assert_eq!((seat.account, seat.hardware, seat.abilities, seat.untilEpoch), (bob, HARDWARE, ABILITIES, u32::MAX));

    wait_14_days(&dev);
    let said = bond(&dev, &["compact", "2"]);
    assert!(said.contains("The list of seats is 2 steps shorter. There may be more to do: run it again."), "{said}");
    // The last hole, and the queue's entries of those that are gone.
    let said = bond(&dev, &["compact"]);
    assert!(said.contains("The list of seats is 2 steps shorter. Nothing more can be done now."), "{said}");
    assert_eq!(places(&dev), 1, "what is left is a seat");
    assert_eq!(read(&dev, &Bond::seatAtCall { position: 0 }).account, bob);
    let account = read(&dev, &Bond::accountOfCall { account: bob });
    assert_eq!((account.seats, account.seatedWei), (1, SEAT), "the moves cost nobody anything");
    assert!(!bond(&dev, &["show"]).contains(HINT));
    assert!(bond(&dev, &["compact"]).contains(nothing));
}
