//! What a caller may want to know about the chain and this node before it asks: prices of the next block, rules, what is
//! kept, and many storage slots at once.

use super::{BLOCK, config};
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    methods::Method,
    params::{BlockId, FromJson, Param, Params, StorageKey},
    pending::Place,
    service::Service,
};
use alloy_eips::eip4844::BLOB_TX_MIN_BLOB_GASPRICE;
use alloy_primitives::{Address, B256, U64, U256};
use keystead_types::StateView as _;
use serde_json::{Map, Value, json};

/// Storage slots in one request, as geth.
const SLOTS_MAX: usize = 1_024;

/// The rows.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "eth_baseFee",
        about: "The base fee of the next block in wei per gas.",
        params: &[],
        result: "quantity",
        work: Work::Read,
        run: base_fee,
    },
    Method {
        name: "eth_blobBaseFee",
        about: "The price of blob gas, which stands at its minimum: blocks of this chain hold no blobs.",
        params: &[],
        result: "quantity",
        work: Work::Instant,
        run: blob_base_fee,
    },
    Method {
        name: "eth_config",
        about: "The rules in force, those that come next, and the last known: fork, precompiles, system contracts (EIP-7910).",
        params: &[],
        result: "object: current, next, last",
        work: Work::Read,
        run: config::config,
    },
    Method {
        name: "eth_capabilities",
        about: "What this node keeps: the head, and the oldest block of each kind of data.",
        params: &[],
        result: "object: head, state, tx, logs, receipts, blocks, stateproofs",
        work: Work::Read,
        run: capabilities,
    },
    Method {
        name: "eth_getStorageValues",
        about: "Storage slots of several contracts at once, at most 1,024.",
        params: &[Param::required("slots", "object: for each address an array of storage keys"), BLOCK],
        result: "object: for each address an array of 32 bytes",
        work: Work::Read,
        run: storage_values,
    },
];

fn base_fee(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let chain = service.chain();
    Json::of(&U64::from(service.next_base_fee(&chain.header(chain.head())?)?))
}

fn blob_base_fee(_: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&U256::from(BLOB_TX_MIN_BLOB_GASPRICE))
}

fn capabilities(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let store = &service.context.store;
    let head = store.head();
    let since = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
    // A node that began with a snapshot, or dropped old blocks, lacks them with their receipts and indices. Who has the first one has the genesis
    // block, too.
    let oldest = Some(store.oldest_block()).filter(|oldest| *oldest > 1).unwrap_or_default();
    let (state, whole) = (since(store.oldest_state()), since(oldest));
    Json::of(&json!({
        "head": { "number": U64::from(head.number), "hash": head.hash },
        "state": state,
        "stateproofs": state,
        "tx": whole,
        "logs": whole,
        "receipts": whole,
        "blocks": whole,
    }))
}

/// The slots that are asked for, by contract.
struct Slots(Vec<(String, Address, Vec<StorageKey>)>);

impl FromJson for Slots {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected an object of arrays by address, got {}", crate::params::show(value)));
        };
        let mut slots = Vec::new();
        let mut count = 0usize;
        for (name, keys) in object {
            let address = Address::from_json(&Value::String(name.clone()))?;
            count = count.saturating_add(keys.as_array().map_or(0, Vec::len));
            if count > SLOTS_MAX {
                return Err(format!("too many slots: limit {SLOTS_MAX}"));
            }
            let keys = Vec::from_json(keys).map_err(|reason| format!("field {name:?}: {reason}"))?;
            slots.push((name.clone(), address, keys));
        }
        if count == 0 {
            return Err("expected at least one slot".to_owned());
        }
        Ok(Self(slots))
    }
}

fn storage_values(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Slots(slots) = params.get(0)?;
    let Place { state, .. } = Place::find(service, params.find(1)?.unwrap_or(BlockId::Latest))?;
    let mut answer = Map::new();
    for (name, address, keys) in slots {
        let values: Result<Vec<B256>, _> =
            keys.iter().map(|key| state.storage(&address, &key.slot).map(B256::from)).collect();
        answer.insert(name, json!(values?));
    }
    Json::of(&answer)
}
