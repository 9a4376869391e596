//! Whom a map takes on: the best of the plan over what providers offer, as an order does, or those that were named.
//!
//! # Design
//! A map wants several machines, so the plan is asked for the best few that have said that they take work now. Each that fails is replaced from a later plan.
//! Steps are paid at the register's price, which streams charge; the plan's price orders them.

use crate::{
    cli::Demands,
    compute::{
        customer::plan::Prepared,
        market::{Market, Offer},
        matching::{
            explain::Explanation,
            gather::{Patience, Sight, gather},
            live::{self, Silence},
            need::{Asked, OWN_CHECK},
        },
    },
};
use alloy_primitives::Address;
use eyre::Result;
use keystead_market::Currency;
use std::sync::Arc;

/// Nobody is there.
const NONE: &str = "no provider takes orders on this network: start one with `keystead provide`, or try later";

/// What a choice goes by.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    pub(super) market: Market,
    pub(super) prepared: Arc<Prepared>,
    pub(super) demands: Demands,
    /// Only these, if there are any: a name is trust enough to try it.
    pub(super) named: Vec<Address>,
}

/// Who could be taken on, the best first.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) offers: Vec<Offer>,
    /// Why there is nobody, if there is nobody.
    pub(super) nobody: String,
}

impl Chooser {
    /// At most so many that are none of `tried`.
    ///
    /// # Errors
    /// The node's; those of providers only leave them out.
    pub(super) async fn find(&self, count: usize, tried: &[Address]) -> Result<Found> {
        if self.named.is_empty() { self.planned(count, tried).await } else { self.by_name(count, tried).await }
    }

    async fn by_name(&self, count: usize, tried: &[Address]) -> Result<Found> {
        let mut offers = self.market.offers().await?;
        let unknown = self.named.iter().find(|named| offers.iter().all(|offer| offer.account != **named));
        let nobody = match unknown {
            Some(account) => format!("{account} is not registered as a provider on this chain"),
            None => "no provider that was named takes orders now: name another one, or none".to_owned(),
        };
        offers.retain(|offer| offer.offering && self.named.contains(&offer.account) && !tried.contains(&offer.account));
        offers.sort_by_key(|offer| offer.price_wei_per_unit);
        offers.truncate(count);
        Ok(Found { offers, nobody })
    }

    async fn planned(&self, count: usize, tried: &[Address]) -> Result<Found> {
        let patience = Patience::ORDER.or(self.demands.patience_ms);
        let mut gathered = gather(&self.market, self.demands.records.as_deref(), patience, Sight::default()).await?;
        if gathered.known.providers.is_empty() {
            gathered.socket.close().await;
            return Ok(Found { offers: Vec::new(), nobody: NONE.to_owned() });
        }
        let asked = Asked {
            spec: &self.prepared.spec,
            input_bytes: self.prepared.input_bytes(),
            demands: &self.demands,
            // Channels are in KST.
            currency: Currency::KST,
            // What may be promised is a limit of the whole map, which is kept while it runs.
            total_wei_max: None,
            tried,
        };
        let need = asked.need(OWN_CHECK);
        let silence = if self.demands.unanswered { Silence::IsTaken } else { Silence::LeavesOut };
        let plan = live::plan_for(&mut gathered, &self.market, &need, (patience, silence), count).await?;
        gathered.socket.close().await;
        let mut offers: Vec<Offer> = Vec::new();
        for fit in &plan.best {
            let is_new = offers.iter().all(|offer| offer.account != fit.key.provider);
            let entry = gathered.known.providers.get(&fit.key.provider).map(|provider| provider.entry.clone());
            if is_new && offers.len() < count {
                offers.extend(entry);
            }
        }
        let nobody = if offers.is_empty() {
            let explanation = Explanation::of(&gathered.known, &need, &plan)?;
            format!("no provider takes orders for this job:\n{}", explanation.words())
        } else {
            String::new()
        };
        Ok(Found { offers, nobody })
    }
}
