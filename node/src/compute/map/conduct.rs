//! The loop of a map: takes events, lets them happen, writes them down, pays, and hands out the next work.
//!
//! # Design
//! One task owns the state. Settlements of one round go to the disk together: outputs first, then the journal, then the vouchers leave.

mod audit;
mod clock;
mod due;
mod hear;
mod money;
mod price;
mod purse;

use self::clock::Clock;
pub(super) use self::price::compared;
use super::{
    bank::Ask,
    events::{Checks, Event},
    examine::{Examiner, Kept, Listed},
    happened,
    journal::{Entry, Journal, Place, Settled},
    line::Command,
    outputs::Outputs,
    show::Show,
    state::{Effect, State},
    tend::Tended,
    watch::Watched,
};
use crate::{
    cli::Map,
    compute::{
        amount::counted, customer::plan::Prepared, customer::stop::Stops, event_log::Happened, market::Market,
        money::Money,
    },
};
use alloy_primitives::B256;
use alloy_signer_local::PrivateKeySigner;
use eyre::{Result, bail};
use keystead_audit::SampleRule;
use keystead_blobs::{
    Endpoint, Hash, MemoryStore,
    stream::{End, RefuseCode},
};
use keystead_lease::{End as LeaseEnd, Failing, Lease, Out, Provider};
use keystead_payment::{Payer, Received, Standing, Terms};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet, block_in_place},
    time::{MissedTickBehavior, interval},
};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Events of one round: what they settle is synced together.
const ROUND_MAX: usize = 64;
/// After Ctrl-C, how long providers may take to report what they have.
const CANCEL_MAX: Duration = Duration::from_secs(20);
/// How long the lines may take to say goodbye.
const PART_MAX: Duration = Duration::from_secs(5);
/// How often the register is read while providers are missing.
const REGISTER: Duration = Duration::from_secs(5);

/// How a map came to its end.
#[derive(Debug)]
pub(super) enum Ending {
    /// Every unit is done.
    Whole,
    /// It cannot be done; why.
    Failed(String),
    /// The person stopped it.
    Stopped,
}

/// The person stopped it and did not wait for that either: what is leased goes on with the next process.
#[derive(Debug, thiserror::Error)]
#[error("interrupted twice")]
pub(super) struct Interrupted;

/// What is known about a provider only while this process runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The way to its line, once there is one.
    commands: Option<mpsc::Sender<Command>>,
    is_connected: bool,
    is_draining: bool,
    channel: Option<(Terms, Standing, Instant)>,
    /// If its windows are audited: what that takes.
    checks: Option<Checks>,
    payer: Option<Payer>,
    is_filling: bool,
    /// Why its channel was not filled last, and when that is tried again.
    unfilled: Option<(String, Instant)>,
    /// When its old channel was asked to be finished.
    finished: Option<Instant>,
    /// Since when it is away, or has not been reached yet.
    away_since: Option<Instant>,
    /// This process gave the connection up itself, and has no new one yet.
    is_recalled: bool,
    /// The lease whose report is being looked at, and who looks.
    examining: Option<u64>,
    exam: Option<AbortHandle>,
    /// Steps done of its lease, as its beats say.
    beat: u32,
    /// States that it ended leases with on this connection, by unit.
    given: BTreeMap<u32, u32>,
    /// Whether it was told that it is out.
    said_out: bool,
    /// Whether the person read that its old channel has not ended yet.
    said_ending: bool,
}

/// A window to be paid in this round.
#[derive(Debug)]
struct Pending {
    provider: Provider,
    lease: u64,
    received: Received,
    states: Vec<Kept>,
    checked: u32,
    unchecked: bool,
    end: End,
    /// In an audited channel.
    listed: Option<Listed>,
    /// How long it has waited for a new look at its channel.
    waited: Duration,
}

/// Everything that the loop works with.
#[derive(Debug)]
pub(super) struct Conductor<'a> {
    pub(super) options: &'a Map,
    pub(super) prepared: Arc<Prepared>,
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) outputs: Outputs,
    pub(super) market: Market,
    /// What is paid in: every amount below is one of its smallest units, wei if it is KST.
    pub(super) money: Money,
    pub(super) signer: PrivateKeySigner,
    pub(super) endpoint: Endpoint,
    pub(super) shared: Arc<MemoryStore>,
    pub(super) served: Vec<Hash>,
    pub(super) examiner: Arc<Examiner>,
    pub(super) rule: SampleRule,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) show: Show,
    pub(super) live: BTreeMap<Provider, Live>,
    pub(super) begin: Instant,
    pending: Vec<Pending>,
    exams: JoinSet<()>,
    lines: JoinSet<Option<Provider>>,
    /// Who heard goodbye.
    told: BTreeSet<Provider>,
    /// Who showed that it has its last voucher.
    went_on: BTreeSet<Provider>,
    failed: Option<String>,
    /// Set once nothing more is handed out.
    stopping: Option<Instant>,
    looked: Option<Instant>,
    clock: Clock,
    /// Providers whose channel could not be opened.
    unopened: BTreeSet<Provider>,
    /// Providers that are dearer than what was said allows, and what they ask for a step.
    dear: BTreeMap<alloy_primitives::Address, u128>,
    /// Since when nobody works, and whoever could is too dear.
    stuck_since: Option<Instant>,
    /// Whether the person read that the next lease waits for checks to be over.
    said_waiting: bool,
    /// Most that a gas costs, as it was read with the last offers.
    fee_per_gas_max_wei: u128,
    /// Why a provider was left out last.
    lost: Option<String>,
    /// Windows that are looked at.
    watched: Watched,
    /// The checkers of paid windows are served with it, once there are any.
    tended: Option<Tended>,
    /// When this process paid a window, or took it up.
    paid_at: BTreeMap<B256, Instant>,
    /// The chain's time, since the Unix epoch, when a window was not known to be announced at first.
    missed_since: BTreeMap<B256, Duration>,
    /// Windows that were seen in the audit.
    announced: BTreeSet<B256>,
    /// Whether the person read how windows are audited.
    plan_said: bool,
    /// What was said last of the audits.
    audits_told: String,
    /// How far they were when they were counted last.
    audits_seen: Option<(Instant, String)>,
}

/// What a conductor begins with.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) options: &'a Map,
    pub(super) prepared: Arc<Prepared>,
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) outputs: Outputs,
    pub(super) market: Market,
    pub(super) money: Money,
    pub(super) signer: PrivateKeySigner,
    pub(super) endpoint: Endpoint,
    pub(super) shared: Arc<MemoryStore>,
    pub(super) served: Vec<Hash>,
    pub(super) examiner: Arc<Examiner>,
    pub(super) rule: SampleRule,
    pub(super) show: Show,
    pub(super) watched: Watched,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(parts: Parts<'a>, asks: mpsc::Sender<Ask>, events: mpsc::Sender<Event>) -> Self {
        let Parts { options, prepared, state, journal, outputs, market, money, signer, endpoint, .. } = parts;
        let Parts { shared, served, examiner, rule, show, watched, .. } = parts;
        Self {
            options,
            prepared,
            state,
            journal,
            outputs,
            market,
            money,
            signer,
            endpoint,
            shared,
            served,
            examiner,
            rule,
            asks,
            events,
            show,
            live: BTreeMap::new(),
            begin: Instant::now(),
            pending: Vec::new(),
            exams: JoinSet::new(),
            lines: JoinSet::new(),
            told: BTreeSet::new(),
            went_on: BTreeSet::new(),
            failed: None,
            stopping: None,
            looked: None,
            clock: Clock::new(),
            unopened: BTreeSet::new(),
            dear: BTreeMap::new(),
            stuck_since: None,
            said_waiting: false,
            fee_per_gas_max_wei: 0,
            lost: None,
            watched,
            tended: None,
            paid_at: BTreeMap::new(),
            missed_since: BTreeMap::new(),
            announced: BTreeSet::new(),
            plan_said: false,
            audits_told: String::new(),
            audits_seen: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Until every unit is done and stays so, or it ends otherwise. The lines say goodbye then.
    pub(super) async fn run(&mut self, inbox: &mut mpsc::Receiver<Event>, stops: &Stops) -> Result<Ending> {
        self.take_up().await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.clock = Clock::new();
        let ending = loop {
            if let Some(ending) = self.ending() {
                break ending;
            }
            tokio::select! {
                event = inbox.recv() => {
                    let Some(event) = event else { bail!("the loop lost its events") };
                    self.look_for_a_standstill();
                    self.happen(event)?;
                    self.happen_all(inbox)?;
                }
                _ = tick.tick() => {
                    self.look_for_a_standstill();
                    // What came while this process stood still came in time.
                    self.happen_all(inbox)?;
                    self.look_at_the_clock()?;
                }
                () = stops.wait(1), if self.stopping.is_none() => {
                    self.look_for_a_standstill();
                    self.cancel();
                }
                () = stops.wait(2) => return Err(Interrupted.into()),
            }
            self.commit()?;
            // It waits for the disk.
            self.look_for_a_standstill();
            self.hand_out()?;
            self.display();
            while self.exams.try_join_next().is_some() {}
            while let Some(ended) = self.lines.try_join_next() {
                self.told.extend(ended.ok().flatten());
            }
        };
        for provider in self.live.keys().copied() {
            self.part_from(provider)?;
        }
        self.audits_seen = None;
        self.display();
        Ok(ending)
    }

    /// What has come up to now, as far as one round takes it.
    fn happen_all(&mut self, inbox: &mut mpsc::Receiver<Event>) -> Result<()> {
        for _ in 0..ROUND_MAX {
            let Ok(event) = inbox.try_recv() else { break };
            self.happen(event)?;
        }
        Ok(())
    }

    /// After an error nobody is told anything: the same command goes on with the leases and channels that there are.
    pub(super) fn leave(&mut self) {
        self.lines.abort_all();
        self.exams.abort_all();
    }

    /// Waits until every line has said goodbye, for a bounded time; who heard it, and who has its last voucher in any case.
    pub(super) async fn part(&mut self) -> (BTreeSet<Provider>, BTreeSet<Provider>) {
        for live in self.live.values_mut() {
            live.commands = None;
        }
        // Those that nobody hears are not waited for.
        let ended = async {
            while let Some(ended) = self.lines.join_next().await {
                self.told.extend(ended.ok().flatten());
            }
        };
        let _ = tokio::time::timeout(PART_MAX, ended).await;
        self.lines.abort_all();
        self.exams.abort_all();
        (std::mem::take(&mut self.told), std::mem::take(&mut self.went_on))
    }

    fn ending(&self) -> Option<Ending> {
        if self.state.is_whole() && self.pending.is_empty() {
            return Some(Ending::Whole);
        }
        let is_quiet = self.state.table.live().next().is_none();
        if let Some(since) = self.stopping
            && (is_quiet || since.elapsed() > CANCEL_MAX)
        {
            return Some(self.failed.clone().map_or(Ending::Stopped, Ending::Failed));
        }
        None
    }

    /// Nothing more is handed out; what is done is reported and paid.
    fn cancel(&mut self) {
        self.show.say("Stopping: providers report what they have, which is paid. Ctrl-C again leaves at once.");
        self.stop();
    }

    fn stop(&mut self) {
        self.stopping.get_or_insert_with(Instant::now);
        let leases: Vec<(u64, Provider)> = self.state.table.live().map(|l| (l.number, l.provider)).collect();
        for (lease, provider) in leases {
            self.say(provider, Command::Cancel { lease });
        }
    }

    /// The job cannot be done.
    fn fail(&mut self, reason: String) {
        self.show.event("given-up", None, &reason, json!({"unitsLeft": self.state.table.units_left()}));
        self.failed.get_or_insert(reason);
        self.stop();
    }

    fn say(&self, provider: Provider, command: Command) {
        if let Some(live) = self.live.get(&provider) {
            live.say(command);
        }
    }

    /// Writes an event down and lets it happen.
    fn record(&mut self, entry: &Entry) -> Result<Effect> {
        self.journal.append(entry)?;
        let now = self.now();
        Ok(self.state.apply(entry, now))
    }

    /// Ends a provider's live lease unpaid; another's, or one that has ended, is not touched.
    fn end(&mut self, provider: Provider, lease: u64, why: LeaseEnd) -> Result<()> {
        if !self.holds(provider, lease) {
            return Ok(());
        }
        self.pending.retain(|pending| pending.lease != lease);
        if let Effect::Ended(lease) = self.record(&Entry::Ended { lease, why })? {
            self.tell_ended(&lease, why);
            let live = self.live.entry(lease.provider).or_default();
            live.examining = None;
            live.beat = 0;
        }
        Ok(())
    }

    fn tell_ended(&self, lease: &Lease, why: LeaseEnd) {
        let detail = format!("{why}: {} to be done again", counted(lease.steps().into(), "step"));
        let ended = happened::lease_ended(self.name(lease.provider), lease, why);
        self.show.once(&Happened { detail: &detail, ..ended });
    }

    /// The lease that a provider has, for a program.
    fn held(&self, provider: Provider) -> Value {
        happened::of_lease(self.state.table.lease_of(provider).map(|lease| lease.number))
    }

    fn unit_failed(&mut self, provider: Provider, unit: u32, reason: String) -> Result<()> {
        self.show.once(&happened::unit_failed(self.name(provider), unit, &format!("unit {unit}: {reason}")));
        let effect = self.record(&Entry::Failed { provider, unit, reason })?;
        if let Effect::Failing(Failing::ForGood { providers }) = effect {
            let reasons = self.state.failures.get(&unit).map(|reasons| reasons.join("; ")).unwrap_or_default();
            self.fail(format!("unit {unit} failed at {providers} providers: {reasons}"));
        }
        Ok(())
    }

    fn leave_out(&mut self, provider: Provider, why: Out) -> Result<()> {
        if self.state.table.out(provider).is_none() {
            self.record(&Entry::LeftOut { provider, why })?;
        }
        Ok(())
    }

    /// Whether this is the provider's live lease.
    fn holds(&self, provider: Provider, lease: u64) -> bool {
        self.state.table.lease_of(provider).is_some_and(|live| live.number == lease)
    }

    fn look_at_the_clock(&mut self) -> Result<()> {
        // What happened in this round may have waited for the disk.
        self.look_for_a_standstill();
        for (lease, why) in self.state.table.overdue(self.now()) {
            let provider = self.state.table.live().find(|live| live.number == lease).map(|live| live.provider);
            if let Some(provider) = provider {
                self.end(provider, lease, why)?;
            }
        }
        self.give_up_the_unannounced()?;
        self.dismiss()?;
        self.refill();
        self.look_for_stuck();
        self.give_up_the_hopeless();
        Ok(())
    }

    /// A unit that failed at everybody who is left keeps the job from its end.
    fn give_up_the_hopeless(&mut self) {
        let is_quiet = self.state.table.live().next().is_none();
        if let Some((unit, count)) = self.state.table.hopeless().filter(|_| is_quiet && self.failed.is_none()) {
            let reasons = self.state.failures.get(&unit).map(|reasons| reasons.join("; ")).unwrap_or_default();
            self.fail(format!("unit {unit} failed at {count} providers, and no other is left: {reasons}"));
        }
    }

    /// Providers that were left out are told, once.
    fn dismiss(&mut self) -> Result<()> {
        let out: Vec<(Provider, Out)> =
            self.state.providers().filter_map(|(p, _)| Some((p, self.state.table.out(p)?))).collect();
        for (provider, why) in out {
            let name = self.name(provider);
            if !std::mem::replace(&mut self.live.entry(provider).or_default().said_out, true) {
                if why != Out::Unwilling {
                    self.lost = Some(format!("{name}, which {}", super::state::words(why)));
                }
                self.part_from(provider)?;
                self.show.once(&happened::left_out(name, why, self.state.process()));
            }
            if let Some(lease) = self.state.table.lease_of(provider).map(|lease| lease.number) {
                self.end(provider, lease, LeaseEnd::Cancelled)?;
            }
        }
        Ok(())
    }

    /// Pays the windows of this round: outputs, settlements and payers' records on the disk, then the vouchers.
    fn commit(&mut self) -> Result<()> {
        let due = self.take_due()?;
        if due.is_empty() {
            return Ok(());
        }
        let (mut settlements, mut vouchers, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for pending in due {
            let Pending { provider, lease, received, states, checked, unchecked, end, listed, .. } = pending;
            if !self.holds(provider, lease) {
                // It ended since it was checked, with a conviction for one: nothing is signed for it.
                self.refuse(provider, lease, RefuseCode::Ended, "the lease has ended");
                continue;
            }
            let steps = received.report().units;
            // Before a payer counts it as paid.
            let window = match self.tracked(provider, &received, listed.as_ref()) {
                Ok(window) => window,
                Err(reason) => {
                    self.refuse_money(provider, lease, reason.to_owned())?;
                    continue;
                }
            };
            let draft = match self.pay(provider, &received) {
                Ok(draft) => draft,
                Err(reason) => {
                    self.refuse_money(provider, lease, reason)?;
                    continue;
                }
            };
            let places = self.keep(provider, states)?;
            let payer = draft.record().to_vec().into();
            settlements.push(Settled { lease, provider, steps, checked, unchecked, states: places, payer, window });
            vouchers.push((provider, lease, draft));
            ends.push((provider, end));
        }
        block_in_place(|| self.outputs.sync())?;
        let (mut windows, mut paid) = (Vec::new(), Vec::new());
        for settled in settlements {
            paid.extend(happened::paid(&settled, &self.state));
            windows.extend(settled.window.as_ref().map(|window| window.id));
            self.record(&Entry::Settled(settled))?;
        }
        block_in_place(|| self.journal.sync())?;
        paid.iter().for_each(|paid| self.show.note(paid));
        for (provider, lease, draft) in vouchers {
            self.went_on.remove(&provider);
            let signed = self.sign(draft.saved())?;
            let live = self.live.entry(provider).or_default();
            live.examining = None;
            live.beat = 0;
            self.say(provider, Command::Voucher { lease, signed });
        }
        windows.into_iter().for_each(|id| self.attend(id));
        for (provider, end) in ends {
            self.heed(provider, end)?;
        }
        Ok(())
    }

    /// Appends states to the outputs, without forcing them to the disk.
    fn keep(&mut self, provider: Provider, states: Vec<Kept>) -> Result<Vec<Place>> {
        let mut places = Vec::with_capacity(states.len());
        for Kept { unit, done, bytes, name } in states {
            let offset = self.outputs.append(&bytes)?;
            places.push(Place { unit, done, offset, length: u64::try_from(bytes.len())?, name });
            self.live.entry(provider).or_default().given.insert(unit, done);
        }
        Ok(places)
    }

    pub(super) fn name(&self, provider: Provider) -> alloy_primitives::Address {
        self.state.partner(provider).map(|partner| partner.account).unwrap_or_default()
    }

    /// The channel's id of a provider.
    fn channel(&self, provider: Provider) -> Option<B256> {
        self.state.partner(provider)?.channel
    }
}

impl Live {
    /// A full line is one that does not hear: its lease will end by silence.
    fn say(&self, command: Command) {
        if let Some(commands) = &self.commands
            && let Err(error) = commands.try_send(command)
        {
            tracing::debug!(%error, "a provider cannot be told");
        }
    }
}
