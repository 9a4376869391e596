//! Calls that are tried and forgotten.

use crate::{
    error::RpcError,
    message::Json,
    params::{BlockId, FromJson, Params, member, show},
    pending::{Place, next_block},
    service::Service,
};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::SignedAuthorization,
};
use alloy_primitives::{Address, B256, Bytes, U64};
use keystead_execution::{
    BlockEnv, CallPrice, CallRequest, CallStatus, Error, EstimateError, Overrides, call as execute_call,
    estimate_gas as execute_estimate,
};
use keystead_state::Snapshot;
use keystead_types::ChainSpec;
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// Fields of a call, for the documentation.
pub(in crate::methods) const CALL_FIELDS: &str = "object: from, to, gas, gasPrice or maxFeePerGas and maxPriorityFeePerGas, value, input (or data), accessList, \
     authorizationList";

pub(super) fn call(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Prepared { request, place: Place { state, env }, overrides } = prepare(service, params)?;
    let outcome = execute_call(&*state, &service.context.spec, &env, &overrides, request, service.limits.call_gas_max);
    let outcome = outcome.map_err(failed)?;
    match outcome.status {
        CallStatus::Success => Json::of(&outcome.output),
        CallStatus::Reverted => Err(RpcError::reverted(outcome.output)),
        CallStatus::OutOfGas => Err(RpcError::server(format!("out of gas: gas_used={}", outcome.gas_used))),
        CallStatus::Halted(reason) => Err(RpcError::server(reason)),
    }
}

pub(super) fn estimate_gas(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Prepared { request, place: Place { state, mut env }, overrides } = prepare(service, params)?;
    if matches!(params.find(1)?, None | Some(BlockId::Latest)) {
        env = block_to_come(service, &state, env)?;
    }
    let gas = execute_estimate(&*state, &service.context.spec, &env, &overrides, request, service.limits.call_gas_max);
    Json::of(&U64::from(estimated(gas)?))
}

/// Where a transaction will run whose gas is estimated now: in the head's child, at least a second after the head.
///
/// Contracts that accrue something (prices, interest) write more slots once time has passed. At the head's own time such an
/// estimate is too low, and the transaction runs out of gas. A foreign chain has no next block.
fn block_to_come(service: &Service, head: &Snapshot, at_head: BlockEnv) -> Result<BlockEnv, RpcError> {
    if service.context.spec.ethereum.is_some() {
        return Ok(at_head);
    }
    let parent = service.chain().header(head.number())?;
    let (env, _) = next_block(service, &parent, head.hash())?;
    Ok(BlockEnv { timestamp: env.timestamp.max(parent.timestamp.saturating_add(1)), ..env })
}

/// The gas, or the error that its caller reads.
pub(in crate::methods) fn estimated(gas: Result<u64, EstimateError>) -> Result<u64, RpcError> {
    match gas {
        Ok(gas) => Ok(gas),
        Err(EstimateError::Execution(error)) => Err(failed(error)),
        Err(EstimateError::Reverted { output }) => Err(RpcError::reverted(output)),
        Err(
            error @ (EstimateError::Halted { .. }
            | EstimateError::AllowanceExceeded { .. }
            | EstimateError::InsufficientFunds { .. }),
        ) => Err(RpcError::server(error.to_string())),
    }
}

/// The error of a call that did not run.
pub(in crate::methods) fn failed(error: Error) -> RpcError {
    match error {
        Error::Request(refused) => RpcError::server(refused.to_string()),
        Error::Overrides(refused) => RpcError::server(refused.to_string()),
        broken @ (Error::View(_) | Error::Transaction { .. } | Error::Block(_) | Error::Machine(_)) => {
            RpcError::internal(&broken)
        }
    }
}

/// A call and where it is tried.
struct Prepared {
    request: CallRequest,
    place: Place,
    overrides: Overrides,
}

fn prepare(service: &Service, params: &Params) -> Result<Prepared, RpcError> {
    let request = request(service, params, 0)?;
    let overrides = Overrides { state: params.shaped(2)?, block: params.shaped(3)? };
    let block = params.find(1)?;
    let mut place = Place::find(service, block.unwrap_or(BlockId::Latest))?;
    if let (Some(dev), None) = (&service.context.dev, block) {
        // Where time is set by hand, a call that names no block is meant for the one to come.
        place.env = dev.next_block()?;
    }
    Ok(Prepared { request, place, overrides })
}

/// The call object at `index`, if it is for this chain.
pub(in crate::methods) fn request(service: &Service, params: &Params, index: usize) -> Result<CallRequest, RpcError> {
    let CallObject(call) = params.get(index)?;
    call.under(&service.context.spec).map_err(|reason| params.wrong(index, &reason))
}

/// The transaction object of a call.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::methods) struct CallObject(pub(in crate::methods) Call);

/// What stands in it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::methods) struct Call {
    call: CallRequest,
    chain_id: Option<u64>,
    /// The field that makes it one of type 3, if any does.
    blob_field: Option<&'static str>,
}

impl Call {
    /// The call, unless it names another chain.
    pub(in crate::methods) fn for_chain(self, chain_id: u64) -> Result<CallRequest, String> {
        match self.chain_id.filter(|given| *given != chain_id) {
            Some(given) => Err(format!("field \"chainId\": expected {chain_id:#x} or nothing, got {given:#x}")),
            None => Ok(self.call),
        }
    }

    /// The same, unless the chain does not run calls of its type.
    pub(in crate::methods) fn under(self, spec: &ChainSpec) -> Result<CallRequest, String> {
        match self.blob_field.filter(|_| spec.ethereum.is_none()) {
            Some(field) => Err(format!("field {field:?}: transaction type 3 is not supported on this chain")),
            None => self.for_chain(spec.chain_id),
        }
    }
}

/// Fields that only a call of type 3 has.
const BLOB_FIELDS: [&str; 2] = ["blobVersionedHashes", "maxFeePerBlobGas"];

/// True if a field is missing or says nothing.
const fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(values)) => values.is_empty(),
        Some(_) => false,
    }
}

impl FromJson for CallObject {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected a transaction object, got {}", show(value)));
        };
        if !is_nothing(object.get("blobs")) {
            return Err("field \"blobs\": blobs are not read, give blobVersionedHashes".to_owned());
        }
        let kind = member::<u64>(object, "type")?;
        if let Some(kind) = kind.filter(|kind| *kind > 4) {
            return Err(format!("field \"type\": transaction type {kind} is not supported on this chain"));
        }
        let blob_field = BLOB_FIELDS.into_iter().find(|field| !is_nothing(object.get(*field)));
        let blob_field = blob_field.or_else(|| (kind == Some(3)).then_some("type"));
        // The nonce does not matter to a call, but a malformed one is the caller's mistake.
        member::<u64>(object, "nonce")?;
        let call = CallRequest {
            from: member(object, "from")?.unwrap_or_default(),
            to: member::<Address>(object, "to")?,
            gas: member(object, "gas")?,
            price: price(object)?,
            value: member(object, "value")?.unwrap_or_default(),
            input: input(object)?,
            access_list: AccessList(member(object, "accessList")?.map(access_list).unwrap_or_default()),
            authorizations: member(object, "authorizationList")?.map(authorizations).unwrap_or_default(),
            blob_hashes: member(object, "blobVersionedHashes")?.unwrap_or_default(),
            max_fee_per_blob_gas: member(object, "maxFeePerBlobGas")?.unwrap_or_default(),
        };
        if !call.blob_hashes.is_empty() && call.to.is_none() {
            return Err("field \"to\": a call with blobVersionedHashes cannot create a contract".to_owned());
        }
        if !call.authorizations.is_empty() && call.to.is_none() {
            return Err("field \"to\": a call with an authorizationList cannot create a contract".to_owned());
        }
        Ok(Self(Call { call, chain_id: member(object, "chainId")?, blob_field }))
    }
}

fn price(object: &Map<String, Value>) -> Result<CallPrice, String> {
    let gas_price: Option<u128> = member(object, "gasPrice")?;
    let max_fee: Option<u128> = member(object, "maxFeePerGas")?;
    let max_priority_fee: Option<u128> = member(object, "maxPriorityFeePerGas")?;
    match (gas_price, max_fee, max_priority_fee) {
        (None, None, None) => Ok(CallPrice::Free),
        (Some(gas_price), None, None) => Ok(CallPrice::Legacy { gas_price }),
        (None, max_fee, max_priority_fee) => Ok(CallPrice::Dynamic {
            max_fee: max_fee.unwrap_or_default(),
            max_priority_fee: max_priority_fee.unwrap_or_default(),
        }),
        (Some(_), _, _) => {
            Err("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified: choose one".to_owned())
        }
    }
}

/// Calldata stands in `input`, or in `data` as older tools have it.
fn input(object: &Map<String, Value>) -> Result<Bytes, String> {
    let (input, data): (Option<Bytes>, Option<Bytes>) = (member(object, "input")?, member(object, "data")?);
    match (input, data) {
        (Some(input), Some(data)) if input != data => {
            Err("both \"data\" and \"input\" are set and not equal: use \"input\"".to_owned())
        }
        (input, data) => Ok(input.or(data).unwrap_or_default()),
    }
}

/// One entry of an access list.
struct AccessEntry(AccessListItem);

fn access_list(entries: Vec<AccessEntry>) -> Vec<AccessListItem> {
    entries.into_iter().map(|AccessEntry(item)| item).collect()
}

impl FromJson for AccessEntry {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            return Err(format!("expected an object with address and storageKeys, got {}", show(value)));
        };
        let address = crate::params::member_required(object, "address")?;
        let storage_keys = member::<Vec<B256>>(object, "storageKeys")?.unwrap_or_default();
        Ok(Self(AccessListItem { address, storage_keys }))
    }
}

/// One entry of an authorization list.
struct Authorization(SignedAuthorization);

fn authorizations(entries: Vec<Authorization>) -> Vec<SignedAuthorization> {
    entries.into_iter().map(|Authorization(signed)| signed).collect()
}

impl FromJson for Authorization {
    fn from_json(value: &Value) -> Result<Self, String> {
        SignedAuthorization::deserialize(value)
            .map(Self)
            .map_err(|error| format!("expected an object with chainId, address, nonce, yParity, r and s: {error}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use alloy_primitives::U256;
    use keystead_types::{Fork, Forks};
    use serde_json::json;

    fn read(value: Value) -> Result<CallRequest, String> {
        CallObject::from_json(&value).and_then(|CallObject(call)| call.under(&ChainSpec::keystead(1)))
    }

    #[test]
    fn a_call_object_is_read_in_full() {
        let address = Address::repeat_byte(1);
        let key = B256::repeat_byte(2);
        let request = read(json!({
            "from": address, "to": address, "gas": "0x5208", "maxFeePerGas": "0x3", "maxPriorityFeePerGas": "0x1",
            "value": "0x7", "data": "0x0102", "nonce": "0x9", "type": "0x2", "chainId": "0x1",
            "accessList": [{ "address": address, "storageKeys": [key] }, { "address": address }],
        }));
        let items =
            vec![AccessListItem { address, storage_keys: vec![key] }, AccessListItem { address, storage_keys: vec![] }];
        let want = CallRequest {
            from: address,
            to: Some(address),
            gas: Some(21_000),
            price: CallPrice::Dynamic { max_fee: 3, max_priority_fee: 1 },
            value: U256::from(7),
            input: Bytes::from_static(&[1, 2]),
            access_list: AccessList(items),
            authorizations: Vec::new(),
            ..CallRequest::default()
        };
        assert_eq!(request, Ok(want));
        assert_eq!(read(json!({})), Ok(CallRequest::default()));
        assert_eq!(read(json!({ "to": null, "gasPrice": null })), Ok(CallRequest::default()));
    }

    #[test]
    fn contradictions_and_foreign_types_are_refused_by_name() {
        let cases = [
            (json!({ "data": "0x01", "input": "0x02" }), "\"data\" and \"input\""),
            (json!({ "gasPrice": "0x1", "maxFeePerGas": "0x1" }), "gasPrice and"),
            (json!({ "type": "0x3" }), "type 3"),
            (json!({ "blobVersionedHashes": [B256::ZERO], "to": Address::ZERO }), "\"blobVersionedHashes\""),
            (json!({ "maxFeePerBlobGas": "0x1" }), "\"maxFeePerBlobGas\""),
            (json!({ "blobs": ["0x00"] }), "give blobVersionedHashes"),
            (json!({ "type": "0x5" }), "type 5"),
            (
                json!({ "authorizationList": [{}] }),
                "field \"authorizationList\": element 0: expected an object with chainId",
            ),
            (json!({ "gas": 21000 }), "field \"gas\": expected a quantity"),
            (json!({ "value": "1" }), "field \"value\""),
            (json!({ "accessList": [{}] }), "field \"accessList\": element 0: field \"address\" is missing"),
            (json!("0x"), "expected a transaction object"),
        ];
        for (value, part) in cases {
            let message = read(value).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        let nothing = json!({ "data": "0x01", "input": "0x01", "authorizationList": [], "blobVersionedHashes": [] });
        assert!(read(nothing).is_ok());
    }

    #[test]
    fn a_foreign_chain_takes_blobs() {
        let spec = ChainSpec::ethereum(1, 30_000_000, Forks::always(Fork::Osaka));
        let read = |value: Value| CallObject::from_json(&value).and_then(|CallObject(call)| call.under(&spec));
        let hash = B256::with_last_byte(1);
        let given =
            json!({ "type": "0x3", "to": Address::ZERO, "blobVersionedHashes": [hash], "maxFeePerBlobGas": "0x5" });
        let request = read(given).unwrap();
        assert_eq!((request.blob_hashes, request.max_fee_per_blob_gas), (vec![hash], 5));
        assert!(read(json!({ "blobVersionedHashes": [hash] })).unwrap_err().contains("cannot create"));
    }
}
