//! Conversations with customers: who may come, and what happens while they are here.

use super::{
    book::{Book, NotTaken},
    course::{Course, Stage},
    deadline,
    portion::Volume,
    record::{Cause, Failed},
    stream, window,
};
use crate::{
    cli::RefuseCheckers,
    compute::{
        checker::{
            Agent,
            source::{self, Admitted, Material, signer},
        },
        market::Order,
        named,
    },
};
use alloy_primitives::{B256, U256};
use eyre::Result;
use keystead_blobs::{
    Authorise, CheckHello, Delivery, Ended, Failure, FailureCode, Handler, Hash, Hello, Job, NodeId, NoteKind, Offer,
    Pace, Parties, Progress, Refusal, RefusalCode, Sent, SessionError, StoreError, Unavailable, Want, hash,
    hello_digest,
};
use keystead_contracts::storage::Status;
use keystead_job::{B256 as Name, JobSpec, Runtime, limits::INPUT_BYTES_MAX, trace::Trace};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::block_in_place};

/// Bytes of one name in a list.
const NAME_BYTES: u64 = 32;

/// Decides by the chain.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) book: Arc<Book>,
    /// Where the windows of channels are.
    pub(super) streams: Arc<stream::Desk>,
    /// This machine as a checker of others, if it is one.
    pub(super) checker: Option<Arc<Agent>>,
    /// This machine's node, as the credential names it.
    pub(super) node: NodeId,
}

impl Authorise for Door {
    async fn authorise(&self, customer: NodeId, hello: &Hello) -> Result<(), Refusal> {
        let no = |code, reason: &str| Err(Refusal::new(code, reason));
        let order = self.known(hello.order).await?;
        if order.provider != self.book.market.account.address() {
            return no(RefusalCode::NotAssigned, "the order names another provider");
        }
        if !order.status().is_open() && !order.status().is_paid() {
            return no(RefusalCode::NotAssigned, &format!("the order is {:?}", order.status()));
        }
        let parties = Parties { customer, provider: self.node };
        if signer(&hello.credential, hello_digest(hello.order, parties)) != Some(order.customer) {
            return no(RefusalCode::NotTheCustomer, "the credential is not signed by the order's customer");
        }
        let spec = match JobSpec::decode(&hello.job) {
            Ok(spec) if spec.hash() == order.job_hash && spec.unit_count == order.units => spec,
            Ok(_) => return no(RefusalCode::WrongJob, "the job has another hash or number of units than the order"),
            Err(error) => return no(RefusalCode::WrongJob, &error.to_string()),
        };
        if order.status() == Status::Ordered
            && let Err(reason) = self.book.capability.admit(&spec)
        {
            return no(RefusalCode::Unsupported, &reason);
        }
        if order.status() == Status::Ordered
            && let Some(reason) = self
                .book
                .offering
                .refusal(&spec, &order)
                .or_else(|| deadline::refusal(&spec, order.stand.deliver_seconds))
        {
            return no(RefusalCode::Unsupported, &reason);
        }
        if self.book.course(hello.order).is_none() && order.status() != Status::Ordered {
            return no(RefusalCode::NotAssigned, "the order is no longer open here");
        }
        if order.status() == Status::Ordered
            && let Some(reason) = self.unwanted(hello.order, &spec)
        {
            return no(RefusalCode::Busy, &reason);
        }
        match self.book.open(hello.order, order.customer, &spec) {
            Ok(course) => {
                if let Err(error) = course.met(&self.book, B256::new(*customer.as_bytes())) {
                    tracing::warn!(error = format!("{error:#}"), "cannot save an order's state");
                }
                // Declined on the chain, and the customer hears why when it looks at the session.
                if order.status() == Status::Ordered
                    && let Some(reason) = self.unkept(&order, &spec).await
                {
                    course.fail(&self.book, Failed { cause: Cause::Terms, unit: None, reason });
                }
                Ok(())
            }
            Err(busy @ NotTaken::Busy) => no(RefusalCode::Busy, &busy.to_string()),
            Err(NotTaken::Fault(reason)) => {
                tracing::warn!(reason, "an order was not taken");
                no(RefusalCode::Internal, "the provider cannot take orders now")
            }
        }
    }

    async fn on_duty(&self, checker: NodeId, hello: &CheckHello) -> Result<Offer, Refusal> {
        if let Some(window) = self.streams.window(hello.window) {
            let admitted = self.admit(hello, checker).await?;
            return source::offer_step(&admitted, &window.material());
        }
        let Some(course) = self.book.course_of(hello.window) else {
            let Some(agent) = self.checker.as_ref().filter(|agent| agent.checks(hello.window)) else {
                return Err(Refusal::new(RefusalCode::NotAssigned, "this provider has no such window open"));
            };
            let admitted = source::admit(&self.book.windows, hello, checker, self.node).await?;
            return agent.offer(&admitted);
        };
        let admitted = self.admit(hello, checker).await?;
        let record = course.record();
        let work = record.work().ok();
        source::offer(&admitted, &Material { spec: &course.spec, inputs: &record.inputs, work: work.as_ref() })
    }
}

/// Whether a provider that refuses some checkers on purpose refuses one of a unit that is in this round now.
const fn is_refused(when: Option<RefuseCheckers>, round: u8, opened: bool) -> bool {
    match when {
        None => false,
        Some(RefuseCheckers::Always) => true,
        Some(RefuseCheckers::Opened) => opened,
        Some(RefuseCheckers::Later) => round > 0,
    }
}

impl Door {
    /// A checker of this provider's own work whom the chain puts on duty.
    async fn admit(&self, hello: &CheckHello, checker: NodeId) -> Result<Admitted, Refusal> {
        let admitted = source::admit(&self.book.windows, hello, checker, self.node).await?;
        if is_refused(self.book.refuses_checkers, admitted.case.round, admitted.case.opened) {
            return Err(Refusal::new(RefusalCode::Internal, "this provider was told to serve no such checker"));
        }
        Ok(admitted)
    }

    /// What the chain says about an order.
    async fn known(&self, order: U256) -> Result<Order, Refusal> {
        let no = |reason: &str| Err(Refusal::new(RefusalCode::ChainUnavailable, reason));
        match self.book.market.order(order).await {
            Ok(order) => Ok(order),
            Err(error)
                if error.downcast_ref::<crate::client::RpcFailure>().is_some_and(|failure| failure.data.is_some()) =>
            {
                // The customer's node may be ahead of ours by a block.
                no("the provider's node knows no such order yet")
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot ask the chain about an order");
                no("the provider's node does not answer")
            }
        }
    }

    /// Why the owner does not want an order now, if so. One that is here already is among those that wait, and not one more.
    fn unwanted(&self, order: U256, spec: &JobSpec) -> Option<String> {
        let (book, owner) = (&self.book, &self.book.owner);
        let refusal = owner.refusal().or_else(|| owner.refusal_of(spec));
        refusal.or_else(|| if book.course(order).is_none() { book.backlog_refusal() } else { None })
    }

    /// Why the terms of an order's audit cannot be kept, if they cannot.
    async fn unkept(&self, order: &Order, spec: &JobSpec) -> Option<String> {
        let terms = self.book.market.audit_terms(order).await;
        let terms = match terms {
            Ok(terms) => terms?,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot read the terms of an order's audit");
                return Some("the provider cannot read the terms of the order's audit".to_owned());
            }
        };
        if let Some(reason) = self.misnamed(order, terms.named).await {
            return Some(reason);
        }
        match self.book.free_bond_wei().await {
            Ok(free_wei) => {
                window::foreign_judge(&terms, spec).or_else(|| window::refusal(&terms, order.units, free_wei))
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot read this account's bond");
                Some("the provider cannot read its own bond".to_owned())
            }
        }
    }
}

impl Door {
    /// Why the checkers that a private order names cannot be taken, if they cannot: who leases it agrees to them, and gives them the input.
    async fn misnamed(&self, order: &Order, hash: B256) -> Option<String> {
        if hash.is_zero() {
            return None;
        }
        let parties = named::Parties { provider: order.provider, customer: order.customer };
        match named::of_order(&self.book.market.account, order.id, hash).await {
            Ok(Some(names)) => named::fault(&names, parties).map(|fault| fault.to_string()),
            Ok(None) => Some(
                "the order is private, and its transaction does not end with the names of its checkers, so nobody could be given the input: order again with a \
                 newer keystead run, and not through a wallet that is a contract"
                    .to_owned(),
            ),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot read whom a private order names");
                Some("the provider cannot read whom the private order names".to_owned())
            }
        }
    }
}

/// Conducts sessions.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) book: Arc<Book>,
    pub(super) said: Quiet,
}

/// What is said about sessions that failed, so that strangers cannot fill the disk with it: what is beyond the bound of a minute is only counted.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

/// How long a customer may hold its session after the delivery without fetching anything: there are few places.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// Lines about failed sessions in a minute.
const LINES_MAX: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

impl Quiet {
    /// Says it if there is room.
    fn note(&self, order: Option<U256>, say: impl FnOnce()) {
        let (speak, unsaid) = self.turn(order.is_some());
        if unsaid > 0 {
            tracing::info!(count = unsaid, "more sessions ended in the last minute, without a line each");
        }
        if speak {
            say();
        }
    }

    /// Whether to speak, and what was not said in the minute that is over.
    fn turn(&self, is_order: bool) -> (bool, u64) {
        // No code panics while it holds this lock.
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unsaid = 0;
        if minute.since.is_none_or(|since| since.elapsed() >= MINUTE) {
            unsaid = minute.unsaid;
            *minute = Minute { since: Some(Instant::now()), said: 0, unsaid: 0 };
        }
        // Strangers may use up a half; the rest is for whoever named an order.
        let most = if is_order { LINES_MAX } else { LINES_MAX / 2 };
        let speak = minute.said < most;
        if speak {
            minute.said = minute.said.saturating_add(1);
        } else {
            minute.unsaid = minute.unsaid.saturating_add(1);
        }
        (speak, unsaid)
    }
}

impl Handler for Host {
    async fn run(&self, job: &mut Job) -> Result<(), Failure> {
        let Some(course) = self.book.course(job.hello().order) else {
            return Err(Failure::new(FailureCode::Internal, "the order is over"));
        };
        let mut pace = Pace::default();
        if course.record().inputs.is_empty() {
            course.tell(NoteKind::Fetching, course.spec.unit_count.into(), "");
            flush(job, &course, &mut pace).await?;
            self.fetch(job, &course).await?;
            course.tell(NoteKind::Fetched, 0, "");
        }
        let mut stage = course.stage.subscribe();
        loop {
            let now = stage.borrow_and_update().clone();
            if now.committed.is_some() || now.failed.is_some() {
                flush(job, &course, &mut pace).await?;
            }
            if let Some(commitment) = now.committed {
                return self.hand_over(job, &course, commitment).await;
            }
            if let Some(failed) = now.failed {
                let failure = Failure::new(failed.cause.code(), &failed.reason);
                return Err(match failed.unit {
                    Some(unit) => failure.at_unit(unit),
                    None => failure,
                });
            }
            job.progress(Progress { done: now.done, total: segments(&course.spec) }).await?;
            if !tell_until_changed(job, &course, &mut stage, &mut pace).await? {
                return Err(Failure::new(FailureCode::Internal, "the order is over"));
            }
        }
    }

    fn cancel(&self, order: U256) -> Result<(), Failure> {
        let Some(course) = self.book.course(order) else { return Ok(()) };
        course.cancel(&self.book).map_err(|late| {
            // A leased order can be cancelled in vain as often as its customer likes.
            self.said.note(Some(order), || tracing::info!(%order, %late, "a cancellation changes nothing"));
            Failure::new(FailureCode::Deadline, &late.to_string())
        })
    }

    fn ended(&self, ended: Ended) {
        let Ended { customer, order, outcome } = ended;
        match &outcome {
            Ok(()) => tracing::debug!(?customer, ?order, "session finished"),
            Err(error) => self.said.note(order, || {
                tracing::info!(?customer, order = order.map(|order| order.to_string()), %error, "session ended");
            }),
        }
        // It may have said so by the end of its connection alone.
        if matches!(outcome, Err(SessionError::Cancelled))
            && let Some(course) = order.and_then(|order| self.book.course(order))
            && let Err(late) = course.cancel(&self.book)
        {
            tracing::debug!(order = %course.order(), %late, "a cancellation is not heard");
        }
    }
}

impl Host {
    /// Program, common input and the list first, then what the list names.
    async fn fetch(&self, job: &mut Job, course: &Course) -> Result<(), Failure> {
        let spec = &course.spec;
        let list_bytes = u64::from(spec.unit_count).saturating_mul(NAME_BYTES);
        let first = [
            (spec.program_hash, spec.runtime.program_bytes_max()),
            (spec.common_hash, INPUT_BYTES_MAX),
            (spec.units_hash, list_bytes),
        ];
        // Checkers of an audited order get the checker program here.
        let checker = spec.checker.map(|checker| (checker.program_hash, Runtime::Wasm1.program_bytes_max()));
        self.take(job, course, &wants(first.into_iter().chain(checker))).await?;
        let list = block_in_place(|| self.book.store.get(Hash::from(spec.units_hash), list_bytes));
        let list = list.map_err(|error| Failure::from(SessionError::from(error)))?;
        let names = hash::parse_list(&list, spec.unit_count as usize)
            .map_err(|error| Failure::new(FailureCode::Input, &error.to_string()))?;
        let units: Vec<Name> = names.into_iter().map(Name::from).collect();
        course.inputs_are_coming(&self.book, &units);
        self.take(job, course, &wants(units.iter().map(|name| (*name, INPUT_BYTES_MAX)))).await?;
        course.inputs_arrived(&self.book, units).map_err(|error| {
            if !course.is_waiting() || self.book.course(course.order()).is_none() {
                return Failure::new(FailureCode::Internal, "the order was let go: its inputs came too late");
            }
            tracing::error!(error = format!("{error:#}"), "cannot save an order's state");
            Failure::new(FailureCode::Internal, "the provider cannot write to its disk")
        })
    }

    /// Fetches inputs. What others brought and did not finish gives way when there is no room; while the owner lets nothing move, it waits, and goes on
    /// with what had arrived.
    async fn take(&self, job: &mut Job, course: &Course, wanted: &[Want]) -> Result<(), Failure> {
        let owner = &self.book.owner;
        loop {
            owner.until_network().await;
            let fetched = job.fetch(wanted.to_vec(), &mut |_| {}).await;
            if matches!(&fetched, Err(SessionError::Unavailable(Unavailable::Paused { .. }))) {
                continue;
            }
            let is_full = matches!(&fetched, Err(SessionError::Store(StoreError::Full { .. })));
            if !is_full || !self.book.forgo_one(course.customer(), Some(course.order())) {
                return fetched.map_err(told);
            }
        }
    }

    async fn hand_over(&self, job: &mut Job, course: &Course, commitment: B256) -> Result<(), Failure> {
        let record = course.record();
        let Some((names, traces)) = record.result() else {
            return Err(Failure::new(FailureCode::Internal, "outputs are missing"));
        };
        let total = segments(&course.spec);
        // Of an order that was stopped it is less than all.
        job.progress(Progress { done: record.done().min(total), total }).await?;
        job.commit(commitment).await?;
        let root = Hash::from(keystead_job::hash_list(&names));
        let mut served: BTreeSet<Hash> = names.iter().copied().map(Hash::from).collect();
        if self.book.withholds_states && !traces.is_empty() {
            // The outputs come first; what follows are lists of states.
            served = names.iter().take(traces.len()).copied().map(Hash::from).collect();
        } else {
            served.extend(traces.iter().flat_map(Trace::states).copied().map(Hash::from));
        }
        let delivery = Delivery::new(B256::from(record.secret().reveal()), root);
        let size = |blob: &Hash| self.book.store.size(*blob).ok().flatten();
        let all = || Volume::of(served.iter().chain([&root]).filter_map(size));
        block_in_place(|| course.portion.deliver_once(all));
        let mut fetching = Fetching { course, sent: job.sent(), counted: Volume::default() };
        fetching.check()?;
        job.deliver(delivery, served.into_iter().collect()).await?;
        loop {
            tokio::select! {
                () = job.received() => return Ok(()),
                Ok(()) = fetching.sent.changed() => fetching.check()?,
                // The outputs stay; who comes again gets them.
                () = tokio::time::sleep(UNREAD_MAX) => {
                    let reason = "nothing was fetched for a while: come again for the rest of the outputs";
                    return Err(Failure::new(FailureCode::Internal, reason));
                }
            }
        }
    }
}

/// Tells what waits to be told, as far as it may go at once.
async fn flush(job: &mut Job, course: &Course, pace: &mut Pace) -> Result<(), Failure> {
    while let Some(note) = course.notes.take(pace) {
        job.note(note).await?;
    }
    Ok(())
}

/// Tells what happens until the stage changes; false if it never will.
async fn tell_until_changed(
    job: &mut Job,
    course: &Course,
    stage: &mut watch::Receiver<Stage>,
    pace: &mut Pace,
) -> Result<bool, Failure> {
    loop {
        tokio::select! {
            changed = stage.changed() => return Ok(changed.is_ok()),
            note = course.notes.next(pace) => job.note(note).await?,
        }
    }
}

/// A session that fetches outputs; what it fetched counts for all later ones of the order.
struct Fetching<'a> {
    course: &'a Course,
    sent: watch::Receiver<Sent>,
    /// What of it the portion knows.
    counted: Volume,
}

impl Fetching<'_> {
    fn count(&mut self) {
        let Sent { blobs, bytes } = *self.sent.borrow();
        let sent = Volume { blobs, bytes };
        self.course.portion.fetch(sent.since(self.counted));
        self.counted = sent;
    }

    /// Whether the customer may go on.
    fn check(&mut self) -> Result<(), Failure> {
        self.count();
        let portion = &self.course.portion;
        if portion.is_due() {
            block_in_place(|| portion.save());
        }
        match portion.spent() {
            Some(reason) => Err(Failure::new(FailureCode::Internal, &reason)),
            None => Ok(()),
        }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

/// What progress counts to.
fn segments(spec: &JobSpec) -> u32 {
    // A job has at most 2^20 segments.
    spec.unit_count.saturating_mul(spec.segment_count)
}

/// What is wrong with this machine's disk is said here; the customer learns only that something is.
fn told(error: SessionError) -> Failure {
    if let SessionError::Store(store) = &error {
        tracing::error!(error = %store, "cannot keep a customer's input: look at the free space of the folder, then start again");
    }
    Failure::from(error)
}

/// Each blob once.
fn wants(names: impl IntoIterator<Item = (Name, u64)>) -> Vec<Want> {
    let mut seen = BTreeSet::new();
    let once = names.into_iter().filter(|(name, _)| seen.insert(*name));
    once.map(|(name, bytes_max)| Want { hash: Hash::from(name), bytes_max }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_refuses_on_purpose_refuses_all_or_those_of_an_opened_unit_or_of_a_later_round() {
        use RefuseCheckers::{Always, Later, Opened};
        let refused =
            |round, opened| [None, Some(Always), Some(Opened), Some(Later)].map(|when| is_refused(when, round, opened));
        assert_eq!(refused(0, false), [false, true, false, false]);
        assert_eq!(refused(0, true), [false, true, true, false]);
        assert_eq!(refused(1, true), [false, true, true, true]);
        assert_eq!(refused(2, false), [false, true, false, true]);
    }

    #[test]
    fn strangers_get_half_of_the_lines_of_a_minute_and_the_rest_is_counted() {
        let said = Quiet::default();
        let spoken = |is_order: bool| (0..100).filter(|_| said.turn(is_order).0).count();
        assert_eq!((spoken(false), spoken(true), spoken(true)), (30, 30, 0));
        if let Ok(mut minute) = said.0.lock() {
            minute.since = Instant::now().checked_sub(MINUTE);
        }
        assert_eq!(said.turn(false), (true, 240), "a new minute tells what the last one did not");
        assert_eq!(said.turn(false), (true, 0));
    }
}
