//! Questions of anybody to a node that serves orders too: answers come whole or not at all, and neither side can make the other hold more than it allows.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use crate::support::{
    self, Chain, Conduct, Raw, Runner, customer, frame, memory, reversed, sample, soon, whole_session,
};
use alloy_primitives::Bytes;
use keystead_blobs::{
    ANSWER_BYTES_MAX, Address, Answer, Config, Endpoint, Limits, MESSAGE_BYTES_MAX, NodeId, QUESTION_ALPN, Question,
    Questions, Server, SessionError, Violation, ask, serve_with,
};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Kind 1 is answered with the body, reversed; kind 2 with as many bytes as the body's number says; kind 3 never.
struct Sayer;

impl Answer for Sayer {
    fn answer(&self, _: NodeId, question: Question) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            match question.kind {
                1 => Some(reversed(&question.body).into()),
                2 => Some(vec![7; u32::from_be_bytes(question.body.as_ref().try_into().unwrap()) as usize].into()),
                3 => std::future::pending().await,
                _ => None,
            }
        })
    }
}

struct Provider {
    address: Address,
    _server: Server,
    _endpoint: Endpoint,
}

fn question(kind: u8, body: Vec<u8>) -> Question {
    Question { kind, body: body.into() }
}

async fn provider() -> Provider {
    provider_with(Limits::default()).await
}

async fn provider_with(limits: Limits) -> Provider {
    let endpoint = Endpoint::bind(Config { limits, ..Config::loopback() }).await.unwrap();
    let (store, (fetched, _), (ended, _)) = (memory(), mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let runner = Runner {
        blob_bytes_max: support::BLOB_MAX,
        store: Arc::clone(&store),
        conduct: Conduct::Deliver,
        fetched,
        ended,
    };
    let questions = Arc::new(Questions::new(Arc::new(Sayer)));
    let server = serve_with(&endpoint, store, Chain { customer: None }, runner, vec![questions]);
    Provider { address: endpoint.address().unwrap(), _server: server, _endpoint: endpoint }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_whole_or_not_at_all() {
    let provider = provider().await;
    let endpoint = customer().await;
    let body = sample(1, 60_000);
    let answer = soon(ask(&endpoint, &provider.address, &question(1, body.clone()), 60_000)).await.unwrap();
    assert_eq!(answer, Some(body.iter().rev().copied().collect()));
    let empty = soon(ask(&endpoint, &provider.address, &question(1, Vec::new()), 0)).await.unwrap();
    assert_eq!(empty, Some(Vec::new()));
    let none = soon(ask(&endpoint, &provider.address, &question(9, Vec::new()), 10)).await.unwrap();
    assert_eq!(none, None);
    let large = question(2, 9_000_000u32.to_be_bytes().to_vec());
    let answer = soon(ask(&endpoint, &provider.address, &large, ANSWER_BYTES_MAX)).await.unwrap();
    assert_eq!(answer.map(|answer| answer.len()), Some(9_000_000));
    // Orders go on beside it.
    whole_session(&provider.address, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_larger_than_the_asker_takes_is_not_read_and_a_question_too_large_is_not_sent() {
    let provider = provider().await;
    let endpoint = customer().await;
    let hundred = question(2, 100u32.to_be_bytes().to_vec());
    assert!(soon(ask(&endpoint, &provider.address, &hundred, 100)).await.unwrap().is_some());
    let refused = soon(ask(&endpoint, &provider.address, &hundred, 99)).await;
    let expected = Violation::MessageTooLarge { got_bytes: 100, max_bytes: 99 };
    assert!(matches!(&refused, Err(SessionError::Peer(violation)) if *violation == expected), "{refused:?}");
    let long = question(1, vec![0; MESSAGE_BYTES_MAX]);
    let unsent = soon(ask(&endpoint, &provider.address, &long, 1)).await;
    assert!(matches!(unsent, Err(SessionError::Misuse { .. })), "{unsent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_questions_close_their_connection_and_nothing_else() {
    let provider = provider().await;
    let raw = Raw::bind().await;
    let long = (MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let two = [frame(1, b"a"), frame(1, b"b")].concat();
    for bytes in [long, two, vec![0, 0, 0, 9, 1], 0u32.to_be_bytes().to_vec(), Vec::new()] {
        let connection = raw.connect(&provider.address, QUESTION_ALPN).await.unwrap();
        let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
        soon(send.write_all(&bytes)).await.unwrap();
        send.finish().unwrap();
        let closed = soon(connection.closed()).await;
        let iroh::endpoint::ConnectionError::ApplicationClosed(closed) = closed else { panic!("{bytes:?} {closed:?}") };
        assert_eq!(closed.error_code.into_inner(), 3, "{bytes:?}");
    }
    whole_session(&provider.address, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_thinks_for_ever_is_given_up_and_one_that_serves_nothing_speaks_no_such_protocol() {
    let short = Duration::from_millis(400);
    let provider = provider_with(Limits { hello_timeout: short, ..Limits::default() }).await;
    let endpoint = customer().await;
    let asked = soon(ask(&endpoint, &provider.address, &question(3, Vec::new()), 10)).await;
    assert!(matches!(asked, Err(SessionError::Unavailable(_))), "{asked:?}");
    let silent = customer().await;
    let refused = soon(ask(&endpoint, &silent.address().unwrap(), &question(1, Vec::new()), 10)).await;
    assert!(matches!(refused, Err(SessionError::Unavailable(_))), "{refused:?}");
}
