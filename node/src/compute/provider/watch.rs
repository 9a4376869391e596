//! Follows the market's events, so that the owner sees every order placed here, also those whose customer never comes.

use super::book::Book;
use crate::compute::place::Place;
use alloy_primitives::{Address, U256};
use eyre::Result;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// How often the chain is asked. Nobody waits for it: a customer that comes is heard at its session, and this is a line for the owner.
const POLL: Duration = Duration::from_secs(2);
/// The file that remembers the last block seen, in the provider's folder.
pub(super) const PLACE_FILE: &str = "next-block";
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 1_000;

/// Announces orders until the process stops.
pub(super) async fn follow(book: &Book, mut place: Place) {
    let mut stopping = book.stopping.subscribe();
    let follow = async {
        loop {
            if let Err(error) = look(book, &mut place).await {
                tracing::warn!(error = format!("{error:#}"), "cannot follow the market, trying again");
            }
            sleep(POLL).await;
        }
    };
    tokio::select! {
        () = follow => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn look(book: &Book, place: &mut Place) -> Result<()> {
    let head = book.market.account.height().await?;
    while place.next() <= head {
        let last = head.min(place.next().saturating_add(BLOCKS_MAX.saturating_sub(1)));
        let orders = book.market.placed_with_me(place.next(), last).await?;
        let found = !orders.is_empty();
        // A flood of one customer's orders asks for its record once.
        let mut known: BTreeMap<Address, String> = BTreeMap::new();
        for placed in orders {
            let currency = book.market.order(placed.orderId).await?.currency;
            let escrow = U256::from(placed.priceWeiPerUnit).saturating_mul(U256::from(placed.units));
            let as_customer = match known.get(&placed.customer) {
                Some(words) => words.clone(),
                None => {
                    let words = book.market.words_of_customer(placed.customer).await;
                    known.insert(placed.customer, words.clone());
                    words
                }
            };
            tracing::info!(
                order = %placed.orderId,
                customer = %placed.customer,
                as_customer,
                units = placed.units,
                escrow = book.offering.money(currency).show(escrow),
                "order placed here"
            );
        }
        place.pass(last, found)?;
    }
    Ok(())
}
