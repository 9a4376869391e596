//! Reads the parameters of a request, and says which one is wrong and what was expected.
//!
//! # Design
//! A method declares its parameters in [`Param`]s (the method table shows them), and reads them by position through
//! [`Params`]. Formats are strict where geth is strict: `0x` prefix, no leading zeros in quantities, exact lengths.
//!
//! Trust: hostile input. Sizes are bounded by the body limit before anything is read here.

use crate::error::RpcError;
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Instant;

/// One parameter of a method, as the table documents it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    /// Name for messages, and for parameters given by name.
    pub(crate) name: &'static str,
    /// What it is, with its format.
    pub(crate) about: &'static str,
    /// Whether it may be left out.
    pub(crate) required: bool,
}

impl Param {
    /// A parameter that must be given.
    pub(crate) const fn required(name: &'static str, about: &'static str) -> Self {
        Self { name, about, required: true }
    }

    /// A parameter that may be missing or null.
    pub(crate) const fn optional(name: &'static str, about: &'static str) -> Self {
        Self { name, about, required: false }
    }
}

/// The parameters of one request, matched with the method's declaration.
#[derive(Debug)]
pub(crate) struct Params {
    declared: &'static [Param],
    values: Vec<Value>,
    /// When the caller is told that the time is over; `None` for never.
    deadline: Option<Instant>,
}

/// A value of a parameter or of a field in one.
pub(crate) trait FromJson: Sized {
    /// Reads the value; the error says what was expected, in words that follow "invalid argument 0 (name): ".
    fn from_json(value: &Value) -> Result<Self, String>;
}

impl Params {
    /// Matches the `params` member of a request (array, object by name, or absent) with the declaration.
    ///
    /// Errors: invalid params, if there are too many, one is unknown, or a required one is missing.
    pub(crate) fn new(declared: &'static [Param], given: Value) -> Result<Self, RpcError> {
        let mut values = match given {
            Value::Null => Vec::new(),
            Value::Array(values) => values,
            Value::Object(mut named) => {
                let values = declared.iter().map(|param| named.remove(param.name).unwrap_or_default()).collect();
                if let Some(name) = named.keys().next() {
                    let known: Vec<_> = declared.iter().map(|param| param.name).collect();
                    let name: String = name.chars().take(SHOWN_CHARS_MAX).collect();
                    return Err(RpcError::invalid_params(format!(
                        "unknown parameter {name:?}: this method takes [{}]",
                        known.join(", ")
                    )));
                }
                values
            }
            other => {
                return Err(RpcError::invalid_params(format!(
                    "params must be an array or an object, got {}",
                    show(&other)
                )));
            }
        };
        if values.len() > declared.len() {
            return Err(RpcError::invalid_params(format!(
                "too many arguments, want at most {}, got {}",
                declared.len(),
                values.len()
            )));
        }
        values.resize(declared.len(), Value::Null);
        let params = Self { declared, values, deadline: None };
        let missing =
            params.declared.iter().zip(&params.values).position(|(param, value)| param.required && value.is_null());
        match missing {
            Some(index) => Err(params.wrong(index, "missing value for required argument")),
            None => Ok(params),
        }
    }

    /// The parameter at `index`, which the declaration requires.
    pub(crate) fn get<T: FromJson>(&self, index: usize) -> Result<T, RpcError> {
        T::from_json(self.value(index)).map_err(|reason| self.wrong(index, &reason))
    }

    /// The parameter at `index`, or `None` if it is missing or null.
    pub(crate) fn find<T: FromJson>(&self, index: usize) -> Result<Option<T>, RpcError> {
        if self.value(index).is_null() { Ok(None) } else { self.get(index).map(Some) }
    }

    /// The parameter at `index` as it came; null if missing.
    pub(crate) fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    /// The parameter at `index` in the shape of one of alloy's types; the default if it is missing or null.
    pub(crate) fn shaped<T: DeserializeOwned + Default>(&self, index: usize) -> Result<T, RpcError> {
        shaped(self.value(index)).map_err(|reason| self.wrong(index, &reason))
    }

    /// The same, for a request that must end at `deadline`.
    pub(crate) const fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// True once nobody waits for the answer any more: long work asks now and then.
    pub(crate) fn late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The error for a wrong parameter.
    pub(crate) fn wrong(&self, index: usize, reason: &str) -> RpcError {
        let name = self.declared.get(index).map_or("?", |param| param.name);
        RpcError::invalid_params(format!("invalid argument {index} ({name}): {reason}"))
    }
}

/// Reads a value in the shape of one of alloy's types; the default if it is null.
pub(crate) fn shaped<T: DeserializeOwned + Default>(value: &Value) -> Result<T, String> {
    if value.is_null() {
        return Ok(T::default());
    }
    // The message repeats what it did not expect, however long.
    T::deserialize(value).map_err(|error| error.to_string().chars().take(MESSAGE_CHARS_MAX).collect())
}

/// Reads the member `name` of an object; `None` if missing or null. The error names the member.
pub(crate) fn member<T: FromJson>(object: &serde_json::Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::from_json(value).map(Some).map_err(|reason| format!("field {name:?}: {reason}")),
    }
}

/// As [`member`], for a member that must be there.
pub(crate) fn member_required<T: FromJson>(object: &serde_json::Map<String, Value>, name: &str) -> Result<T, String> {
    member(object, name)?.ok_or_else(|| format!("field {name:?} is missing"))
}

/// Longest message of a reader that is not ours, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Longest part of a hostile value that is echoed, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// A value in a message, shortened.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(values) => format!("an array of {}", values.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= SHOWN_CHARS_MAX => format!("{text:?}"),
        Value::String(text) => {
            let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("{start:?}... ({} bytes)", text.len())
        }
    }
}

fn expected<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {what}, got {}", show(value)))
}

/// The digits after `0x`, if the value is a string that starts with it.
fn hex_digits(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix("0x")
}

/// Exactly `N` bytes.
fn fixed<const N: usize>(value: &Value, what: &str) -> Result<[u8; N], String> {
    let mut bytes = [0u8; N];
    match hex_digits(value).map(|digits| alloy_primitives::hex::decode_to_slice(digits, &mut bytes)) {
        Some(Ok(())) if !value.as_str().is_some_and(|text| text.starts_with("0x0x")) => Ok(bytes),
        _ => expected(what, value),
    }
}

impl FromJson for Address {
    fn from_json(value: &Value) -> Result<Self, String> {
        fixed::<20>(value, "an address (0x and 40 hex digits)").map(Self::from)
    }
}

impl FromJson for B256 {
    fn from_json(value: &Value) -> Result<Self, String> {
        fixed::<32>(value, "a hash (0x and 64 hex digits)").map(Self::from)
    }
}

impl FromJson for Bytes {
    fn from_json(value: &Value) -> Result<Self, String> {
        const WHAT: &str = "bytes (0x and an even number of hex digits)";
        let Some(digits) = hex_digits(value).filter(|digits| !digits.starts_with("0x")) else {
            return expected(WHAT, value);
        };
        alloy_primitives::hex::decode(digits).map(Self::from).or_else(|_| expected(WHAT, value))
    }
}

impl FromJson for bool {
    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_bool().map_or_else(|| expected("true or false", value), Ok)
    }
}

impl FromJson for U256 {
    fn from_json(value: &Value) -> Result<Self, String> {
        const WHAT: &str = "a quantity (0x and hex digits without leading zeros, at most 256 bits)";
        let Some(digits) = hex_digits(value).filter(|digits| is_quantity(digits)) else {
            return expected(WHAT, value);
        };
        Self::from_str_radix(digits, 16).or_else(|_| expected(WHAT, value))
    }
}

/// Hex digits of a quantity: at least one, and no leading zero unless it is the only one.
fn is_quantity(digits: &str) -> bool {
    !digits.is_empty()
        && (digits == "0" || !digits.starts_with('0'))
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

impl FromJson for u128 {
    fn from_json(value: &Value) -> Result<Self, String> {
        let number = U256::from_json(value)?;
        Self::try_from(number).or_else(|_| expected("a quantity of at most 128 bits", value))
    }
}

impl FromJson for u64 {
    fn from_json(value: &Value) -> Result<Self, String> {
        let number = U256::from_json(value)?;
        Self::try_from(number).or_else(|_| expected("a quantity of at most 64 bits", value))
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Array(values) = value else { return expected("an array", value) };
        let mut items = Self::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            items.push(T::from_json(value).map_err(|reason| format!("element {index}: {reason}"))?);
        }
        Ok(items)
    }
}

/// A count that may also be a plain JSON number, as `eth_feeHistory` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl FromJson for Count {
    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_u64().map_or_else(|| u64::from_json(value), Ok).map(Self)
    }
}

/// A percentile: a JSON number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percentile(pub(crate) f64);

impl FromJson for Percentile {
    fn from_json(value: &Value) -> Result<Self, String> {
        match value.as_f64() {
            Some(number) if (0.0..=100.0).contains(&number) => Ok(Self(number)),
            _ => expected("a number from 0 to 100", value),
        }
    }
}

/// A storage key: hex of up to 32 bytes, padded or not, as geth takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StorageKey {
    /// The slot.
    pub(crate) slot: U256,
    /// Whether all 32 bytes were written out: `eth_getProof` then answers in the same form.
    pub(crate) full: bool,
}

impl FromJson for StorageKey {
    fn from_json(value: &Value) -> Result<Self, String> {
        const WHAT: &str = "a storage key (0x and at most 64 hex digits)";
        let digits = hex_digits(value).filter(|digits| {
            !digits.is_empty() && digits.len() <= 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let Some(digits) = digits else { return expected(WHAT, value) };
        let slot = U256::from_str_radix(digits, 16).or_else(|_| expected(WHAT, value))?;
        Ok(Self { slot, full: digits.len() == 64 })
    }
}

/// Which block: tag, number, hash, or EIP-1898 object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockId {
    /// The head. Keystead has instant finality: `safe` and `finalized` are the same block.
    Latest,
    /// The block that is being made; where it is not known, the head.
    Pending,
    /// The block of this height.
    Number(u64),
    /// The block with this hash.
    Hash(B256),
}

/// As [`BlockId`] without hashes, for methods "by number" and log ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockNumber(pub(crate) BlockId);

impl FromJson for BlockNumber {
    fn from_json(value: &Value) -> Result<Self, String> {
        const WHAT: &str = "a block number (0x hex quantity) or latest, safe, finalized, pending or earliest";
        let id = match value.as_str() {
            Some("latest" | "safe" | "finalized") => BlockId::Latest,
            Some("pending") => BlockId::Pending,
            Some("earliest") => BlockId::Number(0),
            _ => BlockId::Number(u64::from_json(value).or_else(|_| expected(WHAT, value))?),
        };
        Ok(Self(id))
    }
}

impl FromJson for BlockId {
    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::Object(object) => {
                let hash = member::<B256>(object, "blockHash")?;
                let number = member::<BlockNumber>(object, "blockNumber")?;
                // Every block that a node has is final, so `requireCanonical` holds by itself; it is only checked.
                member::<bool>(object, "requireCanonical")?;
                match (hash, number) {
                    (Some(hash), None) => Ok(Self::Hash(hash)),
                    (None, Some(BlockNumber(id))) => Ok(id),
                    (None, None) => Err("expected a field \"blockHash\" or \"blockNumber\"".to_owned()),
                    (Some(_), Some(_)) => {
                        Err("cannot specify both blockHash and blockNumber, choose one or the other".to_owned())
                    }
                }
            }
            Value::String(text) if text.len() == 66 => B256::from_json(value).map(Self::Hash),
            _ => BlockNumber::from_json(value).map(|BlockNumber(id)| id),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_as_geth_reads_them() {
        for (text, number) in [("0x0", 0), ("0x1", 1), ("0xff", 255), ("0xFf", 255), ("0xffffffffffffffff", u64::MAX)] {
            assert_eq!(u64::from_json(&json!(text)), Ok(number), "{text}");
        }
        for wrong in [
            json!("0x"),
            json!("0x00"),
            json!("0x01"),
            json!("1"),
            json!("0xg"),
            json!("0x10000000000000000"),
            json!(1),
            json!(null),
            json!(""),
            json!("0x+1"),
            json!("0x_1"),
            json!("-0x1"),
            json!(["0x1"]),
        ] {
            assert!(u64::from_json(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_need_a_prefix_and_whole_bytes() {
        assert_eq!(Bytes::from_json(&json!("0x")), Ok(Bytes::new()));
        assert_eq!(Bytes::from_json(&json!("0xAb01")), Ok(Bytes::from_static(&[0xab, 1])));
        for wrong in ["", "ab", "0xa", "0x0x", "0x0xab", "0xzz", "0X00"] {
            assert!(Bytes::from_json(&json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_and_hashes_have_exact_lengths() {
        for digits in [0, 38, 39, 41, 42, 64] {
            assert!(Address::from_json(&json!(format!("0x{}", "a".repeat(digits)))).is_err(), "{digits}");
        }
        assert_eq!(Address::from_json(&json!(format!("0x{}", "aA".repeat(20)))), Ok(Address::repeat_byte(0xaa)));
        assert!(Address::from_json(&json!(format!("0x0x{}", "a".repeat(38)))).is_err());
        assert!(B256::from_json(&json!(format!("0x{}", "a".repeat(63)))).is_err());
        assert_eq!(B256::from_json(&json!(format!("0x{}", "a".repeat(64)))), Ok(B256::repeat_byte(0xaa)));
    }

    #[test]
    fn blocks_are_named_by_tag_number_hash_or_object() {
        let hash = B256::repeat_byte(7);
        let cases = [
            (json!("latest"), BlockId::Latest),
            (json!("safe"), BlockId::Latest),
            (json!("finalized"), BlockId::Latest),
            (json!("pending"), BlockId::Pending),
            (json!("earliest"), BlockId::Number(0)),
            (json!("0x10"), BlockId::Number(16)),
            (json!(hash), BlockId::Hash(hash)),
            (json!({ "blockHash": hash, "requireCanonical": true }), BlockId::Hash(hash)),
            (json!({ "blockNumber": "0x2" }), BlockId::Number(2)),
            (json!({ "blockNumber": "latest", "blockHash": null }), BlockId::Latest),
        ];
        for (value, id) in cases {
            assert_eq!(BlockId::from_json(&value), Ok(id), "{value}");
        }
        for wrong in [
            json!("2"),
            json!(2),
            json!("newest"),
            json!({}),
            json!({ "blockHash": "0x1" }),
            json!({ "blockHash": hash, "blockNumber": "0x1" }),
            json!({ "blockHash": hash, "requireCanonical": 1 }),
        ] {
            assert!(BlockId::from_json(&wrong).is_err(), "{wrong}");
        }
        assert!(BlockNumber::from_json(&json!(hash)).is_err());
    }

    #[test]
    fn storage_keys_may_be_short_padded_or_full() {
        let key = |text: &str| StorageKey::from_json(&json!(text)).map(|key| (key.slot, key.full));
        assert_eq!(key("0x0"), Ok((U256::ZERO, false)));
        assert_eq!(key("0x01"), Ok((U256::from(1), false)));
        assert_eq!(key(&format!("0x{}", "0".repeat(64))), Ok((U256::ZERO, true)));
        for wrong in ["", "0x", "1", "0xasdf"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
        assert!(key(&format!("0x{}", "0".repeat(65))).is_err());
    }

    const DECLARED: &[Param] = &[Param::required("address", "who"), Param::optional("block", "when")];

    #[test]
    fn parameters_come_by_position_or_by_name() {
        let address = Address::repeat_byte(1);
        for given in [json!([address]), json!([address, null]), json!({ "address": address })] {
            let params = Params::new(DECLARED, given).unwrap();
            assert_eq!(params.get::<Address>(0), Ok(address));
            assert_eq!(params.find::<BlockId>(1), Ok(None));
        }
    }

    #[test]
    fn a_wrong_parameter_is_named_with_what_was_expected() {
        let message = |given: Value| {
            let read = |params: Params| Ok((params.get::<Address>(0)?, params.find::<BlockId>(1)?));
            Params::new(DECLARED, given).and_then(read).unwrap_err().message
        };
        assert_eq!(message(json!([])), "invalid argument 0 (address): missing value for required argument");
        assert_eq!(
            message(json!([null, "latest"])),
            "invalid argument 0 (address): missing value for required argument"
        );
        assert_eq!(message(json!([1, 2, 3])), "too many arguments, want at most 2, got 3");
        assert_eq!(message(json!({ "who": 1 })), "unknown parameter \"who\": this method takes [address, block]");
        assert_eq!(message(json!("x")), "params must be an array or an object, got \"x\"");
        assert_eq!(
            message(json!(["0x12"])),
            "invalid argument 0 (address): expected an address (0x and 40 hex digits), got \"0x12\""
        );
        let long = message(json!(["z".repeat(5_000)]));
        assert!(long.len() < 250 && long.contains("(5000 bytes)"), "{long}");
    }
}
