//! Transactions signed here: transfers, a contract that stores and logs, and calls of it.

use crate::{
    http,
    network::{number, wait_until},
};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use serde_json::{Value, json};
use std::net::SocketAddr;

const MNEMONIC: &str = "test test test test test test test test test test test junk";
const CHAIN_ID: u64 = 19_283;
const FEE_MAX: u128 = 100_000_000_000;

/// Stores the second word of its input at the slot that the first word names, logs the second with the first as topic, and returns
/// the second.
const CONTRACT: &str = "601a80600b6000396000f36020356000355560203560005260003560206000a160206000f3";

/// One of the ten funded accounts.
pub(crate) struct Sender {
    signer: PrivateKeySigner,
    nonce: u64,
}

impl Sender {
    pub(crate) fn new(index: u32) -> Self {
        let builder = MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index).unwrap();
        Self { signer: builder.build().unwrap(), nonce: 0 }
    }

    pub(crate) const fn address(&self) -> Address {
        self.signer.address()
    }

    /// Signs the next transaction.
    pub(crate) fn sign(&mut self, to: TxKind, value: u64, input: Vec<u8>) -> (B256, Bytes) {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: 300_000,
            max_fee_per_gas: FEE_MAX,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value: U256::from(value),
            input: input.into(),
            ..TxEip1559::default()
        };
        self.nonce += 1;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        (*envelope.tx_hash(), envelope.encoded_2718().into())
    }

    /// A transaction that creates the contract, and its address.
    pub(crate) fn deploy(&mut self) -> (Address, (B256, Bytes)) {
        let address = self.address().create(self.nonce);
        (address, self.sign(TxKind::Create, 0, hex::decode(CONTRACT).unwrap()))
    }

    /// A transaction that stores a value in the contract.
    pub(crate) fn store(&mut self, contract: Address, slot: u64, value: u64) -> (B256, Bytes) {
        self.sign(TxKind::Call(contract), 0, words(slot, value))
    }
}

/// Input of the contract.
pub(crate) fn words(slot: u64, value: u64) -> Vec<u8> {
    [B256::from(U256::from(slot)).0, B256::from(U256::from(value)).0].concat()
}

/// Sends transactions and waits for the receipt of the last; its height.
pub(crate) fn send(node: SocketAddr, transactions: &[(B256, Bytes)]) -> u64 {
    for (hash, raw) in transactions {
        let sent = http::call(node, "eth_sendRawTransaction", &json!([raw])).unwrap().unwrap();
        assert_eq!(sent, json!(hash));
    }
    let heights = transactions.iter().map(|(hash, _)| number(&receipt(node, *hash)["blockNumber"]));
    heights.max().unwrap()
}

/// Waits for a receipt.
pub(crate) fn receipt(node: SocketAddr, hash: B256) -> Value {
    wait_until("the receipt", || {
        let receipt = http::call(node, "eth_getTransactionReceipt", &json!([hash]))?.ok()?;
        receipt.is_object().then_some(receipt)
    })
}
