//! The end of an order: the person gets the files, the money, the proof, and a sentence.
//!
//! Every step can be done twice, and the state goes last: a process that was killed on the way is followed by one that does the rest.

use super::{
    audit::{
        canary::Canary,
        outcome::{Assurance, Outcome, assurance},
    },
    folder::{Folder, Standing},
    follow::End,
    happened::{self, Ended},
    result,
    setup::{Buyer, EXIT_ACCEPTED, EXIT_REFUSED, EXIT_UNDECIDED, take_from_audit, take_from_market, take_refund},
    state::{Attempt, Checked, State},
};
use crate::compute::{
    amount::{counted, duration, kst},
    event_log::{EventLog, Happened},
    lifecycle::Finding,
    market::Order,
    windows::{Drawn, window_of},
};
use alloy_primitives::U256;
use eyre::{Context as _, Report, Result};
use keystead_audit::detection;
use keystead_contracts::storage::{Mode, Status};
use keystead_job::{Class, JobSpec};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Instant};

const RECORD_FILE: &str = "job.json";
const CERTIFICATE_FILE: &str = "certificate.json";
/// Why a result that the customer's own sample found right does not count.
const DOUBTED: &str = "the checkers that you named found a unit wrong, or outside the tolerance";

/// What the last order of a job comes to.
pub(super) struct Conclusion<'a> {
    pub(super) buyer: Buyer<'a>,
    pub(super) folder: &'a Folder,
    pub(super) log: &'a EventLog,
    pub(super) state: &'a State,
    pub(super) end: &'a End,
    pub(super) begin: Instant,
    /// Why no further provider was asked, if that is not plain.
    pub(super) note: Option<String>,
}

impl Conclusion<'_> {
    /// Writes the folder, takes a refund home, tells the person, and says the exit code.
    pub(super) async fn conclude(&self) -> Result<Ended> {
        let order = &self.end.order;
        let status = order.status();
        // An order that was never committed to has no window.
        let is_audited = order.stand.mode != Mode::Own && !order.commitment.is_zero();
        let window =
            if is_audited { Some(self.buyer.market.windows().drawn(window_of(order.id)).await?) } else { None };
        let assurance = assurance(order, window.as_ref());
        let audit = self.outcome(window.as_ref()).map_or(Value::Null, |outcome| outcome.json(assurance));
        result::record(&self.folder.path(RECORD_FILE), self.buyer, order, self.state, &audit)?;
        happened::over(order, self.why()).iter().for_each(|happened| self.log.tell_once(happened));
        if status.is_paid() {
            self.paid(assurance, window.as_ref()).await?;
        } else if status.is_refunded() {
            self.refunded(assurance, window.as_ref()).await?;
        } else {
            return self.open();
        }
        if result::has_certificates(self.buyer.market.account.client()).await {
            let certificate = self.folder.path(CERTIFICATE_FILE);
            let own = result::Own::of(&self.buyer.prepared.spec, self.state);
            result::certificate(&certificate, self.buyer.market, order, self.end.block, own).await?;
            self.tell_certificate().await;
        } else {
            self.say(&format!("No certificate: {}.", result::UNSIGNED));
            self.tell("no-certificate", result::UNSIGNED, json!({"order": order.id.to_string()}));
        }
        // Last, so that whoever is killed before it can still read all of the above.
        self.folder.finish()?;
        Ok(self.ended(match exit_code(status, self.finding(), assurance) {
            // Not what was ordered, by the person's own wish.
            EXIT_ACCEPTED if order.is_part() => EXIT_REFUSED,
            code => code,
        }))
    }

    /// For a person.
    fn say(&self, line: &str) {
        self.log.answer(line);
    }

    /// For a program.
    fn tell(&self, event: &str, detail: &str, facts: Value) {
        self.log.tell_once(&Happened { event, provider: Some(self.end.order.provider), detail, facts });
    }

    fn ended(&self, code: u8) -> Ended {
        let reason = reason(code, self.state, &self.end.order);
        let why = match (code, &self.note) {
            (EXIT_ACCEPTED, _) => String::new(),
            (_, Some(note)) => format!("{reason}; no further provider: {note}"),
            (_, None) => reason,
        };
        Ended { code, why }
    }

    fn outcome<'a>(&'a self, window: Option<&'a Drawn>) -> Option<Outcome<'a>> {
        let terms = self.state.attempt.audit.as_ref()?;
        Some(Outcome { drawn: window?, terms, segments: self.buyer.prepared.spec.segment_count })
    }

    const fn checked(&self) -> Option<&Checked> {
        self.state.attempt.checked.as_ref()
    }

    fn finding(&self) -> Option<Finding> {
        self.checked().map(|checked| checked.finding)
    }

    /// Hands over what may be handed over: never a wrong result.
    fn publish(&self, assurance: Assurance) -> Result<Vec<PathBuf>> {
        match self.checked() {
            // Whom the customer trusts contradicts the sample: at least one unit is not what was ordered.
            Some(Checked { finding: Finding::Right, files, .. }) if assurance == Assurance::Doubted => {
                self.folder.publish(files, Standing::Unchecked)
            }
            Some(Checked { finding: Finding::Right, files, .. }) => self.folder.publish(files, Standing::Right),
            // What this machine cannot run, others did.
            Some(Checked { finding: Finding::Unknown, files, .. }) if assurance == Assurance::Verified => {
                self.folder.publish(files, Standing::Right)
            }
            Some(Checked { finding: Finding::Unknown, files, .. }) => self.folder.publish(files, Standing::Unchecked),
            Some(Checked { finding: Finding::Wrong, .. }) | None => Ok(Vec::new()),
        }
    }

    async fn paid(&self, assurance: Assurance, window: Option<&Drawn>) -> Result<()> {
        let End { order, .. } = self.end;
        let published = self.publish(assurance)?;
        let status = result::status_name(order.status());
        self.say(&beginning(order, &duration(self.begin.elapsed()), &status));
        if let Some(checked) = self.checked() {
            self.say(&format!("  check    {}", sentence(&self.buyer.prepared.spec, checked)));
        }
        match self.outcome(window) {
            Some(outcome) => self.say(&format!("  audit    {}", outcome.sentence(assurance))),
            None => self.say(&format!("  audit    {}", unaudited(&self.state.attempt))),
        }
        if let Some(canary) = self.state.attempt.canary {
            let told = window.and_then(|drawn| drawn.window.canary_unit);
            let is_kept = !published.is_empty() && !order.is_part();
            self.say(&format!("  canary   {}", canary_words(&canary, order, told, is_kept)));
        }
        self.say(&format!("  paid     {} to {}", self.buyer.money.show(order.paid_wei()), order.provider));
        let rest_wei = order.escrow_wei.saturating_sub(order.paid_wei());
        if !rest_wei.is_zero() {
            let owed = take_from_market(self.buyer.market, order.currency).await?;
            self.tell_refund(rest_wei, owed);
        }
        self.tell_deposit().await?;
        let what = if order.is_part() { "outputs " } else { "result  " };
        for path in &published {
            self.say(&format!("  {what} {}", path.display()));
        }
        if order.is_part() && !published.is_empty() {
            self.say(&part_words(order));
        }
        match self.finding() {
            Some(Finding::Right) if assurance == Assurance::Doubted => {
                self.say("  Your own sample is right, and whom you named found a unit wrong, or outside the tolerance: that is why the result stands apart.")
            }
            Some(Finding::Right) => {}
            Some(Finding::Unknown) if assurance == Assurance::Verified => {
                self.say("  This machine could not check the result itself; the drawn machines did.")
            }
            Some(Finding::Unknown) => {
                self.say("  The result could not be checked on this machine: that is why it stands apart.")
            }
            Some(Finding::Wrong) => {
                self.say(
                    "  The result is wrong, as far as this machine can tell, and it is paid all the same: it is not kept.",
                );
                self.say(&format!("  {}.", self.why()));
            }
            None => self.say("  The outputs had not arrived when the check window ended: the market pays for silence."),
        }
        Ok(())
    }

    /// What came back from the market, or why it did not.
    fn tell_refund(&self, amount: U256, owed: Option<Report>) {
        let (amount, account) = (self.buyer.money.show(amount), self.buyer.market.account.address());
        match owed {
            None => self.say(&format!("  refunded {amount} to {account}")),
            Some(reason) => self.say(&format!(
                "  refunded nothing yet: the token does not let {amount} out now ({reason:#}). The market owes it to {account}: it comes with the \
                 next refund in this token"
            )),
        }
    }

    /// What of the deposit for checks came back; nothing if there was none.
    async fn tell_deposit(&self) -> Result<()> {
        let Some(terms) = &self.state.attempt.audit else { return Ok(()) };
        let taken_wei = take_from_audit(self.buyer.market).await?;
        let (taken, deposit) = (kst(taken_wei), kst(terms.deposit_wei));
        self.say(&format!("  deposit  {taken} came back from the audit; {deposit} had been paid for checks"));
        Ok(())
    }

    async fn refunded(&self, assurance: Assurance, window: Option<&Drawn>) -> Result<()> {
        let End { order, .. } = self.end;
        let owed = take_refund(self.buyer.market, order.currency).await?;
        self.say(&format!(
            "Order {} is {}: {}.",
            order.id,
            result::status_name(order.status()),
            why(self.state, order.status())
        ));
        if let Some(outcome) = self.outcome(window).filter(|_| assurance == Assurance::Convicted) {
            self.say(&format!("  audit    {}", outcome.sentence(assurance)));
        }
        if let (Some(canary), Some(drawn)) = (self.state.attempt.canary, window) {
            self.say(&format!("  canary   {}", canary_words(&canary, order, drawn.window.canary_unit, false)));
        }
        self.tell_refund(order.escrow_wei, owed);
        if assurance == Assurance::Pending && window.is_some() {
            self.say(
                "  The window of its audit goes on; what its checks do not cost comes back with the next order of this account.",
            );
        }
        if !self.state.failed.is_empty() {
            self.say("Providers that were tried:");
            for failed in &self.state.failed {
                self.say(&format!(
                    "  {}: order {} is {}: {}",
                    failed.provider, failed.order, failed.status, failed.why
                ));
            }
            let (status, why) = (result::status_name(order.status()), why(self.state, order.status()));
            self.say(&format!("  {}: order {} is {status}: {why}", order.provider, order.id));
        }
        if let Some(note) = &self.note {
            self.say(&format!("No further provider: {note}."));
        }
        Ok(())
    }

    /// The order stays as it is: delivered, and not decided by us.
    fn open(&self) -> Result<Ended> {
        let id = self.end.order.id;
        if self.finding() == Some(Finding::Wrong) {
            self.say(&format!("Order {id} is delivered and wrong, but the check window has ended: {}.", self.why()));
            self.say("  The market pays the provider for silence. The result is not kept.");
            self.folder.finish()?;
            return Ok(self.ended(EXIT_REFUSED));
        }
        if self.finding().is_none() {
            self.say(&format!(
                "Order {id} is delivered, but the outputs did not arrive before the check window ended: {}.",
                self.why()
            ));
            self.folder.finish()?;
            return Ok(self.ended(EXIT_UNDECIDED));
        }
        let published = self.publish(Assurance::Customer).wrap_err("cannot hand over the unchecked files")?;
        self.say(&format!("Order {id} is delivered, but this machine could not check it: {}.", self.why()));
        for path in published {
            self.say(&format!("  unchecked {}", path.display()));
        }
        self.say(
            "  It was neither accepted nor rejected; unless you reject it, the provider is paid at the end of the check window.",
        );
        self.say("  Run the same command again to check once more.");
        Ok(self.ended(EXIT_UNDECIDED))
    }

    fn why(&self) -> &str {
        why(self.state, self.end.order.status())
    }

    /// The next step: how anybody can check the certificate.
    async fn tell_certificate(&self) {
        let path = self.folder.path(CERTIFICATE_FILE);
        self.say(&format!("  proof    {}", path.display()));
        let lines = result::how_to_check(self.buyer.market.account.client(), &path).await;
        lines.iter().for_each(|line| self.say(line));
        let facts = json!({"order": self.end.order.id.to_string(), "path": path.display().to_string()});
        self.tell("certificate", "", facts);
    }
}

/// What others than its customer checked of an order without an audit. Its certificate knows nothing of privacy: the chain has no place for it.
const fn unaudited(attempt: &Attempt) -> &'static str {
    if attempt.private {
        return "none, UNVERIFIED (private): you named no checkers, so nobody but you checked it";
    }
    "none: checked by you, not by anybody else; for everybody else it is unverified"
}

/// How an order that is paid came to its end.
fn beginning(order: &Order, took: &str, status: &str) -> String {
    if order.is_part() {
        let (done, units) = (order.committed_units(), counted(order.units.into(), "unit"));
        return format!("Stopped after {took} with {done} of {units} done: order {} is {status}.", order.id);
    }
    format!("Done in {took}: order {} is {status}.", order.id)
}

/// What there is of a part, and what is not.
fn part_words(order: &Order) -> String {
    let units = match order.committed_units().saturating_sub(1) {
        0 => "unit 0".to_owned(),
        last => format!("units 0 to {last}"),
    };
    format!(
        "  This is the output of {units} as it was delivered. A recipe makes its files of all units, so there are none of a part."
    )
}

/// What became of an order's canary; of a part it may not be one.
fn canary_words(canary: &Canary, order: &Order, told: Option<u32>, is_kept: bool) -> String {
    let (unit, done) = (canary.unit, order.committed_units());
    if unit >= done {
        return format!(
            "none: unit {unit} was to be wrong on purpose, and is not among the {} that were done",
            counted(done.into(), "unit")
        );
    }
    canary.sentence(told, is_kept)
}

/// What went wrong with the newest order.
pub(super) fn why(state: &State, status: Status) -> &str {
    let known = match status {
        Status::Declined => "the provider does not want it",
        Status::Abandoned => "the provider gave up",
        Status::Expired => "the provider missed its deadline",
        Status::Cancelled => "it was cancelled",
        Status::Convicted => "the audit found a unit wrong",
        _ => "no reason is known",
    };
    state.attempt.why.as_deref().unwrap_or(known)
}

/// Why a command does not end well, also where nothing went wrong: the person stopped it, or nothing was heard.
fn reason(code: u8, state: &State, order: &Order) -> String {
    let finding = state.attempt.checked.as_ref().map(|checked| checked.finding);
    match (code, finding) {
        (EXIT_REFUSED, Some(Finding::Right | Finding::Unknown)) if order.status().is_paid() && order.is_part() => {
            format!("it was stopped with {} of {} done", order.committed_units(), counted(order.units.into(), "unit"))
        }
        (EXIT_UNDECIDED, Some(Finding::Right)) => DOUBTED.to_owned(),
        (EXIT_UNDECIDED, None) if state.attempt.why.is_none() => {
            "the outputs had not arrived when the check window ended".to_owned()
        }
        _ => why(state, order.status()).to_owned(),
    }
}

/// An order that is over: the check decides, also where the provider was paid before we answered.
const fn exit_code(status: Status, finding: Option<Finding>, assurance: Assurance) -> u8 {
    match (status.is_paid(), finding) {
        (true, Some(Finding::Right)) if matches!(assurance, Assurance::Doubted) => EXIT_UNDECIDED,
        (true, Some(Finding::Right)) => EXIT_ACCEPTED,
        (true, Some(Finding::Unknown)) if matches!(assurance, Assurance::Verified) => EXIT_ACCEPTED,
        (true, Some(Finding::Unknown) | None) => EXIT_UNDECIDED,
        _ => EXIT_REFUSED,
    }
}

/// What was checked and what that is worth, in words.
fn sentence(spec: &JobSpec, checked: &Checked) -> String {
    let Checked { units, sampled, right, .. } = *checked;
    if spec.class == Class::SelfChecking {
        let looked = if sampled == units { "all".to_owned() } else { sampled.to_string() };
        return format!(
            "{right} of {units} units pass the job's own checker program, which looked at {looked} of them here"
        );
    }
    let part = if spec.segment_count == 1 { "run again here" } else { "of which one segment was run again here" };
    let equal = if spec.class == Class::Tolerance { "agree within the job's tolerance" } else { "are equal" };
    // A unit that is wrong in one segment only is found when that one is drawn.
    let chance = detection::probability(units, 1, sampled) / f64::from(spec.segment_count);
    let wrong = if spec.segment_count == 1 { "unit" } else { "segment" };
    format!(
        "{right} of {sampled} units {part} {equal} ({units} in all; one wrong {wrong} would be found with {:.1} %)",
        chance * 100.0
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_part_is_called_one_and_says_which_units_it_has() {
        use crate::compute::{lifecycle::Stand, market};
        let whole = market::tests::order(Status::Accepted, Mode::Own);
        let stand = Stand { stopped: true, ..whole.stand };
        let part = Order { stand, done_units: 4, paid_units: 4, ..whole };
        let said = |order: &Order| beginning(order, "2 s", "accepted");
        assert_eq!(said(&whole), "Done in 2 s: order 7 is accepted.");
        assert_eq!(said(&part), "Stopped after 2 s with 4 of 10 units done: order 7 is accepted.");
        assert_eq!(said(&Order { done_units: 0, ..part }), said(&whole), "all of it was done");
        assert!(part_words(&part).contains("output of units 0 to 3 "));
        assert!(part_words(&Order { done_units: 1, ..part }).contains("output of unit 0 "));
    }

    #[test]
    fn whoever_wanted_privacy_reads_that_its_result_is_unverified_since_it_named_nobody() {
        let attempt = crate::compute::customer::state::tests::state().attempt;
        assert!(unaudited(&attempt).ends_with("for everybody else it is unverified"));
        let said = unaudited(&Attempt { private: true, ..attempt });
        assert!(said.contains("UNVERIFIED (private)") && said.contains("named no checkers"), "{said}");
    }

    #[test]
    fn a_program_is_told_why_also_where_nothing_went_wrong() {
        use crate::compute::{customer::state::tests::state, lifecycle::Stand, market};
        use keystead_audit::{Report, Verdict};
        let whole = market::tests::order(Status::Accepted, Mode::Own);
        let stand = Stand { stopped: true, ..whole.stand };
        let part = Order { stand, done_units: 4, paid_units: 4, ..whole };
        let mut state = state();
        assert_eq!(reason(EXIT_UNDECIDED, &state, &whole), "the outputs had not arrived when the check window ended");
        state.attempt.why = Some("not reached".to_owned());
        assert_eq!(reason(EXIT_UNDECIDED, &state, &whole), "not reached");
        // The check passed, and has no reason of its own.
        let report = Report { verdict: Verdict::Accepted, unit_count: 4, sampled: 4, right: 4, rate_ppm: 30_000 };
        state.attempt.checked = Some(Checked::new(Finding::Right, &report, None, Vec::new()));
        state.attempt.why = None;
        assert_eq!(reason(EXIT_REFUSED, &state, &part), "it was stopped with 4 of 10 units done");
        state.attempt.checked = Some(Checked { finding: Finding::Wrong, ..state.attempt.checked.unwrap() });
        state.attempt.why = Some("unit 3 is wrong".to_owned());
        assert_eq!(reason(EXIT_REFUSED, &state, &part), "unit 3 is wrong");
    }

    #[test]
    fn a_canary_behind_the_part_is_none_and_nobody_is_blamed_for_it() {
        use crate::compute::{customer::audit::canary::tests::CANARY, market};
        let whole = market::tests::order(Status::Audited, Mode::Audited);
        let canary = Canary { delivered: Some(false), ..CANARY };
        let said = |done_units| canary_words(&canary, &Order { done_units, ..whole.clone() }, None, false);
        let behind = "none: unit 3 was to be wrong on purpose, and is not among the 3 units that were done";
        assert_eq!(said(3), behind);
        for done_units in [4, 0] {
            assert_eq!(said(done_units), canary.sentence(None, false), "{done_units}");
        }
    }

    #[test]
    fn the_exit_code_follows_the_check_and_not_only_the_money() {
        let table = [
            (Status::Accepted, Some(Finding::Right), EXIT_ACCEPTED),
            (Status::Settled, Some(Finding::Right), EXIT_ACCEPTED),
            (Status::Settled, Some(Finding::Wrong), EXIT_REFUSED),
            (Status::Settled, Some(Finding::Unknown), EXIT_UNDECIDED),
            (Status::Settled, None, EXIT_UNDECIDED),
            (Status::Rejected, Some(Finding::Wrong), EXIT_REFUSED),
            (Status::Expired, None, EXIT_REFUSED),
            // Checked, and refunded all the same: not a paid result.
            (Status::Abandoned, Some(Finding::Right), EXIT_REFUSED),
            (Status::Declined, None, EXIT_REFUSED),
            (Status::Cancelled, None, EXIT_REFUSED),
            (Status::Convicted, Some(Finding::Right), EXIT_REFUSED),
        ];
        for (status, finding, code) in table {
            assert_eq!(exit_code(status, finding, Assurance::Customer), code, "{status:?} {finding:?}");
        }
        let audited = |finding, assurance| exit_code(Status::Audited, finding, assurance);
        assert_eq!(audited(Some(Finding::Right), Assurance::Unchecked), EXIT_ACCEPTED);
        assert_eq!(audited(Some(Finding::Right), Assurance::Private), EXIT_ACCEPTED);
        assert_eq!(audited(Some(Finding::Right), Assurance::Doubted), EXIT_UNDECIDED);
        assert_eq!(audited(Some(Finding::Wrong), Assurance::Doubted), EXIT_REFUSED);
        assert_eq!(audited(Some(Finding::Unknown), Assurance::Verified), EXIT_ACCEPTED);
        assert_eq!(audited(Some(Finding::Unknown), Assurance::Unchecked), EXIT_UNDECIDED);
        assert_eq!(audited(Some(Finding::Wrong), Assurance::Verified), EXIT_REFUSED);
    }
}
