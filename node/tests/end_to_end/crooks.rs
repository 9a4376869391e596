//! Malicious customers against a real provider: each costs it bounded time and nothing else, is named in its log, and the next honest customer is served
//! at once. A crook signs and sends by itself: no program of ours holds it back.

use crate::{
    customer::orders,
    market::{SMALL, order},
    matching::{entry, offers},
    network::{Network, number, wait_until},
    parties::{MARKET, PRICE, Provider, account, balance, fees, text},
    raw::{Raw, address_of, frame, soon},
    sender::{Draft, Sender},
    touchstone::signer,
};
use alloy_primitives::{B256, Bytes, U256, hex};
use alloy_signer::SignerSync as _;
use alloy_sol_types::SolCall as _;
use keystead_blobs::{
    ALPN, Address, BlobStore as _, Capacity, Config, Endpoint, Event, Hash, Hello, Inputs, MemoryStore, NodeId,
    Outline, Parties, RefusalCode, Session, SessionError, hash, hello_digest,
};
use keystead_contracts::{
    bindings::market::{IMarket, Market},
    storage::Status,
};
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash,
    spec::{Draft as SpecDraft, RecipeName},
};
use serde_json::json;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// The program of a crook's orders: eight bytes of a sum over its input.
const PROGRAM: &[u8] = include_bytes!("../../../compute/runner/src/self_test.wasm");
/// The test account of the crook.
pub(crate) const CROOK: usize = 7;
/// Orders of a flood: more than a provider holds open.
const FLOOD: u64 = 300;
/// By how many MiB a provider may grow in a flood.
const GROWTH_MIB_MAX: u64 = 96;
/// How long an honest customer takes at most, from plan to payment, while others misbehave.
const HONEST_MAX: Duration = Duration::from_secs(60);

/// A job with everything that its customer would give.
pub(crate) struct Work {
    pub(crate) spec: JobSpec,
    /// Program, common input, list of units, units.
    pub(crate) blobs: Vec<Vec<u8>>,
}

/// A job of so many units, each of them different.
pub(crate) fn work(units: u32) -> Work {
    let inputs: Vec<Vec<u8>> = (0..units).map(|unit| unit.to_be_bytes().repeat(64)).collect();
    let names: Vec<Hash> = inputs.iter().map(|input| Hash::of(input)).collect();
    let list = hash::encode_list(&names);
    let blobs = [vec![PROGRAM.to_vec(), b"common".to_vec(), list], inputs].concat();
    Work { spec: spec(units, blob_hash(&blobs[2]), 10_000_000), blobs }
}

fn spec(unit_count: u32, units_hash: B256, fuel_max: u64) -> JobSpec {
    let limits = Limits {
        wall_ms_max: 10_000,
        fuel_max,
        memory_bytes_max: 1 << 20,
        output_bytes_max: 64,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    JobSpec::new(SpecDraft {
        recipe: RecipeName::new("crook").unwrap(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(PROGRAM),
        common_hash: blob_hash(b"common"),
        units_hash,
        unit_count,
        segment_count: 1,
        limits,
        checker: None,
        tolerance: None,
    })
    .unwrap()
}

/// The first so many blobs of a job, to be given to who asks.
pub(crate) fn inputs(blobs: &[Vec<u8>]) -> Inputs {
    let store = MemoryStore::new(Capacity::default());
    let hashes = blobs.iter().map(|blob| store.put(blob).unwrap()).collect();
    Inputs { store: Arc::new(store), hashes }
}

/// Tries of who comes, ten a second, until the provider has seen its order and has a place for it.
pub(crate) const OPENS: u32 = 600;
/// Seconds to lease, to deliver, to check.
pub(crate) const SECONDS: [u32; 3] = [20, 60, 6];

pub(crate) struct Crook<'a> {
    network: &'a Network,
    pub(crate) sender: Sender,
    pub(crate) endpoint: Endpoint,
    /// The provider.
    pub(crate) to: Address,
}

impl<'a> Crook<'a> {
    pub(crate) async fn new(network: &'a Network) -> Self {
        let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
        let to = address_of(network, 1);
        Self { network, sender: Sender::account(CROOK as u32), endpoint, to }
    }

    pub(crate) fn draft(&self, spec: &JobSpec, seconds: [u32; 3]) -> Draft {
        let terms = IMarket::Terms {
            provider: account(1).parse().unwrap(),
            jobHash: spec.hash(),
            units: spec.unit_count,
            priceWeiPerUnit: PRICE,
            leaseSeconds: seconds[0],
            deliverSeconds: seconds[1],
            checkSeconds: seconds[2],
        };
        let value = u64::try_from(PRICE).unwrap() * u64::from(spec.unit_count);
        let input = Market::placeOrderCall { terms }.abi_encode().into();
        Draft { to: Some(MARKET.parse().unwrap()), input, value, gas: 400_000 }
    }

    /// Orders; the number of the order. Nobody else orders meanwhile.
    pub(crate) fn place(&mut self, spec: &JobSpec) -> u64 {
        let draft = self.draft(spec, SECONDS);
        self.sender.settle(self.network, 0, draft);
        orders(self.network)
    }

    fn hello(&self, order: u64, spec: &JobSpec, as_node: NodeId) -> Hello {
        let order = U256::from(order);
        let parties = Parties { customer: as_node, provider: self.to.id() };
        let signature = signer(CROOK).sign_hash_sync(&hello_digest(order, parties)).unwrap();
        Hello { order, job: spec.encode().into(), credential: Bytes::copy_from_slice(&signature.as_bytes()) }
    }

    pub(crate) async fn open(&self, order: u64, spec: &JobSpec, inputs: Inputs) -> Result<Session, SessionError> {
        let hello = self.hello(order, spec, self.endpoint.id());
        // The provider's node may be a block behind ours.
        for _ in 0..OPENS {
            let again = inputs.clone();
            match soon(Session::open(&self.endpoint, &self.to, hello.clone(), again)).await {
                // Or the sessions that were just left are not over yet.
                Err(SessionError::Refused(refusal))
                    if matches!(refusal.code, RefusalCode::ChainUnavailable | RefusalCode::Busy) => {}
                opened => return opened,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the provider does not take order {order}");
    }

    pub(crate) fn status(&self, order: u64) -> Status {
        Status::try_from(stored(self.network, order).status).unwrap()
    }
}

pub(crate) fn stored(network: &Network, order: u64) -> IMarket::Order {
    let data = hex::encode_prefixed(Market::orderCall { orderId: U256::from(order) }.abi_encode());
    let answer = network.call(0, "eth_call", json!([{"to": MARKET, "data": data}, "latest"]));
    let bytes: Bytes = serde_json::from_value(answer).unwrap();
    Market::orderCall::abi_decode_returns(&bytes).unwrap()
}

/// The events of a session to its end, which must be an error.
async fn ends(mut session: Session) -> SessionError {
    loop {
        if let Err(error) = soon(session.next()).await {
            return error;
        }
    }
}

/// An honest customer's whole job at this provider, now.
fn honest(network: &Network, provider: &mut Provider, out: &Path) {
    let (start, paid) = (Instant::now(), provider.text().matches("order paid").count());
    let output = order(network, SMALL, out).args(["--provider", account(1)]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    wait_until("the provider is paid", || (provider.text().matches("order paid").count() > paid).then_some(()));
    assert!(start.elapsed() < HONEST_MAX, "an honest job took {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn withheld_input_is_never_leased_and_the_next_customer_is_served_at_once() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let since = network.head(0).unwrap();
    let mut crook = Crook::new(&network).await;
    // It comes, says hello, and gives nothing at all for as long as it is let: a raw peer that answers no question.
    let job = work(4);
    let silent = crook.place(&job.spec);
    let raw = Raw::bind(1).await;
    let connection = raw.connect(&crook.to, ALPN).await.unwrap();
    let (mut control, mut answers) = soon(connection.open_bi()).await.unwrap();
    let hello = crook.hello(silent, &job.spec, raw.id());
    soon(control.write_all(&frame(0x01, &alloy_rlp::encode(&hello)))).await.unwrap();
    let mut accepted = [0; 6];
    soon(answers.read_exact(&mut accepted)).await.unwrap();
    assert_eq!(accepted, [0, 0, 0, 2, 0x11, 0xc0], "the hello was accepted");
    // And one that gives all but the last unit, twice.
    let withheld = crook.place(&job.spec);
    let before = blobs(&folder);
    for _ in 0..2 {
        let session = crook.open(withheld, &job.spec, inputs(&job.blobs[..6])).await.unwrap();
        let error = ends(session).await;
        assert!(matches!(error, SessionError::Failed(_)), "{error:?}");
    }
    assert_eq!(fees(&network, account(1), since), 0, "nothing of it cost the provider a fee");
    honest(&network, &mut provider, &network.directory.join("beside"));

    provider.wait_for("order closed without payment");
    wait_until("both orders are over", || {
        (provider.text().matches("order closed without payment").count() == 2).then_some(())
    });
    for order in [silent, withheld] {
        assert_eq!((crook.status(order), stored(&network, order).leasedAt.to::<u64>()), (Status::Ordered, 0));
        // Why its session ended; the silent one's after the time for an answer, and the time to hear of it.
        provider.wait_for(&format!("order=\"{order}\" error="));
    }
    // What it had brought is gone with its orders.
    wait_until("inputs of orders that are over are deleted", || (blobs(&folder) == before).then_some(()));
    honest(&network, &mut provider, &network.directory.join("after"));
}

/// Files of blobs in a provider's folder.
fn blobs(folder: &Path) -> usize {
    fn count(folder: &Path) -> usize {
        // The provider makes and deletes some meanwhile.
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
    }
    count(&folder.join("blobs"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wrong_input_hashes_are_named_and_cost_nothing() {
    let network = Network::beside(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let mut crook = Crook::new(&network).await;
    let job = work(4);
    let order = crook.place(&job.spec);

    // Another job than the one that was ordered; another customer's credential.
    let other = work(3);
    let refused = |opened: Result<Session, SessionError>| match opened {
        Err(SessionError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(crook.open(order, &other.spec, inputs(&other.blobs)).await), RefusalCode::WrongJob);
    let mut forged = crook.hello(order, &job.spec, crook.endpoint.id());
    forged.credential = vec![1; 65].into();
    let opened = soon(Session::open(&crook.endpoint, &crook.to, forged, inputs(&job.blobs))).await;
    assert_eq!(refused(opened), RefusalCode::NotTheCustomer);

    // A list of units that is none.
    let garbage = b"no list of names at all".to_vec();
    let listless = spec(2, blob_hash(&garbage), 10_000_000);
    let second = crook.place(&listless);
    let given = inputs(&[job.blobs[0].clone(), job.blobs[1].clone(), garbage]);
    let error = ends(crook.open(second, &listless, given).await.unwrap()).await;
    assert!(matches!(&error, SessionError::Failed(_)), "{error:?}");

    // Other bytes than those that the hash names, in a transfer that is otherwise right.
    let raw = Raw::bind(1).await;
    let connection = raw.connect(&crook.to, ALPN).await.unwrap();
    let (mut control, _answers) = soon(connection.open_bi()).await.unwrap();
    let hello = crook.hello(order, &job.spec, raw.id());
    soon(control.write_all(&frame(0x01, &alloy_rlp::encode(&hello)))).await.unwrap();
    let (mut send, _want) = soon(connection.accept_bi()).await.unwrap();
    let wrong = vec![7; PROGRAM.len()];
    let outline = Outline::of(&wrong);
    let answer = [[1].as_slice(), &outline.size_bytes().to_be_bytes(), &outline.to_bytes(), &wrong].concat();
    // It may be cut off before the end.
    let _ = soon(send.write_all(&answer)).await;
    let closed = soon(connection.closed()).await;
    let iroh::endpoint::ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed:?}") };
    assert_eq!(closed.error_code.into_inner(), 3, "a violation");

    for words in ["the job has another hash", "the credential is not signed", &format!("order=\"{second}\"")] {
        provider.wait_for(words);
    }
    honest(&network, &mut provider, &network.directory.join("after"));
    assert_eq!((crook.status(order), crook.status(second)), (Status::Ordered, Status::Ordered), "never leased");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refused_pay_is_taken_from_escrow_and_a_false_rejection_costs_one_order() {
    let network = Network::beside(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let mut crook = Crook::new(&network).await;
    let job = work(4);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(1)));

    // It takes the result and is silent, and stays connected.
    let order = crook.place(&job.spec);
    let (held, bytes) = delivered(&crook, order, &job).await;
    assert!(bytes > 0, "it has the outputs");
    provider.wait_for("order paid");
    let escrow = PRICE * 4;
    let earned = balance(&network, account(1)) + fees(&network, account(1), since) - before;
    assert_eq!((crook.status(order), earned), (Status::Settled, escrow));
    // It cannot hold its place for ever either.
    let error = ends(held).await;
    assert!(matches!(error, SessionError::Failed(_)), "{error:?}");

    // It takes the result and says that it is wrong. That costs the provider this order and the crook its name: rejections are counted in public.
    // With time to say it: a busy machine may take more than a few seconds from the delivery to the rejection.
    let draft = crook.draft(&job.spec, [20, 60, 60]);
    crook.sender.settle(&network, 0, draft);
    let order = orders(&network);
    let _ = delivered(&crook, order, &job).await;
    wait_until("the delivery is on the chain", || (crook.status(order) == Status::Delivered).then_some(()));
    let call = Market::rejectCall { orderId: U256::from(order), reason: 1, evidenceHash: B256::repeat_byte(1) };
    let draft = Draft { to: Some(MARKET.parse().unwrap()), input: call.abi_encode().into(), value: 0, gas: 300_000 };
    crook.sender.settle(&network, 0, draft);
    provider.wait_for("order closed without payment");
    assert_eq!(crook.status(order), Status::Rejected);
    honest(&network, &mut provider, &network.directory.join("after"));
}

/// Gives all inputs and takes the list of outputs; the session, and the bytes of the list.
async fn delivered(crook: &Crook<'_>, order: u64, job: &Work) -> (Session, usize) {
    let mut session = crook.open(order, &job.spec, inputs(&job.blobs)).await.unwrap();
    let delivery = loop {
        if let Event::Delivered(delivery) = soon(session.next()).await.unwrap() {
            break delivery;
        }
    };
    let store: Arc<dyn keystead_blobs::BlobStore> = Arc::new(MemoryStore::new(Capacity::default()));
    let want = keystead_blobs::Want { hash: delivery.result(), bytes_max: 4_096 };
    soon(session.fetch(&store, vec![want], &mut |_| {})).await.unwrap();
    let bytes = store.get(delivery.result(), 4_096).unwrap().len();
    (session, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dust_orders_are_refused_by_the_market_or_by_the_provider() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &["--price-per-mop", "1000000000"]);
    let mut crook = Crook::new(&network).await;
    // Below the register's price there is no order.
    let job = work(4);
    let mut terms = Market::placeOrderCall::abi_decode(&crook.draft(&job.spec, SECONDS).input).unwrap().terms;
    terms.priceWeiPerUnit -= 1;
    let data = hex::encode_prefixed(Market::placeOrderCall { terms }.abi_encode());
    let value = format!("{:#x}", (PRICE - 1) * 4);
    let request = json!({"from": account(CROOK), "to": MARKET, "data": data, "value": value});
    let refused = network.try_call(0, "eth_call", &json!([request, "latest"])).unwrap();
    assert!(refused.is_err(), "{refused:?}");

    // At the register's price, but for a thousand times the work.
    let list = job.blobs[2].clone();
    let dust = spec(4, blob_hash(&list), 10_000_000_000);
    let order = crook.place(&dust);
    let opened = crook.open(order, &dust, inputs(&job.blobs)).await;
    let Err(SessionError::Refused(refusal)) = opened else { panic!("{opened:?}") };
    assert_eq!(refusal.code, RefusalCode::Unsupported, "{refusal}");
    provider.wait_for("a unit of this job costs");
    assert_eq!(crook.status(order), Status::Ordered);
    honest(&network, &mut provider, &network.directory.join("after"));
}

/// The time of one order is too short for the two transactions alone, that of the other for so many segments on any machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_that_no_machine_could_deliver_in_time_is_refused_before_it_costs_a_fee() {
    let network = Network::beside(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let mut crook = Crook::new(&network).await;
    let job = work(4);
    // As many segments as a job may have.
    let many = SpecDraft { segment_count: 64, ..SpecDraft::clone(&spec(1 << 14, B256::repeat_byte(9), 10_000_000)) };
    let many = JobSpec::new(many).unwrap();
    for (spec, seconds, words) in [
        (&job.spec, 1, "1 s are too short to deliver: 4 segments"),
        (&many, 50, "50 s are too short to deliver: 1048576 segments"),
    ] {
        let draft = crook.draft(spec, [600, seconds, 60]);
        crook.sender.settle(&network, 0, draft);
        let order = orders(&network);
        let opened = crook.open(order, spec, inputs(&job.blobs)).await;
        let Err(SessionError::Refused(refusal)) = opened else { panic!("{opened:?}") };
        assert_eq!(refusal.code, RefusalCode::Unsupported, "{refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
        provider.wait_for(words);
        assert_eq!((crook.status(order), stored(&network, order).leasedAt.to::<u64>()), (Status::Ordered, 0));
    }
    assert_eq!(fees(&network, account(1), since), 0, "it cost the provider nothing");
    honest(&network, &mut provider, &network.directory.join("after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_orders_fills_neither_memory_nor_book_and_the_honest_order_is_served_slow() {
    let network = Network::alone(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let mut crook = Crook::new(&network).await;
    // Many units each, so that a careless book would make room for every one of them; a day to lease.
    let job = spec(65_536, B256::repeat_byte(9), 10_000_000_000_000);
    let (first, before) = (orders(&network) + 1, provider.memory_mib());
    for batch in 0..FLOOD / 20 {
        let drafts: Vec<Draft> = (0..20).map(|_| crook.draft(&job, [86_400, 60, 60])).collect();
        let hashes: Vec<String> = drafts.into_iter().map(|draft| crook.sender.send(&network, 0, draft)).collect();
        let settled = wait_until("a batch of orders is placed", || {
            let last = hashes.last().unwrap();
            let receipt = network.call(0, "eth_getTransactionReceipt", json!([last]));
            (!receipt.is_null()).then(|| number(&receipt["status"]))
        });
        assert_eq!(settled, 1, "batch {batch}");
    }
    assert_eq!(orders(&network) + 1 - first, FLOOD);
    let mut largest = 0;
    for order in first..first + FLOOD {
        // Hello, and gone: the order has its place in the book.
        drop(crook.open(order, &job, inputs(&[])).await.unwrap());
        largest = largest.max(provider.memory_mib());
    }
    provider.wait_for("order let go");
    println!("memory_mib before={before} largest={largest}");
    assert!(largest < before + GROWTH_MIB_MAX, "{before} MiB grew to {largest} MiB");
    // What nobody brought inputs for is no work: it neither holds the machine nor makes it look busy.
    let queue = wait_until("it says how long its queue is", || {
        offers(&network).into_iter().next()?["answer"]["queueMs"].as_u64()
    });
    assert_eq!(queue, 0);
    assert!(entry(&network, account(1)).offering);
    honest(&network, &mut provider, &network.directory.join("after"));
    assert!(provider.memory_mib() < before + GROWTH_MIB_MAX, "{} MiB", provider.memory_mib());
}
