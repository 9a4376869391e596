//! What a proved certificate of a map means, in sentences that claim no more than is proved.
//!
//! Spec: specs/0002-proof-bundle.md §12. The same sentences are made in `web/src/proof`.

use super::{
    MapCertificate,
    state::{ChannelState, WindowState},
    steps::Coverage,
};
use crate::{
    audit::{Audit, WindowStatus},
    meaning::{class_line, kst, looked_at_line, machines, statement_line, unpaid_line},
};
use alloy_primitives::{Address, U256};
use std::collections::BTreeSet;

/// What is said of the windows that carry steps, summed over them. There is at least one.
struct Carried {
    steps: u64,
    drawn: u64,
    verified: u64,
    unpaid: u64,
    checkers: u32,
    rate_ppm: u32,
    bond_wei: U256,
    without_bond: usize,
    open: usize,
}

/// The sentences, without full stops.
pub(super) fn meaning(map: &MapCertificate, found: &[ChannelState], coverage: &Coverage) -> Vec<String> {
    let windows = || found.iter().flat_map(|channel| channel.windows.iter().map(move |window| (channel, window)));
    let carrying: Vec<(&ChannelState, &WindowState)> =
        windows().zip(&coverage.carries).filter(|(_, carries)| **carries).map(|(window, _)| window).collect();
    let providers: BTreeSet<Address> = carrying.iter().map(|(channel, _)| channel.provider).collect();
    let carried = sum(&carrying);

    let mut lines: Vec<String> = class_line(map.job.class, Some(map.job.outliers_ppm)).into_iter().collect();
    let (all, covered) = (map.job_steps(), coverage.steps);
    lines.push(format!(
        "{covered} of {all} steps stand in {} of {}",
        counted(carrying.len(), "audited window"),
        counted(providers.len(), "provider")
    ));
    match all.saturating_sub(covered) {
        0 => {}
        1 => lines.push("UNVERIFIED for anybody but its customer: 1 step stands in no audited window".to_owned()),
        rest => {
            lines.push(format!("UNVERIFIED for anybody but its customer: {rest} steps stand in no audited window"));
        }
    }
    // Only classes that can be checked have windows, so nothing of the kind is said of the others.
    lines.extend(carried.as_ref().map(found_line));
    lines.extend(carried.as_ref().and_then(|carried| beside_line(carried, covered)));
    lines.extend(carried.as_ref().and_then(|carried| unpaid_line(carried.unpaid, "step")));
    match windows().filter(|(_, window)| window.audit.is_convicted()).count() {
        0 => {}
        1 => lines.push("1 other window was convicted: nothing of it counts here".to_owned()),
        many => lines.push(format!("{many} other windows were convicted: nothing of them counts here")),
    }
    if let Some(carried) = &carried {
        lines.push(looked_at_line(carried.rate_ppm, 1, carried.checkers, "step"));
        lines.push(bond_line(carried));
    }
    lines.push(statement_line(map.statement, "", &format!("{all} steps")));
    lines.push(end_line(carried.as_ref().map_or(0, |carried| carried.open), map.block));
    lines
}

/// `None` if no window carries anything.
fn sum(carrying: &[(&ChannelState, &WindowState)]) -> Option<Carried> {
    let audits = || carrying.iter().map(|(_, window)| &window.audit);
    let total =
        |of: &dyn Fn(&WindowState) -> u32| -> u64 { carrying.iter().map(|&(_, window)| u64::from(of(window))).sum() };
    Some(Carried {
        steps: total(&|window| window.audit.units()),
        drawn: total(&|window| window.audit.drawn(window.id)),
        verified: total(&|window| window.audit.verified()),
        unpaid: total(&|window| window.audit.unpaid()),
        checkers: audits().map(Audit::checkers).min()?,
        rate_ppm: audits().map(Audit::rate_ppm).min()?,
        bond_wei: audits().map(Audit::bond_wei).min()?,
        without_bond: audits().filter(|audit| audit.bond_wei().is_zero()).count(),
        open: audits().filter(|audit| audit.status() == WindowStatus::Open).count(),
    })
}

fn found_line(carried: &Carried) -> String {
    let Carried { steps, drawn, verified, checkers, .. } = carried;
    if *verified == 0 {
        return format!("UNVERIFIED: {drawn} of {steps} steps were drawn, and nobody found one right");
    }
    let machines = machines(*checkers);
    format!(
        "the lot drew {drawn} of {steps} steps; {machines} drawn by lot for each found {verified} right, and none was found wrong"
    )
}

/// Steps that cover nothing are checked as well: without this, who pads a window with right ones could have them found in place of the others.
fn beside_line(carried: &Carried, covered: u64) -> Option<String> {
    let beside = carried.steps.saturating_sub(covered);
    if beside == 0 || carried.verified == 0 {
        return None;
    }
    let steps = match beside {
        1 => "1 step of these windows counts".to_owned(),
        many => format!("{many} steps of these windows count"),
    };
    let line = format!("{steps} for nothing here and may be among those found right");
    Some(if carried.verified > beside { line } else { format!("UNVERIFIED: {line}") })
}

fn bond_line(carried: &Carried) -> String {
    match carried.without_bond {
        0 => {
            let bond = kst(carried.bond_wei);
            format!("at least {bond} of its provider's bond stood behind each window")
        }
        many => format!("no bond of a provider stood behind {many} of these windows"),
    }
}

fn end_line(open: usize, block: u64) -> String {
    match open {
        0 => format!("final in block {block}"),
        1 => format!("not final: the audit of 1 window goes on in block {block}"),
        many => format!("not final: the audits of {many} windows go on in block {block}"),
    }
}

/// `1 window`, `2 windows`.
fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
