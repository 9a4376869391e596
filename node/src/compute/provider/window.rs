//! The provider's side of an audit: opens in time what has a check, answers, appeals, concludes and closes.
//!
//! # Design
//! [`unit_step`] says what a unit needs now, as a pure function of the chain; [`attend`] is called again and again until the window is
//! closed. Units without a check cost nothing: they are known from the window's events alone. What stands behind a window, an order or a part of a
//! channel, is an [`Attended`]. Between two looks is a [`Attendance::pause`]: short while something is due, so that many windows do not keep the
//! provider's node busy while nothing is.
//!
//! # Invariants
//! Every unit with a committed check is opened, also if the order or the channel has ended otherwise: one that is not opened costs the whole bond.
//!
//! Spec: specs/0008-audit.md §7 to §11.

use super::{
    book::Book,
    course::Course,
    questions::{Question, Questions},
};
use crate::compute::{
    account::Poor,
    amount::kst,
    checker::judged_by_foreigner,
    opening::{Shown, Work},
    panels::Sitting,
    windows::{CHECK_ROUNDS, Case, Drawn, SEEKING, Stage, Times, Window, WindowStatus, event, life_max, window_of},
};
use alloy_primitives::{B256, U256};
use alloy_sol_types::SolEvent as _;
use eyre::Result;
use futures::future::{BoxFuture, join_all};
use keystead_contracts::bindings::{audit::Audit, market::IAuditTypes, referee::Referee};
use keystead_job::JobSpec;
use keystead_runner::Failure;
use serde_json::json;
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Openings and conclusions that are sent at once, and beside them so many answers.
const SENT_MAX: usize = 16;
/// Blocks of events asked for at once.
const BLOCKS_MAX: u64 = 1_000;
/// What one transaction may take, seconds: the time to open must have room for all that may be drawn.
const SENT_SECONDS: u64 = 3;
/// Units are opened in the first half of the time to reveal, which is long enough for a few of them at least.
const REVEAL_SECONDS_MIN: u32 = 20;
/// An audit locks the bond, and keeps the pay, so long at most: appeals of a day fit in.
const LIFE_MAX: Duration = Duration::from_secs(48 * 3_600);
/// An accuser that keeps silent is looked at so often.
const SEARCH_POLL_SECONDS: u64 = 30;
/// Shortest time between two looks, while something is due.
const PAUSE_SECONDS_MIN: u64 = 1;
/// Longest time between two looks. What nobody could know before (a question, an accusation, a round's draw) waits so long, which is no more than half of
/// what the shortest terms leave for it.
const PAUSE_SECONDS_MAX: u64 = 10;
/// The short looks begin so long before something is due: the newest block may be a little old.
const EARLY_SECONDS: u64 = 2;
/// A draw that is late is looked for the less often the longer it is: a second more between two looks for so many blocks.
const LATE_BLOCKS: u64 = 8;
/// Parts per million in a whole.
const PPM: u64 = 1_000_000;

/// A second run of a unit: whether this machine says the same again.
pub(super) type Rerun = BoxFuture<'static, Result<bool, Failure>>;

/// What stands behind a window of this provider's.
pub(super) trait Attended: Send + Sync {
    /// The audit's name of the window.
    fn id(&self) -> B256;

    /// How it is called in the log.
    fn label(&self) -> String;

    /// What its commitment was made of.
    fn work(&self) -> Result<Work>;

    /// Runs one segment of a unit again, on what it read then: does this machine still say the same? The run is not begun yet.
    fn run_again(&self, book: &Book, unit: u32, segment: u32) -> Result<Rerun>;
}

/// What is remembered between two looks at a window.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    /// First block whose events were not read; zero at first.
    next_block: u64,
    /// Units that somebody looks at, and the second from which they need attention again.
    units: BTreeMap<u32, u64>,
    /// States that were asked for in public and not opened yet.
    asked: Questions,
    /// Condemned units that run again here.
    again: Arc<Mutex<BTreeMap<u32, Again>>>,
    /// Of an order: its window needs nothing any more.
    over: bool,
    /// Seconds until the next look is due.
    pause_seconds: u64,
    /// Openings that are still expected, once the window is known.
    openings: Option<u64>,
}

impl Attendance {
    /// How long the next look may wait.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs(self.pause_seconds.max(PAUSE_SECONDS_MIN))
    }

    /// Openings that are still expected, once the window is known.
    pub(super) const fn openings(&self) -> Option<u64> {
        self.openings
    }
}

/// What a second run of a condemned unit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    NotYet,
    Runs,
    /// This machine says the same as before.
    Same,
    Differs,
}

/// What a unit needs of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnitStep {
    /// Call `touch` for its round.
    Touch,
    Open,
    /// Run it again here: was it right all the same?
    Rerun,
    /// Call `challenge`: the referees decide.
    Appeal,
    Conclude,
    Withhold,
    EndSearch,
    /// Nothing before this second.
    Wait(u64),
    /// Nothing any more.
    Over,
}

/// What a unit needs beside what is stored of it.
#[derive(Clone, Copy, Debug)]
struct Scene {
    times: Times,
    check_seconds: u64,
    /// Somebody committed to a check or a ballot in the unit's present round.
    is_looked_at: bool,
    /// What this machine's own second run of a condemned unit said.
    again: Again,
    now: u64,
}

/// The rule.
fn unit_step(case: &Case, scene: Scene) -> UnitStep {
    let Scene { times, check_seconds, is_looked_at, again, now } = scene;
    let after = |by: u64, step| if now > by { step } else { UnitStep::Wait(by.saturating_add(1)) };
    match case.stage {
        stage if stage.is_final() => UnitStep::Over,
        Stage::Condemned if now.saturating_add(SENT_SECONDS) <= case.appeal_by && again != Again::Differs => {
            match again {
                Again::Same => UnitStep::Appeal,
                Again::Runs => UnitStep::Wait(now.saturating_add(1)),
                _ => UnitStep::Rerun,
            }
        }
        Stage::Condemned | Stage::Cleared => after(case.appeal_by, UnitStep::Conclude),
        Stage::None => UnitStep::Wait(now.saturating_add(1)),
        _ if !times.is_drawn() => UnitStep::Touch,
        _ if now <= times.check_by => UnitStep::Wait(times.check_by.saturating_add(1)),
        // Also while somebody searches: the round's own times run on.
        _ if !case.opened && is_looked_at && now <= times.open_by => UnitStep::Open,
        _ if case.segment == SEEKING => after(times.open_by, UnitStep::EndSearch),
        // Nobody answered for the input: that decides alone.
        _ if case.round == 0 && case.asked_at != 0 && !case.handed => {
            after(case.asked_at.saturating_add(check_seconds / 2), UnitStep::Withhold)
        }
        _ => after(times.reveal_by, UnitStep::Conclude),
    }
}

/// Seconds until the next look at a window whose units are drawn, if each of these needs attention from its second on.
fn pause_seconds(drawn: &Drawn, units: impl IntoIterator<Item = u64>, now: u64) -> u64 {
    let check_by = drawn.draw.drawn_at.saturating_add(drawn.window.check_seconds);
    // Then it is known who is looked at; and then it may be closed.
    let ahead = [Some(check_by), drawn.close_after()].into_iter().flatten().map(|by| by.saturating_add(1));
    let next = units.into_iter().chain(ahead.filter(|at| *at > now)).min().unwrap_or(u64::MAX);
    next.saturating_sub(now).saturating_sub(EARLY_SECONDS).clamp(PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX)
}

/// Seconds until the next look at a window whose draw is not there yet.
fn draw_pause_seconds(height: u64, draw_height: u64) -> u64 {
    let late = height.saturating_sub(draw_height);
    late.checked_div(LATE_BLOCKS).unwrap_or_default().clamp(PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX)
}

/// How many units of a window may still have to be opened, if so many are known to be looked at.
fn openings_left(drawn: &Drawn, known: usize, now: u64) -> u64 {
    let Drawn { window, draw } = drawn;
    let known = u64::try_from(known).unwrap_or(u64::MAX);
    // Who asks for an input has half as long again.
    let check_seconds = window.check_seconds.saturating_add(window.check_seconds / 2);
    if draw.drawn_at != 0 && now > draw.drawn_at.saturating_add(check_seconds) {
        return known;
    }
    expected(window.units, window.rate_ppm).max(known)
}

/// How many of so many units are expected to be drawn at a rate.
pub(super) fn expected(units: u32, rate_ppm: u32) -> u64 {
    u64::from(units).saturating_mul(u64::from(rate_ppm).min(PPM)).div_ceil(PPM)
}

/// How many units this provider opens in the time that an audit's terms give.
pub(super) fn openings_max(terms: &IAuditTypes::Terms) -> u64 {
    u64::from(terms.revealSeconds / 2).saturating_mul(SENT_MAX as u64).checked_div(SENT_SECONDS).unwrap_or_default()
}

/// Why this provider does not let a job's checker program decide over its bond, if it does not.
pub(super) fn foreign_judge(terms: &IAuditTypes::Terms, spec: &JobSpec) -> Option<String> {
    (terms.bondWei != 0 && judged_by_foreigner(spec, false)).then(|| {
        "the job's own checker program would decide over this provider's bond: take a recipe that is built in, or an audit without a bond".to_owned()
    })
}

/// Why an audit's terms cannot be kept by this provider, if they cannot.
pub(super) fn refusal(terms: &IAuditTypes::Terms, units: u32, free_wei: U256) -> Option<String> {
    let needed_wei = U256::from(terms.bondWei);
    if needed_wei > free_wei {
        return Some(format!("the audit asks for a bond of {}, this provider has {}", kst(needed_wei), kst(free_wei)));
    }
    let life = life_max(terms);
    if life > LIFE_MAX {
        return Some(format!(
            "the audit may last too long: its times add up to {} s, this provider takes {} s at most",
            life.as_secs(),
            LIFE_MAX.as_secs()
        ));
    }
    if terms.revealSeconds < REVEAL_SECONDS_MIN {
        return Some(format!(
            "time to open is too short: revealSeconds={} min={REVEAL_SECONDS_MIN}",
            terms.revealSeconds
        ));
    }
    // The rate may be whole in probation; each block takes many openings, but blocks come about every second.
    let batches = u64::from(units).div_ceil(SENT_MAX as u64);
    let needed = batches.saturating_mul(SENT_SECONDS);
    let open_seconds = u64::from(terms.revealSeconds / 2);
    (needed > open_seconds).then(|| {
        format!(
            "time to open {units} units is too short: revealSeconds={} min={}",
            terms.revealSeconds,
            needed.saturating_mul(2)
        )
    })
}

impl Attended for Course {
    fn id(&self) -> B256 {
        window_of(self.order())
    }

    fn label(&self) -> String {
        format!("order {}", self.order())
    }

    fn work(&self) -> Result<Work> {
        self.record().work()
    }

    fn run_again(&self, book: &Book, unit: u32, segment: u32) -> Result<Rerun> {
        Ok(Box::pin(self.second_run(book, unit, segment)?))
    }
}

impl Course {
    /// Does what the order's window needs now; true once it is closed.
    pub(super) async fn attend(&self, book: &Book) -> Result<bool> {
        let mut attendance = self.attendance.lock().await;
        if attendance.over {
            return Ok(true);
        }
        let status = attend(book, self, &mut attendance).await?;
        attendance.over = status != WindowStatus::Open;
        Ok(attendance.over)
    }
}

/// Does what a window needs now. It is open until a later look says something else; when that is due, the attendance says.
pub(super) async fn attend(book: &Book, behind: &dyn Attended, attendance: &mut Attendance) -> Result<WindowStatus> {
    // What fails, and what follows a transaction, is looked at soon.
    attendance.pause_seconds = PAUSE_SECONDS_MIN;
    let id = behind.id();
    let drawn = book.windows.drawn(id).await?;
    let Drawn { window, draw } = drawn;
    if !window.exists() || window.is_over() {
        return Ok(window.status);
    }
    let (height, now) = book.windows.account.head().await?;
    let looked = Instant::now();
    attendance.openings = Some(openings_left(&drawn, attendance.units.len(), now));
    if draw.drawn_at == 0 {
        // Times run from the first use of the randomness, so the provider uses it at once.
        if book.windows.randomness(draw.draw_height).await?.is_some() {
            book.windows.touch(id, 0, 0).await?;
        } else {
            attendance.pause_seconds = draw_pause_seconds(height, draw.draw_height);
        }
        return Ok(WindowStatus::Open);
    }
    let visit = Visit { book, behind, id };
    visit.read_events(draw.draw_height..=height, attendance).await?;
    attendance.openings = Some(openings_left(&drawn, attendance.units.len(), now));
    visit.attend_units(&window, attendance, now).await?;
    if window.pending == 0 && drawn.close_after().is_some_and(|after| now > after) {
        book.windows.close(id).await?;
        let closed = book.windows.window(id).await?;
        tracing::info!(window = behind.label(), convicted = closed.convicted, "window closed");
        return Ok(WindowStatus::Open);
    }
    // Questions that are left are answered soon.
    if attendance.asked.is_empty() {
        let pause = pause_seconds(&drawn, attendance.units.values().copied(), now);
        attendance.pause_seconds = pause.saturating_sub(looked.elapsed().as_secs());
    }
    Ok(WindowStatus::Open)
}

/// One look at a window.
struct Visit<'a> {
    book: &'a Book,
    behind: &'a dyn Attended,
    id: B256,
}

impl Visit<'_> {
    /// Notes which units somebody looks at, and what is asked in searches. Nothing can be said about a unit before its window's draw.
    async fn read_events(&self, blocks: RangeInclusive<u64>, attendance: &mut Attendance) -> Result<()> {
        let (book, id) = (self.book, self.id);
        let (from, head) = blocks.into_inner();
        attendance.next_block = attendance.next_block.max(from);
        while attendance.next_block <= head {
            let last = head.min(attendance.next_block.saturating_add(BLOCKS_MAX.saturating_sub(1)));
            let kinds = [
                Audit::CheckCommitted::SIGNATURE_HASH,
                Audit::InputAsked::SIGNATURE_HASH,
                Referee::Challenged::SIGNATURE_HASH,
                Referee::RoundBegan::SIGNATURE_HASH,
                Referee::StateAsked::SIGNATURE_HASH,
                Referee::StateAnswered::SIGNATURE_HASH,
            ];
            let logs = book.windows.logs(attendance.next_block, last, json!([kinds, id])).await?;
            for log in &logs {
                if let Some(asked) = event::<Referee::StateAsked>(log) {
                    attendance.asked.asked((asked.unit, asked.segment));
                } else if let Some(answered) = event::<Referee::StateAnswered>(log) {
                    attendance.asked.answered(answered.unit);
                }
                let unit = event::<Audit::CheckCommitted>(log)
                    .map(|event| event.unit)
                    .or_else(|| event::<Audit::InputAsked>(log).map(|event| event.unit))
                    .or_else(|| event::<Referee::Challenged>(log).map(|event| event.unit))
                    .or_else(|| event::<Referee::RoundBegan>(log).map(|event| event.unit));
                attendance.units.extend(unit.map(|unit| (unit, 0)));
            }
            attendance.next_block = last.saturating_add(1);
        }
        Ok(())
    }

    /// Answers some of what is asked in searches. A question that stays open convicts, so what does not come into a block is tried again until the search is over;
    /// what is late is refused by the contract, which costs nothing.
    async fn answer_some(&self, work: &Work, questions: &mut Questions) {
        let due = questions.take(SENT_MAX);
        let answers = join_all(due.iter().map(|question| self.answer(work, *question))).await;
        for ((unit, segment), answered) in due.into_iter().zip(answers) {
            if let Err(error) = answered {
                tracing::warn!(
                    error = format!("{error:#}"),
                    unit,
                    segment,
                    "a state that was asked for is not opened yet, which would cost the bond: trying again"
                );
                questions.asked((unit, segment));
            }
        }
    }

    async fn answer(&self, work: &Work, (unit, segment): Question) -> Result<()> {
        let windows = &self.book.windows;
        if windows.case(self.id, unit).await?.segment != SEEKING {
            return Ok(());
        }
        windows.answer(self.id, unit, work.proof(unit, segment, Shown::Both)?).await?;
        tracing::info!(window = self.behind.label(), unit, segment, "state opened for an accuser");
        Ok(())
    }

    /// Does what units need, and answers beside them: neither waits for all of the other.
    async fn attend_units(&self, window: &Window, attendance: &mut Attendance, now: u64) -> Result<()> {
        let due: Vec<u32> = attendance.units.iter().filter(|(_, at)| **at <= now).map(|(unit, _)| *unit).collect();
        let work = self.behind.work()?;
        let mut poor = None;
        for units in due.chunks(SENT_MAX) {
            let again = Arc::clone(&attendance.again);
            let look = |unit: &u32| Look { window, unit: *unit, again: &again, now };
            let attended = units.iter().map(|unit| self.attend_unit(&work, look(unit)));
            let (attended, ()) = tokio::join!(join_all(attended), self.answer_some(&work, &mut attendance.asked));
            for (unit, next) in units.iter().zip(attended) {
                match next {
                    Ok(Some(at)) => _ = attendance.units.insert(*unit, at),
                    Ok(None) => _ = attendance.units.remove(unit),
                    Err(error) if error.is::<Poor>() => poor = Some(error),
                    Err(error) => tracing::debug!(error = format!("{error:#}"), unit, "unit: trying again"),
                }
            }
        }
        if due.is_empty() {
            self.answer_some(&work, &mut attendance.asked).await;
        }
        if let Some(error) = poor {
            let (window, error) = (self.behind.label(), format!("{error:#}"));
            tracing::error!(window, error, "no unit can be opened, which costs the bond: trying again");
        }
        Ok(())
    }

    /// One unit; when to look again, `None` if never.
    async fn attend_unit(&self, work: &Work, look: Look<'_>) -> Result<Option<u64>> {
        let Look { window, unit, again, now } = look;
        let (id, windows, label) = (self.id, &self.book.windows, self.behind.label());
        let case = windows.case(id, unit).await?;
        let times = windows.times(id, unit, case.round).await?;
        let is_looked_at = if case.round < CHECK_ROUNDS {
            case.committed(case.round) > 0
        } else {
            windows.panel(Sitting { window: id, unit, round: case.round }).await?.committed > 0
        };
        let again_said = said(again, unit);
        let scene = Scene { times, check_seconds: window.check_seconds, is_looked_at, again: again_said, now };
        match unit_step(&case, scene) {
            UnitStep::Over => return Ok(None),
            UnitStep::Wait(until) => return Ok(Some(until)),
            UnitStep::Touch => drop(windows.touch(id, unit, case.round).await?),
            UnitStep::Open => {
                let segment = windows.segment_of(id, unit, &case).await?;
                windows.open_unit(id, unit, work.proof(unit, segment, Shown::Both)?).await?;
                tracing::info!(window = label, unit, "unit opened");
            }
            UnitStep::Rerun => {
                let segment = windows.segment_of(id, unit, &case).await?;
                let run = self.behind.run_again(self.book, unit, segment)?;
                tracing::warn!(window = label, unit, "a unit was condemned: running it again");
                // Apart from the window's other units, whose times run on.
                let again = Arc::clone(again);
                let note = move |said| {
                    again.lock().unwrap_or_else(PoisonError::into_inner).insert(unit, said);
                };
                note(Again::Runs);
                tokio::spawn(async move {
                    let same = run.await;
                    tracing::warn!(window = label, unit, ?same, "the condemned unit ran again");
                    note(match same {
                        Ok(true) => Again::Same,
                        Ok(false) => Again::Differs,
                        Err(_) => Again::NotYet,
                    });
                });
                return Ok(Some(now.saturating_add(1)));
            }
            UnitStep::Appeal => {
                windows.appeal(window, unit).await?;
                tracing::warn!(window = label, unit, "appealed: the referees decide");
            }
            UnitStep::Withhold => drop(windows.withhold(id, unit).await?),
            UnitStep::EndSearch => {
                // Refused until a step of the search is late.
                if let Err(error) = windows.end_search(id, unit).await {
                    tracing::debug!(error = format!("{error:#}"), unit, "the search goes on");
                }
                return Ok(Some(now.saturating_add(SEARCH_POLL_SECONDS)));
            }
            UnitStep::Conclude => {
                windows.conclude(id, unit).await?;
                let stage = windows.case(id, unit).await?.stage;
                tracing::info!(window = label, unit, ?stage, "unit concluded");
            }
        }
        Ok(Some(0))
    }
}

/// One look at one unit.
struct Look<'a> {
    window: &'a Window,
    unit: u32,
    again: &'a Arc<Mutex<BTreeMap<u32, Again>>>,
    now: u64,
}

fn said(again: &Mutex<BTreeMap<u32, Again>>, unit: u32) -> Again {
    again.lock().unwrap_or_else(PoisonError::into_inner).get(&unit).copied().unwrap_or(Again::NotYet)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::samples::TERMS;

    const NOW: u64 = 10_000;
    const TIMES: Times = Times { check_by: NOW + 100, open_by: NOW + 130, reveal_by: NOW + 160 };

    fn step(case: &Case, second: u64) -> UnitStep {
        unit_step(case, scene(case, TIMES, Again::NotYet, second))
    }

    fn scene(case: &Case, times: Times, again: Again, second: u64) -> Scene {
        let is_looked_at = case.committed(case.round) > 0;
        Scene { times, check_seconds: 100, is_looked_at, again, now: NOW + second }
    }

    #[test]
    fn a_unit_with_a_check_is_opened_in_its_time_and_concluded_after_it() {
        let case = Case::of(Stage::Checking, 0).with_committed(0, 3);
        assert_eq!(step(&case, 100), UnitStep::Wait(NOW + 101));
        assert_eq!(step(&case, 101), UnitStep::Open);
        assert_eq!(step(&case, 130), UnitStep::Open);
        assert_eq!(step(&case, 131), UnitStep::Wait(NOW + 161));
        assert_eq!(step(&case, 161), UnitStep::Conclude);
        let opened = Case { opened: true, ..case };
        assert_eq!(step(&opened, 101), UnitStep::Wait(NOW + 161));
        // Nobody committed: nothing is opened, and what was begun is concluded.
        assert_eq!(step(&Case::of(Stage::Checking, 0), 101), UnitStep::Wait(NOW + 161));
        // A later round of a unit that was opened before.
        let second = Case { opened: true, ..Case::of(Stage::Checking, 1).with_committed(1, 0) };
        assert_eq!(step(&second, 101), UnitStep::Wait(NOW + 161));
        assert_eq!(unit_step(&second, scene(&second, Times::default(), Again::NotYet, 0)), UnitStep::Touch);
    }

    #[test]
    fn a_unit_that_only_a_panel_looks_at_is_opened_for_it() {
        let case = Case::of(Stage::Checking, 2);
        let at = |is_looked_at, second| {
            unit_step(&case, Scene { is_looked_at, ..scene(&case, TIMES, Again::NotYet, second) })
        };
        assert_eq!(at(true, 100), UnitStep::Wait(NOW + 101));
        assert_eq!(at(true, 101), UnitStep::Open);
        assert_eq!(at(false, 101), UnitStep::Wait(NOW + 161));
        let opened = Case { opened: true, ..case };
        let scene = Scene { is_looked_at: true, ..scene(&opened, TIMES, Again::NotYet, 101) };
        assert_eq!(unit_step(&opened, scene), UnitStep::Wait(NOW + 161));
    }

    #[test]
    fn a_search_does_not_keep_a_checked_unit_from_being_opened() {
        let sought = Case { segment: SEEKING, ..Case::of(Stage::Checking, 0).with_committed(0, 1) };
        assert_eq!(step(&sought, 101), UnitStep::Open);
        assert_eq!(step(&sought, 131), UnitStep::EndSearch);
        assert_eq!(step(&Case { opened: true, ..sought }, 101), UnitStep::Wait(NOW + 131));
    }

    #[test]
    fn what_the_customer_does_not_answer_for_is_ended_and_verdicts_wait_for_appeals() {
        let asked = Case { asked_at: NOW + 80, ..Case::of(Stage::Checking, 0) };
        assert_eq!(step(&asked, 120), UnitStep::Wait(NOW + 131));
        assert_eq!(step(&asked, 131), UnitStep::Withhold);
        let handed = Case { handed: true, ..asked };
        assert_eq!(step(&handed, 131), UnitStep::Wait(NOW + 161));
        for stage in [Stage::Condemned, Stage::Cleared] {
            let case = Case { appeal_by: NOW + 500, ..Case::of(stage, 1) };
            let decided = |second| unit_step(&case, scene(&case, TIMES, Again::Differs, second));
            assert_eq!(decided(500), UnitStep::Wait(NOW + 501));
            assert_eq!(decided(501), UnitStep::Conclude);
        }
        for stage in [Stage::Verified, Stage::Unpaid, Stage::Unchecked, Stage::Wrong] {
            assert_eq!(step(&Case::of(stage, 0), 0), UnitStep::Over);
        }
    }

    #[test]
    fn a_condemned_provider_appeals_only_if_its_own_second_run_says_the_same() {
        let case = Case { appeal_by: NOW + 500, ..Case::of(Stage::Condemned, 1) };
        let step = |again, second| unit_step(&case, scene(&case, TIMES, again, second));
        assert_eq!(step(Again::NotYet, 400), UnitStep::Rerun);
        assert_eq!(step(Again::Runs, 400), UnitStep::Wait(NOW + 401));
        assert_eq!(step(Again::Same, 497), UnitStep::Appeal);
        assert_eq!(step(Again::Same, 498), UnitStep::Wait(NOW + 501));
        assert_eq!(step(Again::Differs, 400), UnitStep::Wait(NOW + 501));
        assert_eq!(step(Again::Same, 501), UnitStep::Conclude);
    }

    #[test]
    fn a_window_is_looked_at_every_ten_seconds_and_each_second_around_what_is_due() {
        // Drawn at second 100; checks until 120, reveals until 130, closed after 135.
        let drawn = crate::compute::windows::tests::drawn();
        let pause = |units: &[u64], now| pause_seconds(&drawn, units.iter().copied(), now);
        assert_eq!([100, 109, 110, 118, 119, 120].map(|now| pause(&[], now)), [10, 10, 9, 1, 1, 1]);
        // It is known now who is looked at: the close comes next, and then nothing that is known.
        assert_eq!([121, 126, 134, 135, 136].map(|now| pause(&[], now)), [10, 8, 1, 1, 10]);
        // What a unit needs, in time; what is due, or failed, at once.
        assert_eq!([u64::MAX, 131, 128, 127, 121, 0].map(|at| pause(&[at, 500], 121)), [10, 8, 5, 4, 1, 1]);
    }

    #[test]
    fn a_draw_is_looked_for_each_second_and_less_often_the_later_it_is() {
        assert_eq!([0, 7, 9, 10, 25, 89, 1_000].map(|height| draw_pause_seconds(height, 9)), [1, 1, 1, 1, 2, 10, 10]);
    }

    #[test]
    fn openings_are_expected_by_the_windows_rate_until_the_checks_are_over() {
        let drawn = crate::compute::windows::tests::drawn();
        let undrawn = Drawn { draw: crate::compute::windows::Round { drawn_at: 0, ..drawn.draw }, ..drawn };
        assert_eq!((openings_left(&undrawn, 0, 9_999), openings_left(&drawn, 0, 100)), (10, 10));
        // With the time of who asked for an input.
        assert_eq!([120, 130, 131].map(|now| openings_left(&drawn, 3, now)), [10, 10, 3]);
        let rare = Drawn { window: Window { rate_ppm: 30_000, ..drawn.window }, ..drawn };
        assert_eq!([0, 3].map(|known| openings_left(&rare, known, 100)), [1, 3]);
        assert_eq!(openings_left(&rare, 0, 131), 0);
        assert_eq!(
            [(64, 30_000), (64, 1_000_000), (64, 2_000_000), (0, 5)].map(|(units, rate)| expected(units, rate)),
            [2, 64, 64, 0]
        );
    }

    #[test]
    fn terms_that_cannot_be_kept_are_refused_with_their_numbers() {
        let terms = |bond_wei, seconds| IAuditTypes::Terms { revealSeconds: seconds, bondWei: bond_wei, ..TERMS };
        let free = U256::from(1_000);
        assert_eq!(refusal(&terms(1_000, 20), 48, free), None);
        assert!(refusal(&terms(1_001, 20), 48, free).unwrap().contains("bond"));
        assert!(refusal(&terms(0, 19), 1, free).unwrap().contains("revealSeconds=19 min=20"));
        assert!(refusal(&terms(0, 20), 49, free).unwrap().contains("min=24"));
        assert_eq!(refusal(&terms(0, 24), 49, free), None);
    }

    #[test]
    fn no_foreign_checker_program_decides_over_a_bond() {
        let terms = |bond_wei| IAuditTypes::Terms { class: 2, bondWei: bond_wei, ..TERMS };
        let judged_by = |program: &[u8]| {
            let checker = keystead_job::Checker { program_hash: keystead_job::blob_hash(program), fuel_max: 1_000 };
            let exact = crate::compute::provider::record::tests::spec(4);
            JobSpec::new(keystead_job::spec::Draft {
                class: keystead_job::Class::SelfChecking,
                checker: Some(checker),
                ..(*exact).clone()
            })
            .unwrap()
        };
        let built_in = keystead_recipes::find("matmul").unwrap().checker().unwrap();
        assert_eq!(foreign_judge(&terms(1), &judged_by(built_in)), None);
        assert_eq!(foreign_judge(&terms(0), &judged_by(b"always wrong")), None);
        assert!(foreign_judge(&terms(1), &judged_by(b"always wrong")).unwrap().contains("built in"));
        assert_eq!(foreign_judge(&terms(1), &crate::compute::provider::record::tests::spec(4)), None);
    }

    #[test]
    fn an_audit_of_more_than_two_days_is_refused_with_its_numbers() {
        let terms = |appeal_seconds| IAuditTypes::Terms {
            checkSeconds: 3_600,
            revealSeconds: 3_600,
            appealSeconds: appeal_seconds,
            ..TERMS
        };
        // Ten hours of rounds, half an hour for an input, five hours and forty minutes of a search, five minutes.
        let rest = 172_800 - 36_000 - 1_800 - 20_400 - 300;
        assert_eq!(refusal(&terms(rest), 1, U256::ZERO), None);
        let words = refusal(&terms(rest + 1), 1, U256::ZERO).unwrap();
        assert!(words.contains("172801 s") && words.contains("172800 s"), "{words}");
    }
}
