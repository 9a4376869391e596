//! Peers that nobody invited, and garbage on the port for validators: nothing of theirs gets in and the chain goes on.

use crate::network::{KEYSTEAD, Network, free_ports, wait_until};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long strangers and garbage are at work.
const SIEGE: Duration = Duration::from_secs(4);
/// Bytes that a validator may log in that time: some dozens of lines, not one for each attempt.
const LOG_BYTES_MAX: u64 = 32 * 1024;
/// MiB by which a validator may grow in that time.
const GROWTH_MIB_MAX: u64 = 64;
/// First of the well-known test accounts: it pays for `keystead bench load`.
const RICH: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// Sockets held open at once.
const SOCKETS: usize = 200;

/// Connections to the JSON-RPC port that are tried, and that are held at once: more than the 1,024 that the node takes.
const ATTEMPTS_ALL: usize = 100_000;
/// As many in the usual run: the whole takes some minutes.
const ATTEMPTS: usize = 4_000;
const HELD: usize = 1_100;
/// How long a caller who is connected waits for an answer meanwhile.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A node that is not in the committee and dials its members.
struct Stranger {
    child: Child,
    rpc: SocketAddr,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

impl Stranger {
    /// Makes a network of its own and replaces all members but one by validators of `network`, so that it knows their
    /// keys and addresses; with their chain id it also has their namespace and their genesis.
    fn start(network: &Network, chain_id: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        let (p2p, rpc) = (free_ports(4).to_string(), free_ports(4).to_string());
        let made = Command::new(KEYSTEAD)
            .args(["init", "--p2p-port", &p2p, "--rpc-port", &rpc, "--chain-id", &chain_id.to_string(), "--out"])
            .arg(&own)
            .output()
            .unwrap();
        assert!(made.status.success());
        let (mut file, theirs) = (read(&own.join("network.json")), read(&network.directory.join("network.json")));
        if file["chain_id"] == theirs["chain_id"] {
            fs::copy(network.directory.join("genesis.json"), own.join("genesis.json")).unwrap();
        }
        let (index, members) = mixed_committee(&file, &theirs);
        file["validators"] = json!(members);
        fs::write(own.join("network.json"), file.to_string()).unwrap();
        let directory = own.join(format!("validator-{index}"));
        let log = directory.join("log.txt");
        let output = File::create(&log).unwrap();
        let child = Command::new(KEYSTEAD)
            .args(["--log", "info", "node", "--dir"])
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let config: toml::Table = fs::read_to_string(directory.join("config.toml")).unwrap().parse().unwrap();
        let rpc = config["rpc_listen"].as_str().unwrap().parse().unwrap();
        Self { child, rpc, log, _folder: folder }
    }

    fn call(&self, method: &str, params: &Value) -> Option<Value> {
        crate::http::call(self.rpc, method, params)?.ok()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three foreign members and one own, whose share says at which place in the sorted list it must stand.
fn mixed_committee(own: &Value, theirs: &Value) -> (usize, Vec<Value>) {
    let key = |member: &Value| member["public_key"].as_str().unwrap().to_owned();
    let list = |file: &Value| file["validators"].as_array().unwrap().clone();
    let (own, theirs) = (list(own), list(theirs));
    for (index, member) in own.iter().enumerate() {
        for left_out in 0..theirs.len() {
            let mut members: Vec<Value> = theirs.clone();
            members[left_out] = member.clone();
            members.sort_by_key(key);
            if key(&members[index]) == key(member) {
                return (index, members);
            }
        }
    }
    panic!("no place fits: {own:?} {theirs:?}");
}

#[test]
fn nodes_outside_the_committee_get_nothing_in_and_cost_little_slow() {
    let mut network = Network::start(4);
    let chain_id = 19_283;
    let memory: Vec<Option<u64>> = (0..4).map(|index| network.memory_mib(index)).collect();
    let logged: Vec<u64> = (0..4).map(|index| network.log_bytes(index)).collect();
    let head = network.head(0).unwrap();
    let strangers = [Stranger::start(&network, chain_id), Stranger::start(&network, 4_242)];
    for stranger in &strangers {
        wait_until("the stranger answers", || stranger.call("eth_blockNumber", &json!([])));
    }
    // Its first transactions pay from a test account: valid on this chain, but given to the stranger only.
    let mut offered = Command::new(KEYSTEAD)
        .args(["bench", "load", "--senders", "3", "--rpc", &format!("http://{}", strangers[0].rpc)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pending = json!([RICH, "pending"]);
    wait_until("the stranger takes transactions", || {
        (strangers[0].call("eth_getTransactionCount", &pending)? == "0x3").then_some(())
    });
    let start = Instant::now();
    wait_until("the siege is over", || (start.elapsed() > SIEGE).then_some(()));
    network.wait_for_head(0, head + 4);
    for stranger in &strangers {
        let got = stranger.call("eth_blockNumber", &json!([])).unwrap();
        assert_eq!(got, json!("0x0"), "a stranger got blocks\n{}", fs::read_to_string(&stranger.log).unwrap());
        assert!(fs::metadata(&stranger.log).unwrap().len() < LOG_BYTES_MAX, "the stranger's log grows");
    }
    for index in 0..4 {
        let grown = network.log_bytes(index) - logged[index];
        assert!(grown < LOG_BYTES_MAX, "validator {index} logged {grown} bytes\n{}", network.log(index));
        let (before, after) = (memory[index], network.memory_mib(index));
        let bounded = before.zip(after).is_none_or(|(before, after)| after < before + GROWTH_MIB_MAX);
        assert!(bounded, "validator {index} grew: mib={before:?} to {after:?}");
    }
    offered.kill().unwrap();
    offered.wait().unwrap();
    for index in 0..4 {
        assert_eq!(
            network.call(index, "eth_getTransactionCount", pending.clone()),
            "0x0",
            "a stranger's gossip got in"
        );
    }
    // They take no place from a member that comes back.
    network.kill(2);
    let head = network.head(0).unwrap();
    network.wait_for_head(0, head + 2);
    network.launch(2);
    network.wait_for_head(2, head + 4);
    drop(strangers);
    network.agree();
}

/// Deterministic noise.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

#[test]
fn garbage_and_held_sockets_on_the_validators_port_do_not_stop_the_chain_slow() {
    let mut network = Network::start(4);
    let config: toml::Table = fs::read_to_string(network.folder(0).join("config.toml")).unwrap().parse().unwrap();
    let port: SocketAddr = config["p2p_listen"].as_str().unwrap().parse().unwrap();
    let (memory, logged, head) = (network.memory_mib(0), network.log_bytes(0), network.head(0).unwrap());
    let held: Vec<TcpStream> = (0..SOCKETS).filter_map(|_| TcpStream::connect(port).ok()).collect();
    assert!(held.len() > SOCKETS / 2, "the sockets are not accepted: held={}", held.len());
    let start = Instant::now();
    let mut attempts = 0u64;
    while start.elapsed() < SIEGE {
        // Noise, an endless length, a length that nothing follows, and half of what could be a handshake.
        let openings = [
            noise(attempts, 4_096),
            vec![0xff; 64],
            vec![0xe8, 0x07],
            [vec![0x80, 0x01], noise(attempts, 40)].concat(),
        ];
        for opening in openings {
            let Ok(mut socket) = TcpStream::connect_timeout(&port, Duration::from_secs(2)) else { continue };
            // The validator may hang up at once.
            let _ = socket.write_all(&opening);
            attempts += 1;
        }
    }
    network.wait_for_head(0, head + 4);
    drop(held);
    let grown = network.log_bytes(0) - logged;
    println!("attempts={attempts} logged_bytes={grown}");
    assert!(grown < LOG_BYTES_MAX, "{attempts} attempts made {grown} bytes of log\n{}", network.log(0));
    let after = network.memory_mib(0);
    let bounded = memory.zip(after).is_none_or(|(before, after)| after < before + GROWTH_MIB_MAX);
    assert!(bounded, "the validator grew: mib={memory:?} to {after:?}");
    // The port is as good as before: a validator that starts anew finds its way back.
    network.kill(0);
    network.launch(0);
    let head = network.head(1).unwrap();
    network.wait_for_head(0, head + 3);
    network.agree();
}

/// A caller that keeps its connection.
struct Caller(TcpStream);

impl Caller {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Self(stream)
    }

    /// The body of the answer to a request of one line.
    fn get(&mut self, path: &str) -> String {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.trim().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    /// A figure of the node.
    fn metric(&mut self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

/// A system has some 28,000 ports per address for connections to one other, and a closed connection keeps its own for a minute.
const ATTEMPTS_PER_ADDRESS: usize = 10_000;

/// The address that an attempt comes from.
fn source(attempt: usize) -> SocketAddr {
    let last = u8::try_from(2 + attempt / ATTEMPTS_PER_ADDRESS).unwrap();
    SocketAddr::from(([127, 0, 0, last], 0))
}

async fn connect_from(source: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(source)?;
    let stream = tokio::time::timeout(ANSWER_MAX, socket.connect(to)).await??.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[test]
fn a_hundred_thousand_connections_to_the_json_rpc_port_are_bounded_and_callers_are_answered_slow() {
    // A caller's answer is bounded in seconds.
    let network = Network::alone(4);
    let (memory, logged, head) = (network.memory_mib(0), network.log_bytes(0), network.head(0).unwrap());
    let mut caller = Caller::connect(network.rpc[0]);
    let mut held = VecDeque::new();
    let (mut made, mut most) = (0, 0);
    let attempts = if std::env::var_os("KEYSTEAD_TEST_ALL").is_some() { ATTEMPTS_ALL } else { ATTEMPTS };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Instant::now();
    for attempt in 0..attempts {
        match runtime.block_on(connect_from(source(attempt), network.rpc[0])) {
            Ok(mut socket) => {
                // Half a request: the node waits for the rest, and may have hung up already.
                let _ = socket.write_all(b"POST / HTTP/1.1\r\nhost: no");
                held.push_back(socket);
                made += 1;
            }
            // The system has no more sockets for the test itself.
            Err(_) => drop(held.drain(..held.len() / 2)),
        }
        if held.len() > HELD {
            held.pop_front();
        }
        if attempt % 500 == 499 {
            most = most.max(caller.metric("keystead_rpc_connections"));
        }
    }
    let refused = caller.metric("keystead_rpc_connections_refused_total");
    let grown = network.log_bytes(0) - logged;
    println!("made={made} most_at_once={most} refused={refused} logged_bytes={grown} in {:?}", start.elapsed());
    assert!(made > attempts / 2, "only {made} connections could be made");
    assert!((1..=1_024).contains(&most), "connections at once: {most}");
    assert!(grown < LOG_BYTES_MAX, "{made} connections made {grown} bytes of log\n{}", network.log(0));
    let after = network.memory_mib(0);
    let bounded = memory.zip(after).is_none_or(|(before, after)| after < before + GROWTH_MIB_MAX);
    assert!(bounded, "the validator grew: mib={memory:?} to {after:?}");
    drop(held);
    // New callers are let in again, and the chain went on.
    let now = wait_until("a new caller is answered", || network.head(0));
    assert!(now > head, "no block in the meantime");
    network.wait_for_head(0, now + 2);
    network.agree();
}
