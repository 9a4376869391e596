//! A member of the committee that speaks the connection's language and nothing else: it forges the bodies of honest
//! blocks, signs the beacon wrongly and sends noise on every channel, while three honest validators go on.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test that runs four engines in threads, waits for them, and stops at the first surprise"
)]

use bytes::Bytes as Buffer;
use commonware_codec::Encode as _;
use commonware_cryptography::bls12381::primitives::variant::{MinSig, Variant};
use commonware_math::algebra::CryptoGroup as _;
use commonware_p2p::{AddressableManager as _, Receiver as _, Recipients, Sender as _, authenticated::lookup};
use commonware_runtime::{Quota, Runner as _, Supervisor as _, tokio as runtime};
use commonware_utils::NZU32;
use futures::{
    FutureExt as _,
    channel::oneshot,
    future::{BoxFuture, Either, pending, select},
};
use keystead_consensus::{
    BuildRequest, Dealing, Error, Gossip, Ledger, LedgerError, Pacing, Peer, RunConfig, ValidatorKeys, Verdict,
    connections, deal, peers, run,
};
use keystead_types::{Address, B256, BeaconValue, Block, BlockParts, Bytes, Certificate, ConsensusContext, Genesis};
use std::{
    collections::{BTreeMap, HashMap},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const COUNT: usize = 4;
const CHAIN_ID: u64 = 7;
/// Place of the traitor in the committee.
const TRAITOR: usize = 2;
/// Forged bodies before it turns to noise, which gets it blocked.
const FORGERIES: usize = 8;
/// Heights whose beacon the traitor signs wrongly.
const FALSE_PARTIALS: u64 = 64;
/// What every honest body is filled with.
const FILLING: u8 = 0x5a;
const PATIENCE: Duration = Duration::from_secs(90);

/// A block whose body is one request, filled with a byte.
fn sample(number: u64, filling: u8) -> Block {
    let request = Bytes::from([vec![0xd1], vec![filling; 64]].concat());
    Block::assemble(BlockParts { requests: vec![request], ..parts(number) })
}

fn parts(number: u64) -> BlockParts {
    BlockParts {
        parent_hash: B256::ZERO,
        number,
        timestamp_ms: number,
        beneficiary: Address::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        logs_bloom: Default::default(),
        gas_limit: 0,
        gas_used: 0,
        base_fee: 0,
        transactions: Vec::new(),
        context: ConsensusContext::genesis(),
        requests: Vec::new(),
    }
}

/// A ledger without state: any block with the right filling is valid.
#[derive(Default)]
struct Shelf {
    known: Mutex<HashMap<B256, Arc<Block>>>,
    committed: Mutex<Vec<Arc<Block>>>,
    /// Beacon values that the engine offered for a block. None is ever taken, so all heights stay open.
    offered: Mutex<BTreeMap<u64, BeaconValue>>,
}

impl Shelf {
    fn keep(&self, block: &Arc<Block>) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(block.hash(), Arc::clone(block));
    }

    fn committed(&self) -> Vec<Arc<Block>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Ledger for Shelf {
    fn knows(&self, hash: &B256) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(hash)
    }

    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).extend(request.beacon);
        let number = request.parent.number() + 1;
        let block = Arc::new(Block::assemble(BlockParts {
            parent_hash: request.parent.hash(),
            timestamp_ms: request.timestamp_ms,
            context: request.context,
            requests: sample(number, FILLING).requests().to_vec(),
            ..parts(number)
        }));
        self.keep(&block);
        Ok(block)
    }

    fn check(&self, block: &Arc<Block>, _: &Arc<Block>) -> Result<Verdict, LedgerError> {
        if block.requests() != sample(0, FILLING).requests() {
            return Ok(Verdict::Invalid("wrong filling".to_owned()));
        }
        self.keep(block);
        Ok(Verdict::Valid)
    }

    fn commit(&self, block: &Arc<Block>, _: Option<Certificate>) -> Result<(), LedgerError> {
        self.keep(block);
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(block));
        Ok(())
    }

    fn beacon_newest(&self) -> Result<Option<u64>, LedgerError> {
        Ok(Some(0))
    }

    fn demanded(&self) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }

    fn receive(&self, _: Vec<Bytes>) {}
}

/// A message of partial signatures over the first heights: points of the group that nobody signed.
fn false_partials() -> Vec<u8> {
    let point = <MinSig as Variant>::Signature::generator().encode();
    let entries = (1..=FALSE_PARTIALS).flat_map(|height| [height.to_be_bytes().as_slice(), &point].concat());
    std::iter::once(0).chain(entries).collect()
}

/// Changes one byte of a body's filling; `None` if it is not there.
fn forge(message: &[u8]) -> Option<Vec<u8>> {
    let at = message.windows(8).position(|window| window == [FILLING; 8])?;
    let mut forged = message.to_vec();
    *forged.get_mut(at)? ^= 1;
    Some(forged)
}

/// Sends every honest block on with another body under the same header; after that, noise on all channels.
fn betray(config: RunConfig, forgeries: Arc<AtomicUsize>, stopped: BoxFuture<'static, ()>) -> Result<(), Error> {
    let committee = peers(&config)?;
    let runner = runtime::Runner::new(
        runtime::Config::new().with_storage_directory(config.directory.clone()).with_worker_threads(1),
    );
    runner.start(|context| async move {
        let (mut network, mut oracle) = lookup::Network::new(context.child("network"), connections(&config));
        oracle.track(0, committee);
        let mut channels: Vec<_> =
            (0..7).map(|channel| network.register(channel, Quota::per_second(NZU32!(64)))).collect();
        network.start();
        let mut stopped = stopped;
        loop {
            let blocks = channels.get_mut(4).unwrap();
            let message = match select(Box::pin(blocks.1.recv()), &mut stopped).await {
                Either::Left((Ok((_, message)), _)) => message,
                Either::Left((Err(_), _)) | Either::Right(_) => return Ok(()),
            };
            let Some(forged) = forge(message.as_ref()) else { continue };
            blocks.0.send(Recipients::All, Buffer::from(forged), true);
            if forgeries.fetch_add(1, Ordering::Relaxed) + 1 >= FORGERIES {
                channels.get_mut(6).unwrap().0.send(Recipients::All, Buffer::from(false_partials()), true);
                for (sender, _) in &mut channels {
                    sender.send(Recipients::All, Buffer::from_static(&[0xff; 40]), true);
                }
            }
        }
    })
}

fn config(member: usize, dealing: &Dealing, peers: &[Peer], directory: &Path, genesis: &Arc<Block>) -> RunConfig {
    let keys: Vec<[u8; 32]> = peers.iter().map(|peer| peer.public_key).collect();
    let (own, address) = (&dealing.members[member], peers[member].address);
    RunConfig {
        chain_id: CHAIN_ID,
        keys: ValidatorKeys::new(&own.private_key, &own.share, &dealing.sharing, &keys).unwrap(),
        validators: peers.to_vec(),
        listen: address,
        directory: directory.join(member.to_string()),
        vote_record: directory.join(format!("votes-{member}")),
        trust_votes: false,
        genesis: Arc::clone(genesis),
        committed: 0,
        pacing: Pacing { heartbeat: Duration::from_millis(50), ..Pacing::default() },
        drift_max: Duration::from_millis(500),
        connected: Arc::default(),
    }
}

#[test]
fn forged_bodies_and_noise_of_a_member_change_nothing_slow() {
    let (folder, dealing) = (tempfile::tempdir().unwrap(), deal(4).unwrap());
    // Held until all are chosen, so that none is chosen twice.
    let held: Vec<TcpListener> = (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let peers: Vec<Peer> = dealing
        .members
        .iter()
        .zip(&held)
        .map(|(member, held)| Peer { public_key: member.public_key, address: held.local_addr().unwrap() })
        .collect();
    drop(held);
    let genesis = Genesis::from_json(r#"{"config":{"chainId":7},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#);
    let genesis = Arc::new(genesis.unwrap().block(B256::ZERO));
    let forgeries = Arc::new(AtomicUsize::new(0));
    let (mut shelves, mut stops, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for member in 0..COUNT {
        let config = config(member, &dealing, &peers, folder.path(), &genesis);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped: BoxFuture<'static, ()> = Box::pin(stopped.map(|_| ()));
        stops.push(stop);
        if member == TRAITOR {
            let forgeries = Arc::clone(&forgeries);
            threads.push(thread::spawn(move || betray(config, forgeries, stopped)));
        } else {
            let shelf = Arc::new(Shelf::default());
            shelf.keep(&genesis);
            shelves.push(Arc::clone(&shelf));
            let (_, outgoing) = Gossip::new();
            threads.push(thread::spawn(move || run(config, shelf, outgoing, stopped)));
        }
    }
    let start = Instant::now();
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            let heights: Vec<usize> = shelves.iter().map(|shelf| shelf.committed().len()).collect();
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}: heights={heights:?} {forgeries:?}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    wait("forgeries", &|| forgeries.load(Ordering::Relaxed) >= FORGERIES);
    let height = shelves[0].committed().len() + 6;
    wait("blocks after the noise", &|| shelves.iter().all(|shelf| shelf.committed().len() >= height));
    for blocks in shelves.iter().map(|shelf| shelf.committed()) {
        // The genesis block is handed over as well.
        for ((number, block), first) in (0..).zip(&blocks[..height]).zip(shelves[0].committed()).skip(1) {
            assert_eq!((block.number(), block.hash()), (number, first.hash()));
            assert_eq!(block.requests(), sample(0, FILLING).requests(), "a forged body became final");
        }
    }
    // Three honest members make every value, the same at each of them, whatever the traitor signed.
    let offered = |shelf: &Arc<Shelf>| shelf.offered.lock().unwrap_or_else(PoisonError::into_inner).clone();
    wait("values", &|| shelves.iter().all(|shelf| (1..=8).all(|height| offered(shelf).contains_key(&height))));
    let first = offered(&shelves[0]);
    for values in shelves.iter().map(offered) {
        assert!(values.iter().all(|(height, value)| first.get(height).is_none_or(|known| known == value)));
    }
    drop(stops);
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
}
