//! Which provider gets the order: the one that costs least, all in all, of those that fit and answer; or the one that was named.
//!
//! # Design
//! What is known of the offers is read once and kept ([`Offers`]): after an order that failed at once, the next provider comes from the same plan. It is read
//! anew if nobody was tried since: then the market refused the order because somebody changed its offer. And it is read anew once it is old: the market
//! holds a provider to its price, and nobody to where it stood an hour ago, or to how its orders had ended by then.

use super::{deliver, plan::Prepared};
use crate::{
    cli::Demands,
    compute::{
        amount::kst,
        market::Market,
        matching::{
            absent::Absent,
            carbon,
            explain::Explanation,
            gather::{Gathered, Patience, Sight, gather, part},
            known::Known,
            live::{self, Silence},
            need::{Asked, OWN_CHECK, asks_for_cards},
        },
        money::Money,
    },
};
use alloy_primitives::{Address, U256};
use eyre::Result;
use keystead_blobs::Address as Endpoint;
use keystead_market::{Currency, FirmPrice, Match, Need, quote::Terms};
use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Gas of an order, of its acceptance or rejection, and of taking a refund, with what estimates are rounded up by.
const GAS_MAX: u64 = 450_000;
/// The same in a token, with its approval, and the end of an earlier one. Tokens that need more are rare.
pub(super) const GAS_IN_TOKEN_MAX: u64 = 750_000;
/// Blocks for which the price is held: the order is sent at once, and a node that is behind still takes it.
const VALID_BLOCKS: u64 = 100;
/// How long what is known of the offers counts: providers that decline or cannot be reached are passed over in it, one that works for longer is not.
const READ_MAX: Duration = Duration::from_secs(60);
/// Providers that are named as not heard.
const UNHEARD_NAMED_MAX: usize = 3;

/// Whom to order from, at which price.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) account: Address,
    /// In wei, or in the smallest units of the token that the job is paid in, as all that follows.
    pub(super) price_wei_per_unit: u128,
    pub(super) endpoint: Endpoint,
    /// Units times price.
    pub(super) total_wei: U256,
    /// From its lease to its delivery, unless the person says otherwise.
    pub(super) deliver_seconds: u32,
    /// The firm price for a person, line by line; empty for an order that was placed already.
    pub(super) lines: Vec<String>,
}

/// What the customer wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) demands: &'a Demands,
    pub(super) provider: Option<Address>,
    /// What is paid in.
    pub(super) money: &'a Money,
    pub(super) total_wei_max: Option<U256>,
    /// Providers that had their chance.
    pub(super) tried: &'a [Address],
}

/// What is known of the offers for one job, from the first time that somebody asks.
#[derive(Debug, Default)]
pub(super) struct Offers(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    gathered: Gathered,
    /// When it was read.
    at: Instant,
    /// Who was tried when this was last asked.
    tried: usize,
}

/// Whether what was read so long ago, when so many had been tried, counts for the next provider.
fn is_fresh(age: Duration, tried_then: usize, tried: usize) -> bool {
    tried_then < tried && age < READ_MAX
}

impl Offers {
    /// Forgets them, and says goodbye to everybody who was asked.
    pub(super) async fn close(&self) {
        if let Some(read) = self.0.lock().await.take() {
            part(&read.gathered.socket).await;
        }
    }
}

/// Why there is nobody to order from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nobody {
    /// The named provider is none.
    #[error("{0} is not registered as a provider")]
    Unregistered(Address),
    /// The named provider has paused.
    #[error("provider {0} takes no orders at the moment: choose another or none")]
    Paused(Address),
    /// The named provider cannot be dialled.
    #[error("provider {account} published an endpoint that cannot be dialled: {endpoint:?}")]
    Endpoint {
        /// Who.
        account: Address,
        /// What it published. Hostile text.
        endpoint: String,
    },
    /// The named provider does not take it now.
    #[error("provider {account} {why}: choose another or none")]
    Unwilling {
        /// Who.
        account: Address,
        /// Its reason.
        why: String,
    },
    /// Nobody takes orders.
    #[error("no provider takes orders on this network: start one with `keystead provide`, or try later")]
    None,
    /// Nobody but those that were tried.
    #[error("no other provider takes orders on this network that fits the job")]
    NoOther,
    /// Nobody fits.
    #[error("no provider takes orders for this job{}:\n{explanation}", if *too_dear { ", or the price is above --max-price" } else { "" })]
    NoMatch {
        /// Some fall because of the price alone.
        too_dear: bool,
        /// Who falls where, and what would bring one in.
        explanation: String,
    },
    /// The named one is too dear.
    #[error("the price is above --max-price: {units} units at {unit} cost {total}, the limit is {limit}")]
    TooDear {
        /// Of the job.
        units: u32,
        /// What one costs.
        unit: String,
        /// What all cost.
        total: String,
        /// What the customer would pay.
        limit: String,
    },
    /// Where it stands, and how its orders ended, is looked at of providers with a record alone.
    #[error(
        "provider {account} {absent}, so whether it meets --country and --min-completed is not known: leave them out, or choose another"
    )]
    NotJudged {
        /// Who.
        account: Address,
        /// Why its record is not there.
        absent: Absent,
    },
    /// Only its record says what a token is worth to it.
    #[error("provider {account} {absent}, so its price in a token is not known: pay it in KST, or choose another")]
    NoPrice {
        /// Who.
        account: Address,
        /// Why its record is not there.
        absent: Absent,
    },
}

/// Plans over what is known. The outer error is the node's.
pub(super) async fn choose(market: &Market, wish: Wish<'_>) -> Result<Result<Choice, Nobody>> {
    let mut kept = wish.prepared.offers.0.lock().await;
    let fresh = kept.take().filter(|read| is_fresh(read.at.elapsed(), read.tried, wish.tried.len()));
    let (gathered, at) = match fresh {
        Some(read) => (read.gathered, read.at),
        None => {
            let (only, currency) = (wish.provider.as_slice(), wish.money.currency());
            let (cards, interpreters) = (asks_for_cards(&wish.demands.hardware), wish.demands.take_interpreters());
            let sight = Sight { only, currency, cards, interpreters };
            let at = Instant::now();
            (gather(market, wish.demands.records.as_deref(), wish.patience(), sight).await?, at)
        }
    };
    let read = kept.insert(Read { gathered, at, tried: wish.tried.len() });
    match wish.provider {
        Some(account) => named(market, &mut read.gathered, wish, account).await,
        None => best(market, &mut read.gathered, wish).await,
    }
}

impl Wish<'_> {
    fn need(&self, checkable: bool) -> Need {
        let prepared = self.prepared;
        let asked = Asked {
            spec: &prepared.spec,
            input_bytes: prepared.input_bytes(),
            demands: self.demands,
            currency: self.money.currency(),
            total_wei_max: self.total_wei_max,
            tried: self.tried,
            checkable,
        };
        asked.need(OWN_CHECK)
    }

    fn patience(&self) -> Patience {
        Patience::ORDER.or(self.demands.patience_ms)
    }

    const fn silence(&self) -> Silence {
        // A name is trust enough to try it.
        if self.demands.unanswered || self.provider.is_some() { Silence::IsTaken } else { Silence::LeavesOut }
    }
}

async fn best(market: &Market, gathered: &mut Gathered, wish: Wish<'_>) -> Result<Result<Choice, Nobody>> {
    if gathered.known.providers.is_empty() {
        return Ok(Err(Nobody::None));
    }
    let need = wish.need(gathered.known.checkable);
    let plan = live::plan(gathered, market, &need, wish.patience(), wish.silence()).await?;
    match plan.best.first() {
        Some(fit) => Ok(Ok(choice(market, gathered, (&need, wish.money), fit).await?)),
        None if !wish.tried.is_empty() => Ok(Err(Nobody::NoOther)),
        None => {
            let explanation = Explanation::of(&gathered.known, &need, &plan)?.written_in(wish.money);
            Ok(Err(Nobody::NoMatch { too_dear: explanation.too_dear(), explanation: explanation.words() }))
        }
    }
}

/// The named provider: what it says of itself counts, what it does not say does not keep it out, but for where it stands and how its orders ended.
async fn named(
    market: &Market,
    gathered: &mut Gathered,
    wish: Wish<'_>,
    account: Address,
) -> Result<Result<Choice, Nobody>> {
    let Some(provider) = gathered.known.providers.get(&account) else {
        return Ok(Err(Nobody::Unregistered(account)));
    };
    let (endpoint, published) = (provider.endpoint.clone(), provider.entry.endpoint.clone());
    let (record, listed) = (provider.record.clone(), provider.entry.price_wei_per_unit);
    let Some(endpoint) = endpoint else {
        return Ok(Err(match record {
            Err(Absent::Paused) => Nobody::Paused(account),
            _ => Nobody::Endpoint { account, endpoint: published },
        }));
    };
    let absent = match record {
        Ok(_) => {
            let answer = best(market, gathered, wish).await?;
            let refused = matches!(answer, Err(Nobody::NoMatch { .. })).then(|| refusal(gathered, account)).flatten();
            return Ok(refused.map_or(answer, Err));
        }
        Err(Absent::Paused) => return Ok(Err(Nobody::Paused(account))),
        Err(Absent::WrongRecord(_)) => return Ok(Err(refusal(gathered, account).unwrap_or(Nobody::None))),
        Err(absent) => absent,
    };
    if wish.demands.bind_whoever_is_named() {
        return Ok(Err(Nobody::NotJudged { account, absent }));
    }
    // The register has a price in KST alone.
    if wish.money.currency() != Currency::KST {
        return Ok(Err(Nobody::NoPrice { account, absent }));
    }
    let units = wish.prepared.spec.unit_count;
    let (unit_wei, total_wei) = (U256::from(listed), U256::from(listed).saturating_mul(U256::from(units)));
    if let Some(limit_wei) = wish.total_wei_max.filter(|limit| total_wei > *limit) {
        let amount = |wei| wish.money.show(wei);
        let (unit, total, limit) = (amount(unit_wei), amount(total_wei), amount(limit_wei));
        return Ok(Err(Nobody::TooDear { units, unit, total, limit }));
    }
    let lines = vec![format!("  Nothing is known of its machine, it {absent}.")];
    let deliver_seconds = deliver::SECONDS_MAX;
    Ok(Ok(Choice { account, price_wei_per_unit: listed, endpoint, total_wei, deliver_seconds, lines }))
}

/// What the named provider answered, if that is why it does not take the job.
fn refusal(gathered: &Gathered, account: Address) -> Option<Nobody> {
    let absent = gathered.known.providers.get(&account)?.record.as_ref().err()?;
    Some(Nobody::Unwilling { account, why: absent.to_string() })
}

/// The offer as a choice, with its firm price.
async fn choice(market: &Market, gathered: &Gathered, (need, money): (&Need, &Money), fit: &Match) -> Result<Choice> {
    let account = fit.key.provider;
    let provider = gathered.known.providers.get(&account);
    let country = provider.and_then(|provider| provider.country());
    let endpoint = provider.and_then(|provider| provider.endpoint.clone());
    // An offer is in the table only if its provider has an endpoint.
    let endpoint = endpoint.ok_or_else(|| eyre::eyre!("provider {account} has no endpoint"))?;
    let terms = Terms {
        per_gib: U256::ZERO,
        gas_max: if need.currency == Currency::KST { GAS_MAX } else { GAS_IN_TOKEN_MAX },
        fee_per_gas_max_wei: market.account.fee_per_gas_max().await?,
        height: market.account.head().await?.0,
        valid_blocks: VALID_BLOCKS,
    };
    let firm = FirmPrice::new(need, fit, &terms);
    let mut lines: Vec<String> = firm.words(money.unit()).lines().map(str::to_owned).collect();
    lines.extend(country.map(|code| format!("  It claims to stand in {code}; nobody checked that.")));
    let lapsed = provider.and_then(|provider| provider.lapsed);
    lines.extend(lapsed.map(|lapse| format!("  Its hardware counts as not proved: {lapse}.")));
    lines.extend(carbon::words(need, fit).map(|words| format!("  Carbon: {words}.")));
    // Who was not heard is known by its price in KST alone.
    if need.currency == Currency::KST {
        lines.extend(unheard(&gathered.known, need, fit.price_per_unit));
    }
    Ok(Choice {
        account,
        // No price is above what the market takes, 10^24.
        price_wei_per_unit: fit.price_per_unit.saturating_to(),
        endpoint,
        total_wei: fit.price_per_unit.saturating_mul(U256::from(need.units)),
        deliver_seconds: deliver::seconds(fit.finish_us),
        lines,
    })
}

/// Who lists less than the price that was found and was not heard: nobody is passed over without a word.
fn unheard(known: &Known, need: &Need, price_wei_per_unit: U256) -> Vec<String> {
    let mut below = known.unheard_below(price_wei_per_unit);
    below.retain(|(one, _)| !need.providers_excluded.contains(&one.entry.account));
    let named = below.iter().take(UNHEARD_NAMED_MAX).map(|(one, absent)| {
        let (account, listed) = (one.entry.account, kst(U256::from(one.entry.price_wei_per_unit)));
        format!("  Left out, though it lists {listed} per unit: provider {account} {absent}")
    });
    let mut lines: Vec<String> = named.collect();
    let more = below.len().saturating_sub(UNHEARD_NAMED_MAX);
    if more > 0 {
        lines.push(format!("  Left out likewise: {more} more"));
    }
    if !lines.is_empty() {
        lines.push("  --patience-ms waits longer for those who do not answer at once".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_offers_counts_for_the_next_provider_and_for_a_minute() {
        let second = Duration::from_secs(1);
        assert!(is_fresh(Duration::ZERO, 0, 1) && is_fresh(READ_MAX.saturating_sub(second), 1, 3));
        assert!(!is_fresh(Duration::ZERO, 1, 1), "the market refused it: somebody changed its offer");
        assert!(!is_fresh(READ_MAX, 0, 1), "a provider may stand in another country by now");
    }
}
