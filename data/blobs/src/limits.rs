//! What a peer may cost us: every bound of the protocol, with the reason for its value.

use std::time::Duration;

use crate::store::BLOB_BYTES_MAX;

/// Name of the session protocol in the TLS handshake. A change that is not understood by both sides is a new name.
pub const ALPN: &[u8] = b"keystead/job/2";
/// The version before, without notes: offered and accepted besides.
pub const ALPN_BEFORE: &[u8] = b"keystead/job/1";

/// Name of the protocol of questions in the TLS handshake. Spec: specs/0005-transfer.md §9.
pub const QUESTION_ALPN: &[u8] = b"keystead/ask/1";
/// Name of the checkers' protocol in the TLS handshake. Spec: specs/0005-transfer.md §8.
pub const CHECK_ALPN: &[u8] = b"keystead/check/1";

/// Largest message in bytes (inclusive), kind and body: a job specification with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest job specification in bytes (inclusive). Version 1 has under 1 KiB; bulk data are blobs.
pub const JOB_BYTES_MAX: usize = 32 * 1024;
/// Largest credential in bytes (inclusive): room for a contract account's signature, a wallet's has 65.
pub const CREDENTIAL_BYTES_MAX: usize = 1024;
/// Longest answer to a question in bytes (inclusive): a published proof of hardware with the largest rows.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Answers given at once: each may hold so many bytes in memory.
pub(crate) const ANSWERS_MAX: usize = 4;
/// From a standing connection to the end of the answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Largest proof of the state before a segment in bytes (inclusive): two paths of 16 hashes, ABI-encoded, have under 2 KiB.
pub const BEFORE_BYTES_MAX: usize = 4 * 1024;
/// Longest session of a checker: it fetches one unit's blobs and goes.
pub(crate) const CHECK_SESSION_MAX: Duration = Duration::from_secs(600);
/// Longest reason text in bytes (inclusive): a sentence for a log line.
pub const REASON_BYTES_MAX: usize = 256;
/// Most blobs that one want may list. Bounds the message to 12 KiB; longer lists become several wants.
pub const WANTS_MAX: usize = 256;
/// Most bidirectional streams that a peer may have open at once: the control stream and several wants.
pub const STREAMS_MAX: u32 = 8;
/// Bytes that a peer may have in flight to us over all streams of one connection: what an unread connection costs.
/// Larger windows break connections whose sockets have small buffers (measured), smaller ones cost speed.
pub const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The same before a side fetches anything, and at the lowest rates: one message of the largest size.
pub(crate) const WINDOW_BYTES_MIN: u32 = 64 * 1024;
/// How many times [`Limits::stall_timeout`] 64 KiB of a blob may take if something of them comes in each of those times: with the default, about 400
/// bytes a second, so that 64 transfers can share 32 KiB/s.
pub(crate) const STALLS_MAX: u32 = 8;

/// Bounds that depend on the machine and its link. The defaults suit a home connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once, over all peers. Each costs up to [`WINDOW_BYTES`] and a few tasks.
    pub sessions_max: usize,
    /// Sessions at once of one peer.
    pub sessions_per_peer_max: usize,
    /// Connections at once that have not yet been accepted as a session.
    pub handshakes_max: usize,
    /// The same for one IP address, so that one machine cannot keep the others out.
    pub handshakes_per_ip_max: usize,
    /// From the first packet to a standing connection.
    pub handshake_timeout: Duration,
    /// From the connection to the complete hello; and for the decision about it.
    pub hello_timeout: Duration,
    /// For each message that has begun, and between two bytes of a blob, in both directions. 64 KiB of a blob may take eight times as long: whoever is
    /// slow by a rate of its owner is not dead.
    pub stall_timeout: Duration,
    /// A connection on which nothing at all arrives is given up after this. Peers send a heartbeat every 5 s.
    pub idle_timeout: Duration,
    /// Largest blob that is received in bytes, inclusive.
    pub blob_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 64,
            sessions_per_peer_max: 8,
            handshakes_max: 64,
            handshakes_per_ip_max: 16,
            handshake_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(15),
            blob_bytes_max: BLOB_BYTES_MAX,
        }
    }
}
