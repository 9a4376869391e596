//! What a customer can do about a wrong result of an audited order: a pure rule.
//!
//! # Design
//! It cannot reject such a result: whether it is wrong, the audit says. It can accuse the unit, while there is time, and the referees run it. If
//! what arrived is not what was committed to, there is nothing to accuse, and the result was not received. The same holds if the delivery was
//! stated only when nobody could accuse any more: who delivers so late has taken that away.

use crate::compute::{
    audits::{AuditWindow, STAGE_CHECKING, WindowStatus},
    customer::state::Checked,
    lifecycle::Recourse,
};
use alloy_primitives::Address;
use keystead_contracts::{bindings::audit::IAuditTypes, storage::Reason};

/// Seconds that a check of a delivery may take: who states it later than that before the end of the time to accuse leaves no time for it.
const CHECK_SECONDS: u64 = 30;

/// What the chain says.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute::customer) struct Facts<'a> {
    pub(in crate::compute::customer) window: &'a AuditWindow,
    /// The unit that was found wrong, if one was.
    pub(in crate::compute::customer) case: Option<&'a IAuditTypes::Case>,
    /// Unix seconds.
    pub(in crate::compute::customer) delivered_at: u64,
    /// Time of the newest block, Unix seconds.
    pub(in crate::compute::customer) now: u64,
}

/// The rule. `checked`: what this machine found.
pub(in crate::compute::customer) fn recourse(checked: &Checked, facts: Facts<'_>) -> Recourse {
    let Facts { window, case, delivered_at, now } = facts;
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
    let is_free = case.party == Address::ZERO && case.stage <= STAGE_CHECKING;
    if window.named || !is_open || !is_free {
        return Recourse::None;
    }
    match window.accuse_by() {
        Some(by) if now > by && delivered_at.saturating_add(CHECK_SECONDS) > by => Recourse::Refuse,
        Some(by) if now > by => Recourse::None,
        _ => Recourse::Accuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::{
        audits::tests::window,
        customer::state::{Objection, WrongUnit},
        lifecycle::Finding,
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

    fn case() -> IAuditTypes::Case {
        IAuditTypes::Case {
            stage: 0,
            round: 0,
            opened: false,
            extended: false,
            committed: 0,
            revealed: 0,
            appealed: 0,
            appealBy: alloy_primitives::aliases::U40::ZERO,
            segment: 0,
            askedAt: alloy_primitives::aliases::U40::ZERO,
            askedBy: 0,
            handed: false,
            party: Address::ZERO,
            partyWei: alloy_primitives::aliases::U96::ZERO,
            value: B256::ZERO,
        }
    }

    #[test]
    fn a_wrong_unit_is_accused_to_the_last_second_and_once() {
        // Drawn at 100, checks until 120, reveals until 130.
        let window = window();
        let wrong = checked(Reason::WrongResult, 10);
        let at = |now| recourse(&wrong, Facts { window: &window, case: Some(&case()), delivered_at: 90, now });
        assert_eq!((at(95), at(130), at(131)), (Recourse::Accuse, Recourse::Accuse, Recourse::None));
        let with = |case: IAuditTypes::Case| {
            recourse(&wrong, Facts { window: &window, case: Some(&case), delivered_at: 90, now: 110 })
        };
        assert_eq!(with(IAuditTypes::Case { stage: STAGE_CHECKING, ..case() }), Recourse::Accuse);
        assert_eq!(with(IAuditTypes::Case { stage: 2, ..case() }), Recourse::None);
        assert_eq!(with(IAuditTypes::Case { party: Address::repeat_byte(1), ..case() }), Recourse::None);
        for window in [
            AuditWindow { named: true, ..window },
            AuditWindow { convicted: true, ..window },
            AuditWindow { status: WindowStatus::Closed, ..window },
        ] {
            let facts = Facts { window: &window, case: Some(&case()), delivered_at: 90, now: 110 };
            assert_eq!(recourse(&wrong, facts), Recourse::None);
        }
    }

    #[test]
    fn who_delivers_when_nobody_can_accuse_any_more_has_not_delivered() {
        let window = window();
        let wrong = checked(Reason::WrongResult, 10);
        let at =
            |delivered_at| recourse(&wrong, Facts { window: &window, case: Some(&case()), delivered_at, now: 140 });
        assert_eq!((at(100), at(101), at(135)), (Recourse::None, Recourse::Refuse, Recourse::Refuse));
    }

    #[test]
    fn what_was_not_committed_to_was_not_received_and_a_doubt_is_no_accusation() {
        let window = window();
        let say = |reason, sampled| {
            let facts = Facts { window: &window, case: None, delivered_at: 90, now: 110 };
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
