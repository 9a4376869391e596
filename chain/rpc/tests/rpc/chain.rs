//! The chain that the tests ask about: real blocks, executed and committed to a store in a temporary folder.
//!
//! | block | content |
//! |---|---|
//! | 1 | three transfers, of types 0, 1 and 2 |
//! | 2 | deployment of the test contract |
//! | 3 | three calls of it: two log, the third reverts |
//! | 4 to 7 | nothing |
//!
//! Blocks 2, 4 and 6 have a certificate of their own. The store keeps the states of the last four blocks.

use crate::{client::Client, code};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxLegacy, transaction::SignerRecoverable as _};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use keystead_execution::{BeaconWrite, BlockEnv, execute};
use keystead_mempool::{Limits, Pool};
use keystead_rpc::{Context, Network, ServerLimits, Submit, SubmitError, ValidatorInfo};
use keystead_state::{Commit, History, Options, Store};
use keystead_types::{
    BEACON_ADDRESS, BeaconBatch, BeaconValue, Block, BlockParts, Certificate, ChainSpec, ConsensusContext, Genesis,
    GenesisAccount, Recovered, Seed, StateView as _, Transaction,
};
use secp256k1::{Message, SECP256K1, SecretKey};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

pub const CHAIN_ID: u64 = ChainSpec::DEVELOPMENT_CHAIN_ID;
/// 2025-11-01 00:00:00 UTC.
pub const GENESIS_TIME: u64 = 1_761_955_200;
pub const ETHER: u128 = 1_000_000_000_000_000_000;
const GWEI: u128 = 1_000_000_000;
const DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Somebody with a key.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    key: SecretKey,
    pub address: Address,
}

impl Person {
    fn new(number: u8) -> Self {
        let key = SecretKey::from_byte_array([number; 32]).unwrap();
        let public = key.public_key(SECP256K1).serialize_uncompressed();
        Self { key, address: Address::from_slice(&keccak256(&public[1..])[12..]) }
    }

    pub fn alice() -> Self {
        Self::new(1)
    }

    pub fn bob() -> Self {
        Self::new(2)
    }

    /// Has no account on the chain.
    pub fn carol() -> Self {
        Self::new(3)
    }

    pub fn sign<T: SignableTransaction<Signature>>(&self, transaction: T) -> Transaction
    where
        Transaction: From<alloy_consensus::Signed<T>>,
    {
        let message = Message::from_digest(transaction.signature_hash().0);
        let (recovery, bytes) = SECP256K1.sign_ecdsa_recoverable(message, &self.key).serialize_compact();
        let signature = Signature::from_bytes_and_parity(&bytes, i32::from(recovery) == 1);
        transaction.into_signed(signature).into()
    }

    /// A transfer of type 2 with a tip of one gwei.
    pub fn transfer(&self, nonce: u64, to: Address, value: U256) -> Transaction {
        self.sign(TxEip1559 { to: TxKind::Call(to), value, gas_limit: 21_000, ..dynamic(nonce) })
    }

    /// Lets this account run the code at an address (EIP-7702).
    pub fn authorize(&self, address: Address, nonce: u64) -> SignedAuthorization {
        let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address, nonce };
        let message = Message::from_digest(authorization.signature_hash().0);
        let (recovery, bytes) = SECP256K1.sign_ecdsa_recoverable(message, &self.key).serialize_compact();
        authorization.into_signed(Signature::from_bytes_and_parity(&bytes, i32::from(recovery) == 1))
    }

    /// A call of type 2.
    pub fn invoke(&self, nonce: u64, to: Address, input: Bytes) -> Transaction {
        self.sign(TxEip1559 { to: TxKind::Call(to), input, gas_limit: 100_000, ..dynamic(nonce) })
    }
}

/// What the tests' transactions of type 2 have in common.
pub fn dynamic(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        max_fee_per_gas: 3 * GWEI,
        max_priority_fee_per_gas: GWEI,
        ..TxEip1559::default()
    }
}

pub fn recovered(transaction: Transaction) -> Recovered {
    transaction.try_into_recovered().unwrap()
}

/// EIP-2718 bytes as `eth_sendRawTransaction` takes them.
pub fn raw(transaction: &Transaction) -> Bytes {
    use alloy_eips::eip2718::Encodable2718 as _;
    transaction.encoded_2718().into()
}

/// A store with the node's duties around it.
pub struct Chain {
    pub store: Store,
    pub pool: Arc<Mutex<Pool>>,
    pub genesis: Genesis,
    key: blst::min_sig::SecretKey,
    // Last, so that the store is closed before its folder goes.
    _dir: TempDir,
}

struct Admission {
    store: Store,
    pool: Arc<Mutex<Pool>>,
    spec: ChainSpec,
    busy: Arc<AtomicBool>,
    arrivals: watch::Sender<()>,
}

impl Submit for Admission {
    fn ready(&self) -> Result<(), SubmitError> {
        if self.busy.load(Ordering::Relaxed) { Err(SubmitError::Busy { waiting: 9, max: 8 }) } else { Ok(()) }
    }

    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let hash = *transaction.tx_hash();
        let unavailable = |error: &dyn std::fmt::Display| SubmitError::Unavailable(error.to_string());
        let account = self.store.latest().account(&transaction.signer()).map_err(|error| unavailable(&error))?;
        let head = self.store.head().number;
        let parent = self.store.header(head).map_err(|error| unavailable(&error))?.unwrap();
        let base_fee = self.spec.next_base_fee(&parent);
        let mut pool = self.pool.lock().unwrap();
        pool.insert(Arc::new(transaction), &account.unwrap_or_default(), base_fee)?;
        drop(pool);
        self.arrivals.send_replace(());
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }
}

impl Chain {
    /// Only the genesis block.
    pub fn empty() -> Self {
        Self::with_history(History::Blocks(3))
    }

    /// The same with the contract `Beacon`, in a store that keeps all states.
    pub fn with_beacon() -> Self {
        let artifact: serde_json::Value =
            serde_json::from_str(include_str!("../../../../contracts/artifacts/Beacon.json")).unwrap();
        let code = artifact["deployedBytecode"].as_str().unwrap().parse().unwrap();
        Self::of(
            options(History::Archive),
            Some((BEACON_ADDRESS, GenesisAccount { nonce: 1, code, ..Default::default() })),
        )
    }

    /// Only the genesis block, in a store that keeps so many old states.
    fn with_history(history: History) -> Self {
        Self::of(options(history), None)
    }

    fn of(options: Options, contract: Option<(Address, GenesisAccount)>) -> Self {
        let rich = || GenesisAccount { balance: U256::from(1_000 * ETHER), ..GenesisAccount::default() };
        let accounts =
            [(Person::alice().address, rich()), (Person::bob().address, rich())].into_iter().chain(contract).collect();
        let genesis = Genesis { spec: ChainSpec::keystead(CHAIN_ID), timestamp: GENESIS_TIME, accounts, header: None };
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state"), &genesis, options).unwrap();
        let pool = Pool::new(Limits::default(), CHAIN_ID, genesis.spec.gas_limit);
        let key = blst::min_sig::SecretKey::key_gen(&[42; 32], &[]).unwrap();
        Self { store, pool: Arc::new(Mutex::new(pool)), genesis, key, _dir: dir }
    }

    /// The chain of the module's table.
    pub fn full() -> Self {
        Self::empty().grown()
    }

    /// The same chain in a store that keeps all states.
    pub fn archive() -> Self {
        Self::with_history(History::Archive).grown()
    }

    /// The same chain with empty blocks up to 24, in a store that has dropped blocks 1 to 4.
    pub fn pruned() -> Self {
        let chain = Self::of(Options { segment_blocks: 2, ..options(History::Blocks(3)) }, None).grown();
        (8..=24).for_each(|_| chain.produce(Vec::new()));
        assert_eq!(chain.store.prune(5).unwrap().segments, 2);
        chain
    }

    fn grown(self) -> Self {
        let chain = self;
        let (alice, bob, carol) = (Person::alice(), Person::bob(), Person::carol());
        let legacy = TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce: 0,
            gas_price: 2 * GWEI,
            gas_limit: 21_000,
            to: TxKind::Call(carol.address),
            value: U256::from(ETHER),
            input: Bytes::new(),
        };
        let listed = TxEip2930 {
            chain_id: CHAIN_ID,
            nonce: 1,
            gas_price: 2 * GWEI,
            gas_limit: 60_000,
            to: TxKind::Call(bob.address),
            value: U256::from(5),
            access_list: AccessList(vec![AccessListItem {
                address: carol.address,
                storage_keys: vec![B256::with_last_byte(1)],
            }]),
            input: Bytes::from_static(&[1, 2, 3]),
        };
        chain.produce(vec![alice.sign(legacy), alice.sign(listed), bob.transfer(0, alice.address, U256::from(7))]);
        let init = Bytes::from(code::init());
        chain.produce(vec![alice.sign(TxEip1559 {
            to: TxKind::Create,
            input: init,
            gas_limit: 500_000,
            ..dynamic(2)
        })]);
        chain.produce(vec![
            alice.invoke(3, Self::contract(), word(7)),
            bob.invoke(1, Self::contract(), word(8)),
            bob.invoke(2, Self::contract(), word(0)),
        ]);
        (4..=7).for_each(|_| chain.produce(Vec::new()));
        for number in [2, 4, 6] {
            chain.certify(number);
        }
        chain
    }

    /// Where block 2 deploys the test contract.
    pub fn contract() -> Address {
        Person::alice().address.create(2)
    }

    /// Executes and commits the next block with these transactions, and tells the pool.
    pub fn produce(&self, transactions: Vec<Transaction>) {
        self.produce_with(None, transactions);
    }

    /// The same with the beacon values of `count` heights from `first` on.
    pub fn produce_beacon(&self, first: u64, count: u64, transactions: Vec<Transaction>) {
        let values = (first..first + count).map(|height| self.beacon(height)).collect();
        self.produce_with(Some(BeaconBatch::new(first, values).unwrap()), transactions);
    }

    /// The beacon value of a height, as the committee would sign it.
    pub fn beacon(&self, height: u64) -> BeaconValue {
        BeaconValue(self.key.sign(&BeaconValue::message(CHAIN_ID, height), DST, &[]).compress())
    }

    fn produce_with(&self, beacon: Option<BeaconBatch>, transactions: Vec<Transaction>) {
        let parent = self.store.block(self.store.head().number).unwrap().unwrap();
        let number = parent.number() + 1;
        let context = context(number);
        let timestamp_ms = parent.timestamp_ms() + 200;
        let spec = &self.genesis.spec;
        let env = BlockEnv {
            number,
            timestamp: timestamp_ms / 1_000,
            beneficiary: Address::repeat_byte(0xbe),
            gas_limit: spec.gas_limit,
            base_fee: spec.next_base_fee(parent.header()),
            prev_randao: context.mix_hash(),
            parent_beacon_block_root: context.hash(),
            parent_hash: parent.hash(),
            beacon: beacon.as_ref().map(BeaconWrite::from).unwrap_or_default(),
            ..BlockEnv::default()
        };
        let recovered: Vec<_> = transactions.iter().cloned().map(recovered).collect();
        let state = self.store.latest();
        let outcome = execute(&*state, spec, &env, &recovered).unwrap();
        let touched: Vec<_> =
            outcome.changes.accounts.iter().map(|(it, to)| (*it, to.account.unwrap_or_default())).collect();
        let child = state.child(outcome.changes).unwrap();
        let block = Arc::new(Block::assemble(BlockParts {
            parent_hash: env.parent_hash,
            number,
            timestamp_ms,
            beneficiary: env.beneficiary,
            state_root: child.state_root(),
            receipts_root: outcome.receipts_root,
            logs_bloom: outcome.logs_bloom,
            gas_limit: env.gas_limit,
            gas_used: outcome.gas_used,
            base_fee: env.base_fee,
            transactions,
            context,
            requests: beacon.iter().map(BeaconBatch::request).collect(),
        }));
        let commit = Commit {
            snapshot: child.seal(block.hash()),
            senders: recovered.iter().map(Recovered::signer).collect(),
            receipts: outcome.receipts,
            certificate: None,
            block: Arc::clone(&block),
        };
        self.store.commit(commit).unwrap();
        self.store.upkeep().unwrap();
        self.pool.lock().unwrap().on_block(spec.next_base_fee(block.header()), touched);
    }

    /// Signs the block at `number` as the committee would.
    pub fn certify(&self, number: u64) {
        let block = self.store.block(number).unwrap().unwrap();
        let (epoch, view, parent_view) = (0, block.context().view, block.context().parent_view);
        let mut certificate = Certificate { epoch, view, parent_view, block_hash: block.hash(), signature: [0; 48] };
        certificate.signature = self.key.sign(&certificate.message(CHAIN_ID), DST, &[]).compress();
        self.store.put_certificate(number, certificate).unwrap();
    }

    pub fn network_key(&self) -> [u8; 96] {
        self.key.sk_to_pk().compress()
    }

    /// Starts a server over this chain.
    pub fn serve(self, limits: ServerLimits) -> Server {
        Server::start(self, limits)
    }
}

/// A small store that keeps so many old states.
fn options(history: History) -> Options {
    Options { recent_states: 2, cache_bytes: 1 << 20, history, ..Options::default() }
}

/// The consensus context of the block at `number` when no view ever failed.
fn context(number: u64) -> ConsensusContext {
    let mut context =
        ConsensusContext { epoch: 0, view: number, parent_view: number - 1, leader: [number as u8; 32], seeds: vec![] };
    context.seeds = vec![Seed([number as u8; 48]); context.seed_count()];
    context
}

/// A number as a word of calldata.
pub fn word(number: u64) -> Bytes {
    Bytes::copy_from_slice(&U256::from(number).to_be_bytes::<32>())
}

/// A running server.
pub struct Server {
    pub chain: Chain,
    pub client: Client,
    /// Set by a test: from then on transactions are refused.
    pub busy: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(chain: Chain, limits: ServerLimits) -> Self {
        let busy = Arc::new(AtomicBool::new(false));
        let context = Context {
            store: chain.store.clone(),
            pool: Arc::clone(&chain.pool),
            spec: chain.genesis.spec,
            submit: Arc::new(Admission {
                store: chain.store.clone(),
                pool: Arc::clone(&chain.pool),
                spec: chain.genesis.spec,
                busy: Arc::clone(&busy),
                arrivals: watch::Sender::new(()),
            }),
            network: Network {
                network_key: chain.network_key(),
                validators: (0..4)
                    .map(|index| ValidatorInfo {
                        public_key: [index; 32],
                        p2p_address: format!("127.0.0.1:{}", 7_000 + u16::from(index)),
                    })
                    .collect(),
            },
            connected: Arc::new(AtomicUsize::new(2)),
            client_version: "keystead/v0.0.0-test".to_owned(),
            dev: None,
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let shutdown = async { drop(stopped.await) };
                keystead_rpc::serve(context, listener, limits, shutdown).await.unwrap();
            });
        });
        Self { chain, client: Client(address), busy, stop: Some(stop), thread: Some(thread) }
    }

    /// The chain of the module's table behind default limits.
    pub fn full() -> Self {
        Chain::full().serve(ServerLimits::default())
    }

    /// Asks the server to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the server has stopped.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if !std::thread::panicking() {
            self.join();
        }
    }
}

/// A transaction under the type byte of blobs, which the chain does not run.
pub fn blob_transaction() -> Bytes {
    let signed = Person::alice().sign(dynamic(9));
    let mut bytes = raw(&signed).to_vec();
    bytes[0] = 3;
    bytes.into()
}
