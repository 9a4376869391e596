//! What a customer reads of the lane in which an audit has its provider. Spec: specs/0008-audit.md §5.

use alloy_primitives::U256;
use keystead_audit::draw::{PPM, PROBATION_UNITS};

/// The terms, and what the contract makes of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// What is locked behind a window.
    pub(super) bond_wei: U256,
    /// The rate of the terms, parts per million.
    pub(super) asked_ppm: u32,
    /// The rate with the provider's record, parts per million.
    pub(super) rate_ppm: u32,
}

impl Lane {
    /// Why every `piece` (a unit, a step) is drawn, if the provider is in probation.
    pub(super) fn probation(self, piece: &str) -> Option<String> {
        let Self { bond_wei, asked_ppm, rate_ppm } = self;
        if bond_wei.is_zero() {
            return Some(format!("No bond stands behind it (probation): that is why every {piece} is drawn"));
        }
        (asked_ppm < PPM && rate_ppm >= PPM).then(|| {
            format!(
                "In probation: fewer than {PROBATION_UNITS} units of this provider and class were found right since its last fault, if it had one: that is why \
                 every {piece} is drawn"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_customer_reads_why_every_unit_of_a_newcomer_is_checked_and_of_others_nothing() {
        let lane = |bond: u64, asked_ppm, rate_ppm| Lane { bond_wei: U256::from(bond), asked_ppm, rate_ppm };
        let none = lane(0, PPM, PPM).probation("step").unwrap();
        assert_eq!(none, "No bond stands behind it (probation): that is why every step is drawn");
        let new = lane(7, 30_000, PPM).probation("unit").unwrap();
        assert!(new.starts_with("In probation: fewer than 10 units ") && new.ends_with("every unit is drawn"), "{new}");
        // A customer that asks for every unit to be checked, and a provider that is known.
        assert_eq!(lane(7, PPM, PPM).probation("unit"), None);
        assert_eq!(lane(7, 30_000, 100_000).probation("unit"), None);
    }
}
