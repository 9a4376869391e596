//! Calls that this crate advises, for the real contract: `contracts/test/ChannelVectors.t.sol` makes them.
//!
//! `KEYSTEAD_WRITE_VECTORS=1 cargo test -p keystead-payment` writes `specs/vectors/channel-claims.json` anew; every other run compares.

use crate::fixture::{Key, policy, price_of, received, root, seconds, standing, terms};
use alloy_primitives::{Address, B256, hex};
use keystead_contracts::storage::channel::Status;
use keystead_payment::{
    Payee, Payer, Policy, Release, Signed, Standing, Terms, Voucher,
    payee::Ending,
    watch::{self, PayeeStep, Wish},
};
use serde_json::{Value, json};
use std::path::Path;

const UNITS: u32 = 64;
const PER_UNIT: u128 = 15_625_000_000;

/// Both sides over six windows of the channel that the Solidity test opens, the customer's deposit being ample.
struct Scenario {
    key: Key,
    terms: Terms,
    payer: Payer,
    payee: Payee,
    chain: Standing,
}

impl Scenario {
    fn new() -> Self {
        let file = |name: &str| -> Value {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors").join(name);
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (vouchers, storage) = (file("channel.json"), file("channel-storage.json"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let provider: Address = text(&storage["provider"]).parse().unwrap();
        let key = Key::of(text(&vouchers["signer_key"]).parse::<B256>().unwrap().0);
        let channel_id = text(&storage["channel_id"]).parse().unwrap();
        let terms = Terms { channel_id, provider, signer: key.address(), ..terms(true) };
        let chain = Standing { deposit: 1_000_000_000_000_000, ..standing() };
        let price = price_of(PER_UNIT, UNITS);
        let policy = Policy { account: provider, price, ..policy() };
        let payer = Payer::open(terms, price, &chain).unwrap().saved();
        let payee = Payee::join(terms, policy, &chain).unwrap().saved();
        Self { key, terms, payer, payee, chain }
    }

    fn window(&mut self, window: u64) -> Voucher {
        self.payee.begin(UNITS, &self.chain).unwrap();
        let report = self.payee.report(root(window, UNITS, 0)).unwrap().saved();
        let voucher = self.payer.pay(&received(report, 0), &self.chain).unwrap().saved();
        let Ok(signed) = voucher.sign(&self.terms.domain, &self.key);
        self.payee.accept(&signed, &self.chain).unwrap().unwrap().saved();
        voucher
    }

    fn step(&self, released: u64) -> PayeeStep {
        let answer = |window| if window <= released { Release::Released } else { Release::Pending };
        watch::payee(&self.payee, &self.chain, self.payee.prospect(answer), Wish::GoOn)
    }
}

fn generated() -> Value {
    let mut scenario = Scenario::new();
    let ids: Vec<B256> = (1..=6).map(|window| scenario.window(window).window_id()).collect();
    scenario.chain = Standing { status: Status::Closing, deadline: seconds(10), now: seconds(9), ..scenario.chain };
    let PayeeStep::Claim { claim: first, .. } = scenario.step(3) else { panic!() };
    let Signed { voucher, .. } = first.signed;
    scenario.chain.claimed = first.amount;
    scenario.chain.window = voucher.window;
    scenario.chain.history = voucher.history_after();
    scenario.payee.settle(&scenario.chain).unwrap().saved();
    let PayeeStep::ClaimAndClose { claim: last, .. } = scenario.step(6) else { panic!() };
    json!({
        "about": "claims of compute/payment/tests/payment/claims.rs for the real contract; specs/0009-channel.md sections 6, 11",
        "channel_id": scenario.terms.channel_id,
        "window_ids": ids,
        "first_claim": hex::encode_prefixed(first.call_data(Ending::GoesOn)),
        "first_amount": first.amount.to_string(),
        "last_claim": hex::encode_prefixed(last.call_data(Ending::Closes)),
        "last_amount": last.amount.to_string(),
    })
}

#[test]
#[allow(clippy::disallowed_methods)] // A variable of the person who approves a format.
fn the_claims_are_those_that_the_contract_is_tested_with() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/channel-claims.json");
    let ours = generated();
    if std::env::var_os("KEYSTEAD_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&ours).unwrap() + "\n").unwrap();
    }
    // As values: the order of keys depends on the features of other packages in the same build.
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(committed, ours);
}
