//! WebSockets whose peers send too much, too slowly or nothing, or do not read.

use crate::{
    chain::{Chain, Server},
    client::PATIENCE,
    sockets::wait_for_metric,
    websocket::{Event, Socket, TEXT, upgrade},
};
use keystead_rpc::ServerLimits;
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

const SHORT: Duration = Duration::from_millis(200);
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;

/// The server still works for others.
fn assert_alive(server: &Server) {
    assert_eq!(Socket::open(server.client).call("eth_chainId", json!([])), "0x4b53");
    assert_eq!(server.client.call("eth_chainId", json!([])), "0x4b53");
}

#[test]
fn a_message_may_have_the_limit_and_not_one_byte_more() {
    let server = Chain::empty().serve(ServerLimits { socket_message_bytes_max: 1_000, ..ServerLimits::default() });
    let padded = |bytes: usize| format!("{CALL}{}", " ".repeat(bytes - CALL.len()));
    let mut socket = Socket::open(server.client);
    socket.send(padded(1_000));
    assert_eq!(socket.message()["result"], "0x4b53");
    socket.send(padded(1_001));
    assert_eq!(socket.end(), Event::Closed(1009, "message too large: limit 1000 bytes".to_owned()));
    // The same in pieces, none of which is too large.
    let mut socket = Socket::open(server.client);
    socket.frame(TEXT, &[b' '; 600]).unwrap();
    socket.frame(0x80, &[b' '; 600]).unwrap();
    assert_eq!(socket.end(), Event::Closed(1009, "message too large: limit 1000 bytes".to_owned()));
    // Announced only: nothing is set aside for it.
    let mut socket = Socket::open(server.client);
    socket.stream.write_all(&Socket::head(0x81, 1 << 40)).unwrap();
    assert_eq!(socket.end(), Event::Closed(1009, "message too large: limit 1000 bytes".to_owned()));
    assert_alive(&server);
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let server = Chain::empty().serve(ServerLimits::default());
    let unmasked = [&[0x81, CALL.len() as u8], CALL.as_bytes()].concat();
    let reserved_bits = [&Socket::head(0xf1, CALL.len())[..], CALL.as_bytes()].concat();
    let unknown_kind = Socket::head(0x83, 0);
    let long_ping = [&Socket::head(0x89, 126)[..], &[0; 126]].concat();
    let piece_of_nothing = Socket::head(0x80, 0);
    let no_text = [&Socket::head(0x81, 2)[..], &[0xff, 0xfe]].concat();
    for bytes in [unmasked, reserved_bits, unknown_kind, long_ping, piece_of_nothing, no_text] {
        let mut socket = Socket::open(server.client);
        socket.stream.write_all(&bytes).unwrap();
        assert_eq!(socket.end(), Event::Closed(1002, "not the WebSocket protocol".to_owned()), "{bytes:?}");
    }
    assert_alive(&server);
}

#[test]
fn a_peer_that_trickles_its_upgrade_is_cut_off() {
    let server = Chain::empty().serve(ServerLimits { header_timeout: SHORT, ..ServerLimits::default() });
    let mut slow = server.client.connect();
    slow.write_all(&upgrade("").as_bytes()[..60]).unwrap();
    let mut rest = Vec::new();
    let ended = slow.read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock));
    assert_alive(&server);
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_cut_off_and_one_that_does_is_not() {
    let limits = ServerLimits {
        ping_interval: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(400),
        ..ServerLimits::default()
    };
    let server = Chain::empty().serve(limits);
    let mut alive = Socket::open(server.client);
    // Half a frame, and then nothing: pings are not answered.
    let mut dead = Socket::open(server.client);
    dead.stream.write_all(&Socket::head(0x81, 100)).unwrap();
    dead.stream.write_all(b"{").unwrap();
    let quiet = std::thread::spawn(move || {
        // It reads, but does not answer what it reads.
        let mut bytes = Vec::new();
        let _ = dead.stream.read_to_end(&mut bytes);
        bytes
    });
    let started = Instant::now();
    while !quiet.is_finished() {
        // Answers pings while it waits for its answer.
        alive.call("eth_chainId", json!([]));
        assert!(started.elapsed() < PATIENCE, "a dead peer was kept");
    }
    assert!(started.elapsed() > Duration::from_millis(300), "too early");
    let bytes = quiet.join().unwrap();
    assert!(bytes.windows(19).any(|it| it == b"no sign of life for"), "{bytes:?}");
    assert_eq!(alive.call("eth_chainId", json!([])), "0x4b53");
}

#[test]
fn connections_are_counted_together_with_those_over_http() {
    let server = Chain::empty().serve(ServerLimits { connections_max: 3, ..ServerLimits::default() });
    let mut held: Vec<_> = (0..3).map(|_| Socket::open(server.client)).collect();
    let refused = Socket::try_open(server.client).err().unwrap();
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let mut answer = Vec::new();
    server.client.connect().read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    assert_eq!(held[0].call("eth_chainId", json!([])), "0x4b53");
    held.pop();
    let started = Instant::now();
    while Socket::try_open(server.client).is_err() {
        assert!(started.elapsed() < PATIENCE, "the place was never given back");
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_with_the_reason() {
    let limits = ServerLimits { subscription_lag_max: 40, ..ServerLimits::default() };
    let server = Chain::empty().serve(limits);
    let mut slow = Socket::open(server.client);
    let mut quick = Socket::open(server.client);
    let id = quick.call("eth_subscribe", json!(["newHeads"]));
    for _ in 0..64 {
        slow.call("eth_subscribe", json!(["newHeads"]));
    }
    // 64 times 1.7 kB a block fill the buffers of the sockets long before these blocks have passed.
    for number in 1..=400u64 {
        server.chain.produce(Vec::new());
        assert_eq!(
            quick.notification(),
            (id.clone(), {
                let mut head = server.client.call("eth_getBlockByNumber", json!([format!("{number:#x}")]));
                for name in ["transactions", "uncles", "withdrawals", "size"] {
                    head.as_object_mut().unwrap().remove(name);
                }
                head
            })
        );
    }
    let Event::Closed(1008, reason) = slow.end() else { panic!("not cut off") };
    assert!(reason.starts_with("too slow: ") && reason.ends_with(" blocks behind the head, limit 40"), "{reason}");
    quick.call("eth_chainId", json!([]));
    wait_for_metric(&server, "keystead_rpc_subscriptions 1");
}

#[test]
fn a_peer_that_takes_nothing_at_all_is_given_up() {
    let limits = ServerLimits { write_timeout: SHORT, ..ServerLimits::default() };
    let server = Chain::full().serve(limits);
    let mut socket = Socket::open(server.client);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x3", true] });
    let batch = json!(vec![call; 900]).to_string();
    // Some megabytes of answers each, none of which is read.
    while socket.frame(0x81, batch.as_bytes()).is_ok() {}
    drop(socket);
    wait_for_metric(&server, "keystead_rpc_websockets 0");
    assert_alive(&server);
}

#[test]
fn a_flood_of_subscriptions_is_bounded_and_leaves_the_server_quick() {
    let server = Chain::empty().serve(ServerLimits::default());
    let calls: Vec<_> = (0..500)
        .map(|id| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_subscribe", "params": ["newHeads"] }))
        .collect();
    let text = json!(calls).to_string();
    let mut sockets: Vec<Socket> = (0..20).map(|_| Socket::open(server.client)).collect();
    for socket in &mut sockets {
        socket.send(&text);
        let answers = socket.message();
        let refused = answers.as_array().unwrap().iter().filter(|it| it["error"]["code"] == -32005).count();
        assert_eq!(refused, 500 - 64);
    }
    wait_for_metric(&server, "keystead_rpc_subscriptions 1280");
    server.chain.produce(Vec::new());
    for socket in &mut sockets {
        for _ in 0..64 {
            assert_eq!(socket.notification().1["number"], "0x1");
        }
    }
    drop(sockets);
    wait_for_metric(&server, "keystead_rpc_subscriptions 0");
}

#[test]
fn a_stopping_server_says_so_and_ends_at_once() {
    let mut server = Chain::empty().serve(ServerLimits { shutdown_timeout: PATIENCE, ..ServerLimits::default() });
    let mut idle = Socket::open(server.client);
    let mut subscribed = Socket::open(server.client);
    subscribed.call("eth_subscribe", json!(["newHeads"]));
    server.ask_to_stop();
    for socket in [&mut idle, &mut subscribed] {
        assert_eq!(socket.end(), Event::Closed(1001, "the node stops".to_owned()));
    }
    server.join();
}

#[test]
fn a_stopping_server_does_not_wait_for_peers_that_do_not_read() {
    let limits = ServerLimits { shutdown_timeout: SHORT, ..ServerLimits::default() };
    let mut server = Chain::full().serve(limits);
    let mut socket = Socket::open(server.client);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x3", true] });
    let batch = json!(vec![call; 900]).to_string();
    socket.stream.set_write_timeout(Some(SHORT)).unwrap();
    // Until the server no longer reads, because it cannot write.
    while socket.frame(0x81, batch.as_bytes()).is_ok() {}
    let started = Instant::now();
    server.ask_to_stop();
    server.join();
    assert!(started.elapsed() < Duration::from_secs(20));
}
