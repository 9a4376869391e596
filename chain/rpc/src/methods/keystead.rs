//! `keystead_*`: what lets a caller check this node instead of believing it.
//!
//! Spec: specs/0001-certificate.md §2, specs/0002-proof-bundle.md §8, specs/0007-beacon.md §7.

use super::Method;
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    params::{BlockId, FromJson, Param, Params},
    service::Service,
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bytes, FixedBytes, U64, U256};
use keystead_proof::{
    AUDIT_ADDRESS, AuditParts, BeaconProof, Bundle, Claim, ComposeError, HEADERS_MAX, LogPosition, MARKET_ADDRESS,
    Path, Request, SlotValue, bond_slot, finalization_json, order_slots, window_slots,
};
use keystead_types::{
    BEACON_ADDRESS, BEACON_NEWEST_SLOT, BEACON_VALUES_MAX, BeaconBatch, BeaconValue, Certificate, Header,
    StateView as _, network_namespace,
};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

/// The namespace.
pub(super) const METHODS: &[Method] = &[
    Method {
        name: "keystead_getBeacon",
        about: "The beacon value of a height and the randomness that it gives; with the network key it proves itself.",
        params: &[Param::required("height", "number, from 1 on")],
        result: "object: format, chainId, height, value, randomness, as `keystead verify` takes it; null if not yet on chain",
        work: Work::Read,
        run: beacon,
    },
    Method {
        name: "keystead_getFinalization",
        about: "What makes a block final: its certificate or a descendant's, with the headers that link the two.",
        params: &[Param::required("height", "tag or number")],
        result: "object: certificate, headers (RLP, from the certified block down to the height); null if not yet final",
        work: Work::Read,
        run: finalization,
    },
    Method {
        name: "keystead_getProof",
        about: "A bundle that proves a claim about the chain to whoever has the network key.",
        params: &[Param::required(
            "claim",
            "object: kind (account, storage, transaction, receipt, log, job-result or job-audit) and what names the claim",
        )],
        result: "bundle",
        work: Work::Compute,
        run: proof,
    },
    Method {
        name: "keystead_validators",
        about: "The committee, its key, and the namespace of its signatures. Compare the key with one you trust.",
        params: &[],
        result: "object: chainId, networkKey, namespace, validators",
        work: Work::Instant,
        run: validators,
    },
];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ValidatorsAnswer<'a> {
    chain_id: U64,
    network_key: FixedBytes<96>,
    namespace: Bytes,
    validators: Vec<ValidatorAnswer<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ValidatorAnswer<'a> {
    index: U64,
    public_key: B256,
    p2p_address: &'a str,
}

fn validators(service: &Service, _: &Params) -> Result<Json, RpcError> {
    let network = &service.context.network;
    let chain_id = service.context.spec.chain_id;
    let validators = network.validators.iter().enumerate().map(|(index, validator)| ValidatorAnswer {
        index: U64::from(index),
        public_key: validator.public_key.into(),
        p2p_address: &validator.p2p_address,
    });
    Json::of(&ValidatorsAnswer {
        chain_id: U64::from(chain_id),
        network_key: network.network_key.into(),
        namespace: network_namespace(chain_id).into(),
        validators: validators.collect(),
    })
}

/// A certificate, and the headers from its block down to the block in question.
struct Finalization {
    certificate: Certificate,
    headers: Vec<Header>,
}

/// What makes the block at `height` final; `None` if this node has no certificate at or above it yet.
///
/// Errors: server error if the nearest certificate is further away than a bundle may reach.
fn find_finalization(service: &Service, height: u64) -> Result<Option<Finalization>, RpcError> {
    let Some((certified, certificate)) = service.context.store.certificate_at_or_above(height)? else {
        return Ok(None);
    };
    let distance = certified.saturating_sub(height);
    if distance >= HEADERS_MAX as u64 {
        return Err(RpcError::server(format!(
            "the next certificate after block {height} is that of block {certified}: further than {HEADERS_MAX} headers"
        )));
    }
    let headers = (height..=certified).rev().map(|number| service.chain().header(number));
    Ok(Some(Finalization { certificate, headers: headers.collect::<Result<_, _>>()? }))
}

/// What makes the block at `height` and those up to the next certificate final, and the certified height; `None` if there
/// is no certificate at or above it yet. Blocks that are too far below that certificate to be linked are left out.
pub(crate) fn finalization_from(service: &Service, height: u64) -> Result<Option<(u64, Json)>, RpcError> {
    let Some((certified, _)) = service.context.store.certificate_at_or_above(height)? else { return Ok(None) };
    let lowest = certified.saturating_sub((HEADERS_MAX as u64).saturating_sub(1)).max(height);
    let found = find_finalization(service, lowest)?;
    Ok(found.map(|it| (certified, Json::from_text(finalization_json(&it.certificate, &it.headers)))))
}

fn finalization(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Some(height) = service.chain().number(super::eth::numbered(params)?)? else { return Json::of(&()) };
    match find_finalization(service, height)? {
        Some(it) => Ok(Json::from_text(finalization_json(&it.certificate, &it.headers))),
        None => Json::of(&()),
    }
}

/// Blocks above a height in which its beacon value is looked for. Most values stand in the second block above; with fewer
/// signers than a quorum for a while, all heights of that while follow later, sixteen in a block.
const BEACON_BLOCKS_MAX: u64 = 4_096;

fn beacon(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let height: u64 = params.get(0)?;
    if height == 0 {
        return Err(params.wrong(0, "the genesis block has no beacon value: heights begin at 1"));
    }
    let state = service.context.store.latest();
    let newest: u64 = state.storage(&BEACON_ADDRESS, &BEACON_NEWEST_SLOT)?.saturating_to();
    if height > newest {
        return Json::of(&());
    }
    let value = find_beacon(service, params, height)?;
    Ok(Json::from_text(BeaconProof::new(service.context.spec.chain_id, height, value).to_json()))
}

/// The value of a height that is on chain, from the block that carries it.
///
/// Values stand in the order of their heights, at most sixteen in a block: so what a block carries tells how many blocks can be
/// skipped. Blocks without values are told by their headers. Cost: [`BEACON_BLOCKS_MAX`] headers at most.
fn find_beacon(service: &Service, params: &Params, height: u64) -> Result<BeaconValue, RpcError> {
    let head = service.chain().head();
    let mut number = height.saturating_add(1);
    for _ in 0..BEACON_BLOCKS_MAX {
        if number > head || params.late() {
            break;
        }
        let mut step = 1;
        let Some(header) = service.context.store.header(number)? else { break };
        if header.requests_hash != Some(EMPTY_REQUESTS_HASH) {
            let block = service.context.store.block(number)?;
            let batch = block.and_then(|block| BeaconBatch::among(block.requests()).ok().flatten());
            if let Some(value) = batch.as_ref().and_then(|batch| batch.value(height)) {
                return Ok(value);
            }
            let missing = batch.map_or(0, |batch| height.saturating_sub(batch.last()));
            step = missing.div_ceil(BEACON_VALUES_MAX as u64).max(1);
        }
        number = number.saturating_add(step);
    }
    Err(RpcError::server(format!(
        "the beacon value of height {height} is on chain, but not in the {BEACON_BLOCKS_MAX} blocks above it that this node keeps"
    )))
}

/// The request of `keystead_getProof`.
struct ClaimRequest(Request);

impl FromJson for ClaimRequest {
    fn from_json(value: &Value) -> Result<Self, String> {
        Request::deserialize(value).map(Self).map_err(|error| error.to_string())
    }
}

fn proof(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let ClaimRequest(request) = params.get(0)?;
    let claim = match request {
        Request::Account { address, block } => account(service, address, block)?,
        Request::Storage { address, slot, block } => storage(service, address, slot, block)?,
        Request::JobResult { order, block } => job_result(service, order, block)?,
        Request::JobAudit { order, block } => job_audit(service, order, block)?,
        Request::Transaction { transaction_hash } => of_transaction(service, transaction_hash, Part::Transaction)?,
        Request::Receipt { transaction_hash } => of_transaction(service, transaction_hash, Part::Receipt)?,
        Request::Log { transaction_hash, receipt_log_index } => {
            of_transaction(service, transaction_hash, Part::Log(receipt_log_index.to()))?
        }
    };
    let Some(it) = find_finalization(service, claim.block)? else {
        let block = claim.block;
        return Err(RpcError::server(format!("block {block} has no certificate here yet: ask again in a moment")));
    };
    let bundle = Bundle::new(service.context.spec.chain_id, it.certificate, &it.headers, claim).map_err(refused)?;
    Ok(Json::from_text(bundle.to_json()))
}

fn refused(error: ComposeError) -> RpcError {
    match error {
        ComposeError::NoSuchItem { .. } => RpcError::invalid_params(format!("invalid argument 0 (claim): {error}")),
        ComposeError::TooManyHeaders { .. } | ComposeError::TooLarge { .. } => RpcError::server(error.to_string()),
        ComposeError::Unfit(_) | ComposeError::False(_) => RpcError::internal(&error),
    }
}

/// The block that a claim about the state is made for: the one asked for, or the newest with a certificate of its own.
fn block_of_claim(service: &Service, block: Option<U64>) -> Result<BlockId, RpcError> {
    if let Some(block) = block {
        return Ok(BlockId::Number(block.to()));
    }
    let head = service.chain().head();
    for number in (head.saturating_sub(HEADERS_MAX as u64)..=head).rev() {
        if service.context.store.certificate(number)?.is_some() {
            return Ok(BlockId::Number(number));
        }
    }
    Err(RpcError::server(format!("no block up to the head ({head}) has a certificate here yet: ask again in a moment")))
}

fn account(service: &Service, address: Address, block: Option<U64>) -> Result<Claim, RpcError> {
    let state = service.chain().state(block_of_claim(service, block)?)?;
    let proof = state.account_proof(&address)?;
    Ok(Claim::account(state.number(), address, proof.account, proof.nodes))
}

fn storage(service: &Service, address: Address, slot: B256, block: Option<U64>) -> Result<Claim, RpcError> {
    let state = service.chain().state(block_of_claim(service, block)?)?;
    let slot = U256::from_be_bytes(slot.0);
    let (account, storage) = (state.account_proof(&address)?, state.storage_proof(&address, &slot)?);
    let value = SlotValue { address, slot, value: storage.value };
    Ok(Claim::storage(state.number(), value, account.nodes, storage.nodes))
}

fn job_result(service: &Service, order: U64, block: Option<U64>) -> Result<Claim, RpcError> {
    let state = service.chain().state(block_of_claim(service, block)?)?;
    let account = state.account_proof(&MARKET_ADDRESS)?;
    let slots = words(&state, MARKET_ADDRESS, order_slots(order.to()))?;
    Claim::job_result(state.number(), order.to(), account.nodes, slots).map_err(refused)
}

fn job_audit(service: &Service, order: U64, block: Option<U64>) -> Result<Claim, RpcError> {
    let state = service.chain().state(block_of_claim(service, block)?)?;
    let number = order.to();
    let [bond] = words(&state, MARKET_ADDRESS, [bond_slot(number)])?;
    let parts = AuditParts {
        account_nodes: state.account_proof(&MARKET_ADDRESS)?.nodes,
        order: words(&state, MARKET_ADDRESS, order_slots(number))?,
        bond,
        audit_account_nodes: state.account_proof(&AUDIT_ADDRESS)?.nodes,
        window: words(&state, AUDIT_ADDRESS, window_slots(number))?,
    };
    Claim::job_audit(state.number(), number, parts).map_err(refused)
}

/// The words of some slots of an account, each with its path.
fn words<const N: usize>(
    state: &keystead_state::Snapshot,
    address: Address,
    slots: [B256; N],
) -> Result<[(U256, Path); N], RpcError> {
    let mut words = slots.map(|slot| (U256::from_be_bytes(slot.0), Path::new()));
    for (word, nodes) in &mut words {
        let proof = state.storage_proof(&address, word)?;
        (*word, *nodes) = (proof.value, proof.nodes);
    }
    Ok(words)
}

/// What of a transaction is claimed.
#[derive(Clone, Copy)]
enum Part {
    Transaction,
    Receipt,
    Log(u64),
}

fn of_transaction(service: &Service, hash: B256, part: Part) -> Result<Claim, RpcError> {
    let Some((executed, index)) = service.chain().find_transaction(&hash)? else {
        return Err(RpcError::server(format!("transaction not found in any block: {hash}")));
    };
    let (block, index) = (executed.block.number(), index as u64);
    let (transactions, receipts) = (executed.block.transactions(), executed.receipts.as_slice());
    let claim = match part {
        Part::Transaction => Claim::transaction(block, transactions, index),
        Part::Receipt => Claim::receipt(block, transactions, receipts, index),
        Part::Log(receipt_log_index) => {
            Claim::log(block, transactions, receipts, LogPosition { transaction_index: index, receipt_log_index })
        }
    };
    claim.map_err(refused)
}
