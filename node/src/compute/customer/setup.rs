//! `keystead run` from its first line to its last.

use super::{
    choose::{Choice, Wish, choose},
    follow::{End, Following},
    plan::{Prepared, prepare},
    result,
    show::Show,
    talk::Line,
};
use crate::{
    cli::Run,
    client::Client,
    compute::{
        account::Account,
        amount::{duration, kst},
        market::Market,
        wallet,
    },
};
use alloy_primitives::U256;
use eyre::{Context as _, Result};
use keystead_audit::{Report, SampleRule, Verdict, detection};
use keystead_contracts::{bindings::market::IMarket, storage::Status};
use std::{path::Path, process::ExitCode, sync::Arc, time::Instant};
use tokio::signal::ctrl_c;

/// The result could not be checked here. 2 is a wrong command line.
const EXIT_UNDECIDED: u8 = 3;
/// Parts per million in a percent.
const PPM_PER_PERCENT: u32 = 10_000;

/// `keystead run`.
pub(crate) async fn run(options: &Run) -> Result<ExitCode> {
    let prepared = prepare(options)?;
    let account = connect(options).await?;
    let market = Market { account: Arc::new(account) };
    let wish = Wish { units: prepared.spec.unit_count, provider: options.provider, total_wei_max: options.max_price };
    let choice = choose(&market, wish).await?;
    let mut show = Show::new();
    show.say(&format!("{}: {} units ({})", prepared.recipe.title, prepared.spec.unit_count, prepared.spec.runtime));
    show.say(&format!(
        "Price: {} ({} units x {}), from provider {}",
        kst(choice.total_wei),
        prepared.spec.unit_count,
        kst(U256::from(choice.price_wei_per_unit)),
        choice.account
    ));
    // The fee of the order itself is found by the estimate, which says so if the rest is not enough for it.
    market.account.afford(choice.total_wei).await?;
    result::make_folder(&options.out)?;
    let begin = Instant::now();
    let order = market.place(terms(options, &prepared, &choice)).await.wrap_err("the order was not placed")?;
    show.say(&format!("Order {order} placed; {} are in escrow.", kst(choice.total_wei)));
    let end = follow(options, &market, &prepared, choice, order, &mut show).await;
    show.end();
    let end = end.wrap_err_with(|| format!("lost sight of order {order}; its escrow follows the contract's rules"))?;
    conclude(options, &market, &prepared, &end, begin).await
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

fn terms(options: &Run, prepared: &Prepared, choice: &Choice) -> IMarket::Terms {
    IMarket::Terms {
        provider: choice.account,
        jobHash: prepared.spec.hash(),
        units: prepared.spec.unit_count,
        priceWeiPerUnit: choice.price_wei_per_unit,
        leaseSeconds: options.lease_seconds,
        deliverSeconds: options.deliver_seconds,
        checkSeconds: options.check_seconds,
    }
}

/// Follows the order; Ctrl-C cancels what can be cancelled and then sees it to its end.
async fn follow(
    options: &Run,
    market: &Market,
    prepared: &Prepared,
    choice: Choice,
    order: U256,
    show: &mut Show,
) -> Result<End> {
    let scratch = tempfile::tempdir_in(&options.out).wrap_err("cannot make a scratch folder")?;
    let line = Line::open(&market.account, order, prepared, choice, scratch.path()).await?;
    let rule = SampleRule {
        rate_ppm: options
            .sample_rate
            .map_or(SampleRule::START.rate_ppm, |percent| percent.saturating_mul(PPM_PER_PERCENT)),
        units_min: options.sample.unwrap_or(SampleRule::START.units_min),
    };
    let mut following = Following::new(market, order, prepared, rule, line);
    let interrupted = tokio::select! {
        end = following.run(show) => Some(end),
        _ = ctrl_c() => None,
    };
    let end = match interrupted {
        Some(end) => end,
        None => {
            show.say("Stopping: asking the provider to stop and the money back. Ctrl-C again leaves the order to its deadlines.");
            following.give_up();
            let giving_up = async {
                following.line.cancel().await;
                following.run(show).await
            };
            tokio::select! {
                end = giving_up => end,
                _ = ctrl_c() => Err(eyre::eyre!("interrupted twice")),
            }
        }
    };
    following.line.close().await;
    end
}

/// Writes the folder, takes a refund home, tells the person, and says the exit code.
async fn conclude(options: &Run, market: &Market, prepared: &Prepared, end: &End, begin: Instant) -> Result<ExitCode> {
    let out = &options.out;
    // A wrong result is not kept as if it were one.
    let kept = if end.order.status().is_refunded() { &[][..] } else { &end.files };
    let written = result::write(out, kept)?;
    result::record(out, prepared, &end.order, end.report.as_ref())?;
    let certified = result::certificate(out, market, &end.order, end.block).await;
    let status = end.order.status();
    let id = end.order.id;
    if status.is_paid() {
        say(&format!("Done in {}: order {id} is {}.", duration(begin.elapsed()), result::status_name(status)));
        if let Some(report) = &end.report {
            say(&format!("  check    {}", checked(report)));
        }
        say(&format!("  paid     {} to {}", kst(end.order.escrow_wei), end.order.provider));
        for name in &written {
            say(&format!("  result   {}", out.join(name).display()));
        }
        certified?;
        tell_certificate(out, market).await;
    } else if status.is_refunded() {
        let refund = market.withdraw().await?;
        let why = end.why.as_deref().unwrap_or("no reason is known");
        say(&format!("Order {id} is {}: {why}.", result::status_name(status)));
        say(&format!("  refunded {} to {}", kst(refund), market.account.address()));
        certified?;
        tell_certificate(out, market).await;
    } else {
        let why = end.why.as_deref().unwrap_or("no reason is known");
        say(&format!("Order {id} is delivered, but this machine could not check it: {why}."));
        say(
            "  It was neither accepted nor rejected; unless you reject it, the provider is paid at the end of the check window.",
        );
        return Ok(ExitCode::from(EXIT_UNDECIDED));
    }
    Ok(match status {
        Status::Accepted => ExitCode::SUCCESS,
        // Settled before it was accepted: the check decides.
        Status::Settled => match end.report.as_ref().map(|report| &report.verdict) {
            Some(Verdict::Accepted) => ExitCode::SUCCESS,
            Some(Verdict::Rejected(_)) => ExitCode::FAILURE,
            _ => ExitCode::from(EXIT_UNDECIDED),
        },
        _ => ExitCode::FAILURE,
    })
}

fn checked(report: &Report) -> String {
    let Report { unit_count, sampled, equal, .. } = report;
    let chance = detection::probability(*unit_count, 1, *sampled);
    format!(
        "{equal} of {sampled} units run again here are equal ({unit_count} in all; one wrong unit would be found with {:.1} %)",
        chance * 100.0
    )
}

/// The next step: how anybody can check the certificate.
async fn tell_certificate(out: &Path, market: &Market) {
    let path = out.join("certificate.json");
    say(&format!("  proof    {}", path.display()));
    let answer = market.account.client().call("keystead_validators", serde_json::json!([])).await;
    let key = answer.ok().and_then(|answer| answer.get("networkKey")?.as_str().map(str::to_owned));
    let key = key.unwrap_or_else(|| "HEX".to_owned());
    say("Check it offline, with the network key that you trust (this is what the node says it is):");
    say(&format!("  keystead verify {} --network-key {key}", path.display()));
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn say(line: &str) {
    println!("{line}");
}
