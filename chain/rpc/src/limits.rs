//! What one node allows its callers, each bound with the reason for its default.

use std::time::Duration;

/// Which web pages may call this node from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Every page. Safe because the server holds no key, cookie or account: a page can do what any person can.
    Any,
    /// These origins, as `https://example.org`.
    Only(Vec<String>),
    /// None: browsers refuse to hand answers to pages of other origins.
    Nobody,
}

/// Bounds of the server.
///
/// Every queue and buffer that a caller can fill is bounded by a field here.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Largest request body in bytes. Default 5 MiB, as geth: forty transactions of the largest size in one batch.
    pub body_bytes_max: usize,
    /// Bytes of request bodies held at once over all connections. Default 128 MiB.
    pub bodies_bytes_max: usize,
    /// Largest answer in bytes (a batch counts as one). Default 25 MB, as geth.
    pub response_bytes_max: usize,
    /// Bytes of answers that wait to be read by their callers, over all connections; while there is no room, an answer is
    /// replaced by a limit error. Default 512 MiB: twenty answers of the largest size, a hundred thousand ordinary ones.
    pub answers_bytes_max: usize,
    /// Requests in one batch. Default 1,000, as geth.
    pub batch_requests_max: usize,
    /// Connections held at once; further ones are told so (HTTP 503) and closed. Default 1,024.
    pub connections_max: usize,
    /// Time in which a caller must send a request's head, and for which an idle connection is kept. Default 30 s.
    pub header_timeout: Duration,
    /// Time in which a caller must send a request's body. Default 10 s.
    pub body_timeout: Duration,
    /// Time after which a request is answered with a timeout. Default 30 s.
    pub request_timeout: Duration,
    /// Time after which a caller that does not read its answer is disconnected. Default 30 s.
    pub write_timeout: Duration,
    /// Time that open requests have to end after shutdown was asked for. Default 5 s.
    pub shutdown_timeout: Duration,
    /// Threads that read the store at once. Default 32.
    pub readers_max: usize,
    /// Threads that execute calls and make proofs at once. Default: the machine's cores.
    pub workers_max: usize,
    /// Requests that wait for a thread, of each kind; further ones are answered with a limit error. Default 1,024.
    pub waiting_max: usize,
    /// Gas that one `eth_call` or `eth_estimateGas` may use. Default 50,000,000, as geth: well under a second of EVM.
    pub call_gas_max: u64,
    /// Blocks that one `eth_getLogs` may search if it names neither address nor topic; otherwise the index is asked, and
    /// there is no bound. Default 10,000.
    pub log_blocks_max: u64,
    /// Logs that one `eth_getLogs` may answer. Default 10,000.
    pub logs_max: usize,
    /// Addresses, and alternatives at one topic position, in a log filter. Default 1,000, as geth.
    pub filter_values_max: usize,
    /// Storage keys in one `eth_getProof`. Default 1,024, as geth.
    pub proof_keys_max: usize,
    /// Blocks in one `eth_feeHistory`. Default 1,024, as geth.
    pub fee_history_blocks_max: u64,
    /// Bytes of one WebSocket message. Default 1 MiB: four transactions of the largest size in one batch. Less than a body
    /// over HTTP, because a message grows in memory that is not shared with other connections.
    pub socket_message_bytes_max: usize,
    /// Messages of one WebSocket connection that are answered at once; the next one is read when one is done. Default 64: calls
    /// that wait for a block count too.
    pub socket_requests_max: usize,
    /// Time after which a WebSocket connection is asked for a sign of life. Default 20 s: below the patience of proxies.
    pub ping_interval: Duration,
    /// Silence after which a WebSocket connection is closed. Default 60 s: it missed two pings.
    pub idle_timeout: Duration,
    /// Subscriptions of one WebSocket connection. Default 64.
    pub subscriptions_max: usize,
    /// Blocks that a subscriber may be behind the head before it is cut off. They wait on disk, not in memory, but who is
    /// so slow does not catch up. Default 2,048: seven minutes at five blocks a second.
    pub subscription_lag_max: u64,
    /// Filters of `eth_newFilter` and its like, over all callers. Default 10,000.
    pub filters_max: usize,
    /// Time after which a filter that nobody asks is forgotten. Default 5 min, as geth.
    pub filter_timeout: Duration,
    /// Addresses and topics of all filters and log subscriptions together. Default 262,144: 8 MiB.
    pub watched_values_max: usize,
    /// How long `eth_sendRawTransactionSync` waits if its caller does not say. Default 2 s, as EIP-7966 recommends.
    pub sync_timeout: Duration,
    /// How long it waits at most. Default 10 s; must be below `request_timeout` of whoever stands before the node.
    pub sync_timeout_max: Duration,
    /// Messages that wait for receipts at once. Default 1,024.
    pub sync_waiting_max: usize,
    /// Instructions that one request for traces may execute. Default 200,000,000: a full block of the cheapest ones, and
    /// some seconds.
    pub trace_steps_max: u64,
    /// Bytes that one request for traces may hold while it runs. Default 192 MiB: more than any recording whose answer
    /// fits into [`Self::response_bytes_max`] usually needs.
    pub trace_bytes_max: u64,
    /// Blocks that one `trace_filter` may run again. Default 100: a hundred full blocks take as many seconds.
    pub trace_blocks_max: u64,
    /// Blocks that one search of Otterscan's methods may read, as there is no index of addresses. Default 10,000.
    pub search_blocks_max: u64,
    /// Age of the head beyond which `/health` answers 503. Default 30 s: thirty heartbeats.
    pub head_age_max: Duration,
    /// Who may call from a browser. Default [`Cors::Any`].
    pub cors: Cors,
}

impl Default for ServerLimits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get);
        Self {
            body_bytes_max: 5 * 1024 * 1024,
            bodies_bytes_max: 128 * 1024 * 1024,
            response_bytes_max: 25_000_000,
            answers_bytes_max: 512 * 1024 * 1024,
            batch_requests_max: 1_000,
            connections_max: 1_024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            readers_max: 32,
            workers_max: cores,
            waiting_max: 1_024,
            call_gas_max: 50_000_000,
            log_blocks_max: 10_000,
            logs_max: 10_000,
            filter_values_max: 1_000,
            proof_keys_max: 1_024,
            fee_history_blocks_max: 1_024,
            socket_message_bytes_max: 1024 * 1024,
            socket_requests_max: 64,
            ping_interval: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            subscriptions_max: 64,
            subscription_lag_max: 2_048,
            filters_max: 10_000,
            filter_timeout: Duration::from_secs(300),
            watched_values_max: 262_144,
            sync_timeout: Duration::from_secs(2),
            sync_timeout_max: Duration::from_secs(10),
            sync_waiting_max: 1_024,
            trace_steps_max: 200_000_000,
            trace_bytes_max: 192 * 1024 * 1024,
            trace_blocks_max: 100,
            search_blocks_max: 10_000,
            head_age_max: Duration::from_secs(30),
            cors: Cors::Any,
        }
    }
}
