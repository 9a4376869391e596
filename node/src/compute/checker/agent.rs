//! Follows the audit's events and finds the checks that fall on this account's seats; owns their tasks.

use super::{
    course::Course,
    record::{Awaited, Folder, Journal, Record, Seen},
    shelf::Shelf,
};
use crate::compute::{
    account::Log,
    amount::kst,
    bond::{Bonds, EPOCH_BLOCKS},
    files, named,
    panels::Sitting,
    provider::Book,
    windows::{CHECK_ROUNDS, Round, SLOTS, Which, Window, Windows, event},
};
use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolEvent as _;
use eyre::{Context as _, Result};
use keystead_audit::Draw;
use keystead_blobs::Endpoint;
use keystead_contracts::{
    CHANNEL_ADDRESS,
    bindings::{audit::Audit, referee::Referee},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::{JoinSet, block_in_place},
    time::sleep,
};

/// How often the chain is asked.
const POLL: Duration = Duration::from_millis(700);
/// How often an account without a seat looks whether it has one.
const SEATLESS_POLL: Duration = Duration::from_secs(5);
/// Blocks asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// Checks at once: each is a task that asks the chain. What is drawn beyond is left to reserves.
const CHECKS_MAX: usize = 256;
/// Windows and draws that are remembered; the oldest go first.
const WINDOWS_MAX: usize = 16_384;
/// A new folder looks back so far: what the beacon keeps.
const LOOK_BACK_BLOCKS: u64 = 8_192;
/// Checkers of round 1 (specs/0008-audit.md §8).
const SECOND_CHECKERS: u32 = 2;
const STATUS_FILE: &str = "status.json";

/// What a checker needs beside what it shares with the provider.
pub(crate) struct Means<'a> {
    pub(crate) book: &'a Arc<Book>,
    pub(crate) endpoint: &'a Endpoint,
    /// Its folder.
    pub(crate) folder: &'a Path,
    /// Most bytes of inputs to keep.
    pub(crate) bytes_max: u64,
}

/// The checker of one account.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(super) book: Arc<Book>,
    pub(super) windows: Windows,
    pub(super) endpoint: Endpoint,
    pub(super) folder: Folder,
    pub(super) shelf: Shelf,
    bonds: Bonds,
    status: PathBuf,
    journal: Mutex<Journal>,
    /// This account's places in the epoch of the draw that was looked at last.
    seated: Mutex<Option<(u32, BTreeSet<u32>)>>,
    courses: Mutex<BTreeMap<Which, Arc<Course>>>,
    tasks: Mutex<JoinSet<()>>,
    counts: Mutex<Counts>,
    /// There may be fees to take.
    fees_wait: AtomicBool,
    /// The epoch in which the list of seats was looked at.
    tidied: AtomicU64,
}

/// What this process has done, for `--status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    seats: u32,
    open: usize,
    revealed: u64,
    earned_wei: U256,
    /// The status file says so.
    told: bool,
}

impl Agent {
    /// Opens the folder. Nothing is done until [`Self::follow`].
    pub(crate) async fn open(means: Means<'_>) -> Result<Arc<Self>> {
        let account = Arc::clone(&means.book.market.account);
        let windows = Windows { account: Arc::clone(&account) };
        let folder = Folder::open(means.folder)?;
        let head = account.height().await?;
        let journal = Journal::resumed(folder.journal()?, head, head.saturating_sub(LOOK_BACK_BLOCKS));
        Ok(Arc::new(Self {
            book: Arc::clone(means.book),
            windows,
            endpoint: means.endpoint.clone(),
            folder,
            shelf: Shelf::open(means.folder, means.bytes_max, means.book.owner.stores())?,
            bonds: Bonds { account },
            status: means.folder.join(STATUS_FILE),
            journal: Mutex::new(journal),
            seated: Mutex::default(),
            courses: Mutex::default(),
            tasks: Mutex::default(),
            counts: Mutex::default(),
            fees_wait: AtomicBool::new(true),
            tidied: AtomicU64::new(u64::MAX),
        }))
    }

    pub(super) fn me(&self) -> Address {
        self.windows.account.address()
    }

    /// Checkers that a round wants.
    pub(super) fn wanted(&self, window: &Window, round: u8) -> u32 {
        if round == 0 { u32::from(window.checkers) } else { SECOND_CHECKERS }
    }

    /// Takes up every check that was under way, and follows the chain until the process stops.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut stopping = self.book.stopping.subscribe();
        let followed = async {
            match self.folder.all() {
                Ok(records) => {
                    // A process that died between two files may have left the blobs of a check that is over.
                    self.shelf.keep(|which| records.iter().any(|record| record.which == *which));
                    for record in records {
                        let Which { window, unit, round, .. } = record.which;
                        tracing::info!(%window, unit, round, "check taken up again");
                        self.begin(record);
                    }
                }
                Err(error) => tracing::error!(error = format!("{error:#}"), "checks under way cannot be read"),
            }
            loop {
                let pause = self.tick().await.unwrap_or_else(|error| {
                    tracing::warn!(error = format!("{error:#}"), "cannot follow the audits, trying again");
                    POLL
                });
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = followed => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    /// One look at the chain; how long to wait for the next.
    async fn tick(self: &Arc<Self>) -> Result<Duration> {
        let head = self.windows.account.height().await?;
        let seats = self.bonds.account_of(self.me()).await?.seats;
        self.tell(seats);
        // A private job may name an account that has no seat, so the events are followed by everybody; without a seat more seldom.
        while self.journal().next_block <= head {
            self.read_blocks(head).await?;
        }
        let due: Vec<Awaited> = self.journal().draws.iter().filter(|draw| draw.height <= head).copied().collect();
        let mut looked = Ok(());
        for draw in due {
            match self.draw(draw, head).await {
                Ok(true) => {
                    let mut journal = self.journal();
                    journal.draws.retain(|other| *other != draw);
                    self.folder.save_journal(&mut journal)?;
                }
                Ok(false) => {}
                // One window of which the node does not tell enough keeps this account from no other.
                Err(error) => looked = Err(error),
            }
        }
        self.take_fees().await?;
        if seats > 0 {
            self.tidy(head);
        }
        looked?;
        Ok(if seats == 0 { SEATLESS_POLL } else { POLL })
    }

    /// Reads the events of the next blocks into the journal.
    async fn read_blocks(&self, head: u64) -> Result<()> {
        let first = self.journal().next_block;
        let last = head.min(first.saturating_add(BLOCKS_MAX.saturating_sub(1)));
        let kinds = [
            Audit::WindowOpened::SIGNATURE_HASH,
            Audit::RoundBegan::SIGNATURE_HASH,
            Audit::Redrawn::SIGNATURE_HASH,
            Audit::WindowClosed::SIGNATURE_HASH,
        ];
        let logs = self.windows.logs(first, last, json!([kinds])).await?;
        // A new folder looks for its account's seats from the beginning.
        let seated = if self.journal().version == 0 { 0 } else { first };
        let places = self.bonds.seated(self.me(), seated, last).await?;
        let is_news = !logs.is_empty() || !places.is_empty();
        let mut journal = self.journal();
        journal.places.extend(places);
        logs.iter().for_each(|log| note(&mut journal, log));
        while journal.windows.len() > WINDOWS_MAX {
            let oldest = journal.windows.iter().min_by_key(|(_, seen)| seen.from_block).map(|(window, _)| *window);
            let Some(oldest) = oldest else { break };
            journal.windows.remove(&oldest);
        }
        journal.next_block = last.saturating_add(1);
        if is_news { self.folder.save_journal(&mut journal) } else { self.folder.pass_journal(&mut journal) }
    }

    /// Finds this account's checks in a draw; false if the randomness is not there yet.
    async fn draw(self: &Arc<Self>, draw: Awaited, head: u64) -> Result<bool> {
        let Awaited { window: id, unit, round, height } = draw;
        let Some(seen) = self.journal().windows.get(&id).copied() else { return Ok(true) };
        let window = self.windows.window(id).await?;
        if !window.exists() || window.is_over() {
            return Ok(true);
        }
        if window.provider == self.me() || window.customer == self.me() {
            return Ok(true);
        }
        let drawn = self.windows.round(id, unit, round).await?;
        let randomness =
            if drawn.drawn_at == 0 { self.windows.randomness(height).await? } else { Some(drawn.randomness) };
        let Some(randomness) = randomness else {
            // What the beacon no longer keeps is drawn anew, which its event tells.
            return Ok(head > height.saturating_add(LOOK_BACK_BLOCKS));
        };
        let (names, turn) = self.names(&window).await?;
        if window.is_named() && turn.is_none() {
            return Ok(true);
        }
        if round >= CHECK_ROUNDS {
            let of = Sitting { window: id, unit, round };
            // Who really holds a slot the contract says, once somebody has used the draw.
            let candidates = block_in_place(|| self.candidates(of, &Round { randomness, ..drawn }));
            if let Some(slot) = candidates.first() {
                self.take(Record::new(Which { window: id, unit, round, slot: *slot }, seen, names))?;
            }
            return Ok(true);
        }
        let lot = Draw::new(randomness, id, round);
        let places = if turn.is_none() { self.held_in(drawn.epoch).await? } else { BTreeSet::new() };
        let found = block_in_place(|| {
            let mine =
                |unit: u32, slot: u8| lot.seat(unit, slot, drawn.places).is_some_and(|place| places.contains(&place));
            let first = |unit: u32| turn.or_else(|| (0..SLOTS).find(|slot| mine(unit, *slot))).map(|slot| (unit, slot));
            let units: Vec<u32> =
                if round == 0 { lot.units(window.units, window.rate_ppm).collect() } else { vec![unit] };
            units.into_iter().filter_map(first).collect::<Vec<_>>()
        });
        for (unit, slot) in found {
            self.take(Record::new(Which { window: id, unit, round, slot }, seen, names.clone()))?;
        }
        Ok(true)
    }

    /// Whom a private window names, and this account's place among them.
    async fn names(&self, window: &Window) -> Result<(Vec<Address>, Option<u8>)> {
        if !window.is_named() {
            return Ok((Vec::new(), None));
        }
        let names = named::of_window(&self.windows, window).await?.unwrap_or_default();
        let turn = names.iter().position(|name| *name == self.me());
        Ok((names, turn.and_then(|turn| u8::try_from(turn).ok())))
    }

    /// The places that this account had in an epoch. One that it gave up may be another's by now, and a slot that points there would hide the one behind it that
    /// is this account's.
    async fn held_in(&self, epoch: u32) -> Result<BTreeSet<u32>> {
        let known = self.seated().clone().filter(|(of, _)| *of == epoch);
        if let Some((_, places)) = known {
            return Ok(places);
        }
        let places = self.journal().places.clone();
        let held = self.bonds.held_in(epoch, places).await?;
        *self.seated() = Some((epoch, held.clone()));
        Ok(held)
    }

    /// The slots of a panel that this account may hold.
    pub(super) fn candidates(&self, of: Sitting, drawn: &Round) -> Vec<u8> {
        of.candidates(drawn, &self.journal().places)
    }

    /// Begins a check, if there is room for it.
    fn take(self: &Arc<Self>, record: Record) -> Result<()> {
        let Which { window, unit, round, slot } = record.which;
        if self.courses().contains_key(&record.which) {
            return Ok(());
        }
        if self.courses().len() >= CHECKS_MAX {
            tracing::warn!(%window, unit, round, "too many checks at once, this one is left to a reserve: max={CHECKS_MAX}");
            return Ok(());
        }
        let why = if record.named.is_empty() {
            "a seat of this account is drawn"
        } else {
            "a private order names this account as its checker"
        };
        tracing::info!(%window, unit, round, slot, "{why}");
        self.folder.save(&record)?;
        self.begin(record);
        Ok(())
    }

    fn begin(self: &Arc<Self>, record: Record) {
        let which = record.which;
        let course = Arc::new(Course::new(record));
        self.courses().insert(which, Arc::clone(&course));
        let agent = Arc::clone(self);
        self.spawn(async move { course.drive(&agent).await });
    }

    /// Whether this account has a check in a window.
    pub(crate) fn checks(&self, window: B256) -> bool {
        self.courses().keys().any(|which| which.window == window)
    }

    /// This account's checks of the same unit in earlier rounds, the newest first; in most windows there is none.
    pub(super) fn earlier(&self, than: Which) -> Vec<Arc<Course>> {
        let is_earlier =
            |which: &Which| (which.window, which.unit) == (than.window, than.unit) && which.round < than.round;
        let courses = self.courses();
        courses.iter().rev().filter(|(which, _)| is_earlier(which)).map(|(_, course)| Arc::clone(course)).collect()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        // What has ended keeps its memory until it is joined.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// A check is over: forgets it, and takes the fees when it was the last one.
    pub(super) fn over(&self, which: Which) {
        self.courses().remove(&which);
        self.shelf.release(which);
        if let Err(error) = self.folder.forget(which) {
            tracing::warn!(error = format!("{error:#}"), "a check that is over stays on disk");
        }
    }

    /// A check or a ballot was revealed; checks are paid at once.
    pub(super) fn revealed(&self, amount_wei: U256) {
        {
            let mut counts = self.counts();
            counts.revealed = counts.revealed.saturating_add(1);
        }
        self.paid(amount_wei);
    }

    /// Something was paid.
    pub(super) fn paid(&self, amount_wei: U256) {
        let mut counts = self.counts();
        counts.told = false;
        counts.earned_wei = counts.earned_wei.saturating_add(amount_wei);
        self.fees_wait.store(true, Ordering::Relaxed);
    }

    /// Fees wait in the contract; they are taken when no check is under way, so that one call takes many.
    async fn take_fees(&self) -> Result<()> {
        if self.courses().is_empty() && self.fees_wait.swap(false, Ordering::Relaxed) {
            let taken = self.windows.withdraw().await.inspect_err(|_| self.fees_wait.store(true, Ordering::Relaxed))?;
            if !taken.is_zero() {
                tracing::info!(withdrawn = kst(taken), "fees of checks withdrawn");
                self.book.save_from_earnings().await;
            }
        }
        Ok(())
    }

    /// Once an epoch: makes the list of seats shorter, if that pays off and it is this account's turn. Nobody waits for its transactions: a draw meanwhile has
    /// a time by which its checks are committed.
    fn tidy(self: &Arc<Self>, head: u64) {
        let epoch = head.checked_div(EPOCH_BLOCKS).unwrap_or_default();
        if !self.courses().is_empty() || self.tidied.swap(epoch, Ordering::Relaxed) == epoch {
            return;
        }
        let agent = Arc::clone(self);
        self.spawn(async move {
            let mut stopping = agent.book.stopping.subscribe();
            let tidied = tokio::select! {
                tidied = agent.bonds.tidy(epoch) => tidied,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match tidied {
                Ok(0) => {}
                Ok(steps) => {
                    tracing::info!(
                        steps,
                        "most of the list of seats were holes: made it shorter, in this account's turn"
                    )
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "the list of seats was not made shorter"),
            }
        });
    }

    /// Writes the status file, if something changed.
    fn tell(&self, seats: u32) {
        let open = self.courses().len();
        let counts = {
            let mut counts = self.counts();
            if counts.told && (counts.seats, counts.open) == (seats, open) {
                return;
            }
            *counts = Counts { seats, open, told: true, ..*counts };
            *counts
        };
        let status = json!({
            "seats": counts.seats,
            "openChecks": counts.open,
            "revealed": counts.revealed,
            "earnedWei": counts.earned_wei.to_string(),
        });
        if let Err(error) = files::replace(&self.status, status.to_string().as_bytes()) {
            tracing::debug!(error = format!("{error:#}"), "cannot write the checker's status");
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        // No code panics while it holds these locks.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seated(&self) -> MutexGuard<'_, Option<(u32, BTreeSet<u32>)>> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn courses(&self) -> MutexGuard<'_, BTreeMap<Which, Arc<Course>>> {
        self.courses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of the checker in a provider's folder; `None` if there is none.
pub(crate) fn status(folder: &Path) -> Result<Option<serde_json::Value>> {
    let path = folder.join(STATUS_FILE);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    serde_json::from_str(&text).wrap_err_with(|| format!("{} is damaged", path.display())).map(Some)
}

/// What an event changes in the journal.
fn note(journal: &mut Journal, log: &Log) {
    let awaited = |window, unit, round, height: u64| Awaited { window, unit, round, height };
    if let Some(opened) = event::<Audit::WindowOpened>(log) {
        let of_channel = opened.source == CHANNEL_ADDRESS;
        let seen = Seen { job_hash: opened.jobHash, from_block: log.block_number, of_channel };
        journal.windows.insert(opened.windowId, seen);
        journal.draws.push(awaited(opened.windowId, 0, 0, opened.drawHeight.to()));
    } else if let Some(began) = event::<Referee::RoundBegan>(log) {
        journal.draws.push(awaited(began.windowId, began.unit, began.round, began.drawHeight.to()));
    } else if let Some(again) = event::<Audit::Redrawn>(log) {
        // Round 0 is one draw for all units, whichever was asked about.
        let unit = if again.round == 0 { 0 } else { again.unit };
        let same = |draw: &Awaited| draw.window == again.windowId && draw.round == again.round && draw.unit == unit;
        journal.draws.retain(|draw| !same(draw));
        journal.draws.push(awaited(again.windowId, unit, again.round, again.drawHeight.to()));
    } else if let Some(closed) = event::<Audit::WindowClosed>(log) {
        journal.windows.remove(&closed.windowId);
        journal.draws.retain(|draw| draw.window != closed.windowId);
    }
    let beyond = journal.draws.len().saturating_sub(WINDOWS_MAX);
    journal.draws.drain(..beyond);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use alloy_primitives::Uint;
    use keystead_contracts::AUDIT_ADDRESS;

    fn log<E: alloy_sol_types::SolEvent>(event: &E) -> Log {
        let data = event.encode_log_data();
        Log {
            address: AUDIT_ADDRESS,
            topics: data.topics().to_vec(),
            data: data.data,
            transaction_hash: B256::ZERO,
            block_number: 7,
        }
    }

    fn opened(window: u8, height: u64) -> Log {
        log(&Audit::WindowOpened {
            windowId: B256::repeat_byte(window),
            source: Address::ZERO,
            number: U256::from(1),
            window: 0,
            provider: Address::ZERO,
            customer: Address::ZERO,
            jobHash: B256::repeat_byte(9),
            commitment: B256::ZERO,
            units: 1,
            ratePpm: 1,
            drawHeight: Uint::from(height),
        })
    }

    #[test]
    fn the_journal_remembers_draws_until_they_are_due_and_windows_until_they_close() {
        let mut journal = Journal::default();
        note(&mut journal, &opened(1, 9));
        note(&mut journal, &opened(2, 11));
        let (window, unit) = (B256::repeat_byte(1), 4);
        note(&mut journal, &log(&Referee::RoundBegan { windowId: window, unit, round: 1, drawHeight: Uint::from(20) }));
        let draws: Vec<_> = journal.draws.iter().map(|draw| (draw.unit, draw.round, draw.height)).collect();
        assert_eq!(draws, [(0, 0, 9), (0, 0, 11), (4, 1, 20)]);
        // Round 0 is drawn anew for all units, whichever was touched.
        note(&mut journal, &log(&Audit::Redrawn { windowId: window, unit: 3, round: 0, drawHeight: Uint::from(30) }));
        assert!(journal.draws.contains(&Awaited { window, unit: 0, round: 0, height: 30 }));
        assert!(!journal.draws.contains(&Awaited { window, unit: 0, round: 0, height: 9 }));
        note(&mut journal, &log(&Audit::WindowClosed { windowId: window, convicted: false, paidUnits: 1 }));
        assert_eq!((journal.windows.len(), journal.draws.len()), (1, 1));
        // Events of other contracts say nothing.
        note(&mut journal, &Log { address: Address::ZERO, ..opened(3, 9) });
        assert_eq!(journal.windows.len(), 1);
    }
}
