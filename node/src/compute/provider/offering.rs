//! This machine's offer: its capability record, and the register that says where it is and what it costs.
//!
//! # Design
//! The record is one file in the provider's folder, kept from start to start: what did not change is not written anew, so a restart costs nothing. The
//! register holds its hash; whoever asks is given the present record or the one before it, since the asker's block may be older than our update.
//! Spec: specs/0010-capability.md §2, §8.
//!
//! # Invariants
//! The bytes behind a registered hash are on the disk before the register says it.

use super::{
    claims::{same_devices, settled},
    self_test::say,
};
use crate::compute::{
    files,
    market::{Market, Order},
    money::Money,
};
use alloy_primitives::{B256, Bytes, U256};
use eyre::{Context as _, Result};
use keystead_blobs::NodeId;
use keystead_contracts::bindings::providers::IProviders;
use keystead_job::JobSpec;
use keystead_market::{
    Currency, Record,
    need::{kernel_of, work_mop},
    record::{Attested, Claimed, Draft},
};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The record as a person can read it.
const RECORD_FILE: &str = "record.json";

/// Where this machine is reached.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) node: NodeId,
    /// The endpoint as it is published.
    pub(super) address: String,
}

/// The offer. One for each process.
#[derive(Debug)]
pub(super) struct Offering {
    pub(super) market: Market,
    reached: Reached,
    price_wei_per_unit: u128,
    /// The tokens that it is paid in besides KST.
    tokens: Vec<Money>,
    path: PathBuf,
    shown: Mutex<Shown>,
    /// Held while the register is brought up to date.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Shown {
    record: Record,
    before: Option<(B256, Bytes)>,
}

impl Offering {
    /// Makes the record from what is claimed now and from what the folder has of earlier starts.
    ///
    /// # Errors
    /// A claim that no record can hold; it says which.
    pub(super) async fn open(
        market: Market,
        folder: &Path,
        reached: Reached,
        (price_wei_per_unit, tokens): (u128, Vec<Money>),
        claimed: Claimed,
    ) -> Result<Self> {
        let path = folder.join(RECORD_FILE);
        let provider = market.account.address();
        let old = stored(&path).filter(|old| old.provider == provider);
        let draft = match &old {
            Some(old) => {
                let claimed = settled(claimed, &old.claimed);
                let attested = if same_devices(&claimed, &old.claimed) { old.attested.clone() } else { Vec::new() };
                Draft { provider, issued_height: old.issued_height, claimed, attested }
            }
            None => Draft { provider, issued_height: 0, claimed, attested: Vec::new() },
        };
        let mut record = Record::new(draft).wrap_err("this machine cannot be described in a capability record")?;
        if old.as_ref() != Some(&record) {
            record = reissued(record, market.account.head().await?.0)?;
        }
        let before = old.filter(|old| *old != record).map(|old| (old.hash(), Bytes::from(old.encode())));
        let shown = Mutex::new(Shown { record, before });
        Ok(Self { market, reached, price_wei_per_unit, tokens, path, shown, turn: tokio::sync::Mutex::default() })
    }

    /// The present record.
    pub(super) fn record(&self) -> Record {
        self.shown().record.clone()
    }

    /// The bytes behind a hash that this provider registered last, or before that.
    pub(super) fn served(&self, name: B256) -> Option<Bytes> {
        let shown = self.shown();
        if shown.record.hash() == name {
            return Some(shown.record.encode().into());
        }
        shown.before.as_ref().filter(|(before, _)| *before == name).map(|(_, bytes)| bytes.clone())
    }

    /// Why an order is not leased for what it pays, if it is not: in a token that is not listed, or below the price. Asked before every lease.
    pub(super) fn refusal(&self, spec: &JobSpec, order: &Order) -> Option<String> {
        let (money, got) = (self.money(order.currency), order.price_wei_per_unit());
        match price_of(&self.shown().record, self.price_wei_per_unit, spec, order.currency) {
            Some(listed) if got >= listed => None,
            Some(listed) => {
                Some(format!("a unit of this job costs {} here, not {}", money.show(listed), money.show(got)))
            }
            None => Some(unlisted(order.currency)),
        }
    }

    /// What a unit of a job costs in a currency, in smallest units; `None` if it is not listed.
    pub(super) fn price(&self, spec: &JobSpec, currency: Currency) -> Option<U256> {
        price_of(&self.shown().record, self.price_wei_per_unit, spec, currency)
    }

    /// How amounts of an order's currency are written. A token that is not listed is not asked for its name.
    pub(super) fn money(&self, currency: Currency) -> Money {
        if currency == Currency::KST {
            return Money::kst();
        }
        let listed = self.tokens.iter().find(|money| money.currency() == currency);
        listed.cloned().unwrap_or_else(|| Money::unnamed(currency))
    }

    /// The tokens that are listed.
    pub(super) fn tokens(&self) -> &[Money] {
        &self.tokens
    }

    /// Makes the register say what this process offers, and that it takes orders; costs nothing if it says so already.
    pub(super) async fn announce(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.publish().await?;
        if self.market.my_entry().await?.is_some_and(|entry| !entry.offering) {
            self.market.resume().await?;
        }
        let price = Money::kst().show(U256::from(self.price_wei_per_unit));
        say(&format!("Provider {} takes orders at {price} a unit", self.market.account.address()));
        for money in &self.tokens {
            let price =
                least(&self.shown().record, money.currency()).map(|least| money.show(least)).unwrap_or_default();
            say(&format!("  token     {price} a unit, paid in {}", money.currency().address()));
        }
        let record = self.record();
        let country = &record.claimed.place.country;
        if !country.is_empty() {
            say(&format!("  country   {country}, as you claim: customers are told that nobody checks it"));
        }
        say(&format!("  record    {} ({RECORD_FILE})", record.hash()));
        say(&format!("  endpoint  {}", self.reached.address));
        Ok(())
    }

    /// Puts other statements of checkers in the record, strictly ascending by device, and registers its new hash. Whether orders are taken does not
    /// change.
    ///
    /// # Errors
    /// Statements that the record cannot hold (another provider's, of a device that is not there): nothing changed. The chain: the new record is on the
    /// disk, and is registered at the next call or start.
    pub(super) async fn replace_attested(&self, attested: Vec<Attested>) -> Result<()> {
        let _turn = self.turn.lock().await;
        let old = self.record();
        if old.attested != attested {
            let draft = Draft { attested, ..Draft::from(old.clone()) };
            let record = Record::new(draft).wrap_err("the record cannot hold these statements")?;
            let record = reissued(record, self.market.account.head().await?.0)?;
            let mut shown = self.shown();
            shown.before = Some((old.hash(), old.encode().into()));
            shown.record = record;
        }
        self.publish().await
    }

    async fn publish(&self) -> Result<()> {
        let record = self.record();
        let json = serde_json::to_vec_pretty(&record).wrap_err("cannot write the record")?;
        files::replace(&self.path, &json)?;
        let offer = IProviders::Offer {
            nodeId: self.reached.node.as_bytes().into(),
            capabilityHash: record.hash(),
            priceWeiPerUnit: self.price_wei_per_unit,
            endpoint: self.reached.address.clone(),
        };
        match self.market.my_entry().await? {
            None => drop(self.market.register(offer).await?),
            Some(entry) => {
                let same = entry.nodeId == offer.nodeId
                    && entry.capabilityHash == offer.capabilityHash
                    && entry.priceWeiPerUnit == offer.priceWeiPerUnit
                    && entry.endpoint == offer.endpoint;
                if !same {
                    self.market.update(offer).await?;
                }
            }
        }
        Ok(())
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        // No code panics while it holds this lock.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing is done for a currency that is not listed.
pub(super) fn unlisted(currency: Currency) -> String {
    format!("this provider lists no price in the token {}: `keystead offers` shows what it takes", currency.address())
}

/// What a unit of a job costs, in smallest units; `None` if the record lists no price in that currency. Spec: specs/0010-capability.md §3.4.
pub(super) fn price_of(record: &Record, register_wei: u128, spec: &JobSpec, currency: Currency) -> Option<U256> {
    // The register's price is one in KST.
    let least = match currency.contract() {
        None => U256::from(register_wei),
        Some(_) => least(record, currency)?,
    };
    let kernel = kernel_of(spec);
    let mut listed = record.claimed.prices.iter().filter(|price| price.currency == currency);
    let per_mop = listed.find(|price| price.kernel == kernel).map_or(0, |price| price.per_mop);
    let work = U256::from(per_mop).saturating_mul(U256::from(work_mop(spec)));
    Some(work.max(least).max(U256::from(1)))
}

/// The least price of a unit that a record lists in a currency.
fn least(record: &Record, currency: Currency) -> Option<U256> {
    let listed = record.claimed.prices.iter().filter(|price| price.currency == currency);
    listed.map(|price| price.per_unit_min).max()
}

/// The same content, written at this height.
fn reissued(record: Record, issued_height: u64) -> Result<Record> {
    Record::new(Draft { issued_height, ..Draft::from(record) }).wrap_err("the record cannot be written anew")
}

/// The record that a provider's folder has, if it has one.
pub(super) fn kept(folder: &Path) -> Option<Record> {
    stored(&folder.join(RECORD_FILE))
}

/// The record of an earlier start. A file that is none is as good as no file: a new one is made.
fn stored(path: &Path) -> Option<Record> {
    let text = files::read(path).ok().flatten()?;
    serde_json::from_str(&text).inspect_err(|error| tracing::warn!(%error, "{} is not read", path.display())).ok()
}
