//! The customer's part while a window is open: tells how the audit goes, and does what nobody else does, so that it always ends.
//!
//! # Design
//! Everybody may draw, conclude and close, and the checkers mostly do. So the contract is asked whether it would take the call, and only what it
//! has been ready to take for [`GRACE_SECONDS`] is sent: then nobody else did it. Which units are looked at say the audit's events, which are
//! read once; a process that starts again reads them again.

use crate::compute::{
    audits::{AuditWindow, STAGE_CHECKING, STAGE_FINAL, STAGE_WRONG},
    customer::show::Show,
    market::Market,
};
use alloy_primitives::Address;
use alloy_sol_types::SolCall;
use eyre::Result;
use keystead_audit::Draw;
use keystead_contracts::bindings::{
    audit::{Audit as AuditCalls, IAuditTypes},
    referee::Referee as RefereeCalls,
};
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

/// The customer's side of one window.
#[derive(Debug)]
pub(in crate::compute::customer) struct Attendant {
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
    /// `from_block`: one before the window was opened.
    pub(in crate::compute::customer) const fn new(from_block: u64) -> Self {
        Self {
            next_block: from_block,
            units: BTreeMap::new(),
            turn: 0,
            drawn: None,
            ready_since: None,
            told: String::new(),
        }
    }

    /// One look at an open window, and the one call that is due by now, if any.
    pub(in crate::compute::customer) async fn look(
        &mut self,
        market: &Market,
        window: &AuditWindow,
        show: &mut Show,
    ) -> Result<()> {
        let (head, now) = market.account.head().await?;
        if window.drawn_at == 0 {
            self.tell("The audit waits for the draw", None, show);
            let call = AuditCalls::touchCall { windowId: window.id, unit: 0, round: 0 };
            let ready = market.has_beacon(window.draw_height).await?;
            return self.help(market, &call, ready, now).await;
        }
        let draw = || Draw::new(window.randomness, window.id, 0).units(window.units, window.rate_ppm).count();
        let drawn = *self.drawn.get_or_insert_with(|| u32::try_from(draw()).unwrap_or(u32::MAX));
        self.read_events(market, window, head).await?;
        self.read_cases(market, window, now).await?;
        let phases: Vec<Phase> = self.units.values().map(|seen| seen.phase).collect();
        let words = words(drawn, &phases, self.units.values().any(|seen| seen.is_wrong));
        self.tell(&words, window.close_after().map(|after| after.saturating_sub(now)), show);
        let done = phases.iter().filter(|phase| **phase == Phase::Done).count();
        show.progress("units of the audit concluded", done as u64, u64::from(drawn).max(done as u64));
        if let Some(unit) = self.overdue(now) {
            return Self::move_on(market, window, unit).await;
        }
        let is_over = window.close_after().is_some_and(|after| now > after) && window.pending == 0;
        self.help(market, &AuditCalls::closeCall { windowId: window.id }, is_over, now).await
    }

    /// Says it once; the seconds do not make it another sentence.
    fn tell(&mut self, words: &str, closes_in: Option<u64>, show: &Show) {
        if self.told == words {
            return;
        }
        words.clone_into(&mut self.told);
        let when = match closes_in {
            Some(0) => "; it can close now".to_owned(),
            Some(seconds) => format!("; the window closes in about {seconds} s"),
            None => String::new(),
        };
        show.say(&format!("{words}{when}."));
    }

    /// Sends a call of the whole window once it has been possible for long enough.
    async fn help<C: SolCall>(&mut self, market: &Market, call: &C, is_due: bool, now: u64) -> Result<()> {
        if !is_due || !market.would_take(call).await {
            self.ready_since = None;
            return Ok(());
        }
        if now < self.ready_since.get_or_insert(now).saturating_add(GRACE_SECONDS) {
            return Ok(());
        }
        self.ready_since = None;
        market.to_audit(call).await.map(drop)
    }

    async fn read_events(&mut self, market: &Market, window: &AuditWindow, head: u64) -> Result<()> {
        for _ in 0..QUESTIONS_MAX {
            if self.next_block > head {
                break;
            }
            let last = head.min(self.next_block.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let fresh = Seen { phase: Phase::Checkers, is_wrong: false, ready_since: None };
            for unit in market.units_touched(window.id, self.next_block, last).await? {
                self.units.entry(unit).or_insert(fresh);
            }
            self.next_block = last.saturating_add(1);
        }
        Ok(())
    }

    async fn read_cases(&mut self, market: &Market, window: &AuditWindow, now: u64) -> Result<()> {
        let open = |(_, seen): &(&u32, &Seen)| seen.phase != Phase::Done;
        let mut turn: Vec<u32> =
            self.units.range(self.turn..).filter(open).map(|(unit, _)| *unit).take(CASES_MAX).collect();
        if turn.len() < CASES_MAX {
            let left = CASES_MAX.saturating_sub(turn.len());
            turn.extend(self.units.range(..self.turn).filter(open).map(|(unit, _)| *unit).take(left));
        }
        self.turn = turn.last().map_or(0, |last| last.saturating_add(1));
        for unit in turn {
            let case = market.case(window.id, unit).await?;
            let times = market.case_times(window.id, unit, case.round).await?;
            let times = [times.checkBy, times.openBy, times.revealBy].map(|time| time.saturating_to::<u64>());
            let phase = phase(&case, times, now);
            let is_ready = phase == Phase::Due || phase == Phase::Checkers && case.party != Address::ZERO;
            let is_ready =
                is_ready && (would_conclude(market, window, unit).await || would_withhold(market, window, unit).await);
            if let Some(seen) = self.units.get_mut(&unit) {
                seen.phase = phase;
                seen.is_wrong = case.stage == STAGE_WRONG;
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

    async fn move_on(market: &Market, window: &AuditWindow, unit: u32) -> Result<()> {
        if would_conclude(market, window, unit).await {
            return market.to_audit(&RefereeCalls::concludeCall { windowId: window.id, unit }).await.map(drop);
        }
        if would_withhold(market, window, unit).await {
            return market.to_audit(&RefereeCalls::withholdCall { windowId: window.id, unit }).await.map(drop);
        }
        // Somebody else did it meanwhile.
        Ok(())
    }
}

async fn would_conclude(market: &Market, window: &AuditWindow, unit: u32) -> bool {
    market.would_take(&RefereeCalls::concludeCall { windowId: window.id, unit }).await
}

/// Its input was asked for and did not come in time.
async fn would_withhold(market: &Market, window: &AuditWindow, unit: u32) -> bool {
    market.would_take(&RefereeCalls::withholdCall { windowId: window.id, unit }).await
}

/// `times`: last seconds to check, to open, to reveal; zeros while the round is not drawn.
fn phase(case: &IAuditTypes::Case, times: [u64; 3], now: u64) -> Phase {
    /// Slots of round 0 that committed.
    const FIRST_ROUND: u32 = 0xffff;
    let [check_by, open_by, reveal_by] = times;
    match case.stage {
        0 => Phase::Checkers,
        STAGE_CHECKING => {
            let any_committed = case.committed & FIRST_ROUND != 0;
            let is_drawn = check_by != 0;
            match case.round {
                _ if is_drawn && now > reveal_by => Phase::Due,
                0 if now <= check_by || !any_committed => Phase::Checkers,
                0 if !case.opened && now <= open_by => Phase::Opening,
                0 => Phase::Findings,
                _ => Phase::Again,
            }
        }
        stage if stage < STAGE_FINAL => {
            if now > case.appealBy.to::<u64>() {
                Phase::Due
            } else {
                Phase::Appeal
            }
        }
        _ => Phase::Done,
    }
}

/// How the audit stands, in a sentence without its end.
fn words(drawn: u32, phases: &[Phase], any_wrong: bool) -> String {
    let count = |phase: Phase| phases.iter().filter(|other| **other == phase).count();
    // A unit that was accused need not be a drawn one.
    let kind = if phases.len() as u64 > u64::from(drawn) { "unit" } else { "drawn unit" };
    let of = match u64::from(drawn).max(phases.len() as u64) {
        0 => return "Audit: no unit was drawn".to_owned(),
        1 => format!("1 {kind}"),
        many => format!("{many} {kind}s"),
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
        words.push_str("; a unit was found wrong");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{
        B256,
        aliases::{U40, U96},
    };

    fn case(stage: u8, round: u8, committed: u32, opened: bool) -> IAuditTypes::Case {
        IAuditTypes::Case {
            stage,
            round,
            opened,
            extended: false,
            committed,
            revealed: 0,
            appealed: 0,
            appealBy: U40::from(200),
            segment: 0,
            askedAt: U40::ZERO,
            askedBy: 0,
            handed: false,
            party: Address::ZERO,
            partyWei: U96::ZERO,
            value: B256::ZERO,
        }
    }

    #[test]
    fn a_unit_goes_through_its_phases_by_the_chains_clock() {
        let times = [120, 125, 130];
        let table = [
            // stage, round, committed, opened, now: phase
            (1, 0, 1, false, 120, Phase::Checkers),
            (1, 0, 0, false, 126, Phase::Checkers),
            (1, 0, 1, false, 121, Phase::Opening),
            (1, 0, 1, false, 125, Phase::Opening),
            (1, 0, 1, false, 126, Phase::Findings),
            (1, 0, 1, true, 121, Phase::Findings),
            (1, 0, 1, true, 130, Phase::Findings),
            (1, 0, 1, true, 131, Phase::Due),
            (1, 1, 1, true, 121, Phase::Again),
            (1, 2, 1, true, 131, Phase::Due),
            (2, 1, 1, true, 200, Phase::Appeal),
            (3, 1, 1, true, 201, Phase::Due),
            (4, 0, 1, true, 0, Phase::Done),
            (7, 0, 1, true, 0, Phase::Done),
        ];
        for (stage, round, committed, opened, now, expected) in table {
            assert_eq!(phase(&case(stage, round, committed, opened), times, now), expected, "{stage} {round} {now}");
        }
        // A later round that is not drawn yet has no times.
        assert_eq!(phase(&case(1, 1, 1, true), [0; 3], 500), Phase::Again);
    }

    #[test]
    fn the_audit_is_told_in_words() {
        use Phase::{Done, Findings, Opening};
        assert_eq!(words(0, &[], false), "Audit: no unit was drawn");
        assert_eq!(words(1, &[], false), "Audit: 0 of 1 drawn unit checked, 1 without a checker so far");
        assert_eq!(
            words(3, &[Done, Done, Opening], false),
            "Audit: 2 of 3 drawn units checked, 1 waits for the provider's opening"
        );
        assert_eq!(
            words(5, &[Done, Findings, Findings, Opening], true),
            "Audit: 1 of 5 drawn units checked, 1 waits for the provider's opening, 2 wait for their checkers' findings, \
             1 without a checker so far; a unit was found wrong"
        );
        assert_eq!(words(1, &[Done, Done], false), "Audit: 2 of 2 units checked");
    }
}
