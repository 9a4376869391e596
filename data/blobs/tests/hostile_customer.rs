//! A provider meets customers that lie, stall, flood and vanish: it says what was wrong, keeps nothing, and goes on.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::{sync::Arc, time::Duration};

use crate::support::{
    self, Conduct, Provider, Raw, RawSession, Runner, answer, eventually, frame, hello, hello_frame, memory,
    read_frame, reversed, sample, soon, want_frame, whole_session,
};
use keystead_blobs::{
    ALPN, Authorise, BlobStore, Capacity, Config, DiskStore, Durability, Endpoint, GROUP_BYTES, Hash, Hello, Limits,
    NodeId, Refusal, RefusalCode, SessionError, Unavailable, Violation,
};
use tempfile::TempDir;
use tokio::{
    net::UdpSocket,
    sync::{Notify, mpsc},
};

/// Time limits that a test can wait for.
fn hasty() -> Limits {
    let short = Duration::from_millis(400);
    Limits { handshake_timeout: short, hello_timeout: short, ..Limits::default() }
}

fn violation(error: SessionError) -> Violation {
    match error {
        SessionError::Peer(violation) => violation,
        other => panic!("expected a violation: {other:?}"),
    }
}

fn unavailable(error: SessionError) -> Unavailable {
    match error {
        SessionError::Unavailable(unavailable) => unavailable,
        other => panic!("expected an Unavailable: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_not_spoken() {
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let raw = Raw::bind().await;
    for alpn in [b"keystead/job/0".as_slice(), b"h3", b"/iroh-bytes/4"] {
        let error = raw.connect(&provider.address, alpn).await.unwrap_err();
        assert!(error.contains("120"), "{error}");
        let ended = provider.next_end().await;
        assert_eq!(ended.customer, None);
        assert!(matches!(unavailable(ended.outcome.unwrap_err()), Unavailable::OtherProtocol));
    }
    whole_session(&provider.address, 1).await;
}

/// Everything that can be wrong with the first message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_first_message_is_named_and_closes_the_connection() {
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let raw = Raw::bind().await;
    let good = hello_frame(&hello(1, &[]));
    type Check = fn(Violation) -> bool;
    let cases: [(Vec<u8>, Check); 7] = [
        (vec![0xff; 64], |v| matches!(v, Violation::MessageTooLarge { got_bytes: u32::MAX, max_bytes: 65_536 })),
        (65_537_u32.to_be_bytes().to_vec(), |v| matches!(v, Violation::MessageTooLarge { got_bytes: 65_537, .. })),
        (vec![0; 4], |v| matches!(v, Violation::Malformed { what: "empty message" })),
        (frame(0x7f, &[0xc0]), |v| matches!(v, Violation::UnknownKind { kind: 0x7f })),
        (frame(0x01, b"garbage"), |v| matches!(v, Violation::Malformed { what: "hello" })),
        (frame(0x03, &[0xc0]), |v| matches!(v, Violation::OutOfOrder { .. })),
        (good[..good.len() - 1].to_vec(), |v| matches!(v, Violation::TooFewBytes { what: "message" })),
    ];
    for (bytes, expected) in cases {
        let connection = raw.connect(&provider.address, ALPN).await.unwrap();
        let (mut control, answers) = soon(connection.open_bi()).await.unwrap();
        soon(control.write_all(&bytes)).await.unwrap();
        control.finish().unwrap();
        let ended = provider.next_end().await;
        assert_eq!(ended.customer, Some(raw.id()));
        let violation = violation(ended.outcome.unwrap_err());
        assert!(expected(violation), "{violation:?}");
        let session = RawSession { connection, control, answers };
        assert_eq!(session.close_code().await, 3);
    }
    assert_eq!((provider.server.sessions(), provider.server.handshakes()), (0, 0));
    whole_session(&provider.address, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_later_message_is_named_and_closes_the_connection() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let raw = Raw::bind().await;
    type Check = fn(Violation) -> bool;
    let cases: [(Vec<u8>, Check); 4] = [
        (hello_frame(&hello(1, &[])), |v| matches!(v, Violation::OutOfOrder { .. })),
        (frame(0x02, &[0xc1, 0x05]), |v| matches!(v, Violation::Malformed { what: "cancel" })),
        (frame(0x15, &[0xc0]), |v| matches!(v, Violation::UnknownKind { kind: 0x15 })),
        (Vec::new(), |v| matches!(v, Violation::TooFewBytes { .. })),
    ];
    for (bytes, expected) in cases {
        let mut session = RawSession::open(&raw, &provider.address, &hello(1, &[])).await;
        soon(session.control.write_all(&bytes)).await.unwrap();
        session.control.finish().unwrap();
        let violation = violation(provider.next_error().await);
        assert!(expected(violation), "{violation:?}");
        assert_eq!(session.close_code().await, 3);
    }
    assert_eq!(provider.server.sessions(), 0);
}

/// Says nothing; says half a message; opens the stream and leaves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_greeting_runs_out_of_time() {
    let mut provider = Provider::start(Conduct::Deliver, None, hasty(), memory()).await;
    let raw = Raw::bind().await;
    for bytes in [&[][..], &[0, 0], &hello_frame(&hello(1, &[]))[..10]] {
        let connection = raw.connect(&provider.address, ALPN).await.unwrap();
        let (mut control, answers) = soon(connection.open_bi()).await.unwrap();
        soon(control.write_all(bytes)).await.unwrap();
        let error = unavailable(provider.next_error().await);
        assert!(matches!(error, Unavailable::TimedOut { .. }), "{error:?}");
        assert_eq!(RawSession { connection, control, answers }.close_code().await, 4);
    }
    let connection = raw.connect(&provider.address, ALPN).await.unwrap();
    drop(connection);
    assert!(matches!(unavailable(provider.next_error().await), Unavailable::Disconnected { .. }));
    assert_eq!(provider.server.handshakes(), 0);
}

/// A relay of our own passes the first datagram and swallows the rest, as a source with a false address does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_completes_runs_out_of_time() {
    let mut provider = Provider::start(Conduct::Deliver, None, hasty(), memory()).await;
    let middle = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let through = keystead_blobs::Address::new(provider.address.id(), vec![middle.local_addr().unwrap()]).unwrap();
    let raw = Raw::bind().await;
    let dial = tokio::spawn(async move { raw.connect(&through, ALPN).await });
    let mut datagram = [0; 2048];
    let (length, _) = soon(middle.recv_from(&mut datagram)).await.unwrap();
    soon(middle.send_to(&datagram[..length], provider.address.sockets()[0])).await.unwrap();
    let ended = provider.next_end().await;
    assert_eq!(ended.customer, None);
    let error = unavailable(ended.outcome.unwrap_err());
    assert!(matches!(error, Unavailable::TimedOut { what: "handshake", .. }), "{error:?}");
    assert_eq!(provider.server.handshakes(), 0);
    dial.abort();
    // Datagrams that are not QUIC at all.
    for length in [0, 1, 20, 1200, 2000] {
        soon(middle.send_to(&sample(3, length), provider.address.sockets()[0])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_one_address_do_not_pile_up() {
    let limits = Limits { handshakes_per_ip_max: 2, ..Limits::default() };
    let mut provider = Provider::start(Conduct::Deliver, None, limits, memory()).await;
    let raw = Raw::bind().await;
    let idle =
        [raw.connect(&provider.address, ALPN).await.unwrap(), raw.connect(&provider.address, ALPN).await.unwrap()];
    assert!(raw.connect(&provider.address, ALPN).await.is_err());
    drop(idle);
    for _ in 0..2 {
        provider.next_error().await;
    }
    assert_eq!(provider.server.handshakes(), 0);
    whole_session(&provider.address, 1).await;
}

/// When half of the places are taken, newcomers must prove their address first, and still get in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_must_prove_its_address_and_is_served() {
    let limits = Limits { handshakes_max: 2, ..Limits::default() };
    let provider = Provider::start(Conduct::Deliver, None, limits, memory()).await;
    let raw = Raw::bind().await;
    let _idle = raw.connect(&provider.address, ALPN).await.unwrap();
    eventually("the idle connection is counted", || provider.server.handshakes() == 1).await;
    whole_session(&provider.address, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_cannot_be_opened() {
    let provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let raw = Raw::bind().await;
    let session = RawSession::open(&raw, &provider.address, &hello(1, &[])).await;
    let mut open = Vec::new();
    for _ in 1..keystead_blobs::STREAMS_MAX {
        let (mut send, recv) = soon(session.connection.open_bi()).await.unwrap();
        soon(send.write_all(&[0])).await.unwrap();
        open.push((send, recv));
    }
    let mut ninth = std::pin::pin!(session.connection.open_bi());
    let pending = std::future::poll_fn(|context| std::task::Poll::Ready(ninth.as_mut().poll(context).is_pending()));
    assert!(pending.await);
    let mut uni = std::pin::pin!(session.connection.open_uni());
    let pending = std::future::poll_fn(|context| std::task::Poll::Ready(uni.as_mut().poll(context).is_pending()));
    assert!(pending.await);
}

/// What a lying customer answers when the provider wants one blob.
struct Lie {
    name: &'static str,
    answer: Vec<u8>,
    then: Then,
    expected: fn(&SessionError) -> bool,
}

/// How the lie ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Finish,
    Reset,
    Close,
    Stall,
}

fn lies(input: &[u8]) -> Vec<Lie> {
    let honest = answer(input);
    let head = 9 + 32 * input.len().div_ceil(GROUP_BYTES);
    let alter = |position: usize| {
        let mut answer = honest.clone();
        answer[position] ^= 1;
        answer
    };
    let sized = |size: u64| [[1].as_slice(), &size.to_be_bytes(), &honest[9..]].concat();
    let lie = |name, answer, then, expected| Lie { name, answer, then, expected };
    vec![
        lie("first byte altered", alter(head), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongBytes { group: 0, .. }))
        }),
        lie("last byte altered", alter(honest.len() - 1), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongBytes { group: 20, .. }))
        }),
        lie("outline altered", alter(9 + 40), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongOutline { .. }))
        }),
        lie("another blob", answer(&sample(77, input.len())), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongOutline { .. }))
        }),
        lie("size of an exabyte", sized(1 << 60), Then::Stall, |error| {
            matches!(error, SessionError::Peer(Violation::BlobTooLarge { max_bytes: support::BLOB_MAX, .. }))
        }),
        lie("one byte less in the size", sized(input.len() as u64 - 1), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongBytes { .. }))
        }),
        lie("size zero", sized(0), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::WrongOutline { .. }))
        }),
        lie("no such status", [[7].as_slice(), &honest[1..]].concat(), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::Malformed { what: "answer" }))
        }),
        lie("nothing", Vec::new(), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::TooFewBytes { .. }))
        }),
        lie("too few bytes", honest[..honest.len() - 1].to_vec(), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::TooFewBytes { what: "blob" }))
        }),
        lie("cut outline", honest[..head - 1].to_vec(), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::TooFewBytes { what: "outline" }))
        }),
        lie("one byte too many", [honest.as_slice(), &[0]].concat(), Then::Finish, |error| {
            matches!(error, SessionError::Peer(Violation::TooManyBytes { .. }))
        }),
        lie("not served", vec![0], Then::Finish, |error| {
            matches!(error, SessionError::Unavailable(Unavailable::NotServed { .. }))
        }),
        lie("reset in the middle", honest[..honest.len() / 2].to_vec(), Then::Reset, |error| {
            matches!(error, SessionError::Unavailable(Unavailable::Stopped { code: 42 }))
        }),
        lie("gone in the middle", honest[..honest.len() / 2].to_vec(), Then::Close, |error| {
            matches!(error, SessionError::Unavailable(Unavailable::Disconnected { .. }))
        }),
        lie("stalls in the middle", honest[..honest.len() / 2].to_vec(), Then::Stall, |error| {
            matches!(error, SessionError::Unavailable(Unavailable::TimedOut { what: "blob", .. }))
        }),
    ]
}

/// One server meets every lie. The blob must not appear, and what a lie left must be verified bytes only; at the end an
/// honest customer of the same order resumes and completes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_about_a_blob_is_stored_and_the_server_goes_on() {
    let folder = TempDir::new().unwrap();
    let disk = DiskStore::open(folder.path(), Capacity::default(), Durability::Lazy).unwrap();
    let limits = Limits { stall_timeout: Duration::from_millis(600), ..Limits::default() };
    let mut provider = Provider::start(Conduct::Deliver, None, limits, Arc::new(disk.clone())).await;
    let input = sample(1, 20 * GROUP_BYTES + 10);
    let name = Hash::of(&input);
    let inputs = [input.clone()];
    let raw = Raw::bind().await;
    for Lie { name: lie, answer, then, expected } in lies(&input) {
        // Lies are told from the beginning of the blob, so earlier parts must not shorten the want.
        disk.sweep_partials().unwrap();
        let session = RawSession::open(&raw, &provider.address, &hello(1, &inputs)).await;
        let (mut send, want) = session.next_want().await;
        assert_eq!(want, want_frame(&[(name, 0)])[4..], "{lie}");
        // The provider may stop reading in the middle of a lie.
        let _ = soon(send.write_all(&answer)).await;
        match then {
            Then::Finish => drop(send.finish()),
            Then::Reset => drop(send.reset(42_u32.into())),
            Then::Close => {
                eventually("the provider stored a group", || disk.used_bytes() > 0).await;
                session.connection.close(0_u32.into(), b"");
            }
            Then::Stall => {}
        }
        let outcome = if then == Then::Close {
            // The handler is mostly dropped with the connection, so only the session's end always tells.
            let error = provider.next_error().await;
            while provider.fetched.try_recv().is_ok() {}
            error
        } else {
            let error = soon(provider.fetched.recv()).await.unwrap().unwrap_err();
            let ended = provider.next_end().await.outcome;
            let same =
                matches!((&error, &ended), (SessionError::Peer(told), Err(SessionError::Peer(ended))) if told == ended);
            assert!(same || ended.is_ok(), "{lie}: {error:?} {ended:?}");
            error
        };
        assert!(expected(&outcome), "{lie}: {outcome:?}");
        if matches!(outcome, SessionError::Peer(Violation::TooManyBytes { .. })) {
            // The blob was complete and verified before the byte that is too much; only the peer is no longer trusted.
            assert_eq!(disk.get(name, support::BLOB_MAX).unwrap(), input);
            assert!(disk.delete(name).unwrap());
        }
        assert!(!disk.has(name).unwrap(), "{lie}");
        if matches!(outcome, SessionError::Peer(Violation::WrongBytes { .. })) {
            eventually("the part is discarded", || disk.used_bytes() == 0).await;
        }
        if matches!(outcome, SessionError::Peer(_)) {
            assert_eq!(session.close_code().await, 3, "{lie}");
        }
        eventually("the session's place is free", || provider.server.sessions() == 0).await;
    }
    whole_session(&provider.address, 2).await;
}

/// The same for a blob of one group, whose size nothing proves but its hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_blob_of_a_false_size_is_noticed() {
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let input = sample(1, 100);
    let inputs = [input.clone()];
    let raw = Raw::bind().await;
    for size in [99_u64, 101] {
        let session = RawSession::open(&raw, &provider.address, &hello(1, &inputs)).await;
        let (mut send, _) = session.next_want().await;
        let bytes = [[1].as_slice(), &size.to_be_bytes(), &input, &[0]].concat();
        soon(send.write_all(&bytes)).await.unwrap();
        send.finish().unwrap();
        let error = soon(provider.fetched.recv()).await.unwrap().unwrap_err();
        assert!(matches!(error, SessionError::Peer(Violation::WrongBytes { group: 0, .. })), "{error:?}");
        assert!(!provider.store.has(Hash::of(&input)).unwrap());
        assert_eq!(session.close_code().await, 3);
        provider.next_end().await;
    }
}

/// A customer that breaks off leaves the verified beginning, and only that; the next session wants the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verified_beginning_survives_a_lost_connection() {
    let folder = TempDir::new().unwrap();
    let disk = DiskStore::open(folder.path(), Capacity::default(), Durability::Lazy).unwrap();
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), Arc::new(disk.clone())).await;
    let input = sample(1, 40 * GROUP_BYTES);
    let (name, inputs) = (Hash::of(&input), [input.clone()]);
    let raw = Raw::bind().await;
    let session = RawSession::open(&raw, &provider.address, &hello(1, &inputs)).await;
    let (mut send, _) = session.next_want().await;
    let head = 9 + 32 * 40;
    soon(send.write_all(&answer(&input)[..head + 20 * GROUP_BYTES + 5])).await.unwrap();
    let part = folder.path().join(format!("partial/{name}.data"));
    let batch = 16 * GROUP_BYTES as u64;
    eventually("a batch is on disk", || part.metadata().is_ok_and(|data| data.len() == batch)).await;
    session.connection.close(0_u32.into(), b"");
    assert!(matches!(unavailable(provider.next_error().await), Unavailable::Disconnected { .. }));
    // The handler may have noticed, too.
    while provider.fetched.try_recv().is_ok() {}
    let session = RawSession::open(&raw, &provider.address, &hello(1, &inputs)).await;
    let (mut send, want) = session.next_want().await;
    assert_eq!(want, want_frame(&[(name, batch)])[4..]);
    let rest = answer(&input);
    soon(send.write_all(&rest[..head])).await.unwrap();
    soon(send.write_all(&rest[head + 16 * GROUP_BYTES..])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(provider.fetched.recv()).await.unwrap().unwrap(), 24 * GROUP_BYTES as u64);
    assert_eq!(disk.get(name, support::BLOB_MAX).unwrap(), input);
}

/// Wants that no receiver can have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_want_is_named_and_closes_the_connection() {
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let raw = Raw::bind().await;
    let empty = Hash::of(b"");
    let many = vec![(empty, 0); keystead_blobs::WANTS_MAX + 1];
    type Check = fn(Violation) -> bool;
    let cases: [(Vec<u8>, Check); 6] = [
        (want_frame(&[(empty, 1)]), |v| matches!(v, Violation::WrongOffset { offset_bytes: 1, size_bytes: 0, .. })),
        (want_frame(&many), |v| matches!(v, Violation::Malformed { .. })),
        (want_frame(&[]), |v| matches!(v, Violation::Malformed { .. })),
        (vec![0xff; 8], |v| matches!(v, Violation::MessageTooLarge { .. })),
        ([want_frame(&[(empty, 0)]), vec![1]].concat(), |v| matches!(v, Violation::TooManyBytes { what: "want" })),
        (Vec::new(), |v| matches!(v, Violation::TooFewBytes { what: "want" })),
    ];
    for (bytes, expected) in cases {
        // A job without inputs delivers the empty list at once.
        let mut session = RawSession::open(&raw, &provider.address, &hello(1, &[])).await;
        while read_frame(&mut session.answers).await[0] != 0x16 {}
        let (mut send, _recv) = soon(session.connection.open_bi()).await.unwrap();
        soon(send.write_all(&bytes)).await.unwrap();
        send.finish().unwrap();
        let violation = violation(provider.next_error().await);
        assert!(expected(violation), "{violation:?}");
        assert_eq!(session.close_code().await, 3);
    }
    assert_eq!(provider.server.sessions(), 0);
}

/// A customer that asks for an output and never reads it loses that stream, not the provider its memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let limits = Limits { stall_timeout: Duration::from_millis(600), ..Limits::default() };
    let provider = Provider::start(Conduct::Deliver, None, limits, memory()).await;
    let input = sample(1, 8 << 20);
    let raw = Raw::bind().await;
    let mut session = RawSession::open(&raw, &provider.address, &hello(1, std::slice::from_ref(&input))).await;
    let (mut send, _) = session.next_want().await;
    soon(send.write_all(&answer(&input))).await.unwrap();
    send.finish().unwrap();
    while read_frame(&mut session.answers).await[0] != 0x16 {}
    let output = Hash::of(&reversed(&input));
    let mut unread = session.want(&[(output, 0)]).await;
    let reset = soon(unread.received_reset()).await.unwrap();
    assert_eq!(reset.map(|code| code.into_inner()), Some(4));
    // The session goes on: the same blob is served to the same customer when it reads.
    let mut read = session.want(&[(output, 127 * GROUP_BYTES as u64)]).await;
    let bytes = soon(read.read_to_end(1 << 20)).await.unwrap();
    assert_eq!(bytes[9 + 128 * 32..], reversed(&input)[127 * GROUP_BYTES..]);
    // And what is not an output looks like what is not there.
    let mut denied = session.want(&[(Hash::of(&input), 0), (Hash::of(b"absent"), 0)]).await;
    assert_eq!(soon(denied.read_to_end(9)).await.unwrap(), [0, 0]);
    drop(session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_that_vanishes_without_a_word_is_noticed() {
    let limits = Limits { idle_timeout: Duration::from_secs(1), ..Limits::default() };
    let mut provider = Provider::start(Conduct::Hang, None, limits, memory()).await;
    // The relay between them stops passing datagrams: to the provider, the customer's machine lost its power.
    let middle = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let through = keystead_blobs::Address::new(provider.address.id(), vec![middle.local_addr().unwrap()]).unwrap();
    let server = provider.address.sockets()[0];
    let passing = tokio::spawn(async move {
        let (mut datagram, mut client) = (vec![0; 65_536], None);
        loop {
            let (length, from) = middle.recv_from(&mut datagram).await.unwrap();
            let to = if from == server {
                client
            } else {
                client = Some(from);
                Some(server)
            };
            if let Some(to) = to {
                middle.send_to(&datagram[..length], to).await.unwrap();
            }
        }
    });
    let endpoint: Endpoint = support::customer().await;
    let session = support::open(&endpoint, &through, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    passing.abort();
    let error = unavailable(provider.next_error().await);
    assert!(matches!(error, Unavailable::Disconnected { .. }), "{error:?}");
    assert_eq!(provider.server.sessions(), 0);
    drop(session);
}

/// Thinks until it is told to decide, and then refuses everybody.
struct Ponders {
    asked: Arc<Notify>,
    decide: Arc<Notify>,
}

impl Authorise for Ponders {
    async fn authorise(&self, _: NodeId, _: &Hello) -> Result<(), Refusal> {
        self.asked.notify_one();
        self.decide.notified().await;
        Err(Refusal::new(RefusalCode::NotTheCustomer, "stranger"))
    }
}

/// A stranger names somebody else's order and closes its connection with the code of a cancellation before it is refused: nobody may take that for
/// the customer's wish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_was_not_let_in_cancels_nothing() {
    let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
    let (store, (fetched, _), (ended, mut ends)) = (memory(), mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let runner = Runner {
        blob_bytes_max: support::BLOB_MAX,
        store: Arc::clone(&store),
        conduct: Conduct::Deliver,
        fetched,
        ended,
    };
    let (asked, decide) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let door = Ponders { asked: Arc::clone(&asked), decide: Arc::clone(&decide) };
    let _server = keystead_blobs::serve(&endpoint, store, door, runner);
    let address = endpoint.address().unwrap();
    for _ in 0..5 {
        let raw = Raw::bind().await;
        let connection = raw.connect(&address, ALPN).await.unwrap();
        let (mut control, _answers) = soon(connection.open_bi()).await.unwrap();
        soon(control.write_all(&hello_frame(&hello(1, &[])))).await.unwrap();
        soon(asked.notified()).await;
        connection.close(1_u32.into(), b"");
        // Returns when the other side has heard it.
        soon(raw.endpoint.close()).await;
        decide.notify_one();
        let ended = soon(ends.recv()).await.unwrap();
        assert_eq!(ended.order, Some(support::order(1)));
        assert!(!matches!(ended.outcome, Ok(()) | Err(SessionError::Cancelled)), "{:?}", ended.outcome);
    }
}
