//! The end of the channels: providers close them; where one does not, the customer asks and waits, now or in a later process.

use super::{
    farewell::{Farewells, is_final},
    happened,
    journal::{Entry, Journal},
    show::Show,
    state::{Partner, State},
};
use crate::compute::{amount::counted, channels::Channels, market::Taken, money::Money};
use alloy_primitives::{Address, B256};
use eyre::Result;
use keystead_contracts::storage::channel::Status;
use keystead_lease::Provider;
use keystead_payment::{Standing, watch};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a provider that heard goodbye may take to close, and one that did not may take to come back for what it has not got yet.
const GRACE: Duration = Duration::from_secs(60);
/// How long this process waits for the end of a channel that it asked to be closed.
const WAIT_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);
/// How long a transaction's effect may take to be seen.
const EFFECT_MAX: Duration = Duration::from_secs(10);

/// A channel that a later process has to look after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) account: Address,
    pub(super) channel: B256,
    /// When its rest can be taken, Unix seconds; none while it is not known.
    pub(super) after: Option<u64>,
    /// The provider may not have its last voucher.
    pub(super) owes: bool,
}

/// How far it came.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) left: Vec<Left>,
    /// The person did not wait for the end.
    pub(super) is_stopped: bool,
}

/// Ends channels.
#[derive(Debug)]
pub(super) struct Closing<'a> {
    pub(super) channels: &'a Channels,
    pub(super) journal: &'a Journal,
    pub(super) show: &'a Show,
    /// What is paid in.
    pub(super) money: &'a Money,
    /// Providers that heard that there is no more work.
    pub(super) told: BTreeSet<Provider>,
    /// The others, as far as they have something to come.
    pub(super) farewells: Farewells,
}

impl Closing<'_> {
    /// As [`Self::run`], unless it is stopped before its end: then what is still open is left to the next process.
    pub(super) async fn run_until(&mut self, state: &mut State, stop: impl Future<Output = ()>) -> Result<Closed> {
        tokio::select! {
            biased;
            () = stop => {}
            left = self.run(state) => return Ok(Closed { left: left?, is_stopped: false }),
        }
        // Ends that were seen are in the journal; a transaction that is under way takes its effect without this process.
        self.journal.sync()?;
        let left = self.open(state);
        let what = match left.len() {
            0 => "before what came back from channels is taken home".to_owned(),
            many => format!("with {} not closed yet", counted(u64::try_from(many)?, "channel")),
        };
        self.show.say(&format!("Stopping {what}. Nothing is lost: the same command goes on with it."));
        Ok(Closed { left, is_stopped: true })
    }

    /// Channels that are not known to be final.
    fn open(&self, state: &State) -> Vec<Left> {
        let left = |(provider, partner): (Provider, &Partner)| {
            let owes = self.farewells.waits(provider);
            Some(Left { account: partner.account, channel: partner.channel?, after: None, owes })
        };
        state.providers().filter_map(left).collect()
    }

    /// Until every channel is final, or waiting makes no sense any more; then takes home what came back.
    async fn run(&mut self, state: &mut State) -> Result<Vec<Left>> {
        let begin = Instant::now();
        let mut said = false;
        let mut acted: BTreeMap<Provider, Instant> = BTreeMap::new();
        let left = loop {
            self.told.extend(self.farewells.heard());
            let open: Vec<(Provider, Address, B256)> = state
                .providers()
                .filter_map(|(provider, partner)| Some((provider, partner.account, partner.channel?)))
                .collect();
            let mut left = Vec::new();
            for (provider, account, channel) in open {
                let looked = self.channels.look(channel).await;
                let standing = match looked {
                    Ok((_, standing)) => standing,
                    Err(error) => {
                        tracing::debug!(%channel, error = format!("{error:#}"), "cannot look at a channel");
                        let owes = self.farewells.waits(provider);
                        left.push((Left { account, channel, after: None, owes }, true));
                        continue;
                    }
                };
                if is_final(&standing) {
                    let entry = Entry::Closed { provider, claimed_wei: standing.claimed };
                    self.journal.append(&entry)?;
                    self.show.note(&happened::closed(account, Some(channel), standing.claimed));
                    state.apply(&entry, Duration::ZERO);
                    continue;
                }
                // After a stop: its windows are still audited, and the next process goes on in it, unless nothing more can be written down.
                let goes_on = state.table.units_left() == 0 || !self.journal.is_full();
                if goes_on && state.windows_awaited().any(|(_, window)| window.channel == channel) {
                    left.push((Left { account, channel, after: None, owes: false }, false));
                    continue;
                }
                let recent = acted.get(&provider).is_some_and(|acted| acted.elapsed() < EFFECT_MAX);
                if !recent && self.act(provider, channel, &standing, begin.elapsed()).await {
                    acted.insert(provider, Instant::now());
                }
                let owes = self.farewells.waits(provider);
                if owes && !std::mem::replace(&mut said, true) {
                    self.show.say(&format!(
                        "Not everybody has what was promised last: waiting up to {} s for who is away.",
                        GRACE.as_secs()
                    ));
                }
                let ends_in = standing.deadline.saturating_sub(standing.now);
                let waits = standing.status == Status::Open || ends_in <= WAIT_MAX;
                left.push((Left { account, channel, after: Some(standing.deadline.as_secs()), owes }, waits));
            }
            let is_patient = begin.elapsed() < GRACE.saturating_add(WAIT_MAX);
            if !left.iter().any(|(_, waits)| *waits) || !is_patient {
                break left.into_iter().map(|(left, _)| left).collect();
            }
            sleep(POLL).await;
        };
        self.journal.sync()?;
        match self.channels.take(self.money.currency()).await? {
            Taken::Out(taken) if taken.is_zero() => {}
            Taken::Out(taken) => self.show.say(&format!("{} came back from channels.", self.money.show(taken))),
            Taken::Owed(error) => self.show.say(&format!(
                "The contract of channels still owes what comes back ({error:#}): the next map of this account in this token takes it."
            )),
        }
        Ok(left)
    }

    /// Whether a transaction was sent.
    async fn act(&self, provider: Provider, channel: B256, standing: &Standing, waited: Duration) -> bool {
        let hopes = waited < GRACE && (self.told.contains(&provider) || self.farewells.waits(provider));
        let wish = if hopes { watch::Wish::GoOn } else { watch::Wish::End };
        let sent = match watch::payer(standing, wish) {
            watch::PayerStep::RequestClose => self.channels.request_close(channel).await,
            watch::PayerStep::Finish => self.channels.finish(channel).await,
            watch::PayerStep::Wait { .. } | watch::PayerStep::Forget | watch::PayerStep::Unknown => return false,
        };
        if let Err(error) = &sent {
            // The provider may have been quicker.
            tracing::debug!(%channel, error = format!("{error:#}"), "a channel was not closed");
        }
        true
    }
}
