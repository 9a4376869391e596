//! `keystead run` from its first line to its last.

use super::{
    attempts::Attempts,
    audit::plan::{Plan, Unfit},
    choose::{Choice, Nobody, Wish, choose},
    folder::Folder,
    plan::{Prepared, prepare},
    show::Show,
    state::{Attempt, Identity, Mismatch, State},
    terms::terms,
};
use crate::{
    cli::{self, Run},
    client::Client,
    compute::{account::Account, amount::kst, market::Market, wallet},
};
use alloy_primitives::{Address, U256};
use eyre::{Context as _, Result};
use keystead_audit::SampleRule;
use keystead_job::Class;
use std::{process::ExitCode, sync::Arc, time::Duration};
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

/// `keystead run`.
pub(crate) async fn run(options: &Run) -> Result<ExitCode> {
    let prepared = prepare(options.into()).await?;
    let folder = Folder::open(&options.out)?;
    let stored = folder.load()?;
    let worked = work(options, &prepared, &folder, stored).await;
    prepared.offers.close().await;
    match worked {
        // The command was wrong, not the order.
        Err(error) if error.downcast_ref::<Mismatch>().is_some() => Err(error),
        Err(error) if folder.is_open() => {
            cli::print_error(&error);
            say(
                "The order is not over: run the same command again to go on with it. Its escrow follows the contract's rules.",
            );
            Ok(ExitCode::from(EXIT_UNDECIDED))
        }
        other => other,
    }
}

async fn work(options: &Run, prepared: &Prepared, folder: &Folder, stored: Option<State>) -> Result<ExitCode> {
    let account = Arc::new(connect(options).await?);
    let identity = Identity {
        chain_id: account.chain_id(),
        genesis: account.genesis().await?,
        customer: account.address(),
        job: prepared.spec.hash(),
    };
    let market = Market { account };
    let show = Show::new();
    let attempts = Attempts::new(options, &market, prepared, folder, show)?;
    match stored {
        Some(state) => {
            state.belongs_to(&identity).wrap_err_with(|| format!("cannot go on in {}", options.out.display()))?;
            Box::pin(attempts.go_on(state)).await
        }
        None => {
            let offer = offer(options, &market, prepared, &[]).await??;
            attempts.introduce(&offer);
            let attempt = attempts.sign(&offer).await.wrap_err("the order was not placed")?;
            let state = State::new(identity, rule(options), attempt);
            // Before it is sent: from here on a process that starts again can only send the very same transaction.
            folder.save(&state)?;
            Box::pin(attempts.begin(state)).await
        }
    }
}

async fn connect(options: &Run) -> Result<Account> {
    let wallet = wallet::open(&options.wallet, options.dir.as_deref())?;
    let account = Account::open(Client::new(&options.rpc)?, wallet.signer).await?;
    wallet::check_chain(&options.wallet, account.chain_id())?;
    if wallet.is_new {
        say(&format!("A new wallet: {}. It has no KST yet: send it some, then run this again.", account.address()));
    }
    Ok(account)
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
    /// All that is paid with the order.
    pub(super) fn total_wei(&self) -> U256 {
        let deposit_wei = self.audit.as_ref().map_or(U256::ZERO, |audit| audit.deposit_wei);
        self.choice.total_wei.saturating_add(deposit_wei)
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
    #[error(
        "the price is above --max-price: {} for the units and {} as a deposit for checks, the limit is {}",
        kst(*price_wei),
        kst(*deposit_wei),
        kst(*limit_wei)
    )]
    TooDear {
        /// Of all units.
        price_wei: U256,
        /// For checks.
        deposit_wei: U256,
        /// What the customer would pay.
        limit_wei: U256,
    },
}

/// The cheapest provider that can take the order as it is asked for. The outer error is the node's.
pub(super) async fn offer(
    options: &Run,
    market: &Market,
    prepared: &Prepared,
    tried: &[Address],
) -> Result<Result<Offer, NoOffer>> {
    let mut tried = tried.to_vec();
    let mut cheapest = None;
    for _ in 0..UNFIT_MAX {
        let choice = match choose(market, wish(options, prepared, &tried)).await? {
            Ok(choice) => choice,
            Err(nobody) => {
                return Ok(Err(cheapest.map_or(NoOffer::Nobody(nobody), |unfit| NoOffer::Unfit(Box::new(unfit)))));
            }
        };
        if !options.audit.is_wanted() {
            return Ok(Ok(Offer { choice, audit: None }));
        }
        match Plan::make(&options.audit, market, prepared, &choice).await? {
            Ok(audit) => return Ok(within_price(Offer { choice, audit: Some(audit) }, options.max_price)),
            Err(unfit) if options.provider.is_some() => return Ok(Err(NoOffer::Unfit(Box::new(unfit)))),
            Err(unfit) => {
                cheapest.get_or_insert(unfit);
                tried.push(choice.account);
            }
        }
    }
    Ok(Err(cheapest.map_or(NoOffer::Nobody(Nobody::NoOther), |unfit| NoOffer::Unfit(Box::new(unfit)))))
}

fn within_price(offer: Offer, limit_wei: Option<U256>) -> Result<Offer, NoOffer> {
    match limit_wei {
        Some(limit_wei) if offer.total_wei() > limit_wei => {
            let price_wei = offer.choice.total_wei;
            Err(NoOffer::TooDear { price_wei, deposit_wei: offer.total_wei().saturating_sub(price_wei), limit_wei })
        }
        _ => Ok(offer),
    }
}

const fn wish<'a>(options: &'a Run, prepared: &'a Prepared, tried: &'a [Address]) -> Wish<'a> {
    let (provider, total_wei_max) = (options.provider, options.max_price);
    Wish { prepared, demands: &options.demands, provider, total_wei_max, tried }
}

/// An order that nothing is known to speak against, signed and not sent; and the most that its placing costs in gas, wei.
pub(super) async fn sign(
    options: &Run,
    market: &Market,
    prepared: &Prepared,
    offer: &Offer,
) -> Result<(Attempt, U256)> {
    let terms = terms(options, prepared, &offer.choice)?;
    // Said before the estimate of the fee, which would fail for the same reason.
    market.account.afford(offer.total_wei()).await?;
    let audit = offer.audit.as_ref();
    let signed = market.sign_order(terms.clone(), audit).await?;
    let fee_wei_max = signed.fee_wei_max;
    let attempt = Attempt::new(&offer.choice, &terms, audit, signed);
    Ok((Attempt { seed: options.sample_seed, ..attempt }, fee_wei_max))
}

pub(super) fn rule(options: &Run) -> SampleRule {
    SampleRule {
        rate_ppm: options
            .sample_rate
            .map_or(SampleRule::START.rate_ppm, |percent| percent.saturating_mul(PPM_PER_PERCENT)),
        units_min: options.sample.unwrap_or(SampleRule::START.units_min),
    }
}

/// The price and who checks, before anything is paid.
pub(super) fn price(options: &Run, prepared: &Prepared, offer: &Offer) -> Vec<String> {
    let Offer { choice, audit } = offer;
    let mut lines = vec![format!(
        "Price: {} ({} units x {}), from provider {}",
        kst(choice.total_wei),
        prepared.spec.unit_count,
        kst(U256::from(choice.price_wei_per_unit)),
        choice.account
    )];
    lines.extend(choice.lines.iter().cloned());
    match audit {
        Some(audit) => lines.extend(audit.lines(choice.total_wei)),
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

/// Takes home what the market owes this account. Done already is done as well, also by another process of the same customer.
pub(super) async fn take_refund(market: &Market) -> Result<()> {
    take_from_market(market).await?;
    take_from_audit(market).await.map(drop)
}

/// Takes home what the market alone owes this account.
pub(super) async fn take_from_market(market: &Market) -> Result<()> {
    patiently("take the refund", async || match market.withdraw().await {
        Err(_) if market.credit().await?.is_zero() => Ok(()),
        other => other.map(drop),
    })
    .await
}

/// Takes home what the audit owes this account: what checks did not cost, and bonds of accusations. How much it was.
pub(super) async fn take_from_audit(market: &Market) -> Result<U256> {
    patiently("take what the audit gives back", async || match market.windows().withdraw().await {
        Err(_) if market.windows().credit().await?.is_zero() => Ok(U256::ZERO),
        other => other,
    })
    .await
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(super) fn say(line: &str) {
    println!("{line}");
}
