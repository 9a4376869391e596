//! A node between a follower and an honest node, which changes one thing in each answer with blocks.

use crate::http;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What a liar does to an answer.
#[derive(Clone)]
pub(crate) enum Lie {
    /// Changes the result of `keystead_getBlocks` or `keystead_getGenesis`.
    Change(Arc<dyn Fn(&mut Value) + Send + Sync>),
    /// Sends these bytes as the whole HTTP answer.
    Raw(Arc<Vec<u8>>),
    /// Reads the request and never answers.
    Silence,
}

/// A lying node.
pub(crate) struct Liar {
    address: SocketAddr,
    lies: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Liar {
    /// Stands before an honest node and lies from the first answer on.
    pub(crate) fn start(honest: SocketAddr, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (lies, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&lies), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (lie, counted) = (lie.clone(), Arc::clone(&counted));
                thread::spawn(move || answer(stream.ok()?, honest, &lie, &counted));
            }
        });
        Self { address, lies, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often it lied.
    pub(crate) fn lies(&self) -> usize {
        self.lies.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one request; then the connection ends.
fn answer(mut stream: TcpStream, honest: SocketAddr, lie: &Lie, lies: &AtomicUsize) -> Option<()> {
    let body = request(&mut stream)?;
    let text = String::from_utf8(body.clone()).ok()?;
    let blocks = text.contains("keystead_getBlocks") || text.contains("keystead_getGenesis");
    match lie {
        Lie::Silence if blocks => {
            lies.fetch_add(1, Ordering::Relaxed);
            stream.set_read_timeout(Some(Duration::from_secs(300))).ok()?;
            // Until the other end gives up.
            let _ = stream.read(&mut [0]);
            return Some(());
        }
        Lie::Raw(bytes) if blocks => {
            lies.fetch_add(1, Ordering::Relaxed);
            stream.write_all(bytes).ok()?;
            return Some(());
        }
        _ => {}
    }
    let (status, mut answer) = http::post(honest, &body)?;
    if let (Lie::Change(change), true) = (lie, blocks) {
        let mut json: Value = serde_json::from_slice(&answer).ok()?;
        let before = json.clone();
        if json["result"].is_object() {
            change(&mut json["result"]);
        }
        if json != before {
            lies.fetch_add(1, Ordering::Relaxed);
        }
        answer = json.to_string().into_bytes();
    }
    let head = format!(
        "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&answer).ok()
}

/// The body of a request.
fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut chunk) = (Vec::new(), [0_u8; 64 * 1024]);
    loop {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(split) = split {
            let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let end = split + 4 + length.unwrap_or(0_usize);
            if bytes.len() >= end {
                return Some(bytes[split + 4..end].to_vec());
            }
        }
        let count = stream.read(&mut chunk).ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// An RLP item, so that a test can change any part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Text(Vec<u8>),
    List(Vec<Self>),
}

impl Item {
    /// Reads the one item that bytes hold.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (item, rest) = Self::take(bytes);
        assert!(rest.is_empty());
        item
    }

    fn take(bytes: &[u8]) -> (Self, &[u8]) {
        let (first, rest) = bytes.split_first().unwrap();
        let long = |base: u8| {
            let size = usize::from(first - base);
            let length = rest[..size].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            (&rest[size..size + length], &rest[size + length..])
        };
        match first {
            0..=0x7f => (Self::Text(vec![*first]), rest),
            0x80..=0xb7 => {
                let (text, rest) = rest.split_at(usize::from(first - 0x80));
                (Self::Text(text.to_vec()), rest)
            }
            0xb8..=0xbf => {
                let (text, rest) = long(0xb7);
                (Self::Text(text.to_vec()), rest)
            }
            0xc0..=0xf7 => {
                let (list, rest) = rest.split_at(usize::from(first - 0xc0));
                (Self::list(list), rest)
            }
            0xf8..=0xff => {
                let (list, rest) = long(0xf7);
                (Self::list(list), rest)
            }
        }
    }

    fn list(mut bytes: &[u8]) -> Self {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let (item, rest) = Self::take(bytes);
            items.push(item);
            bytes = rest;
        }
        Self::List(items)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let (payload, base) = match self {
            Self::Text(text) if text.len() == 1 && text[0] < 0x80 => return text.clone(),
            Self::Text(text) => (text.clone(), 0x80_u8),
            Self::List(items) => (items.iter().flat_map(Self::write).collect(), 0xc0),
        };
        let length = payload.len();
        if length < 56 {
            return [vec![base + length as u8], payload].concat();
        }
        let size: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        [vec![base + 55 + size.len() as u8], size, payload].concat()
    }

    pub(crate) fn items(&mut self) -> &mut Vec<Self> {
        let Self::List(items) = self else { panic!("not a list") };
        items
    }

    /// Changes the last byte of a text; an empty one becomes a one.
    pub(crate) fn flip(&mut self) {
        let Self::Text(text) = self else { panic!("not a text") };
        match text.as_mut_slice() {
            [] => text.push(1),
            // A lone zero byte would be another encoding of nothing.
            [one @ 1] => *one = 3,
            [.., last] => *last ^= 1,
        }
    }
}

/// Changes the block of an answer at a place.
pub(crate) fn change_block(result: &mut Value, place: usize, change: impl Fn(&mut Item)) {
    let Some(item) = result["blocks"].get_mut(place) else { return };
    let bytes = alloy_primitives::hex::decode(item["block"].as_str().unwrap()).unwrap();
    let mut block = Item::read(&bytes);
    change(&mut block);
    item["block"] = json!(alloy_primitives::hex::encode_prefixed(block.write()));
}

/// Height of the block of an answer at a place.
pub(crate) fn number_of(result: &Value, place: usize) -> u64 {
    let bytes = alloy_primitives::hex::decode(result["blocks"][place]["block"].as_str().unwrap()).unwrap();
    let Item::Text(number) = Item::read(&bytes).items()[0].items()[8].clone() else { panic!("not a text") };
    number.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte))
}

/// Hash of the block of an answer at a place, whatever it holds.
pub(crate) fn hash_of(result: &Value, place: usize) -> alloy_primitives::B256 {
    let bytes = alloy_primitives::hex::decode(result["blocks"][place]["block"].as_str().unwrap()).unwrap();
    let mut block = Item::read(&bytes);
    alloy_primitives::keccak256(block.items()[0].write())
}
