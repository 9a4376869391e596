//! What the market and the contract of channels owe this provider, taken home.
//!
//! # Design
//! A token may refuse to be paid out, for a while or for ever: then its order, or channel, is over all the same, the contract goes on owing it, and it is taken with the next one in that token or at the next start. So what an owner lists can cost that owner its own money, and never keeps an order open.

use super::book::Book;
use crate::compute::{
    channels::Channels,
    market::{Order, Taken},
};
use alloy_primitives::U256;
use eyre::Result;
use std::sync::Arc;

/// Takes the payout of a paid order, and whatever else is owed in its currency; how much it was, in smallest units.
///
/// # Errors
/// The node's: worth another try.
pub(super) async fn take(book: &Book, order: &Order) -> Result<U256> {
    match book.market.take(order.currency).await? {
        Taken::Out(amount) => Ok(amount),
        Taken::Owed(error) => {
            tracing::warn!(
                order = %order.id,
                token = %order.currency.address(),
                error = format!("{error:#}"),
                "the token is not paid out now: the market still owes it"
            );
            Ok(U256::ZERO)
        }
    }
}

/// Takes what earlier processes could not take, of every token that is listed, and brings the bond what they owe it.
pub(super) async fn take_what_is_left(book: Arc<Book>) {
    let channels = Channels { account: Arc::clone(&book.market.account) };
    for money in book.offering.tokens() {
        let currency = money.currency();
        for taken in [book.market.take(currency).await, channels.take(currency).await] {
            match taken {
                Ok(Taken::Out(taken)) if taken.is_zero() => {}
                Ok(Taken::Out(taken)) => {
                    tracing::info!(withdrawn = money.show(taken), "a token that was still owed is paid out");
                }
                Ok(Taken::Owed(error)) | Err(error) => {
                    tracing::warn!(token = %currency.address(), error = format!("{error:#}"), "a token is not paid out now");
                }
            }
        }
    }
    book.bring_up_savings().await;
}
