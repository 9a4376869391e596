//! Audited orders on a live network: a provider, a provider that is wrong, and checkers, each a process of its own; who is paid what, to the wei.
//!
//! The customer is this test's own: it places the orders, hands over the inputs and fetches the outputs as specs/0004 and 0005 say.

use crate::{
    network::{KEYSTEAD, Network, number},
    parties::{MARKET, PRICE, Provider, account, balance, fasta, fees, text},
    sender::{Draft, Sender, receipt},
};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use alloy_sol_types::{SolCall, SolEvent};
use keystead_blobs::{
    BlobStore, Config, Endpoint, Event, Hash, Hello, Inputs, MemoryStore, Parties, RefusalCode, Session, SessionError,
    Want, hash, hello_digest,
};
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS, MARKET_ADDRESS, PROVIDERS_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes as AuditTypes},
        bond::{Bond, IBond},
        market::{IAuditTypes, IMarket, Market},
        providers::Providers,
    },
};
use keystead_job::{Checker, JobSpec, blob_hash, hash_list, spec::Draft as SpecDraft};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Seats come and go at the borders of epochs.
const EPOCH_BLOCKS: u64 = 256;
/// How long anything of an audit may take: its times are the contract's, and the machine is shared with other tests.
const AUDIT_PATIENCE: Duration = Duration::from_secs(400);
const CHECK_SECONDS: u32 = 45;
const REVEAL_SECONDS: u32 = 60;
const APPEAL_SECONDS: u32 = 60;
/// What one check earns: half of a unit.
const FEE_PPM: u32 = 500_000;
const FEE: u128 = PRICE * FEE_PPM as u128 / 1_000_000;
pub(crate) const KST: u128 = 1_000_000_000_000_000_000;
const BOND: u128 = 30 * KST;
const CUSTOMER: usize = 2;

pub(crate) fn wait_long<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < AUDIT_PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(200));
    }
}

pub(crate) fn address(number: usize) -> Address {
    account(number).parse().unwrap()
}

pub(crate) fn read<C: SolCall>(network: &Network, to: Address, call: &C) -> C::Return {
    let request = json!({"to": to, "data": hex::encode_prefixed(call.abi_encode())});
    let answer: Bytes = serde_json::from_value(network.call(0, "eth_call", json!([request, "latest"]))).unwrap();
    C::abi_decode_returns(&answer).unwrap()
}

/// Events of a kind about a window, oldest first.
pub(crate) fn events<E: SolEvent>(network: &Network, window: B256) -> Vec<E> {
    let filter = json!({"address": AUDIT_ADDRESS, "fromBlock": "0x0", "topics": [E::SIGNATURE_HASH, window]});
    let logs = network.call(0, "eth_getLogs", json!([filter]));
    let decode = |log: &serde_json::Value| {
        let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).unwrap();
        let data: Bytes = serde_json::from_value(log["data"].clone()).unwrap();
        E::decode_raw_log(topics, &data).unwrap()
    };
    logs.as_array().unwrap().iter().map(decode).collect()
}

pub(crate) fn bond(network: &Network, number: usize, folder: &Path, words: &[&str]) -> String {
    let output = Command::new(KEYSTEAD)
        .args(["bond", "--dev-account", &number.to_string(), "--rpc", &network.url(0), "--dir"])
        .arg(folder)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    text(&output)
}

pub(crate) fn bonded(network: &Network, number: usize) -> IBond::Account {
    read(network, BOND_ADDRESS, &Bond::accountOfCall { account: address(number) })
}

/// A job, with everything that a provider fetches.
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    store: Arc<dyn BlobStore>,
    names: Vec<Hash>,
}

impl Job {
    fn new(network: &Network, name: &str, sequences: u64) -> Self {
        let file = |which: &str| network.directory.join(format!("{name}-{which}.faa"));
        fasta(&file("queries"), sequences, 300);
        fasta(&file("targets"), sequences, 300);
        let given = ["queries", "targets"].map(|which| (which, file(which)));
        Self::of("align", &given, &[("cells-per-unit", "1000000")])
    }

    /// The same job that `keystead run` makes of a recipe without a tolerance.
    pub(crate) fn of(recipe: &str, given: &[(&str, PathBuf)], set: &[(&str, &str)]) -> Self {
        let side = keystead_recipes::find(recipe).unwrap();
        let recipe = side.recipe().unwrap();
        let given: Vec<_> = given.iter().map(|(which, path)| ((*which).to_owned(), path.clone())).collect();
        let inputs = keystead_recipes::Inputs::read(&recipe, &given).unwrap();
        let set: Vec<_> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let plan = side.plan(&inputs, &recipe.parameters(&set).unwrap()).unwrap();
        let units: Vec<B256> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
        let declared = side.checker().zip(recipe.checker.as_ref());
        let checker = declared
            .map(|(program, declared)| Checker { program_hash: blob_hash(program), fuel_max: declared.fuel_max });
        let spec = JobSpec::new(SpecDraft {
            recipe: recipe.name.clone(),
            runtime: recipe.runtime,
            class: recipe.class,
            program_hash: blob_hash(side.program()),
            common_hash: blob_hash(&plan.common),
            units_hash: hash_list(&units),
            unit_count: u32::try_from(plan.units.len()).unwrap(),
            segment_count: plan.segment_count,
            limits: plan.limits,
            checker,
            tolerance: None,
        })
        .unwrap();
        let store: Arc<dyn BlobStore> = Arc::new(MemoryStore::new(keystead_blobs::Capacity::default()));
        let list = hash::encode_list(&units.into_iter().map(Hash::from).collect::<Vec<_>>());
        let blobs = plan.units.into_iter().chain([side.program().to_vec(), plan.common, list]);
        let names = blobs.map(|blob| store.put(&blob).unwrap()).collect();
        Self { spec, store, names }
    }

    fn price(&self) -> u128 {
        PRICE * u128::from(self.spec.unit_count)
    }
}

/// An audited order, and the money that went with it.
struct Order {
    id: U256,
    provider: usize,
    window: B256,
    deposit: u128,
}

struct Customer<'a> {
    network: &'a Network,
    sender: Sender,
    signer: PrivateKeySigner,
}

impl<'a> Customer<'a> {
    fn new(network: &'a Network) -> Self {
        let phrase = "test test test test test test test test test test test junk";
        let builder = MnemonicBuilder::<English>::default().phrase(phrase).index(CUSTOMER as u32).unwrap();
        Self { network, sender: Sender::account(CUSTOMER as u32), signer: builder.build().unwrap() }
    }

    fn send<C: SolCall>(&mut self, call: &C, value: u128) -> serde_json::Value {
        let draft = Draft {
            to: Some(MARKET_ADDRESS),
            input: call.abi_encode().into(),
            value: u64::try_from(value).unwrap(),
            gas: 3_000_000,
        };
        let hash = self.sender.send(self.network, 0, draft);
        receipt(self.network, 0, &hash)
    }

    /// One checker for every unit (a new provider is checked wholly), a bond, short times.
    fn place(&mut self, job: &Job, provider: usize) -> Order {
        let audit = IAuditTypes::Terms {
            class: 1,
            checkers: 1,
            abilities: 1,
            ratePpm: 30_000,
            feePpm: FEE_PPM,
            checkSeconds: CHECK_SECONDS,
            revealSeconds: REVEAL_SECONDS,
            appealSeconds: APPEAL_SECONDS,
            segments: 1,
            bondWei: BOND,
            named: B256::ZERO,
            canary: alloy_primitives::keccak256(job.spec.encode()),
        };
        let terms = IMarket::Terms {
            provider: address(provider),
            jobHash: job.spec.hash(),
            units: job.spec.unit_count,
            priceWeiPerUnit: PRICE,
            leaseSeconds: 120,
            deliverSeconds: 600,
            checkSeconds: 600,
        };
        let question = Audit::depositWeiCall {
            provider: terms.provider,
            units: terms.units,
            priceWeiPerUnit: PRICE,
            terms: AuditTypes::Terms {
                class: audit.class,
                checkers: audit.checkers,
                abilities: audit.abilities,
                ratePpm: audit.ratePpm,
                feePpm: audit.feePpm,
                checkSeconds: audit.checkSeconds,
                revealSeconds: audit.revealSeconds,
                appealSeconds: audit.appealSeconds,
                segments: audit.segments,
                bondWei: audit.bondWei,
                named: audit.named,
                canary: audit.canary,
            },
        };
        let deposit: u128 = read(self.network, AUDIT_ADDRESS, &question).to();
        let placed = self.send(&Market::placeAuditedCall { terms, audit }, job.price() + deposit);
        let topic = |log: &serde_json::Value| log["topics"][0] == json!(Market::OrderPlaced::SIGNATURE_HASH);
        let log = placed["logs"].as_array().unwrap().iter().find(|log| topic(log)).unwrap();
        let id = U256::from(number(&json!(format!(
            "{:#x}",
            U256::from_str_radix(log["topics"][1].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        ))));
        let window = read(self.network, MARKET_ADDRESS, &Market::windowOfCall { orderId: id });
        Order { id, provider, window, deposit }
    }

    /// Hands over the inputs, waits for the delivery and takes the outputs, as any customer does.
    fn converse(&self, job: &Job, order: &Order) {
        let entry = Providers::providerCall { account: address(order.provider) };
        let endpoint = read(self.network, PROVIDERS_ADDRESS, &entry).endpoint;
        let to: keystead_blobs::Address = endpoint.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let own = Endpoint::bind(Config::loopback()).await.unwrap();
            let digest = hello_digest(order.id, Parties { customer: own.id(), provider: to.id() });
            let credential = self.signer.sign_hash_sync(&digest).unwrap().as_bytes().to_vec().into();
            let hello = Hello { order: order.id, job: job.spec.encode().into(), credential };
            let started = Instant::now();
            let mut session = loop {
                let inputs = Inputs { store: Arc::clone(&job.store), hashes: job.names.clone() };
                match Session::open(&own, &to, hello.clone(), inputs).await {
                    // On a busy machine its node does not answer at once.
                    Err(SessionError::Refused(refusal))
                        if refusal.code == RefusalCode::ChainUnavailable && started.elapsed() < AUDIT_PATIENCE => {}
                    opened => break opened.unwrap(),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let conversed = tokio::time::timeout(AUDIT_PATIENCE, async {
                loop {
                    if let Event::Delivered(delivery) = session.next().await.unwrap() {
                        break delivery;
                    }
                }
            });
            let delivery = conversed.await.expect("the provider delivers");
            let list = Want { hash: delivery.result(), bytes_max: 1 << 20 };
            session.fetch(&job.store, vec![list], &mut |_| {}).await.unwrap();
            session.finish().await.unwrap();
            own.close().await;
        });
    }
}

/// Sends a transfer for each block, so that blocks come as fast as they can, until the first epoch with the seats has begun.
pub(crate) fn until_seated(network: &Network) {
    let begin = network.head(0).unwrap();
    let border = (begin / EPOCH_BLOCKS + 1) * EPOCH_BLOCKS;
    let mut sender = Sender::account(9);
    let to = sender.address();
    let start = Instant::now();
    let mut last = 0;
    while network.head(0).unwrap() < border {
        assert!(start.elapsed() < AUDIT_PATIENCE, "the epoch does not end: head={:?}", network.head(0));
        let head = network.head(0).unwrap();
        if head != last {
            last = head;
            sender.send(network, 0, Draft::transfer(to, 1));
        }
        thread::sleep(Duration::from_millis(30));
    }
}

/// A checker with one seat that states this hardware class.
pub(crate) fn checker(network: &Network, number: usize) -> (Provider, PathBuf) {
    let folder = network.directory.join(format!("checker-{number}"));
    let provider = Provider::start_as(network, &folder, number, &[]);
    bond(network, number, &folder, &["deposit", "100"]);
    let said = bond(network, number, &folder, &["seat", "1", "--hardware", &number.to_string()]);
    assert!(said.contains("1 seats of 100 KST each"), "{said}");
    (provider, folder)
}

fn window(network: &Network, order: &Order) -> AuditTypes::Window {
    read(network, AUDIT_ADDRESS, &Audit::windowOfCall { windowId: order.window })
}

pub(crate) fn credit(network: &Network, number: usize) -> u128 {
    read(network, AUDIT_ADDRESS, &Audit::creditCall { account: address(number) }).to()
}

#[test]
fn drawn_checkers_find_an_honest_provider_right_through_a_crash_and_everybody_is_paid_slow() {
    let network = Network::long(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &["--no-check"]);
    bond(&network, 1, &folder, &["deposit", "40"]);
    let mut checkers: Vec<_> = (3..6).map(|number| checker(&network, number)).collect();
    until_seated(&network);

    let job = Job::new(&network, "honest", 4);
    let (since, before) = (network.head(0).unwrap(), [1, 3, 4, 5].map(|number| balance(&network, account(number))));
    let mut customer = Customer::new(&network);
    let order = customer.place(&job, 1);
    customer.converse(&job, &order);
    assert_eq!(bonded(&network, 1).lockedWei, BOND, "the lease locks the bond");

    // The first checker that has committed is killed; it comes back, and reveals what it committed.
    let first = wait_long("a check is committed", || {
        events::<Audit::CheckCommitted>(&network, order.window).into_iter().next()
    });
    let killed = (3..6).find(|number| address(*number) == first.account).unwrap();
    let (process, home) = &mut checkers[killed - 3];
    process.kill();
    *process = Provider::start_as(&network, home, killed, &[]);
    process.wait_for("check taken up again");

    let closed = wait_long("the window closes", || Some(window(&network, &order)).filter(|window| window.status > 1));
    assert_eq!((closed.status, closed.convicted, closed.unpaid), (2, false, 0), "{}", provider.text());
    let revealed = events::<Audit::CheckRevealed>(&network, order.window);
    let committed = events::<Audit::CheckCommitted>(&network, order.window);
    assert_eq!(committed.len(), job.spec.unit_count as usize, "every unit of a new provider has its check");
    assert_eq!(revealed.len(), committed.len(), "whoever committed revealed");
    assert!(revealed.iter().any(|check| check.account == address(killed) && check.unit == first.unit));
    assert_eq!(closed.verified, job.spec.unit_count);

    customer.send(&Market::acceptCall { orderId: order.id }, 0);
    provider.wait_for("order paid");
    let checks = |number: usize| revealed.iter().filter(|check| check.account == address(number)).count() as u128;
    for (number, before) in [3, 4, 5].into_iter().zip(&before[1..]) {
        wait_long("fees are withdrawn", || (credit(&network, number) == 0).then_some(()));
        let spent = fees(&network, account(number), since);
        assert_eq!(balance(&network, account(number)) + spent, before + FEE * checks(number), "checker {number}");
        let bond = bonded(&network, number);
        assert_eq!((bond.seatedWei, bond.freeWei), (100 * KST, 0));
    }
    assert_eq!(balance(&network, account(1)) + fees(&network, account(1), since), before[0] + job.price());
    assert_eq!(credit(&network, CUSTOMER), order.deposit - FEE * revealed.len() as u128, "the rest of the deposit");
    let bond = bonded(&network, 1);
    assert_eq!((bond.lockedWei, bond.freeWei), (0, 40 * KST));
    assert_eq!(balance(&network, MARKET), 0);
    let status = Command::new(KEYSTEAD).args(["provide", "--status", "--dir"]).arg(&checkers[0].1).output().unwrap();
    assert!(text(&status).contains("earnedWei"), "{}", text(&status));
}
