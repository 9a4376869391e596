//! From a stored transaction to the number of the order that it placed, however often the process starts anew on the way.

use super::state::Attempt;
use crate::{
    client::RpcFailure,
    compute::{
        lifecycle::{PlacementStep, Sighting, placement_step},
        market::Market,
    },
};
use alloy_primitives::U256;
use eyre::{Result, bail};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the node is asked.
const POLL: Duration = Duration::from_millis(100);
/// How long an order may wait for its block: blocks come every second at the latest.
const PLACE_MAX: Duration = Duration::from_secs(60);
/// For so long nothing but "another transaction has the nonce" must be seen before it is believed: behind one address there may be several
/// nodes, of which one is a few blocks ahead.
const LOST_MIN: Duration = Duration::from_secs(5);
/// So often a node may refuse the transaction before we believe that it does not like it.
const REFUSALS_MAX: u32 = 5;

/// What became of the transaction.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is placed.
    Order {
        /// The order's number.
        order: U256,
        /// The block with the transaction.
        block: u64,
    },
    /// It places no order and never will.
    Never(String),
    /// Nor will another one that pays in the same token.
    Futile(String),
}

/// Whether the transaction was ever sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// By this process at most: what a node refuses now is nowhere.
    No,
    /// By an earlier process, perhaps: another node may have it.
    Perhaps,
}

/// Sends the attempt's transaction, unless it was sent, and waits for its order.
///
/// # Errors
/// Nobody knows yet: the transaction may still be included. It stays stored.
pub(super) async fn place(market: &Market, attempt: &Attempt, sent: Sent) -> Result<Placed> {
    let start = Instant::now();
    let (mut lost_since, mut refused) = (None, 0_u32);
    // Whether some node may have it.
    let mut offered = sent == Sent::Perhaps;
    let mut trouble = String::new();
    loop {
        let seen = look(market, attempt).await;
        if !matches!(seen, Ok((PlacementStep::Lost, _))) {
            lost_since = None;
        }
        match seen {
            Ok((PlacementStep::TakeNumber, placed)) => {
                if let Some((order, block)) = placed {
                    return Ok(Placed::Order { order, block });
                }
            }
            Ok((PlacementStep::Refused, _)) => {
                return Ok(Placed::Never(
                    "the market did not take it: the provider's offer, or its record with the audit, changed meanwhile"
                        .to_owned(),
                ));
            }
            Ok((PlacementStep::Lost, _)) => {
                if lost_since.get_or_insert_with(Instant::now).elapsed() > LOST_MIN {
                    let nonce = attempt.nonce;
                    return Ok(Placed::Never(format!("another transaction of this account has its nonce {nonce}")));
                }
            }
            Ok((PlacementStep::Await, _)) => {}
            Ok((PlacementStep::Send, _)) => match market.account.broadcast(&attempt.transaction).await {
                Ok(()) => offered = true,
                Err(error) if error.downcast_ref::<RpcFailure>().is_some() => {
                    refused = refused.saturating_add(1);
                    trouble = format!("{error:#}");
                    if refused >= REFUSALS_MAX && !offered {
                        return Ok(Placed::Never(trouble));
                    }
                }
                Err(error) => {
                    offered = true;
                    trouble = format!("{error:#}");
                }
            },
            Err(error) => trouble = format!("{error:#}"),
        }
        if start.elapsed() > PLACE_MAX {
            let last = if trouble.is_empty() { "the network may stand still" } else { &trouble };
            bail!("the order's transaction {} is in no block after {} s: {last}", attempt.hash, PLACE_MAX.as_secs());
        }
        sleep(POLL).await;
    }
}

/// What the node says, and the order's number and block if it is placed.
async fn look(market: &Market, attempt: &Attempt) -> Result<(PlacementStep, Option<(U256, u64)>)> {
    let account = &market.account;
    // In this sequence: see [`Sighting`].
    let nonce_used = account.nonce().await? > attempt.nonce;
    let known = account.is_known(attempt.hash).await?;
    let receipt = account.receipt(attempt.hash).await?;
    let sighting = Sighting { nonce_used, known, receipt: receipt.as_ref().map(|receipt| receipt.succeeded()) };
    let step = placement_step(sighting);
    let placed = match (step, &receipt) {
        (PlacementStep::TakeNumber, Some(receipt)) => Some((Market::number_in(receipt)?, receipt.block_number)),
        _ => None,
    };
    Ok((step, placed))
}
