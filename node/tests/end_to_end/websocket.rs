//! Subscriptions at a real validator: heads, logs and transactions come as they happen, end when asked, and are bounded.

use crate::{
    network::{Network, PATIENCE},
    sender::{Draft, KEEPER, Sender},
};
use serde_json::{Value, json};
use std::{
    collections::{HashSet, VecDeque},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

/// Subscriptions of one connection (`chain/rpc/src/limits.rs`).
const SUBSCRIPTIONS_MAX: usize = 64;
/// Bytes of one message (the same).
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A small blocking client (RFC 6455).
struct Socket {
    stream: TcpStream,
    notifications: VecDeque<Value>,
    next_id: u64,
}

impl Socket {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        // The example of RFC 6455, section 1.3.
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self { stream, notifications: VecDeque::new(), next_id: 0 }
    }

    /// One frame, masked with zeros: the payload stays as it is.
    fn frame(&mut self, first: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        self.stream.write_all(&bytes)
    }

    /// First byte and payload of the next frame; pings are answered and left out.
    fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).unwrap();
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.stream.read_exact(&mut length).unwrap();
                    u64::from(u16::from_be_bytes(length))
                }
                127 => {
                    let mut length = [0; 8];
                    self.stream.read_exact(&mut length).unwrap();
                    u64::from_be_bytes(length)
                }
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).unwrap();
            if head[0] == PING {
                self.frame(PONG, &payload).unwrap();
            } else {
                return (head[0], payload);
            }
        }
    }

    fn message(&mut self) -> Value {
        let (kind, payload) = self.next();
        assert_eq!(kind, TEXT, "{}", String::from_utf8_lossy(&payload));
        serde_json::from_slice(&payload).unwrap()
    }

    /// The answer to a call; notifications before it are kept.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.frame(TEXT, request.to_string().as_bytes()).unwrap();
        loop {
            let message = self.message();
            if message["id"] == json!(id) {
                return message;
            }
            self.notifications.push_back(message);
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, &params);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// Results of a subscription up to the one that `is_last`; those of others are kept.
    fn until(&mut self, subscription: &Value, mut is_last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let (mut found, mut others) = (Vec::new(), VecDeque::new());
        loop {
            let message = self.notifications.pop_front().unwrap_or_else(|| self.message());
            assert_eq!(message["method"], "eth_subscription", "{message}");
            if message["params"]["subscription"] != *subscription {
                others.push_back(message);
                continue;
            }
            let result = message["params"]["result"].clone();
            let last = is_last(&result);
            found.push(result);
            if last {
                others.append(&mut self.notifications);
                self.notifications = others;
                return found;
            }
        }
    }
}

#[test]
fn heads_logs_and_transactions_come_as_they_happen_and_end_when_asked() {
    let network = Network::start(4);
    let mut sender = Sender::account(1);
    let keeper = sender.next_contract();
    sender.settle(&network, 0, Draft::create(KEEPER, 1_000_000));
    let mut socket = Socket::open(network.rpc[0]);
    let heads = socket.call("eth_subscribe", json!(["newHeads"]));
    let logs = socket.call("eth_subscribe", json!(["logs", { "address": keeper }]));
    let transactions = socket.call("eth_subscribe", json!(["newPendingTransactions"]));

    let stored = sender.settle(&network, 0, Draft::word(keeper, 7));
    let (hash, block) = (stored["transactionHash"].clone(), stored["blockHash"].clone());
    assert!(socket.until(&transactions, |told| *told == hash).contains(&hash));
    let told = socket.until(&logs, |log| log["transactionHash"] == hash);
    assert_eq!((told.len(), &told[0]["blockHash"]), (1, &block), "one log, of a final block");
    assert_eq!(told[0]["topics"][0], format!("{:#066x}", 7));
    let told = socket.until(&heads, |head| head["hash"] == block);
    for pair in told.windows(2) {
        assert_eq!(pair[1]["parentHash"], pair[0]["hash"], "heads come one after another");
    }

    assert_eq!(socket.call("eth_unsubscribe", json!([logs])), true);
    assert_eq!(socket.call("eth_unsubscribe", json!([transactions])), true);
    assert_ne!(socket.ask("eth_unsubscribe", &json!([logs]))["result"], true, "it is gone");
    socket.notifications.clear();
    let quiet = sender.settle(&network, 0, Draft::word(keeper, 8));
    let height = crate::network::number(&quiet["blockNumber"]);
    // Three heads later nothing of the other two has come.
    socket.until(&heads, |head| crate::network::number(&head["number"]) >= height + 3);
    assert!(socket.notifications.is_empty(), "{:?}", socket.notifications);
}

#[test]
fn subscriptions_and_messages_of_a_connection_are_bounded_and_others_go_on() {
    let network = Network::start(4);
    let mut other = Socket::open(network.rpc[0]);
    let heads = other.call("eth_subscribe", json!(["newHeads"]));
    let mut socket = Socket::open(network.rpc[0]);
    let ids: HashSet<String> = (0..SUBSCRIPTIONS_MAX)
        .map(|_| socket.call("eth_subscribe", json!(["newHeads"])).as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), SUBSCRIPTIONS_MAX);
    let refused = socket.ask("eth_subscribe", &json!(["newHeads"]));
    assert_eq!(refused["error"]["code"], -32005, "{refused}");
    let freed = ids.iter().next().unwrap();
    assert_eq!(socket.call("eth_unsubscribe", json!([freed])), true);
    assert!(socket.call("eth_subscribe", json!(["newHeads"])).is_string(), "there is room again");
    // The server may hang up before it has read all of it.
    let _ = socket.frame(TEXT, &vec![b' '; MESSAGE_BYTES_MAX + 1]);
    let closed = loop {
        let (kind, payload) = socket.next();
        if kind == CLOSE {
            break payload;
        }
    };
    assert_eq!(closed[..2], 1009_u16.to_be_bytes(), "{}", String::from_utf8_lossy(&closed));
    let head = network.head(0).unwrap();
    other.until(&heads, |told| crate::network::number(&told["number"]) >= head + 2);
}
