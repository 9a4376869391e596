//! JSON-RPC 2.0 over HTTP: malformed messages, batches, notifications, and the other paths of the server.

use crate::{
    chain::{Chain, Server},
    client::Client,
};
use keystead_rpc::{Cors, ServerLimits};
use serde_json::{Value, json};

fn server(limits: ServerLimits) -> Server {
    Chain::empty().serve(limits)
}

/// Id and error code of an answer that must be one error object.
fn error(client: Client, body: &str) -> (Value, i64) {
    let answer = client.post(body);
    assert_eq!(answer.status, 200, "{body}");
    let json = answer.json();
    assert_eq!(json["jsonrpc"], "2.0", "{body}");
    assert!(json["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    (json["id"].clone(), json["error"]["code"].as_i64().unwrap())
}

#[test]
fn malformed_messages_get_the_codes_of_json_rpc() {
    let server = server(ServerLimits::default());
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let very_deep = "[".repeat(100_000);
    let cases = [
        ("", json!(null), -32700),
        ("{", json!(null), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId""#, json!(null), -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"} x"#, json!(null), -32700),
        (&deep, json!(null), -32700),
        (&very_deep, json!(null), -32700),
        ("1", json!(null), -32600),
        (r#""eth_chainId""#, json!(null), -32600),
        ("null", json!(null), -32600),
        ("[]", json!(null), -32600),
        ("{}", json!(null), -32600),
        (r#"{"id":1,"method":"eth_chainId"}"#, json!(1), -32600),
        (r#"{"jsonrpc":"1.0","id":"a","method":"eth_chainId"}"#, json!("a"), -32600),
        (r#"{"jsonrpc":2.0,"id":1,"method":"eth_chainId"}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":true,"method":"eth_chainId"}"#, json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"eth_chainId"}"#, json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"eth_chainId"}"#, json!(null), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_nothing"}"#, json!(1), -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":""}"#, json!(1), -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":"x"}"#, json!(1), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}"#, json!(1), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance"}"#, json!(1), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x1"]}"#, json!(1), -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{"who":1}}"#, json!(1), -32602),
    ];
    for (body, id, code) in cases {
        let shown: String = body.chars().take(100).collect();
        assert_eq!(error(server.client, body), (id, code), "{shown}");
    }
}

#[test]
fn ids_of_every_allowed_type_come_back() {
    let server = server(ServerLimits::default());
    for id in [json!(0), json!(-1), json!(u64::MAX), json!("x \" é"), json!(null)] {
        let answer = server.client.post(json!({ "jsonrpc": "2.0", "id": id, "method": "net_version" }).to_string());
        assert_eq!(answer.json(), json!({ "jsonrpc": "2.0", "id": id, "result": "19283" }));
    }
}

#[test]
fn notifications_are_done_and_not_answered() {
    let server = server(ServerLimits::default());
    for body in [
        r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#,
        r#"{"jsonrpc":"2.0","method":"eth_nothing"}"#,
        r#"[{"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","method":"eth_getBalance"}]"#,
    ] {
        let answer = server.client.post(body);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{body}");
    }
    let metrics = server.client.get("/metrics").body;
    assert!(metrics.contains("keystead_rpc_requests_total{method=\"eth_chainId\",outcome=\"ok\"} 2\n"), "{metrics}");
}

#[test]
fn a_batch_answers_each_call_in_order_and_leaves_notifications_out() {
    let server = server(ServerLimits::default());
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" },
        { "jsonrpc": "2.0", "method": "eth_blockNumber" },
        { "jsonrpc": "2.0", "id": "two", "method": "eth_nothing" },
        7,
        { "jsonrpc": "2.0", "id": 3, "method": "eth_blockNumber", "params": [] },
    ]);
    let answers = server.client.post(batch.to_string()).json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 4);
    assert_eq!(answers[0], json!({ "jsonrpc": "2.0", "id": 1, "result": "0x4b53" }));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!("two"), &json!(-32601)));
    assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&json!(null), &json!(-32600)));
    assert_eq!(answers[3], json!({ "jsonrpc": "2.0", "id": 3, "result": "0x0" }));
}

#[test]
fn a_batch_may_have_the_limit_and_not_one_more() {
    let server = server(ServerLimits { batch_requests_max: 5, ..ServerLimits::default() });
    let batch =
        |count: usize| json!(vec![json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }); count]).to_string();
    assert_eq!(server.client.post(batch(5)).json().as_array().unwrap().len(), 5);
    let refused = server.client.post(batch(6)).json();
    assert_eq!(refused["error"]["code"], -32005);
    assert_eq!(refused["error"]["message"], "batch too large: got 6 requests, limit 5");
}

#[test]
fn a_batch_answers_up_to_the_size_of_a_response() {
    let server = server(ServerLimits { response_bytes_max: 2_500, ..ServerLimits::default() });
    let block = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x0"] });
    // One genesis block is about 1,700 bytes: one fits, two do not.
    let answers = server.client.post(json!([block, block, block]).to_string()).json();
    let codes: Vec<_> = answers.as_array().unwrap().iter().map(|it| it["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, Some(-32003), Some(-32003)]);
    let server = Chain::empty().serve(ServerLimits { response_bytes_max: 1_000, ..ServerLimits::default() });
    assert_eq!(server.client.fail("eth_getBlockByNumber", json!(["0x0"])).0, -32003);
}

#[test]
fn other_paths_and_verbs_are_answered_plainly() {
    let server = server(ServerLimits::default());
    let hint = server.client.get("/");
    assert_eq!(hint.status, 200);
    assert!(hint.headers.contains("content-type: text/plain") && hint.body.contains("POST /"), "{hint:?}");
    assert_eq!(server.client.get("/nothing").status, 404);
    let put = server.client.raw("PUT / HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", b"");
    assert_eq!(put.status, 405);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    for content_type in ["content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n", ""] {
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{content_type}content-length: {length}\r\n\r\n"
        );
        let answer = server.client.raw(&head, body.as_bytes());
        assert_eq!(answer.status, 415);
        assert_eq!(answer.json()["error"]["code"], -32600);
    }
}

#[test]
fn health_and_metrics_tell_how_the_node_is() {
    let year = std::time::Duration::from_secs(100 * 365 * 86_400);
    let server = Chain::full().serve(ServerLimits { head_age_max: year, ..ServerLimits::default() });
    let health = server.client.get("/health");
    assert_eq!(health.status, 200);
    let json = health.json();
    assert_eq!((&json["status"], &json["headNumber"]), (&json!("ok"), &json!(7)));
    assert_eq!(json["headHash"], json!(server.chain.store.head().hash));
    assert!(json["headAgeMs"].as_u64().unwrap() > 1_000);
    server.client.fail("eth_getBalance", json!([]));
    let metrics = server.client.get("/metrics").body;
    for line in [
        "keystead_head_number 7",
        "keystead_mempool_transactions 0",
        "keystead_peers 2",
        "keystead_rpc_requests_total{method=\"eth_getBalance\",outcome=\"error\"} 1",
        "keystead_rpc_requests_total{method=\"eth_getBalance\",outcome=\"ok\"} 0",
        "# TYPE keystead_rpc_requests_total counter",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is missing in\n{metrics}");
    }
    let stalled = Chain::empty().serve(ServerLimits::default());
    let health = stalled.client.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("stalled")));
}

fn preflight(client: Client, origin: &str) -> String {
    let head = format!(
        "OPTIONS / HTTP/1.1\r\nhost: node\r\nconnection: close\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n\r\n"
    );
    client.raw(&head, b"").headers
}

#[test]
fn browsers_are_let_in_as_configured() {
    let any = server(ServerLimits::default());
    let headers = preflight(any.client, "https://wallet.example");
    assert!(headers.contains("access-control-allow-origin: *"), "{headers}");
    assert!(headers.contains("access-control-allow-headers: content-type"), "{headers}");
    assert!(headers.contains("post"), "{headers}");
    let only = Cors::Only(vec!["https://wallet.example".to_owned()]);
    let only = server(ServerLimits { cors: only, ..ServerLimits::default() });
    let headers = preflight(only.client, "https://wallet.example");
    assert!(headers.contains("access-control-allow-origin: https://wallet.example"), "{headers}");
    assert!(!preflight(only.client, "https://evil.example").contains("access-control-allow-origin"));
    let nobody = server(ServerLimits { cors: Cors::Nobody, ..ServerLimits::default() });
    assert!(!preflight(nobody.client, "https://wallet.example").contains("access-control-allow-origin"));
}

#[test]
fn every_method_of_the_discovery_document_exists_and_checks_its_parameters() {
    let server = server(ServerLimits::default());
    let document = server.client.call("rpc.discover", json!([]));
    assert_eq!(document["openrpc"], "1.3.2");
    let methods = document["methods"].as_array().unwrap();
    assert!(methods.len() >= 38, "{}", methods.len());
    for method in methods {
        let name = method["name"].as_str().unwrap();
        let params = method["params"].as_array().unwrap();
        let too_many = vec![0; params.len() + 1];
        let (code, message) = server.client.fail(name, json!(too_many));
        assert_eq!(code, -32602, "{name}");
        assert_eq!(message, format!("too many arguments, want at most {}, got {}", params.len(), too_many.len()));
        if params.first().is_some_and(|param| param["required"] == true) {
            let first = params[0]["name"].as_str().unwrap();
            let (code, message) = server.client.fail(name, json!([]));
            assert_eq!(code, -32602, "{name}");
            assert_eq!(message, format!("invalid argument 0 ({first}): missing value for required argument"));
        }
    }
}
