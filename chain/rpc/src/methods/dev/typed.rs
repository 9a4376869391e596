//! The hash of structured data that people sign (EIP-712), from the JSON that wallets are given.
//!
//! Trust: hostile input. Its depth is that of the JSON; a struct that is missing or null counts as zero, as wallets do it.

use crate::params::{FromJson, show};
use alloy_primitives::{Address, B256, Bytes, I256, U256, keccak256};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Types that one message may define, and fields that a type may have: far more than any contract takes.
const TYPES_MAX: usize = 256;
/// Name of the type that says for whom the message is.
const DOMAIN: &str = "EIP712Domain";
/// Fields that a domain may have, in the order in which they stand if the message does not define the type.
const DOMAIN_FIELDS: [(&str, &str); 5] = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
];

/// A message and the types that it is made of.
#[derive(Debug)]
pub(super) struct TypedData {
    types: BTreeMap<String, Vec<Field>>,
    primary: String,
    domain: Value,
    message: Value,
}

#[derive(Debug)]
struct Field {
    name: String,
    kind: String,
}

impl FromJson for TypedData {
    fn from_json(value: &Value) -> Result<Self, String> {
        let parsed: Value;
        let value = match value {
            // Older callers send the JSON as a string.
            Value::String(text) => {
                parsed =
                    serde_json::from_str(text).map_err(|_| "expected typed data: the string is not JSON".to_owned())?;
                &parsed
            }
            value => value,
        };
        let object = value.as_object().ok_or_else(|| format!("expected typed data, got {}", show(value)))?;
        let member = |name: &str| object.get(name).cloned().unwrap_or_default();
        let domain = member("domain");
        let mut types = types(&member("types"))?;
        if !types.contains_key(DOMAIN) {
            let present = |(name, _): &&(&str, &str)| domain.get(name).is_some_and(|value| !value.is_null());
            let field = |(name, kind): &(&str, &str)| Field { name: (*name).to_owned(), kind: (*kind).to_owned() };
            types.insert(DOMAIN.to_owned(), DOMAIN_FIELDS.iter().filter(present).map(field).collect());
        }
        let primary = member("primaryType");
        let primary = primary.as_str().filter(|name| types.contains_key(*name));
        let primary = primary.ok_or("field \"primaryType\": expected one of the types")?.to_owned();
        Ok(Self { types, primary, domain, message: member("message") })
    }
}

fn types(value: &Value) -> Result<BTreeMap<String, Vec<Field>>, String> {
    let object =
        value.as_object().ok_or_else(|| format!("field \"types\": expected an object, got {}", show(value)))?;
    if object.len() > TYPES_MAX {
        return Err(format!("field \"types\": got {}, at most {TYPES_MAX}", object.len()));
    }
    let field = |value: &Value| -> Option<Field> {
        let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Field { name: text("name")?, kind: text("type")? })
    };
    let mut types = BTreeMap::new();
    for (name, fields) in object {
        let fields = fields.as_array().filter(|fields| fields.len() <= TYPES_MAX);
        let fields: Option<Vec<Field>> = fields.and_then(|fields| fields.iter().map(field).collect());
        let fields = fields.ok_or_else(|| {
            let name: String = name.chars().take(32).collect();
            format!("type {name:?}: expected an array of at most {TYPES_MAX} objects with name and type")
        })?;
        types.insert(name.clone(), fields);
    }
    Ok(types)
}

impl TypedData {
    /// The hash that is signed. The error says which value does not fit its type.
    pub(super) fn hash(&self) -> Result<B256, String> {
        let mut bytes = vec![0x19, 0x01];
        bytes.extend(self.hash_struct(DOMAIN, &self.domain)?);
        if self.primary != DOMAIN {
            bytes.extend(self.hash_struct(&self.primary, &self.message)?);
        }
        Ok(keccak256(bytes))
    }

    fn hash_struct(&self, name: &str, value: &Value) -> Result<B256, String> {
        let none = Map::new();
        let object = match value {
            Value::Object(object) => object,
            Value::Null if name == DOMAIN => &none,
            other => return Err(format!("expected a {}, got {}", cut(name), show(other))),
        };
        let mut bytes = keccak256(self.describe(name)).to_vec();
        for Field { name, kind } in self.types.get(name).into_iter().flatten() {
            let value = object.get(name).unwrap_or(&Value::Null);
            let word = self.encode(kind, value).map_err(|reason| format!("{}: {reason}", cut(name)))?;
            bytes.extend(word);
        }
        Ok(keccak256(bytes))
    }

    /// `Name(type name,...)` of a type, then of all that it is made of, by name.
    fn describe(&self, name: &str) -> String {
        let mut parts = BTreeSet::new();
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            for Field { kind, .. } in self.types.get(next).into_iter().flatten() {
                let kind = kind.split('[').next().unwrap_or_default();
                if kind != name && self.types.contains_key(kind) && parts.insert(kind) {
                    open.push(kind);
                }
            }
        }
        let one = |name: &str| {
            let fields = self.types.get(name).into_iter().flatten();
            let fields: Vec<String> = fields.map(|Field { name, kind }| format!("{kind} {name}")).collect();
            format!("{name}({})", fields.join(","))
        };
        std::iter::once(name).chain(parts).map(one).collect()
    }

    /// The word that stands for a value.
    fn encode(&self, kind: &str, value: &Value) -> Result<B256, String> {
        if let Some((item, count)) = kind.strip_suffix(']').and_then(|kind| kind.rsplit_once('[')) {
            let values = value.as_array().ok_or_else(|| format!("expected an array, got {}", show(value)))?;
            if !count.is_empty() && count.parse::<usize>() != Ok(values.len()) {
                return Err(format!("expected {} values, got {}", cut(count), values.len()));
            }
            let mut words = Vec::with_capacity(values.len().saturating_mul(32));
            for value in values {
                words.extend(self.encode(item, value)?);
            }
            return Ok(keccak256(words));
        }
        if self.types.contains_key(kind) {
            return if value.is_null() { Ok(B256::ZERO) } else { self.hash_struct(kind, value) };
        }
        let wrong = || format!("expected {}, got {}", cut(kind), show(value));
        match kind {
            "string" => value.as_str().map(keccak256).ok_or_else(wrong),
            "bytes" => Bytes::from_json(value).map(keccak256),
            "bool" => bool::from_json(value).map(|truth| B256::with_last_byte(u8::from(truth))),
            "address" => Address::from_json(value).map(|address| address.into_word()),
            _ => atomic(kind, value).ok_or_else(wrong),
        }
    }
}

/// `bytesN`, `uintN` and `intN`; `None` if the type is unknown or the value does not fit.
fn atomic(kind: &str, value: &Value) -> Option<B256> {
    if let Some(size) = kind.strip_prefix("bytes") {
        let size: usize = size.parse().ok().filter(|size| (1..=32).contains(size))?;
        let bytes = Bytes::from_json(value).ok().filter(|bytes| bytes.len() == size)?;
        return Some(B256::right_padding_from(&bytes));
    }
    let (signed, bits) = match kind.strip_prefix("uint") {
        Some(bits) => (false, bits),
        None => (true, kind.strip_prefix("int")?),
    };
    let bits: usize = if bits.is_empty() { 256 } else { bits.parse().ok()? };
    if bits == 0 || bits > 256 || !bits.is_multiple_of(8) {
        return None;
    }
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) if !text.contains('_') && !matches!(text.as_str(), "" | "0x") => text.clone(),
        _ => return None,
    };
    if !signed {
        let number = match text.strip_prefix("0x") {
            Some(digits) => U256::from_str_radix(digits, 16).ok()?,
            None => U256::from_str_radix(&text, 10).ok()?,
        };
        return (number.bit_len() <= bits).then_some(number.into());
    }
    let number: I256 = text.parse().ok()?;
    // A sign takes one bit.
    let magnitude = if number.is_negative() { !number.into_raw() } else { number.into_raw() };
    (magnitude.bit_len() < bits).then_some(number.into_raw().into())
}

/// A hostile name in a message.
fn cut(name: &str) -> String {
    name.chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use alloy_primitives::b256;
    use serde_json::json;

    /// The example of EIP-712.
    fn mail() -> Value {
        json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" },
                    { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" },
                    { "name": "verifyingContract", "type": "address" },
                ],
                "Person": [{ "name": "name", "type": "string" }, { "name": "wallet", "type": "address" }],
                "Mail": [
                    { "name": "from", "type": "Person" },
                    { "name": "to", "type": "Person" },
                    { "name": "contents", "type": "string" },
                ],
            },
            "primaryType": "Mail",
            "domain": {
                "name": "Ether Mail", "version": "1", "chainId": 1,
                "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
            },
            "message": {
                "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
                "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
                "contents": "Hello, Bob!",
            },
        })
    }

    fn hash(value: &Value) -> Result<B256, String> {
        TypedData::from_json(value)?.hash()
    }

    #[test]
    fn the_example_of_the_standard_has_the_hashes_of_the_standard() {
        let data = TypedData::from_json(&mail()).unwrap();
        let kind = "Mail(Person from,Person to,string contents)Person(string name,address wallet)";
        assert_eq!(data.describe("Mail"), kind);
        assert_eq!(keccak256(kind), b256!("a0cedeb2dc280ba39b857546d74f5549c3a1d7bdc2dd96bf881f76108e23dac2"));
        assert_eq!(
            data.hash_struct("Mail", &data.message),
            Ok(b256!("c52c0ee5d84264471806290a3f2c4cecfc5490626bf912d01f240d7a274b371e"))
        );
        assert_eq!(
            data.hash_struct(DOMAIN, &data.domain),
            Ok(b256!("f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f"))
        );
        let want = b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
        assert_eq!(hash(&mail()), Ok(want));
        // As a string, and without the domain's type, it is the same.
        assert_eq!(hash(&json!(mail().to_string())), Ok(want));
        let mut without = mail();
        without["types"].as_object_mut().unwrap().remove(DOMAIN);
        assert_eq!(hash(&without), Ok(want));
    }

    #[test]
    fn values_are_words_as_contracts_have_them() {
        let data = TypedData::from_json(&mail()).unwrap();
        let word = |kind: &str, value: Value| data.encode(kind, &value).map(|word| U256::from_be_bytes(word.0));
        assert_eq!(word("uint8", json!(255)), Ok(U256::from(255)));
        assert_eq!(word("uint", json!("0x0a")), Ok(U256::from(10)));
        assert_eq!(word("uint64", json!("18446744073709551615")), Ok(U256::from(u64::MAX)));
        assert_eq!(word("int8", json!(-128)), Ok(U256::MAX - U256::from(127)));
        assert_eq!(word("int256", json!("-1")), Ok(U256::MAX));
        assert_eq!(word("bool", json!(true)), Ok(U256::ONE));
        assert_eq!(data.encode("bytes4", &json!("0x01020304")).unwrap()[..5], [1, 2, 3, 4, 0]);
        let two: Vec<u8> = [1, 2].into_iter().flat_map(|number| U256::from(number).to_be_bytes::<32>()).collect();
        assert_eq!(data.encode("uint8[]", &json!([1, 2])), Ok(keccak256(&two)));
        assert_eq!(data.encode("uint8[2]", &json!([1, 2])), Ok(keccak256(two)));
        assert_eq!(data.encode("Person", &Value::Null), Ok(B256::ZERO));
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let data = TypedData::from_json(&mail()).unwrap();
        let wrong = [
            ("uint8", json!(256)),
            ("uint8", json!(-1)),
            ("uint8", json!(1.5)),
            ("int8", json!(128)),
            ("int8", json!(-129)),
            ("uint7", json!(1)),
            ("uint264", json!(1)),
            ("bytes4", json!("0x01")),
            ("bytes33", json!("0x01")),
            ("uint8[2]", json!([1])),
            ("uint8[]", json!(1)),
            ("address", json!("0x01")),
            ("string", json!(1)),
            ("Nothing", json!(1)),
            ("uint256", json!("1_0")),
            ("uint256", json!("")),
            ("uint256", json!("0x")),
            ("int256", json!("")),
        ];
        for (kind, value) in wrong {
            assert!(data.encode(kind, &value).is_err(), "{kind} {value}");
        }
        let mut missing = mail();
        missing["message"]["to"].as_object_mut().unwrap().remove("wallet");
        assert!(hash(&missing).unwrap_err().starts_with("to: wallet: expected"), "{:?}", hash(&missing));
        for (field, value) in [("primaryType", json!("Letter")), ("types", json!([])), ("types", json!({ "A": [1] }))] {
            let mut broken = mail();
            broken[field] = value;
            assert!(hash(&broken).is_err(), "{field}");
        }
        assert!(hash(&json!("{")).is_err() && hash(&json!(7)).is_err());
        let many: Map<String, Value> = (0..=TYPES_MAX).map(|index| (format!("T{index}"), json!([]))).collect();
        let mut broken = mail();
        broken["types"] = Value::Object(many);
        assert!(hash(&broken).unwrap_err().contains("at most 256"));
    }

    #[test]
    fn a_type_that_holds_itself_ends_with_its_value() {
        let value = json!({
            "types": { "Node": [{ "name": "next", "type": "Node" }, { "name": "value", "type": "uint8" }] },
            "primaryType": "Node", "domain": {},
            "message": { "value": 1, "next": { "value": 2, "next": null } },
        });
        let data = TypedData::from_json(&value).unwrap();
        assert_eq!(data.describe("Node"), "Node(Node next,uint8 value)");
        assert!(data.hash().is_ok());
    }
}
