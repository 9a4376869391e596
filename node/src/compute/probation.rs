//! In which lane a provider works: bonded, or in probation, where every unit of an audited order is checked; in words for its owner and for customers.
//!
//! # Design
//! A lane is one of audited work alone: of an order without an audit its customer checks what it wants. What ends probation is the contract's rule, for each class
//! apart: a bond behind the window, and units that were found right (specs/0008-audit.md §5). Here it is only said.

use super::{account::Account, amount::kst, bond::Bonds, windows::Windows};
use alloy_primitives::U256;
use eyre::Result;
use keystead_audit::draw::PROBATION_UNITS;
use keystead_contracts::{bindings::audit::Audit, limits::AUDIT_BOND_UNITS_MIN};
use keystead_job::Class;
use std::sync::Arc;

/// Classes that are audited; the last one is not without a bond.
const CLASSES: [Class; 3] = [Class::Exact, Class::SelfChecking, Class::Tolerance];

/// The least bond that the contract takes behind a unit of this price, wei.
fn bond_needed_wei(price_wei: u128) -> U256 {
    U256::from(price_wei).saturating_mul(U256::from(AUDIT_BOND_UNITS_MIN))
}

/// What a customer reads of an offer's lane: by its free bond, and its price of a unit, wei.
pub(crate) fn of_offer(free_wei: u128, price_wei: u128) -> String {
    let (free_wei, needed_wei) = (U256::from(free_wei), bond_needed_wei(price_wei));
    if free_wei < needed_wei {
        return format!(
            "in probation: every unit is checked, of classes exact and self-checking only (bond free: {}, needed: {})",
            kst(free_wei),
            kst(needed_wei)
        );
    }
    format!(
        "bonded ({} are free); in a class of which fewer than {PROBATION_UNITS} of its units were found right every unit is checked",
        kst(free_wei)
    )
}

/// Where a provider stands.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    /// What it can lock behind audited orders, wei.
    free_wei: U256,
    /// Its price of a unit, wei.
    price_wei: u128,
    /// Units of each class that were found right since its last fault.
    found_right: [(Class, u64); 3],
    /// Share of what is earned that goes into its bond, percent.
    bonded_percent: u8,
}

impl Stand {
    /// Of an account, as the chain has it now.
    ///
    /// # Errors
    /// The node's; a chain that began without audits.
    pub(crate) async fn read(account: &Arc<Account>, price_wei: u128, bonded_percent: u8) -> Result<Self> {
        let (windows, bonds) = (Windows { account: Arc::clone(account) }, Bonds { account: Arc::clone(account) });
        let mut found_right = CLASSES.map(|class| (class, 0));
        for (class, count) in &mut found_right {
            let call = Audit::verifiedCountCall { provider: account.address(), class: *class as u8 };
            *count = windows.read(&call).await?.saturating_to();
        }
        Ok(Self { free_wei: bonds.free_wei().await?, price_wei, found_right, bonded_percent })
    }

    /// What its owner should know, a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let needed_wei = bond_needed_wei(self.price_wei);
        let is_bonded = self.free_wei >= needed_wei;
        let (free, needed) = (kst(self.free_wei), kst(needed_wei));
        let new: Vec<String> = self
            .found_right
            .iter()
            .filter(|(class, count)| *count < PROBATION_UNITS && (is_bonded || *class != Class::Tolerance))
            .map(|(class, count)| format!("{class} {count}"))
            .collect();
        let known = new.is_empty();
        let of_units = if known {
            String::new()
        } else {
            format!("{PROBATION_UNITS} units of a class found right (so far: {})", new.join(", "))
        };
        if is_bonded {
            let until =
                if known { String::new() } else { format!("; every unit is checked until there are {of_units}") };
            return vec![format!("bonded: {free} are free to stand behind audited orders{until}")];
        }
        let and = if known { String::new() } else { format!(", and after {of_units}") };
        let grows = match self.bonded_percent {
            0 => "the bond grows by `keystead bond deposit`, or with --bond-from-earnings PERCENT by itself".to_owned(),
            percent => format!("the bond grows by {percent} % of what is earned (--bond-from-earnings)"),
        };
        vec![
            "probation: every unit of an audited order is checked, and only classes exact and self-checking are taken"
                .to_owned(),
            format!(
                "it ends with a bond of {needed} ({AUDIT_BOND_UNITS_MIN} units at your price; free now: {free}){and}"
            ),
            grows,
            "orders without an audit have no lane: their customers check what they want".to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const PRICE: u128 = 1_000_000_000_000_000;

    fn stand(free_wei: u128, [exact, own, tolerance]: [u64; 3], bonded_percent: u8) -> String {
        let found_right = [(Class::Exact, exact), (Class::SelfChecking, own), (Class::Tolerance, tolerance)];
        Stand { free_wei: U256::from(free_wei), price_wei: PRICE, found_right, bonded_percent }.lines().join("\n")
    }

    #[test]
    fn a_newcomer_reads_its_lane_what_it_may_do_and_what_ends_it() {
        let said = stand(0, [3, 0, 0], 0);
        for words in [
            "probation: every unit of an audited order is checked, and only classes exact and self-checking",
            "a bond of 0.1 KST (100 units at your price; free now: 0 KST), and after 10 units of a class found right",
            "(so far: exact 3, self-checking 0)",
            "--bond-from-earnings PERCENT",
            "orders without an audit have no lane",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("tolerance"), "without a bond none of that class is taken: {said}");
        assert!(stand(0, [3, 0, 0], 50).contains("grows by 50 % of what is earned"));
        // Known already, and its bond is gone.
        assert!(!stand(0, [10, 10, 0], 0).contains("and after"));
    }

    #[test]
    fn with_a_bond_a_class_is_in_probation_until_enough_units_of_it_were_found_right() {
        let said = stand(100 * PRICE, [10, 9, 0], 0);
        assert!(said.starts_with("bonded: 0.1 KST are free"), "{said}");
        assert!(
            said.contains("until there are 10 units of a class found right (so far: self-checking 9, tolerance 0)")
        );
        assert!(!stand(100 * PRICE, [10, 10, 10], 0).contains("every unit"));
        assert!(stand(100 * PRICE - 1, [10, 10, 10], 0).starts_with("probation: "));
    }

    #[test]
    fn a_customer_reads_the_lane_of_an_offer() {
        assert!(of_offer(100 * PRICE - 1, PRICE).starts_with("in probation: every unit is checked, of classes exact"));
        assert!(
            of_offer(100 * PRICE, PRICE).starts_with("bonded (0.1 KST are free); in a class of which fewer than 10 ")
        );
    }
}
