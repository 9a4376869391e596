//! Reads of whole blocks.

use crate::{
    chain::Executed,
    error::RpcError,
    message::Json,
    params::{BlockId, BlockNumber, Params},
    pending::pending_block,
    render::{self, Detail},
    service::Service,
};
use alloy_primitives::{B256, U64};
use keystead_types::Block;

/// The first parameter as a number or tag.
pub(in crate::methods) fn numbered(params: &Params) -> Result<BlockId, RpcError> {
    params.get(0).map(|BlockNumber(id)| id)
}

/// The first parameter as a block's hash.
pub(super) fn hashed(params: &Params) -> Result<BlockId, RpcError> {
    params.get::<B256>(0).map(BlockId::Hash)
}

pub(super) fn by_number(service: &Service, params: &Params) -> Result<Json, RpcError> {
    show(service, params, numbered(params)?)
}

pub(super) fn by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    show(service, params, hashed(params)?)
}

fn show(service: &Service, params: &Params, id: BlockId) -> Result<Json, RpcError> {
    let full: bool = params.find(1)?.unwrap_or_default();
    if id == BlockId::Pending {
        let block = pending_block(service)?;
        let detail = if full { Detail::Full } else { Detail::Hashes };
        return Json::of(&render::pending_block(&block.header, &block.transactions, detail)?);
    }
    if full {
        let executed = service.chain().executed(id)?;
        return Json::of(
            &executed.map(|Executed { block, senders, .. }| render::stored_block(&block, &senders, Detail::Full)),
        );
    }
    let block = service.chain().block(id)?;
    Json::of(&block.map(|block| render::stored_block(&block, &[], Detail::Hashes)))
}

pub(super) fn transaction_count_by_number(service: &Service, params: &Params) -> Result<Json, RpcError> {
    transaction_count(service, numbered(params)?)
}

pub(super) fn transaction_count_by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    transaction_count(service, hashed(params)?)
}

fn transaction_count(service: &Service, id: BlockId) -> Result<Json, RpcError> {
    if id == BlockId::Pending {
        return Json::of(&U64::from(pending_block(service)?.transactions.len()));
    }
    let block = service.chain().block(id)?;
    Json::of(&block.map(|block| U64::from(block.transactions().len())))
}

pub(super) fn receipts(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Some(executed) = service.chain().executed(params.get(0)?)? else { return Json::of(&()) };
    let receipts = render::receipts(&executed);
    let mut receipts = receipts.ok_or_else(|| RpcError::internal(&"a block has more receipts than transactions"))?;
    let header = executed.block.header();
    receipts.iter_mut().for_each(|receipt| render::price_blobs(receipt, &service.context.spec, header));
    Json::of(&receipts)
}

pub(super) fn uncle_count_by_number(service: &Service, params: &Params) -> Result<Json, RpcError> {
    uncle_count(service, numbered(params)?)
}

pub(super) fn uncle_count_by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    uncle_count(service, hashed(params)?)
}

fn uncle_count(service: &Service, id: BlockId) -> Result<Json, RpcError> {
    let count = |block: &Block| block.ethereum_body().map_or(0, |body| body.ommers.len());
    Json::of(&service.chain().block(id)?.map(|block| U64::from(count(&block))))
}

pub(super) fn uncle_by_number(service: &Service, params: &Params) -> Result<Json, RpcError> {
    uncle(service, params, numbered(params)?)
}

pub(super) fn uncle_by_hash(service: &Service, params: &Params) -> Result<Json, RpcError> {
    uncle(service, params, hashed(params)?)
}

fn uncle(service: &Service, params: &Params, id: BlockId) -> Result<Json, RpcError> {
    let index = usize::try_from(params.get::<u64>(1)?).unwrap_or(usize::MAX);
    Json::of(&service.chain().block(id)?.and_then(|block| render::ommer(&block, index)))
}
