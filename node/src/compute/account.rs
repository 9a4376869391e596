//! An account on a chain: reads contracts, signs and sends transactions, waits until they are in a block.

use crate::{
    client::{Client, quantity},
    compute::{money::Money, revert::explain},
};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, uint};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_contracts::MARKET_ADDRESS;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

/// How long a transaction may wait for its block: blocks come every second at the latest.
const INCLUSION_MAX: Duration = Duration::from_secs(60);
/// How often a receipt is asked for.
const POLL: Duration = Duration::from_millis(100);
/// What an account is asked to have for gas, wei: 0.002 KST. Placing an audited order and ending it take less at the first base fee, and so does every call
/// of a bond but seats by the dozen.
const GAS_WEI_ASKED: U256 = uint!(2_000_000_000_000_000_U256);

/// One key on one chain, through one node.
#[derive(Debug)]
pub(crate) struct Account {
    client: Client,
    signer: PrivateKeySigner,
    chain_id: u64,
    /// Held from the choice of a nonce until the transaction is in a block, or at least at the node.
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
    #[serde(rename = "transactionHash")]
    pub(crate) transaction_hash: B256,
    #[serde(rename = "blockNumber", deserialize_with = "hex_quantity")]
    pub(crate) block_number: u64,
}

impl Receipt {
    /// Whether the call did what it should; a failed one changed nothing but the fee.
    pub(crate) const fn succeeded(&self) -> bool {
        self.status == 1
    }
}

/// A signed transaction. It can be sent any number of times and is in a block at most once, since its nonce is used once.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// EIP-2718 encoding.
    pub(crate) raw: Bytes,
    pub(crate) hash: B256,
    pub(crate) nonce: u64,
    /// Most that it can cost beside its value.
    pub(crate) fee_wei_max: U256,
}

/// The account cannot pay for what is asked of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("insufficient funds: account {account} has {balance}, it needs {needed}: send it at least {lacking} more")]
pub(crate) struct Poor {
    account: Address,
    balance: String,
    needed: String,
    lacking: String,
}

/// A call went into a block and came to nothing there. Find it in a report with `downcast_ref`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed in block {block}")]
pub(crate) struct Failed {
    call: &'static str,
    block: u64,
}

impl Poor {
    /// Of amounts of this money.
    pub(crate) fn new(account: Address, money: &Money, balance: U256, needed: U256) -> Self {
        let lacking = money.show(needed.saturating_sub(balance));
        Self { account, balance: money.show(balance), needed: money.show(needed), lacking }
    }

    /// Of KST. Who sends what this asks for has enough, also if the fee rises a little.
    fn with_gas(account: Address, balance_wei: U256, cost: Cost) -> Self {
        let needed_wei = cost.value_wei.saturating_add(cost.fee_wei.max(GAS_WEI_ASKED));
        let poor = Self::new(account, &Money::kst(), balance_wei, needed_wei);
        Self { needed: format!("{} with gas", poor.needed), ..poor }
    }
}

/// What an account must have, wei.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) value_wei: U256,
    /// Gas, as far as it is known.
    pub(crate) fee_wei: U256,
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
        let account = Self { client, signer, chain_id, turn: Mutex::default() };
        ensure!(
            account.has_code(MARKET_ADDRESS).await?,
            "chain {chain_id} has no market at {MARKET_ADDRESS}: the node does not belong to a Keystead network"
        );
        Ok(account)
    }

    /// Whether there is a contract at an address.
    pub(crate) async fn has_code(&self, at: Address) -> Result<bool> {
        let code = self.client.call("eth_getCode", json!([at, "latest"])).await?;
        Ok(code.as_str().is_some_and(|code| code.len() > 2))
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

    /// Height of the newest block alone. The node looks up nothing for it, and does not send the names of a full block's transactions.
    pub(crate) async fn height(&self) -> Result<u64> {
        self.client.quantity("eth_blockNumber", json!([])).await
    }

    /// Reads a contract at the newest block.
    pub(crate) async fn read<C: SolCall>(&self, to: Address, call: &C) -> Result<C::Return> {
        self.read_of(to, call, json!("latest")).await
    }

    /// Reads a contract as it was after a block.
    pub(crate) async fn read_at<C: SolCall>(&self, to: Address, call: &C, height: u64) -> Result<C::Return> {
        self.read_of(to, call, json!(format!("{height:#x}"))).await
    }

    /// A word of a contract's storage at the newest block.
    pub(crate) async fn word(&self, of: Address, slot: B256) -> Result<B256> {
        let word = self.client.call("eth_getStorageAt", json!([of, slot, "latest"])).await?;
        serde_json::from_value(word).wrap_err("the answer is not a word of storage")
    }

    async fn read_of<C: SolCall>(&self, to: Address, call: &C, block: Value) -> Result<C::Return> {
        let request = json!({"from": self.address(), "to": to, "data": hex::encode_prefixed(call.abi_encode())});
        let answer = self.client.call("eth_call", json!([request, block])).await.map_err(explain)?;
        let bytes: Bytes = serde_json::from_value(answer).wrap_err("the answer is not bytes")?;
        C::abi_decode_returns(&bytes).wrap_err_with(|| format!("{to} answered {} in another form", C::SIGNATURE))
    }

    /// The account's turn: nobody else takes a nonce while it is held. For who signs and broadcasts in two steps; [`Self::send`] would wait for it.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Sends a call and waits until it is in a block. One at a time.
    ///
    /// # Errors
    /// The contract's own reason if it refuses; nothing was sent then, or it cost its gas only.
    pub(crate) async fn send<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<Receipt> {
        let turn = self.turn.lock().await;
        let hash = self.offer(to, call, value).await?;
        let receipt = self.included(hash).await?;
        drop(turn);
        self.succeeded(to, call, receipt).await
    }

    /// As [`Self::send`], but the account's next call need not wait until this one is in a block: for calls that do not build on each other.
    pub(crate) async fn send_beside<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<Receipt> {
        let turn = self.turn.lock().await;
        let hash = self.offer(to, call, value).await?;
        // The node counts it among the pending ones, so the next call takes the next nonce.
        drop(turn);
        let receipt = self.included(hash).await?;
        self.succeeded(to, call, receipt).await
    }

    /// Signs a call and offers it to the network, for who has the turn.
    async fn offer<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<B256> {
        let sent = async {
            let signed = self.sign_call(to, call, value).await?;
            self.broadcast(&signed.raw).await?;
            Ok::<B256, eyre::Report>(signed.hash)
        };
        sent.await.wrap_err_with(|| format!("cannot send {}", C::SIGNATURE))
    }

    async fn succeeded<C: SolCall>(&self, to: Address, call: &C, receipt: Receipt) -> Result<Receipt> {
        if !receipt.succeeded() {
            // Another call came first; asking again says why.
            self.read(to, call)
                .await
                .wrap_err_with(|| format!("{} failed in block {}", C::SIGNATURE, receipt.block_number))?;
            return Err(Failed { call: C::SIGNATURE, block: receipt.block_number }.into());
        }
        Ok(receipt)
    }

    /// Events of a contract in blocks `first..=last` with these topics, oldest first.
    pub(crate) async fn logs(&self, of: Address, first: u64, last: u64, topics: Value) -> Result<Vec<Log>> {
        let filter = json!({
            "address": of,
            "fromBlock": format!("{first:#x}"),
            "toBlock": format!("{last:#x}"),
            "topics": topics,
        });
        let logs = self.client.call("eth_getLogs", json!([filter])).await?;
        serde_json::from_value(logs).wrap_err("the node answers with something else than logs")
    }

    /// Signs a call with the account's next nonce, without sending it.
    ///
    /// # Errors
    /// The contract's own reason if it would refuse now; [`Poor`] if the account cannot pay.
    pub(crate) async fn sign_call<C: SolCall>(&self, to: Address, call: &C, value: U256) -> Result<Signed> {
        self.sign_input(to, call.abi_encode().into(), value).await
    }

    /// As [`Self::sign_call`], with this call data.
    pub(crate) async fn sign_input(&self, to: Address, input: Bytes, value: U256) -> Result<Signed> {
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
        let nonce = transaction.nonce;
        let fee_wei_max = U256::from(fees.max_fee_per_gas).saturating_mul(U256::from(gas_limit));
        self.afford(Cost { value_wei: value, fee_wei: fee_wei_max }).await?;
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash()).wrap_err("cannot sign")?;
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        let raw = Bytes::from(envelope.encoded_2718());
        Ok(Signed { raw, hash: *envelope.tx_hash(), nonce, fee_wei_max })
    }

    /// Offers a signed transaction to the network.
    ///
    /// # Errors
    /// The node's refusal ([`crate::client::RpcFailure`]), also if it knows the transaction already; or the node was not reached.
    pub(crate) async fn broadcast(&self, raw: &Bytes) -> Result<()> {
        // `cargo xtask sim --calibrate` reads when transactions are sent and found in blocks.
        tracing::debug!("transaction sent");
        self.client.call("eth_sendRawTransaction", json!([raw])).await.map(drop)
    }

    /// What a transaction did; `None` while it is in no block.
    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>> {
        let answer = self.client.call("eth_getTransactionReceipt", json!([hash])).await?;
        serde_json::from_value(answer).wrap_err("the receipt has another form")
    }

    /// Whether the node has the transaction, in a block or waiting for one.
    pub(crate) async fn is_known(&self, hash: B256) -> Result<bool> {
        Ok(!self.client.call("eth_getTransactionByHash", json!([hash])).await?.is_null())
    }

    /// What a transaction was called with.
    pub(crate) async fn input_of(&self, hash: B256) -> Result<Bytes> {
        let transaction = self.client.call("eth_getTransactionByHash", json!([hash])).await?;
        let input = transaction.get("input").cloned().unwrap_or_default();
        serde_json::from_value(input).wrap_err_with(|| format!("the node does not have transaction {hash}"))
    }

    /// How many transactions of this account are in blocks: the lowest nonce that is free.
    pub(crate) async fn nonce(&self) -> Result<u64> {
        self.client.quantity("eth_getTransactionCount", json!([self.address(), "latest"])).await
    }

    /// Waits until every transaction of this account that the node knows of is in a block.
    pub(crate) async fn settled(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let known = self.client.quantity("eth_getTransactionCount", json!([self.address(), "pending"])).await?;
            let used = self.nonce().await?;
            if used >= known {
                return Ok(());
            }
            ensure!(
                start.elapsed() <= INCLUSION_MAX,
                "the transaction of account {} with nonce {used} is in no block after {} s: the network may stand still, or its fee is too low",
                self.address(),
                INCLUSION_MAX.as_secs()
            );
            sleep(POLL).await;
        }
    }

    /// What tells this chain from every other, also from one with the same chain id.
    pub(crate) async fn genesis(&self) -> Result<B256> {
        let block = self.client.call("eth_getBlockByNumber", json!(["0x0", false])).await?;
        let hash = block.get("hash").cloned().unwrap_or_default();
        serde_json::from_value(hash).wrap_err("the node does not say which block its chain begins with")
    }

    /// Most that a gas of a transaction signed now costs, wei.
    pub(crate) async fn fee_per_gas_max(&self) -> Result<u128> {
        Ok(self.fees().await?.max_fee_per_gas)
    }

    /// What a gas of a transaction costs now, wei: base fee and suggested tip.
    pub(crate) async fn fee_per_gas(&self) -> Result<u128> {
        Ok(self.client.quantity("eth_gasPrice", json!([])).await?.into())
    }

    /// Fails with [`Poor`], unless the account has so much.
    pub(crate) async fn afford(&self, cost: Cost) -> Result<()> {
        let balance_wei = self.balance().await?;
        let is_enough = balance_wei >= cost.value_wei.saturating_add(cost.fee_wei);
        ensure!(is_enough, Poor::with_gas(self.address(), balance_wei, cost));
        Ok(())
    }

    /// The estimate fails for want of money as well: that is said first, with numbers.
    async fn refused(&self, error: eyre::Report, value: U256) -> eyre::Report {
        match self.afford(Cost { value_wei: value, fee_wei: U256::from(1) }).await {
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

    /// Waits until a transaction that was offered is in a block.
    pub(crate) async fn included(&self, hash: B256) -> Result<Receipt> {
        let start = Instant::now();
        loop {
            match self.receipt(hash).await {
                Ok(Some(receipt)) => {
                    tracing::debug!(block = receipt.block_number, "transaction in a block");
                    return Ok(receipt);
                }
                Ok(None) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_pay_is_told_an_amount_that_is_enough_for_gas_too() {
        let kst = |thousandths: u64| U256::from(thousandths).saturating_mul(U256::from(1_000_000_000_000_000_u64));
        let said = |cost| Poor::with_gas(Address::ZERO, kst(1), cost).to_string();
        let unknown = said(Cost { value_wei: kst(5_000), fee_wei: U256::from(1) });
        assert!(unknown.ends_with("has 0.001 KST, it needs 5.002 KST with gas: send it at least 5.001 KST more"));
        let dear = said(Cost { value_wei: kst(1), fee_wei: kst(8) });
        assert!(dear.ends_with("it needs 0.009 KST with gas: send it at least 0.008 KST more"), "{dear}");
    }
}
