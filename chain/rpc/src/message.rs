//! JSON-RPC 2.0 framing: bytes to calls, results to bytes, whatever carries them (HTTP or WebSocket).
//!
//! # Design
//! Strict where JSON-RPC 2.0 is strict. An answer is written as text around the already serialised result, so that a
//! large result is serialised once and never held as a tree.
//!
//! Trust: hostile input. Depth is bounded by serde_json's recursion limit (128), length by the body limit, and the
//! number of calls is counted without allocating before a batch is read.

use crate::error::RpcError;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::fmt;

/// The `id` of a call, echoed in its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Id {
    /// `null`, and the id of answers to calls whose id cannot be read.
    Null,
    /// A non-negative integer.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// A string.
    Text(String),
}

/// One call of a message.
#[derive(Debug, PartialEq)]
pub(crate) struct Call {
    /// `None` for a notification, which gets no answer.
    pub(crate) id: Option<Id>,
    /// What to do, or why this is no call.
    pub(crate) content: Result<Request, RpcError>,
}

/// What a call asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Name of the method.
    pub(crate) method: String,
    /// The `params` member; null if absent.
    pub(crate) params: Value,
}

/// A message: one call, or a batch.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// One call.
    Single(Call),
    /// At least one call.
    Batch(Vec<Call>),
}

impl Message {
    /// Reads one message.
    ///
    /// Errors: parse error, invalid request for an empty batch or no object, limit error for a too long batch; the
    /// answer to all of them has a null id.
    pub(crate) fn parse(body: &[u8], calls_max: usize) -> Result<Self, RpcError> {
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            let raw: Raw = serde_json::from_slice(body).map_err(RpcError::parse)?;
            return Ok(Self::Single(raw.into()));
        }
        let count = serde_json::from_slice::<Vec<IgnoredAny>>(body).map_err(RpcError::parse)?.len();
        if count == 0 {
            return Err(RpcError::invalid_request("empty batch"));
        }
        if count > calls_max {
            return Err(RpcError::limit(format!("batch too large: got {count} requests, limit {calls_max}")));
        }
        let raw: Vec<Raw> = serde_json::from_slice(body).map_err(RpcError::parse)?;
        Ok(Self::Batch(raw.into_iter().map(Call::from).collect()))
    }

    /// The calls in order.
    pub(crate) fn calls(&self) -> &[Call] {
        match self {
            Self::Single(call) => std::slice::from_ref(call),
            Self::Batch(calls) => calls,
        }
    }

    /// The calls in order.
    pub(crate) fn into_calls(self) -> Vec<Call> {
        match self {
            Self::Single(call) => vec![call],
            Self::Batch(calls) => calls,
        }
    }
}

/// A call's members as they stand in the message, before anything is asked of them. Only these are kept: a map of all
/// members would cost more time than the rest of the reading.
///
/// `None` for JSON that is no object.
struct Raw(Option<Members>);

#[derive(Default)]
struct Members {
    version: Option<Value>,
    id: Option<Value>,
    method: Option<Value>,
    params: Option<Value>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut members = Members::default();
        // A member that comes twice counts as it came last.
        while let Some(name) = map.next_key::<Member>()? {
            let place = match name {
                Member::Version => &mut members.version,
                Member::Id => &mut members.id,
                Member::Method => &mut members.method,
                Member::Params => &mut members.params,
                Member::Other => {
                    // Read as a value, so that its depth is bounded like that of the others.
                    map.next_value::<Value>()?;
                    continue;
                }
            };
            *place = Some(map.next_value()?);
        }
        Ok(Raw(Some(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
        while sequence.next_element::<Value>()?.is_some() {}
        Ok(Raw(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Raw, E> {
        Ok(Raw(None))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw(None))
    }
}

/// Name of a member of a call.
enum Member {
    Version,
    Id,
    Method,
    Params,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "jsonrpc" => Member::Version,
            "id" => Member::Id,
            "method" => Member::Method,
            "params" => Member::Params,
            _ => Member::Other,
        })
    }
}

impl From<Raw> for Call {
    fn from(raw: Raw) -> Self {
        let Raw(Some(mut members)) = raw else {
            let content = Err(RpcError::invalid_request("a request must be a JSON object"));
            return Self { id: Some(Id::Null), content };
        };
        let id = match read_id(members.id.take()) {
            Ok(id) => id,
            Err(error) => return Self { id: Some(Id::Null), content: Err(error) },
        };
        let content = read_request(members);
        // Without a valid request nothing says that this was meant as a notification: the caller is told.
        let id = if content.is_err() { Some(id.unwrap_or(Id::Null)) } else { id };
        Self { id, content }
    }
}

fn read_id(given: Option<Value>) -> Result<Option<Id>, RpcError> {
    let id = match given {
        None => return Ok(None),
        Some(Value::Null) => Some(Id::Null),
        Some(Value::String(text)) => Some(Id::Text(text)),
        Some(Value::Number(number)) => number.as_u64().map(Id::Unsigned).or_else(|| number.as_i64().map(Id::Signed)),
        Some(_) => None,
    };
    id.map(Some).ok_or_else(|| RpcError::invalid_request("id must be a string, an integer of 64 bits, or null"))
}

fn read_request(members: Members) -> Result<Request, RpcError> {
    if members.version.as_ref().and_then(Value::as_str) != Some("2.0") {
        return Err(RpcError::invalid_request("the field \"jsonrpc\" must be \"2.0\""));
    }
    let Some(Value::String(method)) = members.method else {
        return Err(RpcError::invalid_request("the field \"method\" must be a string"));
    };
    Ok(Request { method, params: members.params.unwrap_or_default() })
}

/// A result as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json(String);

impl Json {
    /// Serialises a result.
    ///
    /// Errors: internal, if the value has no JSON form.
    pub(crate) fn of(value: &impl Serialize) -> Result<Self, RpcError> {
        serde_json::to_string(value).map(Self).map_err(|error| RpcError::internal(&error))
    }

    /// Serialises a result that may be far too large, and stops at the limit.
    ///
    /// Errors: response too large; internal, if the value has no JSON form.
    pub(crate) fn within(value: &impl Serialize, bytes_max: usize) -> Result<Self, RpcError> {
        let mut text = Bounded { bytes: Vec::new(), bytes_max, full: false };
        match serde_json::to_writer(&mut text, value) {
            Err(_) if text.full => Err(RpcError::response_too_large(bytes_max)),
            Err(error) => Err(RpcError::internal(&error)),
            Ok(()) => String::from_utf8(text.bytes).map(Self).map_err(|error| RpcError::internal(&error)),
        }
    }

    /// Text that is JSON already.
    pub(crate) const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Takes bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len().saturating_add(more.len()) > self.bytes_max {
            self.full = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The answer to one call as JSON text.
pub(crate) fn response(id: &Id, outcome: Result<Json, RpcError>) -> String {
    // An id is a string or a number and an error holds strings and hex: neither can fail to serialise.
    let id = serde_json::to_string(id).unwrap_or_else(|_| "null".to_owned());
    match outcome {
        Ok(Json(result)) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(error) => {
            let error = serde_json::to_string(&error)
                .unwrap_or_else(|_| r#"{"code":-32603,"message":"internal error"}"#.to_owned());
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use crate::error::Code;

    fn single(body: &str) -> Call {
        match Message::parse(body.as_bytes(), 10).unwrap() {
            Message::Single(call) => call,
            Message::Batch(_) => panic!("a batch: {body}"),
        }
    }

    #[test]
    fn a_result_may_have_the_limit_and_not_one_byte_more() {
        assert_eq!(Json::within(&"ab", 4).unwrap().bytes(), 4);
        assert_eq!(Json::within(&"abc", 4).unwrap_err().code, Code::ResponseTooLarge);
    }

    #[test]
    fn ids_are_echoed_exactly() {
        for id in ["0", "7", "-3", "18446744073709551615", "-9223372036854775808", r#""a\"b""#, r#""""#, "null"] {
            let call = single(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#));
            let text = response(&call.id.unwrap(), Json::of(&1));
            assert_eq!(text, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#));
        }
    }

    #[test]
    fn an_id_that_cannot_be_echoed_is_refused() {
        for id in ["1.5", "1e3", "18446744073709551616", "true", "{}", "[1]"] {
            let call = single(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#));
            assert_eq!(call.id, Some(Id::Null), "{id}");
            assert_eq!(call.content.unwrap_err().code, Code::InvalidRequest, "{id}");
        }
    }

    #[test]
    fn a_call_without_id_is_a_notification_only_if_it_is_a_request() {
        assert_eq!(single(r#"{"jsonrpc":"2.0","method":"m"}"#).id, None);
        assert_eq!(single(r#"{"jsonrpc":"1.0","method":"m"}"#).id, Some(Id::Null));
        assert_eq!(single(r#"{"method":"m"}"#).id, Some(Id::Null));
        assert_eq!(single(r#"{"jsonrpc":"2.0","id":4,"method":4}"#).id, Some(Id::Unsigned(4)));
    }

    #[test]
    fn a_member_that_comes_twice_counts_as_it_came_last_and_strange_ones_do_not_matter() {
        let call = single(
            r#"{"x":[{"y":1.5}],"id":1,"jsonrpc":"2.0","method":"a","id":2,"params":[1],"method":"b","params":[2]}"#,
        );
        let request = Request { method: "b".to_owned(), params: serde_json::json!([2]) };
        assert_eq!(call, Call { id: Some(Id::Unsigned(2)), content: Ok(request) });
        for other in ["1", "-1", "1.5", "true", "null", r#""text""#, "[[1]]"] {
            let Message::Batch(calls) = Message::parse(format!("[{other}]").as_bytes(), 10).unwrap() else {
                panic!("no batch: {other}")
            };
            assert_eq!(calls.first().unwrap().content.as_ref().unwrap_err().code, Code::InvalidRequest, "{other}");
        }
    }

    #[test]
    fn deep_json_is_refused_and_a_batch_is_counted_before_it_is_read() {
        let deep =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(Message::parse(deep.as_bytes(), 10).unwrap_err().code, Code::Parse);
        let very_deep = "[".repeat(1_000_000);
        assert_eq!(Message::parse(very_deep.as_bytes(), 10).unwrap_err().code, Code::Parse);
        let batch = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(Message::parse(batch(11).as_bytes(), 10).unwrap_err().code, Code::LimitExceeded);
        assert_eq!(Message::parse(batch(10).as_bytes(), 10).unwrap().calls().len(), 10);
        assert_eq!(Message::parse(b" [ ] ", 10).unwrap_err().code, Code::InvalidRequest);
    }

    #[test]
    fn bytes_that_are_no_json_are_a_parse_error() {
        for body in [&b""[..], b" ", b"{", b"}", b"{}x", b"\xff", b"[1,]", b"{\"a\":}", b"nul"] {
            assert_eq!(Message::parse(body, 10).unwrap_err().code, Code::Parse, "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(body in "[\\[\\]{}:,\"0-9a-z \\\\.-]{0,60}", calls_max in 0usize..4) {
            if let Ok(message) = Message::parse(body.as_bytes(), calls_max) {
                let single = matches!(message, Message::Single(_));
                proptest::prop_assert!(single || (1..=calls_max).contains(&message.calls().len()));
            }
        }

        #[test]
        fn any_json_object_is_a_call_or_an_invalid_request(
            version in "2\\.0|1\\.0|",
            id in "1|-1|null|\"x\"|true|\\{\\}|1\\.5",
            method in "\"m\"|7|null",
            params in "null|\\[\\]|\\{\\}|3",
        ) {
            let body = format!(r#"{{"jsonrpc":"{version}","id":{id},"method":{method},"params":{params}}}"#);
            let call = single(&body);
            let good_id = !["true", "{}", "1.5"].contains(&id.as_str());
            proptest::prop_assert_eq!(call.content.is_ok(), version == "2.0" && good_id && method == "\"m\"");
            let echoed = call.id.map(|id| serde_json::to_string(&id).unwrap());
            proptest::prop_assert_eq!(echoed, Some(if good_id { id } else { "null".to_owned() }));
        }
    }
}
