//! What an order's customer pays in gas, until all that comes back is home: said beside the price, so that what all of it costs is a number.
//!
//! # Design
//! What is sent later cannot be estimated before: it is counted by what those calls cost (`contracts/snapshots`), with what estimates are rounded up by (a
//! quarter, and 10,000). Of an audit others send most; a customer whose provider and checkers all stay silent sends each call itself, and that is the most.
//!
//! # Not here
//! Disputes: who wins one has its bond back, and pays gas that depends on how many appeal.

use super::audit::plan::Plan;
use crate::compute::{
    amount::{counted, kst},
    money::Money,
};
use alloy_primitives::U256;
use keystead_market::Currency;

/// Accepting or rejecting the delivery, and taking home what comes back.
const ENDING: u64 = 195_000;
/// The same in a token, with the end of its approval. Tokens that need more are rare.
pub(super) const ENDING_IN_TOKEN: u64 = 280_000;
/// Of an audit, whatever is drawn: the draw, the window's close, taking back what checks did not cost; and an acceptance that costs more.
const AUDIT: u64 = 300_000;
/// Of a drawn unit: saying on the chain where its input is, and moving its checks on.
const AUDIT_UNIT: u64 = 220_000;

/// Most that an order's calls cost in gas, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gas {
    /// Until it is placed.
    place_wei: U256,
    /// From then on.
    later_wei: U256,
}

impl Gas {
    /// Of an order with so many drawn units, if it is audited.
    pub(super) fn new(place_wei: U256, fee_per_gas: U256, currency: Currency, drawn: Option<u64>) -> Self {
        let ending = if currency == Currency::KST { ENDING } else { ENDING_IN_TOKEN };
        let audit = drawn.map_or(0, |units| AUDIT.saturating_add(AUDIT_UNIT.saturating_mul(units)));
        let later_wei = fee_per_gas.saturating_mul(U256::from(ending.saturating_add(audit)));
        Self { place_wei, later_wei }
    }

    /// For a person; `price` is of all units, in this money.
    pub(super) fn lines(self, money: &Money, price: U256, audit: Option<&Plan>) -> Vec<String> {
        let Self { place_wei, later_wei } = self;
        let (place, later) = (kst(place_wei), kst(later_wei));
        let Some(audit) = audit else {
            return vec![format!(
                "Gas to place it: at most {place}; later, to answer the delivery and to take home what comes back, at most {later}"
            )];
        };
        let drawn = counted(audit.drawn_most(), "drawn unit");
        let beside_wei = place_wei.saturating_add(later_wei).saturating_add(audit.canary_wei());
        let paid = audit.deposit_wei.saturating_add(beside_wei);
        let spent = audit.expected_wei().saturating_add(beside_wei);
        vec![
            format!(
                "Gas to place it: at most {place}; later, if nobody else sends what its audit needs (with {drawn}), at most {later}"
            ),
            format!(
                "All in, with that gas: at most {}, about {} if all is right",
                money.show_with(price, paid),
                money.show_with(price, spent)
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;

    #[test]
    fn gas_after_the_order_grows_with_what_is_drawn_and_is_a_number() {
        let (place, fee) = (U256::from(7), U256::from(2));
        let later = |currency, drawn| Gas::new(place, fee, currency, drawn).later_wei;
        let token = Currency::token(Address::repeat_byte(7));
        assert_eq!((later(Currency::KST, None), later(token, None)), (U256::from(390_000), U256::from(560_000)));
        assert_eq!(later(Currency::KST, Some(0)), U256::from(990_000));
        assert_eq!(later(Currency::KST, Some(3)), U256::from(2_310_000));
        let said = Gas::new(place, fee, Currency::KST, None).lines(&Money::kst(), U256::ZERO, None);
        let one = "Gas to place it: at most 0.000000000000000007 KST; later";
        assert!(said.len() == 1 && said.iter().all(|line| line.starts_with(one)), "{said:?}");
        assert!(said.iter().all(|line| line.ends_with("at most 0.00000000000039 KST")), "{said:?}");
    }
}
