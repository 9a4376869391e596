//! `eth_newFilter` and its like: polling for what is new, for callers without WebSocket.

use super::{Method, eth::logs, subscribe};
use crate::{
    error::RpcError,
    feed::{self, Cursor, Listener, Watched},
    filters::Filter,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    service::Service,
};
use std::{
    sync::{Arc, TryLockError},
    time::Instant,
};

const ID: Param = Param::required("filter", "quantity: what the creating call answered");

/// The rows.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "eth_newFilter",
        about: "Watches logs of new blocks, for eth_getFilterChanges; forgotten when it is not asked for five minutes.",
        params: &[Param::required(
            "filter",
            "object: as for eth_getLogs; numbers in fromBlock and toBlock bound the new blocks that count",
        )],
        result: "quantity: id of the filter",
        work: Work::Read,
        run: new_logs,
    },
    Method {
        name: "eth_newBlockFilter",
        about: "Watches new blocks, for eth_getFilterChanges.",
        params: &[],
        result: "quantity: id of the filter",
        work: Work::Read,
        run: new_blocks,
    },
    Method {
        name: "eth_newPendingTransactionFilter",
        about: "Watches transactions that enter the pool, for eth_getFilterChanges.",
        params: &[Param::optional("full", "true for whole transactions, false for hashes; default false")],
        result: "quantity: id of the filter",
        work: Work::Read,
        run: new_arrivals,
    },
    Method {
        name: "eth_getFilterChanges",
        about: "What is new since the last question; if it is much, a part of it, and the rest with the next question.",
        params: &[ID],
        result: "array of logs, block hashes, or transaction hashes or transactions, as the filter watches",
        work: Work::Compute,
        run: changes,
    },
    Method {
        name: "eth_getFilterLogs",
        about: "All logs of a log filter, old ones too, as eth_getLogs answers them.",
        params: &[ID],
        result: "array of logs",
        work: Work::Compute,
        run: all_logs,
    },
    Method {
        name: "eth_uninstallFilter",
        about: "Forgets a filter.",
        params: &[ID],
        result: "whether there was such a filter",
        work: Work::Instant,
        run: remove,
    },
];

fn new_logs(service: &Service, params: &Params) -> Result<Json, RpcError> {
    add(service, subscribe::logs(service, params, 0)?)
}

fn new_blocks(service: &Service, _: &Params) -> Result<Json, RpcError> {
    add(service, Watched::Hashes)
}

fn new_arrivals(service: &Service, params: &Params) -> Result<Json, RpcError> {
    add(service, Watched::Arrivals(subscribe::detail(params, 0)?))
}

fn add(service: &Service, watched: Watched) -> Result<Json, RpcError> {
    let id = service.filters.add(watched, Cursor::now(service), Instant::now(), &service.limits)?;
    Json::of(&format!("{id:#x}"))
}

fn find(service: &Service, params: &Params) -> Result<Arc<Filter>, RpcError> {
    service.filters.find(params.get(0)?, Instant::now(), service.limits.filter_timeout)
}

fn changes(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let filter = find(service, params)?;
    let mut cursor = match filter.cursor.try_lock() {
        Ok(cursor) => cursor,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // Two answers at once would tell the same twice.
        Err(TryLockError::WouldBlock) => {
            return Err(RpcError::limit("this filter is being asked by another request: ask again"));
        }
    };
    let mut items: Vec<String> = Vec::new();
    let mut tell = |json: Json| items.push(json.text().to_owned());
    // Half of an answer's room: one item may go beyond it, and commas are not counted.
    let bytes_left = service.limits.response_bytes_max / 2;
    let mut listener = Listener { bytes_left, items_left: service.limits.logs_max, tell: &mut tell };
    let mut next = *cursor;
    while !listener.is_full() && feed::step(service, &filter.watched, &mut next, &mut listener)? {}
    *cursor = next;
    drop(cursor);
    Ok(Json::from_text(format!("[{}]", items.join(","))))
}

fn all_logs(service: &Service, params: &Params) -> Result<Json, RpcError> {
    match &find(service, params)?.watched {
        Watched::Logs { query, .. } => logs::find(service, query),
        _ => Err(RpcError::server("filter not found: this one does not watch logs")),
    }
}

fn remove(service: &Service, params: &Params) -> Result<Json, RpcError> {
    Json::of(&service.filters.remove(params.get(0)?))
}
