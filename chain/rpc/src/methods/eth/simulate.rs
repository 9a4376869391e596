//! `eth_simulateV1`: blocks of calls that never were, with their headers, transactions and logs.
//!
//! # Design
//! Shapes and error codes are those of the execution APIs. Calls are read as those of `eth_call` are; one of type 3 is
//! refused by the executor if the chain does not run it.

use super::{BLOCK, Method, call::CallObject};
use crate::{
    error::RpcError,
    lanes::Work,
    message::Json,
    methods::tracing::{refused, traced},
    params::{BlockId, FromJson, Param, Params, member, show},
    render::{self, Detail, LogPlace, RpcBlock},
    service::Service,
};
use alloy_primitives::{Address, Bytes};
use alloy_rpc_types_eth::{
    BlockOverrides,
    simulate::{SimCallResult, SimulateError as CallError, SimulatedBlock as RpcSimulatedBlock},
    state::StateOverride,
};
use keystead_execution::{
    BlockRequest, CallStatus, HeaderStyle, InvalidTransaction, Overrides, SIMULATED_BLOCKS_MAX, SimulateError,
    SimulateOptions, SimulatedBlock, SimulatedCall, SimulatedResult, TraceError, simulate as execute_simulation,
};
use keystead_types::{Transaction, ViewError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Gas of the smallest transaction: no more calls than that fit into a simulation.
const CALL_GAS_MIN: u64 = 21_000;

/// Error codes of the execution APIs.
mod codes {
    pub(super) const NONCE_TOO_LOW: i32 = -38_010;
    pub(super) const NONCE_TOO_HIGH: i32 = -38_011;
    pub(super) const FEE_BELOW_BASE: i32 = -38_012;
    pub(super) const INTRINSIC_GAS: i32 = -38_013;
    pub(super) const INSUFFICIENT_FUNDS: i32 = -38_014;
    pub(super) const BLOCK_GAS: i32 = -38_015;
    pub(super) const NUMBER_ORDER: i32 = -38_020;
    pub(super) const TIME_ORDER: i32 = -38_021;
    pub(super) const SENDER_HAS_CODE: i32 = -38_024;
    pub(super) const INIT_CODE: i32 = -38_025;
    pub(super) const CLIENT_LIMIT: i32 = -38_026;
    pub(super) const INVALID_PARAMS: i32 = -32_602;
    pub(super) const INTERNAL: i32 = -32_603;
    pub(super) const VM_ERROR: i32 = -32_015;
    pub(super) const REVERTED: i32 = 3;
}

/// The method.
pub(in crate::methods) const METHODS: &[Method] = &[Method {
    name: "eth_simulateV1",
    about: "Simulates blocks of calls on top of a block's state, each on what the one before it left.",
    params: &[
        Param::required(
            "payload",
            "object: blockStateCalls (array of objects: blockOverrides, stateOverrides, calls), traceTransfers, \
             validation, returnFullTransactions",
        ),
        BLOCK,
    ],
    result: "array of blocks, each with calls: returnData, logs, gasUsed, maxUsedGas, status, error",
    work: Work::Compute,
    run: simulate,
}];

/// What is asked for.
struct Payload {
    blocks: Vec<Block>,
    trace_transfers: bool,
    validation: bool,
    full: bool,
}

fn simulate(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let gas_max = service.limits.call_gas_max;
    check_counts(params.value(0), gas_max / CALL_GAS_MIN)?;
    let payload: Payload = params.get(0)?;
    let state = service.chain().state(params.find(1)?.unwrap_or(BlockId::Latest))?;
    let base = service.chain().header(state.number())?;
    let spec = &service.context.spec;
    let style = if spec.ethereum.is_some() { HeaderStyle::Ethereum } else { HeaderStyle::Keystead };
    let (options, detail, blocks) =
        payload.split(spec.chain_id, gas_max, style).map_err(|reason| params.wrong(0, &reason))?;
    traced(service, params, |limits| {
        let mut root = |changes| {
            let child = state.child(changes).map_err(|error| ViewError(error.to_string()))?;
            Ok(child.state_root())
        };
        let simulated = execute_simulation(&*state, spec, &base, blocks, &options, &mut root, limits);
        Ok(simulated.map_err(failed)?.into_iter().map(|block| rendered(block, detail)).collect::<Vec<_>>())
    })
}

impl Payload {
    /// What the executor needs, what the answer shows, and the blocks, if all calls are for this chain.
    fn split(
        self,
        chain_id: u64,
        gas_max: u64,
        style: HeaderStyle,
    ) -> Result<(SimulateOptions, Detail, Vec<BlockRequest>), String> {
        let Self { validation, trace_transfers, full, .. } = self;
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for Block { overrides, calls } in self.blocks {
            let calls: Result<Vec<SimulatedCall>, String> =
                calls.into_iter().map(|call| call.for_chain(chain_id)).collect();
            blocks.push(BlockRequest { overrides, calls: calls? });
        }
        let detail = if full { Detail::Full } else { Detail::Hashes };
        Ok((SimulateOptions { validation, trace_transfers, gas_max, style }, detail, blocks))
    }
}

/// Refuses far too many blocks or calls before they are read: what is read takes a hundred times its JSON.
fn check_counts(payload: &Value, calls_max: u64) -> Result<(), RpcError> {
    let Some(blocks) = payload.get("blockStateCalls").and_then(Value::as_array) else { return Ok(()) };
    let calls = |block: &Value| block.get("calls").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let calls = blocks.iter().map(calls).fold(0, u64::saturating_add);
    if blocks.len() as u64 > SIMULATED_BLOCKS_MAX {
        return Err(RpcError::coded(codes::CLIENT_LIMIT, format!("too many blocks: at most {SIMULATED_BLOCKS_MAX}")));
    }
    if calls > calls_max {
        let message = format!("too many calls: got {calls}, and the gas of one request is enough for {calls_max}");
        return Err(RpcError::coded(codes::CLIENT_LIMIT, message));
    }
    Ok(())
}

impl FromJson for Payload {
    fn from_json(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let flag = |name| Ok::<_, String>(member::<bool>(object, name)?.unwrap_or_default());
        Ok(Self {
            blocks: member(object, "blockStateCalls")?.unwrap_or_default(),
            trace_transfers: flag("traceTransfers")?,
            validation: flag("validation")?,
            full: flag("returnFullTransactions")?,
        })
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("expected an object, got {}", show(value)))
}

/// A member in the shape of one of alloy's types; the default if it is missing or null.
fn shaped<T: DeserializeOwned + Default>(object: &Map<String, Value>, name: &str) -> Result<T, String> {
    let value = object.get(name).unwrap_or(&Value::Null);
    crate::params::shaped(value).map_err(|reason| format!("field {name:?}: {reason}"))
}

/// A block of the request.
struct Block {
    overrides: Overrides,
    calls: Vec<Call>,
}

impl FromJson for Block {
    fn from_json(value: &Value) -> Result<Self, String> {
        let object = object(value)?;
        let withdrawals = object.get("blockOverrides").and_then(|block| block.get("withdrawals"));
        if withdrawals.and_then(Value::as_array).is_some_and(|withdrawals| !withdrawals.is_empty()) {
            return Err("field \"blockOverrides\": withdrawals are not simulated: there is no beacon chain".to_owned());
        }
        let overrides = Overrides {
            state: shaped::<StateOverride>(object, "stateOverrides")?,
            block: shaped::<BlockOverrides>(object, "blockOverrides")?,
        };
        Ok(Self { overrides, calls: member(object, "calls")?.unwrap_or_default() })
    }
}

/// A call whose chain id is not compared yet.
struct Call {
    call: super::call::Call,
    nonce: Option<u64>,
}

impl Call {
    fn for_chain(self, chain_id: u64) -> Result<SimulatedCall, String> {
        let Self { call, nonce } = self;
        Ok(SimulatedCall { request: call.for_chain(chain_id)?, nonce })
    }
}

impl FromJson for Call {
    fn from_json(value: &Value) -> Result<Self, String> {
        let nonce = member::<u64>(object(value)?, "nonce")?;
        let CallObject(call) = CallObject::from_json(value)?;
        Ok(Self { call, nonce })
    }
}

/// The error of a simulation that does not run, with the code that says why.
fn failed(error: SimulateError) -> RpcError {
    let code = match &error {
        SimulateError::Empty => codes::INVALID_PARAMS,
        SimulateError::TooManyBlocks { .. } => codes::CLIENT_LIMIT,
        SimulateError::NumberOrder { .. } => codes::NUMBER_ORDER,
        SimulateError::TimeOrder { .. } => codes::TIME_ORDER,
        SimulateError::BlockGas { .. } => codes::BLOCK_GAS,
        SimulateError::Call { refused, .. } => refusal_code(refused),
        SimulateError::Run(_) => codes::INTERNAL,
    };
    match error {
        SimulateError::Run(TraceError::Execution(error)) => super::call::failed(error),
        SimulateError::Run(error) => refused(error),
        other => RpcError::coded(code, other.to_string()),
    }
}

const fn refusal_code(refused: &InvalidTransaction) -> i32 {
    match refused {
        InvalidTransaction::NonceTooLow { .. } => codes::NONCE_TOO_LOW,
        InvalidTransaction::NonceTooHigh { .. } => codes::NONCE_TOO_HIGH,
        InvalidTransaction::FeeBelowBase { .. } => codes::FEE_BELOW_BASE,
        InvalidTransaction::IntrinsicGas { .. } | InvalidTransaction::FloorGas { .. } => codes::INTRINSIC_GAS,
        InvalidTransaction::InsufficientFunds { .. } | InvalidTransaction::CostOverflow => codes::INSUFFICIENT_FUNDS,
        InvalidTransaction::GasAboveRemaining { .. }
        | InvalidTransaction::BlobGasAboveRemaining { .. }
        | InvalidTransaction::GasAboveBlock { .. } => codes::BLOCK_GAS,
        InvalidTransaction::SenderHasCode => codes::SENDER_HAS_CODE,
        InvalidTransaction::InitCodeTooLarge { .. } => codes::INIT_CODE,
        InvalidTransaction::TipAboveFee { .. }
        | InvalidTransaction::TypeNotSupported { .. }
        | InvalidTransaction::WrongChainId { .. } => codes::INVALID_PARAMS,
        InvalidTransaction::NonceMax { .. }
        | InvalidTransaction::GasAboveCap { .. }
        | InvalidTransaction::Foreign(_) => codes::INTERNAL,
    }
}

/// A simulated block as the answer shows it.
fn rendered(block: SimulatedBlock, detail: Detail) -> RpcSimulatedBlock<RpcBlock> {
    let SimulatedBlock { header, transactions, results } = block;
    let hash = header.hash_slow();
    let (transactions, senders): (Vec<Transaction>, Vec<Address>) =
        transactions.into_iter().map(alloy_consensus::transaction::Recovered::into_parts).unzip();
    let mut calls = Vec::with_capacity(results.len());
    for ((index, transaction), result) in (0u64..).zip(&transactions).zip(results) {
        let place = LogPlace {
            block_hash: hash,
            block_number: header.number,
            block_timestamp: header.timestamp,
            transaction_hash: *transaction.tx_hash(),
            transaction_index: index,
        };
        calls.push(call_result(result, place));
    }
    RpcSimulatedBlock { inner: render::block(&header, hash, &transactions, &senders, detail), calls }
}

fn call_result(result: SimulatedResult, place: LogPlace) -> SimCallResult {
    let SimulatedResult { status, output, gas_used, gas_spent, logs } = result;
    let error = match &status {
        CallStatus::Success => None,
        CallStatus::Reverted => {
            let RpcError { message, data, .. } = RpcError::reverted(output.clone());
            Some(CallError { code: codes::REVERTED, message, data })
        }
        CallStatus::OutOfGas => Some(CallError { code: codes::VM_ERROR, message: "out of gas".to_owned(), data: None }),
        CallStatus::Halted(reason) => Some(CallError { code: codes::VM_ERROR, message: reason.clone(), data: None }),
    };
    let logs = logs.into_iter().map(|(index, log)| place.log(log, usize::try_from(index).unwrap_or(usize::MAX)));
    SimCallResult {
        return_data: if error.is_none() { output } else { Bytes::new() },
        logs: logs.collect(),
        gas_used,
        max_used_gas: Some(gas_spent),
        status: error.is_none(),
        error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]
    use super::*;
    use crate::render::tests::{import, json, vectors};
    use alloy_primitives::{B256, KECCAK256_EMPTY, U256, keccak256, map::HashMap};
    use keystead_execution::TraceLimits;
    use keystead_types::{Account, ChainSpec, StateView};

    /// Cases that this chain's rules refuse, with the reason.
    const INAPPLICABLE: [(&str, &str); 1] = [("ethSimulate-blobs.io", "blob transactions are not run by Keystead")];

    /// The state of a genesis file. Of what the 54 blocks above it changed only one account matters to the cases.
    #[derive(Default)]
    struct Alloc {
        accounts: HashMap<Address, Account>,
        slots: HashMap<(Address, U256), U256>,
        codes: HashMap<B256, Bytes>,
        hashes: HashMap<u64, B256>,
    }

    impl Alloc {
        fn read(genesis: &Value) -> Self {
            let mut alloc = Self::default();
            let number = |value: &Value| value.as_str().unwrap().parse::<U256>().unwrap();
            for (address, it) in genesis["alloc"].as_object().unwrap() {
                let address: Address = address.parse().unwrap();
                let field = |name: &str| it.get(name).map(number).unwrap_or_default();
                let mut account =
                    Account { balance: field("balance"), nonce: field("nonce").to(), ..Account::default() };
                if let Some(code) = it.get("code") {
                    let code: Bytes = code.as_str().unwrap().parse().unwrap();
                    account.code_hash = keccak256(&code);
                    alloc.codes.insert(account.code_hash, code);
                }
                for (slot, value) in it.get("storage").and_then(Value::as_object).into_iter().flatten() {
                    alloc.slots.insert((address, slot.parse().unwrap()), number(value));
                }
                alloc.accounts.insert(address, account);
            }
            // It got the fees of the first blocks, so that value sent there creates no account.
            alloc.accounts.insert(Address::ZERO, Account { balance: U256::from(1), ..Account::default() });
            alloc
        }
    }

    impl StateView for Alloc {
        fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
            Ok(self.accounts.get(address).copied())
        }
        fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
            Ok(self.slots.get(&(*address, *slot)).copied().unwrap_or_default())
        }
        fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
            let code = self.codes.get(hash).cloned();
            code.or_else(|| (*hash == KECCAK256_EMPTY).then(Bytes::new)).ok_or_else(|| ViewError("no code".to_owned()))
        }
        fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
            Ok(self.hashes.get(&number).copied().unwrap_or_default())
        }
    }

    /// Every field of every answer is compared but the roots of states, which are taken from the case: the trie is not
    /// here, and with them the hashes of headers are those of the case too.
    #[test]
    fn cases_of_the_official_suite_are_answered_alike() {
        let dir = tempfile::tempdir().unwrap();
        let Some(folder) = vectors(dir.path()) else { return };
        let chain = import(&folder);
        let mut view =
            Alloc::read(&serde_json::from_str(&std::fs::read_to_string(folder.join("genesis.json")).unwrap()).unwrap());
        view.hashes = chain.iter().map(|(number, (block, _))| (*number, block.header.hash_slow())).collect();
        let last = *chain.keys().max().unwrap();
        let spec = ChainSpec { base_fee_denominator: 8, elasticity: 2, ..ChainSpec::keystead(3_503_995_874_084_926) };
        let (mut wrong, mut right) = (Vec::new(), 0);
        for entry in std::fs::read_dir(folder.join("eth_simulateV1")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap().to_owned();
            let request: Value = serde_json::from_str(&line(">> ")).unwrap();
            let want: Value = serde_json::from_str(&line("<< ")).unwrap();
            let number = match request["params"][1].as_str() {
                Some(hex) if hex.starts_with("0x") => u64::from_str_radix(&hex[2..], 16).unwrap(),
                _ => last,
            };
            let roots = want["result"].as_array().into_iter().flatten();
            let roots: Vec<B256> = roots.map(|block| block["stateRoot"].as_str().unwrap().parse().unwrap()).collect();
            let mut roots = roots.into_iter();
            let mut root = |_| Ok(roots.next().unwrap_or_default());
            let limits = TraceLimits { steps_max: 100_000_000, bytes_max: 1 << 28, stop: &|| false };
            let payload = Payload::from_json(&request["params"][0]).unwrap();
            let (options, detail, blocks) = payload.split(spec.chain_id, 50_000_000, HeaderStyle::Ethereum).unwrap();
            let base = &chain[&number].0.header;
            let got = execute_simulation(&view, &spec, base, blocks, &options, &mut root, &limits).map_err(failed);
            let same = match &got {
                Ok(blocks) => {
                    let blocks: Vec<_> = blocks.iter().cloned().map(|block| rendered(block, detail)).collect();
                    json(&blocks) == want["result"]
                }
                Err(error) => want["error"]["code"] == error.code.number(),
            };
            if same {
                right += 1;
            } else if INAPPLICABLE.iter().all(|(inapplicable, _)| *inapplicable != name) {
                let got =
                    got.map(|blocks| json(&blocks.into_iter().map(|it| rendered(it, detail)).collect::<Vec<_>>()));
                wrong.push(format!("{name}\n  got  {got:?}\n  want {want}"));
            }
        }
        assert!(wrong.is_empty(), "{} wrong, {right} right:\n{}", wrong.len(), wrong.join("\n"));
        assert!(right >= 40, "compared only {right}");
    }
}
