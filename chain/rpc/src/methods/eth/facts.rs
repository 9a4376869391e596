//! What a caller may want to know about the chain and this node before it asks: prices of the next block, rules, what is
//! kept, and many storage slots at once.

use super::BLOCK;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    methods::Method,
    params::{BlockId, FromJson, Param, Params, StorageKey},
    service::Service,
};
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip4844::BLOB_TX_MIN_BLOB_GASPRICE};
use alloy_primitives::{Address, B256, U64, U256};
use keystead_types::StateView as _;
use serde_json::{Map, Value, json};

/// Storage slots in one request, as geth.
const SLOTS_MAX: usize = 1_024;

/// Osaka's `BLOB_BASE_FEE_UPDATE_FRACTION`: without blobs it moves nothing.
const BLOB_UPDATE_FRACTION: u64 = 5_007_716;

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
        about: "The rules in force: chain, fork, precompiles, system contracts (EIP-7910).",
        params: &[],
        result: "object: current, next, last",
        work: Work::Read,
        run: config,
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

/// Names and addresses of Osaka's precompiles, as EIP-7910 and the EIPs that define them have them.
const PRECOMPILES: [(&str, u64); 18] = [
    ("ECREC", 0x01),
    ("SHA256", 0x02),
    ("RIPEMD160", 0x03),
    ("ID", 0x04),
    ("MODEXP", 0x05),
    ("BN254_ADD", 0x06),
    ("BN254_MUL", 0x07),
    ("BN254_PAIRING", 0x08),
    ("BLAKE2F", 0x09),
    ("KZG_POINT_EVALUATION", 0x0a),
    ("BLS12_G1ADD", 0x0b),
    ("BLS12_G1MSM", 0x0c),
    ("BLS12_G2ADD", 0x0d),
    ("BLS12_G2MSM", 0x0e),
    ("BLS12_PAIRING_CHECK", 0x0f),
    ("BLS12_MAP_FP_TO_G1", 0x10),
    ("BLS12_MAP_FP2_TO_G2", 0x11),
    ("P256VERIFY", 0x100),
];

fn config(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let precompiles: Map<String, Value> = PRECOMPILES
        .iter()
        .map(|(name, number)| ((*name).to_owned(), json!(Address::left_padding_from(&number.to_be_bytes()))))
        .collect();
    let genesis = service.context.store.genesis().hash();
    let current = json!({
        // Everything is in force from genesis on.
        "activationTime": 0,
        // No blob fits into a block.
        "blobSchedule": { "target": 0, "max": 0, "baseFeeUpdateFraction": BLOB_UPDATE_FRACTION },
        "chainId": U64::from(service.context.spec.chain_id),
        "forkId": format!("0x{:08x}", crc32(genesis.as_slice())),
        "precompiles": precompiles,
        // Spec: specs/0000-chain.md §3, system calls.
        "systemContracts": {
            "BEACON_ROOTS_ADDRESS": BEACON_ROOTS_ADDRESS,
            "HISTORY_STORAGE_ADDRESS": HISTORY_STORAGE_ADDRESS,
        },
    });
    Json::of(&json!({ "current": current, "next": null, "last": null }))
}

/// CRC-32 (IEEE 802.3), with which EIP-2124 makes a fork id of the genesis hash.
fn crc32(bytes: &[u8]) -> u32 {
    /// The polynomial, lowest power first.
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = remainder & 1;
            remainder >>= 1;
            if carry == 1 {
                remainder ^= POLYNOMIAL;
            }
        }
    }
    !remainder
}

fn capabilities(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let head = service.context.store.head();
    let since = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
    // Blocks, receipts and indices are kept for good.
    let (state, whole) = (since(service.context.store.oldest_state()), since(0));
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
    let state = service.chain().state(params.find(1)?.unwrap_or(BlockId::Latest))?;
    let mut answer = Map::new();
    for (name, address, keys) in slots {
        let values: Result<Vec<B256>, _> =
            keys.iter().map(|key| state.storage(&address, &key.slot).map(B256::from)).collect();
        answer.insert(name, json!(values?));
    }
    Json::of(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC, and mainnet's Frontier fork id of EIP-2124.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let mainnet = alloy_primitives::b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
        assert_eq!(crc32(mainnet.as_slice()), 0xfc64_ec04);
    }
}
