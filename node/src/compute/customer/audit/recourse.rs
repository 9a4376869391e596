//! What a customer can do about a wrong result of an audited order: a pure rule.
//!
//! # Design
//! It cannot reject such a result: whether it is wrong, the audit says. It can accuse the unit, while there is time, and the referees run it. If
//! what arrived is not what was committed to, there is nothing to accuse, and the result was not received. The same holds if the delivery was
//! stated only when nobody could accuse any more: who delivers so late has taken that away. So has who keeps the states to itself, if the customer's own run of
//! whole units took longer than there was time to accuse.

use crate::compute::{
    customer::state::Checked,
    lifecycle::Recourse,
    windows::{Case, Drawn, SEEKING, Stage, WindowStatus},
};
use alloy_primitives::Address;
use keystead_contracts::storage::Reason;

/// Seconds that a check of a delivery may take: who states it later than that before the end of the time to accuse leaves no time for it.
const CHECK_SECONDS: u64 = 30;

/// What the chain says.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute::customer) struct Facts<'a> {
    pub(in crate::compute::customer) drawn: &'a Drawn,
    /// The unit that was found wrong, if one was.
    pub(in crate::compute::customer) case: Option<&'a Case>,
    /// Unix seconds.
    pub(in crate::compute::customer) delivered_at: u64,
    /// Time of the newest block, Unix seconds.
    pub(in crate::compute::customer) now: u64,
}

/// The rule. `checked`: what this machine found.
pub(in crate::compute::customer) fn recourse(checked: &Checked, facts: Facts<'_>) -> Recourse {
    let Facts { drawn, case, delivered_at, now } = facts;
    let window = &drawn.window;
    let Some(objection) = checked.objection else { return Recourse::None };
    match objection.reason() {
        // Other bytes than those committed to, or none that can be read.
        Reason::CommitmentMismatch | Reason::NotReceived => return Recourse::Refuse,
        Reason::Malformed if checked.sampled == 0 => return Recourse::Refuse,
        Reason::WrongResult => {}
        _ => return Recourse::None,
    }
    let Some(case) = case else { return Recourse::None };
    let is_open = window.status == WindowStatus::Open && !window.convicted;
    let is_free = case.party == Address::ZERO && matches!(case.stage, Stage::None | Stage::Checking);
    if window.is_named() || !is_open || !is_free {
        return Recourse::None;
    }
    let is_sought = checked.wrong.is_some_and(|wrong| wrong.segment == SEEKING);
    match drawn.accuse_by() {
        Some(by) if now > by && (is_sought || delivered_at.saturating_add(CHECK_SECONDS) > by) => Recourse::Refuse,
        Some(by) if now > by => Recourse::None,
        _ => Recourse::Accuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{
        customer::state::{Objection, WrongUnit},
        lifecycle::Finding,
        windows::{Window, tests::drawn},
    };
    use alloy_primitives::B256;

    fn checked(reason: Reason, sampled: u32) -> Checked {
        let objection = Objection::new(reason, B256::repeat_byte(1));
        Checked {
            finding: Finding::Wrong,
            sampled,
            wrong: Some(WrongUnit { unit: 3, segment: 0 }),
            ..Checked::unread(10, objection)
        }
    }

    const fn case() -> Case {
        Case::of(Stage::None, 0)
    }

    #[test]
    fn a_wrong_unit_is_accused_to_the_last_second_and_once() {
        // Drawn at 100, checks until 120, reveals until 130.
        let drawn = drawn();
        let wrong = checked(Reason::WrongResult, 10);
        let at = |now| recourse(&wrong, Facts { drawn: &drawn, case: Some(&case()), delivered_at: 90, now });
        assert_eq!((at(95), at(130), at(131)), (Recourse::Accuse, Recourse::Accuse, Recourse::None));
        let with =
            |case: Case| recourse(&wrong, Facts { drawn: &drawn, case: Some(&case), delivered_at: 90, now: 110 });
        assert_eq!(with(Case { stage: Stage::Checking, ..case() }), Recourse::Accuse);
        assert_eq!(with(Case { stage: Stage::Condemned, ..case() }), Recourse::None);
        assert_eq!(with(Case { party: Address::repeat_byte(1), ..case() }), Recourse::None);
        let window = drawn.window;
        for window in [
            Window { named: B256::repeat_byte(1), ..window },
            Window { convicted: true, ..window },
            Window { status: WindowStatus::Closed, ..window },
        ] {
            let drawn = Drawn { window, ..drawn };
            let facts = Facts { drawn: &drawn, case: Some(&case()), delivered_at: 90, now: 110 };
            assert_eq!(recourse(&wrong, facts), Recourse::None);
        }
    }

    #[test]
    fn who_delivers_when_nobody_can_accuse_any_more_has_not_delivered() {
        let drawn = drawn();
        let wrong = checked(Reason::WrongResult, 10);
        let at = |delivered_at| recourse(&wrong, Facts { drawn: &drawn, case: Some(&case()), delivered_at, now: 140 });
        assert_eq!((at(100), at(101), at(135)), (Recourse::None, Recourse::Refuse, Recourse::Refuse));
    }

    #[test]
    fn who_kept_the_states_until_nobody_could_accuse_any_more_has_not_delivered() {
        let drawn = drawn();
        let sought =
            Checked { wrong: Some(WrongUnit { unit: 3, segment: SEEKING }), ..checked(Reason::WrongResult, 10) };
        let at = |now| recourse(&sought, Facts { drawn: &drawn, case: Some(&case()), delivered_at: 90, now });
        assert_eq!((at(130), at(131)), (Recourse::Accuse, Recourse::Refuse));
        let accused = Case { party: Address::repeat_byte(1), ..case() };
        let facts = Facts { drawn: &drawn, case: Some(&accused), delivered_at: 90, now: 131 };
        assert_eq!(recourse(&sought, facts), Recourse::None, "a search that is under way goes on");
    }

    #[test]
    fn what_was_not_committed_to_was_not_received_and_a_doubt_is_no_accusation() {
        let drawn = drawn();
        let say = |reason, sampled| {
            let facts = Facts { drawn: &drawn, case: None, delivered_at: 90, now: 110 };
            recourse(&checked(reason, sampled), facts)
        };
        assert_eq!(say(Reason::CommitmentMismatch, 10), Recourse::Refuse);
        assert_eq!(say(Reason::NotReceived, 0), Recourse::Refuse);
        assert_eq!(say(Reason::Malformed, 0), Recourse::Refuse);
        // It arrived and was checked, and the recipe cannot read it: the audit decides.
        assert_eq!(say(Reason::Malformed, 10), Recourse::None);
        assert_eq!(say(Reason::Other, 10), Recourse::None);
    }
}
