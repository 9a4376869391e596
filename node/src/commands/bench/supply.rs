//! Everything that a measurement needs before its clock starts: funded senders, a token, signed transactions.

use super::{POLL, SETTLE_MAX, rich_account, sign_transaction, template};
use crate::{
    cli::{Asset, BenchPeak, Recipients},
    client::Client,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall as _, SolConstructor as _};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_contracts::bindings::bench_token::BenchToken;
use serde_json::json;
use std::{num::NonZeroUsize, thread};
use tokio::time::{Instant, sleep};

/// What each sender is given: enough for thousands of transactions at the highest fee.
const SENDER_WEI: u64 = 10_000_000_000_000_000_000;
/// Accounts that exist before the measurement.
const KNOWN_RECIPIENTS: u64 = 1_000;
/// Tokens that each sender is given.
const SENDER_TOKENS: u64 = 1_000_000_000;
/// Gas of the token's deployment: it needs about 600,000.
const DEPLOY_GAS: u64 = 3_000_000;
/// Gas of a token transfer: a new holder costs about 52,000.
const TOKEN_GAS: u64 = 60_000;
/// Transactions in one request.
const BATCH: usize = 50;

/// A signed transaction.
pub(super) struct Signed {
    pub(super) hash: B256,
    /// EIP-2718 bytes in hex, with prefix.
    pub(super) raw: String,
}

/// One sender with its transactions in order of nonce.
pub(super) struct Sender {
    pub(super) address: Address,
    pub(super) transactions: Vec<Signed>,
}

/// What is sent, and to whom.
#[derive(Clone, Copy)]
struct Plan {
    chain_id: u64,
    token: Option<Address>,
    recipients: Recipients,
    /// Makes the accounts of this run others than those of all before.
    salt: Address,
    per_sender: u64,
}

impl Plan {
    /// The recipient with an index: fresh ones differ from the known ones.
    fn recipient(&self, index: u64) -> Address {
        let (kind, index) = match self.recipients {
            Recipients::Fresh => (0, index),
            Recipients::Known => (1, index.checked_rem(KNOWN_RECIPIENTS).unwrap_or_default()),
        };
        Address::from_word(keccak256([self.salt.as_slice(), &[kind], &index.to_be_bytes()].concat()))
    }

    /// A transfer of one unit, or of `amount` coins or tokens.
    fn transfer(&self, nonce: u64, to: Address, amount: U256) -> TxEip1559 {
        let base = template(self.chain_id, nonce);
        match self.token {
            None => TxEip1559 { to: TxKind::Call(to), value: amount, ..base },
            Some(token) => TxEip1559 {
                to: TxKind::Call(token),
                gas_limit: TOKEN_GAS,
                input: BenchToken::transferCall { to, value: amount }.abi_encode().into(),
                ..base
            },
        }
    }

    /// All transactions of the sender with this index.
    fn sign(&self, index: u64, signer: &PrivateKeySigner) -> Result<Sender> {
        let mut transactions = Vec::new();
        for nonce in 0..self.per_sender {
            let to = self.recipient(index.saturating_mul(self.per_sender).saturating_add(nonce));
            let (hash, raw) = sign_transaction(signer, self.transfer(nonce, to, U256::from(1)))?;
            transactions.push(Signed { hash, raw: hex::encode_prefixed(raw) });
        }
        Ok(Sender { address: signer.address(), transactions })
    }
}

/// Funds the senders, deploys the token if there is one, waits until every node knows of it, and signs everything.
pub(super) async fn prepare(clients: &[Client], options: &BenchPeak) -> Result<Vec<Sender>> {
    let first = clients.first().ok_or_else(|| eyre!("name at least one node with --rpc"))?;
    let rich = rich_account()?;
    let signers: Vec<PrivateKeySigner> = (0..options.senders).map(|_| PrivateKeySigner::random()).collect();
    let salt = signers.first().map(PrivateKeySigner::address).unwrap_or_default();
    let nonce = first.quantity("eth_getTransactionCount", json!([rich.address(), "pending"])).await?;
    let chain_id = first.quantity("eth_chainId", json!([])).await?;
    let coins = Plan {
        chain_id,
        token: None,
        recipients: options.recipients,
        salt,
        per_sender: options.transactions.div_ceil(options.senders),
    };
    let mut setup = Vec::new();
    let mut plan = coins;
    if options.asset == Asset::Token {
        let supply = U256::from(SENDER_TOKENS).saturating_mul(U256::from(options.senders.saturating_add(1)));
        setup.push(deployment(supply));
        plan.token = Some(rich.address().create(nonce));
    }
    for signer in &signers {
        setup.push(coins.transfer(0, signer.address(), U256::from(SENDER_WEI)));
        if plan.token.is_some() {
            setup.push(plan.transfer(0, signer.address(), U256::from(SENDER_TOKENS)));
        }
    }
    if plan.recipients == Recipients::Known {
        setup.extend((0..KNOWN_RECIPIENTS).map(|index| plan.transfer(0, plan.recipient(index), U256::from(1))));
    }
    let setup: Vec<(B256, Bytes)> = setup
        .into_iter()
        .zip(nonce..)
        .map(|(transaction, nonce)| sign_transaction(&rich, TxEip1559 { chain_id, nonce, ..transaction }))
        .collect::<Result<_>>()?;
    include(clients, first, &setup).await?;
    sign_all(&plan, &signers)
}

/// Creates the token; the first test account gets all of it.
fn deployment(supply: U256) -> TxEip1559 {
    let arguments = BenchToken::constructorCall { supply }.abi_encode();
    let input = [&BenchToken::BYTECODE[..], arguments.as_slice()].concat().into();
    TxEip1559 { to: TxKind::Create, gas_limit: DEPLOY_GAS, input, ..template(0, 0) }
}

/// Sends transactions in order and waits until the last of them has succeeded at every node.
async fn include(clients: &[Client], first: &Client, transactions: &[(B256, Bytes)]) -> Result<()> {
    for chunk in transactions.chunks(BATCH) {
        let raw: Vec<Bytes> = chunk.iter().map(|(_, raw)| raw.clone()).collect();
        for answer in first.send_batch(&raw).await? {
            answer.wrap_err("preparing the accounts")?;
        }
    }
    let (last, _) = transactions.last().ok_or_else(|| eyre!("--senders must be at least 1"))?;
    let start = Instant::now();
    for client in clients {
        loop {
            let receipt = client.call("eth_getTransactionReceipt", json!([last])).await?;
            if !receipt.is_null() {
                ensure!(receipt.get("status") == Some(&json!("0x1")), "preparing the accounts failed: {receipt}");
                break;
            }
            ensure!(start.elapsed() < SETTLE_MAX, "the accounts were not ready within {SETTLE_MAX:?}");
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// Signs on all cores: it takes as long as a node needs to check the signatures.
fn sign_all(plan: &Plan, signers: &[PrivateKeySigner]) -> Result<Vec<Sender>> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = signers.len().div_ceil(cores).max(1);
    let parts: Result<Vec<Vec<Sender>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0_u64..)
            .step_by(share)
            .zip(signers.chunks(share))
            .map(|(from, part)| {
                let sign = move || (from..).zip(part).map(|(index, signer)| plan.sign(index, signer)).collect();
                scope.spawn(sign)
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| eyre!("a signing thread panicked"))?).collect()
    });
    Ok(parts?.into_iter().flatten().collect())
}
