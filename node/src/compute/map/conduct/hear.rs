//! What each event means.

use super::{Conductor, Pending};
use crate::compute::{
    amount::counted,
    map::{
        events::Event,
        examine::{Exam, Examined, rule_after},
        happened,
        journal::Entry,
        line::Command,
        state::Effect,
    },
    random,
};
use alloy_primitives::B256;
use eyre::{Result, bail};
use keystead_audit::SampleRule;
use keystead_blobs::stream::{End, EndCode, FromProvider, RefuseCode, Source, WindowReport};
use keystead_lease::{End as LeaseEnd, Out, Provider, Refused};
use keystead_payment::Report;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

impl Conductor<'_> {
    pub(super) fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Connected { provider, holding } => self.connected(provider, holding),
            Event::Lost { provider, reason } => {
                self.show.event("lost", Some(self.name(provider)), &reason, self.held(provider));
                let live = self.live.entry(provider).or_default();
                live.is_connected = false;
                live.away_since = Some(Instant::now());
                self.state.table.away(provider);
                Ok(())
            }
            Event::Unwilling { provider, reason } => {
                self.show.event("unwilling", Some(self.name(provider)), &reason, self.held(provider));
                self.lost = Some(format!("{}: {reason}", self.name(provider)));
                self.leave_out(provider, Out::Unwilling)
            }
            Event::Heard { provider, message, source } => {
                let now = self.now();
                self.state.table.heard(provider, now);
                self.heard(provider, message, source)
            }
            Event::Examined { provider, lease, outcome } => self.examined(provider, lease, outcome),
            Event::Planned { provider, plan } => self.planned(provider, plan),
            Event::Opened { provider, channel } => self.opened(provider, channel),
            Event::NotOpened { provider, reason } => self.not_opened(provider, &reason),
            Event::Looked { provider, terms, standing, checks, at } => {
                self.looked(provider, (terms, checks), (standing, at))
            }
            Event::Window(drawn) => self.window(&drawn),
            Event::Filled { provider, problem } => {
                let (name, channel) = (self.name(provider), self.channel(provider));
                let live = self.live.entry(provider).or_default();
                live.is_filling = false;
                if let Some(problem) = &problem {
                    self.show.event("not-filled", Some(name), problem, json!({"channel": channel}));
                }
                live.unfilled = problem.map(|problem| (problem, Instant::now()));
                Ok(())
            }
            Event::Stuck(reason) => bail!(reason),
            Event::Offers(offers) => self.offers(offers),
        }
    }

    /// A provider says which lease it holds; every other one of it is over.
    fn connected(&mut self, provider: Provider, holding: Option<u64>) -> Result<()> {
        let now = self.now();
        let live = self.live.entry(provider).or_default();
        live.is_connected = true;
        live.away_since = None;
        live.is_draining = false;
        live.given.clear();
        // Its report comes again, with a way to fetch from it.
        let examined = live.examining.take();
        if let Some(exam) = live.exam.take() {
            exam.abort();
        }
        self.goes_on(provider, holding);
        self.show.event("connected", Some(self.name(provider)), "", happened::of_lease(holding));
        let leased = self.state.table.lease_of(provider).map(|lease| lease.number);
        if let Some(lease) = leased.filter(|lease| holding != Some(*lease)) {
            self.end(provider, lease, LeaseEnd::GivenBack)?;
        }
        if let Some(lease) = examined.filter(|lease| holding == Some(*lease) && !self.is_pending(*lease)) {
            self.report_lost(provider, lease)?;
        }
        self.live.entry(provider).or_default().is_recalled = false;
        if let Some(lease) = leased.filter(|lease| self.stopping.is_some() && holding == Some(*lease)) {
            // What was said while it was away it did not hear.
            self.say(provider, Command::Cancel { lease });
        }
        if let Some(held) = holding
            && leased != Some(held)
            && self.state.settled.get(&provider) != Some(&held)
        {
            self.refuse(provider, held, RefuseCode::Ended, "it is somebody else's now");
        }
        self.state.table.ready(provider, now);
        Ok(())
    }

    pub(super) fn refuse(&self, provider: Provider, lease: u64, code: RefuseCode, reason: &str) {
        self.say(provider, Command::Refuse { lease, code, reason: reason.to_owned() });
    }

    /// A provider begins a lease only with the voucher of the window before on its disk, and whoever does not hold the window any more has it.
    fn goes_on(&mut self, provider: Provider, lease: Option<u64>) {
        if self.state.settled.get(&provider).copied() != lease {
            self.went_on.insert(provider);
        }
    }

    fn heard(&mut self, provider: Provider, message: FromProvider, source: Source) -> Result<()> {
        let now = self.now();
        // A lease that is given back says nothing: a provider whose disk is full gives it back, and has not kept the voucher.
        if let FromProvider::Beat { lease, .. } | FromProvider::Report(WindowReport { lease, .. }) = &message {
            self.goes_on(provider, Some(*lease));
        }
        match message {
            FromProvider::Beat { lease, done } => {
                if self.holds(provider, lease) {
                    self.live.entry(provider).or_default().beat = done;
                } else if self.state.settled.get(&provider) != Some(&lease) {
                    // It works on something that is over.
                    self.refuse(provider, lease, RefuseCode::Ended, "the lease has ended");
                }
                Ok(())
            }
            FromProvider::Report(report) => self.reported(provider, report, source),
            FromProvider::GivenBack { lease, end } => {
                if self.holds(provider, lease) {
                    let first = self.state.table.lease_of(provider).and_then(|lease| lease.items.first());
                    let first = first.map(|item| item.unit);
                    let is_fault = matches!(end.code, EndCode::Fault | EndCode::Input | EndCode::Program);
                    let facts = json!({"lease": lease, "code": end.code.code(), "unit": end.unit});
                    let detail = format!("{} ({})", end.code, end.reason);
                    self.show.event("given-back", Some(self.name(provider)), &detail, facts);
                    self.end(provider, lease, if is_fault { LeaseEnd::Refused } else { LeaseEnd::GivenBack })?;
                    self.state.table.rest(provider, now);
                    self.heed(provider, End { unit: end.unit.or(first), ..end })?;
                }
                Ok(())
            }
            FromProvider::Draining { reason } => {
                self.show.event("draining", Some(self.name(provider)), reason.as_str(), self.held(provider));
                self.live.entry(provider).or_default().is_draining = true;
                self.state.table.draining(provider);
                Ok(())
            }
            FromProvider::Ready => {
                self.show.event("ready", Some(self.name(provider)), "", self.held(provider));
                self.live.entry(provider).or_default().is_draining = false;
                self.state.table.ready(provider, now);
                Ok(())
            }
            FromProvider::Note(note) => {
                self.show.says(self.name(provider), &note);
                Ok(())
            }
            FromProvider::Accepted { .. } | FromProvider::Refused(_) => {
                let detail = "it answers what was not asked";
                self.show.event("protocol", Some(self.name(provider)), detail, self.held(provider));
                self.leave_out(provider, Out::Unwilling)
            }
        }
    }

    /// What the end of a lease says about a unit.
    pub(super) fn heed(&mut self, provider: Provider, end: End) -> Result<()> {
        match (end.code, end.unit) {
            (EndCode::Unit | EndCode::Program, Some(unit)) => {
                self.unit_failed(provider, unit, format!("{} ({})", end.code, end.reason))
            }
            _ => Ok(()),
        }
    }

    fn reported(&mut self, provider: Provider, report: WindowReport, source: Source) -> Result<()> {
        let lease = report.lease;
        let Ok(window) = Report::from_bytes(&report.report) else {
            self.refuse(provider, lease, RefuseCode::Mismatch, "the channel's report is none");
            return self.end(provider, lease, LeaseEnd::Refused);
        };
        // Paid before a crash or a lost connection: the same voucher again.
        if self.state.settled.get(&provider) == Some(&lease) {
            return self.pay_again(provider, lease, &window);
        }
        // Also one that was found right, came again with a new connection, and waits for its pay.
        if self.is_pending(lease) || self.live.get(&provider).is_some_and(|live| live.examining == Some(lease)) {
            return Ok(());
        }
        let now = self.now();
        let granted = match self.state.table.arrived(lease, provider, now) {
            Ok(granted) => granted.clone(),
            Err(refused @ (Refused::Ended { .. } | Refused::Another { .. } | Refused::Steps { .. })) => {
                let (detail, facts) = (refused.to_string(), happened::of_lease(Some(lease)));
                self.show.event("late-report", Some(self.name(provider)), &detail, facts);
                self.refuse(provider, lease, RefuseCode::Ended, &detail);
                return Ok(());
            }
        };
        let steps = u32::try_from(report.names.len()).unwrap_or(u32::MAX);
        let is_for_us = Some(window.channel_id) == self.channel(provider);
        if steps > granted.steps() || window.units != steps || !is_for_us {
            self.refuse(provider, lease, RefuseCode::Mismatch, "it does not report this lease");
            return self.end(provider, lease, LeaseEnd::Refused);
        }
        if self.state.drawn.get(&lease).is_some_and(|(root, _)| *root != window.root) {
            // An honest report is on a disk and never changes; a new one would have its sample drawn anew.
            self.refuse(provider, lease, RefuseCode::Mismatch, "another report of this lease was looked at before");
            return self.end(provider, lease, LeaseEnd::Refused);
        }
        let seed = self.seed(lease, window.root)?;
        let partner = self.state.partner(provider);
        let (checked, node) = partner.map_or((0, B256::ZERO), |partner| (partner.checked, partner.node_id));
        let rule = rule_after(self.rule, checked);
        let before = granted.items.iter().map(|item| self.state.newest(item.unit).copied()).collect();
        let channel = self.live.get(&provider).and_then(|live| live.channel.as_ref());
        let is_audited = channel.is_some_and(|(terms, ..)| terms.audited);
        let exam = Exam {
            lease: granted,
            node,
            report,
            window,
            before,
            is_audited,
            seed,
            rule: SampleRule { ..rule },
            source,
        };
        let (examiner, events) = (Arc::clone(&self.examiner), self.events.clone());
        let task = self.exams.spawn(async move {
            let outcome = examiner.examine(exam).await;
            let _ = events.send(Event::Examined { provider, lease, outcome }).await;
        });
        let live = self.live.entry(provider).or_default();
        (live.examining, live.exam) = (Some(lease), Some(task));
        Ok(())
    }

    /// The seed of a report's check: drawn once, after the report came.
    fn seed(&mut self, lease: u64, root: B256) -> Result<B256> {
        if let Some((drawn_for, seed)) = self.state.drawn.get(&lease)
            && *drawn_for == root
        {
            return Ok(*seed);
        }
        let seed = random::word()?;
        self.record(&Entry::Drawn { lease, root, seed })?;
        Ok(seed)
    }

    fn examined(&mut self, provider: Provider, lease: u64, outcome: Examined) -> Result<()> {
        if !self.holds(provider, lease) {
            // It ended meanwhile, with a conviction for one; or it was looked at twice, and is paid.
            if self.state.settled.get(&provider) != Some(&lease) {
                self.refuse(provider, lease, RefuseCode::Ended, "the lease has ended");
            }
            return Ok(());
        }
        if self.is_pending(lease) {
            return Ok(());
        }
        let (name, facts) = (Some(self.name(provider)), happened::of_lease(Some(lease)));
        match outcome {
            Examined::Right { received, states, checked, unchecked, end, listed } => {
                if let Some(reason) = &unchecked {
                    self.show.event("not-checked", name, reason, facts);
                }
                let unchecked = unchecked.is_some();
                // In time also if its connection was lost just before. It is live, as was looked above.
                let now = self.now();
                let _ = self.state.table.arrived(lease, provider, now);
                let waited = Duration::ZERO;
                let found = Pending { provider, lease, received, states, checked, unchecked, end, listed, waited };
                self.pending.push(found);
                Ok(())
            }
            Examined::Wrong { reason } => {
                self.show.event("wrong", name, &reason, facts);
                // On the disk before the provider hears of it.
                self.convict(provider, Out::Wrong)?;
                self.refuse(provider, lease, RefuseCode::Wrong, &reason);
                Ok(())
            }
            Examined::Doubtful { unit, reason } => {
                self.refuse(provider, lease, RefuseCode::Doubtful, &reason);
                self.end(provider, lease, LeaseEnd::Refused)?;
                self.unit_failed(provider, unit, format!("outside the tolerance: {reason}"))
            }
            Examined::Mismatch { reason } => {
                self.show.event("mismatch", name, &reason, facts);
                self.refuse(provider, lease, RefuseCode::Mismatch, &reason);
                self.end(provider, lease, LeaseEnd::Refused)
            }
            Examined::Missing { reason } => {
                self.show.event("missing", name, &reason, facts);
                self.live.entry(provider).or_default().examining = None;
                self.refuse(provider, lease, RefuseCode::Missing, &reason);
                self.end(provider, lease, LeaseEnd::Refused)
            }
            Examined::Gone { reason } => {
                // The report comes again with the next connection, or the lease falls silent.
                self.show.event("missing", name, &reason, facts);
                self.live.entry(provider).or_default().examining = None;
                self.report_lost(provider, lease)
            }
        }
    }

    /// A report was lost with its connection while it was looked at: until it comes again the clock counts. Who lets none be looked at loses the lease.
    fn report_lost(&mut self, provider: Provider, lease: u64) -> Result<()> {
        let now = self.now();
        if self.live.get(&provider).is_some_and(|live| live.is_recalled) {
            self.state.table.recalled(lease, now);
            return Ok(());
        }
        if self.state.table.departed(lease, now) {
            return Ok(());
        }
        self.refuse(provider, lease, RefuseCode::Ended, "its report was lost too often");
        self.end(provider, lease, LeaseEnd::Late)
    }

    /// Caught: nothing of this provider counts any more, and nobody builds on it.
    pub(super) fn convict(&mut self, provider: Provider, why: Out) -> Result<()> {
        let payer = self.found_wrong(provider);
        let effect = self.record(&Entry::Convicted { provider, payer, why })?;
        tokio::task::block_in_place(|| self.journal.sync())?;
        let Effect::Convicted(convicted) = effect else { return Ok(()) };
        for lease in convicted.ended {
            let why = if lease.provider == provider { LeaseEnd::Refused } else { LeaseEnd::Cancelled };
            self.tell_ended(&lease, why);
            let live = self.live.entry(lease.provider).or_default();
            live.examining = None;
            live.beat = 0;
            if lease.provider != provider {
                self.say(lease.provider, Command::Cancel { lease: lease.number });
                self.refuse(
                    lease.provider,
                    lease.number,
                    RefuseCode::Ended,
                    "it went on from a state that does not count any more",
                );
            }
        }
        let units = u64::try_from(convicted.units.len()).unwrap_or(u64::MAX);
        if units > 0 {
            let detail = format!("done again: {}", counted(units, "unit"));
            self.show.event("taken-back", Some(self.name(provider)), &detail, json!({"units": units}));
        }
        Ok(())
    }
}
