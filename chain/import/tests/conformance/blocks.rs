//! Blockchain tests: blocks imported one by one, invalid ones refused, the last hash and state at the end.

use crate::{
    suite::{self, Case},
    world::{Accounts, Config, forks, genesis_accounts, store_folder},
};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, keccak256};
use keystead_import::{Error, Importer, Refusal};
use keystead_state::{Options, Store};
use keystead_types::{Block, BlockError, ChainSpec, Genesis, StateView as _};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Caches of a store that lives for a few blocks.
const CACHE_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockTest {
    network: String,
    config: Config,
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Bytes,
    pre: Accounts,
    blocks: Vec<TestBlock>,
    post_state: Option<Accounts>,
    post_state_hash: Option<B256>,
    lastblockhash: B256,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestBlock {
    rlp: Bytes,
    expect_exception: Option<String>,
}

#[test]
fn blockchain_tests_end_at_the_block_and_state_of_every_client() {
    suite::run("blockchain_tests", 1_335, |text| {
        let tests: BTreeMap<String, BlockTest> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let run = |(name, test): (String, BlockTest)| -> Case { (name, case(test)) };
        Ok(tests.into_iter().map(run).collect())
    });
}

fn case(test: BlockTest) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let first = Block::decode_ethereum(&test.genesis_rlp).map_err(|it| text(&it))?;
    let header = first.header().clone();
    let spec = ChainSpec::ethereum(test.config.chainid.to(), header.gas_limit, forks(&test.network, &test.config)?);
    let accounts = genesis_accounts(test.pre);
    let genesis = Genesis { spec, timestamp: header.timestamp, accounts, header: Some(Box::new(header)) };
    let folder = store_folder();
    let options = Options { cache_bytes: CACHE_BYTES, ..Options::default() };
    let store = Store::open(folder.path(), &genesis, options).map_err(|it| text(&it))?;
    let importer = Importer::new(store.clone(), &genesis).map_err(|it| text(&it))?;
    if store.genesis().hash() != first.hash() {
        return Err(format!("genesis: got={} want={}", store.genesis().hash(), first.hash()));
    }
    for (index, block) in test.blocks.iter().enumerate() {
        match (importer.import(&block.rlp), &block.expect_exception) {
            (Ok(_), None) => {}
            (Err(Error::Refused(refusal)), Some(exception)) if fits(exception, &refusal) => {}
            (Ok(_), Some(exception)) => return Err(format!("block {index} accepted, expected {exception}")),
            (Err(error), exception) => return Err(format!("block {index}: {error}; expected {exception:?}")),
        }
    }
    let head = store.head();
    if head.hash != test.lastblockhash {
        return Err(format!("last block: got={} want={}", head.hash, test.lastblockhash));
    }
    if test.post_state_hash.is_some_and(|want| want != head.state_root) {
        return Err(format!("state root: got={} want={:?}", head.state_root, test.post_state_hash));
    }
    test.post_state.map_or(Ok(()), |accounts| compare(&store, &accounts))
}

/// Whether a block was refused for one of the reasons that the test allows, as far as their names tell.
fn fits(exception: &str, refusal: &Refusal) -> bool {
    let any = |name: &str| match name {
        "BlockException.INVALID_REQUESTS" => {
            matches!(refusal, Refusal::Mismatch { field: "requestsHash", .. } | Refusal::System(_))
        }
        "BlockException.SYSTEM_CONTRACT_EMPTY" | "BlockException.SYSTEM_CONTRACT_CALL_FAILED" => {
            matches!(refusal, Refusal::System(_))
        }
        "BlockException.INVALID_WITHDRAWALS_ROOT" => {
            matches!(refusal, Refusal::Block(BlockError::Mismatch { field: "withdrawalsRoot" }))
        }
        "BlockException.RLP_STRUCTURES_ENCODING" => matches!(refusal, Refusal::Block(_) | Refusal::Header(_)),
        // A header shows by its blob gas, or by fields that its fork does not have, what its transactions do.
        _ if ["TYPE_3", "BLOB", "PRE_FORK"].iter().any(|word| name.contains(word)) => true,
        _ if name.starts_with("TransactionException.") => {
            matches!(
                refusal,
                Refusal::Transaction { .. } | Refusal::Signature(_) | Refusal::Block(BlockError::Malformed(_))
            )
        }
        _ => true,
    };
    exception.split('|').any(any)
}

/// Compares the state with the accounts that the test lists; that there are no others is what the root says.
fn compare(store: &Store, accounts: &Accounts) -> Result<(), String> {
    let state = store.latest();
    for (address, want) in accounts {
        let got = state.account(address).unwrap().unwrap_or_default();
        let hash = if want.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&want.code) };
        if (got.nonce, got.balance, got.code_hash) != (want.nonce.to(), want.balance, hash) {
            return Err(format!("account {address}: got={got:?} want={want:?}"));
        }
        if state.code(&got.code_hash).unwrap() != want.code {
            return Err(format!("code of {address}"));
        }
        for (slot, want) in &want.storage {
            let got = state.storage(address, slot).unwrap();
            if got != *want {
                return Err(format!("slot {slot} of {address}: got={got} want={want}"));
            }
        }
    }
    Ok(())
}
