//! The results as a page for people and as JSON for programs.

use crate::{attacks::Row, world::Outcome};
use serde::Serialize;
use std::fmt::Write as _;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) providers: u32,
    pub(crate) hours: f64,
    pub(crate) world: Outcome,
    /// The same with sessions so short that about a third of all leases is left.
    pub(crate) churn: Outcome,
    pub(crate) attacks: Vec<Row>,
}

impl Report {
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Nothing lost, nothing paid twice, no honest provider slashed, every cheat caught as the formula says and worse off than honesty.
    pub(crate) fn holds(&self) -> bool {
        let whole =
            |outcome: &Outcome| (outcome.units_lost, outcome.units_paid_twice, outcome.false_slashes) == (0, 0, 0);
        whole(&self.world) && whole(&self.churn) && self.attacks.iter().all(Row::holds)
    }

    pub(crate) fn markdown(&self) -> String {
        let mut page = String::new();
        let Self { seed, providers, hours, .. } = self;
        // Writing to a string does not fail.
        let _ = writeln!(page, "Seed {seed}, {providers} providers, {hours} h.\n");
        let _ = writeln!(page, "| | usual churn | heavy churn |\n|---|---|---|");
        for (name, value) in figures() {
            let _ = writeln!(page, "| {name} | {} | {} |", value(&self.world), value(&self.churn));
        }
        let _ = writeln!(page, "\n| attack | variant | tried | caught | measured | formula | sigmas | gain | honest |");
        let _ = writeln!(page, "|---|---|---|---|---|---|---|---|---|");
        for row in &self.attacks {
            let Row { attack, variant, tried, caught, formula, sigmas, gain, honest } = row;
            let measured = *caught as f64 / *tried as f64;
            let _ = writeln!(
                page,
                "| {attack} | {variant} | {tried} | {caught} | {measured:.5} | {formula:.5} | {sigmas:+.2} | {gain:.2} | {honest:.2} |"
            );
        }
        page
    }
}

type Figure = (&'static str, fn(&Outcome) -> String);

fn figures() -> [Figure; 15] {
    [
        ("units paid", |o| o.units_paid.to_string()),
        ("units lost, paid twice", |o| format!("{}, {}", o.units_lost, o.units_paid_twice)),
        ("leases left before their end", |o| format!("{:.1} %", o.churn * 100.0)),
        ("units computed per unit paid", |o| format!("{:.3}", o.units_run as f64 / o.units_paid.max(1) as f64)),
        ("checks per unit paid, all providers", |o| format!("{:.2} %", o.overhead * 100.0)),
        ("checks per unit paid, providers from 1,000 verified units", |o| {
            format!("{:.2} %", o.overhead_settled * 100.0)
        }),
        ("honest providers slashed", |o| o.false_slashes.to_string()),
        ("checkers with a broken machine that accused, and lost", |o| o.broken_checkers.to_string()),
        ("drawn units that ended inconclusive", |o| o.inconclusive.to_string()),
        ("wait for a provider p50, p95", |o| format!("{} ms, {} ms", o.wait_ms_p50, o.wait_ms_p95)),
        ("commitment to claimable pay p50, p95", |o| format!("{} ms, {} ms", o.hold_ms_p50, o.hold_ms_p95)),
        ("order to last unit over the first provider's time alone p50, p95", |o| {
            format!("{:.2}, {:.2}", o.stretch_p50, o.stretch_p95)
        }),
        ("leases that straggled", |o| o.leases_straggled.to_string()),
        ("checkers on duty who were away", |o| o.seats_offline.to_string()),
        ("events", |o| o.events.to_string()),
    ]
}
