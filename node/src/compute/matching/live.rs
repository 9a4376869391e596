//! Asks the best providers of a plan whether they take orders now, before anything is ordered.

use super::{
    absent::Absent,
    gather::{Gathered, Patience},
    known::Known,
};
use crate::compute::market::Market;
use alloy_primitives::Address as Account;
use eyre::{Context as _, Result};
use keystead_blobs::{Address, Endpoint, Inquiry, SessionError, State};
use keystead_market::{Need, Plan};
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Providers that are asked at once: an answer costs a round trip, and more would only be asked in vain.
const ASKED_AT_ONCE: usize = 8;
/// Rounds of questions: if the best are all silent, the next ones are asked.
const ROUNDS_MAX: usize = 4;
/// Public counts that are read at once, each by one question to the node.
const READ_AT_ONCE: usize = 16;
/// Offers of a plan from which those to be asked are taken: a provider may have several.
const LOOKED_AT: usize = 64;

/// What becomes of who does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It is left out.
    LeavesOut,
    /// It stays, at what its record says.
    IsTaken,
}

/// The plan for a need, in which the best have said that they take orders now.
///
/// # Errors
/// The need breaks a bound of the planner, or the node does not answer.
pub(crate) async fn plan(
    gathered: &mut Gathered,
    market: &Market,
    need: &Need,
    patience: Patience,
    silence: Silence,
) -> Result<Plan> {
    plan_for(gathered, market, need, (patience, silence), 1).await
}

/// As [`plan`], for a job that wants so many providers at once: the best so many have answered.
///
/// # Errors
/// As [`plan`].
pub(crate) async fn plan_for(
    gathered: &mut Gathered,
    market: &Market,
    need: &Need,
    (patience, silence): (Patience, Silence),
    wanted: usize,
) -> Result<Plan> {
    let Gathered { known, socket } = gathered;
    let looked_at = LOOKED_AT.max(wanted.saturating_mul(2));
    let rounds = ROUNDS_MAX.saturating_add(wanted.div_ceil(ASKED_AT_ONCE));
    let mut asked: BTreeSet<Account> =
        known.providers.values().filter(|one| one.answer.is_some()).map(|one| one.entry.account).collect();
    if need.completed_ppm_min > 0 {
        // Every offer is judged by them, also those that are never asked.
        let with_record = known.providers.values().filter(|one| one.record.is_ok());
        let all: Vec<Account> = with_record.map(|one| one.entry.account).collect();
        read_histories(known, market, &all).await?;
    }
    for _ in 0..rounds {
        let plan = known.plan(need, looked_at)?;
        let mut best: Vec<Account> = Vec::new();
        for fit in &plan.best {
            let provider = fit.key.provider;
            if !best.contains(&provider) {
                best.push(provider);
            }
        }
        // Enough is known once the best ones have answered, and are still the best.
        let first_answered = best.iter().take(wanted).all(|one| asked.contains(one));
        if first_answered {
            return Ok(plan);
        }
        best.truncate(wanted.max(ASKED_AT_ONCE));
        best.retain(|provider| !asked.contains(provider));
        best.truncate(ASKED_AT_ONCE);
        asked.extend(&best);
        ask(known, socket, &best, patience, silence).await;
        read_histories(known, market, &best).await?;
    }
    Ok(known.plan(need, looked_at)?)
}

/// Reads how orders of these providers ended, as far as that was not read before.
///
/// # Errors
/// The node's.
pub(super) async fn read_histories(known: &mut Known, market: &Market, providers: &[Account]) -> Result<()> {
    let is_unread = |provider: &Account| known.providers.get(provider).is_some_and(|one| one.history.is_none());
    let unread: Vec<Account> = providers.iter().copied().filter(is_unread).collect();
    for some in unread.chunks(READ_AT_ONCE) {
        let mut reads = JoinSet::new();
        for provider in some {
            let (market, provider) = (market.clone(), *provider);
            reads.spawn(async move { (provider, market.history_of(provider).await) });
        }
        while let Some(read) = reads.join_next().await {
            let (provider, history) = read.wrap_err("a question to the node ended abnormally")?;
            known.set_history(provider, history?);
        }
    }
    Ok(())
}

/// Puts what they answer into what is known.
pub(super) async fn ask(
    known: &mut Known,
    socket: &Endpoint,
    providers: &[Account],
    patience: Patience,
    silence: Silence,
) {
    let mut asked = JoinSet::new();
    for provider in providers {
        let address = known.providers.get(provider).and_then(|one| one.endpoint.clone());
        let (Some(address), socket, account) = (address, socket.clone(), *provider) else { continue };
        asked.spawn(async move { (account, state(&socket, &address).await) });
    }
    let start = Instant::now();
    let mut waiting: BTreeSet<Account> = providers.iter().copied().collect();
    let mut some = false;
    loop {
        let end = start.checked_add(if some { patience.some } else { patience.none }).unwrap_or(start);
        tokio::select! {
            answer = asked.join_next() => match answer {
                Some(Ok((account, Ok((state, took))))) => {
                    some = true;
                    waiting.remove(&account);
                    known.answered(account, state, took);
                }
                Some(Ok((account, Err(error)))) => {
                    waiting.remove(&account);
                    if silence == Silence::LeavesOut {
                        known.leave_out(account, Absent::Silent(error.to_string()));
                    }
                }
                Some(Err(error)) => tracing::error!(%error, "a question ended abnormally"),
                None => break,
            },
            () = sleep_until(end) => break,
        }
    }
    if silence == Silence::LeavesOut {
        for account in waiting {
            known.leave_out(account, Absent::Silent("no answer in time".to_owned()));
        }
    }
}

async fn state(socket: &Endpoint, address: &Address) -> Result<(State, Duration), SessionError> {
    Inquiry::open(socket, address).await?.state().await
}
