//! An ERC-20 as an account pays with it: what it has, what the token says of itself, and what a contract may take of it.
//!
//! # Design
//! The contracts take what they are told by themselves, so they are approved first. For the market an approval is of exactly one escrow and is used up by its
//! order; one that no order follows is taken back. For channels there is one for all that a map may pay in; what is left of it is taken back at the end. Maps
//! of one account in one token share it: whose approval another one used up or took back sees it from the refusal of its channel, and approves again.
//! Everything is asked of the chain: a process that starts again finds the approval that an earlier one gave, and gives no second one.
//! An approval of the market of another amount may be that of an order which another process of this account is placing, on whatever machine: it is left alone for
//! as long as that takes ([`OTHERS_MAX`]), and taken back only then. Whose approval was taken all the same sees it before it orders, or from the market's
//! refusal, and approves again.
//!
//! # Not here
//! Orders ([`crate::compute::market`]), channels ([`crate::compute::channels`]), and how amounts are written ([`crate::compute::money`]).
//!
//! # Invariants
//! Nothing that a token answers is believed beyond what follows from its own balances: the contracts refuse a token that moves another amount than it was told.

use super::{
    account::{Account, Poor},
    money::Money,
};
use alloy_primitives::{Address, U256};
use eyre::{Result, ensure};
use keystead_contracts::bindings::erc20::Erc20;
use std::{ops::RangeInclusive, time::Duration};
use tokio::time::{Instant, sleep};

/// How often an approval is looked for that is in a block.
const LOOKS: u32 = 50;
/// How long an approval that is not ours is left alone: several times what an order takes to follow it.
const OTHERS_MAX: Duration = Duration::from_secs(10);
/// So often another process of this account may come between: each time one of the two places its order.
const CROSSED_MAX: u32 = 8;
/// Time between two looks.
const POLL: Duration = Duration::from_millis(100);

/// What a token says of itself. Hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) symbol: Option<String>,
    pub(crate) decimals: Option<u8>,
}

/// The token took an approval and does not have it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the token {contract} took an approval of {asked} smallest units and says that it is {found}: it cannot be paid with"
)]
pub(crate) struct NotKept {
    contract: Address,
    asked: U256,
    found: U256,
}

/// One account's share of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) account: &'a Account,
    pub(crate) contract: Address,
    /// The contract that is approved: the market, or that of channels.
    pub(crate) spender: Address,
}

/// Asks a token for its names. What it does not answer, or answers in another form, it does not have.
///
/// # Errors
/// The node does not answer.
pub(crate) async fn names(account: &Account, contract: Address) -> Result<Names> {
    Ok(Names {
        symbol: said(account.read(contract, &Erc20::symbolCall {}).await)?,
        decimals: said(account.read(contract, &Erc20::decimalsCall {}).await)?,
    })
}

/// Apart from a node that is not reached, every error is the token's.
fn said<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.downcast_ref::<reqwest::Error>().is_some() => Err(error),
        other => Ok(other.ok()),
    }
}

impl Token<'_> {
    /// Fails with [`Poor`], unless the account has so much. `money` is this token.
    pub(crate) async fn afford(&self, money: &Money, needed: U256) -> Result<()> {
        let account = self.account.address();
        let balance = self.account.read(self.contract, &Erc20::balanceOfCall { account }).await?;
        ensure!(balance >= needed, Poor::new(account, money, balance, needed));
        Ok(())
    }

    /// What the spender may take.
    async fn allowance(&self) -> Result<U256> {
        let call = Erc20::allowanceCall { owner: self.account.address(), spender: self.spender };
        self.account.read(self.contract, &call).await
    }

    /// Whether the spender may take less than so much: another process of this account used what was approved, or took it back.
    pub(crate) async fn is_short(&self, amount: U256) -> Result<bool> {
        Ok(self.allowance().await? < amount)
    }

    /// Lets the spender take at least `needed`. Costs nothing if that is so already; else it may take `most` from now on, so that it need not be asked for
    /// again.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub(crate) async fn allow(&self, needed: U256, most: U256) -> Result<()> {
        self.replace(most.max(needed), &(needed..=U256::MAX), Duration::ZERO).await
    }

    /// Lets the spender take exactly so much. Costs nothing if that is so already. Another approval is waited for as long as an order may follow it, then
    /// taken back first, since some tokens refuse to change one.
    ///
    /// # Errors
    /// [`NotKept`]; the token's own refusal; the node's.
    pub(crate) async fn approve(&self, amount: U256) -> Result<()> {
        self.replace(amount, &(amount..=amount), OTHERS_MAX).await
    }

    /// Takes back whatever the spender may still take.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub(crate) async fn clear(&self) -> Result<()> {
        self.replace(U256::ZERO, &(U256::ZERO..=U256::ZERO), Duration::ZERO).await
    }

    /// Puts an approval in the place of another one that does not do, which is left alone for so long.
    async fn replace(&self, amount: U256, does: &RangeInclusive<U256>, patience: Duration) -> Result<()> {
        let mut last = None;
        for _ in 0..CROSSED_MAX {
            let left = self.left_alone(does, patience).await?;
            if does.contains(&left) {
                return Ok(());
            }
            last = if left.is_zero() || amount.is_zero() { None } else { self.set(U256::ZERO).await? };
            if last.is_none() {
                last = self.set(amount).await?;
            }
            if last.is_none() {
                return Ok(());
            }
        }
        last.map_or(Ok(()), |crossed| Err(crossed.into()))
    }

    /// Takes back an approval of exactly so much; another one is that of another order.
    ///
    /// # Errors
    /// As [`Self::approve`].
    pub(crate) async fn take_back(&self, amount: U256) -> Result<()> {
        self.account.settled().await?;
        if !amount.is_zero() && self.allowance().await? == amount {
            // What is there after another process came between is that one's.
            self.set(U256::ZERO).await?;
        }
        Ok(())
    }

    /// What the spender may take: nothing, what does, or what nobody has used for a while.
    async fn left_alone(&self, does: &RangeInclusive<U256>, patience: Duration) -> Result<U256> {
        // What an earlier process sent may be on its way.
        self.account.settled().await?;
        let start = Instant::now();
        let mut left = self.allowance().await?;
        while !left.is_zero() && !does.contains(&left) && start.elapsed() < patience {
            sleep(POLL).await;
            left = self.allowance().await?;
        }
        Ok(left)
    }

    /// What is found instead, if another transaction of this account came between: then it may be another process's.
    async fn set(&self, amount: U256) -> Result<Option<NotKept>> {
        let before = self.account.nonce().await?;
        let call = Erc20::approveCall { spender: self.spender, amount };
        self.account.send(self.contract, &call, U256::ZERO).await?;
        let mut found = self.allowance().await?;
        // Behind one address there may be several nodes, of which one is a block behind.
        for _ in 0..LOOKS {
            if found == amount {
                return Ok(None);
            }
            sleep(POLL).await;
            found = self.allowance().await?;
        }
        let not_kept = NotKept { contract: self.contract, asked: amount, found };
        let is_crossed = self.account.nonce().await? > before.saturating_add(1);
        if is_crossed { Ok(Some(not_kept)) } else { Err(not_kept.into()) }
    }
}
