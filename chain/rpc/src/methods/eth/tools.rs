//! `eth_*` methods that developers' tools use before they send something: access lists and calls that build on each
//! other.

use super::{
    BLOCK, Method,
    call::{CallObject, request},
    more::{CALL, STATE_OVERRIDES},
};
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    methods::tracing::{After, refused, traced},
    params::{BlockId, FromJson, Param, Params, member, shaped, show},
    pending::Place,
    service::Service,
};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Bytes, U64};
use alloy_rpc_types_eth::BlockOverrides;
use keystead_execution::{
    self as execution, CallLimits, CallOutcome, CallRequest, CallStatus, InvalidTransaction, Overrides,
};
use serde::Serialize;
use serde_json::Value;

/// Access lists and many calls.
pub(in crate::methods) const METHODS: &[Method] = &[
    Method {
        name: "eth_createAccessList",
        about: "The accounts and slots that a call touches, as an EIP-2930 list, and its gas with that list.",
        params: &[CALL, BLOCK, STATE_OVERRIDES],
        result: "object: accessList, gasUsed, and error if the call fails",
        work: Work::Compute,
        run: create_access_list,
    },
    Method {
        name: "eth_callMany",
        about: "Tries bundles of calls one after another, each call on the state that the one before it left.",
        params: &[
            Param::required("bundles", "array of objects: transactions (array), blockOverride"),
            Param::optional("context", "object: blockNumber (tag, number or hash); default latest"),
            STATE_OVERRIDES,
        ],
        result: "array per bundle of objects: value, or error",
        work: Work::Compute,
        run: call_many,
    },
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccessListAnswer {
    access_list: AccessList,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    gas_used: U64,
}

fn create_access_list(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let request = request(service, params, 0)?;
    let overrides = Overrides { state: params.shaped(2)?, block: BlockOverrides::default() };
    let after = After::find(service, params.find(1)?.unwrap_or(BlockId::Latest))?;
    let gas_max = service.limits.call_gas_max;
    traced(service, params, |limits| {
        let found =
            execution::access_list(&after.site(service), &overrides, request, gas_max, limits).map_err(refused)?;
        let error = problem(found.status, found.output).map(|error| error.message);
        Ok(AccessListAnswer { access_list: found.access_list, error, gas_used: U64::from(found.gas_used) })
    })
}

/// Why a call failed; `None` if it did not.
fn problem(status: CallStatus, output: Bytes) -> Option<RpcError> {
    match status {
        CallStatus::Success => None,
        CallStatus::Reverted => Some(RpcError::reverted(output)),
        CallStatus::OutOfGas => Some(RpcError::server("out of gas")),
        CallStatus::Halted(reason) => Some(RpcError::server(reason)),
    }
}

/// Calls under one block override.
struct Bundle {
    calls: Vec<CallObject>,
    block: BlockOverrides,
}

impl FromJson for Bundle {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected an object with transactions, got {}", show(value)));
        };
        let block = object.get("blockOverride").unwrap_or(&Value::Null);
        let block = shaped(block).map_err(|reason| format!("field \"blockOverride\": {reason}"))?;
        Ok(Self { calls: member(object, "transactions")?.unwrap_or_default(), block })
    }
}

/// The second parameter of `eth_callMany`.
struct Site(BlockId);

impl FromJson for Site {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected an object with blockNumber, got {}", show(value)));
        };
        match object.get("transactionIndex") {
            None | Some(Value::Null) => Ok(Self(member(object, "blockNumber")?.unwrap_or(BlockId::Latest))),
            Some(Value::Number(last)) if last.as_i64() == Some(-1) => {
                Ok(Self(member(object, "blockNumber")?.unwrap_or(BlockId::Latest)))
            }
            Some(_) => Err("field \"transactionIndex\": only -1, the end of the block, is taken".to_owned()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum CallAnswer {
    Value(Bytes),
    Error(RpcError),
}

impl From<Result<CallOutcome, InvalidTransaction>> for CallAnswer {
    fn from(outcome: Result<CallOutcome, InvalidTransaction>) -> Self {
        match outcome {
            Ok(outcome) => match problem(outcome.status, outcome.output.clone()) {
                Some(error) => Self::Error(error),
                None => Self::Value(outcome.output),
            },
            Err(refused) => Self::Error(RpcError::server(refused.to_string())),
        }
    }
}

/// Counts the calls before they are read: what is read takes a hundred times its JSON.
fn check_counts(bundles: &Value, max: usize) -> Result<(), RpcError> {
    let Some(bundles) = bundles.as_array() else { return Ok(()) };
    let calls = |bundle: &Value| bundle.get("transactions").and_then(Value::as_array).map_or(0, Vec::len);
    let calls = bundles.iter().map(calls).fold(0, usize::saturating_add);
    if calls > max || bundles.len() > max {
        let count = bundles.len();
        return Err(RpcError::limit(format!("too many calls: got {count} bundles with {calls} calls, limit {max}")));
    }
    Ok(())
}

fn call_many(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let spec = &service.context.spec;
    check_counts(params.value(0), service.limits.batch_requests_max)?;
    let bundles: Vec<Bundle> = params.get(0)?;
    let Site(id) = params.find(1)?.unwrap_or(Site(BlockId::Latest));
    let Place { state, env } = Place::find(service, id)?;
    let stop = || params.late();
    let mut requests = Vec::with_capacity(bundles.len());
    for Bundle { calls, block } in bundles {
        let calls: Result<Vec<CallRequest>, String> =
            calls.into_iter().map(|CallObject(call)| call.under(spec)).collect();
        requests.push(execution::Bundle { requests: calls.map_err(|reason| params.wrong(0, &reason))?, block });
    }
    let limits = CallLimits { gas_max: service.limits.call_gas_max, stop: &stop };
    let outcomes = execution::call_many(&*state, spec, &env, params.shaped(2)?, requests, limits);
    let outcomes = outcomes.map_err(super::call::failed)?;
    if params.late() {
        return Err(RpcError::timeout());
    }
    let answers: Vec<Vec<CallAnswer>> =
        outcomes.into_iter().map(|bundle| bundle.into_iter().map(CallAnswer::from).collect()).collect();
    Json::within(&answers, service.limits.response_bytes_max)
}
