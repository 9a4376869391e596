//! Whom a map takes on: the best of the plan over what providers offer, as an order does, or those that were named.
//!
//! # Design
//! A map wants several machines, so the plan is asked for the best few that have said that they take work now. Each that fails is replaced from a later plan.
//! Steps in KST are paid at the register's price, which streams charge; the plan's price orders them. The register knows no price in a token: those are paid
//! at the price of the plan, which is the one that their record lists, and whoever is named for one must have a record.

use crate::{
    cli::Demands,
    compute::{
        customer::plan::Prepared,
        market::{Market, Offer},
        matching::{
            explain::Explanation,
            gather::{Patience, Sight, gather},
            live::{self, Silence},
            need::{Asked, OWN_CHECK, asks_for_cards},
        },
        money::Money,
    },
};
use alloy_primitives::{Address, B256};
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
    /// Only these, if there are any: a name is trust enough to try it, unless it is asked where they stand, or how their orders ended.
    pub(super) named: Vec<Address>,
    /// What is paid in.
    pub(super) money: Money,
}

/// Somebody who could be taken on.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) account: Address,
    pub(super) node_id: B256,
    /// Hostile text.
    pub(super) endpoint: String,
    /// In wei, or in the smallest units of the token that the map is paid in.
    pub(super) price_per_unit: u128,
}

/// Who could be taken on, the best first.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) offers: Vec<Candidate>,
    /// Why there is nobody, if there is nobody.
    pub(super) nobody: String,
    /// Most that a gas costs now.
    pub(super) fee_per_gas_max_wei: u128,
}

impl Found {
    const fn nobody(nobody: String) -> Self {
        Self { offers: Vec::new(), nobody, fee_per_gas_max_wei: 0 }
    }
}

impl From<Offer> for Candidate {
    /// At the register's price, which is one in KST.
    fn from(offer: Offer) -> Self {
        let Offer { account, node_id, endpoint, price_wei_per_unit, .. } = offer;
        Self { account, node_id, endpoint, price_per_unit: price_wei_per_unit }
    }
}

impl Chooser {
    /// At most so many that are none of `tried`.
    ///
    /// # Errors
    /// The node's; those of providers only leave them out.
    pub(super) async fn find(&self, count: usize, tried: &[Address]) -> Result<Found> {
        // A name is no word about where data goes, or how orders ended: these are looked at all the same.
        if self.named.is_empty() || !self.is_in_kst() || self.demands.bind_whoever_is_named() {
            self.planned(count, tried).await
        } else {
            self.by_name(count, tried).await
        }
    }

    fn is_in_kst(&self) -> bool {
        self.money.currency() == Currency::KST
    }

    async fn by_name(&self, count: usize, tried: &[Address]) -> Result<Found> {
        let mut offers = self.market.offers().await?;
        let unknown = self.named.iter().find(|named| offers.iter().all(|offer| offer.account != **named));
        let nobody = match unknown {
            Some(account) => unregistered(*account),
            None => "no provider that was named takes orders now: name another one, or none".to_owned(),
        };
        offers.retain(|offer| offer.offering && self.named.contains(&offer.account) && !tried.contains(&offer.account));
        offers.sort_by_key(|offer| offer.price_wei_per_unit);
        offers.truncate(count);
        let offers = offers.into_iter().map(Candidate::from).collect();
        let fee_per_gas_max_wei = self.market.account.fee_per_gas_max().await?;
        Ok(Found { offers, nobody, fee_per_gas_max_wei })
    }

    async fn planned(&self, count: usize, tried: &[Address]) -> Result<Found> {
        let patience = Patience::ORDER.or(self.demands.patience_ms);
        let cards = asks_for_cards(&self.demands.hardware);
        // Interpreters take no leases.
        let sight = Sight { only: &self.named, currency: self.money.currency(), cards, interpreters: false };
        let mut gathered = gather(&self.market, self.demands.records.as_deref(), patience, sight).await?;
        if gathered.known.providers.is_empty() {
            gathered.socket.close().await;
            return Ok(Found::nobody(self.named.first().map_or_else(|| NONE.to_owned(), |named| unregistered(*named))));
        }
        let asked = Asked {
            spec: &self.prepared.spec,
            input_bytes: self.prepared.input_bytes(),
            demands: &self.demands,
            currency: self.money.currency(),
            // What may be promised is a limit of the whole map, which is kept by who takes these on.
            total_wei_max: None,
            tried,
            checkable: gathered.known.checkable,
        };
        let need = asked.need(OWN_CHECK);
        let is_taken = self.demands.unanswered || !self.named.is_empty();
        let silence = if is_taken { Silence::IsTaken } else { Silence::LeavesOut };
        let plan = live::plan_for(&mut gathered, &self.market, &need, (patience, silence), count).await?;
        gathered.socket.close().await;
        let mut offers: Vec<Candidate> = Vec::new();
        for fit in &plan.best {
            let is_new = offers.iter().all(|offer| offer.account != fit.key.provider);
            let entry = gathered.known.providers.get(&fit.key.provider).map(|provider| provider.entry.clone());
            if is_new
                && offers.len() < count
                && let Some(entry) = entry
            {
                let candidate = Candidate::from(entry);
                let listed =
                    if self.is_in_kst() { candidate.price_per_unit } else { fit.price_per_unit.saturating_to() };
                offers.push(Candidate { price_per_unit: listed, ..candidate });
            }
        }
        let nobody = if offers.is_empty() {
            let explanation = Explanation::of(&gathered.known, &need, &plan)?.written_in(&self.money);
            format!("no provider takes orders for this job:\n{}", explanation.words())
        } else {
            String::new()
        };
        let fee_per_gas_max_wei = self.market.account.fee_per_gas_max().await?;
        Ok(Found { offers, nobody, fee_per_gas_max_wei })
    }
}

fn unregistered(account: Address) -> String {
    format!("{account} is not registered as a provider on this chain")
}
