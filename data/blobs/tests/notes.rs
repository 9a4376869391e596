//! Notes over loopback: they arrive as they were said, a peer of the version before hears none and may say none, and a flood of them ends.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::sync::Arc;

use crate::support::{
    BLOB_MAX, Chain, Conduct, Provider, Raw, Runner, customer, frame, hello, hello_frame, memory, open, read_frame,
    sample, soon, stored,
};
use alloy_primitives::{Bytes, U256};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use keystead_blobs::{
    ALPN, ALPN_BEFORE, Address, BlobStore, Config, Endpoint, Event, Hello, Limits, NOTES_MAX, NodeId, Note, NoteKind,
    Refusal, Session, SessionError, Violation, serve_with,
    stream::{self, FromCustomer, FromProvider, Link, Streams, acceptor, dial},
};
use tokio::sync::mpsc;

const ACCEPTED: u8 = 0x11;
const PROGRESS: u8 = 0x14;
const READY: u8 = 0x1c;
const NOTE: u8 = 0x1d;

fn note_frame(note: &Note) -> Vec<u8> {
    frame(NOTE, &alloy_rlp::encode(note))
}

/// A raw customer that speaks `alpn` and has said hello; what the provider says.
async fn greet(raw: &Raw, address: &Address, alpn: &[u8], hello: &Hello) -> (Connection, SendStream, RecvStream) {
    let connection = raw.connect(address, alpn).await.unwrap();
    let (mut control, answers) = soon(connection.open_bi()).await.unwrap();
    soon(control.write_all(&hello_frame(hello))).await.unwrap();
    (connection, control, answers)
}

/// A raw provider that has let the next customer in.
async fn let_in(raw: &Raw, accepted: &[u8]) -> (Connection, SendStream, RecvStream) {
    let connection = raw.accept().await;
    let (mut control, mut messages) = soon(connection.accept_bi()).await.unwrap();
    assert_eq!(read_frame(&mut messages).await[0], 0x01);
    soon(control.write_all(accepted)).await.unwrap();
    (connection, control, messages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_arrives_as_it_was_said_and_a_customer_of_version_1_hears_none() {
    let provider = Provider::start(Conduct::Note, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut session = open(&endpoint, &provider.address, 1, &[sample(1, 10)]).await.unwrap();
    let Event::Note(note) = soon(session.next()).await.unwrap() else { panic!("no note") };
    assert_eq!((note.kind, note.unit, note.lease, note.number), (NoteKind::Retry, Some(2), None, 3));
    assert_eq!(note.words(), "the disk? was full");
    assert!(matches!(soon(session.next()).await.unwrap(), Event::Progress(_)));

    let raw = Raw::bind().await;
    let (_connection, _control, mut answers) =
        greet(&raw, &provider.address, ALPN_BEFORE, &hello(2, &[sample(1, 10)])).await;
    assert_eq!(read_frame(&mut answers).await[0], ACCEPTED);
    assert_eq!(read_frame(&mut answers).await[0], PROGRESS, "the note is left out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_version_1_is_reached_and_may_say_no_note() {
    let raw = Raw::bind_as(&[ALPN_BEFORE]).await;
    let (endpoint, address) = (customer().await, raw.address());
    let dial = Session::open(&endpoint, &address, hello(1, &[]), stored(&[]));
    let accepted = frame(ACCEPTED, &[0xc0]);
    let (session, (connection, mut control, _messages)) = tokio::join!(soon(dial), let_in(&raw, &accepted));
    let mut session = session.unwrap();
    assert_eq!(connection.alpn(), ALPN_BEFORE);
    soon(control.write_all(&frame(PROGRESS, &[0xc2, 0x01, 0x02]))).await.unwrap();
    assert!(matches!(soon(session.next()).await.unwrap(), Event::Progress(_)));
    soon(control.write_all(&note_frame(&Note::now(NoteKind::Resumed, 0, "")))).await.unwrap();
    let error = soon(session.next()).await.unwrap_err();
    assert!(matches!(error, SessionError::Peer(Violation::OutOfOrder { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_notes_is_cut_off_after_a_known_number() {
    let raw = Raw::bind_as(&[ALPN, ALPN_BEFORE]).await;
    let (endpoint, address) = (customer().await, raw.address());
    let dial = Session::open(&endpoint, &address, hello(1, &[]), stored(&[]));
    let accepted = frame(ACCEPTED, &[0xc0]);
    let (session, (connection, mut control, _messages)) = tokio::join!(soon(dial), let_in(&raw, &accepted));
    let mut session = session.unwrap();
    assert_eq!(connection.alpn(), ALPN, "the newer one is taken");
    let flood = note_frame(&Note::now(NoteKind::Retry, 1, "again")).repeat(NOTES_MAX as usize + 1);
    // The customer closes in its middle.
    let write = async { drop(control.write_all(&flood).await) };
    let read = async {
        let mut count = 0_u32;
        loop {
            match session.next().await {
                Ok(Event::Note(_)) => count += 1,
                Ok(other) => panic!("{other:?}"),
                Err(error) => break (count, error),
            }
        }
    };
    let ((count, error), ()) = soon(async { tokio::join!(read, write) }).await;
    assert!(
        count == NOTES_MAX && matches!(error, SessionError::Peer(Violation::OutOfOrder { .. })),
        "{count} {error:?}"
    );
}

/// Lets everybody in, says a note and that it is ready.
struct Talker(Arc<dyn BlobStore>);

impl Streams for Talker {
    async fn greet(&self, _: NodeId, _: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        Ok(Arc::clone(&self.0))
    }

    async fn conduct(&self, _: Hello, mut link: Link<FromCustomer>) {
        link.say(&FromProvider::Accepted { holding: None }).await.unwrap();
        link.note(Note::now(NoteKind::Saved, 4, "").of_lease(9)).await.unwrap();
        link.say(&FromProvider::Ready).await.unwrap();
        // Until the customer goes.
        let _ = link.next().await;
    }
}

fn channel_hello() -> Hello {
    let bytes = Bytes::from_static(b"x");
    Hello { order: U256::from(1), job: bytes.clone(), credential: bytes }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_notes_in_version_2_and_none_in_version_1() {
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let ((fetched, _), (ended, _)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let runner = Runner { blob_bytes_max: BLOB_MAX, store: memory(), conduct: Conduct::Hang, fetched, ended };
    let talker = acceptor(Talker(memory()));
    let _server = serve_with(&endpoint, memory(), Chain { customer: None }, runner, vec![talker]);
    let address = endpoint.address().unwrap();

    let here = customer().await;
    let (mut link, holding) = soon(dial(&here, &address, channel_hello(), memory())).await.unwrap();
    assert_eq!(holding, None);
    let FromProvider::Note(note) = soon(link.next()).await.unwrap() else { panic!("no note") };
    assert_eq!((note.kind, note.lease, note.number, note.words()), (NoteKind::Saved, Some(9), 4, ""));
    assert_eq!(soon(link.next()).await.unwrap(), FromProvider::Ready);

    let raw = Raw::bind().await;
    let (_connection, _control, mut answers) = greet(&raw, &address, stream::ALPN_BEFORE, &channel_hello()).await;
    assert_eq!(read_frame(&mut answers).await[0], ACCEPTED);
    assert_eq!(read_frame(&mut answers).await[0], READY, "the note is left out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_to_a_provider_of_version_1_works_and_has_no_note() {
    let raw = Raw::bind_as(&[stream::ALPN_BEFORE]).await;
    let (here, address) = (customer().await, raw.address());
    let accepted = frame(ACCEPTED, &[0xc1, 0xc0]);
    let dial = dial(&here, &address, channel_hello(), memory());
    let (link, (connection, mut control, _messages)) = tokio::join!(soon(dial), let_in(&raw, &accepted));
    let (mut link, _) = link.unwrap();
    assert_eq!(connection.alpn(), stream::ALPN_BEFORE);
    soon(control.write_all(&frame(READY, &[0xc0]))).await.unwrap();
    assert_eq!(soon(link.next()).await.unwrap(), FromProvider::Ready);
    soon(control.write_all(&note_frame(&Note::now(NoteKind::Resumed, 0, "")))).await.unwrap();
    let error = soon(link.next()).await.unwrap_err();
    assert!(matches!(error, SessionError::Peer(Violation::OutOfOrder { .. })), "{error:?}");
}
