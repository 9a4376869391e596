//! `keystead import` on a chain that the test makes: what holds is imported once, what does not is refused with its numbers.

use crate::{
    http,
    network::{KEYSTEAD, PATIENCE, run_to_end, wait_until},
};
use alloy_consensus::{
    Header, SignableTransaction as _, TxLegacy,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use keystead_execution::{BlockEnv, EthereumBlock, execute_ethereum};
use keystead_import::Importer;
use keystead_state::{Options, Store};
use keystead_types::{
    Block, EthereumBody, Genesis, HeaderFault, StateView as _, Transaction, Withdrawals, check_header, recover_all,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
};
use tempfile::TempDir;

/// Who gets five wei with every transaction.
const FRIEND: Address = Address::repeat_byte(0xdd);
/// Bytes of a pipe, of the reader's buffer and of a block: what was written and not yet imported is less.
const IN_FLIGHT_BYTES: usize = (64 + 8 + 2) * 1024;

/// A transaction with a signature that gives some sender, another one for each nonce.
fn transaction(nonce: u64) -> Transaction {
    let to = TxKind::Call(FRIEND);
    let gas_price = 2_000_000_000;
    let body =
        TxLegacy { nonce: 0, gas_price, gas_limit: 21_000 + nonce, to, value: U256::from(5), ..TxLegacy::default() };
    body.into_signed(Signature::test_signature()).into()
}

/// A chain under construction, and the files that the command reads.
struct Foreign {
    folder: TempDir,
    genesis: Genesis,
    store: Store,
    importer: Importer,
    /// Encodings of the blocks from block 1 on.
    blocks: Vec<Vec<u8>>,
}

impl Foreign {
    /// A chain under these forks whose genesis funds the senders of the first `count` transactions.
    fn new(forks: &Value, count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let senders = recover_all((0..count).map(transaction).collect()).unwrap();
        let rich = |address: Address| (address.to_string(), json!({ "balance": "0xde0b6b3a7640000" }));
        let alloc: serde_json::Map<String, Value> = senders.iter().map(|sender| rich(sender.signer())).collect();
        let genesis =
            json!({ "config": forks, "gasLimit": "0x1c9c380", "difficulty": "0x20000", "alloc": alloc }).to_string();
        fs::write(folder.path().join("genesis.json"), &genesis).unwrap();
        let genesis = Genesis::ethereum_from_json(&genesis).unwrap();
        let store = Store::open(&folder.path().join("made"), &genesis, Options::default()).unwrap();
        let importer = Importer::new(store.clone(), &genesis).unwrap();
        Self { folder, genesis, store, importer, blocks: Vec::new() }
    }

    /// After the merge, at Shanghai.
    fn merged(count: u64) -> Self {
        Self::new(
            &json!({
                "chainId": 77, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
                "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0,
                "londonBlock": 0, "mergeNetsplitBlock": 0, "terminalTotalDifficulty": 0, "shanghaiTime": 0,
            }),
            count,
        )
    }

    /// A child of the head that holds, but for what `change` makes of its header.
    fn child(&self, transactions: Vec<Transaction>, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let (spec, forks) = (self.genesis.spec, self.genesis.spec.ethereum.unwrap());
        let head = self.store.head();
        let parent = self.store.header(head.number).unwrap().unwrap();
        let withdrawals = parent.withdrawals_root.map(|_| Withdrawals::default());
        let mut header = Header {
            parent_hash: head.hash,
            number: head.number + 1,
            timestamp: parent.timestamp + 13,
            gas_limit: parent.gas_limit,
            beneficiary: Address::repeat_byte(0xbe),
            base_fee_per_gas: parent.base_fee_per_gas.map(|_| spec.next_base_fee(&parent)),
            transactions_root: calculate_transaction_root(&transactions),
            withdrawals_root: withdrawals.as_ref().map(|_| calculate_withdrawals_root(&[])),
            ..Header::default()
        };
        if let Err(HeaderFault::Difficulty { want, .. }) = check_header(&header, &parent, head.hash, &spec, &forks) {
            header.difficulty = want;
        }
        let before = self.store.latest();
        // A block with an invalid signature is executed by nobody.
        if let Ok(recovered) = recover_all(transactions.clone()) {
            let content = EthereumBlock {
                transactions: &recovered,
                ommers: &[],
                withdrawals: &[],
                state_root: &|changes| Ok(before.child(changes)?.state_root()),
            };
            let outcome = execute_ethereum(&*before, &spec, &BlockEnv::from(&header), &content).unwrap();
            header.gas_used = outcome.gas_used;
            header.receipts_root = outcome.receipts_root;
            header.logs_bloom = outcome.logs_bloom;
            header.state_root = before.child(outcome.changes).unwrap().state_root();
        }
        change(&mut header);
        Block::ethereum(header, transactions, EthereumBody { ommers: Vec::new(), withdrawals }).unwrap().encode()
    }

    /// Adds a block with one transaction.
    fn grow(&mut self) {
        self.grow_with(|_| ());
    }

    fn grow_with(&mut self, change: impl FnOnce(&mut Header)) {
        let block = self.child(vec![transaction(self.blocks.len() as u64)], change);
        self.importer.import(&block).unwrap();
        self.blocks.push(block);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of blocks.
    fn file(&self, name: &str, blocks: &[Vec<u8>]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, blocks.concat()).unwrap();
        path
    }

    /// `keystead import` into the folder `out`.
    fn command(&self, chain: Option<&Path>, out: &str) -> Command {
        let mut command = Command::new(KEYSTEAD);
        command.args(["import", "--genesis"]).arg(self.path("genesis.json")).arg("--out").arg(self.path(out));
        if let Some(chain) = chain {
            command.arg("--chain").arg(chain);
        }
        command
    }

    /// What the command prints at its end: height, hash and state root of the head.
    fn head(&self) -> String {
        let head = self.store.head();
        format!("head {} {} state root {}\n", head.number, head.hash, head.state_root)
    }
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The height in what the command printed.
fn height(printed: &str) -> u64 {
    printed.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_stopped() {
    let mut foreign = Foreign::merged(400);
    (0..400).for_each(|_| foreign.grow());
    let pipe = foreign.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = foreign.command(Some(&pipe), "killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first = foreign.blocks[..300].concat();
    let sure = first.len() - IN_FLIGHT_BYTES;
    let (done, written) = mpsc::channel();
    let writer = thread::spawn(move || {
        let mut file = File::options().write(true).open(pipe).unwrap();
        file.write_all(&first).unwrap();
        // Kept open until the reader is dead: it waits for more, as one in the middle of a long file.
        let _ = done.send(file);
    });
    let open = written.recv_timeout(PATIENCE).expect("the command reads the pipe");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(open);
    writer.join().unwrap();
    let stopped = height(&printed(&foreign.command(None, "killed").output().unwrap()));
    let mut bytes = 0;
    let least = foreign.blocks.iter().take_while(|block| {
        bytes += block.len();
        bytes <= sure
    });
    let least = least.count() as u64;
    assert!(least > 100 && (least..=300).contains(&stopped), "stopped at {stopped}, at least {least}");
    let whole = foreign.file("chain.rlp", &foreign.blocks);
    for _ in 0..2 {
        assert_eq!(printed(&foreign.command(Some(&whole), "killed").output().unwrap()), foreign.head());
    }
    // The same as in one go.
    assert_eq!(printed(&foreign.command(Some(&whole), "whole").output().unwrap()), foreign.head());
}

#[test]
fn a_wrong_root_gas_or_signature_is_refused_with_its_block_and_numbers_and_a_seal_is_not_looked_at() {
    let mut foreign = Foreign::merged(8);
    (0..3).for_each(|_| foreign.grow());
    let good = foreign.blocks.clone();
    let next = |change: fn(&mut Header)| foreign.child(vec![transaction(3)], change);
    let unsigned = {
        let (body, signature) = match transaction(3) {
            Transaction::Legacy(signed) => (signed.tx().clone(), *signed.signature()),
            other => panic!("{other:?}"),
        };
        // No point of the curve has this coordinate.
        let signature = Signature::new(U256::from(5), signature.s(), false);
        foreign.child(vec![body.into_signed(signature).into()], |_| ())
    };
    let zeros = B256::ZERO.to_string();
    let cases: [(&str, Vec<u8>, &[&str]); 4] = [
        (
            "state root",
            next(|header| header.state_root = B256::ZERO),
            &["field=stateRoot", &format!("got={zeros}"), "want=0x"],
        ),
        ("receipts root", next(|header| header.receipts_root = B256::ZERO), &["field=receiptsRoot", "want=0x"]),
        ("gas", next(|header| header.gas_used += 1), &["field=gasUsed", "got=21001 want=21000"]),
        ("signature", unsigned, &["invalid signature: transaction=0x"]),
    ];
    for (name, bad, words) in cases {
        let chain = foreign.file("bad.rlp", &[good.clone(), vec![bad]].concat());
        let (code, error) = run_to_end(&mut foreign.command(Some(&chain), name));
        assert_eq!(code, Some(1), "{name}: {error}");
        assert!(error.contains("stopped in") && error.contains("bad.rlp"), "{name}: {error}");
        assert!(error.contains("index=3 head=3"), "{name}: {error}");
        for word in words {
            assert!(error.contains(word), "{name}: no {word} in {error}");
        }
        // What came before it is there, and the chain goes on with a block that holds.
        assert_eq!(printed(&foreign.command(None, name).output().unwrap()), foreign.head(), "{name}");
    }
    // The help says it: seals are trusted. Under proof of work they are nonce and mix hash.
    let help = Command::new(KEYSTEAD).args(["import", "--help"]).output().unwrap();
    assert!(printed(&help).contains("every rule checked but seals"));
    let mut work = Foreign::new(&json!({ "chainId": 1, "ethash": {} }), 2);
    work.grow();
    work.grow_with(|header| {
        header.mix_hash = B256::repeat_byte(0x5e);
        header.nonce = [0xa1; 8].into();
    });
    let chain = work.file("chain.rlp", &work.blocks);
    assert_eq!(printed(&work.command(Some(&chain), "work").output().unwrap()), work.head());
    let torn = &work.blocks.concat()[..work.blocks.concat().len() - 1];
    fs::write(work.path("torn.rlp"), torn).unwrap();
    let (code, error) = run_to_end(&mut work.command(Some(&work.path("torn.rlp")), "torn"));
    assert_eq!(code, Some(1));
    assert!(error.contains("the file ends within a block"), "{error}");
}

/// `keystead import --serve`, ended with the test.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(mut command: Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let child = command.args(["--serve", "127.0.0.1:0"]).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let address = wait_until("the imported chain is served", || {
            let mut text = String::new();
            File::open(log).unwrap().read_to_string(&mut text).unwrap();
            let rest = text.split("http://").nth(1)?;
            let end = rest.find(|byte: char| !byte.is_ascii_digit() && byte != '.' && byte != ':')?;
            rest[..end].parse().ok()
        });
        Self { child, address }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        http::call(self.address, method, &params).unwrap().unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_imported_chain_is_served_with_its_past_and_a_block_can_be_tried_on_it() {
    let mut foreign = Foreign::merged(12);
    (0..10).for_each(|_| foreign.grow());
    let chain = foreign.file("chain.rlp", &foreign.blocks);
    let served = Served::start(foreign.command(Some(&chain), "served"), &foreign.path("log.txt"));
    assert_eq!(served.call("eth_blockNumber", json!([])), "0xa");
    for height in 0..=10_u64 {
        let balance = served.call("eth_getBalance", json!([FRIEND, format!("{height:#x}")]));
        assert_eq!(balance, json!(format!("{:#x}", 5 * height)));
    }
    // `pending` is the head: there will be no further block.
    assert_eq!(served.call("eth_getBalance", json!([FRIEND, "pending"])), "0x32");
    let config = served.call("eth_config", json!([]));
    assert_eq!((&config["current"]["chainId"], &config["next"]), (&json!("0x4d"), &Value::Null));
    let described = served.call("rpc_modules", json!([]));
    assert_eq!(described["testing"], "1.0");
    // A block that is tried has the roots of the one that could be made, and changes nothing.
    let head = foreign.store.head();
    let parent = foreign.store.header(head.number).unwrap().unwrap();
    let made = foreign.child(vec![transaction(10)], |_| ());
    let made = Block::decode_ethereum(&made).unwrap();
    let attributes = json!({
        "timestamp": format!("{:#x}", parent.timestamp + 13), "prevRandao": B256::ZERO,
        "suggestedFeeRecipient": made.header().beneficiary, "withdrawals": [],
    });
    let raw =
        alloy_primitives::hex::encode_prefixed(alloy_eips::eip2718::Encodable2718::encoded_2718(&transaction(10)));
    let tried = served.call("testing_buildBlockV1", json!([head.hash, attributes, [raw], "0x"]));
    let payload = &tried["executionPayload"];
    assert_eq!(payload["stateRoot"], json!(made.header().state_root));
    assert_eq!(payload["receiptsRoot"], json!(made.header().receipts_root));
    assert_eq!((&payload["gasUsed"], &payload["blockNumber"]), (&json!("0x5208"), &json!("0xb")));
    // Its tip is what the price leaves above the base fee.
    let tip = 2_000_000_000 - made.header().base_fee_per_gas.unwrap();
    assert_eq!(tried["blockValue"], json!(format!("{:#x}", tip * 21_000)));
    let again = http::call(served.address, "testing_buildBlockV1", &json!([head.hash, attributes, [raw, raw], "0x"]));
    assert_eq!(again.unwrap().unwrap_err()["code"], -32000, "the same nonce twice");
    assert_eq!(served.call("eth_blockNumber", json!([])), "0xa");
    assert_eq!(foreign.store.latest().account(&FRIEND).unwrap().unwrap().balance, U256::from(50));
}
