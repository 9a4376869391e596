//! What the customer offers for the job, held against the contract's bounds before anything is paid.
//!
//! Spec: specs/0004-market.md §5.

use super::{choose::Choice, setup::Buyer};
use crate::compute::money::Money;
use alloy_primitives::U256;
use keystead_contracts::{
    bindings::market::IMarket,
    limits::{CHECK_MAX, DELIVER_MAX, LEASE_MAX, PRICE_WEI_PER_UNIT_MAX, UNITS_MAX},
};
use std::time::Duration;

/// The market would refuse such an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutOfBounds {
    /// Too many or none.
    #[error(
        "the market takes orders of 1 to {UNITS_MAX} units, this job has {got}: give it less input, or parameters that make larger units"
    )]
    Units {
        /// Units of the job.
        got: u32,
    },
    /// Too dear.
    #[error("the market takes prices of {least} to {most} a unit, the provider asks {got}: choose another provider")]
    Price {
        /// Lowest.
        least: String,
        /// Highest.
        most: String,
        /// Price of a unit.
        got: String,
    },
    /// Too long or none.
    #[error("the market takes 1 to {} seconds for {option}: got {got_seconds}", max.as_secs())]
    Duration {
        /// How the person gives it.
        option: &'static str,
        /// What was given.
        got_seconds: u32,
        /// Longest.
        max: Duration,
    },
}

/// The terms of an order from one provider.
pub(super) fn terms(buyer: Buyer<'_>, choice: &Choice) -> Result<IMarket::Terms, OutOfBounds> {
    let Buyer { options, prepared, money, .. } = buyer;
    let terms = IMarket::Terms {
        provider: choice.account,
        jobHash: prepared.spec.hash(),
        units: prepared.spec.unit_count,
        priceWeiPerUnit: choice.price_wei_per_unit,
        leaseSeconds: options.lease_seconds,
        deliverSeconds: options.deliver_seconds.unwrap_or(choice.deliver_seconds),
        checkSeconds: options.check_seconds,
    };
    within_bounds(&terms, money)?;
    Ok(terms)
}

fn within_bounds(terms: &IMarket::Terms, money: &Money) -> Result<(), OutOfBounds> {
    if terms.units == 0 || terms.units > UNITS_MAX {
        return Err(OutOfBounds::Units { got: terms.units });
    }
    let (least, most, got) = (U256::from(1), PRICE_WEI_PER_UNIT_MAX, U256::from(terms.priceWeiPerUnit));
    if got < least || got > most {
        return Err(OutOfBounds::Price { least: money.show(least), most: money.show(most), got: money.show(got) });
    }
    let durations = [
        ("--lease-seconds", terms.leaseSeconds, LEASE_MAX),
        ("--deliver-seconds", terms.deliverSeconds, DELIVER_MAX),
        ("--check-seconds", terms.checkSeconds, CHECK_MAX),
    ];
    for (option, got_seconds, max) in durations {
        if got_seconds == 0 || u64::from(got_seconds) > max.as_secs() {
            return Err(OutOfBounds::Duration { option, got_seconds, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use alloy_primitives::{Address, B256};

    fn lowest() -> IMarket::Terms {
        IMarket::Terms {
            provider: Address::ZERO,
            jobHash: B256::ZERO,
            units: 1,
            priceWeiPerUnit: 1,
            leaseSeconds: 1,
            deliverSeconds: 1,
            checkSeconds: 1,
        }
    }

    #[test]
    fn both_ends_of_every_bound_are_taken_and_the_next_value_is_not() {
        let price_max: u128 = PRICE_WEI_PER_UNIT_MAX.to();
        let highest = IMarket::Terms {
            units: 1 << 20,
            priceWeiPerUnit: price_max,
            leaseSeconds: 86_400,
            deliverSeconds: 604_800,
            checkSeconds: 259_200,
            ..lowest()
        };
        let kst = Money::kst();
        within_bounds(&lowest(), &kst).unwrap();
        within_bounds(&highest, &kst).unwrap();
        let refused = |terms, words: &str| {
            let said = within_bounds(&terms, &kst).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        };
        refused(IMarket::Terms { units: 0, ..lowest() }, "units");
        refused(IMarket::Terms { units: (1 << 20) + 1, ..lowest() }, "units");
        refused(IMarket::Terms { priceWeiPerUnit: 0, ..lowest() }, "asks 0 KST");
        refused(IMarket::Terms { priceWeiPerUnit: price_max + 1, ..lowest() }, "another provider");
        refused(IMarket::Terms { leaseSeconds: 86_401, ..lowest() }, "--lease-seconds");
        refused(IMarket::Terms { deliverSeconds: 604_801, ..lowest() }, "--deliver-seconds");
        refused(IMarket::Terms { checkSeconds: 259_201, ..lowest() }, "--check-seconds");
        refused(IMarket::Terms { checkSeconds: 0, ..lowest() }, "got 0");
    }
}
