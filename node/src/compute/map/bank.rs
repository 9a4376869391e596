//! The one task that uses the customer's account for channels while units are done: opens them, fills them, looks at them.

use super::{
    choose::Chooser,
    events::{Checks, Event},
    journal::{Entry, Journal},
    state,
};
use crate::{
    client::RpcFailure,
    compute::{
        account::{Account, Failed, Poor, Receipt},
        channels::{Agreed, Channels, Opening},
        customer::audit::{
            options::AuditOptions,
            plan::{ChannelPlan, budget},
        },
        market::Taken,
        token::{NotKept, Token},
    },
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Report, Result};
use keystead_contracts::CHANNEL_ADDRESS;
use keystead_lease::Provider;
use keystead_market::Currency;
use keystead_payment::Terms;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, block_in_place},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// How often channels are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the rate of a provider's checks counts as known: it follows its record, which changes with the ends of windows.
const RATE: Duration = Duration::from_secs(30);
/// How long an opening may take to come into a block.
const INCLUSION_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How often the signing of an opening, or what comes before it, is tried while the node does not answer, a second apart.
const SIGN_TRIES: u32 = 20;
/// So often a channel is opened, or filled, where the contract may take less than that needs: another map of the account, in the same token, used what was
/// approved or took it back.
const FUNDINGS_MAX: u32 = 4;
/// So many looks find no transaction although its nonce is used, until it is believed to be lost: nodes lag behind each other.
const ABSENT_MAX: u32 = 20;

/// What the loop wants of the bank.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Say how a provider's windows would be audited.
    Plan { provider: Provider, account: Address, price_wei: u128 },
    /// Open a channel. Where a token must be approved for it, then so much, so that this is done once.
    Open { provider: Provider, opening: Box<Opening>, approved: U256 },
    /// See to its end an opening that an earlier process signed.
    Resume { provider: Provider, opening: state::Opening },
    /// Pay more into a channel; likewise.
    Fill { provider: Provider, channel: B256, amount_wei: u128, approved: U256 },
    /// Tell where a channel stands, again and again.
    Watch { provider: Provider, channel: B256 },
    /// No more.
    Forget { provider: Provider },
    /// End a channel whose last time to claim is over.
    Finish { provider: Provider, channel: B256 },
    /// Find so many providers that are none of these.
    Offers { count: usize, tried: Vec<Address> },
}

/// What is known of an audited channel.
#[derive(Debug)]
pub(super) struct Known {
    agreed: Agreed,
    checks: Checks,
    /// When that was asked for.
    at: Instant,
}

impl Known {
    /// What checks take, unless that is too old.
    fn fresh(&self, now: Instant) -> Option<Checks> {
        (now.saturating_duration_since(self.at) < RATE).then_some(self.checks)
    }
}

/// The bank.
#[derive(Debug)]
pub(super) struct Bank {
    pub(super) channels: Channels,
    pub(super) chooser: Chooser,
    /// How windows are audited, if they are.
    pub(super) audit: AuditOptions,
    /// How those of open channels are, as read.
    pub(super) agreed: BTreeMap<B256, Known>,
    pub(super) journal: Journal,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) events: mpsc::Sender<Event>,
    /// Set once the units are done: what was asked for and not begun is not begun any more.
    pub(super) over: Arc<AtomicBool>,
}

impl Bank {
    /// Until nobody asks any more.
    pub(super) async fn run(mut self) {
        let mut watched: BTreeMap<Provider, B256> = BTreeMap::new();
        let mut questions: JoinSet<()> = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ask = tokio::select! {
                ask = self.asks.recv() => ask,
                _ = look.tick() => {
                    for (provider, channel) in &watched {
                        self.look(*provider, *channel).await;
                    }
                    continue;
                }
            };
            let event = match ask {
                None => return,
                Some(Ask::Plan { .. } | Ask::Open { .. } | Ask::Fill { .. } | Ask::Offers { .. })
                    if self.over.load(Ordering::Relaxed) =>
                {
                    continue;
                }
                Some(Ask::Plan { provider, account, price_wei }) => self.plan(provider, account, price_wei).await,
                Some(Ask::Watch { provider, channel }) => {
                    watched.insert(provider, channel);
                    self.look(provider, channel).await;
                    continue;
                }
                Some(Ask::Forget { provider }) => {
                    watched.remove(&provider);
                    continue;
                }
                Some(Ask::Open { provider, opening, approved }) => {
                    self.fund_and_open(provider, &opening, approved).await
                }
                Some(Ask::Resume { provider, opening }) => settle(&self.channels, provider, &opening).await,
                Some(Ask::Finish { provider, channel }) => {
                    if let Err(error) = self.channels.finish(channel).await {
                        tracing::debug!(%channel, error = format!("{error:#}"), "a channel is not finished");
                    }
                    self.look(provider, channel).await;
                    continue;
                }
                Some(Ask::Fill { provider, channel, amount_wei, approved }) => {
                    let filled = self.fill(channel, amount_wei, approved).await;
                    self.look(provider, channel).await;
                    Event::Filled { provider, problem: filled.err().map(|error| format!("{error:#}")) }
                }
                Some(Ask::Offers { count, tried }) => {
                    // Providers are waited for elsewhere, one question at a time: channels need this task.
                    while questions.try_join_next().is_some() {}
                    if questions.is_empty() {
                        let (chooser, events) = (self.chooser.clone(), self.events.clone());
                        questions.spawn(async move {
                            let found = chooser.find(count, &tried).await.map_err(|error| format!("{error:#}"));
                            // The loop is over if nobody listens.
                            let _ = events.send(Event::Offers(found)).await;
                        });
                    }
                    continue;
                }
            };
            self.tell(event).await;
        }
    }

    async fn tell(&self, event: Event) {
        // The loop is over if nobody listens.
        let _ = self.events.send(event).await;
    }

    async fn look(&mut self, provider: Provider, channel: B256) {
        match self.see(provider, channel).await {
            Ok(event) => self.tell(event).await,
            Err(error) => tracing::debug!(%channel, error = format!("{error:#}"), "cannot look at a channel"),
        }
    }

    async fn see(&mut self, provider: Provider, channel: B256) -> Result<Event> {
        let at = Instant::now().into_std();
        let (terms, standing) = self.channels.look(channel).await?;
        let checks = if terms.audited { Some(self.checks(&terms).await?) } else { None };
        Ok(Event::Looked { provider, terms, standing, checks, at })
    }

    /// What was agreed at the opening stays; the rate follows the provider's record, and is asked for now and then.
    async fn checks(&mut self, terms: &Terms) -> Result<Checks> {
        let id = terms.channel_id;
        let now = Instant::now();
        if let Some(checks) = self.agreed.get(&id).and_then(|known| known.fresh(now)) {
            return Ok(checks);
        }
        let agreed = match self.agreed.get(&id).map(|known| known.agreed.clone()) {
            Some(agreed) => agreed,
            None => self.channels.audit_of(id).await?,
        };
        // The block comes first: no window that is paid from now on was announced before it.
        let (block, _) = self.channels.account.head().await?;
        let rate_ppm = self.chooser.market.windows().effective_rate_ppm(terms.provider, &agreed.terms).await?;
        let checks = Checks { budget: budget(agreed.price_wei_per_step, &agreed.terms, rate_ppm), block };
        self.agreed.insert(id, Known { agreed, checks, at: now });
        Ok(checks)
    }

    /// Nothing is paid for this: a node that stumbles is asked again.
    async fn plan(&self, provider: Provider, account: Address, price_wei: u128) -> Event {
        let (market, prepared) = (&self.chooser.market, &*self.chooser.prepared);
        let mut tries = 1_u32;
        loop {
            match ChannelPlan::make(&self.audit, market, prepared, (account, price_wei)).await {
                Ok(plan) => {
                    let plan = plan.map(Box::new).map_err(|unfit| unfit.to_string());
                    return Event::Planned { provider, plan };
                }
                Err(error) if is_answer(&error) => {
                    return Event::Planned { provider, plan: Err(format!("{error:#}")) };
                }
                Err(error) if tries < SIGN_TRIES => {
                    tracing::debug!(error = format!("{error:#}"), "cannot say how windows are audited, trying again");
                    tries = tries.saturating_add(1);
                    sleep(LOOK).await;
                }
                Err(error) => return Event::Stuck(format!("{error:#}")),
            }
        }
    }

    async fn fill(&self, channel: B256, amount_wei: u128, approved: U256) -> Result<Receipt> {
        let mut tries = 1_u32;
        loop {
            self.fund(amount_wei, approved).await?;
            let filled = self.top_up(channel, amount_wei).await;
            let is_refused = filled.as_ref().is_err_and(|error| is_answer(error) && !is_poor(error));
            if !is_refused || tries >= FUNDINGS_MAX || !self.is_short(amount_wei).await {
                return filled;
            }
            tries = tries.saturating_add(1);
        }
    }

    async fn top_up(&self, channel: B256, amount_wei: u128) -> Result<Receipt> {
        let currency = self.currency();
        match self.channels.top_up(channel, currency, amount_wei).await {
            Err(error) if is_poor(&error) => {
                self.take_home().await;
                self.channels.top_up(channel, currency, amount_wei).await
            }
            filled => filled,
        }
    }

    const fn currency(&self) -> Currency {
        self.chooser.money.currency()
    }

    /// What is paid in, if it is a token.
    fn token(&self) -> Option<Token<'_>> {
        let account: &Account = &self.channels.account;
        self.currency().contract().map(|contract| Token { account, contract, spender: CHANNEL_ADDRESS })
    }

    /// Opens a channel with a deposit that the contract may take; again where another process was quicker with what was approved.
    async fn fund_and_open(&self, provider: Provider, opening: &Opening, approved: U256) -> Event {
        let mut tries = 1_u32;
        loop {
            if let Some(problem) = self.unfunded(provider, opening.deposit_wei, approved).await {
                return problem;
            }
            let reason = match self.open(provider, opening).await {
                Ok(event) => return event,
                Err(reason) => reason,
            };
            let is_last = tries >= FUNDINGS_MAX || self.over.load(Ordering::Relaxed);
            if is_last || !self.is_short(opening.deposit_wei).await {
                return Event::NotOpened { provider, reason };
            }
            tries = tries.saturating_add(1);
        }
    }

    /// Whether the contract may take less of the token than so much.
    async fn is_short(&self, amount: u128) -> bool {
        match self.token() {
            Some(token) => token.is_short(U256::from(amount)).await.unwrap_or(false),
            None => false,
        }
    }

    /// Why the deposit of a channel in a token cannot be taken, if it cannot.
    async fn unfunded(&self, provider: Provider, amount: u128, approved: U256) -> Option<Event> {
        let mut tries = 1_u32;
        loop {
            match self.fund(amount, approved).await {
                Ok(()) => return None,
                Err(error) if is_answer(&error) => {
                    return Some(Event::NotOpened { provider, reason: format!("{error:#}") });
                }
                // What was sent and is in no block is no reason to send another.
                Err(error) if error.downcast_ref::<reqwest::Error>().is_some() && tries < SIGN_TRIES => {
                    tracing::debug!(error = format!("{error:#}"), "a token is not approved, trying again");
                    tries = tries.saturating_add(1);
                    sleep(LOOK).await;
                }
                Err(error) => return Some(Event::Stuck(format!("{error:#}"))),
            }
        }
    }

    /// Sees that the account has so much of the token, and that the contract may take it. The chain says whether it may already: a process that was
    /// killed around its approval leaves none to be given twice. KST goes along with the call.
    async fn fund(&self, amount: u128, approved: U256) -> Result<()> {
        let Some(token) = self.token() else { return Ok(()) };
        let needed = U256::from(amount);
        match token.afford(&self.chooser.money, needed).await {
            Err(error) if is_poor(&error) => {
                self.take_home().await;
                token.afford(&self.chooser.money, needed).await?;
            }
            afforded => afforded?,
        }
        token.allow(needed, approved).await
    }

    /// What checks did not cost and closed channels gave back is worth a try before an account counts as empty.
    async fn take_home(&self) {
        let out = |taken: Result<Taken>| match taken {
            Ok(Taken::Out(amount)) => Ok(amount),
            Ok(Taken::Owed(error)) | Err(error) => Err(error),
        };
        let mut all = vec![self.chooser.market.windows().withdraw().await];
        all.push(out(self.channels.take(Currency::KST).await));
        if self.currency() != Currency::KST {
            all.push(out(self.channels.take(self.currency()).await));
        }
        for taken in all {
            match taken {
                Ok(taken) => tracing::info!(amount = %taken, "the account is short: credit was taken home"),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "credit was not taken home"),
            }
        }
    }

    /// The transaction is in the journal before it is sent, so that no crash can open two channels for one. An error is the contract's refusal, after which
    /// there is no channel for sure.
    async fn open(&self, provider: Provider, opening: &Opening) -> Result<Event, String> {
        // Windows are tended beside this task, from the same account: nobody else may take the opening's nonce.
        let mut turn = self.channels.account.turn().await;
        let (mut tries, mut is_home) = (1_u32, false);
        let signed = loop {
            match self.channels.sign_open(opening).await {
                Ok(signed) => break signed,
                Err(error) if is_poor(&error) && !is_home => {
                    is_home = true;
                    // It needs the turn itself.
                    drop(turn);
                    self.take_home().await;
                    turn = self.channels.account.turn().await;
                }
                Err(error) if is_answer(&error) => return Err(format!("{error:#}")),
                // Nothing was sent: a node that stumbles is asked again.
                Err(error) if tries < SIGN_TRIES => {
                    tracing::debug!(
                        error = format!("{error:#}"),
                        "the opening of a channel is not signed, trying again"
                    );
                    tries = tries.saturating_add(1);
                    sleep(LOOK).await;
                }
                Err(error) => return Ok(Event::Stuck(format!("{error:#}"))),
            }
        };
        let opening = state::Opening { raw: signed.raw, hash: signed.hash, nonce: signed.nonce };
        let entry = Entry::Opening { provider, raw: opening.raw.clone(), hash: opening.hash, nonce: opening.nonce };
        if let Err(error) = block_in_place(|| self.journal.append(&entry).and_then(|()| self.journal.sync())) {
            return Ok(Event::Stuck(format!("{error:#}")));
        }
        offer(&self.channels, &opening).await;
        drop(turn);
        outcome(&self.channels, provider, &opening).await
    }
}

/// Sees a signed opening to its end.
pub(super) async fn settle(channels: &Channels, provider: Provider, opening: &state::Opening) -> Event {
    // Its nonce may be free: nobody else takes it meanwhile.
    let turn = channels.account.turn().await;
    offer(channels, opening).await;
    drop(turn);
    outcome(channels, provider, opening).await.unwrap_or_else(|reason| Event::NotOpened { provider, reason })
}

/// Sends a signed opening. Sent again, it is known already, or its nonce is used: the receipt tells.
async fn offer(channels: &Channels, opening: &state::Opening) {
    if let Err(error) = channels.account.broadcast(&opening.raw).await {
        tracing::debug!(error = format!("{error:#}"), "the node does not take the opening of a channel");
    }
}

/// What became of an opening that was sent; an error if the contract refused it.
async fn outcome(channels: &Channels, provider: Provider, opening: &state::Opening) -> Result<Event, String> {
    Ok(match included(channels, opening.hash, opening.nonce).await {
        Ok(Some(receipt)) if receipt.succeeded() => match Channels::opened_in(&receipt) {
            Ok(channel) => Event::Opened { provider, channel },
            Err(error) => Event::Stuck(format!("{error:#}")),
        },
        Ok(Some(receipt)) => return Err(format!("its opening failed in block {}", receipt.block_number)),
        Ok(None) => {
            Event::NotOpened { provider, reason: "another transaction took the place of its opening".to_owned() }
        }
        Err(error) => Event::Stuck(format!("{error:#}")),
    })
}

/// The receipt; `None` once the transaction can never have one.
async fn included(channels: &Channels, hash: B256, nonce: u64) -> Result<Option<Receipt>> {
    let account = &channels.account;
    let (begin, mut absent) = (Instant::now(), 0_u32);
    loop {
        match account.receipt(hash).await {
            Ok(Some(receipt)) => return Ok(Some(receipt)),
            Ok(None) if account.nonce().await.is_ok_and(|used| used > nonce) => {
                absent = absent.saturating_add(1);
                if absent > ABSENT_MAX {
                    return Ok(None);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(error = format!("{error:#}"), "no receipt yet"),
        }
        if begin.elapsed() > INCLUSION_MAX {
            let seconds = INCLUSION_MAX.as_secs();
            return Err(Report::msg(format!(
                "the opening of a channel ({hash}) is in no block after {seconds} s: the network may stand still"
            )));
        }
        sleep(POLL).await;
    }
}

/// The chain's or our own word, which would be the same a second later.
fn is_answer(error: &Report) -> bool {
    is_poor(error)
        || error.downcast_ref::<RpcFailure>().is_some()
        || error.downcast_ref::<NotKept>().is_some()
        || error.downcast_ref::<Failed>().is_some()
}

fn is_poor(error: &Report) -> bool {
    error.downcast_ref::<Poor>().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::samples::TERMS;

    #[test]
    fn the_rate_of_checks_is_asked_for_now_and_then() {
        let checks = Checks { budget: budget(100, &TERMS, 30_000), block: 7 };
        let agreed = Agreed { job_hash: B256::ZERO, price_wei_per_step: 100, terms: TERMS };
        let at = Instant::now();
        let known = Known { agreed, checks, at };
        let after = |seconds: u64| at.checked_add(Duration::from_secs(seconds)).and_then(|now| known.fresh(now));
        assert_eq!([0, 29].map(|seconds| after(seconds).map(|checks| checks.block)), [Some(7); 2]);
        assert!(after(30).is_none());
    }
}
