//! Channels whose windows strangers check: their terms, what their windows are, and what becomes of them.

use super::{
    Conductor,
    money::{DEPOSIT_STEPS, FRESH_MAX},
    price::ChecksMost,
    purse::checks_ahead_wei,
};
use crate::compute::{
    amount::{counted, kst},
    channels::{Agreed, Opening},
    customer::audit::plan::ChannelPlan,
    event_log::Happened,
    map::{
        bank::Ask,
        examine::Listed,
        farewell::is_final,
        happened,
        journal::{Audited, Entry},
        tend::{Paid, Tended},
        window::{Verdict, Window, WindowEnd, counting},
    },
    windows::{Drawn, WindowStatus, window_of_channel},
};
use alloy_primitives::{B256, U256};
use eyre::Result;
use keystead_blobs::stream::RefuseCode;
use keystead_job::Step;
use keystead_lease::{Out, Provider};
use keystead_market::Currency;
use keystead_payment::{Budget, Received, Standing, limits::WATCH};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a provider may take to announce a paid window.
const ANNOUNCE_MAX: Duration = Duration::from_secs(600);
/// What a channel's times have besides: transactions, and clocks that differ.
const MARGIN: Duration = Duration::from_secs(600);
/// The contract's bounds (specs/0009-channel.md section 7).
const CHALLENGE_SECONDS_MAX: u32 = 2_592_000;
const LIFE_SECONDS_MAX: u32 = 31_536_000;

/// A person's challenge and life of channels, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    challenge_seconds: u32,
    life_seconds: u32,
}

impl Times {
    /// So long that after the customer asks for the end a window can be over, and a provider has the person's time to claim it then.
    fn with_audit(self, window_life: Duration) -> Self {
        let claim = Duration::from_secs(self.challenge_seconds.into()).max(WATCH);
        let after = window_life.saturating_add(claim).saturating_add(MARGIN);
        let after = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        let challenge_seconds = after.min(CHALLENGE_SECONDS_MAX);
        let life_seconds = self.life_seconds.max(challenge_seconds.saturating_mul(2)).min(LIFE_SECONDS_MAX);
        Self { challenge_seconds, life_seconds }
    }
}

impl Conductor<'_> {
    /// How a provider's windows will be audited is known: its channel is opened with that.
    pub(super) fn planned(&mut self, provider: Provider, plan: Result<Box<ChannelPlan>, String>) -> Result<()> {
        if self.stopping.is_some() || self.state.table.out(provider).is_some() {
            return Ok(());
        }
        let plan = match plan {
            Ok(plan) => *plan,
            Err(reason) => return self.not_opened(provider, &reason),
        };
        let Some(price_wei) = self.state.partner(provider).map(|partner| partner.price_wei) else { return Ok(()) };
        if let Some(reason) = self.unpaid_checks(price_wei, plan.budget) {
            return self.not_opened(provider, &reason);
        }
        if !std::mem::replace(&mut self.plan_said, true) {
            plan.lines().iter().for_each(|line| self.show.say(line));
        }
        self.say_audited_price(plan.budget, price_wei, plan.life_max())?;
        let left = self.state.table.steps_waiting();
        let steps_wei = price_wei.saturating_mul(u128::from(left).clamp(1, DEPOSIT_STEPS));
        let asked =
            Times { challenge_seconds: self.options.challenge_seconds, life_seconds: self.options.life_seconds };
        let Times { challenge_seconds, life_seconds } = asked.with_audit(plan.life_max());
        let opening = Opening {
            provider: self.name(provider),
            signer: self.signer.address(),
            challenge_seconds,
            life_seconds,
            deposit_wei: steps_wei.saturating_add(checks_ahead_wei(plan.budget, left.max(1))),
            // As the fees of checks are.
            currency: Currency::KST,
            audit: Some(Agreed {
                job_hash: self.prepared.spec.hash(),
                price_wei_per_step: price_wei,
                terms: plan.terms,
            }),
        };
        if !self.try_ask(Ask::Open { provider, opening: Box::new(opening), approved: U256::ZERO }) {
            // The bank is busy: all of it is asked again.
            self.unopened.remove(&provider);
        }
        Ok(())
    }

    /// Why no channel is opened with a provider whose windows are checked like this, if what was said, or the person's limit, does not pay for it: before
    /// anything was paid for the whole job in windows of the usual size, later for a step.
    fn unpaid_checks(&self, price_wei: u128, budget: Budget) -> Option<String> {
        let waiting = self.state.table.steps_waiting();
        let is_begun = self.state.promise.is_some();
        let steps = if is_begun { waiting.min(1) } else { waiting };
        let checks_wei = ChecksMost::of(budget, steps, 1).usual_wei;
        let needed_wei = price_wei.saturating_mul(steps.into()).saturating_add(checks_wei);
        let limit_wei = self.limit_wei().filter(|limit| self.spent_wei().saturating_add(needed_wei) > *limit)?;
        let (needed, limit) = (kst(U256::from(needed_wei)), kst(U256::from(limit_wei)));
        let what = if is_begun { "a step" } else { "the whole job" };
        Some(format!(
            "{limit} at most is to be paid, which is too little for {what} and what its checks may take: {needed} are needed, of which most comes back. Give a higher --max-price"
        ))
    }

    /// What checks take from a provider's channel; nothing if it is not audited.
    pub(super) fn budget(&self, provider: Provider) -> Budget {
        let checks = self.live.get(&provider).and_then(|live| live.checks);
        checks.map(|checks| checks.budget).unwrap_or_default()
    }

    /// What is promised, and what checks take for it.
    pub(super) fn spent_wei(&self) -> u128 {
        self.state.promised_wei().saturating_add(self.state.checks_wei())
    }

    /// What the journal says of a window that will be audited; nothing of another one.
    ///
    /// # Errors
    /// It would be audited, and cannot be looked at: nothing is paid that is not watched.
    pub(super) fn tracked(
        &self,
        provider: Provider,
        received: &Received,
        listed: Option<&Listed>,
    ) -> Result<Option<Audited>, &'static str> {
        let channel = self.live.get(&provider).and_then(|live| live.channel.as_ref());
        let is_audited = channel.is_some_and(|(terms, ..)| terms.audited);
        let window = listed.and_then(|listed| self.audited(provider, received, listed));
        or_refused(is_audited || listed.is_some(), window)
    }

    /// The same of an audited one, if all of it is known.
    fn audited(&self, provider: Provider, received: &Received, listed: &Listed) -> Option<Audited> {
        let live = self.live.get(&provider)?;
        let ((terms, ..), checks) = (live.channel.as_ref()?, live.checks?);
        let report = received.report();
        Some(Audited {
            id: window_of_channel(terms.number, report.window),
            channel: report.channel_id,
            number: report.window,
            since_block: checks.block,
            budget_wei: checks.budget.of(report.units),
            inputs: listed.steps.iter().map(|step| step.input).collect(),
            secret: Some(listed.secret),
        })
    }

    /// A paid window is looked at, and its checkers are served, until it is over.
    pub(super) fn attend(&mut self, id: B256) {
        self.watched.add(id);
        self.paid_at.insert(id, Instant::now());
        self.tend(id);
    }

    /// The windows that an earlier process paid; the states of those that are over may be inputs of others' steps.
    pub(super) fn attend_all(&mut self) {
        // One that was given up may still be announced while its channel lives.
        let ended = |window: &Window| {
            window.is_over() || window.is_unannounced() && self.channel(window.provider) != Some(window.channel)
        };
        let all: Vec<(B256, bool)> = self.state.windows.iter().map(|(id, window)| (*id, ended(window))).collect();
        for (id, is_over) in all {
            if !is_over {
                self.attend(id);
                continue;
            }
            self.tend(id);
            if let Some(tended) = &self.tended {
                tended.remove(id);
            }
        }
    }

    fn tend(&mut self, id: B256) {
        let Some(window) = self.state.windows.get(&id).filter(|window| !window.outputs.is_empty()) else { return };
        let Window { steps, outputs, since_block, .. } = window.clone();
        // A state of a channel without audit may be an input, too.
        let input = |step: &Step| self.state.place(step.unit, step.segment).filter(|place| place.name == step.input);
        let inputs = steps.iter().filter_map(input).copied().collect();
        let begin = || {
            let (windows, prepared) = (self.market.windows(), Arc::clone(&self.prepared));
            Tended::begin(windows, &self.endpoint, prepared, self.outputs.clone())
        };
        self.tended.get_or_insert_with(begin).add(Paid { id, steps, inputs, outputs, since_block });
    }

    /// A window was announced, a step of it was found wrong, or it is over.
    pub(super) fn window(&mut self, drawn: &Drawn) -> Result<()> {
        let id = drawn.window.id;
        let Some(window) = self.state.windows.get(&id) else { return Ok(()) };
        let (provider, number, which) = (window.provider, window.number, (window.channel, window.number));
        let (is_known, is_late) = (window.is_over(), window.is_unannounced());
        let account = self.name(provider);
        let tell = |event: &str, detail: &str| {
            self.show.once(&Happened { event, provider: Some(account), detail, facts: happened::of_window(which) });
        };
        if self.announced.insert(id) && is_late {
            let detail = format!(
                "window {number}: it is checked after all, and paid unless a step is found wrong; nothing of it is used"
            );
            tell("announced-late", &detail);
        }
        let is_wrong = drawn.window.convicted || drawn.window.status == WindowStatus::Convicted;
        if is_wrong && self.state.table.out(provider) != Some(Out::Wrong) {
            let reason = format!("machines drawn by lot found a step of window {number} wrong");
            tell("convicted", &reason);
            let lease = self.state.table.lease_of(provider).map(|lease| lease.number);
            // On the disk before the window counts as over.
            self.convict(provider, Out::Wrong)?;
            if let Some(lease) = lease {
                self.refuse(provider, lease, RefuseCode::Wrong, &reason);
            }
        }
        if let Some(verdict) = Verdict::of(drawn).filter(|_| !is_known) {
            let detail =
                format!("window {number}: {} of {} drawn steps were found right", verdict.verified, verdict.drawn);
            self.show.once(&Happened { detail: &detail, ..happened::window_over(account, which, &verdict) });
            self.end_window(id, verdict)?;
        }
        Ok(())
    }

    fn end_window(&mut self, id: B256, verdict: Verdict) -> Result<()> {
        self.record(&Entry::WindowOver { id, verdict })?;
        self.paid_at.remove(&id);
        self.missed_since.remove(&id);
        // One that is announced late has checkers, too: a provider must not gain by waiting until nobody serves them.
        if let Some(tended) = self.tended.as_ref().filter(|_| verdict.end != WindowEnd::Unannounced) {
            tended.remove(id);
        }
        Ok(())
    }

    /// The time to announce counts from the first look on: while a chain stands still nobody can announce anything.
    pub(super) fn await_announcements(&mut self, channel: B256, standing: &Standing) {
        let waits = |window: &Window| {
            window.channel == channel && window.verdict.is_none() && window.number > standing.announced
        };
        for (id, _) in self.state.windows.iter().filter(|entry| waits(entry.1)) {
            self.missed_since.entry(*id).or_insert(standing.now);
        }
    }

    /// Windows that their providers do not announce: nobody will check them.
    pub(super) fn give_up_the_unannounced(&mut self) -> Result<()> {
        let open = self.state.windows.iter().filter(|(_, window)| window.verdict.is_none());
        let missed = open.filter(|(id, window)| self.is_missed(id, window));
        let missed: Vec<(B256, Provider, B256, u64, u32)> =
            missed.map(|(id, window)| (*id, window.provider, window.channel, window.number, window.units)).collect();
        for (id, provider, channel, number, units) in missed {
            // What was thrown away is told already.
            if !self.state.is_discarded(provider) {
                let detail = format!(
                    "window {number} was not announced: its {}, and all else that this provider delivered, are done again; the channel pays nothing \
                     for it before it is announced and checked",
                    counted(units.into(), "step")
                );
                let facts = happened::of_window((channel, number));
                self.show.event("not-audited", Some(self.name(provider)), &detail, facts);
                let lease = self.state.table.lease_of(provider).map(|lease| lease.number);
                self.convict(provider, Out::Unaudited)?;
                if let Some(lease) = lease {
                    self.refuse(provider, lease, RefuseCode::Ended, "an earlier window was not announced to the audit");
                }
            }
            self.end_window(id, Verdict::UNANNOUNCED)?;
        }
        Ok(())
    }

    fn is_missed(&self, id: &B256, window: &Window) -> bool {
        if self.announced.contains(id) {
            return false;
        }
        let waited = self.paid_at.get(id).is_some_and(|paid| paid.elapsed() > ANNOUNCE_MAX);
        let looked = self.live.get(&window.provider).and_then(|live| live.channel.as_ref());
        match looked.filter(|(terms, ..)| terms.channel_id == window.channel) {
            // A look that is old says nothing.
            Some((_, standing, at)) => {
                let since = self.missed_since.get(id).copied();
                let ended = waited && is_late(since, standing.now) || is_final(standing);
                at.elapsed() <= FRESH_MAX && window.number > standing.announced && ended
            }
            // An older channel of the provider: its windows are looked at, and this one is not among them.
            None => waited && self.channel(window.provider) != Some(window.channel) && self.watched.is_absent(id),
        }
    }

    /// Whether windows are not over yet, each of which gives back what its checks did not take: said once. They end in a bounded time.
    pub(super) fn waits_for_checks(&mut self) -> bool {
        let waits = self.state.windows.values().any(|window| window.verdict.is_none());
        if waits && !std::mem::replace(&mut self.said_waiting, true) {
            self.show.say("Nothing more is handed out before checks are over and give back what they did not cost: what may be paid is out.");
        }
        waits
    }

    /// How far the audits are; nothing in a map without any.
    pub(super) fn audits(&self) -> String {
        let tally = counting(&self.state);
        if tally.windows == 0 {
            return String::new();
        }
        let (mut drawn, mut done, mut unannounced) = (tally.drawn, tally.drawn, 0_u64);
        let mut last = None;
        for (id, _) in self.state.windows_awaited() {
            match self.tended.as_ref().and_then(|tended| tended.stand(*id)) {
                Some(stand) => {
                    drawn = drawn.saturating_add(stand.drawn.into());
                    done = done.saturating_add(stand.done.into());
                    last = Some(stand.words);
                }
                None => unannounced = unannounced.saturating_add(1),
            }
        }
        let over = tally.windows.saturating_sub(tally.open);
        let mut words = format!(
            "audits: {over} of {} over, {done} of {} checked",
            counted(tally.windows, "window"),
            counted(drawn, "drawn step")
        );
        if unannounced > 0 {
            words.push_str(&format!(", {} not announced yet", counted(unannounced, "window")));
        }
        // Of one window its phases can be said too.
        if let Some(last) = last.filter(|_| tally.open == 1) {
            words.push_str(&format!(" (the last one: {last})"));
        }
        words
    }

    /// Once only audits are waited for, each change is a line.
    pub(super) fn tell_audits(&mut self, words: &str) {
        if self.state.table.units_left() > 0 || self.state.is_whole() || self.audits_told == words {
            return;
        }
        if self.audits_told.is_empty() {
            self.show.say(
                "Every unit is done; their windows are still checked by strangers, and what is found wrong is done again. Ctrl-C leaves; the same \
                 command waits on.",
            );
        }
        words.clone_into(&mut self.audits_told);
        self.show.say(&format!("The {words}."));
    }
}

/// Whether a window could have been announced for long enough, by the chain's time.
fn is_late(since: Option<Duration>, now: Duration) -> bool {
    since.is_some_and(|since| now.saturating_sub(since) > ANNOUNCE_MAX)
}

/// Nothing of a window that is not audited, and all of one that is.
fn or_refused(is_audited: bool, window: Option<Audited>) -> Result<Option<Audited>, &'static str> {
    if is_audited && window.is_none() {
        return Err("it is not known how the audit of this window can be looked at");
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_stands_still_makes_no_announcement_late() {
        let (since, second) = (Duration::from_secs(1_000), Duration::from_secs(1));
        let last = since.saturating_add(ANNOUNCE_MAX);
        assert!(!is_late(None, last) && !is_late(Some(since), since) && !is_late(Some(since), last));
        assert!(is_late(Some(since), last.saturating_add(second)));
    }

    #[test]
    fn no_audited_window_is_paid_that_is_not_watched() {
        let window = Audited {
            id: B256::ZERO,
            channel: B256::ZERO,
            number: 1,
            since_block: 2,
            budget_wei: 3,
            inputs: Vec::new(),
            secret: None,
        };
        assert_eq!(or_refused(true, Some(window.clone())), Ok(Some(window)));
        assert!(or_refused(true, None).is_err());
        assert_eq!(or_refused(false, None), Ok(None));
    }

    #[test]
    fn a_channel_lives_until_its_windows_can_be_over_and_claimed() {
        let asked = Times { challenge_seconds: 3_600, life_seconds: 604_800 };
        let (life, day) = (Duration::from_secs(25_000), Duration::from_secs(86_400));
        assert_eq!(asked.with_audit(life), Times { challenge_seconds: 29_200, ..asked });
        // Providers that watch less often ask for more on top.
        let longer = Times { challenge_seconds: 7_200, life_seconds: 1_200 };
        assert_eq!(longer.with_audit(life), Times { challenge_seconds: 32_800, life_seconds: 65_600 });
        assert_eq!(Times { challenge_seconds: 5, ..asked }.with_audit(life).challenge_seconds, 29_200);
        // Never beyond what the contract takes.
        let most = asked.with_audit(day.saturating_mul(1_000));
        assert_eq!(most, Times { challenge_seconds: CHALLENGE_SECONDS_MAX, life_seconds: 5_184_000 });
    }
}
