//! An audited channel's windows after their pay: announced, attended to until the audit is over, and forgotten.
//!
//! # Invariants
//! - A window is announced only when its voucher and all that it takes to open it are on the disk.
//! - A window that was announced is attended to whatever becomes of the channel, and also where the chain cannot be asked about the channel.
//! - What the audit said of a window stays.

use super::Actor;
use crate::compute::{
    provider::{
        book::Book,
        stream::{
            held::Held,
            shelf::Shelf,
            terms::TRIAL,
            window::{release, vigil},
        },
    },
    worth::{Amount, Prices, Worth},
};
use alloy_primitives::B256;
use eyre::{Result, eyre};
use keystead_blobs::stream::EndCode;
use keystead_market::Currency;
use keystead_payment::{Payee, Release, Standing, payee::Prospect};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::{Id, JoinSet, block_in_place},
    time::{Instant, sleep, timeout},
};

/// How long after a failed announcement the next one is tried.
const RETRY: Duration = Duration::from_secs(5);
/// A window that cannot be announced for so long keeps the next one from being begun.
const STUCK: Duration = Duration::from_secs(30);
/// A channel that is to end gives up what cannot be announced for so long: place and bond are others'.
const GIVE_UP: Duration = Duration::from_secs(6 * 3_600);
/// Windows without a file that are asked about in one look.
const ASKED_MAX: usize = 16;
/// How long one look may wait for the node's answers about them.
const ASK_MAX: Duration = Duration::from_secs(5);
/// How often the rate of checks is asked for.
const RATE: Duration = Duration::from_secs(60);

/// What the audit said of windows. What it said once, it says for ever.
#[derive(Debug, Default)]
pub(super) struct Releases(BTreeMap<u64, Release>);

impl Releases {
    /// What is known of a window.
    pub(super) fn of(&self, window: u64) -> Release {
        self.0.get(&window).copied().unwrap_or(Release::Pending)
    }

    /// The first answer counts.
    fn note(&mut self, window: u64, release: Release) {
        if release != Release::Pending {
            self.0.entry(window).or_insert(release);
        }
    }

    /// Windows up to this one were claimed in full: nobody asks about them any more.
    fn forget(&mut self, claimed: u64) {
        self.0.retain(|window, _| *window > claimed);
    }
}

/// What an actor has of its channel's audit.
#[derive(Debug)]
pub(super) struct Audit {
    pub(super) shelf: Arc<Shelf>,
    pub(super) releases: Releases,
    /// The last window that was announced, as far as this side knows.
    announced: u64,
    /// Windows that are attended to, and the task of each.
    attended: BTreeMap<u64, Id>,
    vigils: JoinSet<(u64, Release)>,
    /// Windows whose task ended abnormally: they are attended to again after a pause.
    fallen: BTreeSet<u64>,
    /// The announcement that is on its way.
    announcing: JoinSet<(u64, Result<()>)>,
    /// When the next one may be tried.
    announce_at: Instant,
    /// Why the last one failed.
    said: String,
    /// Since when none came through that was tried.
    stuck_since: Option<Instant>,
    /// What of the chain is in the payee's record.
    settled: Option<(u64, u128)>,
    /// When and as what the rate of checks was read last.
    rate: (Option<Instant>, u32),
}

impl Audit {
    pub(super) fn new(shelf: Arc<Shelf>, payee: &Payee, standing: &Standing) -> Self {
        shelf.draws_at(payee.policy().budget.rate_ppm);
        Self {
            shelf,
            releases: Releases::default(),
            announced: standing.announced,
            attended: BTreeMap::new(),
            vigils: JoinSet::new(),
            fallen: BTreeSet::new(),
            announcing: JoinSet::new(),
            announce_at: Instant::now(),
            said: String::new(),
            stuck_since: None,
            settled: None,
            rate: (None, payee.policy().budget.rate_ppm),
        }
    }

    /// Says a reason once in a row.
    fn say(&mut self, channel: B256, window: u64, reason: String) {
        self.stuck_since.get_or_insert_with(Instant::now);
        if self.said != reason {
            tracing::warn!(%channel, window, reason, "a window cannot be announced, trying again");
            self.said = reason;
        }
    }

    /// Says once that nothing is tried any more.
    fn give_up(&mut self, channel: B256, window: u64) {
        let reason = "given up";
        if self.said != reason {
            tracing::error!(%channel, window, last = self.said, "a window could not be announced for hours: the channel ends without its pay");
            reason.clone_into(&mut self.said);
        }
    }

    /// What the tasks of windows have to say.
    fn hear(&mut self, channel: B256) {
        while let Some(ended) = self.vigils.try_join_next_with_id() {
            match ended {
                Ok((_, (window, release))) => {
                    tracing::info!(%channel, window, ?release, "the audit of a window is over");
                    self.releases.note(window, release);
                    self.attended.remove(&window);
                    self.fallen.remove(&window);
                }
                Err(error) => {
                    // The others go on: their times do, too.
                    let fallen = self.attended.iter().find(|(_, task)| **task == error.id());
                    let fallen = fallen.map(|(window, _)| *window);
                    tracing::error!(%channel, window = ?fallen, %error, "attending to a window ended abnormally, beginning again");
                    self.attended.retain(|window, _| Some(*window) != fallen);
                    self.fallen.extend(fallen);
                }
            }
        }
        while let Some(ended) = self.announcing.try_join_next() {
            let (window, outcome) = match ended {
                Ok(ended) => ended,
                Err(error) => (0, Err(eyre!(error))),
            };
            match outcome {
                Ok(()) => {
                    tracing::info!(%channel, window, "window announced");
                    self.announced = self.announced.max(window);
                    self.said.clear();
                    self.stuck_since = None;
                }
                Err(error) => {
                    self.announce_at = Instant::now().checked_add(RETRY).unwrap_or_else(Instant::now);
                    self.say(channel, window, format!("{error:#}"));
                }
            }
        }
    }

    /// Begins to attend to what was announced and is not attended to yet.
    fn attend(&mut self, book: &Arc<Book>) {
        for number in self.shelf.numbers().into_iter().filter(|number| *number <= self.announced) {
            let is_open = self.releases.of(number) == Release::Pending;
            let window = self.shelf.get(number).filter(|_| is_open && !self.attended.contains_key(&number));
            if let Some(window) = window {
                let pause = if self.fallen.contains(&number) { RETRY } else { Duration::ZERO };
                let book = Arc::clone(book);
                let task = self.vigils.spawn(async move {
                    sleep(pause).await;
                    vigil(book, window).await
                });
                self.attended.insert(number, task.id());
            }
        }
    }

    /// Whether what is paid cannot be announced for longer than this.
    fn is_stuck(&self, most: Duration) -> bool {
        self.stuck_since.is_some_and(|since| since.elapsed() > most)
    }
}

impl Actor {
    /// What the windows of an audited channel need now. The chain is asked for little; what waits for a block has a task of its own.
    pub(super) async fn look_at_windows(&mut self) -> Result<()> {
        let standing = self.outlook.standing();
        let Some(audit) = &mut self.audit else { return Ok(()) };
        audit.hear(self.record.channel);
        audit.announced = audit.announced.max(standing.map_or(0, |standing| standing.announced));
        audit.attend(&self.desk.book);
        self.forget_windows(standing.as_ref());
        let Some(standing) = standing else { return Ok(()) };
        self.note_promise();
        self.announce(&standing);
        self.ask_releases().await?;
        self.note_conviction()?;
        self.follow_claims(&standing)
    }

    /// Forgets windows that are over, and those that can never be announced any more.
    fn forget_windows(&self, standing: Option<&Standing>) {
        let Some(audit) = &self.audit else { return };
        // A state that is being made may have the name of an old one.
        if matches!(self.held, Held::Working(_)) {
            return;
        }
        let is_final = standing.is_some_and(super::is_final) && audit.announcing.is_empty();
        let is_over =
            |number: &u64| audit.releases.of(*number) != Release::Pending || (is_final && *number > audit.announced);
        let over: Vec<_> = audit.shelf.numbers().into_iter().filter(is_over).collect();
        let taken =
            block_in_place(|| over.into_iter().filter_map(|number| audit.shelf.take(number)).collect::<Vec<_>>());
        if !taken.is_empty() {
            self.discard(taken.iter().flat_map(|window| window.blobs()));
        }
    }

    /// Says what of the bond this channel will need.
    pub(super) fn note_promise(&self) {
        let (Some(audit), Some(standing)) = (&self.audit, self.outlook.standing()) else { return };
        // One that waits for the bond has none yet.
        let runs = match self.held {
            Held::Nothing => Some(false),
            Held::Working(_) => None,
            Held::Reported(_) => Some(true),
        };
        // What will never be announced locks nothing.
        let ends = self.record.found_wrong || super::is_final(&standing) || self.gives_up();
        let paid = if ends { 0 } else { self.unannounced(&standing) };
        self.desk.promises.note(self.record.channel, audit.shelf.bond_wei(), paid, runs);
    }

    /// Windows that are paid and not announced, as far as this side knows.
    fn unannounced(&self, standing: &Standing) -> u64 {
        let announced = self.audit.as_ref().map_or(0, |audit| audit.announced).max(standing.announced);
        self.payee.newest().map_or(0, |signed| signed.voucher.window.saturating_sub(announced))
    }

    /// Whether the channel ends without what cannot be announced.
    fn gives_up(&self) -> bool {
        let stuck = |audit: &Audit| audit.announcing.is_empty() && audit.is_stuck(GIVE_UP);
        self.record.ends && self.audit.as_ref().is_some_and(stuck)
    }

    /// The same, without windows that are given up: the end of a channel does not wait for them.
    pub(super) fn without_lost(&self, prospect: Prospect, standing: &Standing) -> Prospect {
        // Behind one that was found wrong nothing is counted.
        if prospect.convicted.is_some() || !self.gives_up() {
            return prospect;
        }
        let lost = usize::try_from(self.unannounced(standing)).unwrap_or(usize::MAX);
        Prospect { pending: prospect.pending.saturating_sub(lost), ..prospect }
    }

    /// Why no window is begun, if it is for those before it.
    pub(super) fn held_up(&self) -> Option<String> {
        let is_stuck = self.audit.as_ref().is_some_and(|audit| audit.is_stuck(STUCK));
        is_stuck.then(|| "a window that was paid cannot be announced yet: come again later".to_owned())
    }

    /// Why the channel takes no further lease, if its windows with this one of so many steps cost more gas than the owner lets them.
    pub(super) async fn too_thin(&mut self, steps: u32) -> Option<String> {
        let (rate_ppm, standing) = (self.audit.as_ref()?.rate.1, self.outlook.standing()?);
        let windows = self.payee.newest().map_or(standing.window, |signed| signed.voucher.window);
        if windows < TRIAL || self.desk.terms.gas_percent.is_none() {
            return None;
        }
        let gas_wei = self.desk.book.market.account.fee_per_gas().await;
        // What the gas costs is asked again before the next one.
        let gas_wei = gas_wei.inspect_err(|error| tracing::debug!(%error, "the price of gas is not known")).ok()?;
        let step_wei = self.record.price_wei;
        let steps = u64::from(steps).saturating_add(earned_steps(self.payee.earned(), step_wei));
        let amount = Amount { windows: windows.saturating_add(1), steps };
        let worth = Worth::of(amount, Prices { step_wei, rate_ppm, gas_wei });
        self.desk.terms.too_thin(&worth)
    }

    /// Announces the next window that is paid, if there is one.
    fn announce(&mut self, standing: &Standing) {
        let gives_up = self.gives_up();
        let Some(audit) = &mut self.audit else { return };
        let is_late = super::is_final(standing) || standing.now > standing.deadline;
        if is_late || self.record.found_wrong || !audit.announcing.is_empty() || Instant::now() < audit.announce_at {
            return;
        }
        let Some(signed) = self.payee.to_announce(standing).copied() else {
            // The last one came through after all.
            audit.stuck_since = None;
            return;
        };
        let window = signed.voucher.window;
        if gives_up {
            return audit.give_up(self.record.channel, window);
        }
        // What was announced a moment ago may not be seen yet.
        if window <= audit.announced {
            return;
        }
        let Some(paid) = audit.shelf.get(window) else {
            return audit.say(self.record.channel, window, "its file is not here".to_owned());
        };
        match paid.announcement() {
            Ok((commitment, list)) => {
                let channels = self.desk.channels.clone();
                audit
                    .announcing
                    .spawn(async move { (window, channels.announce(&signed, commitment, list).await.map(drop)) });
            }
            Err(error) => audit.say(self.record.channel, window, format!("{error:#}")),
        }
    }

    /// Asks about windows that were announced, wait for a claim, and have no file here any more: they were over before this process began.
    async fn ask_releases(&mut self) -> Result<()> {
        let Some(audit) = &mut self.audit else { return Ok(()) };
        let last = self.payee.newest().map_or(0, |signed| signed.voucher.window);
        let count = u64::try_from(self.payee.waiting_count()).unwrap_or(u64::MAX);
        let waiting = last.saturating_sub(count).saturating_add(1)..=last.min(audit.announced);
        let unknown = waiting
            .filter(|number| audit.releases.of(*number) == Release::Pending && audit.shelf.get(*number).is_none());
        let unknown: Vec<u64> = unknown.take(ASKED_MAX).collect();
        let windows = &self.desk.book.windows;
        let asked = async {
            let mut answers = Vec::new();
            for number in unknown {
                answers.push((number, release(windows.window(audit.shelf.audit_id(number)).await?.status)));
            }
            Ok::<_, eyre::Report>(answers)
        };
        let answers = timeout(ASK_MAX, asked).await??;
        for (number, release) in answers {
            audit.releases.note(number, release);
        }
        Ok(())
    }

    /// A window that was found wrong ends the channel: nothing behind it is paid.
    fn note_conviction(&mut self) -> Result<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let convicted = self.payee.prospect(|window| audit.releases.of(window)).convicted;
        let Some(window) = convicted.filter(|_| !self.record.found_wrong) else { return Ok(()) };
        let before = self.keep();
        let draft = self.payee.found_wrong(window);
        self.record.payee = draft.record().to_vec().into();
        (self.record.found_wrong, self.record.ends) = (true, true);
        self.save_or(before)?;
        draft.saved();
        tracing::error!(channel = %self.record.channel, window, "the audit found a window wrong: this channel ends");
        self.halt(EndCode::Fault);
        Ok(())
    }

    /// Writes down how far the channel was claimed.
    fn follow_claims(&mut self, standing: &Standing) -> Result<()> {
        let seen = Some((standing.window, standing.claimed));
        let is_known = self.audit.as_ref().is_none_or(|audit| audit.settled == seen);
        if is_known || super::is_final(standing) {
            return Ok(());
        }
        let before = self.keep();
        let draft = self.payee.settle(standing)?;
        self.record.payee = draft.record().to_vec().into();
        if self.record.payee != before.1.payee {
            self.save_or(before)?;
        }
        draft.saved();
        if let Some(audit) = &mut self.audit {
            audit.settled = seen;
            audit.releases.forget(standing.window);
        }
        Ok(())
    }

    /// Asks for the rate of checks, from time to time, and counts with what they cost now.
    pub(super) async fn follow_rate(&mut self) -> Result<()> {
        let Some(audit) = &mut self.audit else { return Ok(()) };
        if audit.rate.0.is_some_and(|asked| asked.elapsed() < RATE) {
            return Ok(());
        }
        let rate_ppm = self.desk.rate_ppm(&audit.shelf.agreed).await?;
        let before = std::mem::replace(&mut audit.rate, (Some(Instant::now()), rate_ppm)).1;
        audit.shelf.draws_at(rate_ppm);
        if before == rate_ppm {
            return Ok(());
        }
        let price = (self.record.price_wei, Currency::token(self.payee.terms().token));
        let policy = self.desk.policy_at(price, Some((&audit.shelf.agreed, rate_ppm)));
        let policy = policy.ok_or_else(|| eyre!("a channel's file has no price"))?;
        tracing::info!(channel = %self.record.channel, before, rate_ppm, "the rate of checks is another");
        self.payee = Payee::resume(*self.payee.terms(), policy, &self.record.payee)?;
        Ok(())
    }

    /// Whether no window of the channel needs this provider any more.
    pub(super) fn windows_are_over(&self) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.shelf.numbers().is_empty() && audit.announcing.is_empty())
    }
}

/// Steps that so much was earned with.
fn earned_steps(earned_wei: u128, step_wei: u128) -> u64 {
    earned_wei.checked_div(step_wei).map_or(0, |steps| u64::try_from(steps).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_by_their_pay() {
        assert_eq!([(0, 7), (6, 7), (70, 7), (70, 0)].map(|(earned, step)| earned_steps(earned, step)), [0, 0, 10, 0]);
        assert_eq!(earned_steps(u128::MAX, 1), u64::MAX);
    }

    #[test]
    fn what_the_audit_said_of_a_window_stays_until_it_is_claimed() {
        let mut releases = Releases::default();
        releases.note(1, Release::Pending);
        assert_eq!(releases.of(1), Release::Pending);
        releases.note(1, Release::Released);
        releases.note(2, Release::Convicted);
        for other in [Release::Pending, Release::Convicted] {
            releases.note(1, other);
        }
        releases.note(2, Release::Released);
        assert_eq!(
            [1, 2, 3].map(|window| releases.of(window)),
            [Release::Released, Release::Convicted, Release::Pending]
        );
        releases.forget(1);
        assert_eq!((releases.0.len(), releases.of(2)), (1, Release::Convicted));
    }
}
