//! `keystead statement`: what an account earned, paid and still has to get, over some blocks, so that it adds up to the wei.
//!
//! # Design
//! Every block is read, and every transaction's receipt in which the account can appear: fees leave no event. What moved the balance becomes a
//! line; at the end the lines are held against the two balances that the chain has. What they do not explain (money that another
//! contract sent) is said, never hidden. The same is done for each token in which the account had orders or channels; amounts of different currencies are
//! never added.
//!
//! # Not here
//! Proofs: a statement believes its node. What was paid for which order is proved by the order's certificate.

mod lines;
mod show;
mod token;

use crate::{cli::Statement, client::Client, compute::past::AsCustomer};
use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use eyre::{Context as _, Result, ensure, eyre};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget};
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS, CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{audit::Audit, bond::Bond, channel::Channel, market::Market},
};
use lines::{Block, Line, Receipt, tokens::Tokens};
use serde::Serialize;
use serde_json::json;
use std::{io::IsTerminal as _, process::ExitCode};
use token::TokenAccount;

/// Blocks of one statement, at most.
const BLOCKS_MAX: u64 = 1_000_000;
/// Blocks that are asked for at once.
const AT_ONCE: usize = 32;
/// Lines, at most: an account with more takes fewer blocks at a time.
const LINES_MAX: usize = 1_000_000;

/// Whose statement, and of which blocks, both inclusive.
#[derive(Clone, Copy, Debug)]
struct Span {
    account: Address,
    from_block: u64,
    to_block: u64,
}

/// A statement, all amounts in wei, but for those of tokens.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    account: Address,
    /// First and last block, both inclusive.
    from_block: u64,
    to_block: u64,
    /// Balance before the first block, and after the last.
    opening_wei: String,
    closing_wei: String,
    lines: Vec<Line>,
    /// What contracts hold for the account after the last block.
    held: Held,
    /// What others read about it where it orders; counts up to the last block.
    as_customer: AsCustomer,
    /// What the lines do not explain, without and with sign: zero unless another contract sent money.
    unexplained_in_wei: String,
    unexplained_out_wei: String,
    /// The same in each token; not there if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<TokenAccount>,
}

/// What belongs to the account and is not in its balance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    market_credit_wei: String,
    audit_credit_wei: String,
    channel_credit_wei: String,
    bond_free_wei: String,
    bond_locked_wei: String,
    bond_seated_wei: String,
    bond_leaving_wei: String,
}

/// `keystead statement`.
pub(crate) async fn run(options: &Statement) -> Result<ExitCode> {
    let client = Client::new(&options.rpc)?;
    let head = client.quantity("eth_blockNumber", json!([])).await?;
    let to_block = options.to_block.unwrap_or(head);
    ensure!(to_block <= head, "block {to_block} is not there yet: the newest is {head}");
    let from_block = options.from_block.unwrap_or_else(|| to_block.saturating_sub(BLOCKS_MAX.saturating_sub(1)));
    ensure!(from_block <= to_block, "--from-block {from_block} is after --to-block {to_block}");
    let blocks = to_block.saturating_sub(from_block).saturating_add(1);
    ensure!(blocks <= BLOCKS_MAX, "a statement covers at most {BLOCKS_MAX} blocks, these are {blocks}: take fewer");
    let span = Span { account: options.account, from_block, to_block };
    let (lines, moved) = read(&client, span).await?;
    let statement = Account::new(&client, &options.rpc, span, (lines, moved)).await?;
    if options.json {
        show::json(&statement)?;
    } else {
        show::table(&statement)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(client: &Client, span: Span) -> Result<(Vec<Line>, Tokens)> {
    let Span { account, from_block, to_block } = span;
    let (mut lines, mut tokens) = (Vec::new(), Tokens::default());
    let mut blocks = stream::iter(from_block..=to_block).map(|number| block(client, number)).buffered(AT_ONCE);
    let total = to_block.saturating_sub(from_block).saturating_add(1);
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target).with_message("blocks read");
    while let Some((block, receipts)) = blocks.try_next().await? {
        lines.extend(lines::of(account, &block, &receipts));
        tokens.read(account, &block, &receipts);
        ensure!(
            lines.len().saturating_add(tokens.count()) <= LINES_MAX,
            "more than {LINES_MAX} lines up to block {}: take fewer blocks",
            block.number
        );
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((lines, tokens))
}

async fn block(client: &Client, number: u64) -> Result<(Block, Vec<Receipt>)> {
    let name = format!("{number:#x}");
    let answer = client.call("eth_getBlockByNumber", json!([name, true])).await?;
    let block: Block = serde_json::from_value(answer).wrap_err_with(|| format!("block {number} has another form"))?;
    if block.transactions.is_empty() {
        return Ok((block, Vec::new()));
    }
    let answer = client.call("eth_getBlockReceipts", json!([name])).await?;
    let receipts = serde_json::from_value(answer);
    Ok((block, receipts.wrap_err_with(|| format!("the receipts of block {number} have another form"))?))
}

impl Account {
    async fn new(client: &Client, rpc: &str, span: Span, (lines, moved): (Vec<Line>, Tokens)) -> Result<Self> {
        let Span { account, from_block, to_block } = span;
        // Block 0 has no transactions: what it begins with is what it ends with.
        let opening = balance(client, account, from_block.saturating_sub(1)).await?;
        let closing = balance(client, account, to_block).await?;
        let (came, went) = unexplained(opening, closing, &lines);
        Ok(Self {
            account,
            from_block,
            to_block,
            opening_wei: opening.to_string(),
            closing_wei: closing.to_string(),
            lines,
            held: Held::read(client, account, to_block).await?,
            as_customer: as_customer(client, account, to_block).await?,
            unexplained_in_wei: came.to_string(),
            unexplained_out_wei: went.to_string(),
            tokens: TokenAccount::all(client, rpc, span, moved.own()).await?,
        })
    }
}

/// What came, and what went, beyond what the lines tell of.
fn unexplained(opening: U256, closing: U256, lines: &[Line]) -> (U256, U256) {
    let sum = |of: fn(&Line) -> U256| lines.iter().map(of).fold(U256::ZERO, U256::saturating_add);
    let came = opening.saturating_add(sum(|line| line.in_wei));
    let left = closing.saturating_add(sum(|line| line.out_wei));
    (left.saturating_sub(came), came.saturating_sub(left))
}

impl Held {
    async fn read(client: &Client, account: Address, block: u64) -> Result<Self> {
        let market = ask(client, block, MARKET_ADDRESS, &Market::creditCall { account }).await?;
        let audit = ask(client, block, AUDIT_ADDRESS, &Audit::creditCall { account }).await?;
        let token = Address::ZERO;
        let channel = ask(client, block, CHANNEL_ADDRESS, &Channel::creditCall { account, token }).await?;
        let bond = ask(client, block, BOND_ADDRESS, &Bond::accountOfCall { account }).await?;
        Ok(Self {
            market_credit_wei: market.to_string(),
            audit_credit_wei: audit.to_string(),
            channel_credit_wei: channel.to_string(),
            bond_free_wei: bond.freeWei.to_string(),
            bond_locked_wei: bond.lockedWei.to_string(),
            bond_seated_wei: bond.seatedWei.to_string(),
            bond_leaving_wei: bond.leavingWei.to_string(),
        })
    }
}

async fn as_customer(client: &Client, customer: Address, block: u64) -> Result<AsCustomer> {
    let record = ask(client, block, MARKET_ADDRESS, &Market::customerRecordCall { account: customer }).await?;
    let withheld = ask(client, block, AUDIT_ADDRESS, &Audit::withheldCountCall { customer }).await?;
    Ok(AsCustomer::of(&record, withheld))
}

async fn balance(client: &Client, account: Address, block: u64) -> Result<U256> {
    let answer = client.call("eth_getBalance", json!([account, format!("{block:#x}")])).await;
    let answer = answer
        .wrap_err("the node does not keep states that old: ask one with `--history archive`, or take later blocks")?;
    serde_json::from_value(answer).wrap_err("the balance is not a quantity")
}

async fn ask<C: SolCall>(client: &Client, block: u64, to: Address, call: &C) -> Result<C::Return> {
    let request = json!({"to": to, "data": alloy_primitives::hex::encode_prefixed(call.abi_encode())});
    let answer = client.call("eth_call", json!([request, format!("{block:#x}")])).await?;
    let bytes: alloy_primitives::Bytes = serde_json::from_value(answer).wrap_err("the answer is not bytes")?;
    C::abi_decode_returns(&bytes).map_err(|error| eyre!("{to} answered {} in another form: {error}", C::SIGNATURE))
}
