//! `eth_subscribe`, `keystead_subscribe`: notifications over WebSocket.
//!
//! # Design
//! These need the connection that they came over, which no other method does. Their rows answer callers who have none;
//! [`over_connection`] gives the functions for those who have.

use super::{Method, eth::logs::LogQuery};
use crate::{
    error::RpcError,
    feed::Watched,
    lanes::Work,
    message::Json,
    params::{Param, Params, show},
    render::Detail,
    service::Service,
    subscriptions::{Caller, Namespace},
};
use serde_json::Value;
use std::sync::Arc;

const ID: Param = Param::required("subscription", "quantity: what the subscribing call answered");

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "eth_subscribe",
        about: "Over WebSocket: sends eth_subscription notifications from now on, of final blocks only.",
        params: &[
            Param::required("kind", "newHeads, logs, newPendingTransactions or syncing"),
            Param::optional(
                "options",
                "for logs: object with address and topics as eth_getLogs has them; for newPendingTransactions: true for \
                 whole transactions, false for hashes",
            ),
        ],
        result: "quantity: id of the subscription",
        // The pool's lock may be held for milliseconds.
        work: Work::Read,
        run: no_connection,
    },
    Method {
        name: "eth_unsubscribe",
        about: "Ends a subscription of the same connection.",
        params: &[ID],
        result: "whether there was such a subscription",
        work: Work::Instant,
        run: no_connection,
    },
    Method {
        name: "keystead_subscribe",
        about: "Over WebSocket: sends keystead_subscription notifications with what makes new blocks final.",
        params: &[Param::required("kind", "finalized: each notification holds a certificate and the headers below it")],
        result: "quantity: id of the subscription",
        work: Work::Read,
        run: no_connection,
    },
    Method {
        name: "keystead_unsubscribe",
        about: "Ends a subscription of the same connection.",
        params: &[ID],
        result: "whether there was such a subscription",
        work: Work::Instant,
        run: no_connection,
    },
];

/// How a method runs that needs its caller's connection.
pub(crate) type Run = fn(&Service, &Caller, &Params) -> Result<Json, RpcError>;

/// The function for a caller with a connection, if the method needs one.
pub(crate) fn over_connection(method: &str) -> Option<Run> {
    match method {
        "eth_subscribe" => Some(subscribe),
        "keystead_subscribe" => Some(subscribe_finalized),
        "eth_unsubscribe" | "keystead_unsubscribe" => Some(unsubscribe),
        _ => None,
    }
}

fn no_connection(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Err(RpcError::notifications_unsupported())
}

fn subscribe(service: &Service, caller: &Caller, params: &Params) -> Result<Json, RpcError> {
    let kind = params.value(0);
    let options = params.value(1);
    let watched = match kind.as_str() {
        Some("newHeads") if options.is_null() => Watched::Heads,
        Some("syncing") if options.is_null() => Watched::Syncing,
        Some("newHeads" | "syncing") => return Err(params.wrong(1, "this kind of subscription takes no options")),
        Some("newPendingTransactions") => Watched::Arrivals(detail(params, 1)?),
        Some("logs") => logs(service, params, 1)?,
        _ => {
            let known = "newHeads, logs, newPendingTransactions or syncing";
            return Err(params.wrong(0, &format!("expected {known}, got {}", show(kind))));
        }
    };
    open(service, caller, Namespace::Eth, watched)
}

fn subscribe_finalized(service: &Service, caller: &Caller, params: &Params) -> Result<Json, RpcError> {
    match params.value(0).as_str() {
        Some("finalized") => open(service, caller, Namespace::Keystead, Watched::Finalized),
        _ => Err(params.wrong(0, &format!("expected finalized, got {}", show(params.value(0))))),
    }
}

fn open(service: &Service, caller: &Caller, namespace: Namespace, watched: Watched) -> Result<Json, RpcError> {
    Json::of(&format!("{:#x}", caller.subscribe(service, namespace, watched)?))
}

fn unsubscribe(service: &Service, caller: &Caller, params: &Params) -> Result<Json, RpcError> {
    Json::of(&caller.unsubscribe(service, params.get(0)?))
}

/// Whether whole transactions are asked for.
pub(super) fn detail(params: &Params, index: usize) -> Result<Detail, RpcError> {
    let full: bool = params.find(index)?.unwrap_or_default();
    Ok(if full { Detail::Full } else { Detail::Hashes })
}

/// A log query of new blocks, with its share of the room for addresses and topics.
pub(super) fn logs(service: &Service, params: &Params, index: usize) -> Result<Watched, RpcError> {
    let query: LogQuery = match params.value(index) {
        Value::Null => LogQuery::default(),
        _ => params.get(index)?,
    };
    query.check(&service.limits).map_err(|reason| params.wrong(index, &reason))?;
    if query.names_block() {
        return Err(params.wrong(index, "blockHash names one block, not new ones: use eth_getLogs"));
    }
    // One more, so that a query without any values is not free.
    let values = u32::try_from(query.values().saturating_add(1)).unwrap_or(u32::MAX);
    match Arc::clone(&service.watched_values).try_acquire_many_owned(values) {
        Ok(room) => Ok(Watched::Logs { query: Box::new(query), _room: room }),
        Err(_full) => {
            Err(RpcError::limit("the node is busy: too many addresses and topics are watched, try again later"))
        }
    }
}
