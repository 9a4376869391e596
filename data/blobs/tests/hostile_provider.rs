//! A customer meets providers that lie, stall and vanish: it says what was wrong and keeps nothing.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::time::Duration;

use crate::support::{BLOB_MAX, Raw, answer, frame, hello, mark, memory, read_frame, sample, soon, stored, want_frame};
use alloy_primitives::B256;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use keystead_blobs::{
    Config, Endpoint, Event, GROUP_BYTES, Hash, Limits, Session, SessionError, Unavailable, Violation, Want,
};

/// A raw provider that has read the customer's hello.
struct Liar {
    connection: Connection,
    control: SendStream,
    _messages: RecvStream,
}

impl Liar {
    async fn accept(raw: &Raw) -> Self {
        let connection = raw.accept().await;
        let (control, mut messages) = soon(connection.accept_bi()).await.unwrap();
        assert_eq!(read_frame(&mut messages).await[0], 0x01);
        Self { connection, control, _messages: messages }
    }

    async fn say(&mut self, bytes: &[u8]) {
        soon(self.control.write_all(bytes)).await.unwrap();
    }
}

/// A customer and a raw provider; `greeting` is what the provider answers to the hello.
async fn meet(greeting: &[u8], limits: Limits) -> (Result<Session, SessionError>, Liar, Raw, Endpoint) {
    let raw = Raw::bind().await;
    let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    let inputs = [sample(1, 2 * GROUP_BYTES)];
    let address = raw.address();
    let offered = stored(&inputs);
    offered.store.put(b"private").unwrap();
    let dial = Session::open(&endpoint, &address, hello(1, &inputs), offered);
    let liar = async {
        let mut liar = Liar::accept(&raw).await;
        liar.say(greeting).await;
        liar
    };
    let (session, liar) = tokio::join!(soon(dial), liar);
    (session, liar, raw, endpoint)
}

fn accepted() -> Vec<u8> {
    frame(0x11, &[0xc0])
}

fn delivered(result: Hash) -> Vec<u8> {
    let body = [alloy_rlp::encode(mark(9)), alloy_rlp::encode(B256::from(result))].concat();
    let mut list = Vec::new();
    alloy_rlp::Header { list: true, payload_length: body.len() }.encode(&mut list);
    frame(0x16, &[list, body].concat())
}

fn committed() -> Vec<u8> {
    frame(0x15, &[[0xe1].as_slice(), &alloy_rlp::encode(mark(7))].concat())
}

async fn close_code(connection: &Connection) -> u64 {
    match soon(connection.closed()).await {
        iroh::endpoint::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("expected an application close: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_answer_to_the_hello_is_named() {
    let progress_first = frame(0x14, &[0xc2, 0x01, 0x02]);
    type Check = fn(Violation) -> bool;
    let cases: [(Vec<u8>, Check); 4] = [
        (vec![0xff; 40], |v| matches!(v, Violation::MessageTooLarge { .. })),
        (frame(0x12, b"garbage"), |v| matches!(v, Violation::Malformed { what: "refused" })),
        (frame(0x01, &[0xc0]), |v| matches!(v, Violation::UnknownKind { kind: 1 })),
        (progress_first, |v| matches!(v, Violation::OutOfOrder { .. })),
    ];
    for (greeting, expected) in cases {
        let (session, liar, _raw, _endpoint) = meet(&greeting, Limits::default()).await;
        let Err(SessionError::Peer(violation)) = session else { panic!("expected a violation: {session:?}") };
        assert!(expected(violation), "{violation:?}");
        assert_eq!(close_code(&liar.connection).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_never_answers_runs_out_of_time() {
    let limits = Limits { hello_timeout: Duration::from_millis(100), ..Limits::default() };
    for greeting in [&[][..], &[0, 0, 0]] {
        let (session, liar, _raw, _endpoint) = meet(greeting, limits).await;
        let Err(SessionError::Unavailable(Unavailable::TimedOut { .. })) = session else {
            panic!("expected a timeout: {session:?}")
        };
        assert_eq!(close_code(&liar.connection).await, 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_out_of_order_end_the_session() {
    let cases = [
        delivered(Hash::of(b"")),
        [committed(), committed()].concat(),
        [committed(), delivered(Hash::of(b"")), delivered(Hash::of(b""))].concat(),
        accepted(),
        [frame(0x14, &[0xc2, 0x02, 0x03]), frame(0x14, &[0xc2, 0x01, 0x03])].concat(),
        frame(0x14, &[0xc2, 0x04, 0x03]),
        vec![0xff; 8],
    ];
    for messages in cases {
        let (session, mut liar, _raw, _endpoint) = meet(&accepted(), Limits::default()).await;
        let mut session = session.unwrap();
        liar.say(&messages).await;
        let error = loop {
            if let Err(error) = soon(session.next()).await {
                break error;
            }
        };
        assert!(matches!(error, SessionError::Peer(_)), "{error:?}");
        assert_eq!(close_code(&liar.connection).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wants_are_answered_only_for_offered_blobs_and_possible_offsets() {
    let (session, liar, _raw, _endpoint) = meet(&accepted(), Limits::default()).await;
    let mut session = session.unwrap();
    let input = sample(1, 2 * GROUP_BYTES);
    let (mut send, mut recv) = soon(liar.connection.open_bi()).await.unwrap();
    let half = GROUP_BYTES as u64;
    soon(send.write_all(&want_frame(&[(Hash::of(b"private"), 0), (Hash::of(&input), half)]))).await.unwrap();
    send.finish().unwrap();
    let got = soon(recv.read_to_end(1 << 20)).await.unwrap();
    assert_eq!(got, [&[0], &answer(&input)[..9 + 64], &input[GROUP_BYTES..]].concat());
    assert_eq!(session.sent().borrow().bytes, half);
    let (mut send, _recv) = soon(liar.connection.open_bi()).await.unwrap();
    soon(send.write_all(&want_frame(&[(Hash::of(&input), half + 1)]))).await.unwrap();
    send.finish().unwrap();
    let error = soon(session.next()).await.unwrap_err();
    assert!(matches!(error, SessionError::Peer(Violation::WrongOffset { .. })), "{error:?}");
    assert_eq!(close_code(&liar.connection).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_output_bytes_are_not_kept() {
    let output = sample(5, 3 * GROUP_BYTES);
    let mut wrong = answer(&output);
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    for (bytes, bytes_max) in [(wrong, BLOB_MAX), (answer(&output), 3 * GROUP_BYTES as u64 - 1)] {
        let (session, mut liar, _raw, _endpoint) = meet(&accepted(), Limits::default()).await;
        let mut session = session.unwrap();
        liar.say(&[committed(), delivered(Hash::of(&output))].concat()).await;
        assert!(matches!(soon(session.next()).await.unwrap(), Event::Committed(_)));
        assert!(matches!(soon(session.next()).await.unwrap(), Event::Delivered(_)));
        let store = memory();
        let serve = async {
            let (mut send, mut recv) = soon(liar.connection.accept_bi()).await.unwrap();
            assert_eq!(read_frame(&mut recv).await, want_frame(&[(Hash::of(&output), 0)])[4..]);
            // The customer may stop reading in the middle.
            let _ = soon(send.write_all(&bytes)).await;
            let _ = send.finish();
        };
        let want = Want { hash: Hash::of(&output), bytes_max };
        let mut ignore = |_| {};
        let (fetched, ()) = tokio::join!(soon(session.fetch(&store, vec![want], &mut ignore)), serve);
        let error = fetched.unwrap_err();
        let right = matches!(error, SessionError::Peer(Violation::WrongBytes { group: 2, .. }))
            || matches!(error, SessionError::Peer(Violation::BlobTooLarge { max_bytes: 196_607, .. }));
        assert!(right, "{error:?}");
        assert!(!store.has(Hash::of(&output)).unwrap());
        assert_eq!(close_code(&liar.connection).await, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_vanishes_is_noticed_everywhere() {
    let (session, liar, _raw, _endpoint) = meet(&accepted(), Limits::default()).await;
    let mut session = session.unwrap();
    liar.connection.close(0_u32.into(), b"");
    assert!(matches!(soon(session.next()).await, Err(SessionError::Unavailable(Unavailable::Disconnected { .. }))));
    let want = Want { hash: Hash::of(b"x"), bytes_max: 1 };
    let fetched = soon(session.fetch(&memory(), vec![want], &mut |_| {})).await;
    assert!(matches!(fetched, Err(SessionError::Unavailable(Unavailable::Disconnected { .. }))), "{fetched:?}");
    assert!(soon(session.finish()).await.is_err());
}
