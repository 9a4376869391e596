//! All open orders of this provider, and what their courses share.

use super::{
    backlog::Backlog,
    canary::Canaries,
    course::Course,
    fault::Fault,
    machine::Machine,
    offering::Offering,
    owner::Owner,
    portion::Portion,
    record::{Record, Records},
    room::UNITS_MAX,
    savings::OnChain,
    self_test::Capability,
    turns::Turns,
};
use crate::{
    cli::RefuseCheckers,
    compute::{
        amount::kst,
        bond::{Bonds, SEAT_WEI},
        market::Market,
        windows::{Windows, window_of},
    },
};
use alloy_primitives::{Address, B256, U256};
use eyre::Result;
use keystead_blobs::{BlobStore, Hash};
use keystead_job::JobSpec;
use keystead_runner::WorkerCommand;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// Orders that are open at once: each is a small file, and a task that asks the chain.
pub(super) const COURSES_MAX: usize = 256;
/// How long the courses may take to end when the process is asked to stop.
const END_MAX: Duration = Duration::from_secs(10);

/// How long a provider waits that could not bring its bond what an earlier process owed it.
const SAVINGS_RETRY: Duration = Duration::from_secs(30);
/// How often a provider that is to finish looks whether its orders are over.
const FINISH_POLL: Duration = Duration::from_millis(500);

/// Why an order is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// Too many, and none of them is one that could be let go.
    #[error("too many open orders: at most {COURSES_MAX}, with {UNITS_MAX} units")]
    Busy,
    /// The disk, or the process is stopping.
    #[error("{0}")]
    Fault(String),
}

/// What a person wished of this provider.
#[derive(Debug)]
pub(super) struct Conduct {
    /// Wrong on purpose.
    pub(super) fault: Option<Fault>,
    /// The share of what is earned that goes into the bond, if one does.
    pub(super) savings: Option<OnChain>,
    /// Gives these checkers nothing.
    pub(super) refuses_checkers: Option<RefuseCheckers>,
    /// Gives customers no states.
    pub(super) withholds_states: bool,
    /// Finds right whatever a provider opened.
    pub(super) believes: bool,
    /// Wrong where its customers want it.
    pub(super) canaries: Canaries,
}

/// An order whose work is not done.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    pub(super) spec: JobSpec,
    /// Segments that are done.
    pub(super) done: u32,
    /// It has the machine.
    pub(super) runs: bool,
}

/// The shared state of all courses.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) market: Market,
    pub(super) offering: Offering,
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) records: Records,
    pub(crate) command: WorkerCommand,
    pub(crate) capability: Capability,
    pub(crate) owner: Owner,
    pub(super) windows: Windows,
    bonds: Bonds,
    /// The share of what is earned that goes into the bond, if one does.
    savings: Option<OnChain>,
    /// Set only to test whether customers notice.
    pub(super) fault: Option<Fault>,
    /// Set only to test whether customers hand their inputs to checkers.
    pub(super) refuses_checkers: Option<RefuseCheckers>,
    /// Set only to test whether customers search for what is wrong in public.
    pub(super) withholds_states: bool,
    /// Set only to test whether canaries catch who does not look.
    pub(crate) believes: bool,
    /// Wrong where its customers want it.
    pub(super) canaries: Canaries,
    /// One job at a time has the machine.
    pub(super) machine: Machine,
    /// What is known about the orders that wait for it.
    pub(super) backlog: Backlog,
    /// Units, steps and checks take turns.
    pub(crate) turns: Turns,
    /// True once the process is asked to stop.
    pub(crate) stopping: watch::Sender<bool>,
    courses: Mutex<BTreeMap<U256, Arc<Course>>>,
    /// Held while blobs are named or deleted, see [`Self::shelf`].
    shelf: Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
}

impl Book {
    pub(super) fn new(
        offering: Offering,
        store: Arc<dyn BlobStore>,
        records: Records,
        command: WorkerCommand,
        capability: Capability,
        owner: Owner,
        conduct: Conduct,
    ) -> Arc<Self> {
        let account = &offering.market.account;
        let (windows, bonds) = (Windows { account: Arc::clone(account) }, Bonds { account: Arc::clone(account) });
        Arc::new(Self {
            windows,
            bonds,
            savings: conduct.savings,
            market: offering.market.clone(),
            offering,
            store,
            records,
            command,
            capability,
            owner,
            refuses_checkers: conduct.refuses_checkers,
            withholds_states: conduct.withholds_states,
            believes: conduct.believes,
            canaries: conduct.canaries,
            fault: conduct.fault,
            machine: Machine::new(),
            backlog: Backlog::default(),
            turns: Turns::new(),
            stopping: watch::Sender::new(false),
            courses: Mutex::default(),
            shelf: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    /// Writes an order's file. The blobs that it names are on the disk before it is.
    pub(super) fn save(&self, record: &Record) -> Result<()> {
        self.store.settle()?;
        self.records.save(record)
    }

    /// Takes up every order that was open when the process ended; how many.
    pub(super) fn resume(self: &Arc<Self>) -> Result<usize> {
        let records = self.records.all()?;
        let count = records.len();
        for record in records {
            tracing::info!(order = %record.order, done = record.done(), units = record.outputs.len(), "order taken up again");
            self.begin(record)?;
        }
        Ok(count)
    }

    /// The course of an order, which begins if there is none.
    pub(super) fn open(
        self: &Arc<Self>,
        order: U256,
        customer: Address,
        spec: &JobSpec,
    ) -> Result<Arc<Course>, NotTaken> {
        let fault = |error: eyre::Report| NotTaken::Fault(format!("{error:#}"));
        if let Some(course) = self.course(order) {
            return Ok(course);
        }
        if !self.make_room(customer, spec.unit_count) {
            return Err(NotTaken::Busy);
        }
        if *self.stopping.borrow() {
            return Err(NotTaken::Fault("the provider is stopping".to_owned()));
        }
        let record = Record::new(order, customer, spec).map_err(fault)?;
        self.save(&record).map_err(fault)?;
        self.begin(record).map_err(fault)
    }

    pub(super) fn course(&self, order: U256) -> Option<Arc<Course>> {
        self.courses().get(&order).cloned()
    }

    /// The course of the order whose window this is.
    pub(super) fn course_of(&self, window: B256) -> Option<Arc<Course>> {
        let courses = self.courses();
        courses.iter().find(|(order, _)| window_of(**order) == window).map(|(_, course)| Arc::clone(course))
    }

    /// What this account can lock behind an order now, wei.
    pub(super) async fn free_bond_wei(&self) -> Result<U256> {
        self.bonds.free_wei().await
    }

    /// What this account could lock if none of its work were in an audit, wei.
    pub(super) async fn bond_wei(&self) -> Result<U256> {
        let found = self.bonds.account_of(self.market.account.address()).await?;
        Ok(U256::from(found.freeWei).saturating_add(U256::from(found.lockedWei)))
    }

    /// Puts the owner's share of what came in into the bond, and the first seat's worth of it into a seat. What fails is said, and tried again with the next
    /// income and at the next start: nothing is forgotten.
    pub(crate) async fn save_from_earnings(&self) {
        if let Err(error) = self.try_save().await {
            tracing::warn!(
                error = format!("{error:#}"),
                "a share of the income is not in the bond yet: it is tried again"
            );
        }
    }

    /// Brings the bond what earlier processes owe it; tries until that is done.
    pub(super) async fn bring_up_savings(&self) {
        while let Err(error) = self.try_save().await {
            tracing::warn!(
                error = format!("{error:#}"),
                retry_s = SAVINGS_RETRY.as_secs(),
                "what is owed to the bond since an earlier start is not there yet"
            );
            tokio::time::sleep(SAVINGS_RETRY).await;
        }
    }

    async fn try_save(&self) -> Result<()> {
        let Some(savings) = &self.savings else { return Ok(()) };
        let share = Box::pin(savings.bring_up()).await?;
        if share.is_zero() {
            return Ok(());
        }
        let found = self.bonds.account_of(self.market.account.address()).await?;
        tracing::info!(
            bonded = kst(share),
            free = kst(U256::from(found.freeWei)),
            "a share of the income went into the bond"
        );
        if found.seats == 0 && U256::from(found.freeWei) >= SEAT_WEI {
            self.bonds.seat(1, self.capability.standing()).await?;
            tracing::info!("the first seat was taken: from the next epoch on this machine is drawn as a checker");
        }
        Ok(())
    }

    /// Returns when the owner wants this program to end and no order is open.
    pub(super) async fn finished(&self) {
        self.owner.until_finish().await;
        while !self.open_orders().is_empty() {
            tokio::time::sleep(FINISH_POLL).await;
        }
    }

    /// Open orders whose inputs are here and whose work is not done, each with the segments that are. What waits for its customer is no work: who orders
    /// much and brings nothing must not make this machine look busy.
    pub(super) fn unfinished(&self) -> Vec<Unfinished> {
        let courses = self.courses();
        let at_work = courses.values().filter(|course| !course.is_waiting());
        let stages = at_work.map(|course| (course, course.stage.borrow().clone()));
        let open = stages.filter(|(_, stage)| stage.committed.is_none() && stage.failed.is_none());
        let unfinished = |course: &Course, done| Unfinished { spec: course.spec.clone(), done, runs: course.runs() };
        open.map(|(course, stage)| unfinished(course, stage.done)).collect()
    }

    /// Every open order.
    pub(super) fn open_orders(&self) -> Vec<U256> {
        self.courses().keys().copied().collect()
    }

    fn begin(self: &Arc<Self>, record: Record) -> Result<Arc<Course>> {
        let order = record.order;
        let portion = Portion::open(self.records.portion(order));
        let course = Arc::new(Course::new(record, portion)?);
        {
            let _shelf = self.shelf();
            self.courses().insert(order, Arc::clone(&course));
        }
        let (book, driven) = (Arc::clone(self), Arc::clone(&course));
        let mut tasks = self.tasks();
        // What has ended keeps its memory until it is joined.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { driven.drive(&book).await });
        drop(tasks);
        Ok(course)
    }

    /// The order is over: forgets it, and the blobs that no other open order needs.
    pub(super) fn close(&self, order: U256) {
        let course = self.courses().remove(&order);
        if let Some(course) = course {
            self.clear(order, &course);
        }
    }

    /// Removes what an order that is no longer in the book left on the disk.
    pub(super) fn clear(&self, order: U256, course: &Course) {
        // First: without its record nobody would look for it.
        course.portion.forget();
        if let Err(error) = self.records.forget(order) {
            tracing::warn!(%error, "an order that is over stays on disk");
        }
        let _shelf = self.shelf();
        let needed: BTreeSet<Hash> = self.courses().values().flat_map(|other| other.blobs()).collect();
        // Inputs that came before the customer fell silent are nobody's, too.
        for blob in course.blobs().into_iter().filter(|blob| !needed.contains(blob)) {
            if let Err(error) = self.store.delete(blob) {
                tracing::warn!(%error, "a blob that nobody needs stays on disk");
            }
        }
    }

    /// Stops every run, waits for the courses to end, and says which orders remain.
    pub(super) async fn stop(&self) -> Vec<U256> {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks());
        let ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_MAX, ended).await.is_err() {
            tracing::warn!("some orders did not come to rest in time; their files are whole");
        }
        tasks.abort_all();
        self.open_orders()
    }

    /// Orders share blobs that are equal. A course names a blob under this lock before it counts on finding it in the store, and a blob
    /// is deleted under it only while no course names it: so nothing goes that somebody was about to use.
    pub(super) fn shelf(&self) -> MutexGuard<'_, ()> {
        // No code panics while it holds these locks.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn courses(&self) -> MutexGuard<'_, BTreeMap<U256, Arc<Course>>> {
        self.courses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
