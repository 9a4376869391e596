//! Reads of one account after a block.
//!
//! # Design
//! `pending` is the state after the block that would be made now, but for nonces: those are the pool's own, which also knows
//! transactions that do not fit into that block.

use crate::{
    error::RpcError,
    message::Json,
    params::{BlockId, Params, StorageKey},
    pending::Place,
    service::Service,
};
use alloy_primitives::{Address, B256, Bytes, U64};
use keystead_types::{Account, StateView as _};

fn account(service: &Service, address: &Address, block: BlockId) -> Result<Account, RpcError> {
    Ok(Place::find(service, block)?.state.account(address)?.unwrap_or_default())
}

fn block(params: &Params, index: usize) -> Result<BlockId, RpcError> {
    Ok(params.find(index)?.unwrap_or(BlockId::Latest))
}

pub(super) fn balance(service: &Service, params: &Params) -> Result<Json, RpcError> {
    Json::of(&account(service, &params.get(0)?, block(params, 1)?)?.balance)
}

pub(super) fn transaction_count(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let block = block(params, 1)?;
    let nonce = service.chain().state(block)?.account(&address)?.unwrap_or_default().nonce;
    let next = match block {
        BlockId::Pending => service.pool().next_nonce(&address, nonce),
        _ => nonce,
    };
    Json::of(&U64::from(next))
}

pub(super) fn code(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let Place { state, .. } = Place::find(service, block(params, 1)?)?;
    match state.account(&address)? {
        Some(account) => Json::of(&state.code(&account.code_hash)?),
        None => Json::of(&Bytes::new()),
    }
}

pub(super) fn storage_at(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let key: StorageKey = params.get(1)?;
    let Place { state, .. } = Place::find(service, block(params, 2)?)?;
    Json::of(&B256::from(state.storage(&address, &key.slot)?))
}
