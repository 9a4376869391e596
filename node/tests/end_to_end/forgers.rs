//! Provers who claim more than their machine has, in a process of this test: they work, record and publish by the rules but for one lie each. Drawn
//! checkers, who are real processes, sign nothing for them, and go on to sign for an honest one.

use crate::{
    customer::send,
    matching::{Closed, offers, register},
    network::{Network, number, wait_until},
    parties::{Provider, account},
    touchstone::{checkers, offered, signer, verify},
};
use alloy_primitives::{Address, B256, Bytes, FixedBytes, hex};
use alloy_signer::SignerSync as _;
use alloy_sol_types::SolCall;
use keystead_blobs::{
    Answer, Availability, Capacity, Config, Endpoint, Inform, Inquiries, MemoryStore, NodeId, Question, Questions,
    Reason, Server, State, serve_with,
};
use keystead_contracts::{
    TOUCHSTONE_ADDRESS,
    bindings::touchstone::{ITouchstone, Touchstone},
};
use keystead_market::{
    Record,
    band::{Band, Bands},
    record::{Attested, Claimed, Draft, Statement},
    touchstone::{Prover, Published, challenge::Round, prover::vectors_root, round::PublishedDevice},
};
use serde_json::json;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The chain of the development network.
const CHAIN_ID: u64 = 19_283;
/// Blocks after which a challenge is too old for whoever claims to be fast: they come every second at the latest, and five at most in a second.
const OLD_BLOCKS: u64 = 60;

/// What a forger gives to whoever asks.
struct Shown {
    published: Mutex<Option<Bytes>>,
    record: Record,
    /// Statements that checkers brought.
    brought: AtomicUsize,
}

impl Answer for Shown {
    fn answer(&self, _: NodeId, question: Question) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            match question.kind {
                0x41 => self.published.lock().unwrap().clone(),
                _ => {
                    self.brought.fetch_add(1, Ordering::Relaxed);
                    Some(vec![1].into())
                }
            }
        })
    }
}

impl Inform for Shown {
    fn record(&self, name: [u8; 32]) -> Option<Bytes> {
        (self.record.hash() == name).then(|| self.record.encode().into())
    }

    fn state(&self) -> State {
        State {
            availability: Availability::Taking,
            reason: Reason::default(),
            lanes: 1,
            lanes_free: 1,
            waiting: 0,
            queue_ms: 0,
            memory_mib: 1 << 20,
        }
    }
}

/// A registered provider that is a part of this test.
struct Forger<'a> {
    network: &'a Network,
    number: usize,
    shown: Arc<Shown>,
    _server: Server,
    _endpoint: Endpoint,
}

/// One device of one MiB, 64^3 * 64 steps.
const fn device(memory_mib: u64, mop_per_s: u64) -> PublishedDevice {
    PublishedDevice { device: 0, memory_mib, mop_per_s, side: 64, links: 64, answer: Bytes::new() }
}

impl<'a> Forger<'a> {
    /// Registers with claims that it borrowed, and with a statement about them that it signed itself.
    async fn start(network: &'a Network, number: usize, claimed: &Claimed) -> Self {
        let provider: Address = account(number).parse().unwrap();
        let bands = Bands { throughput: Band::of(1 << 40), memory: Band::of(1 << 20), bandwidth: None };
        let time_s =
            crate::network::number(&network.call(0, "eth_getBlockByNumber", json!(["latest", false]))["timestamp"]);
        let challenge = B256::repeat_byte(1);
        let statement = Statement { provider, device: 0, challenge, height: 1, time_s, bands, checker: provider };
        let signature = signer(number).sign_hash_sync(&statement.signing_hash(CHAIN_ID)).unwrap();
        let attested = vec![Attested { statement, signature: FixedBytes::from(signature.as_bytes()) }];
        let record = Record::new(Draft { provider, issued_height: 1, claimed: claimed.clone(), attested }).unwrap();
        let hash = record.hash();
        let shown = Arc::new(Shown { published: Mutex::default(), record, brought: AtomicUsize::new(0) });
        let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
        let inform: Arc<dyn Inform> = Arc::clone(&shown) as _;
        let answer: Arc<dyn Answer> = Arc::clone(&shown) as _;
        let store = Arc::new(MemoryStore::new(Capacity::default()));
        let beside: [Arc<dyn keystead_blobs::Acceptor>; 2] =
            [Arc::new(Inquiries::new(inform)), Arc::new(Questions::new(answer))];
        let server = serve_with(&endpoint, store, Closed, Closed, beside.into());
        register(network, number, hash, endpoint.id(), &endpoint.address().unwrap().to_string());
        Self { network, number, shown, _server: server, _endpoint: endpoint }
    }

    fn record(&self, call: &impl SolCall) {
        send(self.network, self.number, &TOUCHSTONE_ADDRESS.to_string(), &call.abi_encode());
    }

    fn entry(&self, challenge: B256) -> ITouchstone::Entry {
        let call = Touchstone::entryOfCall { account: account(self.number).parse().unwrap(), challengeId: challenge };
        let request = json!({"to": TOUCHSTONE_ADDRESS, "data": hex::encode_prefixed(call.abi_encode())});
        let answer: Bytes =
            serde_json::from_value(self.network.call(0, "eth_call", json!([request, "latest"]))).unwrap();
        Touchstone::entryOfCall::abi_decode_returns(&answer).unwrap()
    }

    fn randomness(&self, height: u64) -> Option<B256> {
        let answer = self.network.call(0, "keystead_getBeacon", json!([format!("{height:#x}")]));
        serde_json::from_value(answer["randomness"].clone()).ok()
    }

    /// Works and records the challenge of the newest height, or of an old one, as an honest provider does; then what is published is altered.
    fn prove(&self, device: PublishedDevice, blocks_ago: u64, alter: impl Fn(&mut PublishedDevice)) {
        let head = self.network.head(0).unwrap().saturating_sub(blocks_ago);
        let newest = (1..=head).rev().find_map(|height| Some((height, self.randomness(height)?)));
        let (height, beacon) = newest.unwrap();
        let time_s = number(&self.network.block(0, height)["timestamp"]);
        let round = Round { chain_id: CHAIN_ID, height, time_s, beacon };
        let provider = account(self.number).parse().unwrap();
        let mut published = Published { provider, height, devices: vec![device], statements: Vec::new() };
        let challenge = published.challenges(round).unwrap()[0];
        let (id, prover) = (challenge.id(), Prover::new(challenge));
        self.record(&Touchstone::recordRootCall { challengeId: id, root: prover.root() });
        let after = |block: u64| wait_until("the height's randomness", || self.randomness(block + 1));
        let vectors = prover.vectors(after(self.entry(id).rootBlock));
        self.record(&Touchstone::recordVectorsCall { challengeId: id, vectorsRoot: vectors_root(&vectors) });
        let answer = prover.open(&vectors, after(self.entry(id).vectorsBlock));
        published.devices[0].answer = alloy_rlp::encode(answer).into();
        alter(&mut published.devices[0]);
        *self.shown.published.lock().unwrap() = Some(published.encode().into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_claims_more_than_it_has_gets_no_statement_shows_nothing_proved_and_holds_up_nobody_slow() {
    let network = Network::alone(4);
    let mut checkers = checkers(&network);
    let borrowed = wait_until("a record is served", || {
        offers(&network).into_iter().find_map(|one| serde_json::from_value::<Claimed>(one["claimed"].clone()).ok())
    });
    // More memory than was filled; a hundred times the speed that the work took; rows that are not under the root.
    let memory = Forger::start(&network, 1, &borrowed).await;
    memory.prove(device(1, 1), 0, |device| device.memory_mib = 64);
    let speed = Forger::start(&network, 7, &borrowed).await;
    speed.prove(device(1, 1_000_000), OLD_BLOCKS, |_| {});
    let rows = Forger::start(&network, 8, &borrowed).await;
    rows.prove(device(1, 1), 0, |device| {
        let mut answer = device.answer.to_vec();
        let middle = answer.len() / 2;
        answer[middle] ^= 1;
        device.answer = answer.into();
    });
    for checker in &mut checkers {
        let mut refused = |why: &str| checker.wait_for(&format!("nothing is signed: {why}"));
        refused("device 0 fills too little of what is claimed");
        refused("device 0: answer is late");
        wait_until("the third is refused", || {
            (checker.text().matches("proof of hardware does not hold").count() >= 3).then_some(())
        });
    }
    for forger in [&memory, &speed, &rows] {
        assert_eq!(forger.shown.brought.load(Ordering::Relaxed), 0, "account {}", forger.number);
        // What it signed itself is no proof: it holds no seat.
        let shown = wait_until("its record is served", || {
            offered(&network, forger.number).filter(|shown| shown["claimed"].is_object())
        });
        assert_eq!(shown["proved"], json!([]), "{shown}");
        assert_eq!(verify(&network, forger.number).0, Some(1));
    }
    let mut honest = Provider::start_as(
        &network,
        &network.directory.join("honest"),
        6,
        &["--prove", "auto", "--prove-memory", "2", "--prove-seconds", "1"],
    );
    honest.wait_for("the capability record shows what is proved");
}
