//! What a caller reads when a request cannot be answered: JSON-RPC error codes and messages that Ethereum tools know.
//!
//! # Design
//! Codes are those of JSON-RPC 2.0, and beyond it those that geth answers, because ethers, viem and cast decide by
//! them. Messages name the parameter, the limit or the number that would have been right.
//!
//! # Invariants
//! Nothing about this machine (paths, causes of store errors) reaches a message; that goes to the log.

use alloy_primitives::{B256, Bytes};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Why [`crate::serve`] ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener has no usable address, or cannot accept any longer.
    #[error("rpc listener: {0}")]
    Listener(#[from] std::io::Error),
    /// An origin in [`crate::Cors::Only`] is no header value.
    #[error("rpc: not an origin: {0}")]
    Origin(String),
}

/// The `code` of a JSON-RPC error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Not JSON.
    Parse,
    /// JSON, but no request.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// Parameters of the wrong number, type or range.
    InvalidParams,
    /// This node is broken.
    Internal,
    /// The request is well formed and cannot be carried out (refused transaction, state not kept, failed call).
    Server,
    /// Took longer than the node allows.
    Timeout,
    /// The answer would be larger than the node allows.
    ResponseTooLarge,
    /// More than the node allows at once or in one request.
    LimitExceeded,
    /// The EVM call reverted; `data` is what it returned.
    Reverted,
    /// A transaction was taken and did not get into a block in the time that the caller gave (EIP-7966); `data` is its
    /// hash.
    NotIncluded,
    /// A transaction was taken and waits for a nonce or for funds (EIP-7966); `data` is its hash.
    NotReady,
    /// The method needs a connection that takes notifications, as geth says it.
    NotificationsUnsupported,
    /// A code that one method defines for itself.
    Own(i32),
}

impl Code {
    /// The number on the wire.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Parse => -32_700,
            Self::InvalidRequest => -32_600,
            Self::MethodNotFound => -32_601,
            Self::InvalidParams => -32_602,
            Self::Internal => -32_603,
            Self::Server => -32_000,
            Self::Timeout => -32_002,
            Self::ResponseTooLarge => -32_003,
            Self::LimitExceeded => -32_005,
            Self::Reverted => 3,
            Self::NotIncluded => 4,
            Self::NotReady => 5,
            Self::NotificationsUnsupported => -32_601,
            Self::Own(number) => number,
        }
    }
}

/// One JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcError {
    /// Kind.
    pub(crate) code: Code,
    /// For people and for the tools that match geth's phrases.
    pub(crate) message: String,
    /// Bytes that the EVM returned, or a transaction's hash; hex on the wire.
    pub(crate) data: Option<Bytes>,
}

impl RpcError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The body is not JSON, or nested too deeply.
    pub(crate) fn parse(reason: impl std::fmt::Display) -> Self {
        Self::new(Code::Parse, format!("invalid JSON: {reason}"))
    }

    /// JSON that is no JSON-RPC 2.0 request.
    pub(crate) fn invalid_request(reason: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidRequest, format!("invalid request: {reason}"))
    }

    /// No method of that name.
    pub(crate) fn method_not_found(name: &str) -> Self {
        /// Longest part of a hostile name that is echoed, in characters.
        const NAME_CHARS_MAX: usize = 64;
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        Self::new(Code::MethodNotFound, format!("the method {name} does not exist/is not available"))
    }

    /// A parameter is wrong; the message must name it.
    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParams, message)
    }

    /// The request cannot be carried out.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(Code::Server, message)
    }

    /// An error with a code that one method defines for itself.
    pub(crate) fn coded(number: i32, message: impl Into<String>) -> Self {
        Self::new(Code::Own(number), message)
    }

    /// A limit of this node.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(Code::LimitExceeded, message)
    }

    /// The time for a request is over.
    pub(crate) fn timeout() -> Self {
        Self::new(Code::Timeout, "request timed out")
    }

    /// The answers of a batch are larger than allowed.
    pub(crate) fn response_too_large(max_bytes: usize) -> Self {
        Self::new(Code::ResponseTooLarge, format!("response too large: max_bytes={max_bytes}"))
    }

    /// The EVM reverted with `output`.
    pub(crate) fn reverted(output: Bytes) -> Self {
        let message = match revert_reason(&output) {
            Some(reason) => format!("execution reverted: {reason}"),
            None => "execution reverted".to_owned(),
        };
        Self { code: Code::Reverted, message, data: Some(output) }
    }

    /// The transaction `hash` was taken and is in no block after `waited_ms`.
    pub(crate) fn not_included(hash: B256, waited_ms: u128) -> Self {
        let message = format!("the transaction was added to the pool but is in no block after {waited_ms} ms: {hash}");
        Self { code: Code::NotIncluded, message, data: Some(hash.into()) }
    }

    /// The transaction `hash` was taken and could not be executed for `waited_ms`.
    pub(crate) fn not_ready(hash: B256, waited_ms: u128) -> Self {
        let message = format!(
            "the transaction was added to the pool but waits for an earlier nonce or for funds after {waited_ms} ms: {hash}"
        );
        Self { code: Code::NotReady, message, data: Some(hash.into()) }
    }

    /// The call came over plain HTTP.
    pub(crate) fn notifications_unsupported() -> Self {
        Self::new(
            Code::NotificationsUnsupported,
            "notifications not supported: connect with WebSocket to the same port",
        )
    }

    /// This node is broken: the cause goes to the log, not to the caller.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "rpc request failed inside the node");
        Self::new(Code::Internal, "internal error: the node's log has the cause")
    }
}

impl From<keystead_types::ViewError> for RpcError {
    fn from(error: keystead_types::ViewError) -> Self {
        Self::internal(&error)
    }
}

impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", &self.code.number())?;
        map.serialize_entry("message", &self.message)?;
        if let Some(data) = &self.data {
            map.serialize_entry("data", data)?;
        }
        map.end()
    }
}

/// Selector of Solidity's `Error(string)`.
const ERROR_SELECTOR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
/// Selector of Solidity's `Panic(uint256)`.
const PANIC_SELECTOR: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];
/// Longest reason put into a message, in bytes; `data` always has all of it.
const REASON_BYTES_MAX: usize = 1_024;

/// The reason in the output of a reverted call, if it is one of Solidity's two built-in errors.
fn revert_reason(output: &[u8]) -> Option<String> {
    let (selector, arguments) = output.split_first_chunk::<4>()?;
    match *selector {
        ERROR_SELECTOR => {
            let offset = word(arguments, 0)?;
            let length = word(arguments, offset)?;
            let start = offset.checked_add(32)?;
            let text = arguments.get(start..start.checked_add(length)?)?;
            Some(String::from_utf8_lossy(text.get(..REASON_BYTES_MAX).unwrap_or(text)).into_owned())
        }
        PANIC_SELECTOR => Some(panic_reason(word(arguments, 0)?)),
        _ => None,
    }
}

/// The 32-byte word at `offset` as a number; `None` if it is not there or does not fit.
fn word(bytes: &[u8], offset: usize) -> Option<usize> {
    let word = bytes.get(offset..offset.checked_add(32)?)?;
    usize::try_from(alloy_primitives::U256::from_be_slice(word)).ok()
}

/// Solidity's panic codes in words.
fn panic_reason(code: usize) -> String {
    let reason = match code {
        0x00 => "generic panic",
        0x01 => "assertion failed",
        0x11 => "arithmetic underflow or overflow",
        0x12 => "division or modulo by zero",
        0x21 => "value out of range of an enum",
        0x22 => "incorrectly encoded storage byte array",
        0x31 => "pop from an empty array",
        0x32 => "array index out of bounds",
        0x41 => "out of memory",
        0x51 => "call of an uninitialised function",
        _ => return format!("panic code {code:#x}"),
    };
    format!("{reason} (panic code {code:#x})")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn a_reason_string_stands_in_the_message_and_the_data() {
        let output = hex!(
            "08c379a00000000000000000000000000000000000000000000000000000000000000020"
            "000000000000000000000000000000000000000000000000000000000000000a75736572206572726f72"
        );
        let error = RpcError::reverted(Bytes::copy_from_slice(&output));
        assert_eq!(error.message, "execution reverted: user error");
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(json.get("code").unwrap(), 3);
        assert_eq!(json.get("data").unwrap(), &serde_json::json!(Bytes::copy_from_slice(&output)));
    }

    #[test]
    fn a_panic_is_named() {
        let mut output = PANIC_SELECTOR.to_vec();
        output.extend_from_slice(&[0; 31]);
        output.push(0x11);
        let error = RpcError::reverted(output.into());
        assert_eq!(error.message, "execution reverted: arithmetic underflow or overflow (panic code 0x11)");
    }

    #[test]
    fn hostile_revert_data_has_no_reason_and_never_panics() {
        let offsets = ["ff".repeat(32), format!("{:064x}", 32), format!("{:064x}", usize::MAX)];
        for offset in &offsets {
            for length in &offsets {
                let data = hex::decode(format!("08c379a0{offset}{length}")).unwrap();
                assert_eq!(revert_reason(&data).filter(|reason| !reason.is_empty()), None);
                for cut in 0..data.len() {
                    assert_eq!(revert_reason(data.get(..cut).unwrap()), None);
                }
            }
        }
    }

    #[test]
    fn a_custom_error_is_only_data() {
        let error = RpcError::reverted(Bytes::from_static(&[1, 2, 3, 4, 5]));
        assert_eq!((error.message.as_str(), error.code), ("execution reverted", Code::Reverted));
    }
}
