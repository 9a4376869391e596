//! The customer's loop: asks the chain where the order stands, does the next step, until it is over.

use super::{
    audit::{
        canary::{Canary, Telling, right_output},
        recourse::{Facts, recourse},
        serve::{Arrivals, Served, Serving},
    },
    check::{self, Sample, draw_seed},
    folder::Folder,
    plan::Prepared,
    result,
    show::Show,
    state::{Checked, Objection, State},
    talk::{Arrived, Broken, Line},
};
use crate::compute::{
    amount::{duration, kst},
    audited::tending::Attendant,
    lifecycle::{CustomerStep, Finding, Known, Recourse, Window, customer_step, margin},
    market::{Market, Order},
    results::FILE as OUTPUTS_FILE,
    windows::{Drawn, WindowStatus, window_of},
};
use alloy_primitives::{B256, U256, keccak256};
use eyre::{Report as Fault, Result, eyre};
use keystead_audit::{Rejection, SampleRule, Verdict, draw::PPM};
use keystead_blobs::stream::pack;
use keystead_contracts::storage::{Mode, Reason, Status};
use keystead_recipes::ResultFile;
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// How often the chain is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long after a failed call or conversation it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// All units are looked at.
const EVERY_UNIT: SampleRule = SampleRule { rate_ppm: PPM, units_min: 1 };

/// So often a delivery may arrive damaged before it is rejected.
const MALFORMED_MAX: u32 = 3;

/// How it ended. What was found and what went wrong is in the state.
#[derive(Debug)]
pub(super) struct End {
    pub(super) order: Order,
    /// A block at which the order stands as in `order`.
    pub(super) block: u64,
    /// The person stopped it.
    pub(super) stopped: bool,
}

/// Why a step was not done.
enum Trouble {
    /// The node or the contract: worth another try.
    Chain(Fault),
    /// This machine's disk or system: nothing more can be done before somebody repairs it.
    Here(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Chain(fault)
    }
}

/// The job as this process has it: what all its orders share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    pub(super) market: &'a Market,
    pub(super) prepared: &'a Prepared,
    pub(super) folder: &'a Folder,
    /// Whether the outputs stay beside the files that are made of them.
    pub(super) keep_outputs: bool,
    /// How long a provider that cannot be reached keeps an order that it has not leased.
    pub(super) reach: Duration,
}

/// One order under way.
#[derive(Debug)]
pub(super) struct Following<'a> {
    job: Job<'a>,
    order: U256,
    state: &'a mut State,
    pub(super) line: Line,
    arrived: Option<Arrived>,
    hopeless: bool,
    stopped: bool,
    malformed: u32,
    /// The call that was made last to end the order, and whose reason is written down.
    closing: Option<CustomerStep>,
    attendant: Attendant,
    /// What has arrived, for checkers.
    arrivals: Arrivals,
    /// Serves checkers, if the order is one that they check.
    _serving: Option<Serving>,
    /// Every unit is run again, not a sample.
    is_thorough: bool,
    /// Tells the order's canary, if it has one.
    telling: Option<Telling>,
}

/// What the chain says at one moment, and what follows.
struct Look {
    step: CustomerStep,
    order: Order,
    /// The audit's window of an order that is delivered and has one.
    window: Option<Drawn>,
    block: u64,
}

impl<'a> Following<'a> {
    /// Goes on where the state says that the last process stood.
    pub(super) fn new(job: Job<'a>, order: U256, state: &'a mut State, line: Line) -> Self {
        let attempt = &mut state.attempt;
        let received = attempt.received.as_ref();
        let arrived = received.and_then(|received| Arrived::restore(received, &job.prepared.spec, &*line.store));
        if attempt.received.is_some() && arrived.is_none() {
            tracing::warn!("outputs that had arrived are damaged or gone: fetching them again");
            attempt.received = None;
        }
        // What could not be checked may be checkable now; what is not on the disk any more has to be made again.
        let stands = |checked: &Checked| {
            checked.finding == Finding::Wrong || checked.finding == Finding::Right && job.folder.has(&checked.files)
        };
        attempt.checked = attempt.checked.take().filter(stands);
        let attendant = Attendant::new("unit", attempt.since_block);
        let arrivals = Arrivals::default();
        let is_checked = attempt.audit.as_ref().is_some_and(|terms| terms.named.is_empty());
        let served = Served {
            market: job.market,
            order,
            spec: &job.prepared.spec,
            units: &job.prepared.unit_names,
            since_block: attempt.since_block,
            arrivals: Arc::clone(&arrivals),
        };
        let serving = is_checked.then(|| Serving::begin(served, &line));
        let telling = attempt.canary.map(|canary| Telling::begin(job.market.windows(), order, canary));
        let following = Self {
            job,
            order,
            state,
            line,
            arrived,
            hopeless: false,
            stopped: false,
            malformed: 0,
            closing: None,
            attendant,
            arrivals,
            _serving: serving,
            is_thorough: false,
            telling,
        };
        following.tell_checkers();
        following
    }

    /// What checkers may be given changed.
    fn tell_checkers(&self) {
        let work = self.arrived.as_ref().map(|arrived| Arc::new(arrived.work()));
        *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = work;
    }

    /// The customer no longer wants it: cancels what can be cancelled.
    pub(super) fn give_up(&mut self) {
        self.hopeless = true;
        self.stopped = true;
        self.state.attempt.why = Some("you stopped it".to_owned());
    }

    /// The provider says that everything is done. From then on the order is followed as if nobody had stopped it; false if it was not even leased, so that
    /// this cannot be true and the money can be had back at once.
    pub(super) async fn goes_on(&mut self) -> bool {
        let order = self.job.market.order(self.order).await;
        if order.is_ok_and(|order| order.status() == Status::Ordered) {
            return false;
        }
        self.hopeless = false;
        self.state.attempt.why = None;
        true
    }

    /// Runs to the end. May be dropped and called again.
    ///
    /// # Errors
    /// This machine cannot go on; the order does.
    pub(super) async fn run(&mut self, show: &mut Show) -> Result<End> {
        loop {
            match self.advance(show).await {
                Ok(Some((order, block))) => return Ok(End { order, block, stopped: self.stopped }),
                Ok(None) => {}
                Err(Trouble::Here(fault)) => return Err(fault),
                Err(Trouble::Chain(fault)) => {
                    tracing::warn!(error = format!("{fault:#}"), "trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    fn known(&self) -> Known {
        Known {
            received: self.arrived.is_some(),
            finding: self.state.attempt.checked.as_ref().map(|checked| checked.finding),
            hopeless: self.hopeless,
            unreachable: self.line.silent_for() >= self.job.reach,
            ..Known::default()
        }
    }

    async fn look(&self) -> Result<Look> {
        let market = self.job.market;
        // In this sequence, so that the block is not older than what is known of the order.
        let order = market.order(self.order).await?;
        let is_audited = order.stand.mode != Mode::Own && order.status() == Status::Delivered;
        let window = if is_audited { Some(market.windows().drawn(window_of(order.id)).await?) } else { None };
        let (block, now) = market.account.head().await?;
        let mut known = self.known();
        if let Some(drawn) = &window {
            known.window = match drawn.window.status {
                WindowStatus::None | WindowStatus::Open => Window::Open,
                WindowStatus::Closed => Window::Closed,
                WindowStatus::Convicted => Window::Convicted,
            };
            known.recourse = self.recourse(&order, drawn, now).await?;
        }
        Ok(Look { step: customer_step(&order.stand, known, now), order, window, block })
    }

    async fn recourse(&self, order: &Order, drawn: &Drawn, now: u64) -> Result<Recourse> {
        let Some(checked) = self.state.attempt.checked.as_ref().filter(|checked| checked.finding == Finding::Wrong)
        else {
            return Ok(Recourse::None);
        };
        let case = match checked.wrong {
            Some(wrong) => Some(self.job.market.windows().case(drawn.window.id, wrong.unit).await?),
            None => None,
        };
        let delivered_at = order.stand.check_by.saturating_sub(order.stand.check_seconds);
        Ok(recourse(checked, Facts { drawn, case: case.as_ref(), delivered_at, now }))
    }

    async fn advance(&mut self, show: &mut Show) -> Result<Option<(Order, u64)>, Trouble> {
        if let Some(news) = self.telling.as_mut().and_then(Telling::news) {
            show.say(&news);
        }
        let Look { step, order, window, block } = self.look().await?;
        let market = self.job.market;
        match step {
            CustomerStep::Converse => self.converse(&order, show).await?,
            CustomerStep::AwaitRecord | CustomerStep::AwaitEnd => sleep(POLL).await,
            CustomerStep::Check => self.check(&order, show).await?,
            CustomerStep::Attend => {
                if let Some(window) = &window {
                    self.attend(window, show).await?;
                }
                sleep(RETRY).await;
            }
            CustomerStep::Accuse => self.accuse(window.as_ref(), show).await?,
            CustomerStep::Accept => drop(market.accept(order.id).await?),
            CustomerStep::Reject => {
                let objection = self.state.attempt.checked.as_ref().and_then(|checked| checked.objection);
                let objection = objection.ok_or_else(|| eyre!("a rejection without evidence"))?;
                drop(market.reject(order.id, objection.reason(), objection.evidence).await?);
            }
            CustomerStep::RejectNotReceived => {
                let why = match self.arrived {
                    Some(_) => "what the provider committed to was not received in time to be judged",
                    None => "the provider announced a delivery that did not arrive",
                };
                self.closes(step, why)?;
                let evidence = keccak256(self.state.attempt.why.as_deref().unwrap_or_default());
                drop(market.reject(order.id, Reason::NotReceived, evidence).await?);
            }
            CustomerStep::Cancel => {
                if !self.hopeless {
                    self.closes(step, &format!("the provider could not be reached for {}", duration(self.job.reach)))?;
                }
                drop(market.cancel(order.id).await?);
            }
            CustomerStep::Expire => {
                let deadline = if order.status() == Status::Ordered { "take the order" } else { "deliver" };
                self.closes(step, &format!("the provider did not {deadline} in time"))?;
                drop(market.expire(order.id).await?);
            }
            CustomerStep::LeaveOpen | CustomerStep::Close => match self.untold(&order).await? {
                None => return Ok(Some((order, block))),
                Some(window) => {
                    self.attend(&window, show).await?;
                    sleep(RETRY).await;
                }
            },
        }
        Ok(None)
    }

    /// The window of an order that is refunded, say, while its canary must still be told.
    async fn untold(&self, order: &Order) -> Result<Option<Drawn>> {
        let (Some(telling), Some(canary)) = (&self.telling, &self.state.attempt.canary) else { return Ok(None) };
        if order.commitment.is_zero() {
            return Ok(None);
        }
        let drawn = self.job.market.windows().drawn(window_of(order.id)).await?;
        Ok(telling.is_owed(canary, drawn.window.status).then_some(drawn))
    }

    /// Tells how the window goes, and does what nobody else does.
    async fn attend(&mut self, window: &Drawn, show: &mut Show) -> Result<()> {
        let windows = self.job.market.windows();
        let look = self.attendant.look(&windows, window).await?;
        if let Some(news) = &look.news {
            show.say(news);
        }
        if let Some(drawn) = look.drawn {
            let (done, total) = (u64::from(look.done), u64::from(drawn.max(look.done)));
            show.progress("units of the audit concluded", done, total);
        }
        match look.due {
            Some(due) => self.attendant.send(&windows, window.window.id, due).await,
            None => Ok(()),
        }
    }

    /// Writes down why the order ends, before the call that ends it; with what was heard last.
    fn closes(&mut self, step: CustomerStep, why: &str) -> Result<(), Trouble> {
        if self.closing == Some(step) {
            return Ok(());
        }
        self.closing = Some(step);
        let last = self.state.attempt.why.take().map_or_else(String::new, |last| format!("; last: {last}"));
        self.because(format!("{why}{last}"))
    }

    fn because(&mut self, why: String) -> Result<(), Trouble> {
        self.state.attempt.why = Some(why);
        self.save()
    }

    fn save(&self) -> Result<(), Trouble> {
        // What it says has arrived is there after a power cut as well.
        self.line.store.settle().map_err(|error| Trouble::Here(error.into()))?;
        self.job.folder.save(self.state).map_err(Trouble::Here)
    }

    /// Talks to the provider, but no longer than the chain's state allows.
    async fn converse(&mut self, order: &Order, show: &mut Show) -> Result<(), Trouble> {
        let outcome = tokio::select! {
            outcome = self.line.converse(&self.job.prepared.spec, show) => outcome,
            () = self.until_converse_is_over() => return Ok(()),
        };
        match outcome {
            Ok(arrived) => {
                self.state.attempt.received = Some(arrived.received());
                self.state.attempt.why = None;
                self.arrived = Some(arrived);
                self.tell_checkers();
                self.save()?;
            }
            Err(Broken::ForNow(why)) => {
                tracing::debug!(order = %order.id, why, "trying again");
                self.state.attempt.why = Some(why);
                sleep(RETRY).await;
                if let Ok(endpoint) = self.job.market.endpoint_of(self.line.provider()).await {
                    self.line.redirect(&endpoint);
                }
            }
            Err(Broken::ForGood(why)) => {
                if !self.hopeless {
                    show.say(&format!("The provider will not deliver: {why}"));
                }
                self.hopeless = true;
                self.because(why)?;
                // A delivery that the chain already holds may still be taken, if the provider recovers.
                sleep(RETRY).await;
            }
            Err(Broken::Malformed(why)) => {
                tracing::warn!(order = %order.id, why, "the provider broke the rules");
                // What comes before the delivery is on the chain may still be made good.
                self.malformed = self.malformed.saturating_add(u32::from(order.status() == Status::Delivered));
                self.state.attempt.why = Some(why);
                if self.malformed >= MALFORMED_MAX {
                    self.refuse_unread(show)?;
                }
                sleep(RETRY).await;
            }
            Err(Broken::Here(why)) => {
                return Err(Trouble::Here(eyre!("cannot keep the outputs of order {}: {why}", order.id)));
            }
        }
        Ok(())
    }

    /// The provider sends what cannot be the result, again and again: there is nothing to check.
    fn refuse_unread(&mut self, show: &Show) -> Result<(), Trouble> {
        let why = self.state.attempt.why.clone().unwrap_or_default();
        show.say(&format!("The provider sends what cannot be the result: {why}"));
        let objection = Objection::new(Reason::Malformed, keccak256(&why));
        self.state.attempt.checked = Some(Checked::unread(self.job.prepared.spec.unit_count, objection));
        self.save()
    }

    /// States that the check needs did not come: tried again while there is time, then the delivery is not whole.
    async fn states_are_missing(&mut self, order: &Order, broken: Broken) -> Result<(), Trouble> {
        let why = match broken {
            Broken::ForNow(why) | Broken::ForGood(why) | Broken::Malformed(why) => why,
            Broken::Here(why) => {
                return Err(Trouble::Here(eyre!("cannot keep the states of order {}: {why}", order.id)));
            }
        };
        let (_, now) = self.job.market.account.head().await?;
        if now.saturating_add(margin(&order.stand)) > order.stand.check_by {
            let why = format!("the provider does not give the states that it committed to: {why}");
            let objection = Objection::new(Reason::NotReceived, keccak256(&why));
            self.state.attempt.checked = Some(Checked::unread(self.job.prepared.spec.unit_count, objection));
            return self.because(why);
        }
        self.state.attempt.why = Some(why);
        sleep(RETRY).await;
        Ok(())
    }

    async fn until_converse_is_over(&self) {
        loop {
            sleep(POLL).await;
            match self.look().await {
                Ok(Look { step: CustomerStep::Converse, .. }) => {}
                Ok(_) => return,
                Err(error) => tracing::debug!(error = format!("{error:#}"), "cannot ask the chain"),
            }
        }
    }

    /// Accuses the unit that was found wrong. The chain remembers it, so that no restart does it twice.
    async fn accuse(&self, drawn: Option<&Drawn>, show: &Show) -> Result<(), Trouble> {
        let wrong = self.state.attempt.checked.as_ref().and_then(|checked| checked.wrong);
        let (Some(Drawn { window, draw }), Some(wrong)) = (drawn, wrong) else {
            return Err(Trouble::Chain(eyre!("an accusation without a unit")));
        };
        let windows = self.job.market.windows();
        if draw.drawn_at == 0 && windows.randomness(draw.draw_height).await?.is_none() {
            sleep(POLL).await;
            return Ok(());
        }
        let bond = kst(window.accusation_wei());
        show.say(&format!(
            "This machine found unit {} wrong: accusing it, with a bond of {bond} that comes back if the referees find the same.",
            wrong.unit
        ));
        windows.accuse(window, wrong.unit, wrong.segment).await?;
        Ok(())
    }

    /// The seed of the sample: drawn once, and on the disk before it is used.
    fn seed(&mut self) -> Result<B256, Trouble> {
        if let Some(seed) = self.state.attempt.seed {
            return Ok(seed);
        }
        let seed = draw_seed().map_err(Trouble::Here)?;
        self.state.attempt.seed = Some(seed);
        self.save()?;
        Ok(seed)
    }

    /// The unit that arrived wrong on purpose, if the order has one: the check passes over it, and says so.
    fn canary(&self, arrived: &Arrived, show: &Show) -> Option<u32> {
        let Canary { unit, .. } = self.state.attempt.canary.filter(|canary| canary.is_in(&arrived.outputs))?;
        show.say(&format!(
            "Unit {unit} is wrong on purpose, as you ordered it: the check passes over it, and the files have this machine's own output in its place."
        ));
        Some(unit)
    }

    /// Everything that can be checked: the chain's record, the sample, and whether the recipe can read the outputs. The files are on the
    /// disk before the finding is, and so before the provider is paid.
    async fn check(&mut self, order: &Order, show: &mut Show) -> Result<(), Trouble> {
        let seed = self.seed()?;
        let Job { prepared, .. } = self.job;
        let arrived = self.arrived.as_ref().ok_or_else(|| eyre!("a check without outputs"))?;
        let rule = if self.is_thorough { EVERY_UNIT } else { self.state.rule() };
        let canary = self.canary(arrived, show);
        let check = check::begin(prepared, order, arrived, Sample { rule, seed, canary });
        let states = check::states(&check, arrived);
        if let Err(why) = self.line.fetch_states(&prepared.spec, states, show).await {
            return self.states_are_missing(order, why).await;
        }
        let report = check::check(check, prepared, &*self.line.store, show).await.map_err(Trouble::Here)?;
        let (packed, outputs) = match result::outputs(prepared, arrived, &*self.line.store) {
            Ok(outputs) => {
                // It ran here before anything was paid, so it will again: whoever gives up now tells nobody, and has the provider convicted.
                (self.job.packed(&outputs), repaired(prepared, outputs, canary).await?)
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "outputs that had arrived are damaged: fetching them again"
                );
                self.arrived = None;
                self.state.attempt.received = None;
                return self.save();
            }
        };
        let (mut finding, mut objection) = judged_under(order.result_root, arrived.result_root, &report.verdict);
        let (mut files, mut doubt) = (Vec::new(), None);
        match result::assemble(prepared, &outputs).await {
            Ok(_) if finding == Finding::Wrong => {}
            Ok(result) => files = self.job.keep(result, packed).map_err(Trouble::Here)?,
            // A recipe from a folder may be wrong itself: that is no evidence against a provider.
            Err(error) if prepared.side.is_guest() => {
                if finding == Finding::Right {
                    finding = Finding::Unknown;
                }
                doubt = Some(format!("the recipe cannot read the outputs: {error}"));
            }
            // An accusation names a unit: the one that is wrong is found by running all of them.
            Err(_) if finding == Finding::Right && order.stand.mode == Mode::Audited && !self.is_thorough => {
                show.say(
                    "The recipe cannot read the outputs: running every unit again, to find the one that is wrong.",
                );
                self.is_thorough = true;
                return Ok(());
            }
            // What the program cannot have written is wrong, whatever the sample says.
            Err(error) => {
                finding = Finding::Wrong;
                objection.get_or_insert_with(|| (Reason::Malformed, error.to_string()));
            }
        }
        self.state.attempt.why = match (&objection, &report.verdict) {
            (Some((_, words)), _) => Some(words.clone()),
            (None, Verdict::Inconclusive(why)) => Some(why.to_string()),
            (None, _) => doubt,
        };
        if let Some(planned) = &mut self.state.attempt.canary {
            planned.delivered = Some(canary.is_some());
        }
        let objection = objection.map(|(reason, words)| Objection::new(reason, keccak256(&words)));
        self.state.attempt.checked = Some(Checked::new(finding, &report, objection, files));
        self.save()
    }
}

impl Job<'_> {
    /// The outputs as they were delivered, if they shall stay: those are what the certificate names, a canary among them.
    fn packed(&self, outputs: &[Vec<u8>]) -> Option<ResultFile> {
        self.keep_outputs.then(|| ResultFile { name: OUTPUTS_FILE.to_owned(), bytes: pack::encode(outputs) })
    }

    /// Puts the result's files, and the outputs if they shall stay, where a crash cannot lose them; their names.
    fn keep(&self, mut result: Vec<ResultFile>, packed: Option<ResultFile>) -> Result<Vec<String>> {
        result.extend(packed);
        self.folder.keep(&result)
    }
}

/// The outputs for the result's files: this machine's own in place of the one that is wrong on purpose.
async fn repaired(prepared: &Prepared, mut outputs: Vec<Vec<u8>>, canary: Option<u32>) -> Result<Vec<Vec<u8>>> {
    if let Some(unit) = canary
        && let Some(output) = outputs.get_mut(unit as usize)
    {
        *output = Box::pin(right_output(prepared, unit)).await?;
    }
    Ok(outputs)
}

/// What a verdict means about outputs of this root, where the chain has that one.
fn judged_under(expected: B256, got: B256, verdict: &Verdict) -> (Finding, Option<(Reason, String)>) {
    if got == expected {
        return judged(verdict);
    }
    let words = format!("the chain's result root is another: got={got} expected={expected}");
    (Finding::Wrong, Some((Reason::CommitmentMismatch, words)))
}

/// What a verdict means, with the reason and the words of a rejection.
fn judged(verdict: &Verdict) -> (Finding, Option<(Reason, String)>) {
    match verdict {
        Verdict::Accepted => (Finding::Right, None),
        Verdict::Inconclusive(_) => (Finding::Unknown, None),
        Verdict::Rejected(rejection) => {
            let reason = match rejection {
                Rejection::Commitment { .. } => Reason::CommitmentMismatch,
                Rejection::OutputCount { .. } | Rejection::Trace { .. } => Reason::Malformed,
                Rejection::Unit { .. } => Reason::WrongResult,
                Rejection::Doubtful { .. } => Reason::Other,
            };
            (Finding::Wrong, Some((reason, rejection.to_string())))
        }
    }
}
