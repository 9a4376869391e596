//! Tells a canary when the checkers have spoken: pays who found it, and accuses who found it right.
//!
//! # Design
//! A task beside the customer's own work, as what it does may take longer than the time to tell: the contract takes it from the end of round 0's reveals
//! until the unit is before referees or convicts its provider, which may be a few seconds. The chain is asked each second; a pure rule says what to do.
//!
//! # Invariants
//! It is told once, by any number of processes: the contract says whether it was, but would take it, and the finders' pay, a second time. So nothing is sent
//! while a transaction of this account waits for its block: it may be the one that a process sent before it was killed.
//!
//! Spec: specs/0008-audit.md §12.

use super::{Canary, Toll};
use crate::compute::{
    amount::kst,
    windows::{CHECK_ROUNDS, Case, Finding, SLOTS, Stage, Times, Window, WindowStatus, Windows, window_of},
};
use alloy_primitives::{Address, B256, U256};
use eyre::{Result, bail};
use keystead_contracts::bindings::{
    audit::{Audit, IAuditTypes},
    referee::Referee,
};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

/// How often the window is looked at.
const POLL: Duration = Duration::from_secs(1);

/// The task; it ends with the value.
#[derive(Debug)]
pub(in crate::compute::customer) struct Telling {
    /// One sentence at most.
    news: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Telling {
    /// Begins for an order. Must be called on a Tokio runtime.
    pub(in crate::compute::customer) fn begin(windows: Windows, order: U256, canary: Canary) -> Self {
        let (sender, news) = mpsc::channel(1);
        let teller = Teller { windows, window: window_of(order), canary };
        let task = tokio::spawn(async move {
            let words = teller.run().await;
            // Nobody waits for it any more, or the only place is free.
            let _ = sender.try_send(words);
        });
        Self { news, task }
    }

    /// Whether an order that is over otherwise must wait for its window: what is not told convicts its provider.
    pub(in crate::compute::customer) fn is_owed(&self, canary: &Canary, window: WindowStatus) -> bool {
        !self.task.is_finished() && is_owed(canary, window)
    }

    /// What there is to say, once.
    pub(in crate::compute::customer) fn news(&mut self) -> Option<String> {
        self.news.try_recv().ok()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Also of an order whose outputs never came: whoever opened the unit may be found wrong.
fn is_owed(canary: &Canary, window: WindowStatus) -> bool {
    window == WindowStatus::Open && canary.delivered != Some(false)
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait,
    Tell,
    /// It was told, by this process or an earlier one.
    Told,
    /// It never will be, for this reason.
    Never(&'static str),
}

/// The rule. `times`: of the unit's round 0.
fn step(canary: &Canary, window: &Window, case: &Case, times: Times, now: u64) -> Step {
    if window.canary_unit == Some(canary.unit) {
        return Step::Told;
    }
    if case.stage == Stage::Wrong {
        return Step::Never("the unit was found wrong before it could be told, and convicts its provider");
    }
    if canary.unit >= window.units {
        return Step::Never("the provider did not commit to it");
    }
    if case.round >= CHECK_ROUNDS {
        return Step::Never("somebody put the unit before referees first");
    }
    if case.opened && case.value != canary.own {
        return Step::Never("the provider opened another value");
    }
    if window.is_over() {
        let is_looked_at = case.stage != Stage::None;
        return Step::Never(if is_looked_at {
            "the window was closed before"
        } else {
            "no checker looked at the unit"
        });
    }
    // Without a check nobody opens it; an input that was asked for decides alone while it is not there.
    let is_asked = case.asked_at != 0 && !case.handed;
    if case.opened && !is_asked && times.is_drawn() && now > times.reveal_by { Step::Tell } else { Step::Wait }
}

/// Who found what, as far as it matters.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    wrong: Vec<Address>,
    right: Vec<Address>,
}

impl Found {
    /// What the contract asks for, to the wei.
    fn value_wei(&self, toll: &Toll) -> U256 {
        let finders = U256::from(self.wrong.len());
        let bond_wei = if self.right.is_empty() { U256::ZERO } else { toll.bond_wei };
        toll.finder_wei.saturating_mul(finders).saturating_add(bond_wei)
    }

    fn words(&self, unit: u32, toll: &Toll) -> String {
        let list = |accounts: &[Address]| accounts.iter().map(Address::to_string).collect::<Vec<_>>().join(", ");
        let mut words = format!("Canary: unit {unit} was told to be wrong on purpose. ");
        words.push_str(&match self.wrong.len() {
            0 => "Nobody found it wrong".to_owned(),
            _ => format!("Found wrong by {}: {} each", list(&self.wrong), kst(toll.finder_wei)),
        });
        if !self.right.is_empty() {
            words.push_str(&format!(
                "; found right by {}, and so before the referees, with a bond of {} that comes back if they find it wrong",
                list(&self.right),
                kst(toll.bond_wei)
            ));
        }
        words.push('.');
        words
    }
}

struct Teller {
    windows: Windows,
    window: B256,
    canary: Canary,
}

impl Teller {
    /// Until there is nothing more to do; says what came of it.
    async fn run(&self) -> String {
        loop {
            match self.look().await {
                Ok(Some(words)) => return words,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the canary is looked after again in a moment");
                }
            }
            sleep(POLL).await;
        }
    }

    /// One look, and what is due.
    async fn look(&self) -> Result<Option<String>> {
        let (windows, unit) = (&self.windows, self.canary.unit);
        let window = windows.window(self.window).await?;
        if !window.exists() {
            return Ok(None);
        }
        let case = windows.case(self.window, unit).await?;
        let times = windows.times(self.window, unit, 0).await?;
        let (_, now) = windows.account.head().await?;
        let step = step(&self.canary, &window, &case, times, now);
        let toll = Toll::new(window.fee_wei, window.checkers);
        match step {
            Step::Wait => Ok(None),
            Step::Tell => {
                windows.account.settled().await?;
                if windows.window(self.window).await?.canary_unit == Some(unit) {
                    return Ok(None);
                }
                // Somebody of round 1 may have revealed meanwhile.
                let case = windows.case(self.window, unit).await?;
                let value_wei = self.found(&case).await?.value_wei(&toll);
                let Canary { own, nonce, .. } = self.canary;
                let call = Referee::revealCanaryCall { windowId: self.window, unit, own, nonce };
                windows.send(&call, value_wei).await?;
                // The next look says what came of it.
                Ok(None)
            }
            Step::Told => Ok(Some(self.found(&case).await?.words(unit, &toll))),
            Step::Never(why) => Ok(Some(format!("Canary: unit {unit} is not told to be wrong: {why}."))),
        }
    }

    /// What everybody found who revealed in rounds 0 and 1, as the contract counts it.
    async fn found(&self, case: &Case) -> Result<Found> {
        let mut found = Found::default();
        for round in 0..CHECK_ROUNDS {
            for slot in (0..SLOTS).filter(|slot| case.has_revealed(round, *slot)) {
                let key = IAuditTypes::Key { windowId: self.window, unit: self.canary.unit, round, slot };
                let check = self.windows.read(&Audit::checkOfCall { key }).await?;
                match finding(check.finding, check.word == case.value)? {
                    Finding::Right => found.right.push(check.account),
                    Finding::Wrong => found.wrong.push(check.account),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// A finding by the contract's number; an exact one that is not counted yet is compared.
fn finding(number: u8, is_equal: bool) -> Result<Finding> {
    Ok(match (number, is_equal) {
        (0, true) | (1, _) => Finding::Right,
        (2, _) => Finding::Unpaid,
        (0, false) | (3, _) => Finding::Wrong,
        (4, _) => Finding::Inconclusive,
        (unknown, _) => bail!("the audit answers with an unknown finding: {unknown}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::{customer::audit::canary::tests::CANARY, windows::tests::drawn};

    const TIMES: Times = Times { check_by: 120, open_by: 125, reveal_by: 130 };

    fn opened(stage: Stage, round: u8) -> Case {
        Case { opened: true, value: CANARY.own, ..Case::of(stage, round) }
    }

    #[test]
    fn it_is_told_in_the_first_second_after_the_reveals_and_as_long_as_the_contract_takes_it() {
        let window = drawn().window;
        let at = |case: Case, now| step(&CANARY, &window, &case, TIMES, now);
        assert_eq!(at(opened(Stage::Checking, 0), 130), Step::Wait);
        for case in [
            opened(Stage::Checking, 0),
            opened(Stage::Checking, 1),
            opened(Stage::Condemned, 1),
            opened(Stage::Cleared, 1),
            opened(Stage::Verified, 0),
            opened(Stage::Unchecked, 0),
        ] {
            assert_eq!(at(case, 131), Step::Tell, "{case:?}");
        }
        let told = Window { canary_unit: Some(3), ..window };
        assert_eq!(step(&CANARY, &told, &opened(Stage::Checking, 2), TIMES, 131), Step::Told);
        let asked = Case { asked_at: 101, ..opened(Stage::Checking, 0) };
        assert_eq!(at(asked, 131), Step::Wait, "an input that did not come decides alone");
        assert_eq!(at(Case { handed: true, ..asked }, 131), Step::Tell);
        assert_eq!(at(Case::of(Stage::None, 0), 131), Step::Wait, "not drawn, or nobody has looked at it yet");
        assert_eq!(step(&CANARY, &window, &opened(Stage::Checking, 0), Times::default(), 131), Step::Wait);
    }

    #[test]
    fn what_can_not_be_told_any_more_is_left_with_its_reason() {
        let window = drawn().window;
        let why = |window: &Window, case: Case| match step(&CANARY, window, &case, TIMES, 131) {
            Step::Never(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(&window, opened(Stage::Wrong, 1)).contains("convicts"));
        assert!(why(&window, opened(Stage::Checking, 2)).contains("referees first"));
        let other = Case { value: B256::ZERO, ..opened(Stage::Checking, 0) };
        assert!(why(&window, other).contains("another value"));
        assert!(why(&Window { units: 3, ..window }, Case::of(Stage::None, 0)).contains("did not commit"));
        let closed = Window { status: WindowStatus::Closed, ..window };
        assert!(why(&closed, Case::of(Stage::None, 0)).contains("no checker looked"));
        assert!(why(&closed, opened(Stage::Verified, 0)).contains("closed before"));
        // Somebody else's canary is no other one's.
        let told = Window { canary_unit: Some(4), ..window };
        assert_eq!(step(&CANARY, &told, &opened(Stage::Checking, 0), TIMES, 131), Step::Tell);
    }

    #[test]
    fn an_order_that_is_over_waits_for_an_open_window_unless_the_unit_came_right() {
        let owed = |delivered, window| is_owed(&Canary { delivered, ..CANARY }, window);
        assert!(owed(None, WindowStatus::Open) && owed(Some(true), WindowStatus::Open));
        assert!(!owed(Some(false), WindowStatus::Open));
        for over in [WindowStatus::None, WindowStatus::Closed, WindowStatus::Convicted] {
            assert!(!owed(Some(true), over), "{over:?}");
        }
    }

    #[test]
    fn ten_fees_for_each_finder_and_one_bond_however_many_did_not_look() {
        let (toll, who) = (Toll::new(U256::from(1), 3), Address::repeat_byte);
        let sum = |wrong: &[u8], right: &[u8]| {
            let [wrong, right] = [wrong, right].map(|bytes| bytes.iter().map(|byte| who(*byte)).collect());
            Found { wrong, right }.value_wei(&toll).to::<u64>()
        };
        let sums = [sum(&[], &[]), sum(&[1], &[]), sum(&[1, 2], &[3]), sum(&[], &[1, 2, 3])];
        assert_eq!(sums, [0, 10, 51, 31]);
        let found = Found { wrong: vec![who(1)], right: vec![who(2)] };
        let words = found.words(3, &toll);
        let [one, two] = [1, 2].map(|byte| who(byte).to_string());
        for part in ["unit 3", &one, &two, "a bond of"] {
            assert!(words.contains(part), "no {part:?} in: {words}");
        }
        assert!(Found::default().words(3, &toll).contains("Nobody found it wrong."));
    }

    #[test]
    fn findings_have_the_contracts_numbers() {
        let numbers = [(0, true), (0, false), (1, false), (2, true), (3, true), (4, false)];
        let found = numbers.map(|(number, is_equal)| finding(number, is_equal).unwrap());
        assert_eq!(
            found,
            [Finding::Right, Finding::Wrong, Finding::Right, Finding::Unpaid, Finding::Wrong, Finding::Inconclusive]
        );
        assert!(finding(5, true).is_err());
    }
}
