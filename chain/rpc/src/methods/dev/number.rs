//! Numbers as developers' tools write them: quantities with or without leading zeros, decimal strings, plain JSON numbers.

use crate::params::{FromJson, show};
use alloy_primitives::U256;
use serde_json::Value;

/// Up to 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole(pub(super) u64);

/// Up to 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount(pub(super) U256);

impl FromJson for Amount {
    fn from_json(value: &Value) -> Result<Self, String> {
        let wrong = || format!("expected a number of at most 256 bits, got {}", show(value));
        let read = match value {
            Value::Number(number) => number.as_u64().map(U256::from),
            Value::String(text) => match text.strip_prefix("0x") {
                Some(digits) if is_number(digits, 16) => U256::from_str_radix(digits, 16).ok(),
                None if is_number(text, 10) => U256::from_str_radix(text, 10).ok(),
                _ => None,
            },
            _ => None,
        };
        read.map(Self).ok_or_else(wrong)
    }
}

impl FromJson for Whole {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Amount(number) = Amount::from_json(value)?;
        let wrong = |_| format!("expected a number of at most 64 bits, got {}", show(value));
        u64::try_from(number).map(Self).map_err(wrong)
    }
}

/// At least one digit, and nothing else: the integer reader would skip underscores.
fn is_number(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_read_in_all_the_forms_that_tools_write() {
        for value in [json!("0x10"), json!("0x0010"), json!("16"), json!(16)] {
            assert_eq!(Whole::from_json(&value), Ok(Whole(16)), "{value}");
            assert_eq!(Amount::from_json(&value), Ok(Amount(U256::from(16))), "{value}");
        }
        assert_eq!(Whole::from_json(&json!("0xffffffffffffffff")), Ok(Whole(u64::MAX)));
        for wrong in
            [json!(""), json!("0x"), json!("0x1_0"), json!("1_0"), json!("-1"), json!(-1), json!(1.5), json!([1])]
        {
            assert!(Whole::from_json(&wrong).is_err() && Amount::from_json(&wrong).is_err(), "{wrong}");
        }
        assert!(Whole::from_json(&json!("0x10000000000000000")).is_err());
        assert!(Amount::from_json(&json!(format!("0x1{}", "0".repeat(64)))).is_err());
    }
}
