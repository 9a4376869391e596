//! The course of one check, or of one ballot on a panel: a task that asks the chain where it stands and does the next step, until it is over.

use super::{
    agent::Agent,
    ballot::{Part, Slots},
    record::{Prepared, Record},
    step::{Asked, End, Held, Kind, MARGIN_SECONDS, Sight, Step, check_step},
    work::{Errand, Unready},
};
use crate::compute::{
    account::{Log, Receipt},
    amount::kst,
    panels::slots_of_call,
    windows::{CHECK_ROUNDS, Case, Sealed, Which, Window, event},
};
use alloy_primitives::{Address, U256};
use eyre::{Result, eyre};
use keystead_contracts::bindings::audit::Audit;
use keystead_job::Class;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The chain is asked at least so often: others act, too.
const WAIT_MAX: Duration = Duration::from_secs(4);
const WAIT_MIN: Duration = Duration::from_millis(300);
/// How long after something failed it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// One check.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) which: Which,
    record: Mutex<Record>,
    tried: Mutex<Tried>,
    /// Of a panel.
    pub(super) slots: Mutex<Slots>,
}

/// What is known of this process's attempts; forgotten with it.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    unserved: bool,
    unfit: bool,
    yields: bool,
    /// It was run once more, and is wrong still.
    sure: bool,
}

/// What one look at the chain gave.
pub(super) struct Look {
    pub(super) window: Window,
    case: Case,
    pub(super) sight: Sight,
    /// What a source is told.
    slot: u8,
    pub(super) kind: Kind,
    pub(super) now: u64,
}

impl Course {
    pub(super) fn new(record: Record) -> Self {
        Self { which: record.which, record: Mutex::new(record), tried: Mutex::default(), slots: Mutex::default() }
    }

    /// Runs until the check is over or the process stops.
    pub(super) async fn drive(&self, agent: &Agent) {
        let mut stopping = agent.book.stopping.subscribe();
        let steps = async {
            loop {
                match self.advance(agent).await {
                    Ok(Some(end)) => return end,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(which = ?self.which, error = format!("{error:#}"), "check: trying again");
                        sleep(RETRY).await;
                    }
                }
            }
        };
        tokio::select! {
            end = steps => {
                let Which { window, unit, round, .. } = self.which;
                tracing::info!(%window, unit, round, "check {}", end.words());
                agent.over(self.which);
            }
            // Dropping a run kills its worker; the file says how to go on.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    async fn advance(&self, agent: &Agent) -> Result<Option<End>> {
        let look = self.look(agent).await?;
        let step = check_step(look.kind, &look.sight, self.held(), look.now);
        match step {
            Step::Done(end) => return Ok(Some(end)),
            Step::Wait(until) => {
                let wait = Duration::from_secs(until.saturating_sub(look.now));
                sleep(wait.clamp(WAIT_MIN, WAIT_MAX)).await;
            }
            Step::Prepare | Step::PrepareNothing => self.prepare(agent, &look, step).await?,
            Step::Judge => self.judge(agent, &look).await?,
            Step::Appeal => self.appeal(agent, &look).await?,
            step => self.say(agent, &look, step).await?,
        }
        Ok(None)
    }

    /// What is to be said on the chain.
    async fn say(&self, agent: &Agent, look: &Look, step: Step) -> Result<()> {
        let (windows, which) = (&agent.windows, self.which);
        let Which { window, unit, round, .. } = which;
        let exact = look.kind.exact;
        match step {
            Step::Touch => drop(windows.touch(window, unit, look.case.round).await?),
            Step::AskInput => {
                windows.ask_input(which).await?;
                tracing::warn!(%window, unit, "the input is not here yet: asked the customer for it on the chain");
            }
            Step::Withhold => drop(windows.withhold(window, unit).await?),
            Step::Commit => {
                let record = self.record();
                let prepared = record.prepared.ok_or_else(|| eyre!("nothing is prepared"))?;
                let hash = which.sealed(agent.me(), prepared.sealed(exact));
                if round < CHECK_ROUNDS {
                    windows.commit(which, hash, record.named).await?;
                } else {
                    let slots = self.slots_to_commit(agent).await?;
                    windows.commit_ballot(which.into(), slots_of_call(slots), hash).await?;
                }
                tracing::info!(%window, unit, round, fee = kst(look.window.fee_wei), "{} committed", thing(round));
            }
            Step::Reveal => {
                let record = self.record();
                let prepared = record.prepared.ok_or_else(|| eyre!("nothing was prepared"))?;
                let finding = record.finding(exact);
                let sealed: Sealed = prepared.sealed(exact);
                let receipt = if round < CHECK_ROUNDS {
                    windows.reveal(which, finding, sealed).await?
                } else {
                    windows.reveal_ballot(which.into(), finding, sealed).await?
                };
                let earned = credited(&receipt, agent.me());
                agent.revealed(earned);
                tracing::info!(%window, unit, round, ?finding, earned = kst(earned), "{} revealed", thing(round));
            }
            Step::Settle => {
                let receipt = windows.settle_ballot(which.into(), agent.me()).await?;
                let earned = credited(&receipt, agent.me());
                agent.paid(earned);
                tracing::info!(%window, unit, round, earned = kst(earned), "ballot settled");
                self.fine_others(agent).await?;
            }
            Step::Conclude => {
                windows.conclude(window, unit).await?;
                tracing::info!(%window, unit, "unit concluded");
            }
            Step::Close => {
                windows.close(window).await?;
                tracing::info!(%window, "window closed");
            }
            Step::Prepare | Step::PrepareNothing | Step::Judge | Step::Appeal | Step::Wait(_) | Step::Done(_) => {}
        }
        Ok(())
    }

    async fn prepare(&self, agent: &Agent, look: &Look, step: Step) -> Result<()> {
        let record = self.record();
        let left = look.sight.times.check_by.saturating_sub(look.now).saturating_sub(MARGIN_SECONDS);
        let errand = errand(agent, &record, look, left);
        let own = if step == Step::PrepareNothing { Ok(None) } else { errand.prepare().await };
        let own = match own {
            Ok(own) => own,
            Err(unready) => return self.unready(unready).await,
        };
        let prepared = Prepared::new(own)?;
        let record = {
            let mut record = self.locked();
            record.prepared = Some(prepared);
            record.clone()
        };
        // On the disk before anything is said: a check that cannot be revealed costs its bond.
        agent.folder.save(&record).inspect_err(|_| self.locked().prepared = None)
    }

    async fn judge(&self, agent: &Agent, look: &Look) -> Result<()> {
        let record = self.record();
        let left = look.sight.times.reveal_by.saturating_sub(look.now).saturating_sub(MARGIN_SECONDS);
        let finding = match errand(agent, &record, look, left).judge().await {
            Ok(finding) => finding,
            // The rule reveals *inconclusive* when the time ends.
            Err(unready) => return self.unready(unready).await,
        };
        let record = {
            let mut record = self.locked();
            record.judged = Some(finding);
            record.clone()
        };
        agent.folder.save(&record)
    }

    /// Remembers why there is nothing yet, so that the rule can choose another way.
    pub(super) async fn unready(&self, unready: Unready) -> Result<()> {
        let Which { window, unit, .. } = self.which;
        match unready {
            Unready::Fault(error) => return Err(error),
            Unready::Unserved(reason) => {
                tracing::info!(%window, unit, reason, "a check's input is not here yet");
                self.tried().unserved = true;
            }
            Unready::Unfit(reason) => {
                tracing::warn!(%window, unit, reason, "a check cannot be run here");
                self.tried().unfit = true;
            }
        }
        sleep(RETRY).await;
        Ok(())
    }

    async fn look(&self, agent: &Agent) -> Result<Look> {
        let (windows, which) = (&agent.windows, self.which);
        let (height, now) = windows.account.head().await?;
        let drawn = windows.drawn(which.window).await?;
        let window = drawn.window;
        let case = windows.case(which.window, which.unit).await?;
        let times = windows.times(which.window, which.unit, which.round).await?;
        let now_times =
            if case.round == which.round { times } else { windows.times(which.window, which.unit, case.round).await? };
        let exact = window.class == Class::Exact as u8;
        let ours = self.record().prepared.map(|prepared| which.sealed(agent.me(), prepared.sealed(exact)));
        let Part { committed, uncommitted, owed, revealed, full, rank, slot } = if which.round < CHECK_ROUNDS {
            self.check_part(agent, &window, &case, times, ours).await?
        } else {
            self.ballot_part(agent, times, ours).await?
        };
        // Undrawn, it cannot be closed.
        let close_after = drawn.close_after().unwrap_or(u64::MAX);
        let hand_by = case.asked_at.saturating_add(window.check_seconds / 2);
        let sight = Sight {
            behind: self.record().is_before(&window, &case, height),
            over: window.is_over() || !window.exists(),
            convicted: window.convicted,
            pending: window.pending,
            close_after,
            stage: case.stage,
            round: case.round,
            opened: case.opened,
            committed,
            more: uncommitted != 0,
            owed,
            accused: committed && revealed && self.record().says_wrong(exact, &case),
            revealed,
            full,
            rank,
            drawn_at: drawn.draw.drawn_at,
            times,
            now_times,
            check_seconds: window.check_seconds,
            appeal_by: case.appeal_by,
            asked: match (case.asked_at, case.handed) {
                _ if window.is_named() => Asked::Never,
                (0, _) => Asked::No,
                (_, false) if which.round == 0 && case.asked_by == which.slot => Asked::Own(hand_by),
                (_, false) => Asked::Until(hand_by),
                (_, true) => Asked::Handed,
            },
        };
        let kind = Kind { round: which.round, exact, stagger_seconds: u64::from(which.slot % 4) };
        Ok(Look { window, case, sight, slot, kind, now })
    }

    fn held(&self) -> Held {
        let record = self.locked();
        let tried = *self.tried();
        Held {
            prepared: record.prepared.is_some(),
            unserved: tried.unserved,
            judged: record.judged.is_some(),
            unfit: tried.unfit && record.prepared.is_none(),
            yields: tried.yields,
        }
    }

    /// This machine has said twice what others contradict.
    pub(super) fn sure(&self) {
        self.tried().sure = true;
    }

    pub(super) fn is_sure(&self) -> bool {
        self.tried().sure
    }

    /// This machine does not contradict others any more.
    pub(super) fn yields(&self) {
        self.tried().yields = true;
    }

    pub(super) fn record(&self) -> Record {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Record> {
        // No code panics while it holds these locks.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn errand<'a>(agent: &'a Agent, record: &'a Record, look: &'a Look, left_seconds: u64) -> Errand<'a> {
    let now = Instant::now();
    let until = now.checked_add(Duration::from_secs(left_seconds)).unwrap_or(now);
    Errand { agent, record, window: &look.window, case: &look.case, slot: look.slot, until }
}

/// What is committed and revealed in a round.
const fn thing(round: u8) -> &'static str {
    if round < CHECK_ROUNDS { "check" } else { "ballot" }
}

/// What the audit credited to an account in a transaction.
pub(in crate::compute) fn credited(receipt: &Receipt, account: Address) -> U256 {
    let amount = |log: &Log| event::<Audit::Credited>(log).filter(|event| event.account == account);
    receipt.logs.iter().filter_map(amount).map(|event| event.amountWei).fold(U256::ZERO, U256::saturating_add)
}
