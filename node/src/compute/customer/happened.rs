//! What a program is told of an order, in the log of `--events`.
//!
//! # Design
//! What the chain and this machine's files say has come to pass is derived from them anew at each look ([`reached`]), so a process that goes on tells what the
//! one before could not, and the log lets nothing pass twice. What only a conversation shows is told where it is heard.
//!
//! Spec: specs/0011-stream.md §10.

use super::{
    setup::{Buyer, Offer},
    state::{Attempt, Checked},
};
use crate::compute::{
    event_log::{EventLog, Happened, PLANNED, RESUMED},
    lifecycle::Finding,
    market::Order,
    provider_log,
};
use alloy_primitives::{Address, U256};
use keystead_blobs::Note;
use keystead_contracts::storage::Status;
use serde_json::{Value, json};

/// How the command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code.
    pub(super) code: u8,
    /// What went wrong; empty if nothing did.
    pub(super) why: String,
}

/// The job as it is about to be ordered: what begins its part of the log.
pub(super) fn plan(log: &EventLog, buyer: Buyer<'_>) {
    let facts = buyer.prepared.facts(buyer.money);
    log.tell(&Happened { event: PLANNED, provider: None, detail: &buyer.prepared.recipe.title, facts });
}

/// What an order would cost, and at whom.
pub(super) fn price(log: &EventLog, offer: &Offer) {
    let choice = &offer.choice;
    let facts = json!({
        "priceWeiPerUnit": choice.price_wei_per_unit.to_string(),
        "escrowWei": choice.total_wei.to_string(),
        "depositWei": offer.deposit_wei().to_string(),
    });
    log.tell(&Happened { event: "priced", provider: Some(choice.account), detail: "", facts });
}

/// The order has its number.
pub(super) fn ordered(log: &EventLog, order: U256, attempt: &Attempt) {
    let facts = json!({
        "order": order.to_string(),
        "transaction": attempt.hash,
        "units": attempt.units,
        "escrowWei": attempt.escrow_wei().to_string(),
        "depositWei": attempt.deposit_wei().to_string(),
    });
    log.tell_once(&Happened { event: "ordered", provider: Some(attempt.provider), detail: "", facts });
}

/// An order is not placed, and never will be.
pub(super) fn not_ordered(log: &EventLog, attempt: &Attempt, why: &str) {
    let facts = if attempt.is_signed() { json!({"transaction": attempt.hash}) } else { Value::Null };
    log.tell(&Happened { event: "not-ordered", provider: Some(attempt.provider), detail: why, facts });
}

/// A process goes on with the job of another one.
pub(super) fn resumed(log: &EventLog, buyer: Buyer<'_>, attempt: &Attempt) {
    let job = buyer.prepared.spec.hash();
    log.recall(job);
    let facts = json!({"job": job, "order": attempt.order.map(|order| order.to_string())});
    log.tell(&Happened { event: RESUMED, provider: Some(attempt.provider), detail: "", facts });
}

/// Something about an order that has no numbers.
pub(super) fn about<'a>(event: &'a str, (order, provider): (U256, Address), detail: &'a str) -> Happened<'a> {
    Happened { event, provider: Some(provider), detail, facts: json!({"order": order.to_string()}) }
}

/// The provider of an order that it has taken is not heard any more, since then and until its time is over, Unix seconds.
pub(super) fn silent(
    (order, provider): (U256, Address),
    (since_s, deliver_by): (u64, u64),
    detail: &str,
) -> Happened<'_> {
    let facts = json!({"order": order.to_string(), "sinceUnixS": since_s, "deliverByUnixS": deliver_by});
    Happened { event: "silent", provider: Some(provider), detail, facts }
}

/// So much of the work is done.
pub(super) fn progress(
    (order, provider): (U256, Address),
    (done, of): (u64, u64),
    what: &'static str,
) -> Happened<'static> {
    let facts = json!({"order": order.to_string(), "done": done, "of": of});
    Happened { event: "progress", provider: Some(provider), detail: what, facts }
}

/// The provider says something of its side.
pub(super) fn note((order, provider): (U256, Address), note: &Note) -> Happened<'_> {
    let facts = provider_log::facts(note, ("order", order.to_string().into()));
    Happened { event: provider_log::EVENT, provider: Some(provider), detail: note.words(), facts }
}

/// The provider has the whole input.
pub(super) fn input_sent((order, provider): (U256, Address), bytes: u64) -> Happened<'static> {
    let facts = json!({"order": order.to_string(), "bytes": bytes});
    Happened { event: "input-sent", provider: Some(provider), detail: "", facts }
}

/// A unit that was found wrong here is accused before referees, with a bond.
pub(super) fn accused((order, provider): (U256, Address), unit: u32, bond_wei: U256) -> Happened<'static> {
    let facts = json!({"order": order.to_string(), "unit": unit, "bondWei": bond_wei.to_string()});
    Happened { event: "accused", provider: Some(provider), detail: "", facts }
}

/// What has come to pass of an order that is placed, in the order in which it happens.
pub(super) fn reached<'a>(order: &Order, attempt: &'a Attempt) -> Vec<Happened<'a>> {
    let (stand, id) = (&order.stand, order.id.to_string());
    let of = |event, detail, facts| Happened { event, provider: Some(order.provider), detail, facts };
    let mut all = Vec::new();
    if stand.deliver_by != 0 {
        // As it was leased: a stop shortens the time, twice.
        let leased_at = stand.deliver_by.saturating_sub(stand.deliver_seconds);
        let deliver_by = leased_at.saturating_add(u64::from(attempt.deliver_seconds));
        let facts = json!({"order": id, "units": order.units, "deliverByUnixS": deliver_by});
        all.push(of("leased", "", facts));
    }
    if attempt.stopping {
        all.push(of("stopping", "", json!({"order": id})));
    }
    if stand.stopped {
        all.push(of("stopped", "", json!({"order": id})));
    }
    if !order.commitment.is_zero() {
        let facts =
            json!({"order": id, "commitment": order.commitment, "units": order.committed_units(), "of": order.units});
        all.push(of("committed", "", facts));
    }
    if let Some(received) = &attempt.received {
        let facts =
            json!({"order": id, "units": received.units.unwrap_or(attempt.units), "resultRoot": received.result_root});
        all.push(of("output-arrived", "", facts));
    }
    if stand.check_by != 0 {
        let facts = json!({"order": id, "resultRoot": order.result_root, "checkByUnixS": stand.check_by});
        all.push(of("delivered", "", facts));
    }
    if let Some(checked) = &attempt.checked {
        let doubt = attempt.why.as_deref().filter(|_| checked.finding != Finding::Right);
        all.push(of("checked", doubt.unwrap_or_default(), check(&id, checked)));
    }
    all
}

/// What this machine's own check found.
fn check(order: &str, checked: &Checked) -> Value {
    let finding = match checked.finding {
        Finding::Right => "right",
        Finding::Wrong => "wrong",
        Finding::Unknown => "unknown",
    };
    json!({
        "order": order,
        "finding": finding,
        "units": checked.units,
        "sampled": checked.sampled,
        "right": checked.right,
        "wrongUnit": checked.wrong.map(|wrong| wrong.unit),
    })
}

/// How an order ended, and where its money went; nothing while it is open.
pub(super) fn over<'a>(order: &Order, why: &'a str) -> Vec<Happened<'a>> {
    let status = order.status();
    let Some(event) = end(status) else { return Vec::new() };
    let id = order.id.to_string();
    let of = |event, detail, facts| Happened { event, provider: Some(order.provider), detail, facts };
    let paid_wei = if status.is_paid() { order.paid_wei() } else { U256::ZERO };
    let back_wei = order.escrow_wei.saturating_sub(paid_wei);
    let mut all = vec![of(event, if status.is_paid() { "" } else { why }, json!({"order": id}))];
    for (event, wei) in [("paid", paid_wei), ("refunded", back_wei)] {
        if !wei.is_zero() {
            all.push(of(event, "", json!({"order": id, "wei": wei.to_string()})));
        }
    }
    all
}

/// The name of an end.
const fn end(status: Status) -> Option<&'static str> {
    Some(match status {
        Status::Accepted => "accepted",
        Status::Settled => "settled",
        Status::Audited => "audited",
        Status::Rejected => "rejected",
        Status::Expired => "expired",
        Status::Declined => "declined",
        Status::Cancelled => "cancelled",
        Status::Abandoned => "abandoned",
        Status::Convicted => "convicted",
        Status::None | Status::Ordered | Status::Leased | Status::Committed | Status::Delivered => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{
        super::state::{Received, tests::state},
        *,
    };
    use crate::compute::{lifecycle::Stand, market};
    use alloy_primitives::B256;
    use keystead_audit::{Report, Verdict};
    use keystead_contracts::storage::Mode;

    fn names(all: &[Happened<'_>]) -> Vec<String> {
        all.iter().map(|happened| happened.event.to_owned()).collect()
    }

    fn facts<'a>(all: &'a [Happened<'_>], event: &str) -> &'a Value {
        &all.iter().find(|happened| happened.event == event).unwrap().facts
    }

    #[test]
    fn an_order_tells_each_step_once_it_is_reached_and_with_its_numbers() {
        let placed = market::tests::order(Status::Ordered, Mode::Own);
        let mut attempt = state().attempt;
        assert!(reached(&placed, &attempt).is_empty());
        attempt.deliver_seconds = 30;
        let stand = Stand { status: Status::Leased, deliver_by: 99, deliver_seconds: 30, ..placed.stand };
        let leased = Order { stand, ..placed };
        assert_eq!(names(&reached(&leased, &attempt)), ["leased"]);
        assert_eq!(facts(&reached(&leased, &attempt), "leased")["deliverByUnixS"], 99);
        attempt.stopping = true;
        // A stop gives it less time, and so does what it commits to: it is leased once all the same.
        let short = Stand { deliver_by: 89, deliver_seconds: 20, ..leased.stand };
        let stand = Stand { status: Status::Delivered, check_by: 120, stopped: true, ..short };
        let (commitment, result_root) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let part = Order { stand, commitment, result_root, done_units: 4, ..leased };
        attempt.received = Some(Received { secret: B256::ZERO, result_root, units: Some(4) });
        let report = Report { verdict: Verdict::Accepted, unit_count: 4, sampled: 3, right: 3, rate_ppm: 30_000 };
        attempt.checked = Some(Checked::new(Finding::Right, &report, None, Vec::new()));
        attempt.why = Some("you stopped it".to_owned());
        let all = reached(&part, &attempt);
        let expected = ["leased", "stopping", "stopped", "committed", "output-arrived", "delivered", "checked"];
        assert_eq!(names(&all), expected);
        assert_eq!(facts(&all, "leased"), &json!({"order": "7", "units": 10, "deliverByUnixS": 99}));
        assert_eq!(facts(&all, "committed"), &json!({"order": "7", "commitment": commitment, "units": 4, "of": 10}));
        assert_eq!(facts(&all, "output-arrived"), &json!({"order": "7", "units": 4, "resultRoot": result_root}));
        let checked =
            json!({"order": "7", "finding": "right", "units": 4, "sampled": 3, "right": 3, "wrongUnit": null});
        assert_eq!(facts(&all, "checked"), &checked);
        assert!(all.iter().all(|happened| happened.provider == Some(part.provider)));
    }

    #[test]
    fn every_end_says_where_each_wei_went() {
        let money = |order: &Order| -> Vec<(String, String)> {
            let all = over(order, "it broke");
            assert_eq!(all.first().unwrap().facts, json!({"order": "7"}));
            let wei = |happened: &Happened<'_>| happened.facts["wei"].as_str().unwrap().to_owned();
            all.iter().skip(1).map(|happened| (happened.event.to_owned(), wei(happened))).collect()
        };
        let said = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(event, wei)| ((*event).to_owned(), (*wei).to_owned())).collect()
        };
        let of = |status| market::tests::order(status, Mode::Own);
        assert!(over(&of(Status::Delivered), "").is_empty());
        for (status, name) in [(Status::Accepted, "accepted"), (Status::Settled, "settled")] {
            assert_eq!(over(&of(status), "").first().unwrap().event, name);
            assert_eq!(money(&of(status)), said(&[("paid", "100")]));
        }
        for (status, name) in [
            (Status::Rejected, "rejected"),
            (Status::Expired, "expired"),
            (Status::Declined, "declined"),
            (Status::Cancelled, "cancelled"),
            (Status::Abandoned, "abandoned"),
            (Status::Convicted, "convicted"),
        ] {
            let all = over(&of(status), "it broke");
            assert_eq!((all.first().unwrap().event, all.first().unwrap().detail), (name, "it broke"));
            assert_eq!(money(&of(status)), said(&[("refunded", "100")]));
        }
        let plain = of(Status::Accepted);
        let part = Order { stand: Stand { stopped: true, ..plain.stand }, done_units: 4, paid_units: 4, ..plain };
        assert_eq!(money(&part), said(&[("paid", "40"), ("refunded", "60")]));
        let audited = Order { paid_units: 9, ..market::tests::order(Status::Audited, Mode::Audited) };
        assert_eq!(money(&audited), said(&[("paid", "90"), ("refunded", "10")]));
    }
}
