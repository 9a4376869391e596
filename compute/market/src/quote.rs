//! The firm price: every line of it, its total and until when it holds, before anything is paid.
//!
//! # Design
//! What a customer agrees to is a price of a unit, never of time: so the amount is known before the order, and nothing changes it after the
//! click. Checks are priced by the same rule that the planner ranks by. Gas is paid in KST whatever the job is paid in; its line is a
//! bound that the transactions carry themselves. Spec: specs/0010-capability.md §7.

use crate::{
    amount::{Currency, Unit},
    need::{Lane, MOVED_BYTES_MAX, Need},
    plan::Match,
};
use alloy_primitives::U256;
use core::fmt::Write as _;
use serde::Serialize;

/// What the rest of the order costs: known to the caller from the chain and its own transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of a GiB that is moved or kept for the job, smallest units of the job's currency; 0 while nobody asks for it.
    pub per_gib: U256,
    /// Gas of all transactions that the customer signs for this job, at most.
    pub gas_max: u64,
    /// Most that a gas costs, wei: what the transactions say.
    pub fee_per_gas_max_wei: u128,
    /// Height of the chain now.
    pub height: u64,
    /// Blocks for which the price is held.
    pub valid_blocks: u64,
}

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// Units at the price of a unit: the order's escrow.
    Units,
    /// Units that are run again to check them, at the same price.
    Checks,
    /// What the checkers get on top.
    CheckerFees,
    /// Moving and keeping inputs and outputs.
    Transfer,
    /// Gas, at most.
    Gas,
}

impl For {
    /// The line's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Checks => "checks",
            Self::CheckerFees => "checker fees",
            Self::Transfer => "transfer",
            Self::Gas => "gas, at most",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What for.
    pub what: For,
    /// How many: units, bytes, or gas.
    pub count: u64,
    /// The amount, smallest units.
    pub amount: U256,
    /// Of this currency.
    pub currency: Currency,
}

/// A price that holds: pay this, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirmPrice {
    /// All lines; those of zero are there, too.
    pub lines: Vec<Line>,
    /// Sum of the lines in the job's currency.
    pub total: U256,
    /// The job's currency.
    pub currency: Currency,
    /// Sum of the lines in KST, if the job is paid in another currency; gas. Zero if the job is paid in KST: then gas is in the total.
    pub gas_wei: U256,
    /// The lane: in probation every unit is checked.
    pub lane: Lane,
    /// Last height at which the order may be placed at this price; after it, ask again.
    pub valid_until_height: u64,
}

impl FirmPrice {
    /// The firm price of this match for this need: the same need that was planned, or the split share of it.
    #[must_use]
    pub fn new(need: &Need, fit: &Match, terms: &Terms) -> Self {
        let checked = match fit.lane {
            Lane::Bonded => need.checks.units(need.units),
            Lane::Probation => need.units,
        };
        let per_unit = fit.price_per_unit;
        let bytes = need
            .blobs
            .iter()
            .map(|blob| blob.bytes)
            .fold(need.input_bytes.saturating_add(need.output_bytes), u64::saturating_add)
            .min(MOVED_BYTES_MAX);
        let transfer = terms.per_gib.saturating_mul(U256::from(bytes)).div_ceil(U256::from(1u64 << 30));
        let fee_per_1024 = per_unit.saturating_mul(U256::from(need.checks.fee_per_1024));
        let fees = fee_per_1024.saturating_mul(U256::from(checked)).div_ceil(U256::from(1_024u64));
        let gas = U256::from(terms.gas_max).saturating_mul(U256::from(terms.fee_per_gas_max_wei));
        let line = |what, count: u64, amount| Line { what, count, amount, currency: need.currency };
        let lines = vec![
            line(For::Units, u64::from(need.units), per_unit.saturating_mul(U256::from(need.units))),
            line(For::Checks, u64::from(checked), per_unit.saturating_mul(U256::from(checked))),
            line(For::CheckerFees, u64::from(checked), fees),
            line(For::Transfer, bytes, transfer),
            Line { what: For::Gas, count: terms.gas_max, amount: gas, currency: Currency::KST },
        ];
        let sum = |currency: Currency| {
            let amounts = lines.iter().filter(|line| line.currency == currency).map(|line| line.amount);
            amounts.fold(U256::ZERO, U256::saturating_add)
        };
        let native = need.currency == Currency::KST;
        Self {
            total: sum(need.currency),
            gas_wei: if native { U256::ZERO } else { sum(Currency::KST) },
            currency: need.currency,
            lane: fit.lane,
            valid_until_height: terms.height.saturating_add(terms.valid_blocks),
            lines,
        }
    }

    /// The price for a person: every line with its unit, the total, and what can still change. `unit` writes the job's currency.
    #[must_use]
    pub fn words(&self, unit: &Unit) -> String {
        let kst = Unit::kst();
        let unit_of = |currency: Currency| if currency == Currency::KST { &kst } else { unit };
        let mut text = String::new();
        for line in &self.lines {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  {:<13} {:>12}  {}",
                line.what.as_str(),
                line.count,
                unit_of(line.currency).show(line.amount)
            );
        }
        let gas =
            if self.gas_wei.is_zero() { String::new() } else { format!(" and at most {}", kst.show(self.gas_wei)) };
        let _ = writeln!(text, "  total: {}{gas}", unit_of(self.currency).show(self.total));
        let _ = writeln!(text, "  holds until block {}; after the order nothing changes it", self.valid_until_height);
        text
    }
}
