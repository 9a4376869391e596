//! What the chain says, asked of a node as anybody could ask it.
//!
//! # Design
//! Only reads, over plain HTTP, a connection a question: no client of ours stands between the demo and the chain that it judges.

use eyre::{Context as _, Result, bail, ensure, eyre};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A node that answers JSON-RPC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node(pub(super) SocketAddr);

/// An event, as a node tells it.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) topics: Vec<String>,
    /// Words of 32 bytes, in hex without `0x`.
    pub(super) words: Vec<String>,
}

/// What all blocks together did with money that is in no event: fees, and everybody who is named in one.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every account that sent, received, was made or proposed; in lower case.
    pub(super) accounts: BTreeSet<String>,
    pub(super) transactions: u64,
    /// Base fees, which are nobody's any more.
    pub(super) burnt_wei: u128,
    /// Priority fees by the validator that earned them.
    pub(super) earned_wei: BTreeMap<String, u128>,
    /// Fees by who paid them.
    pub(super) paid_wei: BTreeMap<String, u128>,
}

impl Node {
    pub(super) fn ask(self, method: &str, params: Value) -> Result<Value> {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let answer = self.post(&question).wrap_err_with(|| format!("the node does not answer {method}"))?;
        let answer: Value = serde_json::from_str(&answer).wrap_err_with(|| format!("{method}: no JSON"))?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => bail!("{method}: {answer}"),
        }
    }

    fn post(self, body: &str) -> Result<String> {
        let (address, length) = (self.0, body.len());
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| eyre!("no HTTP answer"))?;
        Ok(body.to_owned())
    }

    pub(super) fn head(self) -> Result<u64> {
        Ok(u64::try_from(quantity(&self.ask("eth_blockNumber", json!([]))?)?)?)
    }

    pub(super) fn balance(self, account: &str, block: u64) -> Result<u128> {
        quantity(&self.ask("eth_getBalance", json!([account, format!("{block:#x}")]))?)
    }

    /// What a function without arguments answers, one number.
    pub(super) fn number(self, contract: &str, selector: &str, block: u64) -> Result<u128> {
        let call = json!([{"to": contract, "data": selector}, format!("{block:#x}")]);
        let answer = self.ask("eth_call", call)?;
        word(answer.as_str().and_then(|text| text.strip_prefix("0x")).unwrap_or_default())
    }

    /// Events of a contract up to a block, oldest first.
    pub(super) fn logs(self, contract: &str, event: &str, block: u64) -> Result<Vec<Log>> {
        let filter =
            json!([{"address": contract, "topics": [event], "fromBlock": "0x0", "toBlock": format!("{block:#x}")}]);
        let answer = self.ask("eth_getLogs", filter)?;
        let logs = answer.as_array().ok_or_else(|| eyre!("eth_getLogs: no list"))?;
        Ok(logs.iter().map(Log::read).collect())
    }

    /// Reads every block up to this one.
    pub(super) fn scan(self, last: u64) -> Result<Scan> {
        let mut scan = Scan::default();
        for number in 1..=last {
            let name = format!("{number:#x}");
            let block = self.ask("eth_getBlockByNumber", json!([name, true]))?;
            scan.accounts.insert(address(&block, "miner")?);
            let transactions = list(&block, "transactions");
            if transactions.is_empty() {
                continue;
            }
            let receipts = self.ask("eth_getBlockReceipts", json!([name]))?;
            let receipts = receipts.as_array().ok_or_else(|| eyre!("block {number} has no receipts"))?;
            ensure!(receipts.len() == transactions.len(), "block {number} lacks receipts");
            scan.add(&block, receipts).wrap_err_with(|| format!("block {number}"))?;
        }
        Ok(scan)
    }
}

impl Log {
    fn read(log: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim_start_matches("0x").to_lowercase();
        let data = log.get("data").map(text).unwrap_or_default();
        let words = data.as_bytes().chunks(64).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Self { topics: list(log, "topics").iter().map(text).collect(), words }
    }

    /// An indexed argument that is an account; the event's name is number 0.
    pub(super) fn account(&self, topic: usize) -> Result<String> {
        let topic = self.topics.get(topic).and_then(|topic| topic.get(24..)).ok_or_else(|| eyre!("odd event"))?;
        Ok(format!("0x{topic}"))
    }

    /// An argument that is not indexed, a number.
    pub(super) fn number(&self, index: usize) -> Result<u128> {
        word(self.words.get(index).ok_or_else(|| eyre!("odd event"))?)
    }
}

impl Scan {
    fn add(&mut self, block: &Value, receipts: &[Value]) -> Result<()> {
        let (base_wei, validator) = (field(block, "baseFeePerGas")?, address(block, "miner")?);
        for receipt in receipts {
            let sender = address(receipt, "from")?;
            for name in ["to", "contractAddress"] {
                self.accounts.extend(address(receipt, name).ok());
            }
            let (gas, price_wei) = (field(receipt, "gasUsed")?, field(receipt, "effectiveGasPrice")?);
            let paid = product(gas, price_wei)?;
            let burnt = product(gas, base_wei)?;
            let earned = paid.checked_sub(burnt).ok_or_else(|| eyre!("a transaction paid less than the base fee"))?;
            add(&mut self.burnt_wei, burnt)?;
            add(self.earned_wei.entry(validator.clone()).or_default(), earned)?;
            add(self.paid_wei.entry(sender.clone()).or_default(), paid)?;
            self.accounts.insert(sender);
            self.transactions = self.transactions.saturating_add(1);
        }
        Ok(())
    }
}

/// Adds money; more than there can be is an error.
pub(super) fn add(sum: &mut u128, wei: u128) -> Result<()> {
    *sum = sum.checked_add(wei).ok_or_else(|| eyre!("a sum of money is out of range"))?;
    Ok(())
}

fn product(gas: u128, price_wei: u128) -> Result<u128> {
    gas.checked_mul(price_wei).ok_or_else(|| eyre!("a fee is out of range"))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn address(value: &Value, name: &str) -> Result<String> {
    let text = value.get(name).and_then(Value::as_str).ok_or_else(|| eyre!("no {name}"))?;
    Ok(text.to_lowercase())
}

fn field(value: &Value, name: &str) -> Result<u128> {
    quantity(value.get(name).ok_or_else(|| eyre!("no {name}"))?)
}

/// A number as JSON-RPC writes it: `0x1f`.
pub(super) fn quantity(value: &Value) -> Result<u128> {
    let digits =
        value.as_str().and_then(|text| text.strip_prefix("0x")).ok_or_else(|| eyre!("{value} is no number"))?;
    u128::from_str_radix(digits, 16).wrap_err_with(|| format!("{value} is no number"))
}

/// A number in a word of 32 bytes; no amount needs the upper half.
fn word(hex: &str) -> Result<u128> {
    let digits = hex.trim_start_matches('0');
    if digits.is_empty() && !hex.is_empty() {
        return Ok(0);
    }
    u128::from_str_radix(digits, 16).wrap_err_with(|| format!("0x{hex} is no amount"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_transaction_pays_its_validator_and_burns_the_rest() {
        let block = json!({"baseFeePerGas": "0x7", "miner": "0xAA"});
        let receipt = |from: &str, gas: &str| json!({"from": from, "to": "0xBB", "contractAddress": null, "gasUsed": gas, "effectiveGasPrice": "0xa"});
        let mut scan = Scan::default();
        scan.add(&block, &[receipt("0x1", "0x64"), receipt("0x2", "0x1"), receipt("0x1", "0x1")]).unwrap();
        assert_eq!((scan.burnt_wei, scan.transactions), (714, 3));
        assert_eq!(scan.earned_wei["0xaa"], 306);
        assert_eq!((scan.paid_wei["0x1"], scan.paid_wei["0x2"]), (1_010, 10));
        assert_eq!(scan.accounts.iter().map(String::as_str).collect::<Vec<_>>(), ["0x1", "0x2", "0xbb"]);
        let below = json!({"baseFeePerGas": "0xb", "miner": "0xAA"});
        assert!(scan.add(&below, &[receipt("0x1", "0x1")]).is_err());
    }

    #[test]
    fn amounts_and_accounts_of_events_are_read_from_their_words() {
        let account = format!("0x{}70997970C51812dc3A010C7d01b50e0d17dc79C8", "0".repeat(24));
        let data = format!("0x{:064x}{:064x}", 0, 1_u128 << 70);
        let log = Log::read(&json!({"topics": ["0x45", account], "data": data}));
        assert_eq!(log.account(1).unwrap(), "0x70997970c51812dc3a010c7d01b50e0d17dc79c8");
        assert_eq!((log.number(0).unwrap(), log.number(1).unwrap()), (0, 1 << 70));
        assert!(log.number(2).is_err() && log.account(0).is_err());
        assert!(word(&"f".repeat(64)).is_err() && word("").is_err());
        assert!(quantity(&json!("0x0")).unwrap() == 0 && quantity(&json!("12")).is_err());
    }
}
