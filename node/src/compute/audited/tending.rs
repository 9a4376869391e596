//! The customer's part while a window is open: tells how the audit goes, and finds what nobody else does, so that it always ends.
//!
//! # Design
//! Everybody may draw, conclude and close, and the checkers mostly do. So the contract is asked whether it would take the call, and only what it
//! has been ready to take for [`GRACE_SECONDS`] is due: then nobody else did it. Which units are looked at say the audit's events, which are
//! read once; a process that starts again reads them again. [`Attendant::look`] only reads; [`Attendant::send`] does what is due.

use crate::compute::windows::{Case, Drawn, Stage, Times, Window, Windows};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use eyre::Result;
use keystead_audit::Draw;
use keystead_contracts::bindings::{audit::Audit as AuditCalls, referee::Referee as RefereeCalls};
use std::collections::BTreeMap;

/// How long others have the first word, seconds of the chain.
const GRACE_SECONDS: u64 = 5;
/// Blocks whose events are asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// Such questions in one look.
const QUESTIONS_MAX: u32 = 16;
/// Units that are asked about in one look; the others have their turn in the next.
const CASES_MAX: usize = 64;

/// Where a unit stands, in the order in which it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Checkers run it.
    Checkers,
    /// The provider must open it.
    Opening,
    /// Checkers must say what they found.
    Findings,
    /// Others look at it again: another hardware class, or referees.
    Again,
    /// It was found wrong or right, and the loser may appeal.
    Appeal,
    /// Its time is over and it waits for a conclusion.
    Due,
    /// Final.
    Done,
}

/// A unit that is or was looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    phase: Phase,
    is_wrong: bool,
    /// Since when the contract would take the call that moves it on, by the chain's clock.
    ready_since: Option<u64>,
}

/// What is due of a window, and nobody else did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its units must be drawn.
    Draw,
    /// A unit must be moved on.
    MoveOn(u32),
    /// It can be closed.
    Close,
}

/// What came of a look.
#[derive(Debug)]
pub(crate) struct Look {
    /// How it stands, in a sentence without its end.
    pub(crate) words: String,
    /// The whole sentence, if it is not that of the look before.
    pub(crate) news: Option<String>,
    /// Drawn units, once that is known.
    pub(crate) drawn: Option<u32>,
    /// Concluded units.
    pub(crate) done: u32,
    /// The one call that is due by now, if any.
    pub(crate) due: Option<Due>,
}

/// The customer's side of one window.
#[derive(Debug)]
pub(crate) struct Attendant {
    /// What a unit of the window is called.
    piece: &'static str,
    /// The next block whose events are read.
    next_block: u64,
    units: BTreeMap<u32, Seen>,
    /// The unit that is asked about next.
    turn: u32,
    /// Drawn units, once that is known.
    drawn: Option<u32>,
    /// Since when it could be drawn or closed.
    ready_since: Option<u64>,
    told: String,
}

impl Attendant {
    /// `piece`: what a unit of the window is called. `from_block`: one before the window was opened.
    pub(crate) const fn new(piece: &'static str, from_block: u64) -> Self {
        Self {
            piece,
            next_block: from_block,
            units: BTreeMap::new(),
            turn: 0,
            drawn: None,
            ready_since: None,
            told: String::new(),
        }
    }

    /// One look at an open window.
    pub(crate) async fn look(&mut self, windows: &Windows, drawn: &Drawn) -> Result<Look> {
        let window = &drawn.window;
        let (head, now) = windows.account.head().await?;
        if drawn.draw.drawn_at == 0 {
            let ready = windows.randomness(drawn.draw.draw_height).await?.is_some();
            let call = AuditCalls::touchCall { windowId: window.id, unit: 0, round: 0 };
            let due = self.is_overdue(windows, &call, ready, now).await.then_some(Due::Draw);
            let words = "The audit waits for the draw".to_owned();
            let news = self.news(&words, None);
            return Ok(Look { words, news, drawn: None, done: 0, due });
        }
        let close_after = drawn.close_after();
        let drawn = *self.drawn.get_or_insert_with(|| drawn_units(drawn));
        self.read_events(windows, window, head).await?;
        self.read_cases(windows, window, now).await?;
        let phases: Vec<Phase> = self.units.values().map(|seen| seen.phase).collect();
        let words = words(self.piece, drawn, &phases, self.units.values().any(|seen| seen.is_wrong));
        let news = self.news(&words, close_after.map(|after| after.saturating_sub(now)));
        let done = phases.iter().filter(|phase| **phase == Phase::Done).count();
        let due = if let Some(unit) = self.overdue(now) {
            Some(Due::MoveOn(unit))
        } else {
            let is_over = close_after.is_some_and(|after| now > after) && window.pending == 0;
            let call = AuditCalls::closeCall { windowId: window.id };
            self.is_overdue(windows, &call, is_over, now).await.then_some(Due::Close)
        };
        Ok(Look { words, news, drawn: Some(drawn), done: u32::try_from(done).unwrap_or(u32::MAX), due })
    }

    /// Does what a look found due.
    ///
    /// # Errors
    /// The contract's or the node's. If it is still to be done, a later look says so.
    pub(crate) async fn send(&mut self, windows: &Windows, id: B256, due: Due) -> Result<()> {
        match due {
            Due::Draw => {
                self.ready_since = None;
                windows.touch(id, 0, 0).await.map(drop)
            }
            Due::MoveOn(unit) => move_on(windows, id, unit).await,
            Due::Close => {
                self.ready_since = None;
                windows.close(id).await.map(drop)
            }
        }
    }

    /// The sentence, once; the seconds do not make it another one.
    fn news(&mut self, words: &str, closes_in: Option<u64>) -> Option<String> {
        if self.told == words {
            return None;
        }
        words.clone_into(&mut self.told);
        let when = match closes_in {
            Some(0) => "; it can close now".to_owned(),
            Some(seconds) => format!("; the window closes in about {seconds} s"),
            None => String::new(),
        };
        Some(format!("{words}{when}."))
    }

    /// Whether a call of the whole window has been possible for long enough.
    async fn is_overdue<C: SolCall>(&mut self, windows: &Windows, call: &C, is_due: bool, now: u64) -> bool {
        if !is_due || !windows.would_take(call).await {
            self.ready_since = None;
            return false;
        }
        now >= self.ready_since.get_or_insert(now).saturating_add(GRACE_SECONDS)
    }

    async fn read_events(&mut self, windows: &Windows, window: &Window, head: u64) -> Result<()> {
        for _ in 0..QUESTIONS_MAX {
            if self.next_block > head {
                break;
            }
            let last = head.min(self.next_block.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let fresh = Seen { phase: Phase::Checkers, is_wrong: false, ready_since: None };
            for unit in windows.units_touched(window.id, self.next_block, last).await? {
                self.units.entry(unit).or_insert(fresh);
            }
            self.next_block = last.saturating_add(1);
        }
        Ok(())
    }

    async fn read_cases(&mut self, windows: &Windows, window: &Window, now: u64) -> Result<()> {
        let open = |(_, seen): &(&u32, &Seen)| seen.phase != Phase::Done;
        let mut turn: Vec<u32> =
            self.units.range(self.turn..).filter(open).map(|(unit, _)| *unit).take(CASES_MAX).collect();
        if turn.len() < CASES_MAX {
            let left = CASES_MAX.saturating_sub(turn.len());
            turn.extend(self.units.range(..self.turn).filter(open).map(|(unit, _)| *unit).take(left));
        }
        self.turn = turn.last().map_or(0, |last| last.saturating_add(1));
        for unit in turn {
            let case = windows.case(window.id, unit).await?;
            let times = windows.times(window.id, unit, case.round).await?;
            let phase = phase(&case, times, now);
            let is_ready = phase == Phase::Due || phase == Phase::Checkers && case.party != Address::ZERO;
            let is_ready = is_ready
                && (would_conclude(windows, window.id, unit).await || would_withhold(windows, window.id, unit).await);
            if let Some(seen) = self.units.get_mut(&unit) {
                seen.phase = phase;
                seen.is_wrong = case.stage == Stage::Wrong;
                seen.ready_since = is_ready.then(|| seen.ready_since.unwrap_or(now));
            }
        }
        Ok(())
    }

    /// A unit that nobody moves on.
    fn overdue(&self, now: u64) -> Option<u32> {
        let waited = |seen: &Seen| seen.ready_since.is_some_and(|since| now >= since.saturating_add(GRACE_SECONDS));
        self.units.iter().find(|(_, seen)| waited(seen)).map(|(unit, _)| *unit)
    }
}

/// How many units of a window are drawn. Call it only if the draw is there.
pub(crate) fn drawn_units(drawn: &Drawn) -> u32 {
    let Drawn { window, draw } = drawn;
    let units = Draw::new(draw.randomness, window.id, 0).units(window.units, window.rate_ppm);
    u32::try_from(units.count()).unwrap_or(u32::MAX)
}

async fn move_on(windows: &Windows, id: B256, unit: u32) -> Result<()> {
    if would_conclude(windows, id, unit).await {
        return windows.conclude(id, unit).await.map(drop);
    }
    if would_withhold(windows, id, unit).await {
        return windows.withhold(id, unit).await.map(drop);
    }
    // Somebody else did it meanwhile.
    Ok(())
}

async fn would_conclude(windows: &Windows, id: B256, unit: u32) -> bool {
    windows.would_take(&RefereeCalls::concludeCall { windowId: id, unit }).await
}

/// Its input was asked for and did not come in time.
async fn would_withhold(windows: &Windows, id: B256, unit: u32) -> bool {
    windows.would_take(&RefereeCalls::withholdCall { windowId: id, unit }).await
}

/// Where a unit stands, by the chain's clock. The times are those of its present round.
const fn phase(case: &Case, times: Times, now: u64) -> Phase {
    match case.stage {
        Stage::None => Phase::Checkers,
        Stage::Checking if times.is_drawn() && now > times.reveal_by => Phase::Due,
        Stage::Checking if case.round != 0 => Phase::Again,
        Stage::Checking if now <= times.check_by || case.committed(0) == 0 => Phase::Checkers,
        Stage::Checking if !case.opened && now <= times.open_by => Phase::Opening,
        Stage::Checking => Phase::Findings,
        Stage::Condemned | Stage::Cleared if now > case.appeal_by => Phase::Due,
        Stage::Condemned | Stage::Cleared => Phase::Appeal,
        Stage::Verified | Stage::Unpaid | Stage::Unchecked | Stage::Wrong => Phase::Done,
    }
}

/// How the audit stands, in a sentence without its end.
fn words(piece: &str, drawn: u32, phases: &[Phase], any_wrong: bool) -> String {
    let count = |phase: Phase| phases.iter().filter(|other| **other == phase).count();
    // A unit that was accused need not be a drawn one.
    let drawn_or_not = if phases.len() as u64 > u64::from(drawn) { "" } else { "drawn " };
    let of = match u64::from(drawn).max(phases.len() as u64) {
        0 => return format!("Audit: no {piece} was drawn"),
        1 => format!("1 {drawn_or_not}{piece}"),
        many => format!("{many} {drawn_or_not}{piece}s"),
    };
    let mut words = format!("Audit: {} of {of} checked", count(Phase::Done));
    let parts = [
        (Phase::Checkers, "with its checkers", "with their checkers"),
        (Phase::Opening, "waits for the provider's opening", "wait for the provider's opening"),
        (Phase::Findings, "waits for its checkers' findings", "wait for their checkers' findings"),
        (Phase::Again, "is looked at again by other machines", "are looked at again by other machines"),
        (Phase::Appeal, "was judged and can be appealed", "were judged and can be appealed"),
        (Phase::Due, "waits for its conclusion", "wait for their conclusion"),
    ];
    for (phase, one, many) in parts {
        match count(phase) {
            0 => {}
            1 => words.push_str(&format!(", 1 {one}")),
            more => words.push_str(&format!(", {more} {many}")),
        }
    }
    let untouched = usize::try_from(drawn).unwrap_or(usize::MAX).saturating_sub(phases.len());
    if untouched != 0 {
        words.push_str(&format!(", {untouched} without a checker so far"));
    }
    if any_wrong {
        words.push_str(&format!("; a {piece} was found wrong"));
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn a_unit_goes_through_its_phases_by_the_chains_clock() {
        use Stage::{Checking, Cleared, Condemned, Verified, Wrong};
        let times = Times { check_by: 120, open_by: 125, reveal_by: 130 };
        let table = [
            // stage, round, whether one committed in round 0, opened, now: phase
            (Checking, 0, true, false, 120, Phase::Checkers),
            (Checking, 0, false, false, 126, Phase::Checkers),
            (Checking, 0, true, false, 121, Phase::Opening),
            (Checking, 0, true, false, 125, Phase::Opening),
            (Checking, 0, true, false, 126, Phase::Findings),
            (Checking, 0, true, true, 121, Phase::Findings),
            (Checking, 0, true, true, 130, Phase::Findings),
            (Checking, 0, true, true, 131, Phase::Due),
            (Checking, 1, true, true, 121, Phase::Again),
            (Checking, 2, true, true, 131, Phase::Due),
            (Condemned, 1, true, true, 200, Phase::Appeal),
            (Cleared, 1, true, true, 201, Phase::Due),
            (Verified, 0, true, true, 0, Phase::Done),
            (Wrong, 0, true, true, 0, Phase::Done),
        ];
        for (stage, round, any, opened, now, expected) in table {
            let case = Case { opened, appeal_by: 200, ..Case::of(stage, round) };
            let case = if any { case.with_committed(0, 0) } else { case };
            assert_eq!(phase(&case, times, now), expected, "{stage:?} {round} {now}");
        }
        // A later round that is not drawn yet has no times.
        assert_eq!(phase(&Case::of(Checking, 1), Times::default(), 500), Phase::Again);
    }

    #[test]
    fn the_audit_is_told_in_words() {
        use Phase::{Done, Findings, Opening};
        assert_eq!(words("unit", 0, &[], false), "Audit: no unit was drawn");
        assert_eq!(words("unit", 1, &[], false), "Audit: 0 of 1 drawn unit checked, 1 without a checker so far");
        assert_eq!(
            words("unit", 3, &[Done, Done, Opening], false),
            "Audit: 2 of 3 drawn units checked, 1 waits for the provider's opening"
        );
        assert_eq!(
            words("unit", 5, &[Done, Findings, Findings, Opening], true),
            "Audit: 1 of 5 drawn units checked, 1 waits for the provider's opening, 2 wait for their checkers' findings, \
             1 without a checker so far; a unit was found wrong"
        );
        assert_eq!(words("unit", 1, &[Done, Done], false), "Audit: 2 of 2 units checked");
        assert_eq!(words("step", 0, &[], false), "Audit: no step was drawn");
        let wrong = words("step", 2, &[Done, Done], true);
        assert_eq!(wrong, "Audit: 2 of 2 drawn steps checked; a step was found wrong");
    }

    #[test]
    fn the_same_words_are_told_once_whatever_the_time_is() {
        let mut attendant = Attendant::new("unit", 1);
        assert_eq!(attendant.news("A", Some(7)).as_deref(), Some("A; the window closes in about 7 s."));
        assert_eq!(attendant.news("A", Some(6)), None);
        assert_eq!(attendant.news("B", Some(0)).as_deref(), Some("B; it can close now."));
        assert_eq!(attendant.news("A", None).as_deref(), Some("A."));
    }

    #[test]
    fn who_moves_a_unit_on_waits_for_the_others_first() {
        let mut attendant = Attendant::new("unit", 1);
        let seen = |ready_since| Seen { phase: Phase::Due, is_wrong: false, ready_since };
        attendant.units.insert(3, seen(None));
        attendant.units.insert(5, seen(Some(100)));
        assert_eq!(attendant.overdue(100 + GRACE_SECONDS - 1), None);
        assert_eq!(attendant.overdue(100 + GRACE_SECONDS), Some(5));
    }
}
