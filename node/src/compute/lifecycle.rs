//! What to do next about an order: pure rules, asked again after every step, every restart and every surprise.
//!
//! # Design
//! Both sides read the order from the chain and add what only they know. The rules never look at what was done before, so a step that
//! was lost is simply due again, and a step that was done is not.
//!
//! Spec: specs/0004-market.md §4.

use keystead_contracts::storage::{Mode, Status};
use serde::{Deserialize, Serialize};

/// What the chain holds about an order. Times are Unix seconds, inclusive, zero while not determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) status: Status,
    pub(crate) lease_by: u64,
    pub(crate) deliver_by: u64,
    pub(crate) check_by: u64,
    /// Length of the time between the lease and the delivery, at most; a stop shortens it.
    pub(crate) deliver_seconds: u64,
    /// Length of the check window.
    pub(crate) check_seconds: u64,
    /// Who finds out whether the result is right.
    pub(crate) mode: Mode,
    /// The customer stopped it after the lease: what is done of it is committed to, and paid.
    pub(crate) stopped: bool,
}

impl Stand {
    /// The deadline of whoever must act next; `None` when nobody must.
    pub(crate) const fn due(&self) -> Option<u64> {
        match self.status {
            Status::Ordered => Some(self.lease_by),
            Status::Leased | Status::Committed => Some(self.deliver_by),
            Status::Delivered => Some(self.check_by),
            _ => None,
        }
    }

    fn is_late(&self, now: u64) -> bool {
        self.due().is_some_and(|due| now > due)
    }
}

/// What the provider has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// All inputs are here and verified.
    pub(crate) inputs: bool,
    /// Every unit has its output.
    pub(crate) outputs: bool,
    /// The first units have theirs, at least one.
    pub(crate) part: bool,
    /// The run cannot succeed: the job's fault, or ours, or the customer cancelled.
    pub(crate) failed: bool,
}

/// The provider's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProviderStep {
    /// Wait for the customer and its inputs.
    AwaitInputs,
    /// Call `lease`.
    Lease,
    /// Call `decline`.
    Decline,
    /// Run what is left of the units.
    Run,
    /// Call `commit`.
    Commit,
    /// Call `commitPartial`: the customer stopped the order, and what is done is the result.
    CommitPart,
    /// Call `deliver`.
    Deliver,
    /// Call `abandon`.
    Abandon,
    /// Wait for the customer's decision or the end of its window.
    AwaitDecision,
    /// Call `settle`: the customer stayed silent.
    Settle,
    /// Withdraw the payout; the order is over.
    TakePayout,
    /// Nothing more can come of it.
    Close,
}

/// How long before the end of the time to commit a provider no longer waits for the unit under way, seconds: a transaction takes about one, and a busy network some
/// more.
const PART_MARGIN_SECONDS: u64 = 30;

/// Whether a provider of an order that was stopped must commit to what it has now, or give it up.
pub(crate) const fn is_cut(stand: &Stand, now: u64) -> bool {
    now.saturating_add(part_margin(stand)) > stand.deliver_by
}

/// The margin, or a quarter of a time to deliver that is too short for it: a stop of an order of half a minute does not end the unit under way at once.
const fn part_margin(stand: &Stand) -> u64 {
    let quarter = stand.deliver_seconds / 4;
    if quarter < PART_MARGIN_SECONDS { quarter } else { PART_MARGIN_SECONDS }
}

/// The provider's rule.
pub(crate) fn provider_step(stand: &Stand, held: Held, now: u64) -> ProviderStep {
    match stand.status {
        Status::Accepted | Status::Settled | Status::Audited => ProviderStep::TakePayout,
        Status::Delivered if stand.is_late(now) => ProviderStep::Settle,
        Status::Delivered => ProviderStep::AwaitDecision,
        Status::Ordered | Status::Leased | Status::Committed if stand.is_late(now) => ProviderStep::Close,
        Status::Ordered if held.failed => ProviderStep::Decline,
        Status::Leased if stand.stopped => stopped_step(stand, held, now),
        // It committed to what it had: a unit that failed is in none of it.
        Status::Committed if stand.stopped => ProviderStep::Deliver,
        Status::Leased | Status::Committed if held.failed => ProviderStep::Abandon,
        Status::Ordered if held.inputs => ProviderStep::Lease,
        Status::Ordered => ProviderStep::AwaitInputs,
        Status::Leased if held.outputs => ProviderStep::Commit,
        Status::Leased => ProviderStep::Run,
        Status::Committed => ProviderStep::Deliver,
        _ => ProviderStep::Close,
    }
}

/// The provider's rule for a leased order that its customer stopped; asked while no unit runs.
const fn stopped_step(stand: &Stand, held: Held, now: u64) -> ProviderStep {
    if held.outputs {
        return ProviderStep::Commit;
    }
    // Also if a later unit failed: those before it are done.
    if held.part {
        return ProviderStep::CommitPart;
    }
    // The contract pays for one unit at least: the first one is finished, if it can be in time.
    if held.failed || is_cut(stand, now) { ProviderStep::Abandon } else { ProviderStep::Run }
}

/// Whether a step of the provider must wait until the window of its audited order is closed: nothing is paid before, and an order that is over
/// leaves units to be opened.
pub(crate) const fn waits_for_window(step: ProviderStep) -> bool {
    matches!(step, ProviderStep::Settle | ProviderStep::TakePayout | ProviderStep::Close)
}

/// What a check found, without its evidence.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Finding {
    /// Every sampled unit is right.
    Right,
    /// The delivery is wrong.
    Wrong,
    /// The check could not be carried out.
    Unknown,
}

/// What the customer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// All outputs are here and have the hashes that were delivered.
    pub(crate) received: bool,
    /// The check's result.
    pub(crate) finding: Option<Finding>,
    /// The provider will not deliver, it said.
    pub(crate) hopeless: bool,
    /// The person wants no more of it than is done.
    pub(crate) stopping: bool,
    /// The provider has not been reached for as long as the customer waits. It counts until the lease only: whoever leased is at work.
    pub(crate) unreachable: bool,
    /// The audit's window, if the order has one.
    pub(crate) window: Window,
    /// What can be done about a result that was found wrong, if the order is audited.
    pub(crate) recourse: Recourse,
}

/// How far the audit of an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Window {
    /// Units are drawn and checked, or there is no window.
    #[default]
    Open,
    /// Over: the market pays what it leaves.
    Closed,
    /// Over: all is refunded.
    Convicted,
}

/// What a customer can do about a wrong result of an audited order, which it cannot reject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recourse {
    /// Nothing, or nothing more: the audit decides.
    #[default]
    None,
    /// Accuse the unit, so that referees run it.
    Accuse,
    /// What was committed did not arrive, or not while it could be accused: reject it as not received.
    Refuse,
}

/// The customer's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CustomerStep {
    /// Talk to the provider until the outputs are here.
    Converse,
    /// The outputs are here; wait until the chain says so too.
    AwaitRecord,
    /// Nothing to say to the provider; wait for its next call or its deadline.
    AwaitEnd,
    /// Call `cancel`.
    Cancel,
    /// Call `stop`.
    Stop,
    /// Call `expire`.
    Expire,
    /// Re-run the sample.
    Check,
    /// Wait for the audit, and do what nobody else does.
    Attend,
    /// Call `challenge` about the unit that was found wrong.
    Accuse,
    /// Call `accept`.
    Accept,
    /// Call `reject`: the result is wrong.
    Reject,
    /// Call `reject`: the window ends and nothing arrived.
    RejectNotReceived,
    /// Leave it: the order settles by itself.
    LeaveOpen,
    /// The order is over.
    Close,
}

/// How long before the end of its window a customer that received nothing gives up, seconds: a transaction takes about one.
pub(crate) const REJECT_MARGIN_SECONDS: u64 = 5;

/// The customer's rule.
pub(crate) fn customer_step(stand: &Stand, known: Known, now: u64) -> CustomerStep {
    let late = stand.is_late(now);
    match stand.status {
        Status::Ordered | Status::Leased | Status::Committed if late => CustomerStep::Expire,
        Status::Ordered if known.hopeless || known.unreachable || known.stopping => CustomerStep::Cancel,
        Status::Leased if known.stopping && !stand.stopped => CustomerStep::Stop,
        // How much of it there is, the provider says on the chain first.
        Status::Leased | Status::Committed if known.hopeless || stand.stopped => CustomerStep::AwaitEnd,
        Status::Leased | Status::Committed if known.received => CustomerStep::AwaitRecord,
        Status::Ordered | Status::Leased | Status::Committed => CustomerStep::Converse,
        Status::Delivered if stand.mode != Mode::Own => audited_step(stand, known, now),
        Status::Delivered => match known.finding {
            Some(Finding::Right) => CustomerStep::Accept,
            Some(Finding::Wrong) if !late => CustomerStep::Reject,
            Some(_) => CustomerStep::LeaveOpen,
            None if known.received => CustomerStep::Check,
            None if late => CustomerStep::LeaveOpen,
            None if now.saturating_add(margin(stand)) > stand.check_by => CustomerStep::RejectNotReceived,
            None => CustomerStep::Converse,
        },
        // Paid while the customer was away: what arrived before is still worth a check.
        Status::Accepted | Status::Settled | Status::Audited if known.received && known.finding.is_none() => {
            CustomerStep::Check
        }
        _ => CustomerStep::Close,
    }
}

/// The customer's rule for an audited order that is delivered: whatever it finds, the audit decides who is paid.
fn audited_step(stand: &Stand, known: Known, now: u64) -> CustomerStep {
    let late = stand.is_late(now);
    // What arrived is checked even if the money comes back anyway: it says whether the files are worth anything.
    if known.received && known.finding.is_none() {
        return CustomerStep::Check;
    }
    match (known.window, known.finding) {
        // Pays nobody.
        (Window::Convicted, _) => CustomerStep::Accept,
        (_, None) if !late && now.saturating_add(margin(stand)) > stand.check_by => CustomerStep::RejectNotReceived,
        (_, None) if !late => CustomerStep::Converse,
        (_, Some(Finding::Wrong)) if known.recourse == Recourse::Refuse && !late => CustomerStep::RejectNotReceived,
        (Window::Open, Some(Finding::Wrong)) if known.recourse == Recourse::Accuse => CustomerStep::Accuse,
        (Window::Open, _) => CustomerStep::Attend,
        (Window::Closed, _) => CustomerStep::Accept,
    }
}

/// The margin, or half of a window that is too short for it: the outputs come by another way than the chain's word that they are there.
pub(crate) fn margin(stand: &Stand) -> u64 {
    REJECT_MARGIN_SECONDS.min(stand.check_seconds / 2)
}

/// What a node says about an order's transaction, which was signed and stored before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Whether the account used its nonce. Asked *before* the receipt: so "used" and "no receipt" mean another transaction.
    pub(crate) nonce_used: bool,
    /// It is in a block; true if it did what it should.
    pub(crate) receipt: Option<bool>,
    /// The node has it, in a block or waiting for one.
    pub(crate) known: bool,
}

/// The next step towards an order's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlacementStep {
    /// It is placed: read the number from the receipt.
    TakeNumber,
    /// The market refused it, for good: no money moved but the fee.
    Refused,
    /// Another transaction has its nonce: it can never be in a block.
    Lost,
    /// It waits for its block.
    Await,
    /// Send it: for the first time, or again.
    Send,
}

/// The rule between an order's signature and its number. It never leads to a second order: the same transaction is sent again until it
/// is in a block, or cannot be any more.
pub(crate) const fn placement_step(sighting: Sighting) -> PlacementStep {
    match sighting {
        Sighting { receipt: Some(true), .. } => PlacementStep::TakeNumber,
        Sighting { receipt: Some(false), .. } => PlacementStep::Refused,
        // It may have come into a block between the two questions.
        Sighting { known: true, .. } => PlacementStep::Await,
        Sighting { nonce_used: true, .. } => PlacementStep::Lost,
        Sighting { .. } => PlacementStep::Send,
    }
}

/// How an order that gave the money back came to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refunded {
    pub(crate) status: Status,
    /// The person stopped it.
    pub(crate) stopped: bool,
    /// The person wants this provider and no other.
    pub(crate) named: bool,
    /// Orders placed so far, this one included.
    pub(crate) attempts: u32,
    pub(crate) attempts_max: u32,
}

/// Whether the job is ordered from another provider. A result that only this machine found wrong ends it: somebody cheated or a machine is
/// broken, which a person should hear of. After a conviction that is known, and paid for.
pub(crate) const fn is_tried_elsewhere(end: Refunded) -> bool {
    let fault = matches!(
        end.status,
        Status::Declined | Status::Cancelled | Status::Expired | Status::Abandoned | Status::Convicted
    );
    fault && !end.stopped && !end.named && end.attempts < end.attempts_max
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn stand(status: Status, due: u64) -> Stand {
        Stand {
            status,
            lease_by: due,
            deliver_by: due,
            check_by: due,
            deliver_seconds: 150,
            check_seconds: 100,
            mode: Mode::Own,
            stopped: false,
        }
    }

    fn provider(status: Status, due: u64, held: Held) -> ProviderStep {
        provider_step(&stand(status, due), held, NOW)
    }

    fn customer(status: Status, due: u64, known: Known) -> CustomerStep {
        customer_step(&stand(status, due), known, NOW)
    }

    const INPUTS: Held = Held { inputs: true, outputs: false, part: false, failed: false };
    const OUTPUTS: Held = Held { inputs: true, outputs: true, part: true, failed: false };
    const FAILED: Held = Held { inputs: true, outputs: false, part: false, failed: true };

    #[test]
    fn an_honest_provider_goes_from_the_order_to_its_payout() {
        assert_eq!(provider(Status::Ordered, NOW, Held::default()), ProviderStep::AwaitInputs);
        assert_eq!(provider(Status::Ordered, NOW, INPUTS), ProviderStep::Lease);
        assert_eq!(provider(Status::Leased, NOW, INPUTS), ProviderStep::Run);
        assert_eq!(provider(Status::Leased, NOW, OUTPUTS), ProviderStep::Commit);
        assert_eq!(provider(Status::Committed, NOW, OUTPUTS), ProviderStep::Deliver);
        assert_eq!(provider(Status::Delivered, NOW, OUTPUTS), ProviderStep::AwaitDecision);
        assert_eq!(provider(Status::Delivered, NOW - 1, OUTPUTS), ProviderStep::Settle);
        assert_eq!(provider(Status::Accepted, 0, OUTPUTS), ProviderStep::TakePayout);
        assert_eq!(provider(Status::Settled, 0, OUTPUTS), ProviderStep::TakePayout);
    }

    #[test]
    fn a_provider_acts_in_the_last_second_of_its_deadline_and_not_after() {
        for (status, held) in [(Status::Ordered, INPUTS), (Status::Leased, OUTPUTS), (Status::Committed, OUTPUTS)] {
            assert_ne!(provider(status, NOW, held), ProviderStep::Close);
            assert_eq!(provider(status, NOW - 1, held), ProviderStep::Close);
        }
    }

    #[test]
    fn a_failed_run_gives_the_money_back_by_whatever_call_the_status_allows() {
        assert_eq!(provider(Status::Ordered, NOW, FAILED), ProviderStep::Decline);
        assert_eq!(provider(Status::Leased, NOW, FAILED), ProviderStep::Abandon);
        assert_eq!(provider(Status::Committed, NOW, FAILED), ProviderStep::Abandon);
        assert_eq!(provider(Status::Delivered, NOW, FAILED), ProviderStep::AwaitDecision);
    }

    #[test]
    fn a_provider_whose_order_was_stopped_commits_to_what_is_done_and_gives_up_only_what_has_no_unit() {
        let at = |status, left, held| provider_step(&Stand { stopped: true, ..stand(status, NOW + left) }, held, NOW);
        let part = Held { part: true, ..INPUTS };
        let (far, near) = (PART_MARGIN_SECONDS, PART_MARGIN_SECONDS - 1);
        let table = [
            (far, INPUTS, ProviderStep::Run),
            (near, INPUTS, ProviderStep::Abandon),
            (far, FAILED, ProviderStep::Abandon),
            (far, part, ProviderStep::CommitPart),
            (0, part, ProviderStep::CommitPart),
            (far, Held { failed: true, ..part }, ProviderStep::CommitPart),
            (far, OUTPUTS, ProviderStep::Commit),
            (0, OUTPUTS, ProviderStep::Commit),
        ];
        for (left, held, step) in table {
            assert_eq!(at(Status::Leased, left, held), step, "{left} {held:?}");
        }
        // Of a short order a quarter is left for the call.
        let short = |left: u64| {
            let stand = Stand { stopped: true, deliver_seconds: 40, ..stand(Status::Leased, NOW + left) };
            provider_step(&stand, INPUTS, NOW)
        };
        assert_eq!([short(10), short(9)], [ProviderStep::Run, ProviderStep::Abandon]);
        assert_eq!(at(Status::Committed, 0, part), ProviderStep::Deliver);
        assert_eq!(at(Status::Committed, 0, Held { failed: true, ..part }), ProviderStep::Deliver);
        assert_eq!(at(Status::Delivered, 0, part), ProviderStep::AwaitDecision);
        assert_eq!(at(Status::Accepted, 0, part), ProviderStep::TakePayout);
        let late = |status| provider_step(&Stand { stopped: true, ..stand(status, NOW - 1) }, part, NOW);
        assert_eq!([late(Status::Leased), late(Status::Committed)], [ProviderStep::Close; 2]);
        assert_eq!(late(Status::Delivered), ProviderStep::Settle);
        // Of an order that nobody stopped a part is nothing yet.
        assert_eq!(provider(Status::Leased, NOW, part), ProviderStep::Run);
    }

    #[test]
    fn a_customer_stops_what_is_leased_and_takes_its_part_by_the_usual_rules() {
        let wish = Known { stopping: true, ..Known::default() };
        let far = NOW + 100;
        assert_eq!(customer(Status::Ordered, far, wish), CustomerStep::Cancel);
        assert_eq!(customer(Status::Leased, far, wish), CustomerStep::Stop);
        assert_eq!(customer(Status::Leased, far, Known { hopeless: true, ..wish }), CustomerStep::Stop);
        assert_eq!(customer(Status::Leased, NOW - 1, wish), CustomerStep::Expire);
        // Too late: every unit is committed to, and the order goes on.
        assert_eq!(customer(Status::Committed, far, wish), CustomerStep::Converse);
        let at = |status, due, known| customer_step(&Stand { stopped: true, ..stand(status, due) }, known, NOW);
        for known in [wish, Known::default()] {
            assert_eq!(at(Status::Leased, far, known), CustomerStep::AwaitEnd);
            assert_eq!(at(Status::Committed, far, known), CustomerStep::AwaitEnd);
            assert_eq!(at(Status::Committed, NOW - 1, known), CustomerStep::Expire);
            assert_eq!(at(Status::Delivered, far, known), CustomerStep::Converse);
            assert_eq!(at(Status::Delivered, NOW - 1, known), CustomerStep::LeaveOpen);
        }
        let found = |finding| Known { received: true, finding: Some(finding), ..wish };
        assert_eq!(at(Status::Delivered, far, Known { received: true, ..wish }), CustomerStep::Check);
        assert_eq!(at(Status::Delivered, far, found(Finding::Right)), CustomerStep::Accept);
        assert_eq!(at(Status::Delivered, far, found(Finding::Wrong)), CustomerStep::Reject);
        assert_eq!(at(Status::Accepted, 0, found(Finding::Right)), CustomerStep::Close);
    }

    #[test]
    fn a_customer_pays_for_what_is_right_and_refuses_what_is_wrong() {
        let with = |finding| Known { received: true, finding, ..Known::default() };
        let far = NOW + 100;
        assert_eq!(customer(Status::Ordered, far, Known::default()), CustomerStep::Converse);
        assert_eq!(customer(Status::Committed, far, with(None)), CustomerStep::AwaitRecord);
        assert_eq!(customer(Status::Delivered, far, with(None)), CustomerStep::Check);
        assert_eq!(customer(Status::Delivered, far, with(Some(Finding::Right))), CustomerStep::Accept);
        assert_eq!(customer(Status::Delivered, far, with(Some(Finding::Wrong))), CustomerStep::Reject);
        assert_eq!(customer(Status::Delivered, far, with(Some(Finding::Unknown))), CustomerStep::LeaveOpen);
        assert_eq!(customer(Status::Delivered, NOW - 1, with(Some(Finding::Wrong))), CustomerStep::LeaveOpen);
        assert_eq!(customer(Status::Delivered, NOW - 1, with(Some(Finding::Right))), CustomerStep::Accept);
    }

    #[test]
    fn a_customer_takes_its_money_back_once_a_deadline_has_passed() {
        for status in [Status::Ordered, Status::Leased, Status::Committed] {
            assert_ne!(customer(status, NOW, Known::default()), CustomerStep::Expire);
            assert_eq!(customer(status, NOW - 1, Known::default()), CustomerStep::Expire);
        }
        let hopeless = Known { hopeless: true, ..Known::default() };
        assert_eq!(customer(Status::Ordered, NOW, hopeless), CustomerStep::Cancel);
        assert_eq!(customer(Status::Leased, NOW, hopeless), CustomerStep::AwaitEnd);
        assert_eq!(customer(Status::Leased, NOW - 1, hopeless), CustomerStep::Expire);
    }

    #[test]
    fn a_delivery_that_never_arrives_is_rejected_shortly_before_the_window_ends() {
        let at = |due| customer(Status::Delivered, due, Known::default());
        assert_eq!(at(NOW + REJECT_MARGIN_SECONDS), CustomerStep::Converse);
        assert_eq!(at(NOW + REJECT_MARGIN_SECONDS - 1), CustomerStep::RejectNotReceived);
        assert_eq!(at(NOW - 1), CustomerStep::LeaveOpen);
        // A window of four seconds, seen in its second and in its third second.
        let short = |due| Stand { check_seconds: 4, ..stand(Status::Delivered, due) };
        assert_eq!(customer_step(&short(NOW + 2), Known::default(), NOW), CustomerStep::Converse);
        assert_eq!(customer_step(&short(NOW + 1), Known::default(), NOW), CustomerStep::RejectNotReceived);
        let shortest = Stand { check_seconds: 1, ..stand(Status::Delivered, NOW) };
        assert_eq!(customer_step(&shortest, Known::default(), NOW), CustomerStep::Converse);
    }

    #[test]
    fn final_statuses_end_both_sides() {
        for status in [Status::Rejected, Status::Expired, Status::Declined, Status::Cancelled, Status::Abandoned] {
            assert_eq!(provider(status, 0, OUTPUTS), ProviderStep::Close);
            assert_eq!(customer(status, 0, Known::default()), CustomerStep::Close);
        }
        assert_eq!(customer(Status::Accepted, 0, Known::default()), CustomerStep::Close);
        assert_eq!(provider(Status::None, 0, OUTPUTS), ProviderStep::Close);
    }

    #[test]
    fn an_order_that_is_over_waits_for_its_window_and_one_under_way_goes_on() {
        for status in [Status::Audited, Status::Convicted, Status::Rejected, Status::Expired] {
            assert!(waits_for_window(provider(status, 0, OUTPUTS)), "{status:?}");
        }
        assert!(waits_for_window(provider(Status::Delivered, NOW - 1, OUTPUTS)), "nothing is settled before it");
        for (status, due) in [(Status::Committed, NOW), (Status::Delivered, NOW)] {
            assert!(!waits_for_window(provider(status, due, OUTPUTS)), "{status:?}");
        }
    }

    #[test]
    fn a_provider_that_cannot_be_reached_loses_the_order_before_the_lease_only() {
        let unreachable = Known { unreachable: true, ..Known::default() };
        assert_eq!(customer(Status::Ordered, NOW, unreachable), CustomerStep::Cancel);
        assert_eq!(customer(Status::Leased, NOW, unreachable), CustomerStep::Converse);
        assert_eq!(customer(Status::Committed, NOW, unreachable), CustomerStep::Converse);
        assert_eq!(customer(Status::Delivered, NOW + 100, unreachable), CustomerStep::Converse);
    }

    #[test]
    fn what_arrived_is_checked_even_if_the_window_ended_meanwhile() {
        let arrived = Known { received: true, ..Known::default() };
        let checked = Known { finding: Some(Finding::Unknown), ..arrived };
        for status in [Status::Settled, Status::Accepted] {
            assert_eq!(customer(status, 0, arrived), CustomerStep::Check);
            assert_eq!(customer(status, 0, checked), CustomerStep::Close);
        }
        assert_eq!(customer(Status::Expired, 0, arrived), CustomerStep::Close, "a refunded result is worth nothing");
    }

    #[test]
    fn the_customer_of_an_audited_order_waits_for_the_audit_whatever_it_found() {
        use CustomerStep::{Accept, Accuse, Attend, Check, Converse, RejectNotReceived};
        let stand = |due| Stand { mode: Mode::Audited, ..stand(Status::Delivered, due) };
        let (soon, far, past) = (NOW + 1, NOW + 100, NOW - 1);
        let known = |finding, window, recourse| Known { received: true, finding, window, recourse, ..Known::default() };
        let (right, wrong, unknown) = (Some(Finding::Right), Some(Finding::Wrong), Some(Finding::Unknown));
        let table = [
            // due, finding, window, recourse: what to do
            (far, None, Window::Open, Recourse::None, Check),
            (past, None, Window::Convicted, Recourse::None, Check),
            (far, right, Window::Open, Recourse::None, Attend),
            (past, right, Window::Open, Recourse::None, Attend),
            (far, unknown, Window::Open, Recourse::None, Attend),
            (far, wrong, Window::Open, Recourse::Accuse, Accuse),
            (past, wrong, Window::Open, Recourse::Accuse, Accuse),
            (far, wrong, Window::Open, Recourse::None, Attend),
            (far, wrong, Window::Open, Recourse::Refuse, RejectNotReceived),
            (past, wrong, Window::Open, Recourse::Refuse, Attend),
            (past, wrong, Window::Closed, Recourse::Refuse, Accept),
            (far, wrong, Window::Convicted, Recourse::Refuse, Accept),
            (far, right, Window::Closed, Recourse::None, Accept),
            (past, unknown, Window::Closed, Recourse::None, Accept),
        ];
        for (due, finding, window, recourse, step) in table {
            let known = known(finding, window, recourse);
            assert_eq!(customer_step(&stand(due), known, NOW), step, "{due} {known:?}");
        }
        let nothing = |window| Known { window, ..Known::default() };
        assert_eq!(customer_step(&stand(far), nothing(Window::Open), NOW), Converse);
        assert_eq!(customer_step(&stand(soon), nothing(Window::Open), NOW), RejectNotReceived);
        assert_eq!(customer_step(&stand(past), nothing(Window::Open), NOW), Attend);
        assert_eq!(customer_step(&stand(past), nothing(Window::Closed), NOW), Accept);
        assert_eq!(customer_step(&stand(far), nothing(Window::Convicted), NOW), Accept);
    }

    /// Every combination of the three facts, written out.
    #[test]
    fn a_stored_transaction_is_sent_again_until_it_is_in_a_block_or_cannot_be() {
        use PlacementStep::{Await, Lost, Refused, Send, TakeNumber};
        let table = [
            // nonce used, receipt, known: what to do
            (false, None, false, Send),
            (false, None, true, Await),
            (true, None, true, Await),
            (true, None, false, Lost),
            (true, Some(true), true, TakeNumber),
            (true, Some(false), true, Refused),
            // The block came between the questions, or another node answered.
            (false, Some(true), true, TakeNumber),
            (false, Some(false), true, Refused),
            (true, Some(true), false, TakeNumber),
            (true, Some(false), false, Refused),
            (false, Some(true), false, TakeNumber),
            (false, Some(false), false, Refused),
        ];
        for (nonce_used, receipt, known, step) in table {
            let sighting = Sighting { nonce_used, receipt, known };
            assert_eq!(placement_step(sighting), step, "{sighting:?}");
        }
    }

    #[test]
    fn a_job_goes_to_another_provider_unless_somebody_said_otherwise() {
        use Status::{Abandoned, Cancelled, Convicted, Declined, Expired, Rejected};
        let first = Refunded { status: Declined, stopped: false, named: false, attempts: 1, attempts_max: 3 };
        for status in [Declined, Cancelled, Expired, Abandoned, Convicted] {
            assert!(is_tried_elsewhere(Refunded { status, ..first }), "{status:?}");
        }
        assert!(!is_tried_elsewhere(Refunded { status: Rejected, ..first }));
        assert!(!is_tried_elsewhere(Refunded { stopped: true, ..first }));
        assert!(!is_tried_elsewhere(Refunded { named: true, ..first }));
        assert!(is_tried_elsewhere(Refunded { attempts: 2, ..first }));
        assert!(!is_tried_elsewhere(Refunded { attempts: 3, ..first }));
    }
}
