//! `testing_*`: a block with a given content on a given parent, built and forgotten, for whoever tests a client.
//!
//! # Design
//! Offered where an imported chain is served, and nowhere else: the answer is a payload as Ethereum's consensus layer
//! knows it. A block of ours has a context that only the engine makes, and a validator builds for nobody but itself.
//!
//! # Not here
//! Blobs: only their versioned hashes stand in a block, so the bundle is always empty.

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, FromJson, Param, Params, member, member_required, show},
    service::Service,
};
use alloy_consensus::{
    BlockHeader as _, EMPTY_OMMER_ROOT_HASH, Header, Transaction as _,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::{eip2718::Encodable2718 as _, eip7685::Requests};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use keystead_execution::{
    BlockEnv, BuildLimits, Error as ExecutionError, EthereumBlock, Outcome, build, execute_ethereum,
};
use keystead_state::Snapshot;
use keystead_types::{
    ETHEREUM_BLOCK_BYTES_MAX, Fork, Forks, Recovered, Transaction, Withdrawal, decode_ethereum_transaction, recover,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The method.
const NAME: &str = "testing_buildBlockV1";
/// Gas limit that a builder moves towards by its vote: geth's default from Osaka on.
const GAS_LIMIT_WANTED: u64 = 60_000_000;
/// The part of the parent's gas limit by which a block's must differ less (Ethereum yellow paper §4.4.4).
const GAS_LIMIT_STEP: u64 = 1_024;
/// Withdrawals in a block (consensus specs, `MAX_WITHDRAWALS_PER_PAYLOAD`).
const WITHDRAWALS_MAX: usize = 16;
/// Transactions taken from the pool at most: the gas limit allows fewer.
const TRANSACTIONS_MAX: usize = 8_192;
/// Bytes of `extraData` (Ethereum yellow paper §4.4.4).
const EXTRA_DATA_BYTES_MAX: usize = 32;

/// The namespace.
pub(super) const METHODS: &[Method] = &[Method {
    name: NAME,
    about: "Builds the child of a block of an imported chain with these attributes and transactions, and forgets it.",
    params: &[
        Param::required("parentHash", "hash"),
        Param::required(
            "payloadAttributes",
            "object: timestamp, prevRandao, suggestedFeeRecipient, withdrawals, parentBeaconBlockRoot",
        ),
        Param::optional("transactions", "array of bytes: the block's transactions in order; default those of the pool"),
        Param::optional("extraData", "at most 32 bytes; default none"),
    ],
    result: "object: executionPayload, blockValue, blobsBundle, executionRequests, shouldOverrideBuilder",
    work: Work::Compute,
    run: build_block,
}];

/// What the consensus layer says about a block.
struct Attributes {
    timestamp: u64,
    prev_randao: B256,
    beneficiary: Address,
    withdrawals: Vec<Withdrawal>,
    beacon_root: Option<B256>,
}

impl FromJson for Attributes {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else { return Err(format!("expected an object, got {}", show(value))) };
        let withdrawals: Vec<Paid> = member(object, "withdrawals")?.unwrap_or_default();
        if withdrawals.len() > WITHDRAWALS_MAX {
            let got = withdrawals.len();
            return Err(format!("field \"withdrawals\": at most {WITHDRAWALS_MAX}, got {got}"));
        }
        Ok(Self {
            timestamp: member_required(object, "timestamp")?,
            prev_randao: member_required(object, "prevRandao")?,
            beneficiary: member_required(object, "suggestedFeeRecipient")?,
            withdrawals: withdrawals.into_iter().map(|Paid(withdrawal)| withdrawal).collect(),
            beacon_root: member(object, "parentBeaconBlockRoot")?,
        })
    }
}

/// A payment from the consensus layer.
struct Paid(Withdrawal);

impl FromJson for Paid {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else { return Err(format!("expected an object, got {}", show(value))) };
        Ok(Self(Withdrawal {
            index: member_required(object, "index")?,
            validator_index: member_required(object, "validatorIndex")?,
            address: member_required(object, "address")?,
            amount: member_required(object, "amount")?,
        }))
    }
}

/// A block before it is executed.
struct Plan {
    parent: Arc<Snapshot>,
    fork: Fork,
    env: BlockEnv,
    withdrawals: Vec<Withdrawal>,
    transactions: Vec<Recovered>,
    extra_data: Bytes,
}

fn build_block(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Some(forks) = &service.context.spec.ethereum else { return Err(RpcError::method_not_found(NAME)) };
    let plan = Plan::read(service, params, forks)?;
    let outcome = plan.execute(service)?;
    let state_root = plan.parent.child(outcome.changes.clone())?.state_root();
    let header = plan.header(&outcome, state_root);
    Json::within(&plan.answer(&header, &outcome), service.limits.response_bytes_max)
}

impl Plan {
    fn read(service: &Service, params: &Params, forks: &Forks) -> Result<Self, RpcError> {
        let parent_hash: B256 = params.get(0)?;
        let attributes: Attributes = params.get(1)?;
        let extra_data: Bytes = params.find(3)?.unwrap_or_default();
        if extra_data.len() > EXTRA_DATA_BYTES_MAX {
            return Err(params.wrong(3, &format!("at most {EXTRA_DATA_BYTES_MAX} bytes, got {}", extra_data.len())));
        }
        let state = service.chain().state(BlockId::Hash(parent_hash))?;
        let parent = service.chain().header(state.number())?;
        let Attributes { timestamp, withdrawals, .. } = attributes;
        if timestamp <= parent.timestamp {
            let before = parent.timestamp;
            return Err(params.wrong(1, &format!("field \"timestamp\": must be above {before}, got {timestamp}")));
        }
        let number = parent.number.saturating_add(1);
        let fork = forks.fork(number, timestamp, U256::ZERO);
        if fork < Fork::Paris {
            return Err(RpcError::server(format!("block {number} is before the merge: it needs a proof of work")));
        }
        if fork >= Fork::Cancun && attributes.beacon_root.is_none() {
            return Err(params.wrong(1, "field \"parentBeaconBlockRoot\" is missing"));
        }
        if fork < Fork::Shanghai && !withdrawals.is_empty() {
            return Err(params.wrong(1, "field \"withdrawals\": there are none before Shanghai"));
        }
        let excess = forks.blobs(fork, timestamp).and_then(|blobs| parent.next_block_excess_blob_gas(blobs));
        let env = BlockEnv {
            number,
            timestamp,
            beneficiary: attributes.beneficiary,
            gas_limit: gas_limit(parent.gas_limit),
            base_fee: service.context.spec.next_base_fee(&parent),
            difficulty: U256::ZERO,
            prev_randao: attributes.prev_randao,
            excess_blob_gas: excess.unwrap_or_default(),
            parent_beacon_block_root: attributes.beacon_root.unwrap_or_default(),
            parent_hash,
            ..BlockEnv::default()
        };
        let transactions = match params.find::<Vec<Bytes>>(2)? {
            Some(given) => read_all(params, &given)?,
            None => from_pool(service, params, &state, &env)?,
        };
        Ok(Self { parent: state, fork, env, withdrawals, transactions, extra_data })
    }

    fn execute(&self, service: &Service) -> Result<Outcome, RpcError> {
        let content = EthereumBlock {
            transactions: &self.transactions,
            ommers: &[],
            withdrawals: &self.withdrawals,
            // After the merge no receipt has one.
            state_root: &|changes| Ok(self.parent.child(changes)?.state_root()),
        };
        execute_ethereum(&*self.parent, &service.context.spec, &self.env, &content).map_err(|error| match error {
            ExecutionError::Transaction { .. } | ExecutionError::Block(_) => RpcError::server(error.to_string()),
            broken => RpcError::internal(&broken),
        })
    }

    fn since<T>(&self, fork: Fork, value: T) -> Option<T> {
        (self.fork >= fork).then_some(value)
    }

    fn header(&self, outcome: &Outcome, state_root: B256) -> Header {
        let env = &self.env;
        let listed: Vec<&Transaction> = self.transactions.iter().map(|it| it.inner()).collect();
        Header {
            parent_hash: env.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: env.beneficiary,
            state_root,
            transactions_root: calculate_transaction_root(&listed),
            receipts_root: outcome.receipts_root,
            withdrawals_root: self.since(Fork::Shanghai, calculate_withdrawals_root(&self.withdrawals)),
            logs_bloom: outcome.logs_bloom,
            number: env.number,
            gas_limit: env.gas_limit,
            gas_used: outcome.gas_used,
            timestamp: env.timestamp,
            mix_hash: env.prev_randao,
            base_fee_per_gas: Some(env.base_fee),
            blob_gas_used: self.since(Fork::Cancun, outcome.blob_gas_used),
            excess_blob_gas: self.since(Fork::Cancun, env.excess_blob_gas),
            parent_beacon_block_root: self.since(Fork::Cancun, env.parent_beacon_block_root),
            requests_hash: self.since(Fork::Prague, Requests::new(outcome.requests.clone()).requests_hash()),
            extra_data: self.extra_data.clone(),
            ..Header::default()
        }
    }

    /// What all priority fees come to, in wei.
    fn value(&self, outcome: &Outcome) -> U256 {
        let mut before = 0;
        let pairs = self.transactions.iter().zip(&outcome.receipts);
        pairs.fold(U256::ZERO, |sum, (transaction, receipt)| {
            let gas = receipt.cumulative_gas_used().saturating_sub(before);
            before = receipt.cumulative_gas_used();
            let tip = transaction.effective_tip_per_gas(self.env.base_fee).unwrap_or_default();
            sum.saturating_add(U256::from(tip).saturating_mul(U256::from(gas)))
        })
    }

    fn answer(&self, header: &Header, outcome: &Outcome) -> Value {
        let transactions: Vec<Bytes> = self.transactions.iter().map(|it| it.inner().encoded_2718().into()).collect();
        let mut payload = json!({
            "parentHash": header.parent_hash,
            "feeRecipient": header.beneficiary,
            "stateRoot": header.state_root,
            "receiptsRoot": header.receipts_root,
            "logsBloom": header.logs_bloom,
            "prevRandao": header.mix_hash,
            "blockNumber": U64::from(header.number),
            "gasLimit": U64::from(header.gas_limit),
            "gasUsed": U64::from(header.gas_used),
            "timestamp": U64::from(header.timestamp),
            "extraData": header.extra_data,
            "baseFeePerGas": U64::from(header.base_fee_per_gas().unwrap_or_default()),
            "blockHash": header.hash_slow(),
            "transactions": transactions,
        });
        let later = [
            ("withdrawals", self.since(Fork::Shanghai, json!(self.withdrawals))),
            ("blobGasUsed", header.blob_gas_used.map(|gas| json!(U64::from(gas)))),
            ("excessBlobGas", header.excess_blob_gas.map(|gas| json!(U64::from(gas)))),
        ];
        for (name, value) in later {
            if let (Some(fields), Some(value)) = (payload.as_object_mut(), value) {
                fields.insert(name.to_owned(), value);
            }
        }
        json!({
            "executionPayload": payload,
            "blockValue": self.value(outcome),
            "blobsBundle": { "commitments": [], "proofs": [], "blobs": [] },
            "executionRequests": outcome.requests,
            "shouldOverrideBuilder": false,
        })
    }
}

/// The gas limit of a child: as near to the wanted one as a block may go.
const fn gas_limit(parent: u64) -> u64 {
    let step = (parent / GAS_LIMIT_STEP).saturating_sub(1);
    if parent < GAS_LIMIT_WANTED {
        let most = parent.saturating_add(step);
        if most < GAS_LIMIT_WANTED { most } else { GAS_LIMIT_WANTED }
    } else {
        let least = parent.saturating_sub(step);
        if least > GAS_LIMIT_WANTED { least } else { GAS_LIMIT_WANTED }
    }
}

fn read_all(params: &Params, given: &[Bytes]) -> Result<Vec<Recovered>, RpcError> {
    let mut transactions = Vec::with_capacity(given.len());
    for (index, bytes) in given.iter().enumerate() {
        if params.late() {
            return Err(RpcError::timeout());
        }
        let wrong = |error: &dyn std::fmt::Display| params.wrong(2, &format!("element {index}: {error}"));
        let transaction = decode_ethereum_transaction(bytes).map_err(|error| wrong(&error))?;
        transactions.push(recover(transaction).map_err(|error| wrong(&error))?);
    }
    Ok(transactions)
}

/// The best transactions of the pool that fit.
fn from_pool(
    service: &Service,
    params: &Params,
    state: &Arc<Snapshot>,
    env: &BlockEnv,
) -> Result<Vec<Recovered>, RpcError> {
    let mut candidates = service.pool().best(env.base_fee);
    let limits = BuildLimits { bytes_max: ETHEREUM_BLOCK_BYTES_MAX / 2, transactions_max: TRANSACTIONS_MAX };
    let built = build(&**state, &service.context.spec, env, &mut candidates, limits, &|| params.late());
    let built = built.map_err(|error| RpcError::internal(&error))?;
    Ok(built.transactions.iter().map(|it| (**it).clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gas_limit_moves_towards_the_wanted_one_by_less_than_its_part() {
        // The suite's own case, then the edges.
        assert_eq!(gas_limit(200_000_000), 199_804_689);
        assert_eq!(gas_limit(GAS_LIMIT_WANTED), GAS_LIMIT_WANTED);
        assert_eq!(gas_limit(GAS_LIMIT_WANTED + 1), GAS_LIMIT_WANTED);
        assert_eq!(gas_limit(GAS_LIMIT_WANTED - 1), GAS_LIMIT_WANTED);
        assert_eq!(gas_limit(30_000_000), 30_000_000 + 30_000_000 / 1_024 - 1);
        assert_eq!(gas_limit(5_000), 5_003);
    }

    #[test]
    fn attributes_are_read_and_too_many_withdrawals_are_not() {
        let withdrawal = json!({ "index": "0x1", "validatorIndex": "0x2", "address": Address::ZERO, "amount": "0x3" });
        let attributes = |count: usize| {
            Attributes::from_json(&json!({
                "timestamp": "0x1", "prevRandao": B256::ZERO, "suggestedFeeRecipient": Address::ZERO,
                "withdrawals": vec![withdrawal.clone(); count],
            }))
        };
        let read = attributes(WITHDRAWALS_MAX).map(|read| (read.timestamp, read.withdrawals.len(), read.beacon_root));
        assert_eq!(read, Ok((1, WITHDRAWALS_MAX, None)));
        assert!(attributes(WITHDRAWALS_MAX + 1).is_err_and(|reason| reason.contains("at most 16, got 17")));
        assert!(Attributes::from_json(&json!({})).is_err_and(|reason| reason.contains("\"timestamp\" is missing")));
    }
}
