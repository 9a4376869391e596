//! `eth_config` (EIP-7910): the rules in force and those to come, by which a person sees before a fork whether a node is ready.
//!
//! # Design
//! A chain of ours has one set of rules from genesis on. A foreign chain has one per second at which its genesis file
//! changes something after the merge; what counts as now is the head's time.

use crate::{error::RpcError, message::Json, params::Params, service::Service};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7840::BlobParams,
};
use alloy_primitives::{Address, B256, U64, U256};
use keystead_types::{Fork, Forks};
use serde_json::{Map, Value, json};

/// Osaka's `BLOB_BASE_FEE_UPDATE_FRACTION`: without blobs it moves nothing.
const BLOB_UPDATE_FRACTION: u64 = 5_007_716;

/// Names and addresses of precompiles, as EIP-7910 and the EIPs that define them have them, with the fork that brought
/// them. All before Istanbul are older than any chain that tells its rules.
const PRECOMPILES: [(&str, u64, Fork); 18] = [
    ("ECREC", 0x01, Fork::Frontier),
    ("SHA256", 0x02, Fork::Frontier),
    ("RIPEMD160", 0x03, Fork::Frontier),
    ("ID", 0x04, Fork::Frontier),
    ("MODEXP", 0x05, Fork::Byzantium),
    ("BN254_ADD", 0x06, Fork::Byzantium),
    ("BN254_MUL", 0x07, Fork::Byzantium),
    ("BN254_PAIRING", 0x08, Fork::Byzantium),
    ("BLAKE2F", 0x09, Fork::Istanbul),
    ("KZG_POINT_EVALUATION", 0x0a, Fork::Cancun),
    ("BLS12_G1ADD", 0x0b, Fork::Prague),
    ("BLS12_G1MSM", 0x0c, Fork::Prague),
    ("BLS12_G2ADD", 0x0d, Fork::Prague),
    ("BLS12_G2MSM", 0x0e, Fork::Prague),
    ("BLS12_PAIRING_CHECK", 0x0f, Fork::Prague),
    ("BLS12_MAP_FP_TO_G1", 0x10, Fork::Prague),
    ("BLS12_MAP_FP2_TO_G2", 0x11, Fork::Prague),
    ("P256VERIFY", 0x100, Fork::Osaka),
];

pub(super) fn config(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let (context, chain) = (&service.context, service.chain());
    let genesis = context.store.genesis();
    let genesis = (genesis.hash(), genesis.header().timestamp);
    let chain_id = context.spec.chain_id;
    let Some(forks) = &context.spec.ethereum else {
        return Json::of(&json!({ "current": ours(chain_id, genesis.0), "next": null, "last": null }));
    };
    let head = chain.header(chain.head())?;
    let times = forks.times();
    let (past, coming): (Vec<u64>, Vec<u64>) = times.into_iter().partition(|since| *since <= head.timestamp);
    let since = past.last().copied().unwrap_or_default();
    let fork = forks.fork(head.number, head.timestamp, head.difficulty);
    let current = Rules { since, fork, number: head.number };
    // Whatever comes by time comes after the merge.
    let later = |since: &u64| Rules { since: *since, fork: forks.fork(u64::MAX, *since, U256::ZERO), number: u64::MAX };
    let shown = |rules: Rules| rules.show(forks, chain_id, genesis);
    let (next, last) = (coming.first().map(later).map(shown), coming.last().map(later).map(shown));
    Json::of(&json!({ "current": shown(current), "next": next, "last": last }))
}

/// A foreign chain's rules from some second on.
struct Rules {
    since: u64,
    fork: Fork,
    /// Height up to which forks by height count.
    number: u64,
}

impl Rules {
    fn show(self, forks: &Forks, chain_id: u64, genesis: (B256, u64)) -> Value {
        let Self { since, fork, number } = self;
        let schedule = forks.blobs(fork, since).map(|blobs: BlobParams| {
            json!({
                "target": blobs.target_blob_count,
                "max": blobs.max_blob_count,
                "baseFeeUpdateFraction": u64::try_from(blobs.update_fraction).unwrap_or(u64::MAX),
            })
        });
        let contracts = [
            ("BEACON_ROOTS_ADDRESS", BEACON_ROOTS_ADDRESS, Fork::Cancun),
            ("CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS", CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, Fork::Prague),
            ("DEPOSIT_CONTRACT_ADDRESS", forks.deposit_contract, Fork::Prague),
            ("HISTORY_STORAGE_ADDRESS", HISTORY_STORAGE_ADDRESS, Fork::Prague),
            ("WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS", WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, Fork::Prague),
        ];
        let contracts = contracts.into_iter().filter(|(.., begins)| *begins <= fork);
        let contracts: Map<String, Value> = contracts.map(|(name, it, _)| (name.to_owned(), json!(it))).collect();
        json!({
            "activationTime": since,
            "blobSchedule": schedule,
            "chainId": U64::from(chain_id),
            "forkId": fork_id(&forks.id_bytes(genesis, number, since)),
            "precompiles": precompiles(fork),
            "systemContracts": contracts,
        })
    }
}

/// Keystead's rules, all in force from genesis on.
fn ours(chain_id: u64, genesis: B256) -> Value {
    json!({
        "activationTime": 0,
        // No blob fits into a block.
        "blobSchedule": { "target": 0, "max": 0, "baseFeeUpdateFraction": BLOB_UPDATE_FRACTION },
        "chainId": U64::from(chain_id),
        "forkId": fork_id(genesis.as_slice()),
        "precompiles": precompiles(Fork::Osaka),
        // Spec: specs/0000-chain.md §3, system calls.
        "systemContracts": {
            "BEACON_ROOTS_ADDRESS": BEACON_ROOTS_ADDRESS,
            "HISTORY_STORAGE_ADDRESS": HISTORY_STORAGE_ADDRESS,
        },
    })
}

fn precompiles(fork: Fork) -> Map<String, Value> {
    let there = PRECOMPILES.iter().filter(|(.., begins)| *begins <= fork);
    there
        .map(|(name, number, _)| ((*name).to_owned(), json!(Address::left_padding_from(&number.to_be_bytes()))))
        .collect()
}

fn fork_id(bytes: &[u8]) -> String {
    format!("0x{:08x}", crc32(bytes))
}

/// CRC-32 (IEEE 802.3), with which EIP-2124 makes fork ids.
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    /// The genesis hash of the main network, and its time as the files have it.
    const MAINNET: (B256, u64) = (b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"), 0);

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC, and mainnet's Frontier fork id of EIP-2124.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(fork_id(MAINNET.0.as_slice()), "0xfc64ec04");
    }

    #[test]
    fn fork_ids_are_those_of_eip_2124() {
        let mut forks = Forks::FRONTIER;
        forks.homestead = Some(1_150_000);
        let id = |forks: &Forks, number| fork_id(&forks.id_bytes(MAINNET, number, 0));
        assert_eq!(id(&forks, 1_149_999), "0xfc64ec04");
        assert_eq!(id(&forks, 1_150_000), "0x97c2c34c");
    }

    #[test]
    fn rules_grow_from_fork_to_fork() {
        let forks = Forks::always(Fork::Osaka);
        let show = |fork| Rules { since: 0, fork, number: 0 }.show(&forks, 7, MAINNET);
        let count = |value: &Value, field: &str| value[field].as_object().map_or(0, Map::len);
        for (fork, precompiles, contracts, blobs) in [
            (Fork::Shanghai, 9, 0, Value::Null),
            (Fork::Cancun, 10, 1, json!(6)),
            (Fork::Prague, 17, 5, json!(9)),
            (Fork::Osaka, 18, 5, json!(9)),
        ] {
            let shown = show(fork);
            assert_eq!(count(&shown, "precompiles"), precompiles, "{fork:?}");
            assert_eq!(count(&shown, "systemContracts"), contracts, "{fork:?}");
            // One schedule for the whole chain: the last that began at its first second.
            let max = shown["blobSchedule"].get("max").cloned().unwrap_or_default();
            assert_eq!(max.is_null(), blobs.is_null(), "{fork:?}");
        }
        assert_eq!(show(Fork::Osaka)["blobSchedule"]["max"], 9);
    }
}
