//! `keystead run` from its first line to its last.

use super::{
    attempts::Attempts,
    choose::{Choice, Wish, choose},
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
use alloy_primitives::U256;
use eyre::{Context as _, Result};
use keystead_audit::SampleRule;
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
    match work(options, &prepared, &folder, stored).await {
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
            let wish = wish(options, prepared, &[]);
            let choice = choose(&market, wish).await??;
            attempts.introduce(&choice);
            let attempt = sign(options, &market, prepared, &choice).await.wrap_err("the order was not placed")?;
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

pub(super) const fn wish<'a>(
    options: &'a Run,
    prepared: &'a Prepared,
    tried: &'a [alloy_primitives::Address],
) -> Wish<'a> {
    let (provider, total_wei_max) = (options.provider, options.max_price);
    Wish { prepared, demands: &options.demands, provider, total_wei_max, tried }
}

/// An order that nothing is known to speak against, signed and not sent.
pub(super) async fn sign(options: &Run, market: &Market, prepared: &Prepared, choice: &Choice) -> Result<Attempt> {
    let terms = terms(options, prepared, choice)?;
    // Said before the estimate of the fee, which would fail for the same reason.
    market.account.afford(choice.total_wei).await?;
    let signed = market.sign_order(terms.clone()).await?;
    Ok(Attempt { seed: options.sample_seed, ..Attempt::new(choice, &terms, signed) })
}

pub(super) fn rule(options: &Run) -> SampleRule {
    SampleRule {
        rate_ppm: options
            .sample_rate
            .map_or(SampleRule::START.rate_ppm, |percent| percent.saturating_mul(PPM_PER_PERCENT)),
        units_min: options.sample.unwrap_or(SampleRule::START.units_min),
    }
}

/// The price, before anything is paid.
pub(super) fn price(prepared: &Prepared, choice: &Choice) -> String {
    let line = format!(
        "Price: {} ({} units x {}), from provider {}",
        kst(choice.total_wei),
        prepared.spec.unit_count,
        kst(U256::from(choice.price_wei_per_unit)),
        choice.account
    );
    [vec![line], choice.lines.clone()].concat().join("\n")
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
    patiently("take the refund", async || match market.withdraw().await {
        Err(_) if market.credit().await?.is_zero() => Ok(()),
        other => other.map(drop),
    })
    .await
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
pub(super) fn say(line: &str) {
    println!("{line}");
}
