//! What the market owes this provider, taken home.
//!
//! # Design
//! KST always comes. A token may refuse to be paid out, for a while or for ever: then its order is over all the same, the market goes on owing it, and it is
//! taken with the next order in that token or at the next start. So what an owner lists can cost that owner its own money, and never keeps an order open.

use super::book::Book;
use crate::{client::RpcFailure, compute::market::Order};
use alloy_primitives::U256;
use eyre::Result;
use keystead_market::Currency;

/// Takes the payout of a paid order, and whatever else is owed in its currency; how much it was, in smallest units.
///
/// # Errors
/// The node's: worth another try.
pub(super) async fn take(book: &Book, order: &Order) -> Result<U256> {
    let currency = order.currency;
    match book.market.withdraw(currency).await {
        // Another order of this provider took both.
        Err(_) if book.market.credit(currency).await?.is_zero() => Ok(U256::ZERO),
        Err(error) if currency != Currency::KST && is_refusal(&error) => {
            tracing::warn!(
                order = %order.id,
                token = %currency.address(),
                error = format!("{error:#}"),
                "the token is not paid out now: the market still owes it"
            );
            Ok(U256::ZERO)
        }
        other => other,
    }
}

/// Takes what earlier processes could not take, of every token that is listed.
pub(super) async fn take_what_is_left(book: &Book) {
    for money in book.offering.tokens() {
        match book.market.withdraw(money.currency()).await {
            Ok(taken) if taken.is_zero() => {}
            Ok(taken) => tracing::info!(withdrawn = money.show(taken), "a token that was still owed is paid out"),
            Err(error) => {
                tracing::warn!(token = %money.currency().address(), error = format!("{error:#}"), "a token is not paid out now");
            }
        }
    }
}

/// The node's answer about this call, and not a fault on the way to it.
fn is_refusal(error: &eyre::Report) -> bool {
    error.downcast_ref::<RpcFailure>().is_some()
}
