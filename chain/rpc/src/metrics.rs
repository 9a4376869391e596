//! Counts requests and writes them, with the node's vital numbers, as Prometheus text.
//!
//! # Design
//! A fixed array of atomic counters, one row per method of the table. Not the `metrics` facade: it needs one recorder
//! for the whole process, chosen by the binary, and the engine below has its own registry; two dozen lines of text are
//! simpler than agreeing on one.

use crate::{methods, service::Service};
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The counters of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    methods: Vec<Row>,
    refused: AtomicU64,
    running: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    sockets: AtomicU64,
    subscriptions: AtomicU64,
    notifications: AtomicU64,
}

#[derive(Debug, Default)]
struct Row {
    ok: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

impl Metrics {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self {
            methods: methods::all().chain(methods::all_dev()).map(|_| Row::default()).collect(),
            refused: AtomicU64::new(0),
            running: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            sockets: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            notifications: AtomicU64::new(0),
        }
    }

    /// Counts one call of the method with this index in the table.
    pub(crate) fn answered(&self, method: usize, ok: bool, time: Duration) {
        let Some(row) = self.methods.get(method) else { return };
        let count = if ok { &row.ok } else { &row.failed };
        count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        row.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts one message or call that reached no method: malformed, unknown, too many or too late.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one message as running until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(&self.running)
    }

    /// Sets how many connections are open.
    pub(crate) fn connections(&self, open: usize) {
        self.connections.store(u64::try_from(open).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts one connection over the limit.
    pub(crate) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one WebSocket connection as open until the guard is dropped.
    pub(crate) fn socket(&self) -> Running<'_> {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        Running(&self.sockets)
    }

    /// Counts one subscription more.
    pub(crate) fn subscribed(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts so many subscriptions less.
    pub(crate) fn unsubscribed(&self, count: usize) {
        self.subscriptions.fetch_sub(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Counts one notification as sent.
    pub(crate) fn notified(&self) {
        self.notifications.fetch_add(1, Ordering::Relaxed);
    }

    /// `service` is whose counters these are.
    fn write(&self, text: &mut Text, service: &Service) {
        // Methods of development nodes come last in the table.
        let offered = || service.methods();
        text.family("keystead_rpc_requests_total", "counter", "Calls by method and outcome.");
        for (row, method) in self.methods.iter().zip(offered()) {
            for (outcome, count) in [("ok", &row.ok), ("error", &row.failed)] {
                let labels = format!("{{method=\"{}\",outcome=\"{outcome}\"}}", method.name);
                text.sample(&labels, count.load(Ordering::Relaxed));
            }
        }
        text.family("keystead_rpc_request_microseconds_total", "counter", "Time spent in each method.");
        for (row, method) in self.methods.iter().zip(offered()) {
            text.sample(&format!("{{method=\"{}\"}}", method.name), row.micros.load(Ordering::Relaxed));
        }
        let singles = [
            ("keystead_rpc_refused_total", "counter", "Calls that reached no method.", &self.refused),
            ("keystead_rpc_running", "gauge", "Messages that are being answered.", &self.running),
            ("keystead_rpc_connections", "gauge", "Open connections.", &self.connections),
            (
                "keystead_rpc_connections_refused_total",
                "counter",
                "Connections over the limit.",
                &self.connections_refused,
            ),
            ("keystead_rpc_websockets", "gauge", "Open connections that are WebSockets.", &self.sockets),
            ("keystead_rpc_subscriptions", "gauge", "Subscriptions over WebSocket.", &self.subscriptions),
            ("keystead_rpc_notifications_total", "counter", "Notifications sent.", &self.notifications),
        ];
        for (name, kind, about, value) in singles {
            text.family(name, kind, about);
            text.sample("", value.load(Ordering::Relaxed));
        }
    }
}

/// Counted until it is dropped.
pub(crate) struct Running<'a>(&'a AtomicU64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Prometheus text under construction.
struct Text {
    out: String,
    name: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, about: &str) {
        self.name = name;
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "# HELP {name} {about}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.out, "{}{labels} {value}", self.name);
    }
}

/// The whole page of `GET /metrics`.
pub(crate) fn page(service: &Service) -> String {
    let mut text = Text { out: String::with_capacity(16 * 1024), name: "" };
    let head = service.context.store.head();
    let pool = service.pool_size();
    let gauges = [
        ("keystead_head_number", "Height of the last committed block.", head.number),
        ("keystead_head_age_milliseconds", "Age of the last committed block.", service.head_age_ms()),
        ("keystead_mempool_transactions", "Transactions that wait for a block.", pool.transactions),
        ("keystead_mempool_bytes", "Bytes of transactions that wait for a block.", pool.bytes),
        ("keystead_peers", "Other validators that this node is connected with.", service.connected()),
    ];
    for (name, about, value) in gauges {
        text.family(name, "gauge", about);
        text.sample("", value);
    }
    service.metrics.write(&mut text, service);
    text.out
}
