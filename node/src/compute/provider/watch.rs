//! Follows the market's events, so that the owner sees every order placed here, also those whose customer never comes.

use super::book::Book;
use crate::compute::files;
use alloy_primitives::{Address, U256};
use eyre::{Context as _, Result};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often the chain is asked.
const POLL: Duration = Duration::from_secs(1);
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// How often the last block seen is written down when there was no order: a disk that rests stays at rest.
const SAVE: Duration = Duration::from_secs(60);

/// The file that remembers the last block seen.
pub(super) struct Place {
    path: PathBuf,
    next: u64,
    saved: Option<Instant>,
}

impl Place {
    /// Where the last process stopped, or at the head.
    pub(super) fn open(folder: &Path, head: u64) -> Result<Self> {
        let path = folder.join("next-block");
        let next = match files::read(&path)? {
            Some(text) => text.trim().parse().wrap_err_with(|| format!("{} is damaged", path.display()))?,
            None => head,
        };
        // A height above the head's belongs to another network, whose folder was reused.
        Ok(Self { path, next: next.min(head.saturating_add(1)), saved: None })
    }

    /// Blocks up to this one were looked at. After a restart the orders of the last minute may be announced again.
    fn pass(&mut self, last: u64, found: bool) -> Result<()> {
        self.next = last.saturating_add(1);
        if found || self.saved.is_none_or(|saved| saved.elapsed() >= SAVE) {
            files::replace(&self.path, self.next.to_string().as_bytes())?;
            self.saved = Some(Instant::now());
        }
        Ok(())
    }
}

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
    let (head, _) = book.market.account.head().await?;
    while place.next <= head {
        let last = head.min(place.next.saturating_add(BLOCKS_MAX.saturating_sub(1)));
        let orders = book.market.placed_with_me(place.next, last).await?;
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
