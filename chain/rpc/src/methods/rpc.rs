//! `rpc.discover`: the method table as an OpenRPC document, so that tools and people can ask a node what it answers.

use super::Method;
use crate::{error::RpcError, lanes::Work, message::Json, params::Params, service::Service};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Version of the OpenRPC specification that the document follows.
const OPENRPC_VERSION: &str = "1.3.2";

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "rpc.discover",
        about: "This list of methods, as an OpenRPC document.",
        params: &[],
        result: "OpenRPC document",
        work: Work::Read,
        run: discover,
    },
    Method {
        name: "rpc_modules",
        about: "The namespaces that this node answers, each with its version.",
        params: &[],
        result: "object: version by namespace",
        work: Work::Instant,
        run: modules,
    },
];

fn discover(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let methods: Vec<Value> = service.methods().map(describe).collect();
    Json::of(&json!({
        "openrpc": OPENRPC_VERSION,
        "info": { "title": "Keystead JSON-RPC", "version": env!("CARGO_PKG_VERSION") },
        "methods": methods,
    }))
}

fn modules(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let spaces = service.methods().filter_map(|method| method.name.split_once(['_', '.'])).map(|(space, _)| space);
    Json::of(&spaces.map(|space| (space, "1.0")).collect::<BTreeMap<_, _>>())
}

/// One method. Shapes are given in words; a schema of `true` takes any JSON.
fn describe(method: &Method) -> Value {
    let params: Vec<Value> = method
        .params
        .iter()
        .map(|param| json!({ "name": param.name, "description": param.about, "required": param.required, "schema": true }))
        .collect();
    json!({
        "name": method.name,
        "summary": method.about,
        "paramStructure": "either",
        "params": params,
        "result": { "name": "result", "description": method.result, "schema": true },
    })
}
