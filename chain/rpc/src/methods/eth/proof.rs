//! Merkle proofs of accounts and storage (EIP-1186).

use crate::{
    error::RpcError,
    message::Json,
    params::{BlockId, Params, StorageKey},
    service::Service,
};
use alloy_consensus::EMPTY_ROOT_HASH;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Serialize;

/// The answer of `eth_getProof`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountAnswer {
    address: Address,
    account_proof: Vec<Bytes>,
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_hash: B256,
    storage_proof: Vec<StorageAnswer>,
}

#[derive(Debug, Serialize)]
struct StorageAnswer {
    key: KeyAnswer,
    value: U256,
    proof: Vec<Bytes>,
}

/// The key as it was asked: geth answers 32 bytes with 32 bytes, and anything shorter with a quantity.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum KeyAnswer {
    Full(B256),
    Short(U256),
}

impl From<StorageKey> for KeyAnswer {
    fn from(key: StorageKey) -> Self {
        if key.full { Self::Full(key.slot.into()) } else { Self::Short(key.slot) }
    }
}

pub(super) fn get_proof(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let address: Address = params.get(0)?;
    let keys: Vec<StorageKey> = params.get(1)?;
    let max = service.limits.proof_keys_max;
    if keys.len() > max {
        return Err(params.wrong(1, &format!("too many storage keys: got {}, limit {max}", keys.len())));
    }
    let state = service.chain().state(params.find(2)?.unwrap_or(BlockId::Latest))?;
    let proof = state.account_proof(&address)?;
    let mut storage_proof = Vec::with_capacity(keys.len());
    for key in keys {
        let proof = state.storage_proof(&address, &key.slot)?;
        storage_proof.push(StorageAnswer { key: key.into(), value: proof.value, proof: proof.nodes });
    }
    let (account, storage_hash) =
        proof.account.map_or_else(|| (Default::default(), EMPTY_ROOT_HASH), |(account, root)| (account, root));
    Json::of(&AccountAnswer {
        address,
        account_proof: proof.nodes,
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: U64::from(account.nonce),
        storage_hash,
        storage_proof,
    })
}
