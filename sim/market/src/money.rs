//! What a simulated market costs its customers, in units' prices: price, fees of checks, and gas by the figures of contracts/snapshots.
//!
//! # Design
//! Each lease is an order of its own, since units that come to nothing are ordered again from somebody else. Steps that anybody may send are counted for the
//! customer: its program sends them if nobody else does (specs/0008-audit.md §13.1). A unit is priced at a million gas: 0.001 KST at 1 gwei, the
//! base fee of genesis; at another ratio the columns of gas say what it comes to. Who loses a dispute pays its ballots.

use crate::world::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;

/// Gas that costs as much as a unit.
pub(crate) const UNIT_GAS: f64 = 1_000_000.0;
/// What a check earns, in units' prices.
const FEE: f64 = 1.0;
/// What who finds a canary gets from its customer besides (specs/0008-audit.md §12).
const CANARY_FEES: f64 = 10.0;
const AUDIT: &str = include_str!("../../../contracts/snapshots/Audit.json");
const MARKET: &str = include_str!("../../../contracts/snapshots/Market.json");

/// What the steps of an audited order take, measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gas {
    /// The customer's, of each order, of one that ends without a delivery, of each window that was opened, of each check.
    pub(crate) order: f64,
    pub(crate) expired: f64,
    window: f64,
    check_end: f64,
    /// The provider's, of each order, of each window that was opened, of each unit that is drawn.
    pub(crate) lease: f64,
    pub(crate) delivery: f64,
    pub(crate) opening: f64,
    /// The checkers' and referees', of each check, of each ballot; of each panel, of each dispute.
    check: f64,
    ballot: f64,
    panel: f64,
    dispute: f64,
}

impl Gas {
    /// The figures that the contracts' tests measured.
    ///
    /// # Errors
    /// If a figure is missing or no number.
    pub(crate) fn measured() -> Result<Self, String> {
        let read = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).map_err(|e| e.to_string());
        let (audit, market) = (read(AUDIT)?, read(MARKET)?);
        Ok(Self {
            order: sum(&market, &["placeOrder"])?,
            expired: sum(&market, &["expire"])?,
            window: sum(&audit, &["touch", "close"])?,
            check_end: sum(&audit, &["conclude"])?,
            lease: sum(&market, &["lease"])?,
            delivery: sum(&audit, &["market commit, which opens the window", "market settle, after the audit"])?
                + sum(&market, &["deliver"])?,
            opening: sum(&audit, &["openUnit"])?,
            check: sum(&audit, &["commitCheck", "reveal"])?,
            ballot: sum(&audit, &["commitBallot, one slot", "revealBallot", "settleBallot (first)"])?,
            panel: sum(&audit, &["conclude, a panel"])?,
            dispute: sum(&audit, &["challenge"])?,
        })
    }
}

fn sum(of: &BTreeMap<String, String>, names: &[&str]) -> Result<f64, String> {
    let one = |name: &str| of.get(name).and_then(|text| text.parse::<u32>().ok()).map(f64::from);
    names.iter().map(|name| one(name).ok_or_else(|| format!("no gas was measured of {name}"))).sum()
}

/// What was spent for each unit that was paid.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bill {
    /// In units' prices: what checks earned.
    pub(crate) fees: f64,
    /// Likewise: what those got besides who found a canary.
    pub(crate) bounties: f64,
    /// Gas of each side.
    pub(crate) customer_gas: f64,
    pub(crate) provider_gas: f64,
    /// Of round 0 and 1.
    pub(crate) checker_gas: f64,
    /// Of panels and of who goes before one.
    pub(crate) dispute_gas: f64,
    /// Fees of ballots, in units' prices, which the losers' bonds pay.
    pub(crate) ballots: f64,
}

impl Bill {
    pub(crate) fn new(outcome: &Outcome, gas: &Gas) -> Self {
        let each = |total: f64| total / outcome.units_paid.max(1) as f64;
        let (leases, windows) = (outcome.leases as f64, outcome.commitments as f64);
        let checks = outcome.checks_run.saturating_sub(outcome.ballots).saturating_add(outcome.canaries) as f64;
        let ballots = outcome.ballots as f64;
        let expired = outcome.leases.saturating_sub(outcome.commitments) as f64;
        let drawn = outcome.units_drawn.saturating_add(outcome.canaries) as f64;
        let customer = leases * gas.order + expired * gas.expired + windows * gas.window + drawn * gas.check_end;
        Self {
            fees: each(checks * FEE),
            bounties: each(outcome.canaries_found as f64 * CANARY_FEES * FEE),
            customer_gas: each(customer),
            provider_gas: each(leases * gas.lease + windows * gas.delivery + drawn * gas.opening),
            checker_gas: each(checks * gas.check),
            dispute_gas: each(
                ballots * gas.ballot + outcome.panels as f64 * gas.panel + outcome.disputes as f64 * gas.dispute,
            ),
            ballots: each(ballots * FEE),
        }
    }

    /// All that a customer spends for a unit that it pays for, in units' prices.
    pub(crate) fn all_in(&self) -> f64 {
        1.0 + self.fees + self.bounties + self.customer_gas / UNIT_GAS
    }

    /// What gas leaves of a unit's price to its provider, and of a check's fee to its checker, before their work.
    pub(crate) fn left(&self) -> [f64; 2] {
        let checks = self.fees / FEE;
        let check_gas = if checks > 0.0 { self.checker_gas / checks } else { 0.0 };
        [1.0 - self.provider_gas / UNIT_GAS, FEE - check_gas / UNIT_GAS]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_step_of_an_audited_order_was_measured_and_a_bill_adds_up() {
        let gas = Gas::measured().unwrap();
        let steps = [gas.order, gas.expired, gas.window, gas.check_end, gas.lease, gas.delivery, gas.opening];
        assert!(steps.iter().all(|step| (30_000.0..500_000.0).contains(step)), "{gas:?}");
        // Two orders, of which one came to nothing; 64 units paid, 2 of them checked, one of these before a panel of 31.
        let outcome = Outcome {
            units_paid: 64,
            leases: 2,
            commitments: 1,
            units_drawn: 2,
            checks_run: 35,
            ballots: 31,
            panels: 1,
            disputes: 1,
            ..Outcome::default()
        };
        let bill = Bill::new(&outcome, &gas);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        near(bill.fees, 4.0 / 64.0);
        near(bill.ballots, 31.0 / 64.0);
        let customer = 2.0 * gas.order + gas.expired + gas.window + 2.0 * gas.check_end;
        near(bill.customer_gas * 64.0, customer);
        near(bill.checker_gas * 64.0, 4.0 * gas.check);
        near(bill.dispute_gas * 64.0, 31.0 * gas.ballot + gas.panel + gas.dispute);
        near(bill.all_in(), 1.0 + 4.0 / 64.0 + customer / 64e6);
        near(bill.left()[1], 1.0 - gas.check / 1e6);
        // A canary beside them is a check like others, and ten fees for who finds it.
        let told = Bill::new(&Outcome { canaries: 1, canaries_found: 1, ..outcome }, &gas);
        near(told.bounties, 10.0 / 64.0);
        near(told.all_in(), bill.all_in() + 11.0 / 64.0 + gas.check_end / 64e6);
        near(told.left()[1], bill.left()[1]);
    }

    #[test]
    fn nothing_sold_costs_a_price_and_no_more() {
        let bill = Bill::new(&Outcome::default(), &Gas::measured().unwrap());
        assert_eq!((bill.all_in(), bill.left()), (1.0, [1.0, 1.0]));
    }
}
