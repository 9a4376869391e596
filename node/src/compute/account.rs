//! An account on a chain: reads contracts, signs and sends transactions, waits until they are in a block.

use crate::{
    client::{Client, quantity},
    compute::{amount::kst, revert::explain},
};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use eyre::{Context as _, Result, bail, ensure, eyre};
use keystead_contracts::MARKET_ADDRESS;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

/// How long a transaction may wait for its block: blocks come every second at the latest.
const INCLUSION_MAX: Duration = Duration::from_secs(60);
/// How often a receipt is asked for.
const POLL: Duration = Duration::from_millis(100);

/// One key on one chain, through one node.
#[derive(Debug)]
pub(crate) struct Account {
    client: Client,
    signer: PrivateKeySigner,
    chain_id: u64,
    /// Held from the choice of a nonce until the transaction is in a block.
    turn: Mutex<()>,
}

/// A transaction that succeeded.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    #[serde(deserialize_with = "hex_quantity")]
    pub(crate) block_number: u64,
    #[serde(deserialize_with = "hex_quantity")]
    status: u64,
    pub(crate) logs: Vec<Log>,
}

/// An event as a node answers it.
#[derive(Debug, Deserialize)]
pub(crate) struct Log {
    pub(crate) address: Address,
    pub(crate) topics: Vec<B256>,
    pub(crate) data: Bytes,
}

fn hex_quantity<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    quantity(&Value::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// What one call costs at most, beside its value.
struct Fees {
    max_fee_per_gas: u128,
    max_priority_fee_per_gas: u128,
}

impl Account {
    /// Connects, and checks that there is a market.
    pub(crate) async fn open(client: Client, signer: PrivateKeySigner) -> Result<Self> {
        let chain_id = client.quantity("eth_chainId", json!([])).await?;
        let code = client.call("eth_getCode", json!([MARKET_ADDRESS, "latest"])).await?;
        ensure!(
            code.as_str().is_some_and(|code| code.len() > 2),
            "chain {chain_id} has no market at {MARKET_ADDRESS}: the node does not belong to a Keystead network"
        );
        Ok(Self { client, signer, chain_id, turn: Mutex::default() })
    }

    pub(crate) const fn address(&self) -> Address {
        self.signer.address()
    }

    pub(crate) const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Signs a digest as wallets do: 65 bytes, `r || s || v`, v 27 or 28.
    pub(crate) fn sign(&self, digest: B256) -> Result<[u8; 65]> {
        Ok(self.signer.sign_hash_sync(&digest).wrap_err("cannot sign")?.as_bytes())
    }

    pub(crate) async fn balance(&self) -> Result<U256> {
        let answer = self.client.call("eth_getBalance", json!([self.address(), "latest"])).await?;
        serde_json::from_value(answer).wrap_err("the balance is not a quantity")
    }

    /// Height and time (Unix seconds) of the newest block.
    pub(crate) async fn head(&self) -> Result<(u64, u64)> {
        let block = self.client.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let field = |name| quantity(block.get(name).unwrap_or(&Value::Null));
        Ok((field("number")?, field("timestamp")?))
    }

    /// Reads a contract at the newest block.
    pub(crate) async fn read<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return> {
        let request = json!({"from": self.address(), "to": to, "data": hex::encode_prefixed(call.abi_encode())});
        let answer = self.client.call("eth_call", json!([request, "latest"])).await.map_err(explain)?;
        let bytes: Bytes = serde_json::from_value(answer).wrap_err("the answer is not bytes")?;
        C::abi_decode_returns(&bytes).wrap_err_with(|| format!("{to} answered {} in another form", C::SIGNATURE))
    }

    /// Sends a call and waits until it is in a block. One at a time.
    ///
    /// # Errors
    /// The contract's own reason if it refuses; nothing was sent then, or it cost its gas only.
    pub(crate) async fn send<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<Receipt> {
        let turn = self.turn.lock().await;
        let hash = self.submit(to, call, value).await.wrap_err_with(|| format!("cannot send {}", C::SIGNATURE))?;
        let receipt = self.included(hash).await?;
        drop(turn);
        if receipt.status != 1 {
            // Another call came first; asking again says why.
            self.read(to, call)
                .await
                .wrap_err_with(|| format!("{} failed in block {}", C::SIGNATURE, receipt.block_number))?;
            bail!("{} failed in block {}", C::SIGNATURE, receipt.block_number);
        }
        Ok(receipt)
    }

    async fn submit<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<B256> {
        let input = Bytes::from(call.abi_encode());
        let fees = self.fees().await?;
        let request = json!({"from": self.address(), "to": to, "data": input, "value": value});
        let gas = match self.client.quantity("eth_estimateGas", json!([request])).await {
            Ok(gas) => gas,
            Err(error) => return Err(self.refused(error, value).await),
        };
        // Storage may differ a little when the block comes: a quarter more, of which the unused part costs nothing.
        let gas_limit = gas.saturating_add(gas / 4).saturating_add(10_000);
        let pending = json!([self.address(), "pending"]);
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.client.quantity("eth_getTransactionCount", pending).await?,
            gas_limit,
            max_fee_per_gas: fees.max_fee_per_gas,
            max_priority_fee_per_gas: fees.max_priority_fee_per_gas,
            to: TxKind::Call(to),
            value,
            input,
            ..TxEip1559::default()
        };
        let needed = value.saturating_add(U256::from(fees.max_fee_per_gas).saturating_mul(U256::from(gas_limit)));
        self.afford(needed).await?;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).wrap_err("cannot sign")?;
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        let raw = Bytes::from(envelope.encoded_2718());
        self.client.call("eth_sendRawTransaction", json!([raw])).await?;
        Ok(*envelope.tx_hash())
    }

    /// Fails with the address and the amount to send there, unless the account has `needed` wei.
    pub(crate) async fn afford(&self, needed: U256) -> Result<()> {
        let balance = self.balance().await?;
        ensure!(
            balance >= needed,
            "insufficient funds: account {} has {}, it needs {}: send it at least {} more",
            self.address(),
            kst(balance),
            kst(needed),
            kst(needed.saturating_sub(balance))
        );
        Ok(())
    }

    /// The estimate fails for want of money as well: that is said first, with numbers.
    async fn refused(&self, error: eyre::Report, value: U256) -> eyre::Report {
        match self.afford(value.saturating_add(U256::from(1))).await {
            Err(poor) => poor,
            Ok(()) => explain(error),
        }
    }

    /// Twice the base fee: it may rise for several full blocks before the transaction is priced out.
    async fn fees(&self) -> Result<Fees> {
        let tip = u128::from(self.client.quantity("eth_maxPriorityFeePerGas", json!([])).await?);
        let block = self.client.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let base = u128::from(quantity(block.get("baseFeePerGas").unwrap_or(&Value::Null))?);
        Ok(Fees { max_fee_per_gas: base.saturating_mul(2).saturating_add(tip), max_priority_fee_per_gas: tip })
    }

    async fn included(&self, hash: B256) -> Result<Receipt> {
        let start = Instant::now();
        loop {
            let answer = self.client.call("eth_getTransactionReceipt", json!([hash])).await;
            match answer {
                Ok(Value::Null) => {}
                Ok(receipt) => return serde_json::from_value(receipt).wrap_err("the receipt has another form"),
                // The transaction is on its way: a node that stumbles must not make us forget it.
                Err(error) => tracing::debug!(%error, "no receipt yet"),
            }
            if start.elapsed() > INCLUSION_MAX {
                return Err(eyre!(
                    "transaction {hash} is in no block after {} s: the network may stand still",
                    INCLUSION_MAX.as_secs()
                ));
            }
            sleep(POLL).await;
        }
    }
}
