//! A customer and a provider do a whole job over loopback, lose each other, find each other again, and part.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::print_stdout)]

use std::sync::Arc;

use crate::support::{
    self, BLOB_MAX, Conduct, Provider, customer, eventually, hello, mark, memory, open, order, reversed, sample, soon,
    stored, whole_session,
};
use keystead_blobs::{
    Address, BlobStore, Capacity, Config, DiskStore, Durability, Endpoint, Event, FailureCode, GROUP_BYTES, Hash,
    Inputs, Limits, RefusalCode, SecretKey, Sent, Session, SessionError, StoreError, Unavailable, Want,
};

fn unavailable<T: std::fmt::Debug>(result: Result<T, SessionError>) -> Unavailable {
    match result {
        Err(SessionError::Unavailable(unavailable)) => unavailable,
        other => panic!("expected an Unavailable: {other:?}"),
    }
}

/// Sizes around the edges of groups and batches, more blobs than one want may list, repeated names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_travels_there_and_back() {
    let mut inputs: Vec<_> = (0..300).map(|seed| sample(seed, seed as usize)).collect();
    inputs.extend([GROUP_BYTES, GROUP_BYTES + 1, 17 * GROUP_BYTES + 3].map(|size| sample(1, size)));
    inputs.push(inputs[5].clone());
    let different = inputs.len() as u64 - 1;
    let bytes: usize = inputs[..inputs.len() - 1].iter().map(Vec::len).sum();
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut session = open(&endpoint, &provider.address, 1, &inputs).await.unwrap();

    assert_eq!(soon(session.next()).await.unwrap(), Event::Wants { blobs: 304 });
    assert_eq!(soon(provider.fetched.recv()).await.unwrap().unwrap(), bytes as u64);
    assert_eq!(*session.sent().borrow(), Sent { blobs: different, bytes: bytes as u64 });
    let mut done = 0;
    let delivery = loop {
        match soon(session.next()).await.unwrap() {
            Event::Progress(progress) => {
                done += 1;
                assert_eq!((progress.done, progress.total), (done, 304));
            }
            Event::Committed(commitment) => assert_eq!(commitment, mark(7)),
            Event::Delivered(delivery) => break delivery,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((done, delivery.secret), (304, mark(9)));
    let store = memory();
    let list = Want { hash: delivery.result(), bytes_max: 304 * 32 };
    soon(session.fetch(&store, vec![list], &mut |_| {})).await.unwrap();
    let names = store.get(delivery.result(), list.bytes_max).unwrap();
    let names = keystead_blobs::hash::parse_list(&names, 304).unwrap();
    let wants: Vec<_> = names.iter().map(|hash| Want { hash: *hash, bytes_max: BLOB_MAX }).collect();
    let mut reports = Vec::new();
    soon(session.fetch(&store, wants, &mut |fetched| reports.push(fetched))).await.unwrap();
    for (name, input) in names.iter().zip(&inputs) {
        assert_eq!(store.get(*name, BLOB_MAX).unwrap(), reversed(input));
    }
    let last = reports.last().unwrap();
    assert!(reports.windows(2).all(|pair| pair[0].bytes_received <= pair[1].bytes_received));
    assert_eq!((last.blobs_done, last.blobs_total), (different, different));
    soon(session.finish()).await.unwrap();

    let ended = provider.next_end().await;
    assert_eq!((ended.customer, ended.order), (Some(endpoint.id()), Some(order(1))));
    assert!(ended.outcome.is_ok());
    assert_eq!(provider.server.sessions(), 0);
    soon(provider.server.shutdown()).await;
    provider.endpoint.close().await;
    endpoint.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_endpoint_is_customer_and_provider_at_once() {
    let first = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let second = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let inputs = [sample(1, 10)];
    let there = open(&first.endpoint, &second.address, 1, &inputs).await.unwrap();
    let back = open(&second.endpoint, &first.address, 2, &inputs).await.unwrap();
    drop((there, back));
    whole_session(&first.address, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_order_says_why_and_leaves_nothing() {
    let honest = SecretKey::generate();
    let mut provider = Provider::start(Conduct::Deliver, Some(honest.id()), Limits::default(), memory()).await;
    let stranger = customer().await;
    let refusal = |result: Result<Session, SessionError>| match result {
        Err(SessionError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal: {other:?}"),
    };
    let inputs = [sample(1, 10)];
    let not_assigned = refusal(open(&stranger, &provider.address, 200, &inputs).await);
    assert_eq!(not_assigned.code, RefusalCode::NotAssigned);
    assert_eq!(not_assigned.reason.as_str(), "another provider has it");
    assert_eq!(refusal(open(&stranger, &provider.address, 1, &inputs).await).code, RefusalCode::NotTheCustomer);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let ended = provider.next_end().await;
        assert_eq!(ended.customer, Some(stranger.id()));
        assert!(matches!(ended.outcome, Err(SessionError::Refused(_))));
        ends.push(ended.order.unwrap());
    }
    ends.sort();
    assert_eq!(ends, [order(1), order(200)]);
    assert_eq!(provider.store.size(Hash::of(&inputs[0])).unwrap(), None);
    let endpoint = Endpoint::bind(Config { secret: honest, ..Config::loopback() }).await.unwrap();
    assert!(open(&endpoint, &provider.address, 1, &inputs).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_reaches_the_customer() {
    let mut provider = Provider::start(Conduct::Fail, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    let Err(SessionError::Failed(failure)) = soon(session.next()).await else { panic!("expected the failure") };
    assert_eq!((failure.code, failure.unit, failure.reason.as_str()), (FailureCode::Unit, Some(3), "trap"));
    assert!(matches!(unavailable(soon(session.next()).await), Unavailable::Disconnected { .. }));
    assert!(matches!(provider.next_error().await, SessionError::Failed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_stops_the_run_and_losing_the_customer_is_not_cancelling() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    soon(session.cancel()).await.unwrap();
    assert!(matches!(provider.next_error().await, SessionError::Cancelled));

    let session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    drop(session);
    let error = provider.next_error().await;
    assert!(matches!(error, SessionError::Unavailable(Unavailable::Disconnected { .. })), "{error:?}");
    assert_eq!(provider.server.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_has_done_the_work_says_so_to_who_cancels_and_to_who_comes_again() {
    let mut provider = Provider::start(Conduct::Done, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    for _ in 0..2 {
        let session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
        soon(provider.fetched.recv()).await.unwrap().unwrap();
        let Err(SessionError::Failed(failure)) = soon(session.cancel()).await else { panic!("expected a refusal") };
        assert_eq!(
            (failure.code, failure.unit, failure.reason.as_str()),
            (FailureCode::Deadline, None, "the work is done")
        );
        assert!(matches!(provider.next_error().await, SessionError::Failed(_)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_an_order_takes_over() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut first = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    let other_order = open(&endpoint, &provider.address, 2, &[]).await.unwrap();
    let second = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    assert!(matches!(unavailable(soon(first.next()).await), Unavailable::Superseded));
    let ended = provider.next_end().await;
    assert_eq!(ended.order, Some(order(1)));
    soon(second.cancel()).await.unwrap();
    soon(other_order.cancel()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_tells_every_customer() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut sessions = Vec::new();
    for number in 1..=3 {
        sessions.push(open(&endpoint, &provider.address, number, &[]).await.unwrap());
        soon(provider.fetched.recv()).await.unwrap().unwrap();
    }
    soon(provider.server.shutdown()).await;
    for mut session in sessions {
        assert!(matches!(unavailable(soon(session.next()).await), Unavailable::ShuttingDown));
    }
    for _ in 0..3 {
        let outcome = soon(provider.ended.recv()).await.unwrap().outcome;
        assert!(matches!(outcome, Err(SessionError::Unavailable(Unavailable::ShuttingDown))));
    }
    // The endpoint is still open, but nobody is let in.
    assert!(open(&endpoint, &provider.address, 4, &[]).await.is_err());
}

/// Everything asked for is in the provider's store, but nothing was delivered in this session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_served_before_it_is_delivered() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    let here = [b"this order's output".as_slice(), b"another customer's output"]
        .map(|bytes| provider.store.put(bytes).unwrap());
    for hash in here.into_iter().chain([Hash::of(b"absent")]) {
        let want = Want { hash, bytes_max: BLOB_MAX };
        let error = unavailable(soon(session.fetch(&memory(), vec![want], &mut |_| {})).await);
        assert!(matches!(error, Unavailable::NotServed { hash: denied } if denied == hash), "{error:?}");
    }
}

/// The handler itself tries to deliver before it has committed (it asserts the refusal).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_without_its_commitment_is_a_misuse() {
    let mut provider = Provider::start(Conduct::Uncommitted, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let _session = open(&endpoint, &provider.address, 1, &[sample(1, 100)]).await.unwrap();
    assert!(provider.next_end().await.outcome.is_ok());
}

/// The customer offers only what the job needs; the provider asks for something else that the customer has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_cannot_fetch_what_was_not_offered() {
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let inputs = [sample(1, 100)];
    let Inputs { store, .. } = stored(&inputs);
    let nothing = Inputs { store, hashes: Vec::new() };
    let session = soon(Session::open(&endpoint, &provider.address, hello(1, &inputs), nothing)).await.unwrap();
    let error = unavailable(soon(provider.fetched.recv()).await.unwrap());
    assert!(matches!(error, Unavailable::NotServed { hash } if hash == Hash::of(&inputs[0])));
    assert!(!provider.store.has(Hash::of(&inputs[0])).unwrap());
    assert_eq!(session.sent().borrow().bytes, 0);
}

/// The customer vanishes in the middle of an input; the next session fetches only the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_transfer_resumes_in_the_next_session() {
    let folder = tempfile::TempDir::new().unwrap();
    let disk = DiskStore::open(folder.path(), Capacity::default(), Durability::Lazy).unwrap();
    let input = sample(1, 48 * GROUP_BYTES);
    let name = Hash::of(&input);
    {
        // What a session leaves behind when its connection breaks after two batches.
        let mut part = disk.receive(name).unwrap();
        part.start(keystead_blobs::Outline::of(&input)).unwrap();
        part.append(&input[..32 * GROUP_BYTES]).unwrap();
    }
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), Arc::new(disk)).await;
    let endpoint = customer().await;
    let inputs = [input];
    let session = open(&endpoint, &provider.address, 1, &inputs).await.unwrap();
    assert_eq!(soon(provider.fetched.recv()).await.unwrap().unwrap(), 16 * GROUP_BYTES as u64);
    assert_eq!(session.sent().borrow().bytes, 16 * GROUP_BYTES as u64);
    assert_eq!(provider.store.get(name, BLOB_MAX).unwrap(), inputs[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_ends_the_fetch_and_keeps_nothing() {
    let small = Capacity { blob_bytes_max: 1 << 20, total_bytes_max: 1 << 20 };
    let store = Arc::new(keystead_blobs::MemoryStore::new(small));
    store.put(&sample(9, 1 << 19)).unwrap();
    let mut provider = Provider::start(Conduct::Deliver, None, Limits::default(), store.clone()).await;
    let endpoint = customer().await;
    let inputs = [sample(1, (1 << 19) + 1)];
    let _session = open(&endpoint, &provider.address, 1, &inputs).await.unwrap();
    let error = soon(provider.fetched.recv()).await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Store(StoreError::Full { .. })), "{error:?}");
    assert_eq!(store.used_bytes(), 1 << 19);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_survives_a_restart_and_a_false_one_is_noticed() {
    let secret = SecretKey::generate();
    let kept = SecretKey::from_bytes(&secret.to_bytes());
    let first = Endpoint::bind(Config { secret, ..Config::loopback() }).await.unwrap();
    let id = first.id();
    first.close().await;
    drop(first);
    let second = Endpoint::bind(Config { secret: kept, ..Config::loopback() }).await.unwrap();
    assert_eq!(second.id(), id);
    // The right sockets, another machine's identity.
    let provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let false_address = Address::new(id, provider.address.sockets().to_vec()).unwrap();
    let limits = Limits { handshake_timeout: std::time::Duration::from_secs(2), ..Limits::default() };
    let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    let error = unavailable(open(&endpoint, &false_address, 1, &[]).await);
    assert!(matches!(error, Unavailable::Unreachable { .. } | Unavailable::TimedOut { .. }), "{error:?}");
    assert!(format!("{:?}", SecretKey::from_bytes(&[7; 32])).starts_with("SecretKey(of "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_and_a_taken_port_are_said_plainly() {
    let endpoint = customer().await;
    let taken = Endpoint::bind(Config { bind: endpoint.sockets()[0], ..Config::loopback() }).await;
    assert!(matches!(unavailable(taken), Unavailable::Bind { .. }));
    let gone = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    let address = gone.address.clone();
    gone.server.shutdown().await;
    gone.endpoint.close().await;
    drop(gone.endpoint);
    let limits = Limits { handshake_timeout: std::time::Duration::from_millis(300), ..Limits::default() };
    let hasty = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    assert!(matches!(unavailable(open(&hasty, &address, 1, &[]).await), Unavailable::TimedOut { .. }));
    // An endpoint that does not serve refuses.
    let refused = unavailable(open(&hasty, &endpoint.address().unwrap(), 1, &[]).await);
    assert!(matches!(refused, Unavailable::Busy | Unavailable::OtherProtocol), "{refused:?}");
    let anywhere = Config { bind: "0.0.0.0:0".parse().unwrap(), ..Config::loopback() };
    let unadvertised = Endpoint::bind(anywhere.clone()).await.unwrap();
    assert!(matches!(unavailable(unadvertised.address()), Unavailable::NoAddress(_)));
    let advertise = vec!["192.0.2.1:4433".parse().unwrap()];
    let advertised = Endpoint::bind(Config { advertise, ..anywhere }).await.unwrap();
    assert_eq!(advertised.address().unwrap().to_string(), format!("{}@192.0.2.1:4433", advertised.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_give_their_places_back() {
    let limits = Limits { sessions_max: 2, sessions_per_peer_max: 2, ..Limits::default() };
    let mut provider = Provider::start(Conduct::Hang, None, limits, memory()).await;
    let endpoint = customer().await;
    let first = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    let second = open(&endpoint, &provider.address, 2, &[]).await.unwrap();
    let Err(SessionError::Refused(refusal)) = open(&endpoint, &provider.address, 3, &[]).await else {
        panic!("expected a refusal")
    };
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert!(matches!(provider.next_error().await, SessionError::Refused(_)));
    soon(first.cancel()).await.unwrap();
    assert!(matches!(provider.next_error().await, SessionError::Cancelled));
    let third = open(&endpoint, &provider.address, 3, &[]).await.unwrap();
    assert_eq!(provider.server.sessions(), 2);
    eventually("handshakes end", || provider.server.handshakes() == 0).await;
    drop((second, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_endpoint_ends_its_server_and_sessions() {
    let mut provider = Provider::start(Conduct::Hang, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    let mut session = open(&endpoint, &provider.address, 1, &[]).await.unwrap();
    soon(provider.fetched.recv()).await.unwrap().unwrap();
    soon(provider.endpoint.close()).await;
    assert!(matches!(unavailable(soon(session.next()).await), Unavailable::Disconnected { .. }));
    assert!(matches!(unavailable(Err::<(), _>(provider.next_error().await)), Unavailable::Disconnected { .. }));
    soon(provider.server.shutdown()).await;
    // The customer's own endpoint, too.
    soon(endpoint.close()).await;
    assert!(open(&endpoint, &provider.address, 2, &[]).await.is_err());
}

/// A bug in the program that runs jobs must not leave a connection open, a place taken or an order blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_leaks_nothing() {
    let provider = Provider::start(Conduct::Panic, None, Limits::default(), memory()).await;
    let endpoint = customer().await;
    for _ in 0..3 {
        // The end of the connection may overtake the acceptance.
        let error = match open(&endpoint, &provider.address, 1, &[]).await {
            Ok(mut session) => unavailable(soon(session.next()).await),
            Err(error) => unavailable::<()>(Err(error)),
        };
        assert!(matches!(error, Unavailable::Disconnected { .. }), "{error:?}");
        eventually("the place is free", || provider.server.sessions() == 0).await;
    }
    soon(provider.server.shutdown()).await;
}

/// Sends bare bytes from one transport endpoint to another; what verification and storage are measured against.
async fn bare_stream(bytes: &[u8]) -> std::time::Duration {
    let (source, sink) = (support::Raw::bind().await, support::Raw::bind().await);
    let address = sink.address();
    let (there, here) = tokio::join!(source.connect(&address, keystead_blobs::ALPN), sink.accept());
    let there = there.unwrap();
    let start = std::time::Instant::now();
    let receive = tokio::spawn(async move {
        let mut recv = here.accept_uni().await.unwrap();
        let mut total = 0;
        while let Some(chunk) = recv.read_chunk(1 << 20).await.unwrap() {
            total += chunk.len();
        }
        total
    });
    let mut send = there.open_uni().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.await.unwrap(), bytes.len());
    start.elapsed()
}

/// Sends the same bytes as an input of a job, verified, from disk to disk.
async fn one_input(input: &[u8], durability: Durability) -> std::time::Duration {
    let folder = tempfile::TempDir::new().unwrap();
    let source = DiskStore::open(&folder.path().join("customer"), Capacity::default(), Durability::Lazy).unwrap();
    let hashes = vec![source.put(input).unwrap()];
    let disk = DiskStore::open(&folder.path().join("provider"), Capacity::default(), durability).unwrap();
    let mut provider = Provider::start_for(input.len() as u64, Arc::new(disk)).await;
    let endpoint = customer().await;
    let start = std::time::Instant::now();
    let inputs = Inputs { store: Arc::new(source), hashes };
    let hello = support::hello(1, &[input.to_vec()]);
    let session = soon(Session::open(&endpoint, &provider.address, hello, inputs)).await.unwrap();
    assert_eq!(soon(provider.fetched.recv()).await.unwrap().unwrap(), input.len() as u64);
    let elapsed = start.elapsed();
    drop(session);
    // The folder must outlive the handler.
    provider.next_end().await;
    elapsed
}

/// Prints the rate of a verified, stored transfer beside that of bare bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a rule: run with --ignored --nocapture on an idle machine"]
async fn throughput_of_blobs_beside_a_bare_stream_slow() {
    let input = sample(1, 256 << 20);
    let rate = |elapsed: std::time::Duration| 256.0 / elapsed.as_secs_f64();
    for _ in 0..5 {
        let bare = rate(bare_stream(&input).await);
        let lazy = rate(one_input(&input, Durability::Lazy).await);
        let synced = rate(one_input(&input, Durability::Synced).await);
        println!("MiB/s: bare {bare:.0}, blob lazy {lazy:.0}, blob synced {synced:.0}");
    }
}
