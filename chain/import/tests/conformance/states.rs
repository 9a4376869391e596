//! State tests: one transaction on a given state, the root and the logs after it.

use crate::{
    suite::{self, Case},
    world::{Accounts, Config, forks, genesis_accounts, store_folder},
};
use alloy_primitives::{Address, B256, Bytes, U64, U256, keccak256};
use keystead_execution::{BlockEnv, execute_transactions};
use keystead_state::{Options, Snapshot, Store};
use keystead_types::{
    Account, ChainSpec, Fork, Genesis, Log, Receipt, StateView, ViewError, decode_ethereum_transaction, recover_all,
    recover_all_any_s,
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Deserialize)]
struct StateTest {
    env: Env,
    pre: Accounts,
    post: BTreeMap<String, Vec<Post>>,
    transaction: Sender,
    config: Config,
}

#[derive(Debug, Deserialize)]
struct Sender {
    sender: Option<Address>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    current_coinbase: Address,
    current_gas_limit: U256,
    current_number: U64,
    current_timestamp: U64,
    current_difficulty: Option<U256>,
    current_base_fee: Option<U64>,
    current_random: Option<U256>,
    current_excess_blob_gas: Option<U64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    hash: B256,
    logs: B256,
    txbytes: Bytes,
    expect_exception: Option<String>,
}

/// The tests' own rule for block hashes: that of the height in decimal.
struct World(Arc<Snapshot>);

impl StateView for World {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        self.0.account(address)
    }

    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        self.0.account_with_storage(address)
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        self.0.storage(address, slot)
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        self.0.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        Ok(hash_of(number))
    }
}

fn hash_of(number: u64) -> B256 {
    keccak256(number.to_string())
}

#[test]
fn state_tests_give_the_roots_and_logs_of_every_client() {
    let folder = store_folder();
    let nothing = r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#;
    let genesis = Genesis::from_json(nothing).unwrap();
    // Every case stands on the empty state of one store, as a pending block does.
    let store = Store::open(folder.path(), &genesis, Options::default()).unwrap();
    let empty = store.latest();
    suite::run("state_tests", 10_537, |text| {
        let tests: BTreeMap<String, StateTest> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(tests.into_iter().flat_map(|(name, test)| run(&empty, &name, test)).collect())
    });
}

fn run(empty: &Arc<Snapshot>, name: &str, test: StateTest) -> Vec<Case> {
    let StateTest { env, pre, post, transaction, config } = test;
    let genesis = Genesis {
        spec: ChainSpec::keystead(config.chainid.to()),
        timestamp: 0,
        accounts: genesis_accounts(pre),
        header: None,
    };
    let before = empty.child(genesis.changes()).unwrap().seal(B256::ZERO);
    let mut cases = Vec::new();
    for (network, posts) in post {
        let several = posts.len() > 1;
        for (index, post) in posts.into_iter().enumerate() {
            let name = if several { format!("{name} {network} {index}") } else { name.to_owned() };
            cases.push((name, case(&before, &network, &env, &config, transaction.sender, &post)));
        }
    }
    cases
}

fn case(
    before: &Arc<Snapshot>,
    network: &str,
    env: &Env,
    config: &Config,
    sender: Option<Address>,
    post: &Post,
) -> Result<(), String> {
    let forks = forks(network, config)?;
    let number: u64 = env.current_number.to();
    let env = BlockEnv {
        number,
        timestamp: env.current_timestamp.to(),
        beneficiary: env.current_coinbase,
        gas_limit: env.current_gas_limit.saturating_to(),
        base_fee: env.current_base_fee.unwrap_or_default().to(),
        difficulty: env.current_difficulty.unwrap_or_default(),
        prev_randao: env.current_random.unwrap_or_default().into(),
        excess_blob_gas: env.current_excess_blob_gas.unwrap_or_default().to(),
        parent_beacon_block_root: B256::ZERO,
        parent_hash: hash_of(number.wrapping_sub(1)),
        ..BlockEnv::default()
    };
    let spec = ChainSpec::ethereum(config.chainid.to(), env.gas_limit, forks);
    let fork = forks.fork(env.number, env.timestamp, env.difficulty);
    let run = || -> Result<_, String> {
        let transactions = vec![decode_ethereum_transaction(&post.txbytes).map_err(|it| it.to_string())?];
        let recovered =
            if fork < Fork::Homestead { recover_all_any_s(transactions) } else { recover_all(transactions) };
        let recovered = recovered.map_err(|it| it.to_string())?;
        let found = recovered.first().map(|it| it.signer());
        if sender.is_some() && found != sender {
            return Err(format!("sender: got={found:?} want={sender:?}"));
        }
        execute_transactions(&World(Arc::clone(before)), &spec, &env, &recovered).map_err(|it| it.to_string())
    };
    let (root, logs) = match (run(), &post.expect_exception) {
        (Ok(outcome), None) => {
            let logs: Vec<Log> = outcome.receipts.iter().flat_map(Receipt::logs).cloned().collect();
            (before.child(outcome.changes).map_err(|it| it.to_string())?.state_root(), logs)
        }
        (Err(_), Some(_)) => (before.state_root(), Vec::new()),
        (Ok(_), Some(exception)) => return Err(format!("accepted, expected {exception}")),
        (Err(error), None) => return Err(format!("refused: {error}")),
    };
    if root != post.hash {
        return Err(format!("state root: got={root} want={}", post.hash));
    }
    let logs = keccak256(alloy_rlp::encode(logs));
    if logs == post.logs { Ok(()) } else { Err(format!("logs: got={logs} want={}", post.logs)) }
}
