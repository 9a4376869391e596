//! The customer's loop: asks the chain where the order stands, does the next step, until it is over.

mod check;
mod search;
mod silence;
mod stop;

use super::{
    audit::{
        canary::Telling,
        recourse::{Facts, recourse},
        serve::{Arrivals, Served, Serving},
    },
    folder::Folder,
    happened,
    plan::Prepared,
    show::Show,
    state::{Checked, Objection, State},
    talk::{Arrived, Broken, Line, Part},
};
use crate::compute::{
    amount::{duration, kst},
    audited::tending::Attendant,
    event_log::EventLog,
    lifecycle::{CustomerStep, Finding, Known, Recourse, Window, customer_step},
    market::{Market, Order},
    money::Money,
    windows::{Drawn, SEEKING, WindowStatus, window_of},
};
use alloy_primitives::{Address, U256, keccak256};
use eyre::{Report as Fault, Result, eyre};
use keystead_contracts::storage::{Mode, Reason, Status};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// How often the chain is asked.
const POLL: Duration = Duration::from_millis(300);
/// How long after a failed call or conversation it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// So often a delivery may arrive damaged before it is rejected.
const MALFORMED_MAX: u32 = 3;
/// So often a provider may give outputs without the lists of their states before the outputs are looked at alone.
const UNLISTED_MAX: u32 = 3;

/// How it ended. What was found and what went wrong is in the state.
#[derive(Debug)]
pub(super) struct End {
    pub(super) order: Order,
    /// A block at which the order stands as in `order`.
    pub(super) block: u64,
    /// The person stopped it, in this folder or by another program that has the account.
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
    /// What the orders are paid in.
    pub(super) money: &'a Money,
    /// Whether the outputs stay beside the files that are made of them.
    pub(super) keep_outputs: bool,
    /// How long a provider that cannot be reached keeps an order that it has not leased.
    pub(super) reach: Duration,
    /// What programs are told.
    pub(super) log: &'a EventLog,
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
    malformed: u32,
    /// How often outputs came without the lists of their states; `None` once those were looked at alone, and none was wrong.
    unlisted: Option<u32>,
    /// What was said last about a stop.
    told: Option<stop::Told>,
    silence: silence::Silence,
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
            malformed: 0,
            unlisted: Some(0),
            told: None,
            silence: silence::Silence::default(),
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

    /// Runs to the end. May be dropped and called again.
    ///
    /// # Errors
    /// This machine cannot go on; the order does.
    pub(super) async fn run(&mut self, show: &mut Show) -> Result<End> {
        loop {
            match self.advance(show).await {
                Ok(Some((order, block))) => {
                    let stopped = self.state.attempt.stopping || order.stand.stopped;
                    return Ok(End { order, block, stopped });
                }
                Ok(None) => {}
                Err(Trouble::Here(fault)) => return Err(fault),
                Err(Trouble::Chain(fault)) => {
                    tracing::warn!(error = format!("{fault:#}"), "trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Whom an event is about.
    const fn whom(&self) -> (U256, Address) {
        (self.order, self.line.provider())
    }

    /// Tells what may go wrong again and again, unless it is what went wrong last.
    fn tell_again(&self, event: &str, why: &str) {
        if self.state.attempt.why.as_deref() != Some(why) {
            self.job.log.tell(&happened::about(event, self.whom(), why));
        }
    }

    fn known(&self) -> Known {
        Known {
            received: self.arrived.is_some(),
            finding: self.state.attempt.checked.as_ref().map(|checked| checked.finding),
            hopeless: self.hopeless,
            stopping: self.state.attempt.stopping,
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
        happened::reached(&order, &self.state.attempt).iter().for_each(|happened| self.job.log.tell_once(happened));
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
        self.tell_stop(&order, show)?;
        match step {
            CustomerStep::Converse => {
                self.tell_silence(&order, show);
                self.converse(&order, show).await?;
            }
            CustomerStep::AwaitRecord | CustomerStep::AwaitEnd => sleep(POLL).await,
            CustomerStep::Check if self.has_outputs_alone() => Box::pin(self.check_alone(&order, show)).await?,
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
            CustomerStep::Stop => drop(market.stop(order.id).await?),
            CustomerStep::Cancel => {
                if !self.hopeless && !self.state.attempt.stopping {
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
    async fn attend(&mut self, window: &Drawn, show: &mut Show) -> Result<(), Trouble> {
        let windows = self.job.market.windows();
        let look = self.attendant.look(&windows, window).await?;
        if let Some(news) = &look.news {
            show.say(news);
            self.job.log.tell(&happened::about("audit", self.whom(), news));
        }
        if let Some(drawn) = look.drawn {
            let (done, total) = (u64::from(look.done), u64::from(drawn.max(look.done)));
            show.progress("units of the audit concluded", done, total);
        }
        Box::pin(self.search(window, show)).await?;
        if let Some(due) = look.due {
            self.attendant.send(&windows, window.window.id, due).await?;
        }
        Ok(())
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
        let (spec, may_lack_states) = (&self.job.prepared.spec, self.may_lack_states(order));
        let part = Part { spec, units: order.committed_units(), may_lack_states };
        let outcome = tokio::select! {
            outcome = self.line.converse(part, show) => outcome,
            () = self.until_converse_is_over() => return Ok(()),
        };
        match outcome {
            // What another process needs is not here: it begins with the conversation again.
            Ok(arrived) if arrived.lacks_states(spec) => self.arrived = Some(arrived),
            Ok(arrived) => {
                self.state.attempt.received = Some(arrived.received());
                self.state.attempt.why = None;
                self.arrived = Some(arrived);
                self.tell_checkers();
                self.save()?;
                tracing::debug!(order = %order.id, "outputs arrived");
            }
            Err(Broken::ForNow(why)) => {
                tracing::debug!(order = %order.id, why, "trying again");
                self.tell_again("lost", &why);
                self.state.attempt.why = Some(why);
                sleep(RETRY).await;
                if let Ok(endpoint) = self.job.market.endpoint_of(self.line.provider()).await {
                    self.line.redirect(&endpoint);
                }
            }
            Err(Broken::Unlisted(why)) => {
                tracing::debug!(order = %order.id, why, "outputs without the lists of their states, trying again");
                self.unlisted = self.unlisted.map(|times| times.saturating_add(1));
                let why = format!("the provider does not give the states that it committed to: {why}");
                self.tell_again("lost", &why);
                self.state.attempt.why = Some(why);
                sleep(RETRY).await;
            }
            Err(Broken::ForGood(why)) => {
                if !self.hopeless {
                    show.say(&format!("The provider will not deliver: {why}"));
                    self.job.log.tell(&happened::about("unwilling", self.whom(), &why));
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
                self.tell_again("malformed", &why);
                self.state.attempt.why = Some(why);
                if self.malformed >= MALFORMED_MAX {
                    self.refuse_unread(order, show)?;
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
    fn refuse_unread(&mut self, order: &Order, show: &Show) -> Result<(), Trouble> {
        let why = self.state.attempt.why.clone().unwrap_or_default();
        show.say(&format!("The provider sends what cannot be the result: {why}"));
        let objection = Objection::new(Reason::Malformed, keccak256(&why));
        self.state.attempt.checked = Some(Checked::unread(order.committed_units(), objection));
        self.save()
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
            "This machine found unit {} wrong: accusing it, with a bond of {bond} that comes back if the referees find the same.{}",
            wrong.unit,
            if wrong.segment == SEEKING { " Its provider keeps the states between its segments to itself, so they are asked for on the chain." } else { "" }
        ));
        windows.accuse(window, wrong.unit, wrong.segment).await?;
        self.job.log.tell_once(&happened::accused(self.whom(), wrong.unit, window.accusation_wei()));
        Ok(())
    }
}
