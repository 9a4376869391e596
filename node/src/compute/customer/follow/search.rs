//! What is done about outputs whose provider keeps the states between segments to itself: this machine runs whole units, and searches in public for the segment
//! that is wrong.
//!
//! # Design
//! Outputs alone do not open the commitment, so nothing can be held against them but by the provider's own answers on the chain. A wrong one is accused with no
//! segment named; from then on [`Following::search`] is asked at every look at the window, and does what [`next`] says. Of the own states only the names are
//! kept, and the newest state itself now and then, from which a process goes on that follows one that was killed.

use super::{Following, Trouble};
use crate::compute::{
    customer::{
        audit::searched::{Memo, Next, next},
        show::Show,
        state::{Checked, Objection, WrongUnit},
    },
    lifecycle::{Finding, margin},
    market::Order,
    windows::{Drawn, SEEKING, Stage},
};
use alloy_primitives::{B256, keccak256};
use eyre::{Context as _, Result, eyre};
use keystead_audit::{Seed, Task, sample::draw};
use keystead_blobs::Hash;
use keystead_contracts::{
    bindings::referee::Referee,
    storage::{Mode, Reason, Status},
};
use keystead_job::{Class, blob_hash};
use keystead_runner::WorkerCommand;
use std::time::{Duration, Instant};
use tokio::{task::block_in_place, time::timeout};

/// A process that is killed loses so much of the work on its own states.
const SAVED_EVERY: Duration = Duration::from_secs(10);

impl Following<'_> {
    /// Whether the outputs of a delivery are looked at alone if the lists of their states do not come again. Of class tolerance the states of honest machines
    /// differ, and who is not audited has nothing to search before.
    pub(super) fn may_lack_states(&self, order: &Order) -> bool {
        let is_searchable = order.stand.mode == Mode::Audited && self.job.prepared.spec.class == Class::Exact;
        let is_due = self.unlisted.is_some_and(|times| times >= super::UNLISTED_MAX);
        is_searchable && is_due && order.status() == Status::Delivered
    }

    /// Whether what arrived is outputs alone.
    pub(super) fn has_outputs_alone(&self) -> bool {
        self.arrived.as_ref().is_some_and(|arrived| arrived.lacks_states(&self.job.prepared.spec))
    }

    /// Runs the sampled units again, from their inputs to their outputs. None wrong says little: the states must still come. It ends in time to refuse the delivery
    /// for their sake: else who keeps them would be paid for units that run long.
    pub(super) async fn check_alone(&mut self, order: &Order, show: &mut Show) -> Result<(), Trouble> {
        let seed = self.seed()?;
        let (_, now) = self.job.market.account.head().await?;
        let seconds = order.stand.check_by.saturating_sub(now).saturating_sub(margin(&order.stand));
        let (begun, most) = (Instant::now(), Duration::from_secs(seconds));
        let arrived = self.arrived.take().ok_or_else(|| eyre!("a check without outputs"))?;
        let (outputs, units, rule) = (&arrived.outputs, arrived.units(), self.state.rule());
        if units != order.committed_units() {
            return Ok(());
        }
        let sample = draw(Seed(seed.0), units, rule.size(units));
        let sampled = u32::try_from(sample.len()).unwrap_or(u32::MAX);
        show.say("The provider gives the outputs and keeps the states between their segments to itself: this machine runs whole units again.");
        let mut right = 0_u32;
        for unit in sample {
            let left = most.saturating_sub(begun.elapsed());
            let memo = match timeout(left, self.own_states(unit, show)).await {
                Ok(own) => own?,
                // What is done of it is kept; nothing more is to be found out in time.
                Err(_) => break,
            };
            let memo = match memo {
                Ok(memo) => memo,
                Err(why) => {
                    tracing::warn!(unit, why, "a unit cannot be run again here");
                    continue;
                }
            };
            let (expected, got) = (memo.states.last(), outputs.get(unit as usize));
            if expected == got {
                right = right.saturating_add(1);
                continue;
            }
            let words = format!(
                "unit {unit} is wrong, in which segment the provider does not show: got={} expected={}",
                got.copied().unwrap_or_default(),
                expected.copied().unwrap_or_default()
            );
            self.state.attempt.checked = Some(Checked {
                finding: Finding::Wrong,
                verdict: "rejected".to_owned(),
                units,
                sampled,
                right,
                rate_ppm: rule.rate_ppm,
                objection: Some(Objection::new(Reason::WrongResult, keccak256(&words))),
                wrong: Some(WrongUnit { unit, segment: SEEKING }),
                files: Vec::new(),
            });
            return self.because(words);
        }
        self.unlisted = None;
        let why = "the provider does not give the states that it committed to; none of the outputs that were run again is wrong";
        self.because(why.to_owned())
    }

    /// Names of this machine's own states of a unit, from its file as far as they are there; the inner error is why it cannot be run.
    async fn own_states(&self, unit: u32, show: &mut Show) -> Result<Result<Memo, String>, Trouble> {
        let (prepared, store, path) = (self.job.prepared, &self.line.store, self.job.folder.search());
        let (segments, output_bytes_max) = (prepared.spec.segment_count, prepared.spec.limits.output_bytes_max);
        let memo = Memo::load(&path, self.order, unit).map_err(Trouble::Here)?;
        let mut memo = memo.unwrap_or_else(|| Memo::new(self.order, unit));
        let count = |memo: &Memo| u32::try_from(memo.states.len()).unwrap_or(u32::MAX);
        if count(&memo) >= segments {
            return Ok(Ok(memo));
        }
        let mut kept = memo.states.last().copied();
        let newest = kept.and_then(|name| block_in_place(|| store.get(Hash::from(name), output_bytes_max)).ok());
        let mut state = match (newest, prepared.units.get(unit as usize)) {
            (Some(state), _) => state,
            (None, Some(input)) => {
                memo.states.clear();
                input.clone()
            }
            (None, None) => return Ok(Err("there is no such unit".to_owned())),
        };
        let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file");
        let command = command.map_err(Trouble::Here)?;
        let mut session = match prepared.start(&command, Task::Rerun { unit, segment: 0 }).await {
            Ok(session) => session,
            Err(failure) => return Ok(Err(failure.to_string())),
        };
        let mut saved = Instant::now();
        while count(&memo) < segments {
            state = match session.run(&state).await {
                Ok(done) => done.output,
                Err(failure) => return Ok(Err(failure.to_string())),
            };
            memo.states.push(blob_hash(&state));
            show.progress("segments run again", count(&memo).into(), segments.into());
            if saved.elapsed() >= SAVED_EVERY || count(&memo) == segments {
                self.save_own(&memo, &state, kept.replace(blob_hash(&state)))?;
                saved = Instant::now();
            }
        }
        Ok(Ok(memo))
    }

    /// The newest state first, then the file that names it; then the state that was kept before goes.
    fn save_own(&self, memo: &Memo, state: &[u8], before: Option<B256>) -> Result<(), Trouble> {
        let store = &self.line.store;
        let put = block_in_place(|| store.put(state).and_then(|_| store.settle()));
        put.map_err(|error| Trouble::Here(error.into()))?;
        memo.save(&self.job.folder.search()).map_err(Trouble::Here)?;
        if let Some(before) = before.filter(|before| memo.states.last() != Some(before))
            && let Err(error) = block_in_place(|| store.delete(Hash::from(before)))
        {
            tracing::debug!(%error, "a state that is not needed any more stays until the order is over");
        }
        Ok(())
    }

    /// The next step of a search, if one is under way: each is on the disk before it is sent, and the chain's answers say what was done.
    pub(super) async fn search(&mut self, drawn: &Drawn, show: &mut Show) -> Result<(), Trouble> {
        let wrong = self.state.attempt.checked.as_ref().and_then(|checked| checked.wrong);
        let Some(WrongUnit { unit, .. }) = wrong.filter(|wrong| wrong.segment == SEEKING) else { return Ok(()) };
        let (windows, id) = (self.job.market.windows(), drawn.window.id);
        let case = windows.case(id, unit).await?;
        let is_ours = case.party == windows.account.address();
        if !is_ours || case.segment != SEEKING || case.stage != Stage::Checking {
            return Ok(());
        }
        let asked = windows.searched(id, unit, self.state.attempt.since_block).await?;
        if asked.is_open {
            // Whoever does not answer in its time is convicted.
            if windows.would_take(&Referee::endSearchCall { windowId: id, unit }).await {
                windows.end_search(id, unit).await?;
                show.say(&format!(
                    "The provider did not open a state of unit {unit} that it was asked for: it is convicted."
                ));
            }
            return Ok(());
        }
        let mut memo = match self.own_states(unit, show).await? {
            Ok(memo) => memo,
            Err(why) => return Err(Trouble::Chain(eyre!("the unit that is searched cannot be run again here: {why}"))),
        };
        let step = next(&memo.states, &asked);
        let path = self.job.folder.search();
        match step {
            Next::Ask(segment) => {
                memo.asking = Some(segment);
                memo.save(&path).map_err(Trouble::Here)?;
                windows.ask_state(id, unit, segment).await?;
                show.say(&format!("Asked on the chain for the state of unit {unit} after segment {segment}."));
            }
            Next::Name(segment) => {
                memo.naming = Some(segment);
                memo.save(&path).map_err(Trouble::Here)?;
                windows.name_segment(id, unit, segment).await?;
                show.say(&format!(
                    "Segment {segment} of unit {unit} is the one that is wrong, after {} questions: the referees run it.",
                    asked.asks
                ));
            }
            Next::Nothing => {
                let words = format!(
                    "the provider committed to the right output of unit {unit} and delivered another one: no segment is wrong, the bond of the accusation goes to the window's budget, and the delivery is refused"
                );
                show.say(&words);
                self.is_not_what_was_committed_to(words)?;
            }
        }
        Ok(())
    }

    /// Nothing can be accused then, now or later: what arrived is other bytes than the chain holds.
    fn is_not_what_was_committed_to(&mut self, words: String) -> Result<(), Trouble> {
        if let Some(checked) = &mut self.state.attempt.checked {
            checked.objection = Some(Objection::new(Reason::CommitmentMismatch, keccak256(&words)));
            checked.wrong = None;
        }
        self.because(words)
    }
}
