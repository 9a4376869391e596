//! Money as people read it: an exact number of smallest units, and the currency that they are of.

use alloy_primitives::{Address, U256};
use alloy_rlp::{BufMut, Decodable, Encodable};
use core::fmt;
use serde::{Deserialize, Serialize};

/// KST, or a listed ERC-20 token. On the wire it is an address, and zero means KST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Currency(Address);

impl Currency {
    /// The native currency: 18 decimals.
    pub const KST: Self = Self(Address::ZERO);

    /// The token of this contract; the zero address is KST.
    #[must_use]
    pub const fn token(contract: Address) -> Self {
        Self(contract)
    }

    /// The token's contract; none for KST.
    #[must_use]
    pub fn contract(self) -> Option<Address> {
        (!self.0.is_zero()).then_some(self.0)
    }

    /// As on the wire: zero for KST.
    #[must_use]
    pub const fn address(self) -> Address {
        self.0
    }
}

impl Encodable for Currency {
    fn encode(&self, out: &mut dyn BufMut) {
        self.0.encode(out);
    }

    fn length(&self) -> usize {
        self.0.length()
    }
}

impl Decodable for Currency {
    fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        Address::decode(bytes).map(Self)
    }
}

/// How a currency is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name behind the number.
    pub symbol: String,
    /// Digits behind the point, at most [`DECIMALS_MAX`]; more count as that.
    pub decimals: u8,
}

/// Digits behind the point of any sensible token; a token that says more is shown with these.
pub const DECIMALS_MAX: u8 = 36;

impl Unit {
    /// That of KST.
    #[must_use]
    pub fn kst() -> Self {
        Self { symbol: "KST".to_owned(), decimals: 18 }
    }

    /// The amount with its unit, exact, without trailing zeros: `1.25 KST`.
    #[must_use]
    pub fn show(&self, amount: U256) -> String {
        Shown { amount, unit: self }.to_string()
    }
}

struct Shown<'a> {
    amount: U256,
    unit: &'a Unit,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.unit.decimals.min(DECIMALS_MAX));
        let digits = format!("{:0>width$}", self.amount.to_string(), width = decimals.saturating_add(1));
        let (whole, part) = digits.split_at(digits.len().saturating_sub(decimals));
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        write!(f, "{whole}{point}{part} {}", self.unit.symbol)
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_carry_their_unit() {
        let kst = Unit::kst();
        let cases = [
            (0u128, "0 KST"),
            (1, "0.000000000000000001 KST"),
            (1_250_000_000_000_000_000, "1.25 KST"),
            (10u128.pow(18), "1 KST"),
            (10u128.pow(24), "1000000 KST"),
        ];
        for (amount, text) in cases {
            assert_eq!(kst.show(U256::from(amount)), text);
        }
        let whole = Unit { symbol: "COIN".into(), decimals: 0 };
        assert_eq!(whole.show(U256::from(120u8)), "120 COIN");
        assert!(Unit { symbol: "X".into(), decimals: 255 }.show(U256::MAX).ends_with(" X"));
    }

    #[test]
    fn the_zero_address_is_kst() {
        assert_eq!(Currency::token(Address::ZERO), Currency::KST);
        assert_eq!(Currency::KST.contract(), None);
    }
}
