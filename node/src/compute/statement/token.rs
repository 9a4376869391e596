//! What an account has in a token, and what the contracts hold of it: beside the lines, so that they can be held against it.
//!
//! # Invariants
//! Nothing that a token answers, or does not answer, changes what is said of KST or of another token.

use super::{Span, ask, lines::Line, unexplained};
use crate::{
    client::{Client, RpcFailure},
    compute::{market::Market, money::Money},
};
use alloy_primitives::{Address, Bytes, U256, hex};
use alloy_sol_types::SolCall as _;
use eyre::{Context as _, Result, ensure};
use keystead_contracts::{
    CHANNEL_ADDRESS, MARKET_ADDRESS,
    bindings::{channel::Channel, erc20::Erc20, market::Market as MarketCalls},
};
use keystead_market::Currency;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Tokens of one statement, at most: an account with more takes fewer blocks at a time.
const TOKENS_MAX: usize = 256;

/// A statement in one token, all amounts in its smallest units; the names of its fields are those of KST.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenAccount {
    pub(super) token: Address,
    /// How its amounts are written: as it names itself, where that can be shown.
    pub(super) unit: String,
    pub(super) decimals: u8,
    /// Balance before the first block, and after the last; null if the token does not say.
    pub(super) opening_wei: Option<String>,
    pub(super) closing_wei: Option<String>,
    pub(super) lines: Vec<Line>,
    pub(super) held: TokenHeld,
    /// What the lines do not explain; null if the token does not say what the account has.
    pub(super) unexplained_in_wei: Option<String>,
    pub(super) unexplained_out_wei: Option<String>,
    #[serde(skip)]
    pub(super) money: Money,
}

/// What belongs to the account and is not in its balance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenHeld {
    pub(super) market_credit_wei: String,
    pub(super) channel_credit_wei: String,
}

impl TokenAccount {
    /// One for each token, in the order of their contracts.
    ///
    /// # Errors
    /// The node's, or too many tokens.
    pub(super) async fn all(
        client: &Client,
        rpc: &str,
        span: Span,
        lines: BTreeMap<Address, Vec<Line>>,
    ) -> Result<Vec<Self>> {
        ensure!(
            lines.len() <= TOKENS_MAX,
            "more than {TOKENS_MAX} tokens up to block {}: take fewer blocks",
            span.to_block
        );
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let market = Market::to_read(rpc).await?;
        let mut all = Vec::with_capacity(lines.len());
        for (token, lines) in lines {
            // Only a name depends on it: a contract that is gone, or does not answer, has none.
            let money = Money::read(&market.account, Some(token)).await;
            let money = money.unwrap_or_else(|_| Money::unnamed(Currency::token(token)));
            all.push(Self::new(client, span, (token, money), lines).await?);
        }
        Ok(all)
    }

    async fn new(client: &Client, span: Span, (token, money): (Address, Money), lines: Vec<Line>) -> Result<Self> {
        let Span { account, from_block, to_block } = span;
        // In block 0 there are no tokens.
        let opening = balance(client, (token, account), from_block.saturating_sub(1)).await?;
        let closing = balance(client, (token, account), to_block).await?;
        let missing = opening.zip(closing).map(|(opening, closing)| unexplained(opening, closing, &lines));
        let text = |amount: U256| amount.to_string();
        let unit = money.unit().clone();
        Ok(Self {
            token,
            unit: unit.symbol,
            decimals: unit.decimals,
            opening_wei: opening.map(text),
            closing_wei: closing.map(text),
            lines,
            held: TokenHeld::read(client, (token, account), to_block).await?,
            unexplained_in_wei: missing.map(|(came, _)| text(came)),
            unexplained_out_wei: missing.map(|(_, went)| text(went)),
            money,
        })
    }
}

impl TokenHeld {
    async fn read(client: &Client, (token, account): (Address, Address), block: u64) -> Result<Self> {
        let market = ask(client, block, MARKET_ADDRESS, &MarketCalls::tokenCreditCall { account, token }).await?;
        let channel = ask(client, block, CHANNEL_ADDRESS, &Channel::creditCall { account, token }).await?;
        Ok(Self { market_credit_wei: market.to_string(), channel_credit_wei: channel.to_string() })
    }
}

/// What an account has of a token after a block; `None` if the token does not say. Before there is a contract it is nothing.
async fn balance(client: &Client, (token, account): (Address, Address), block: u64) -> Result<Option<U256>> {
    let data = hex::encode_prefixed(Erc20::balanceOfCall { account }.abi_encode());
    let answer = client.call("eth_call", json!([{"to": token, "data": data}, format!("{block:#x}")])).await;
    match answer {
        // That the node keeps states that old is known: it answered with the balance in KST.
        Err(error) if error.downcast_ref::<RpcFailure>().is_some() => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => {
            let bytes: Bytes = serde_json::from_value(answer).wrap_err("the answer is not bytes")?;
            Ok(said(&bytes))
        }
    }
}

/// The balance in an answer.
fn said(answer: &Bytes) -> Option<U256> {
    if answer.is_empty() { Some(U256::ZERO) } else { Erc20::balanceOfCall::abi_decode_returns(answer).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_contract_is_no_balance_and_an_odd_answer_is_not_known() {
        let word = |bytes: &[u8]| said(&Bytes::copy_from_slice(bytes));
        assert_eq!(word(&[]), Some(U256::ZERO));
        assert_eq!(word(&U256::from(7).to_be_bytes::<32>()), Some(U256::from(7)));
        assert_eq!(word(&[1, 2, 3]), None);
    }
}
