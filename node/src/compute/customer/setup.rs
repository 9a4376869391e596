//! `keystead run` from its first line to its last.

use super::{
    attempts::Attempts,
    audit::{
        canary::{Canary, Meant},
        plan::{Plan, Unfit},
    },
    choose::{Choice, GAS_IN_TOKEN_MAX, Nobody, Wish, choose},
    folder::Folder,
    gas::{ENDING_IN_TOKEN, Gas},
    happened::Ended,
    plan::{Prepared, prepare},
    show::Show,
    state::{Attempt, AuditTerms, Identity, Mismatch, State},
    terms::terms,
};
use crate::{
    cli::{self, Run},
    compute::{
        account::{Cost, Signed},
        amount::{counted, duration, kst},
        canary::{CanaryFile, Deal},
        event_log::{EventLog, Happened},
        market::{Market, Taken},
        matching::need::CHECKERS_ANYWHERE,
        money::Money,
        provider_log::{Detail, ProviderLog},
        results::FILE as OUTPUTS_FILE,
        token::Token,
        wallet,
    },
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Context as _, Report, Result, ensure};
use keystead_audit::SampleRule;
use keystead_contracts::{MARKET_ADDRESS, bindings::market::IMarket};
use keystead_job::Class;
use keystead_market::Currency;
use serde_json::json;
use std::{collections::BTreeSet, process::ExitCode, sync::Arc, time::Duration};
use tokio::time::sleep;

/// Right as far as the sample shows, and paid.
pub(super) const EXIT_ACCEPTED: u8 = 0;
/// Refused, refunded, or not begun.
pub(super) const EXIT_REFUSED: u8 = 1;
/// Nobody can say yet: the order goes on, or the result could not be checked here. 2 is a wrong command line.
pub(super) const EXIT_UNDECIDED: u8 = 3;
/// Parts per million in a percent.
const PPM_PER_PERCENT: u32 = 10_000;
/// How often a node that does not answer is asked again, a second apart.
const TRIES: u32 = 20;
/// So often one order's escrow is approved: other processes of the account may take what was approved for it.
const APPROVALS_MAX: u32 = 8;

/// Who orders what, and what it pays with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buyer<'a> {
    pub(super) options: &'a Run,
    pub(super) market: &'a Market,
    pub(super) prepared: &'a Prepared,
    pub(super) money: &'a Money,
    /// The unit that is wrong on purpose, if one is.
    pub(super) canary: Option<Meant>,
}

/// `keystead run`.
pub(crate) async fn run(options: &Run) -> Result<ExitCode> {
    let log = Arc::new(EventLog::open(options.told.events.as_deref())?);
    let ended = Box::pin(see_through(options, &log)).await;
    tell_end(&log, &ended);
    Ok(ExitCode::from(ended?.code))
}

/// Fails if what is asked for contradicts itself.
fn consistent(options: &Run) -> Result<()> {
    ensure!(
        options.token.is_none() || options.audit.unit_value.is_some() || !options.audit.is_wanted(),
        "the audit of an order in a token has its fees and bond in KST: say with --unit-value WEI what a unit is worth in KST, or order without --audit"
    );
    ensure!(
        !options.audit.is_in_vain(),
        "--checkers, --audit-rate and --checker-fee say how others check, but nobody is asked to: give --audit, or --private with --name-checker, too"
    );
    ensure!(
        options.audit.canary.is_none() || options.audit.is_wanted(),
        "--canary is for drawn checkers, but nobody is asked to check: give --audit, too"
    );
    Ok(())
}

/// The last line that a program gets, unless the process is killed.
fn tell_end(log: &EventLog, ended: &Result<Ended>) {
    let (code, why) = match ended {
        Ok(Ended { code, why }) => (*code, why.clone()),
        Err(error) => (EXIT_REFUSED, format!("{error:#}")),
    };
    let no_offer = ended.as_ref().err().and_then(|error| error.downcast_ref::<NoOffer>());
    let facts = if no_offer.is_some_and(NoOffer::is_too_dear) {
        json!({"exitCode": code, "aboveMaxPrice": true})
    } else {
        json!({"exitCode": code})
    };
    let event = match code {
        EXIT_ACCEPTED => "done",
        EXIT_UNDECIDED => "undecided",
        _ => "failed",
    };
    log.tell(&Happened { event, provider: None, detail: &why, facts });
}

/// From the files of the job to its end, or to the end of this process.
async fn see_through(options: &Run, log: &Arc<EventLog>) -> Result<Ended> {
    consistent(options)?;
    let prepared = prepare(options.into()).await?;
    ensure!(
        !options.keep_outputs || prepared.recipe.outputs.iter().all(|output| output.file != OUTPUTS_FILE),
        "the recipe has a file named {OUTPUTS_FILE} itself: order without --keep-outputs"
    );
    let folder = Folder::open(&options.out)?;
    let stored = folder.load()?;
    let worked = Box::pin(work(options, &prepared, (&folder, log), stored)).await;
    prepared.offers.close().await;
    match worked {
        // The command was wrong, not the order.
        Err(error) if error.downcast_ref::<Mismatch>().is_some() => Err(error),
        Err(error) if folder.is_open() => {
            cli::print_error(&error);
            log.answer(
                "The order is not over: run the same command again to go on with it. Its escrow follows the contract's rules.",
            );
            Ok(Ended { code: EXIT_UNDECIDED, why: format!("{error:#}") })
        }
        other => other,
    }
}

async fn work(
    options: &Run,
    prepared: &Prepared,
    (folder, log): (&Folder, &Arc<EventLog>),
    stored: Option<State>,
) -> Result<Ended> {
    let account =
        wallet::of_customer(&options.wallet, options.dir.as_deref(), &options.rpc, |line| log.answer(line)).await?;
    let account = Arc::new(account);
    let identity = Identity {
        chain_id: account.chain_id(),
        genesis: account.genesis().await?,
        customer: account.address(),
        job: prepared.spec.hash(),
        token: options.token,
    };
    let market = Market { account };
    let money = Money::read(&market.account, options.token).await?;
    let canary = match &stored {
        // As the order was begun.
        Some(State { attempt, .. }) => attempt.canary.map(|canary| Meant::new(attempt.provider, canary)),
        None => canary(options, &market, prepared, folder).await?,
    };
    let buyer = Buyer { options, market: &market, prepared, money: &money, canary };
    let says = ProviderLog::new(&options.out, Detail::of(options.told.verbose));
    let attempts = Attempts::new(buyer, folder, Show::new(Arc::clone(log), says))?;
    match stored {
        Some(state) => {
            state.belongs_to(&identity).wrap_err_with(|| format!("cannot go on in {}", options.out.display()))?;
            Box::pin(attempts.go_on(state)).await
        }
        None => {
            let offer = buyer.offer(&[]).await??;
            attempts.introduce(&offer);
            let attempt = attempts.draft(&offer).await.wrap_err("the order was not placed")?;
            let state = State::new(identity, rule(options), attempt);
            // Before anything is sent: from here on a process that starts again can only place the very same order.
            folder.save(&state)?;
            Box::pin(attempts.begin(state)).await
        }
    }
}

/// The unit that is to be wrong on purpose, computed here; nothing is sent.
async fn canary(options: &Run, market: &Market, prepared: &Prepared, folder: &Folder) -> Result<Option<Meant>> {
    let (Some(path), Some(provider)) = (&options.audit.canary, options.provider) else { return Ok(None) };
    let file = CanaryFile::read(path)?;
    let (customer, asked) = (market.account.address(), file.customer());
    ensure!(
        customer == asked,
        "{} is for orders of {asked}, this wallet is {customer}: `keystead canary new --customer {customer}` makes another",
        path.display()
    );
    let node = B256::new(*folder.node()?.secret.id().as_bytes());
    let (chain_id, job) = (market.account.chain_id(), prepared.spec.hash());
    let deal = Deal { chain_id, customer, provider, job, node };
    let canary = Box::pin(Canary::plan(&file, &deal, prepared)).await?;
    Ok(Some(Meant::new(provider, canary)))
}

/// Providers that cannot take an order as it is asked for, at most, before nobody is said to.
const UNFIT_MAX: usize = 64;

/// Whom to order from, and the audit that the order has, if one is wanted.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) choice: Choice,
    pub(super) audit: Option<Plan>,
}

impl Offer {
    /// Paid for checks, wei.
    pub(super) fn deposit_wei(&self) -> U256 {
        self.audit.as_ref().map_or(U256::ZERO, |audit| audit.deposit_wei)
    }

    /// What telling a canary may take, wei.
    fn canary_wei(&self) -> U256 {
        self.audit.as_ref().map_or(U256::ZERO, Plan::canary_wei)
    }
}

/// Why there is nobody to order from.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoOffer {
    /// The register has nobody.
    #[error(transparent)]
    Nobody(#[from] Nobody),
    /// Nobody can be audited as it is asked for; the cheapest one's reason.
    #[error("{0}")]
    Unfit(Box<Unfit>),
    /// With the deposit for checks it is too dear.
    #[error("{0}")]
    TooDear(Box<TooDear>),
}

impl NoOffer {
    /// Whether somebody would take the order for more.
    const fn is_too_dear(&self) -> bool {
        matches!(self, Self::TooDear(_) | Self::Nobody(Nobody::TooDear { .. } | Nobody::NoMatch { too_dear: true, .. }))
    }
}

/// A price above the customer's limit.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the price is above --max-price: {} for the units and {} as a deposit for checks{}, the limit is {}",
    kst(*price_wei),
    kst(*deposit_wei),
    for_canary(*canary_wei),
    kst(*limit_wei)
)]
pub(super) struct TooDear {
    /// Of all units.
    price_wei: U256,
    /// For checks.
    deposit_wei: U256,
    /// At most, for telling a canary.
    canary_wei: U256,
    /// What the customer would pay.
    limit_wei: U256,
}

/// The part of a price that is a canary's; nothing without one.
fn for_canary(wei: U256) -> String {
    if wei.is_zero() { String::new() } else { format!(", and at most {} for its canary", kst(wei)) }
}

impl<'a> Buyer<'a> {
    /// The cheapest provider that can take the order as it is asked for. The outer error is the node's.
    pub(super) async fn offer(self, tried: &[Address]) -> Result<Result<Offer, NoOffer>> {
        let Self { options, market, .. } = self;
        let mut tried = tried.to_vec();
        let mut cheapest = None;
        for _ in 0..UNFIT_MAX {
            let choice = match choose(market, self.wish(&tried)).await? {
                Ok(choice) => choice,
                Err(nobody) => {
                    return Ok(Err(cheapest.map_or(NoOffer::Nobody(nobody), |unfit| NoOffer::Unfit(Box::new(unfit)))));
                }
            };
            if !options.audit.is_wanted() {
                return Ok(Ok(Offer { choice, audit: None }));
            }
            match self.audit(&choice).await? {
                Ok(audit) => return Ok(self.within_price(Offer { choice, audit: Some(audit) })),
                Err(unfit) if options.provider.is_some() => return Ok(Err(NoOffer::Unfit(Box::new(unfit)))),
                Err(unfit) => {
                    cheapest.get_or_insert(unfit);
                    tried.push(choice.account);
                }
            }
        }
        Ok(Err(cheapest.map_or(NoOffer::Nobody(Nobody::NoOther), |unfit| NoOffer::Unfit(Box::new(unfit)))))
    }

    const fn wish<'b>(self, tried: &'b [Address]) -> Wish<'b>
    where
        'a: 'b,
    {
        let Self { options, prepared, money, .. } = self;
        let (provider, total_wei_max) = (options.provider, options.max_price);
        Wish { prepared, demands: &options.demands, provider, money, total_wei_max, tried }
    }

    async fn audit(self, choice: &Choice) -> Result<Result<Plan, Unfit>> {
        let audit = &self.options.audit;
        let value_wei = audit.unit_value.unwrap_or(choice.price_wei_per_unit);
        let canary = self.canary.and_then(|meant| meant.with(choice.account));
        Plan::make(audit, self.market, self.prepared, (choice.account, value_wei), canary).await
    }

    /// A deposit counts against the limit if both are in KST; the planner held the price alone against it.
    fn within_price(self, offer: Offer) -> Result<Offer, NoOffer> {
        let (deposit_wei, canary_wei) = (offer.deposit_wei(), offer.canary_wei());
        let total_wei = offer.choice.total_wei.saturating_add(deposit_wei).saturating_add(canary_wei);
        match self.options.max_price.filter(|limit| self.money.currency() == Currency::KST && total_wei > *limit) {
            Some(limit_wei) => {
                let price_wei = offer.choice.total_wei;
                Err(NoOffer::TooDear(Box::new(TooDear { price_wei, deposit_wei, canary_wei, limit_wei })))
            }
            None => Ok(offer),
        }
    }

    /// An order that nothing is known to speak against, not sent; signed, unless the market must be approved first. And the most that it costs in gas.
    pub(super) async fn draft(self, offer: &Offer) -> Result<(Attempt, Gas)> {
        let Self { market, money, .. } = self;
        let terms = terms(self, &offer.choice)?;
        let audit = offer.audit.as_ref();
        let (seed, private) = (self.options.sample_seed, self.options.audit.private && audit.is_none());
        let attempt = Attempt { seed, private, ..Attempt::new(&offer.choice, &terms, audit) };
        let fee_per_gas = U256::from(market.account.fee_per_gas_max().await?);
        let gas = |place_wei| Gas::new(place_wei, fee_per_gas, money.currency(), audit.map(Plan::drawn_most));
        let Some(token) = self.token() else {
            // Said before the estimate of the fee, which would fail for the same reason.
            let later_wei = audit.map_or(U256::ZERO, Plan::later_wei);
            let value_wei = offer.choice.total_wei.saturating_add(offer.deposit_wei()).saturating_add(later_wei);
            market.account.afford(Cost { value_wei, fee_wei: U256::ZERO }).await?;
            let signed = market.sign_order(terms, audit, money.currency()).await?;
            let gas = gas(signed.fee_wei_max);
            return Ok((attempt.signed(signed), gas));
        };
        token.afford(money, offer.choice.total_wei).await?;
        let fee_wei = |gas: u64| fee_per_gas.saturating_mul(U256::from(gas));
        let fee_wei_max = fee_wei(GAS_IN_TOKEN_MAX);
        let later_wei = audit.map_or(U256::ZERO, Plan::later_wei);
        let value_wei = offer.deposit_wei().saturating_add(later_wei);
        market.account.afford(Cost { value_wei, fee_wei: fee_wei_max }).await?;
        Ok((attempt, gas(fee_wei(GAS_IN_TOKEN_MAX.saturating_sub(ENDING_IN_TOKEN)))))
    }

    /// Lets the market take the escrow of an order in a token, and signs the order. Done already is done as well, also by an earlier process.
    ///
    /// # Errors
    /// Also if the terms of its audit are no longer at least those that were agreed to: its provider may have bound its bond elsewhere meanwhile, or this
    /// process may have been started with other options.
    pub(super) async fn fund(self, attempt: &Attempt) -> Result<Attempt> {
        let choice = attempt.choice()?;
        let terms = terms(self, &choice)?;
        let audit = match &attempt.audit {
            None => None,
            Some(agreed) => {
                let plan = self.audit(&choice).await??;
                match agreed.worse(&AuditTerms::from(&plan)) {
                    Some(what) => return Err(AuditChanged(what).into()),
                    None => Some(plan),
                }
            }
        };
        let signed = self.approve_and_sign(&terms, audit.as_ref(), choice.total_wei).await?;
        let audit = audit.as_ref().map(AuditTerms::from);
        Ok(Attempt { audit, ..attempt.clone() }.signed(signed))
    }

    /// Approved again where another process of this account was quicker.
    async fn approve_and_sign(self, terms: &IMarket::Terms, audit: Option<&Plan>, total_wei: U256) -> Result<Signed> {
        let mut tries = 1_u32;
        loop {
            if let Some(token) = self.token() {
                token.approve(total_wei).await.wrap_err("the market was not approved to take the price")?;
            }
            let signed = self.market.sign_order(terms.clone(), audit, self.money.currency()).await;
            let is_short = match (&signed, self.token()) {
                (Err(_), Some(token)) if tries < APPROVALS_MAX => token.is_short(total_wei).await?,
                _ => false,
            };
            if !is_short {
                return signed;
            }
            tries = tries.saturating_add(1);
        }
    }

    /// Takes back what the market was approved to take for an order that did not take it.
    pub(super) async fn revoke(self, attempt: &Attempt) -> Result<()> {
        let Some(token) = self.token() else { return Ok(()) };
        patiently("take the approval back", async || token.take_back(attempt.escrow_wei()).await).await
    }

    fn token(self) -> Option<Token<'a>> {
        let account = &self.market.account;
        self.money.currency().contract().map(|contract| Token { account, contract, spender: MARKET_ADDRESS })
    }
}

/// The audit would no longer be the one whose price was shown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("its audit is not what was agreed to any more: {0}")]
pub(super) struct AuditChanged(String);

pub(super) fn rule(options: &Run) -> SampleRule {
    SampleRule {
        rate_ppm: options
            .sample_rate
            .map_or(SampleRule::START.rate_ppm, |percent| percent.saturating_mul(PPM_PER_PERCENT)),
        units_min: options.sample.unwrap_or(SampleRule::START.units_min),
    }
}

/// The price and who checks, before anything is paid.
pub(super) fn price(buyer: Buyer<'_>, offer: &Offer) -> Vec<String> {
    let Buyer { options, prepared, money, .. } = buyer;
    let Offer { choice, audit } = offer;
    let mut lines = vec![format!(
        "Price: {} ({} x {}), from provider {}",
        money.show(choice.total_wei),
        counted(prepared.spec.unit_count.into(), "unit"),
        money.show(U256::from(choice.price_wei_per_unit)),
        choice.account
    )];
    lines.extend(money.fine_print(choice.total_wei));
    lines.extend(choice.lines.iter().cloned());
    let deliver_seconds = options.deliver_seconds.unwrap_or(choice.deliver_seconds);
    lines.push(format!(
        "Time to deliver: {} from when the provider takes it; then the money comes back (--deliver-seconds)",
        duration(Duration::from_secs(deliver_seconds.into()))
    ));
    match audit {
        Some(audit) => {
            lines.extend(audit.lines(money, choice.total_wei));
            let is_drawn = !options.audit.private;
            lines.extend((is_drawn && !options.demands.country.is_empty()).then(|| CHECKERS_ANYWHERE.to_owned()));
        }
        None if options.audit.private => lines.push(
            "Private: the input goes to the provider alone, and nobody but you checks: for everybody else the result is unverified"
                .to_owned(),
        ),
        // Its checker program looks at every unit here.
        None if prepared.spec.class == Class::SelfChecking => {}
        None => lines.push(
            "Check: a sample, by this machine alone. --audit has machines drawn by lot check too, with the provider's bond behind it"
                .to_owned(),
        ),
    }
    lines
}

/// Asks again while the node cannot be reached, for a bounded time; every other error is an answer.
pub(super) async fn patiently<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let mut tries = 1_u32;
    loop {
        match ask().await {
            Err(error) if error.downcast_ref::<reqwest::Error>().is_some() && tries < TRIES => {
                tracing::warn!(error = format!("{error:#}"), what, "trying again");
                tries = tries.saturating_add(1);
                sleep(Duration::from_secs(1)).await;
            }
            other => return other.wrap_err_with(|| format!("cannot {what}")),
        }
    }
}

/// Takes home what the contracts owe this account in a currency, and in KST. Done already is done as well, also by another process of the same customer.
/// Why a token is still owed, if it refuses.
pub(super) async fn take_refund(market: &Market, currency: Currency) -> Result<Option<Report>> {
    let owed = take_from_market(market, currency).await?;
    take_from_audit(market).await?;
    Ok(owed)
}

/// Takes home what the market alone owes this account in a currency, and in KST: deposits for checks are in it. Why a token is still owed, if it refuses.
pub(super) async fn take_from_market(market: &Market, currency: Currency) -> Result<Option<Report>> {
    let mut owed = None;
    for currency in BTreeSet::from([Currency::KST, currency]) {
        if let Taken::Owed(reason) = patiently("take the refund", async || market.take(currency).await).await? {
            owed = Some(reason);
        }
    }
    Ok(owed)
}

/// Takes home what the audit owes this account: what checks did not cost, and bonds of accusations. How much it was.
pub(super) async fn take_from_audit(market: &Market) -> Result<U256> {
    patiently("take what the audit gives back", async || match market.windows().withdraw().await {
        Err(_) if market.windows().credit().await?.is_zero() => Ok(U256::ZERO),
        other => other,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_learns_whether_more_money_would_help() {
        let wei = U256::from(1);
        let dear = TooDear { price_wei: wei, deposit_wei: wei, canary_wei: wei, limit_wei: wei };
        assert!(NoOffer::TooDear(Box::new(dear)).is_too_dear());
        let no_match = |too_dear| NoOffer::Nobody(Nobody::NoMatch { too_dear, explanation: String::new() });
        assert!(no_match(true).is_too_dear() && !no_match(false).is_too_dear());
        assert!(!NoOffer::Nobody(Nobody::NoOther).is_too_dear());
    }

    #[test]
    fn a_price_that_is_too_high_names_a_canary_only_if_there_is_one() {
        let wei = U256::from(10).pow(U256::from(18));
        let dear = |canary_wei| TooDear { price_wei: wei, deposit_wei: wei, canary_wei, limit_wei: wei }.to_string();
        assert!(
            dear(U256::ZERO).ends_with("1 KST as a deposit for checks, the limit is 1 KST"),
            "{}",
            dear(U256::ZERO)
        );
        assert!(
            dear(wei).ends_with("deposit for checks, and at most 1 KST for its canary, the limit is 1 KST"),
            "{}",
            dear(wei)
        );
    }
}
