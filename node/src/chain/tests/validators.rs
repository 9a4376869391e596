//! Four validators with the real ledger on real folders, talking over loopback.

use super::super::{Chain, Submissions, submission::Inbox};
use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::{eip2935, eip4788};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use futures::{FutureExt as _, channel::oneshot};
use keystead_consensus::{Error, Gossip, Ledger, Member, Outgoing, Pacing, Peer, RunConfig, ValidatorKeys, deal};
use keystead_mempool::{Limits, Pool};
use keystead_rpc::Submit as _;
use keystead_state::{Options, Store};
use keystead_types::{
    Address, B256, Bytes, ChainSpec, Genesis, GenesisAccount, Header, Recovered, Transaction, U256, recover,
};
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// One network at a time: four engines fill a small machine.
static MACHINE: Mutex<()> = Mutex::new(());
/// How long anything may take before a test gives up. Generous: CI builds and runs on two cores.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(10);
pub(super) const COUNT: usize = 4;
pub(super) const CHAIN_ID: u64 = 19_283;
/// Burns all gas that it gets.
pub(super) const BURNER: Address = Address::repeat_byte(0xbb);

/// Faster than the defaults, so that a test sees many blocks.
const PACING: Pacing = Pacing {
    interval_min: Duration::from_millis(20),
    interval_max: Duration::from_millis(200),
    heartbeat: Duration::from_millis(40),
    leader_timeout: Duration::from_millis(750),
};

pub(super) struct Validators {
    all: Vec<Validator>,
    pub(super) network_key: [u8; 96],
    _folder: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

struct Validator {
    store: Store,
    submissions: Submissions,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// A test account that has money at genesis.
pub(super) fn signer(seed: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(seed)).unwrap()
}

/// A type 2 transaction to be signed.
pub(super) fn call(nonce: u64, to: Address, gas_limit: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: to.into(),
        value: U256::from(1),
        ..TxEip1559::default()
    }
}

pub(super) fn sign(signer: &PrivateKeySigner, transaction: TxEip1559) -> Transaction {
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
    transaction.into_signed(signature).into()
}

impl Validators {
    /// Starts all; `wrap` may put something between the engine and the ledger of a validator.
    pub(super) fn start(wrap: impl Fn(usize, Arc<Chain>) -> Arc<dyn Ledger>) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let (genesis, dealing) = (genesis(), deal(COUNT as u32).unwrap());
        let public_keys: Vec<[u8; 32]> = dealing.members.iter().map(|member| member.public_key).collect();
        let peers: Vec<Peer> = public_keys
            .iter()
            .zip(free_addresses())
            .map(|(public_key, address)| Peer { public_key: *public_key, address })
            .collect();
        let all = dealing.members.iter().enumerate().map(|(index, member)| {
            let keys = |member: &Member| {
                ValidatorKeys::new(&member.private_key, &member.share, &dealing.sharing, &public_keys).unwrap()
            };
            let directory = folder.path().join(index.to_string());
            Validator::start(&directory, &genesis, keys(member), &peers, index, |chain| wrap(index, chain))
        });
        Self { all: all.collect(), network_key: dealing.network_key, _folder: folder, _machine: machine }
    }

    /// Height of a validator's last final block.
    pub(super) fn head(&self, index: usize) -> u64 {
        self.all[index].store.head().number
    }

    pub(super) fn header(&self, index: usize, height: u64) -> Header {
        self.all[index].store.header(height).unwrap().unwrap()
    }

    pub(super) fn store(&self, index: usize) -> &Store {
        &self.all[index].store
    }

    pub(super) fn is_final(&self, index: usize, hash: &B256) -> bool {
        self.all[index].store.number_of(hash).unwrap().is_some()
    }

    /// True if every transaction is in a final block of this validator.
    pub(super) fn holds(&self, index: usize, hashes: &[B256]) -> bool {
        hashes.iter().all(|hash| self.all[index].store.transaction_location(hash).unwrap().is_some())
    }

    pub(super) fn submit(&self, index: usize, transaction: Transaction) -> B256 {
        let recovered: Recovered = recover(transaction).unwrap();
        self.all[index].submissions.submit(recovered).unwrap()
    }

    /// Waits until `done`; fails if a validator's engine ends meanwhile.
    pub(super) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            let heads: Vec<u64> = (0..COUNT).map(|index| self.head(index)).collect();
            for (index, validator) in self.all.iter().enumerate() {
                let ended = validator.thread.as_ref().is_none_or(JoinHandle::is_finished);
                assert!(!ended, "validator {index} stopped while waiting: {what}, heads={heads:?}");
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}, heads={heads:?}");
            thread::sleep(POLL);
        }
    }

    /// Compares all final blocks of all validators; returns the lowest head.
    pub(super) fn agree(&self) -> u64 {
        let lowest = (0..COUNT).map(|index| self.head(index)).min().unwrap();
        for height in 0..=lowest {
            let first = self.header(0, height);
            (1..COUNT).for_each(|index| {
                assert_eq!(self.header(index, height), first, "validator {index} has another block {height}");
            });
        }
        lowest
    }
}

impl Validator {
    fn start(
        directory: &Path,
        genesis: &Genesis,
        keys: ValidatorKeys,
        peers: &[Peer],
        index: usize,
        wrap: impl Fn(Arc<Chain>) -> Arc<dyn Ledger>,
    ) -> Self {
        let Parts { store, submissions, inbox, outgoing, chain } = parts(directory, genesis, index as u8);
        let (spec, worker) = (genesis.spec, submissions.clone());
        thread::spawn(move || worker.work(&inbox));
        let config = RunConfig {
            chain_id: spec.chain_id,
            keys,
            validators: peers.to_vec(),
            listen: peers[index].address,
            directory: directory.join("engine"),
            vote_record: directory.join("votes"),
            trust_votes: false,
            genesis: store.genesis(),
            committed: store.head().number,
            pacing: PACING,
            drift_max: Duration::from_millis(spec.drift_ms_max),
            connected: Arc::default(),
        };
        let ledger = wrap(Arc::new(chain));
        let (stop, stopped) = oneshot::channel();
        let stopped = Box::pin(stopped.map(|_| ()));
        let thread = thread::spawn(move || keystead_consensus::run(config, ledger, outgoing, stopped));
        Self { store, submissions, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Validators {
    fn drop(&mut self) {
        self.all.iter_mut().for_each(|validator| drop(validator.stop.take()));
        for (index, validator) in self.all.iter_mut().enumerate() {
            let ended = validator.thread.take().unwrap().join();
            if !thread::panicking() {
                assert!(matches!(ended, Ok(Ok(()))), "validator {index} ended badly: {ended:?}");
            }
        }
    }
}

/// A ledger on a folder, and everything around it, with no engine yet.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) submissions: Submissions,
    pub(super) inbox: Inbox,
    pub(super) outgoing: Outgoing,
    pub(super) chain: Chain,
}

pub(super) fn parts(directory: &Path, genesis: &Genesis, fee_recipient: u8) -> Parts {
    let options = Options { cache_bytes: 4 * 1024 * 1024, ..Options::default() };
    let store = Store::open(&directory.join("state"), genesis, options).unwrap();
    let spec = genesis.spec;
    let pool = Arc::new(Mutex::new(Pool::new(Limits::default(), spec.chain_id, spec.gas_limit)));
    let (gossip, outgoing) = Gossip::new();
    let (submissions, inbox) = Submissions::new(store.clone(), spec, Arc::clone(&pool), gossip);
    let chain = Chain::new(store.clone(), spec, pool, Address::repeat_byte(fee_recipient), submissions.clone());
    Parts { store, submissions, inbox, outgoing, chain }
}

/// Listeners are held until all ports are chosen, so that none is chosen twice.
fn free_addresses() -> Vec<SocketAddr> {
    let held: Vec<TcpListener> = (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

pub(super) fn genesis() -> Genesis {
    let contract = |code: Bytes| GenesisAccount { nonce: 1, code, ..GenesisAccount::default() };
    let mut accounts = BTreeMap::from([
        (eip4788::BEACON_ROOTS_ADDRESS, contract(eip4788::BEACON_ROOTS_CODE.clone())),
        (eip2935::HISTORY_STORAGE_ADDRESS, contract(eip2935::HISTORY_STORAGE_CODE.clone())),
        (BURNER, contract(Bytes::from_static(&[0xfe]))),
    ]);
    let ours = keystead_contracts::genesis::contracts();
    accounts.extend(ours.map(|it| (it.address, contract(it.code))));
    let balance = U256::from(10).pow(U256::from(24));
    for seed in 1..=3 {
        accounts.insert(signer(seed).address(), GenesisAccount { balance, ..GenesisAccount::default() });
    }
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Genesis { spec: ChainSpec::keystead(CHAIN_ID), timestamp, accounts, header: None }
}
