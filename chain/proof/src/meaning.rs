//! What a proved order means for whoever wants to rely on its result, in sentences that claim no more than is proved.
//!
//! # Invariants
//! *UNVERIFIED* stands in the lines about every result that no machine drawn by lot found right: of a private order, of one that only its
//! customer checked, of a class for which there is no check, and of an audit in which nobody checked. What the chain does not hold is
//! introduced by *the customer says*.
//!
//! Spec: specs/0002-proof-bundle.md §11. The same sentences are made in `web/src/proof/meaning.ts`.

use crate::{
    audit::{Audit, WindowStatus, window_id},
    certificate::{CustomerStatement, Job, OwnCheck, OwnFinding},
    claim::{Claim, Statement},
    market::{Order, OrderMode, OrderStatus},
};
use alloy_primitives::{Address, U256};

/// Share of the seats that is taken to call anything right: a third, parts per million, rounded up.
const COLLUDING_PPM: u64 = 333_334;
const PPM: u64 = 1_000_000;
const WEI_PER_KST: u64 = 1_000_000_000_000_000_000;

/// The customer's part of a result certificate.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) job: Job,
    /// Whom the customer of a private order named; nobody if the file does not tell.
    pub(crate) named: Vec<Address>,
    pub(crate) statement: CustomerStatement,
}

/// The sentences, without full stops; none for claims that are not about an order that exists.
pub(crate) fn meaning(claim: &Claim, beside: Option<&Beside>) -> Vec<String> {
    let (order, audit) = match &claim.statement {
        Statement::JobResult { order, .. } => (order, None),
        Statement::JobAudit { order, audit, .. } => (order, Some(audit.as_ref())),
        _ => return Vec::new(),
    };
    if order.status == OrderStatus::None {
        return Vec::new();
    }
    let class = beside.map(|beside| beside.job.class).or_else(|| audit.map(Audit::class)).unwrap_or_default();
    let outliers = beside.map(|beside| beside.job.outliers_ppm);
    let mut lines: Vec<String> = class_line(class, outliers).into_iter().chain(part_line(order)).collect();
    match audit {
        Some(audit) if audit.status() != WindowStatus::None => {
            let named = beside.map(|beside| beside.named.as_slice()).unwrap_or_default();
            lines.extend(audit_lines(order, audit, named));
        }
        Some(_) => lines.push("nothing was committed, so nothing was checked".to_owned()),
        None if order.mode != OrderMode::Own => {
            lines.push("this bundle does not show the audit: ask for one of kind job-audit".to_owned());
        }
        None if order.result_root.is_zero() => lines.push("nothing was delivered, so nothing was checked".to_owned()),
        None => lines.push("UNVERIFIED for anybody but its customer: nobody else checked it".to_owned()),
    }
    lines.extend(beside.map(|Beside { job, statement, .. }| {
        let part = if job.segments == 1 { "" } else { "a segment of " };
        statement_line(*statement, part, &format!("{} units", order.committed_units()))
    }));
    lines.push(end_line(order, audit, claim.block));
    lines
}

/// Of an order that was stopped before all of it was done.
fn part_line(order: &Order) -> Option<String> {
    let (done, units) = (order.committed_units(), order.units);
    let is_part = order.stopped && !order.result_root.is_zero() && done < units;
    is_part.then(|| format!("the customer stopped the order: its result is the first {done} of {units} units"))
}

/// `outliers`: elements that may lie outside of a tolerance, parts per million, if the job is known.
pub(crate) fn class_line(class: u32, outliers: Option<u32>) -> Option<String> {
    Some(match (class, outliers) {
        (1, _) => "class exact: every machine gives the same bytes, or one is wrong".to_owned(),
        (2, _) => "class self-checking: the job's own checker program tells right from wrong".to_owned(),
        (3, None) => {
            "class tolerance: right means within the tolerance that was ordered; the share of elements that the job \
             declares may lie outside"
                .to_owned()
        }
        (3, Some(0)) => {
            "class tolerance: right means that all elements lie within the tolerance that was ordered".to_owned()
        }
        (3, Some(ppm)) => format!(
            "class tolerance: right means within the tolerance that was ordered; up to {} of the elements of each \
             output may lie outside",
            percent(ppm.into())
        ),
        (4, _) => "class statistical: UNVERIFIED, there is no check for such a result".to_owned(),
        (5, _) => "class opaque: UNVERIFIED, there is no check for such a result".to_owned(),
        _ => return None,
    })
}

fn audit_lines(order: &Order, audit: &Audit, named: &[Address]) -> Vec<String> {
    let (units, verified, drawn) = (audit.units(), audit.verified(), audit.drawn(window_id(order.number)));
    let mut lines = Vec::new();
    let (machines, canary) = (machines(audit.checkers()), audit.canary_unit().checked_sub(1));
    let beside = if canary.is_some() { " beside the canary" } else { "" };
    if order.mode == OrderMode::Private {
        lines.push(format!(
            "UNVERIFIED (private): only the checkers that its customer named saw it; they found {verified} of {units} units right"
        ));
        lines.extend(named_line(named));
    } else if audit.is_convicted() {
        lines.push("a unit was found wrong: the provider is convicted, and no unit of it is paid".to_owned());
    } else if audit.status() == WindowStatus::Open {
        lines.push(format!("the audit goes on: {verified} units were found right so far"));
    } else if verified == 0 {
        lines.push(format!("UNVERIFIED: {drawn} of {units} units were drawn, and nobody found one right"));
    } else {
        lines.push(format!(
            "the lot drew {drawn} of {units} units; {machines} drawn by lot for each found {verified} right, and none{beside} was found wrong"
        ));
    }
    match canary {
        Some(_) => lines.extend(unpaid_canary_line(audit.unpaid())),
        None if order.mode == OrderMode::Private => lines.extend(unpaid_private_line(audit.unpaid())),
        None => lines.extend(unpaid_line(audit.unpaid().into(), "unit")),
    }
    if let Some(unit) = canary {
        lines.push(format!("unit {unit} was a canary: its customer knew that it is wrong"));
    }
    if order.mode == OrderMode::Audited {
        lines.push(chance_line(audit));
        lines.push(match kst(audit.bond_wei()) {
            _ if audit.bond_wei().is_zero() && u64::from(audit.rate_ppm()) >= PPM => {
                "no bond of the provider stood behind it (probation): every unit was drawn".to_owned()
            }
            _ if audit.bond_wei().is_zero() => "no bond of the provider stood behind it".to_owned(),
            bond if audit.is_convicted() => format!("{bond} of the provider's bond stood behind it, and are slashed"),
            bond => format!("{bond} of the provider's bond stood behind it"),
        });
    }
    lines
}

/// Whom the customer named, if the file tells.
fn named_line(named: &[Address]) -> Option<String> {
    let names: Vec<String> = named.iter().map(|name| format!("{name:#x}")).collect();
    match names.len() {
        0 => None,
        1 => Some(format!("1 checker was named: {}", names.concat())),
        many => Some(format!("{many} checkers were named: {}", names.join(", "))),
    }
}

/// Who looks at what is drawn.
pub(crate) fn machines(checkers: u32) -> String {
    match checkers {
        1 => "a machine".to_owned(),
        many => format!("{many} machines"),
    }
}

/// What was found outside the tolerance; `piece` is one of what was checked.
pub(crate) fn unpaid_line(unpaid: u64, piece: &str) -> Option<String> {
    match unpaid {
        0 => None,
        1 => Some(format!("1 {piece} lay outside the tolerance and is not paid")),
        many => Some(format!("{many} {piece}s lay outside the tolerance and are not paid")),
    }
}

/// As [`unpaid_line`], of a private order: what its checkers find wrong is not paid, and goes no further.
fn unpaid_private_line(unpaid: u32) -> Option<String> {
    let how = "found wrong, or outside the tolerance, by a named checker";
    match unpaid {
        0 => None,
        1 => Some(format!("1 unit was {how} and is not paid")),
        many => Some(format!("{many} units were {how} and are not paid")),
    }
}

/// As [`unpaid_line`], of an order whose customer told a canary: referees may have called it right, so it need not be among them.
fn unpaid_canary_line(unpaid: u32) -> Option<String> {
    match unpaid {
        0 => None,
        1 => Some("1 unit is not paid: the canary, or one that its checkers did not find right".to_owned()),
        many => Some(format!("{many} units are not paid: the canary, or ones that their checkers did not find right")),
    }
}

/// What the draw could find: one wrong unit, or one wrong segment of a unit of which one is checked.
fn chance_line(audit: &Audit) -> String {
    // A checker program looks at the whole unit.
    let segments = if audit.class() == 2 { 1 } else { u64::from(audit.segments()).max(1) };
    let piece = if segments == 1 { "unit" } else { "segment of a unit" };
    looked_at_line(audit.rate_ppm(), segments, audit.checkers(), piece)
}

/// The chance that one wrong piece, one of `pieces` of what is drawn at a rate, is looked at, and found.
pub(crate) fn looked_at_line(rate_ppm: u32, pieces: u64, checkers: u32, piece: &str) -> String {
    let drawn = u64::from(rate_ppm).min(PPM).checked_div(pieces).unwrap_or_default();
    let all_collude = (0..checkers.min(16)).fold(PPM, |share, _| share.saturating_mul(COLLUDING_PPM).div_ceil(PPM));
    let found = drawn.saturating_mul(PPM.saturating_sub(all_collude)) / PPM;
    format!(
        "one wrong {piece} is looked at with a chance of {}, and found with {} even if a third of all checkers call it right",
        percent(drawn),
        percent(found)
    )
}

/// What the customer says. `all`: how many of what there are; `part`: what of each a sample runs again, if not the whole.
pub(crate) fn statement_line(statement: CustomerStatement, part: &str, all: &str) -> String {
    let CustomerStatement { check, finding, checked, right, .. } = statement;
    let how = match check {
        OwnCheck::None => return "the customer says that it checked nothing itself".to_owned(),
        OwnCheck::Sample => format!("it ran {part}{checked} of {all} again"),
        OwnCheck::Program => format!("the job's checker program looked at {checked} of {all}"),
    };
    let what = match finding {
        OwnFinding::None => "it found nothing",
        OwnFinding::Right => "all of them are right",
        OwnFinding::Wrong => {
            return format!("the customer says: {how}, {right} are right, and the result is wrong");
        }
        OwnFinding::Unknown => {
            return format!("the customer says: {how}, {right} are right, and the rest it could not tell");
        }
    };
    format!("the customer says: {how}, and {what}")
}

fn end_line(order: &Order, audit: Option<&Audit>, block: u64) -> String {
    let is_open = audit.is_some_and(|audit| audit.status() == WindowStatus::Open);
    let partly = order.mode != OrderMode::Own || order.stopped;
    match order.status {
        status if !status.is_final() => format!("not final: the order is {status} in block {block}"),
        OrderStatus::Audited | OrderStatus::Accepted | OrderStatus::Settled => {
            let paid = if partly { order.paid_units } else { order.units };
            format!("{paid} of {} units are paid: final in block {block}", order.units)
        }
        status if is_open => format!("the order is {status} and refunded in block {block}; its audit is not final"),
        status => format!("nothing is paid, the order is {status}: final in block {block}"),
    }
}

/// Parts per million as `3 %`, `1.98 %`.
fn percent(ppm: u64) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Exact, without trailing zeros.
pub(crate) fn kst(wei: U256) -> String {
    let unit = U256::from(WEI_PER_KST);
    let (whole, rest) = wei.div_rem(unit);
    let text = format!("{whole}.{:018}", rest.saturating_to::<u64>());
    format!("{} KST", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_shares_are_exact() {
        assert_eq!(kst(U256::from(WEI_PER_KST)), "1 KST");
        assert_eq!(kst(U256::from(1)), "0.000000000000000001 KST");
        assert_eq!(kst(U256::ZERO), "0 KST");
        assert_eq!(kst(U256::from(12_500_000_000_000_000_000_u64)), "12.5 KST");
        assert_eq!(percent(30_000), "3 %");
        assert_eq!(percent(19_999), "1.9999 %");
        assert_eq!(percent(0), "0 %");
    }

    /// A cheap model writes, the one that was ordered only reads: whatever a certificate of such a class holds, it never says that the text is right.
    #[test]
    fn pre_fill_attack_on_language_models() {
        for outliers in [None, Some(0), Some(1_000_000)] {
            for class in 1..=5 {
                let line = class_line(class, outliers);
                let is_unverified = line.as_ref().is_some_and(|line| line.contains("UNVERIFIED, there is no check"));
                assert_eq!(is_unverified, class >= 4, "class {class}: {line:?}");
            }
        }
    }
}
