//! Questions of strangers: what is answered, and what neither side can do to the other.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use crate::support::{self, Chain, Conduct, Raw, Runner, customer, frame, memory, read_frame, soon, whole_session};
use alloy_primitives::Bytes;
use keystead_blobs::{
    Address, Availability, Config, Endpoint, INQUIRY_ALPN, Inform, Inquiries, Inquiry, Limits, QUESTIONS_MAX,
    RECORD_BYTES_MAX, Server, SessionError, State, Unavailable, serve_with,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const NAME: [u8; 32] = [7; 32];

/// An offer with one record.
struct Offer {
    record: Bytes,
}

impl Inform for Offer {
    fn record(&self, name: [u8; 32]) -> Option<Bytes> {
        (name == NAME).then(|| self.record.clone())
    }

    fn state(&self) -> State {
        state()
    }
}

fn state() -> State {
    State {
        availability: Availability::Taking,
        reason: Default::default(),
        lanes: 1,
        lanes_free: 1,
        waiting: 0,
        queue_ms: 0,
        memory_mib: 512,
    }
}

struct Asked {
    address: Address,
    _endpoint: Endpoint,
    _server: Server,
}

async fn provider(record: Vec<u8>, limits: Limits) -> Asked {
    let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    let store = memory();
    let (fetched, _) = mpsc::unbounded_channel();
    let (ended, _) = mpsc::unbounded_channel();
    let runner = Runner {
        blob_bytes_max: support::BLOB_MAX,
        store: Arc::clone(&store),
        conduct: Conduct::Deliver,
        fetched,
        ended,
    };
    let desk = Inquiries::new(Arc::new(Offer { record: record.into() }));
    let server = serve_with(&endpoint, store, Chain { customer: None }, runner, vec![Arc::new(desk)]);
    Asked { address: endpoint.address().unwrap(), _endpoint: endpoint, _server: server }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_is_told_the_record_and_the_state_and_sessions_go_on_beside() {
    let record = vec![9; RECORD_BYTES_MAX];
    let asked = provider(record.clone(), Limits::default()).await;
    let endpoint = customer().await;
    let inquiry = soon(Inquiry::open(&endpoint, &asked.address)).await.unwrap();
    assert_eq!(soon(inquiry.record(NAME)).await.unwrap().unwrap(), record);
    assert_eq!(soon(inquiry.record([8; 32])).await.unwrap(), None);
    let (said, took) = soon(inquiry.state()).await.unwrap();
    assert_eq!(said, state());
    assert!(took > Duration::ZERO);
    whole_session(&asked.address, 1).await;
    assert_eq!(soon(inquiry.state()).await.unwrap().0, state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_without_an_offer_does_not_speak_the_protocol() {
    let provider = support::Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let refused = soon(Inquiry::open(&endpoint, &provider.address)).await;
    assert!(matches!(refused, Err(SessionError::Unavailable(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_so_many_questions_and_so_much_time_and_no_more() {
    let limits = Limits { hello_timeout: Duration::from_millis(700), ..Limits::default() };
    let asked = provider(vec![1], limits).await;
    let endpoint = customer().await;
    let inquiry = soon(Inquiry::open(&endpoint, &asked.address)).await.unwrap();
    for _ in 0..QUESTIONS_MAX {
        soon(inquiry.state()).await.unwrap();
    }
    assert!(matches!(soon(inquiry.state()).await, Err(SessionError::Unavailable(_))));
    // Silence.
    let raw = Raw::bind().await;
    let start = Instant::now();
    let silent = raw.connect(&asked.address, INQUIRY_ALPN).await.unwrap();
    soon(silent.closed()).await;
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_all_places() {
    let limits = Limits { handshakes_max: 64, handshakes_per_ip_max: 2, ..Limits::default() };
    let asked = provider(vec![1], limits).await;
    let endpoint = customer().await;
    let held = [
        soon(Inquiry::open(&endpoint, &asked.address)).await.unwrap(),
        soon(Inquiry::open(&endpoint, &asked.address)).await.unwrap(),
    ];
    for inquiry in &held {
        soon(inquiry.state()).await.unwrap();
    }
    let third = soon(Inquiry::open(&endpoint, &asked.address)).await;
    assert!(matches!(third, Err(SessionError::Unavailable(_))), "{third:?}");
    drop(held);
    let again = async {
        while Inquiry::open(&endpoint, &asked.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_asker_is_disconnected_and_the_next_one_is_answered() {
    let asked = provider(vec![1], Limits::default()).await;
    let raw = Raw::bind().await;
    let too_long = u32::MAX.to_be_bytes().to_vec();
    let trailing = [frame(0x32, &[0xc0]), vec![0]].concat();
    for bytes in
        [frame(0x01, &[0xc0]), frame(0x32, &[]), frame(0x31, &[0xc1, 0x05]), frame(0x42, &[0xc0]), too_long, trailing]
    {
        let connection = raw.connect(&asked.address, INQUIRY_ALPN).await.unwrap();
        let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
        soon(send.write_all(&bytes)).await.unwrap();
        let _ = send.finish();
        match soon(connection.closed()).await {
            iroh::endpoint::ConnectionError::ApplicationClosed(closed) => {
                assert_eq!(closed.error_code.into_inner(), 3, "{bytes:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    let endpoint = customer().await;
    let inquiry = soon(Inquiry::open(&endpoint, &asked.address)).await.unwrap();
    soon(inquiry.state()).await.unwrap();
}

/// Answers every question of one connection with these bytes.
async fn liar(bytes: Vec<u8>) -> (Address, tokio::task::JoinHandle<()>) {
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal).clear_ip_transports();
    let builder = builder.alpns(vec![INQUIRY_ALPN.to_vec()]).bind_addr("127.0.0.1:0").unwrap();
    let raw = Raw { endpoint: builder.bind().await.unwrap() };
    let address = raw.address();
    let task = tokio::spawn(async move {
        let connection = raw.accept().await;
        let (mut send, mut recv) = soon(connection.accept_bi()).await.unwrap();
        read_frame(&mut recv).await;
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        connection.closed().await;
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lying_provider_is_found_out_and_nothing_of_its_answer_is_kept() {
    let long = |bytes: usize| frame(0x41, &alloy_rlp::encode(vec![Bytes::from(vec![1; bytes])]));
    let cases = [
        ("a record that is too long", long(RECORD_BYTES_MAX + 1)),
        ("the state", frame(0x42, &[0xc7, 0x80, 0x80, 0x01, 0x01, 0x80, 0x80, 0x80])),
        ("an unknown kind", frame(0x43, &[0xc0])),
        ("a length without end", u32::MAX.to_be_bytes().to_vec()),
        ("two answers", [long(3), long(3)].concat()),
        ("nothing", Vec::new()),
        ("half a message", long(100)[..50].to_vec()),
    ];
    for (what, bytes) in cases {
        let (address, task) = liar(bytes).await;
        let endpoint = customer().await;
        let inquiry = soon(Inquiry::open(&endpoint, &address)).await.unwrap();
        let answer = soon(inquiry.record(NAME)).await;
        assert!(matches!(answer, Err(SessionError::Peer(_))), "{what}: {answer:?}");
        soon(task).await.unwrap();
    }
    let (address, task) = liar(long(RECORD_BYTES_MAX)).await;
    let endpoint = customer().await;
    let inquiry = soon(Inquiry::open(&endpoint, &address)).await.unwrap();
    assert_eq!(soon(inquiry.record(NAME)).await.unwrap().unwrap().len(), RECORD_BYTES_MAX);
    drop(inquiry);
    soon(task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_never_answers_costs_the_limit_and_no_more() {
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal).clear_ip_transports();
    let builder = builder.alpns(vec![INQUIRY_ALPN.to_vec()]).bind_addr("127.0.0.1:0").unwrap();
    let raw = Raw { endpoint: builder.bind().await.unwrap() };
    let address = raw.address();
    let silent = tokio::spawn(async move {
        let connection = raw.accept().await;
        connection.closed().await;
    });
    let limits = Limits { hello_timeout: Duration::from_millis(300), ..Limits::default() };
    let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    let inquiry = soon(Inquiry::open(&endpoint, &address)).await.unwrap();
    let answer = soon(inquiry.state()).await;
    assert!(matches!(answer, Err(SessionError::Unavailable(Unavailable::TimedOut { .. }))), "{answer:?}");
    drop(inquiry);
    soon(silent).await.unwrap();
}
