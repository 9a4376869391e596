//! An account that signs what a test sends.

use crate::network::{Network, number, wait_until};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use serde_json::{Value, json};

/// The mnemonic of the ten accounts that a development network funds.
const TEST_MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Chain id of the development network.
pub(crate) const CHAIN_ID: u64 = 19_283;
/// Price that is always enough: ten times the base fee of genesis.
const MAX_FEE: u128 = 10_000_000_000;
const TIP: u128 = 1_000_000_000;

/// Init code of a contract that returns slot 0, or, given a word, stores it there and logs it as the only topic.
pub(crate) const KEEPER: &str = "0x6016806009\
    5f395ff3\
    36600c57\
    5f545f5260205ff3\
    5b5f35805f555f5fa100";

/// Init code that writes logs of four topics until the gas is nearly gone.
pub(crate) const LOGGER: &str = "0x5b5f5f5f5f5f5fa45a6127101060005700";

/// A test account with its next nonce.
pub(crate) struct Sender {
    signer: PrivateKeySigner,
    nonce: u64,
}

/// A transaction before it is signed.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) to: Option<Address>,
    pub(crate) input: Bytes,
    pub(crate) value: u64,
    pub(crate) gas: u64,
}

/// A signed transaction.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) hash: String,
    pub(crate) raw: String,
}

impl Sender {
    /// A test account that has sent nothing yet.
    pub(crate) fn account(index: u32) -> Self {
        let builder = MnemonicBuilder::<English>::default().phrase(TEST_MNEMONIC).index(index).unwrap();
        Self { signer: builder.build().unwrap(), nonce: 0 }
    }

    /// A test account that may have sent something before.
    pub(crate) fn going_on(network: &Network, index: u32) -> Self {
        let account = Self::account(index);
        let nonce = number(&network.call(0, "eth_getTransactionCount", json!([account.address(), "latest"])));
        Self { nonce, ..account }
    }

    pub(crate) const fn address(&self) -> Address {
        self.signer.address()
    }

    /// Where its next transaction would create a contract.
    pub(crate) fn next_contract(&self) -> Address {
        self.address().create(self.nonce)
    }

    /// Signs with the next nonce.
    pub(crate) fn sign(&mut self, draft: Draft) -> Signed {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce,
            gas_limit: draft.gas,
            max_fee_per_gas: MAX_FEE,
            max_priority_fee_per_gas: TIP,
            to: draft.to.map_or(TxKind::Create, TxKind::Call),
            value: U256::from(draft.value),
            input: draft.input,
            ..TxEip1559::default()
        };
        self.nonce += 1;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        Signed { hash: envelope.tx_hash().to_string(), raw: hex::encode_prefixed(envelope.encoded_2718()) }
    }

    /// Signs and sends; gives the hash.
    pub(crate) fn send(&mut self, network: &Network, index: usize, draft: Draft) -> String {
        let signed = self.sign(draft);
        assert_eq!(network.call(index, "eth_sendRawTransaction", json!([signed.raw])), json!(signed.hash));
        signed.hash
    }

    /// As [`Self::send`]; gives the receipt.
    pub(crate) fn settle(&mut self, network: &Network, index: usize, draft: Draft) -> Value {
        let hash = self.send(network, index, draft);
        receipt(network, index, &hash)
    }
}

impl Draft {
    /// A transfer of so many wei.
    pub(crate) fn transfer(to: Address, value: u64) -> Self {
        Self { to: Some(to), value, gas: 21_000, ..Self::default() }
    }

    /// The creation of a contract.
    pub(crate) fn create(init: &str, gas: u64) -> Self {
        Self { input: hex::decode(init).unwrap().into(), gas, ..Self::default() }
    }

    /// A call with one word.
    pub(crate) fn word(to: Address, word: u64) -> Self {
        let input = U256::from(word).to_be_bytes::<32>();
        Self { to: Some(to), input: Bytes::copy_from_slice(&input), gas: 100_000, ..Self::default() }
    }
}

/// Waits for a receipt; the transaction must have succeeded.
pub(crate) fn receipt(network: &Network, index: usize, hash: &str) -> Value {
    let receipt = wait_until("the receipt", || {
        let receipt = network.call(index, "eth_getTransactionReceipt", json!([hash]));
        (!receipt.is_null()).then_some(receipt)
    });
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    receipt
}
