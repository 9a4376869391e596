//! The official JSON-RPC suite: its chain is imported and served, its requests are sent, its answers compared.

use crate::{
    suite::{self, Case},
    world::store_folder,
};
use alloy_primitives::{B256, U256};
use keystead_import::Importer;
use keystead_mempool::{Limits, Pool};
use keystead_rpc::{Context, Network, ServerLimits, Submit, SubmitError};
use keystead_state::{Options, Store};
use keystead_types::{ChainSpec, Genesis, Recovered, StateView as _};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// Longest wait for an answer: far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cases of methods that are not there yet, by file.
const PENDING: &str = include_str!("rpc_pending.toml");

/// At most one in a hundred cases may be listed.
const LISTED_SHARE: usize = 100;

/// Takes transactions into the pool, as a node does.
struct Admission {
    store: Store,
    pool: Arc<Mutex<Pool>>,
    spec: ChainSpec,
    arrivals: watch::Sender<()>,
}

impl Submit for Admission {
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let hash = *transaction.tx_hash();
        let unavailable = |error: &dyn std::fmt::Display| SubmitError::Unavailable(error.to_string());
        let account = self.store.latest().account(&transaction.signer()).map_err(|error| unavailable(&error))?;
        let head = self.store.header(self.store.head().number).map_err(|error| unavailable(&error))?.unwrap();
        let mut pool = self.pool.lock().unwrap();
        pool.insert(Arc::new(transaction), &account.unwrap_or_default(), self.spec.next_base_fee(&head))?;
        self.arrivals.send_replace(());
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }
}

/// A server over the imported chain.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(store: &Store, genesis: &Genesis) -> Self {
        let spec = genesis.spec;
        let pool = Arc::new(Mutex::new(Pool::new(Limits::default(), spec.chain_id, spec.gas_limit)));
        let context = Context {
            store: store.clone(),
            pool: Arc::clone(&pool),
            spec,
            submit: Arc::new(Admission { store: store.clone(), pool, spec, arrivals: watch::Sender::new(()) }),
            network: Network { network_key: [0; 96], validators: Vec::new() },
            connected: Arc::default(),
            client_version: "keystead/v0.0.0-test".to_owned(),
            dev: None,
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let stopped = async move {
                    let _ = stopped.await;
                };
                keystead_rpc::serve(context, listener, ServerLimits::default(), stopped).await.unwrap();
            });
        };
        let thread = std::thread::Builder::new().spawn(serve).unwrap();
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    fn ask(&self, body: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn the_official_rpc_suite_is_answered_from_its_imported_chain() {
    let Some(vectors) = suite::Vectors::find("rpc-compat", 130) else { return };
    let genesis = std::fs::read_to_string(find(&vectors.folder, "genesis.json")).unwrap();
    let genesis = Genesis::ethereum_from_json(&genesis).unwrap();
    let folder = store_folder();
    let options = Options { recent_states: 4_096, ..Options::default() };
    let store = Store::open(folder.path(), &genesis, options).unwrap();
    let importer = Importer::new(store.clone(), &genesis).unwrap();
    let chain = std::fs::File::open(find(&vectors.folder, "chain.rlp")).unwrap();
    importer.import_file(std::io::BufReader::new(chain), |_| ()).unwrap();
    let choice = std::fs::read_to_string(find(&vectors.folder, "headfcu.json")).unwrap();
    let choice: Value = serde_json::from_str(&choice).unwrap();
    assert_eq!(choice["params"][0]["headBlockHash"], store.head().hash.to_string());

    let server = Server::start(&store, &genesis);
    let mut files = Vec::new();
    suite::collect(&vectors.folder, "io", &mut files);
    files.sort();
    let name = |path: &Path| {
        let method = path.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        format!("{method}/{}", path.file_stem().unwrap().to_string_lossy())
    };
    let cases: Vec<Case> = files.iter().map(|path| (name(path), replay(&server, path))).collect();
    report(&cases);
}

/// Prints counts by method. A case that is not listed as pending must pass; a listed one that passes leaves the list.
fn report(cases: &[Case]) {
    let pending: BTreeMap<String, BTreeSet<String>> = toml::from_str(PENDING).unwrap();
    let is_pending = |name: &str| {
        let (method, case) = name.split_once('/').unwrap();
        pending.get(method).is_some_and(|cases| cases.contains(case))
    };
    let mut methods: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut broken = 0;
    for (name, result) in cases {
        let (passed, failed) = methods.entry(name.split_once('/').unwrap().0).or_default();
        match result {
            Ok(()) => {
                *passed += 1;
                if is_pending(name) {
                    println!("passes now, take it from rpc_pending.toml: {name}");
                }
            }
            Err(error) => {
                *failed += 1;
                if !is_pending(name) {
                    broken += 1;
                    println!("failed: {name}: {error}");
                }
            }
        }
    }
    methods
        .iter()
        .for_each(|(method, (passed, failed))| println!("method {method}: {passed} passed, {failed} not yet"));
    let passed: usize = methods.values().map(|(passed, _)| passed).sum();
    let listed: usize = pending.values().map(BTreeSet::len).sum();
    println!("suite rpc-compat: {passed} passed, {broken} failed, {} pending", cases.len() - passed - broken);
    assert!(broken == 0 && !cases.is_empty(), "{broken} cases failed");
    assert!(listed * LISTED_SHARE <= cases.len(), "{listed} of {} cases are listed as pending", cases.len());
}

fn find(folder: &Path, name: &str) -> std::path::PathBuf {
    let direct = folder.join(name);
    if direct.is_file() { direct } else { folder.join("rpc-compat").join(name) }
}

/// Sends the requests of a case and compares the answers.
fn replay(server: &Server, path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    let shape_only = text.lines().any(|line| line.starts_with("// speconly:"));
    let mut answer = None;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix(">> ") {
            answer = Some(server.ask(request));
        } else if let Some(want) = line.strip_prefix("<< ") {
            let want: Value = serde_json::from_str(want).unwrap();
            let got = answer.take().ok_or("an answer without a request")?;
            compare(&strip(got), &strip(want), shape_only, "")?;
        }
    }
    Ok(())
}

/// An answer without what is not compared: an error's message.
fn strip(mut answer: Value) -> Value {
    if let Some(error) = answer.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("message");
    }
    answer
}

/// Numbers are equal if they are so as numbers; of an answer that is only specified, the shape counts.
fn compare(got: &Value, want: &Value, shape_only: bool, place: &str) -> Result<(), String> {
    let differs = || Err(format!("{place}: got={} want={}", shown(got), shown(want)));
    match (got, want) {
        (Value::Object(a), Value::Object(b)) if shape_only && is_map(a) && is_map(b) => {
            // Which keys there are is content; each value has the shape of the example.
            let Some(example) = b.values().next() else { return Ok(()) };
            if a.is_empty() {
                return differs();
            }
            a.values().try_for_each(|value| compare(value, example, true, place))
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let place = format!("{place}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(a, b, shape_only, &place)?,
                    (Some(a), None) => return Err(format!("{place}: got={} want nothing", shown(a))),
                    (None, _) => return Err(format!("{place}: absent")),
                }
            }
            Ok(())
        }
        (Value::Array(a), Value::Array(b)) if shape_only => match (a.first(), b.first()) {
            (Some(a), Some(b)) => compare(a, b, true, place),
            _ => Ok(()),
        },
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.try_for_each(|(at, (a, b))| compare(a, b, false, &format!("{place}/{at}")))
        }
        _ if shape_only && std::mem::discriminant(got) == std::mem::discriminant(want) => Ok(()),
        _ if got == want || number(got).is_some_and(|got| number(want) == Some(got)) => Ok(()),
        _ => differs(),
    }
}

/// True for an object whose keys are content rather than names of fields: addresses, nonces, or none.
fn is_map(object: &serde_json::Map<String, Value>) -> bool {
    object.keys().all(|key| key.starts_with(|first: char| first.is_ascii_digit()))
}

/// A JSON number. Quantities in hexadecimal are text: their form counts.
fn number(value: &Value) -> Option<U256> {
    value.as_number().and_then(|number| number.to_string().parse().ok())
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}
