//! What the chain counts about an account as a customer: what a provider's owner reads before the machine works for it.
//!
//! # Not here
//! A verdict: whom to work for is the owner's to say. Counts of an account cost nothing to begin anew with another one, so none refuses anybody.

use super::amount::counted;
use alloy_primitives::U256;
use keystead_contracts::bindings::market::IMarket;
use serde::Serialize;
use std::fmt;

/// The public record of a customer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AsCustomer {
    /// Orders that a provider had leased and that are over, however they ended.
    pub(crate) orders: u64,
    /// Of these, the ones that the customer rejected (as wrong, or as not received), or whose provider the audit convicted: it was not paid.
    pub(crate) rejected: u64,
    /// Inputs that drawn checkers asked for and did not get, of orders and of channels.
    pub(crate) withheld_inputs: u64,
}

impl AsCustomer {
    /// From the market's record, and the audit's count.
    pub(crate) fn of(record: &IMarket::Record, withheld: U256) -> Self {
        let ended = [record.accepted, record.settled, record.rejected, record.expired, record.abandoned];
        Self {
            orders: ended.iter().fold(0, |sum: u64, count| sum.saturating_add(count.to::<u64>())),
            rejected: record.rejected.to::<u64>(),
            withheld_inputs: u64::try_from(withheld).unwrap_or(u64::MAX),
        }
    }

    /// Whether anything is counted.
    pub(crate) fn is_known(&self) -> bool {
        *self != Self::default()
    }
}

impl fmt::Display for AsCustomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (orders, inputs) = (counted(self.orders, "order"), counted(self.withheld_inputs, "input"));
        write!(f, "{orders} over, {} rejected, {inputs} withheld from checkers", self.rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Uint;

    #[test]
    fn every_way_an_order_ends_is_counted_and_said_in_one_line() {
        let count = |number: u64| Uint::<48, 1>::from(number);
        let record = IMarket::Record {
            accepted: count(1),
            settled: count(2),
            rejected: count(4),
            expired: count(8),
            abandoned: count(16),
        };
        let known = AsCustomer::of(&record, U256::from(1));
        assert_eq!(known, AsCustomer { orders: 31, rejected: 4, withheld_inputs: 1 });
        assert!(known.is_known());
        assert_eq!(known.to_string(), "31 orders over, 4 rejected, 1 input withheld from checkers");
        assert_eq!(AsCustomer::of(&record, U256::MAX).withheld_inputs, u64::MAX);
        // Who only has maps has no orders, and can withhold inputs.
        assert!(AsCustomer { withheld_inputs: 1, ..AsCustomer::default() }.is_known());
        assert!(!AsCustomer::default().is_known());
    }
}
