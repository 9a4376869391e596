//! Reading and writing the small part of JSON that bundles use: objects, arrays and strings without escapes.
//!
//! # Design
//! Full JSON has corners in which two parsers disagree (duplicate keys, escapes, surrogates, number precision). None of them
//! exists here, so the Rust and the TypeScript verifier cannot disagree either. Spec: specs/0002-proof-bundle.md §2.
//!
//! # Invariants
//! Recursion is bounded by [`DEPTH_MAX`]; memory by a constant times the input.

use crate::bundle::{BUNDLE_BYTES_MAX, ParseError};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use std::fmt::Write as _;

/// Deepest nesting of objects and arrays. A bundle needs four; the rest is room for a later version.
const DEPTH_MAX: usize = 8;

/// Most strings, arrays and objects of a file, so that 16 MiB of brackets do not become fifty times as much memory. A map's certificate
/// with all that it may have has some 86,000, and no other format has more: above that the step *parse* refuses anyway.
const VALUES_MAX: usize = 131_072;

/// A parsed value. Fields keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json<'a> {
    Object(Vec<(&'a str, Self)>),
    Array(Vec<Self>),
    Text(&'a str),
}

/// Bytes that are not the JSON of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than a bundle may be.
    #[error("too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes given.
        got_bytes: usize,
        /// Largest size accepted.
        max_bytes: usize,
    },
    /// Another byte than the grammar allows here.
    #[error("not a bundle's JSON: expected {expected} at byte {at}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What would have been right.
        expected: &'static str,
    },
    /// Nested deeper than 8 levels.
    #[error("nested too deep at byte {at}")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
    },
    /// More strings, arrays and objects than any format has.
    #[error("too many values at byte {at}")]
    TooMany {
        /// Offset in bytes of the first one too many.
        at: usize,
    },
}

/// Refuses what is longer than a file of its format may be.
pub(crate) const fn bound(bytes: &[u8], max_bytes: usize) -> Result<(), JsonError> {
    if bytes.len() > max_bytes { Err(JsonError::TooLarge { got_bytes: bytes.len(), max_bytes }) } else { Ok(()) }
}

/// Reads exactly one object of a bundle's size. Trust: hostile input.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json<'_>, JsonError> {
    parse_up_to(bytes, BUNDLE_BYTES_MAX)
}

/// The same for another size: the caller asks [`bound`] again when it knows the format.
pub(crate) fn parse_up_to(bytes: &[u8], max_bytes: usize) -> Result<Json<'_>, JsonError> {
    bound(bytes, max_bytes)?;
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError::Syntax { at: error.valid_up_to(), expected: "printable ASCII" })?;
    let mut parser = Parser { text, at: 0, values: 0 };
    parser.space();
    if parser.peek() != Some(b'{') {
        return Err(parser.syntax("an object"));
    }
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() { Err(parser.syntax("the end")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Begun so far.
    values: usize,
}

impl<'a> Parser<'a> {
    const fn syntax(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { at: self.at, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    const fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.syntax(expected));
        }
        self.step();
        Ok(())
    }

    /// True and consumed if `byte` is next.
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.step();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.values = self.values.saturating_add(1);
        if self.values > VALUES_MAX {
            return Err(JsonError::TooMany { at: self.at });
        }
        match self.peek() {
            Some(b'"') => self.string().map(Json::Text),
            Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(JsonError::TooDeep { at: self.at }),
            Some(b'{') => self.object(depth.saturating_add(1)),
            Some(b'[') => self.array(depth.saturating_add(1)),
            _ => Err(self.syntax("an object, an array or a string")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.step();
        let mut fields = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(b':', "a colon")?;
            self.space();
            fields.push((name, self.value(depth)?));
            self.space();
            if !self.eat(b',') {
                self.take(b'}', "a comma or a closing brace")?;
                return Ok(Json::Object(fields));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.step();
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            self.space();
            if !self.eat(b',') {
                self.take(b']', "a comma or a closing bracket")?;
                return Ok(Json::Array(items));
            }
        }
    }

    fn string(&mut self) -> Result<&'a str, JsonError> {
        self.take(b'"', "a quotation mark")?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.text.get(start..self.at).unwrap_or_default();
                    self.step();
                    return Ok(text);
                }
                Some(b'\\') => return Err(self.syntax("a string without backslash")),
                Some(0x20..=0x7e) => self.step(),
                _ => return Err(self.syntax("printable ASCII")),
            }
        }
    }
}

/// The fields of one object, taken out by name until none is left.
pub(crate) struct Fields<'a> {
    entries: Vec<(&'a str, Json<'a>)>,
}

impl<'a> Fields<'a> {
    /// Opens an object; `name` is the field it stands in.
    pub(crate) fn open(json: Json<'a>, name: &'static str) -> Result<Self, ParseError> {
        match json {
            Json::Object(entries) => Ok(Self { entries }),
            _ => Err(ParseError::Form { field: name, want: "an object" }),
        }
    }

    pub(crate) fn take(&mut self, name: &'static str) -> Result<Json<'a>, ParseError> {
        let at =
            self.entries.iter().position(|(field, _)| *field == name).ok_or(ParseError::Missing { field: name })?;
        Ok(self.entries.remove(at).1)
    }

    /// Whether a field is there that nobody took yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(field, _)| *field == name)
    }

    /// Refuses fields that nobody took, which includes the second of two equal ones.
    pub(crate) fn close(self) -> Result<(), ParseError> {
        match self.entries.first() {
            Some((name, _)) => Err(ParseError::Unknown { field: name.chars().take(40).collect() }),
            None => Ok(()),
        }
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<&'a str, ParseError> {
        text(&self.take(name)?, name)
    }

    pub(crate) fn array(&mut self, name: &'static str, max: usize) -> Result<Vec<Json<'a>>, ParseError> {
        array(self.take(name)?, name, max)
    }

    /// A quantity of at most `bits` bits, 256 at most.
    pub(crate) fn quantity(&mut self, name: &'static str, bits: usize) -> Result<U256, ParseError> {
        let text = self.text(name)?;
        let wrong = ParseError::Form { field: name, want: "a quantity: 0x and the shortest lower-case hexadecimal" };
        let digits = text.strip_prefix("0x").ok_or_else(|| wrong.clone())?;
        let shortest = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
        if !shortest || !is_lower_hex(digits) || digits.len() > 64 {
            return Err(wrong);
        }
        let number = U256::from_str_radix(digits, 16).map_err(|_| wrong)?;
        if number.bit_len() > bits { Err(ParseError::TooBig { field: name, bits }) } else { Ok(number) }
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<u64, ParseError> {
        let number = self.quantity(name, 64)?;
        u64::try_from(number).map_err(|_| ParseError::TooBig { field: name, bits: 64 })
    }

    pub(crate) fn word(&mut self, name: &'static str) -> Result<B256, ParseError> {
        fixed::<32>(self.text(name)?, name).map(B256::from)
    }

    pub(crate) fn address(&mut self, name: &'static str) -> Result<Address, ParseError> {
        fixed::<20>(self.text(name)?, name).map(Address::from)
    }

    pub(crate) fn fixed<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], ParseError> {
        fixed::<N>(self.text(name)?, name)
    }

    pub(crate) fn bytes(&mut self, name: &'static str) -> Result<Bytes, ParseError> {
        bytes(self.text(name)?, name)
    }

    pub(crate) fn list(&mut self, name: &'static str, max: usize) -> Result<Vec<Bytes>, ParseError> {
        list(self.take(name)?, name, max)
    }
}

/// An array of byte strings.
pub(crate) fn list(json: Json<'_>, name: &'static str, max: usize) -> Result<Vec<Bytes>, ParseError> {
    array(json, name, max)?.iter().map(|item| bytes(text(item, name)?, name)).collect()
}

fn array<'a>(json: Json<'a>, name: &'static str, max: usize) -> Result<Vec<Json<'a>>, ParseError> {
    match json {
        Json::Array(items) if items.len() <= max => Ok(items),
        Json::Array(items) => Err(ParseError::TooMany { field: name, got: items.len(), max }),
        _ => Err(ParseError::Form { field: name, want: "an array" }),
    }
}

pub(crate) const fn text<'a>(json: &Json<'a>, name: &'static str) -> Result<&'a str, ParseError> {
    match json {
        Json::Text(text) => Ok(text),
        _ => Err(ParseError::Form { field: name, want: "a string" }),
    }
}

pub(crate) fn bytes(text: &str, name: &'static str) -> Result<Bytes, ParseError> {
    let wrong = || ParseError::Form { field: name, want: "bytes: 0x and two lower-case digits per byte" };
    let digits = text.strip_prefix("0x").filter(|digits| is_lower_hex(digits)).ok_or_else(wrong)?;
    hex::decode(digits).map(Bytes::from).map_err(|_| wrong())
}

pub(crate) fn fixed<const N: usize>(text: &str, name: &'static str) -> Result<[u8; N], ParseError> {
    let bytes = bytes(text, name)?;
    bytes.as_ref().try_into().map_err(|_| ParseError::Length { field: name, got_bytes: bytes.len(), want_bytes: N })
}

fn is_lower_hex(digits: &str) -> bool {
    digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Writes objects field by field, without white space.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// Starts with an opening brace.
    pub(crate) fn object() -> Self {
        Self { out: "{".to_owned() }
    }

    pub(crate) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }

    fn name(&mut self, name: &str) {
        if !self.out.ends_with('{') {
            self.out.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\"{name}\":");
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        let _ = write!(self.out, "\"{text}\"");
    }

    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.text(name, &format!("{number:#x}"));
    }

    pub(crate) fn quantity(&mut self, name: &str, number: U256) {
        self.text(name, &format!("{number:#x}"));
    }

    pub(crate) fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, &hex::encode_prefixed(bytes));
    }

    pub(crate) fn list(&mut self, name: &str, items: &[impl AsRef<[u8]>]) {
        self.raw(name, &list_json(items));
    }

    pub(crate) fn lists(&mut self, name: &str, items: &[Vec<Bytes>]) {
        let items: Vec<String> = items.iter().map(|list| list_json(list)).collect();
        self.raw(name, &format!("[{}]", items.join(",")));
    }
}

fn list_json(items: &[impl AsRef<[u8]>]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("\"{}\"", hex::encode_prefixed(item))).collect();
    format!("[{}]", items.join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn white_space_between_tokens_carries_nothing() {
        let parsed = parse(b" {\t\"a\" : [ \"b\" ,\r\n{ } , [ ] ] } \n").unwrap();
        assert_eq!(parsed, parse(br#"{"a":["b",{},[]]}"#).unwrap());
    }

    #[test]
    fn everything_but_objects_arrays_and_plain_strings_is_refused() {
        let refused: [&[u8]; 22] = [
            b"",
            b" ",
            b"[]",
            b"\"a\"",
            b"{}x",
            b"{} {}",
            b"{\"a\":1}",
            b"{\"a\":true}",
            b"{\"a\":null}",
            b"{\"a\":\"\\u0041\"}",
            b"{\"a\":\"b\",}",
            b"{\"a\":[\"b\",]}",
            b"{a:\"b\"}",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":\"b\"",
            b"{\"a\":\"b",
            b"{\"a\":\"\n\"}",
            "{\"a\":\"ä\"}".as_bytes(),
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\x7f\"}",
        ];
        for text in refused {
            assert!(matches!(parse(text), Err(JsonError::Syntax { .. })), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn depth_is_bounded_at_eight() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse(nested(8).as_bytes()).is_ok());
        assert!(matches!(parse(nested(9).as_bytes()), Err(JsonError::TooDeep { .. })));
        assert!(matches!(parse(nested(100_000).as_bytes()), Err(JsonError::TooDeep { .. })));
    }

    #[test]
    fn size_is_bounded_at_a_mebibyte() {
        let mut text = b"{}".to_vec();
        text.resize(BUNDLE_BYTES_MAX, b' ');
        assert!(parse(&text).is_ok());
        text.push(b' ');
        assert!(matches!(parse(&text), Err(JsonError::TooLarge { .. })));
        assert!(parse_up_to(&text, BUNDLE_BYTES_MAX + 1).is_ok());
    }

    #[test]
    fn values_are_counted_before_they_become_memory() {
        // The object itself is one, and the array another.
        let full = |piece: &str, count: usize| format!("{{\"a\":[{}]}}", vec![piece; count].join(","));
        for piece in ["[]", "{}", "\"\""] {
            assert!(parse(full(piece, VALUES_MAX - 2).as_bytes()).is_ok(), "{piece}");
            let more = full(piece, VALUES_MAX - 1);
            assert!(matches!(parse(more.as_bytes()), Err(JsonError::TooMany { .. })), "{piece}");
        }
    }

    #[test]
    fn a_quantity_has_one_form() {
        let read = |text: &str, bits| {
            let json = format!("{{\"n\":\"{text}\"}}");
            let mut fields = Fields::open(parse(json.as_bytes()).unwrap(), "test").unwrap();
            fields.quantity("n", bits)
        };
        assert_eq!(read("0x0", 64), Ok(U256::ZERO));
        assert_eq!(read("0xffffffffffffffff", 64), Ok(U256::from(u64::MAX)));
        assert!(matches!(read("0x10000000000000000", 64), Err(ParseError::TooBig { .. })));
        assert_eq!(read(&format!("0x{}", "f".repeat(64)), 256), Ok(U256::MAX));
        for wrong in [
            "",
            "0",
            "0x",
            "0x00",
            "0x01",
            "0xA",
            "0X1",
            "0x-1",
            "0x+1",
            "0x1_0",
            " 0x1",
            "0x1 ",
            &format!("0x{}", "1".repeat(65)),
        ] {
            assert!(matches!(read(wrong, 256), Err(ParseError::Form { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_field_twice_unknown_or_missing_is_refused() {
        let open = |text: &'static str| Fields::open(parse(text.as_bytes()).unwrap(), "test").unwrap();
        let mut fields = open(r#"{"a":"1","a":"1"}"#);
        assert_eq!(fields.text("a"), Ok("1"));
        assert!(matches!(fields.close(), Err(ParseError::Unknown { .. })));
        assert!(matches!(open("{}").text("a"), Err(ParseError::Missing { .. })));
    }
}
