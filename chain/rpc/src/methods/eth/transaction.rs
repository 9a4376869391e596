//! Single transactions: sending them, and finding them and their receipts.

use super::block::{hashed, numbered};
use crate::{
    chain::Executed,
    context::SubmitError,
    error::RpcError,
    message::Json,
    methods,
    params::{BlockId, Params},
    pending::pending_block,
    render,
    service::Service,
};
use alloy_primitives::{B256, Bytes};
use keystead_types::{Transaction, decode_transaction};
use serde_json::Value;

/// Name of the method of which many in a row are offered together.
pub(crate) const SEND_RAW: &str = "eth_sendRawTransaction";

pub(super) fn send_raw(service: &Service, params: &Params) -> Result<Json, RpcError> {
    Json::of(&offer(service, params)?)
}

/// `eth_sendRawTransactionSync` is answered where calls wait (`sync.rs`); this only satisfies the table.
pub(super) fn send_raw_sync(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Err(RpcError::internal(&"a call that waits was run as one that does not"))
}

/// Offers the transaction in the first parameter; its hash.
pub(crate) fn offer(service: &Service, params: &Params) -> Result<B256, RpcError> {
    let given = read(service, params);
    offer_all(service, vec![given]).pop().unwrap_or_else(|| Err(RpcError::internal(&"an offer without an answer")))
}

/// Reads the transaction in the first parameter.
fn read(service: &Service, params: &Params) -> Result<Transaction, RpcError> {
    let bytes: Bytes = params.get(0)?;
    if bytes.is_empty() {
        return Err(params.wrong(0, "expected the bytes of a signed transaction, got none"));
    }
    service.context.submit.ready().map_err(refused)?;
    decode_transaction(&bytes).map_err(|error| RpcError::server(error.to_string()))
}

/// Offers many calls' transactions together, in order; an answer to each. The node shares work between them: cores for
/// their signatures, and one look at its pool.
pub(crate) fn send_many(service: &Service, given: Vec<Value>) -> Vec<Result<Json, RpcError>> {
    let declared = methods::find(SEND_RAW).map_or(&[][..], |(_, method)| method.params);
    let read = |given| Params::new(declared, given).and_then(|params| read(service, &params));
    let offered = offer_all(service, given.into_iter().map(read).collect());
    offered.into_iter().map(|hash| Json::of(&hash?)).collect()
}

/// Offers what could be read; errors stay where they are.
fn offer_all(service: &Service, given: Vec<Result<Transaction, RpcError>>) -> Vec<Result<B256, RpcError>> {
    let (mut transactions, mut errors) = (Vec::with_capacity(given.len()), Vec::with_capacity(given.len()));
    for given in given {
        errors.push(given.map(|transaction| transactions.push(transaction)).err());
    }
    let mut offered = service.context.submit.offer(transactions).into_iter();
    let mut next = || match offered.next() {
        Some(offered) => offered.map_err(refused),
        None => Err(RpcError::internal(&"an offer without an answer")),
    };
    errors.into_iter().map(|error| error.map_or_else(&mut next, Err)).collect()
}

/// The error as clients read it: only a busy node is worth asking again.
pub(in crate::methods) fn refused(error: SubmitError) -> RpcError {
    match error {
        SubmitError::Refused(refused) => RpcError::server(refused.to_string()),
        busy @ SubmitError::Busy { .. } => RpcError::limit(busy.to_string()),
        other @ (SubmitError::Sender(_) | SubmitError::FeeBelowBase { .. } | SubmitError::Unavailable(_)) => {
            RpcError::server(other.to_string())
        }
        SubmitError::Forwarded { code, message } => RpcError::coded(code, message),
    }
}

pub(super) fn by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash: B256 = params.get(0)?;
    if let Some((executed, index)) = service.chain().find_transaction(&hash)? {
        return in_block(&executed, index);
    }
    // The guard must not live on: rendering takes time.
    let waiting = service.pool().get(&hash);
    if let Some(transaction) = waiting {
        return Json::of(&render::pending((*transaction).clone()));
    }
    // It may have moved from the pool into a block between the two looks.
    match service.chain().find_transaction(&hash)? {
        Some((executed, index)) => in_block(&executed, index),
        None => Json::of(&()),
    }
}

pub(super) fn by_number_and_index(service: &Service, params: &Params) -> Result<Json, RpcError> {
    by_place(service, numbered(params)?, params.get(1)?)
}

pub(super) fn by_hash_and_index(service: &Service, params: &Params) -> Result<Json, RpcError> {
    by_place(service, hashed(params)?, params.get(1)?)
}

fn by_place(service: &Service, block: BlockId, index: u64) -> Result<Json, RpcError> {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    if block == BlockId::Pending {
        let block = pending_block(service)?;
        return Json::of(&block.transactions.get(index).map(|it| render::pending((**it).clone())));
    }
    match service.chain().executed(block)? {
        Some(executed) => in_block(&executed, index),
        None => Json::of(&()),
    }
}

fn in_block(executed: &Executed, index: usize) -> Result<Json, RpcError> {
    let (header, hash) = (executed.block.header(), executed.block.hash());
    Json::of(&executed.transaction(index).map(|transaction| render::transaction(transaction, header, hash, index)))
}

pub(super) fn receipt(service: &Service, params: &Params) -> Result<Json, RpcError> {
    receipt_of(service, &params.get(0)?)?.map_or_else(|| Json::of(&()), Ok)
}

/// The receipt of a transaction, if it is in a block.
pub(crate) fn receipt_of(service: &Service, hash: &B256) -> Result<Option<Json>, RpcError> {
    let Some((executed, index)) = service.chain().find_transaction(hash)? else { return Ok(None) };
    let receipt = render::receipt(&executed, index);
    let mut receipt =
        receipt.ok_or_else(|| RpcError::internal(&"a transaction of a committed block has no receipt"))?;
    render::price_blobs(&mut receipt, &service.context.spec, executed.block.header());
    Json::of(&receipt).map(Some)
}
