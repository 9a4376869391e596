//! Callers that send too much, too slowly, too often or for too long, and the end of the server.

use crate::{
    chain::{Chain, Person, Server},
    client::{Answer, Client, PATIENCE},
};
use alloy_primitives::B256;
use keystead_rpc::ServerLimits;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

const SHORT: Duration = Duration::from_millis(200);

/// A message of exactly this many bytes that asks for the chain id.
fn padded(bytes: usize) -> String {
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    format!("{message}{}", " ".repeat(bytes - message.len()))
}

/// A call of the test contract that burns gas until none is left.
fn endless() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call",
        "params": [{ "to": Chain::contract(), "input": B256::repeat_byte(0xff) }, "latest"] })
}

fn assert_too_large(answer: &Answer) {
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"]["code"], -32005);
    assert!(answer.json()["error"]["message"].as_str().unwrap().starts_with("request body too large: limit "));
}

#[test]
fn a_body_may_have_the_limit_and_not_one_byte_more() {
    let server = Chain::empty().serve(ServerLimits { body_bytes_max: 1_000, ..ServerLimits::default() });
    assert_eq!(server.client.post(padded(1_000)).json()["result"], "0x4b53");
    assert_too_large(&server.client.post(padded(1_001)));
}

#[test]
fn a_body_of_ten_megabytes_is_refused_with_an_answer() {
    let server = Chain::empty().serve(ServerLimits::default());
    assert_too_large(&server.client.post(padded(10_000_000)));
    assert_eq!(server.client.call("eth_chainId", json!([])), "0x4b53");
}

#[test]
fn a_body_without_a_length_is_measured_as_it_comes() {
    let server = Chain::empty().serve(ServerLimits { body_bytes_max: 1_000, ..ServerLimits::default() });
    let head = "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunked = |bytes: usize| format!("{:x}\r\n{}\r\n0\r\n\r\n", bytes, padded(bytes)).into_bytes();
    assert_eq!(server.client.raw(head, &chunked(1_000)).json()["result"], "0x4b53");
    assert_too_large(&server.client.raw(head, &chunked(1_001)));
}

#[test]
fn a_body_in_many_small_chunks_takes_the_room_of_its_bytes() {
    let limits = ServerLimits { bodies_bytes_max: 8 * 1024, ..ServerLimits::default() };
    let server = Chain::empty().serve(limits);
    let head = "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunks: String = padded(4_000).chars().map(|it| format!("1\r\n{it}\r\n")).collect();
    assert_eq!(server.client.raw(head, format!("{chunks}0\r\n\r\n").as_bytes()).json()["result"], "0x4b53");
}

#[test]
fn bodies_of_all_connections_together_are_bounded() {
    let server = Chain::empty().serve(ServerLimits {
        bodies_bytes_max: 64 * 1024,
        body_timeout: PATIENCE,
        ..ServerLimits::default()
    });
    // One caller holds most of the room with a body that does not end.
    let hold = || {
        let mut holder = server.client.connect();
        let head = "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
                    content-length: 65536\r\n\r\n";
        holder.write_all(head.as_bytes()).unwrap();
        holder.write_all(&[b' '; 60_000]).unwrap();
        holder
    };
    let started = Instant::now();
    let (holder, refused) = loop {
        // A new one each time: where the second body comes while the first is being read, the first is refused.
        let holder = hold();
        let answer = server.client.post(padded(20_000));
        if answer.status != 200 {
            break (holder, answer);
        }
        assert!(started.elapsed() < PATIENCE, "the room never filled");
    };
    assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (503, Some(-32005)));
    drop(holder);
    let started = Instant::now();
    while server.client.post(padded(20_000)).status != 200 {
        assert!(started.elapsed() < PATIENCE, "the room was never given back");
    }
}

#[test]
fn answers_that_nobody_reads_are_bounded_over_all_connections() {
    let limits = ServerLimits { answers_bytes_max: 25_000_000, batch_requests_max: 10_000, ..ServerLimits::default() };
    let server = Chain::full().serve(limits);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x1", true] });
    let bytes = server.client.post(call.to_string()).body.len();
    // Twenty megabytes: more than the buffers of two sockets hold.
    let batch = json!(vec![call.clone(); 20_000_000 / bytes]).to_string();
    let mut holder = server.client.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        batch.len()
    );
    holder.write_all(format!("{head}{batch}").as_bytes()).unwrap();
    let mut first = [0; 1];
    holder.read_exact(&mut first).unwrap();
    let refused = server.client.post(&batch).json();
    assert!(refused.as_array().unwrap().iter().all(|it| it["error"]["code"] == -32005 && it["id"] == 1));
    let mut socket = crate::websocket::Socket::open(server.client);
    socket.send(&batch);
    assert_eq!(socket.message()[0]["error"]["code"], -32005);
    assert_eq!(server.client.post(call.to_string()).json()["result"]["number"], "0x1", "there is room for small ones");
    drop(holder);
    let started = Instant::now();
    while server.client.post(&batch).json()[0]["error"]["code"] == -32005 {
        assert!(started.elapsed() < PATIENCE, "the room was never given back");
    }
    socket.send(&batch);
    assert_eq!(socket.message()[0]["result"]["number"], "0x1");
}

#[test]
fn a_caller_that_never_finishes_its_head_is_cut_off() {
    let server = Chain::empty().serve(ServerLimits { header_timeout: SHORT, ..ServerLimits::default() });
    let mut slow = server.client.connect();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: no").unwrap();
    let mut rest = Vec::new();
    // The connection ends (cleanly or not) well before the client's own patience does.
    let ended = slow.read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    assert_eq!(server.client.call("eth_chainId", json!([])), "0x4b53");
}

#[test]
fn a_caller_that_never_finishes_its_body_is_answered_and_cut_off() {
    let server = Chain::empty().serve(ServerLimits { body_timeout: SHORT, ..ServerLimits::default() });
    let head = "POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    let answer = server.client.raw(head, b"{\"jsonrpc\"");
    assert_eq!((answer.status, answer.json()["error"]["code"].as_i64()), (408, Some(-32002)));
}

#[test]
fn connections_over_the_limit_are_told_so() {
    let server = Chain::empty().serve(ServerLimits { connections_max: 2, ..ServerLimits::default() });
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = server.client.connect();
            stream.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            stream
        })
        .collect();
    let mut refused = Vec::new();
    server.client.connect().read_to_end(&mut refused).unwrap();
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("try again in a while"), "{refused}");
    let length = refused.split("\r\n\r\n").nth(1).unwrap().len();
    assert!(refused.contains(&format!("content-length: {length}\r\n")), "{refused}");
    drop(held);
    let started = Instant::now();
    loop {
        let mut stream = server.client.connect();
        // A refused connection may be reset under the request.
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        let mut answer = Vec::new();
        if asked.is_ok() && stream.read_to_end(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "places were never given back");
    }
}

#[test]
fn a_call_that_takes_too_long_is_answered_with_a_timeout() {
    let limits = ServerLimits {
        request_timeout: Duration::from_millis(20),
        call_gas_max: 400_000_000,
        ..ServerLimits::default()
    };
    let server = Chain::full().serve(limits);
    let single = server.client.post(endless().to_string()).json();
    assert_eq!((&single["id"], &single["error"]["code"]), (&json!(1), &json!(-32002)));
    let batch = server.client.post(json!([endless(), endless()]).to_string()).json();
    let codes: Vec<_> = batch.as_array().unwrap().iter().map(|it| it["error"]["code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [-32002, -32002]);
}

#[test]
fn a_call_that_runs_for_ever_ends_with_its_gas() {
    let server = Server::full();
    let answer = server.client.post(endless().to_string()).json();
    assert_eq!(answer["error"]["code"], -32000);
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("out of gas"), "{answer}");
}

#[test]
fn two_hundred_requests_at_once_are_all_answered_rightly() {
    let server = Server::full();
    let client: Client = server.client;
    let alice = Person::alice().address;
    let questions = [
        ("eth_chainId", json!([])),
        ("eth_getBalance", json!([alice])),
        ("eth_call", json!([{ "to": Chain::contract() }])),
        ("eth_getLogs", json!([{ "fromBlock": "earliest" }])),
        ("eth_getProof", json!([alice, []])),
    ];
    let expected: Vec<_> = questions.iter().map(|(method, params)| client.call(method, params.clone())).collect();
    std::thread::scope(|scope| {
        for index in 0..200 {
            let (method, params) = &questions[index % questions.len()];
            let expected = &expected[index % questions.len()];
            scope.spawn(move || assert_eq!(&client.call(method, params.clone()), expected, "{method}"));
        }
    });
}

#[test]
fn a_stopping_server_answers_what_it_was_asked_and_takes_nothing_new() {
    let limits = ServerLimits { call_gas_max: 1_000_000_000, shutdown_timeout: PATIENCE, ..ServerLimits::default() };
    let mut server = Chain::full().serve(limits);
    let client = server.client;
    // An idle connection that could be used again must not hold the server up.
    let mut idle = client.connect();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: node\r\n\r\n").unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).unwrap();
    let mut busy = client.connect();
    let body = endless().to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let started = Instant::now();
    while !client.get("/metrics").body.contains("keystead_rpc_running 1\n") {
        assert!(started.elapsed() < PATIENCE, "the call never began");
    }
    server.ask_to_stop();
    let answer = Answer::read(&mut busy);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["error"]["code"], -32000);
    server.join();
    assert!(std::net::TcpStream::connect(client.0).is_err());
}

#[test]
fn no_parameters_make_the_server_fail_inside() {
    let server = Server::full();
    let hash = json!(server.chain.store.block(3).unwrap().unwrap().hash());
    let nested = (0..40).fold(json!({}), |inner, _| json!([{ "blockHash": inner }]));
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("0x"),
        json!("0x0"),
        json!("0x7"),
        json!("0x00"),
        json!("latest"),
        json!("pending"),
        json!("\u{0}\u{1f600}"),
        json!(Chain::contract()),
        json!(B256::ZERO),
        json!("0x".to_owned() + &"f".repeat(64)),
        json!("0x".to_owned() + &"f".repeat(10_000)),
        hash.clone(),
        json!([]),
        json!([[]]),
        json!(["0x0", null, {}]),
        json!({}),
        json!({ "blockHash": hash, "kind": "account", "address": Chain::contract(), "topics": [[[]]] }),
        json!({ "to": Chain::contract(), "from": null, "gas": "0x0", "value": "0x".to_owned() + &"f".repeat(64) }),
        json!({ "kind": "job-result", "order": "0xffffffffffffffff", "block": "0x6" }),
        json!({ "kind": "job-audit", "order": "0xffffffffffffffff", "block": "0x6" }),
        nested,
    ];
    let document = server.client.call("rpc.discover", json!([]));
    for method in document["methods"].as_array().unwrap() {
        let count = method["params"].as_array().unwrap().len();
        let mut batch = Vec::new();
        for first in 0..values.len() {
            for step in [0, 1, 5, 14] {
                let params: Vec<_> = (0..count).map(|index| &values[(first + index * step) % values.len()]).collect();
                batch.push(json!({ "jsonrpc": "2.0", "id": 1, "method": method["name"], "params": params }));
            }
        }
        let answers = server.client.post(json!(batch).to_string()).json();
        for (request, answer) in batch.iter().zip(answers.as_array().unwrap()) {
            let code = answer["error"]["code"].as_i64();
            let no_connection = method["name"].as_str().unwrap().ends_with("subscribe") && code == Some(-32601);
            let known = no_connection || matches!(code, None | Some(-32602 | -32000 | -32005 | 3 | 4 | 5));
            assert!(known && answer["id"] == 1, "{request}: {answer}");
        }
    }
}
