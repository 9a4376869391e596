//! `txpool_*`: what waits in the pool.
//!
//! # Design
//! A full pool is larger than any answer may be. Answers are written transaction by transaction, and given up as soon as
//! they are too large; `txpool_contentFrom` asks for less.

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{Param, Params},
    render,
    service::Service,
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use keystead_types::Recovered;
use serde::Serialize;
use std::{fmt::Write as _, sync::Arc};

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "txpool_status",
        about: "How many transactions of the pool could be executed now, and how many wait for a nonce or for funds.",
        params: &[],
        result: "object: pending, queued (quantities)",
        work: Work::Read,
        run: status,
    },
    Method {
        name: "txpool_content",
        about: "All transactions of the pool, if they fit into an answer.",
        params: &[],
        result: "object: pending, queued; each by sender and nonce",
        work: Work::Compute,
        run: content,
    },
    Method {
        name: "txpool_contentFrom",
        about: "All transactions of one sender in the pool.",
        params: &[Param::required("address", "address")],
        result: "object: pending, queued; each by nonce",
        work: Work::Read,
        run: content_from,
    },
    Method {
        name: "txpool_inspect",
        about: "All transactions of the pool as one line each, if they fit into an answer.",
        params: &[],
        result: "object: pending, queued; each by sender and nonce",
        work: Work::Compute,
        run: inspect,
    },
];

#[derive(Debug, Serialize)]
struct Status {
    pending: U64,
    queued: U64,
}

fn status(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let (pending, queued) = service.pool().counts();
    Json::of(&Status { pending: U64::from(pending), queued: U64::from(queued) })
}

fn content(service: &Service, _: &Params) -> Result<Json, RpcError> {
    all(service, whole)
}

fn inspect(service: &Service, _: &Params) -> Result<Json, RpcError> {
    all(service, line)
}

fn content_from(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let (pending, queued) = service.pool().of_sender(&params.get(0)?);
    let mut text = Text::new(service);
    text.push(r#"{"pending":"#)?;
    text.nonces(&pending, whole)?;
    text.push(r#","queued":"#)?;
    text.nonces(&queued, whole)?;
    text.push("}")?;
    Ok(Json::from_text(text.out))
}

/// How one transaction is shown.
type Show = fn(&Recovered) -> Result<Json, RpcError>;

fn whole(transaction: &Recovered) -> Result<Json, RpcError> {
    Json::of(&render::pending(transaction.clone()))
}

/// geth's line: who gets how much, and what it may cost.
fn line(transaction: &Recovered) -> Result<Json, RpcError> {
    let to = transaction.to().map_or_else(|| "contract creation".to_owned(), |to| to.to_checksum(None));
    let (value, gas, price) = (transaction.value(), transaction.gas_limit(), transaction.max_fee_per_gas());
    Json::of(&format!("{to}: {value} wei + {gas} gas × {price} wei"))
}

fn all(service: &Service, show: Show) -> Result<Json, RpcError> {
    let (pending, queued) = {
        let pool = service.pool();
        (pool.pending(), pool.queued())
    };
    let mut text = Text::new(service);
    text.push(r#"{"pending":"#)?;
    text.senders(&pending, show)?;
    text.push(r#","queued":"#)?;
    text.senders(&queued, show)?;
    text.push("}")?;
    Ok(Json::from_text(text.out))
}

/// JSON under construction, within the size of an answer.
struct Text {
    out: String,
    bytes_max: usize,
}

impl Text {
    const fn new(service: &Service) -> Self {
        Self { out: String::new(), bytes_max: service.limits.response_bytes_max }
    }

    fn push(&mut self, part: &str) -> Result<(), RpcError> {
        if part.len() > self.bytes_max.saturating_sub(self.out.len()) {
            return Err(RpcError::response_too_large(self.bytes_max));
        }
        self.out.push_str(part);
        Ok(())
    }

    /// Transactions in the order of senders and nonces, as an object by sender.
    fn senders(&mut self, transactions: &[Arc<Recovered>], show: Show) -> Result<(), RpcError> {
        let groups = transactions.chunk_by(|a, b| a.signer() == b.signer());
        self.push("{")?;
        for (index, group) in groups.enumerate() {
            let sender = group.first().map_or(Address::ZERO, |first| first.signer());
            let mut key = String::new();
            // Writing to a string cannot fail.
            let _ = write!(key, "{}\"{}\":", if index == 0 { "" } else { "," }, sender.to_checksum(None));
            self.push(&key)?;
            self.nonces(group, show)?;
        }
        self.push("}")
    }

    /// Transactions of one sender as an object by nonce.
    fn nonces(&mut self, transactions: &[Arc<Recovered>], show: Show) -> Result<(), RpcError> {
        self.push("{")?;
        for (index, transaction) in transactions.iter().enumerate() {
            let mut key = String::new();
            let _ = write!(key, "{}\"{}\":", if index == 0 { "" } else { "," }, transaction.nonce());
            self.push(&key)?;
            self.push(show(transaction)?.text())?;
        }
        self.push("}")
    }
}
