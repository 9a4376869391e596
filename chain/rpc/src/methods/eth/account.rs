//! Reads of one account at a recent block.

use crate::{
    error::RpcError,
    message::Json,
    params::{BlockId, Params, StorageKey},
    service::Service,
};
use alloy_primitives::{Address, B256, Bytes, U64};
use keystead_types::{Account, StateView as _};

fn account(service: &Service, address: &Address, block: BlockId) -> Result<Account, RpcError> {
    Ok(service.chain().state(block)?.account(address)?.unwrap_or_default())
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
    let nonce = account(service, &address, block)?.nonce;
    let next = match block {
        BlockId::Pending => service.pool().next_nonce(&address, nonce),
        _ => nonce,
    };
    Json::of(&U64::from(next))
}

pub(super) fn code(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let state = service.chain().state(block(params, 1)?)?;
    match state.account(&address)? {
        Some(account) => Json::of(&state.code(&account.code_hash)?),
        None => Json::of(&Bytes::new()),
    }
}

pub(super) fn storage_at(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let key: StorageKey = params.get(1)?;
    let state = service.chain().state(block(params, 2)?)?;
    Json::of(&B256::from(state.storage(&address, &key.slot)?))
}
