//! A small blocking WebSocket client (RFC 6455), so that tests can also send what no library would.

use crate::client::Client;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;

/// What comes from the server, pings apart.
#[derive(Debug, PartialEq)]
pub enum Event {
    Message(Value),
    Pong(Vec<u8>),
    /// Code and reason.
    Closed(u16, String),
    /// The connection ended without a word.
    Ended,
}

pub struct Socket {
    pub stream: TcpStream,
    /// Notifications that came while an answer was waited for.
    waiting: VecDeque<Value>,
    next_id: u64,
}

/// The request that asks for a WebSocket.
pub fn upgrade(extra: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nhost: node\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n{extra}\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl Socket {
    pub fn open(client: Client) -> Self {
        Self::try_open(client).unwrap()
    }

    /// The head of the refusal, if the server does not become a WebSocket.
    pub fn try_open(client: Client) -> Result<Self, String> {
        let mut stream = client.connect();
        stream.write_all(upgrade("").as_bytes()).map_err(|error| error.to_string())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut byte), Ok(1)) {
                break;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        // The example of RFC 6455, section 1.3.
        let accepted = head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        if accepted { Ok(Self { stream, waiting: VecDeque::new(), next_id: 0 }) } else { Err(head) }
    }

    /// A frame's first bytes: masked with zeros, which leaves the payload as it is.
    pub fn head(first: u8, bytes: usize) -> Vec<u8> {
        let mut head = vec![first];
        match bytes {
            0..126 => head.push(FINAL | bytes as u8),
            126..65_536 => {
                head.push(FINAL | 126);
                head.extend_from_slice(&(bytes as u16).to_be_bytes());
            }
            _ => {
                head.push(FINAL | 127);
                head.extend_from_slice(&(bytes as u64).to_be_bytes());
            }
        }
        head.extend_from_slice(&[0; 4]);
        head
    }

    /// Sends a frame; it is the last of its message if `kind` says so.
    pub fn frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Self::head(first, payload.len());
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes)
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.frame(FINAL | TEXT, text.as_ref()).unwrap();
    }

    pub fn send_as(&mut self, kind: u8, payload: &[u8]) {
        self.frame(FINAL | kind, payload).unwrap();
    }

    fn read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert_eq!(head[0] & FINAL, FINAL, "the server sends whole messages");
        assert_eq!(head[1] & FINAL, 0, "a server does not mask");
        let bytes = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; bytes as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0] & 0x0f, payload))
    }

    /// The next thing that comes, in order; pings are answered and left out.
    pub fn next(&mut self) -> Event {
        loop {
            match self.read_frame() {
                Ok((TEXT, payload)) => return Event::Message(serde_json::from_slice(&payload).unwrap()),
                Ok((PING, payload)) => drop(self.frame(FINAL | PONG, &payload)),
                Ok((PONG, payload)) => return Event::Pong(payload),
                Ok((CLOSE, payload)) => {
                    drop(self.frame(FINAL | CLOSE, &payload));
                    let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    let reason = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).unwrap();
                    return Event::Closed(code, reason);
                }
                Ok((kind, _)) => panic!("a frame of kind {kind}"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing came"),
                Err(_) => return Event::Ended,
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Value {
        match self.next() {
            Event::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Reads on until the server ends the connection.
    pub fn end(&mut self) -> Event {
        loop {
            match self.next() {
                Event::Message(_) | Event::Pong(_) => {}
                end => return end,
            }
        }
    }

    /// The whole answer to one call; notifications before it are kept.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        loop {
            let message = self.message();
            if message["id"] == json!(id) {
                return message;
            }
            self.waiting.push_back(message);
        }
    }

    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params.clone());
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// Code and message of a call that must fail.
    pub fn fail(&mut self, method: &str, params: Value) -> (i64, String) {
        let error = self.ask(method, params)["error"].take();
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// Subscription and result of the next notification.
    pub fn notification(&mut self) -> (Value, Value) {
        let mut message = self.waiting.pop_front().unwrap_or_else(|| self.message());
        assert!(message["method"].as_str().is_some_and(|it| it.ends_with("_subscription")), "{message}");
        (message["params"]["subscription"].take(), message["params"]["result"].take())
    }
}
