//! Executes the planned blocks one after another and makes their headers.

use super::{
    HeaderStyle, SimulateError, SimulateOptions, SimulatedBlock, SimulatedCall, SimulatedResult, SimulatedRoot,
    logs::{Logged, Logs},
    plan::{Planned, plan},
};
use crate::{
    beacon::BeaconWrite,
    call::{CallPrice, CallStatus, outcome},
    env::BlockEnv,
    error::{BlockFault, Error, InvalidTransaction},
    evm::Machine,
    overlay::{Overlay, Parent},
    precompiles::Precompiles,
    receipt::{Parts, receipt},
    rules::Rules,
    trace::{Budget, TraceError, TraceLimits, record},
};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, SignableTransaction as _, Signed, TxEip1559, TxEip4844, TxEip7702, TxLegacy,
    TxReceipt as _, Typed2718 as _,
    constants::EMPTY_WITHDRAWALS,
    proofs::{calculate_receipt_root, ordered_trie_root_with_encoder},
};
use alloy_eips::{eip2718::Encodable2718 as _, eip4844::DATA_GAS_PER_BLOB, eip7685::EMPTY_REQUESTS_HASH};
use alloy_evm::FromRecoveredTx as _;
use alloy_primitives::{B256, Bloom, Bytes, Signature, TxKind, U256, bytes::BufMut as _, keccak256};
use alloy_rpc_types_eth::TransactionInfo;
use keystead_types::{ChainSpec, Receipt, Recovered, StateView, Transaction};
use revm::{context::TxEnv, primitives::hardfork::SpecId};

/// Milliseconds in a second.
const MILLIS: u64 = 1_000;

/// Simulates blocks on top of `view`, the state after the block with the header `base`.
///
/// `root` is asked once for each block, with all changes since `base`. Cost: the gas of `options` and what `limits`
/// say; 256 blocks at most. Trust: `requests` may be hostile.
///
/// # Errors
/// [`SimulateError`]: all but [`SimulateError::Run`] say what the caller must change.
pub fn simulate(
    view: &dyn StateView,
    spec: &ChainSpec,
    base: &Header,
    requests: Vec<super::BlockRequest>,
    options: &SimulateOptions,
    root: SimulatedRoot<'_>,
    limits: &TraceLimits<'_>,
) -> Result<Vec<SimulatedBlock>, SimulateError> {
    let planned = plan(base, requests, options.style)?;
    let base_hash = base.hash_slow();
    let mut overlay = Overlay::new(view, Parent { number: base.number, hash: base_hash });
    let mut budget = Budget::new(limits);
    let mut blocks = Vec::with_capacity(planned.len());
    let (mut parent, mut parent_hash, mut gas_left) = (base.clone(), base_hash, options.gas_max);
    for planned in planned {
        budget.look()?;
        let env = environment(&planned, &parent, parent_hash, spec, options)?;
        let mut run = BlockRun::start(overlay, spec, env, &planned, options)?;
        for call in planned.request.calls {
            run = run.push(call, &mut gas_left, &mut budget)?;
        }
        let (next, block) = run.finish(&mut *root)?;
        overlay = next;
        parent_hash = block.header.hash_slow();
        overlay.name_block(block.header.number, parent_hash);
        parent = block.header.clone();
        blocks.push(block);
    }
    Ok(blocks)
}

/// What the block's calls see.
fn environment(
    planned: &Planned,
    parent: &Header,
    parent_hash: B256,
    spec: &ChainSpec,
    options: &SimulateOptions,
) -> Result<BlockEnv, Error> {
    let block = &planned.request.overrides.block;
    // Without validation calls are free, and a base fee would only stand in their way.
    let base_fee = if options.validation { spec.next_base_fee(parent) } else { 0 };
    let env = BlockEnv {
        number: planned.number,
        timestamp: planned.time,
        beneficiary: parent.beneficiary,
        gas_limit: parent.gas_limit,
        base_fee,
        difficulty: parent.difficulty,
        prev_randao: B256::ZERO,
        excess_blob_gas: 0,
        parent_beacon_block_root: block.beacon_root.unwrap_or_default(),
        parent_hash,
        beacon: BeaconWrite::NONE,
    };
    let env = planned.request.overrides.environment(&env)?;
    let env = BlockEnv { number: planned.number, timestamp: planned.time, ..env };
    // The first block with blobs has a parent without an excess: it counts as none.
    let excess = Rules::of(spec, &env).blobs.and_then(|blobs| parent.next_block_excess_blob_gas(blobs));
    Ok(BlockEnv { excess_blob_gas: excess.unwrap_or_default(), ..env })
}

/// A block that is being simulated.
struct BlockRun<'a, 'o> {
    machine: Machine<'a>,
    rules: Rules,
    env: BlockEnv,
    options: &'o SimulateOptions,
    gas_used: u64,
    blob_gas_used: u64,
    logs_next: u64,
    transactions: Vec<Recovered>,
    receipts: Vec<Receipt>,
    results: Vec<SimulatedResult>,
}

impl<'a, 'o> BlockRun<'a, 'o> {
    /// Makes the overrides and the system calls.
    fn start(
        mut overlay: Overlay<'a>,
        spec: &ChainSpec,
        env: BlockEnv,
        planned: &Planned,
        options: &'o SimulateOptions,
    ) -> Result<Self, SimulateError> {
        let rules = Rules::of(spec, &env);
        let overrides = &planned.request.overrides;
        let mut precompiles = Precompiles::new(rules.fork);
        overrides.apply(&mut overlay, &mut precompiles)?;
        let mut machine = Machine::over(overlay, &rules, &env, |configuration| {
            configuration.disable_nonce_check = !options.validation;
            configuration.disable_eip3607 = true;
            configuration.disable_block_gas_limit = true;
            configuration.tx_gas_limit_cap = Some(u64::MAX);
        });
        *machine.precompiles() = precompiles;
        if let Some(price) = overrides.blob_base_fee().map_err(Error::from)? {
            machine.set_blob_base_fee(price);
        }
        machine.system_calls(&rules, &env)?;
        Ok(Self {
            machine,
            rules,
            env,
            options,
            gas_used: 0,
            blob_gas_used: 0,
            logs_next: 0,
            transactions: Vec::new(),
            receipts: Vec::new(),
            results: Vec::new(),
        })
    }

    /// Runs the next call.
    fn push(mut self, call: SimulatedCall, gas_left: &mut u64, budget: &mut Budget<'_>) -> Result<Self, SimulateError> {
        let from = call.request.from;
        let before = self.machine.overlay().account(&from).map_err(Error::View)?.unwrap_or_default();
        let left = self.env.gas_limit.saturating_sub(self.gas_used);
        let gas_limit = call.request.gas.unwrap_or(left);
        if gas_limit > left {
            return Err(SimulateError::BlockGas { left, gas_limit });
        }
        let gas_limit = gas_limit.min(*gas_left);
        let refused = |refused| SimulateError::Call { from, gas_limit, refused: Box::new(refused) };
        let access_list = call.request.access_list.clone();
        let transaction = transaction(self.rules.chain_id, call, before.nonce, gas_limit).map_err(refused)?;
        let kind = transaction.tx_type();
        if !self.rules.transaction_types.contains(kind) {
            return Err(refused(InvalidTransaction::TypeNotSupported { kind: kind as u8 }));
        }
        let mut tx = TxEnv::from_recovered_tx(transaction.inner(), from);
        if transaction.is_legacy() && !access_list.0.is_empty() {
            // Type 0 cannot show the list, but the call has it.
            tx.tx_type = 1;
            tx.chain_id = Some(self.rules.chain_id);
            tx.access_list = access_list;
        }
        if !self.options.validation {
            // The machine refuses the last nonce even if it compares none.
            tx.nonce = tx.nonce.min(u64::MAX - 1);
        }
        let free = tx.gas_price == 0 && tx.gas_priority_fee.unwrap_or_default() == 0;
        self.machine.configure(|configuration| configuration.disable_base_fee = free && !self.options.validation);
        let recorder = Logs { transfers: self.options.trace_transfers, next: self.logs_next };
        let ran = record(self.machine, &tx, TransactionInfo::default(), &recorder, budget);
        let (mut machine, logged) = ran.map_err(|error| match error {
            TraceError::Execution(Error::Request(why)) => refused(why),
            other => other.into(),
        })?;
        if before.nonce == u64::MAX && !self.options.validation {
            // The machine leaves the nonce where it cannot rise; a simulation lets it begin again.
            let after = machine.overlay().account(&from).map_err(Error::View)?.unwrap_or_default();
            machine.overlay().set_account(&from, keystead_types::Account { nonce: 0, ..after }).map_err(Error::View)?;
        }
        self.machine = machine;
        self.note(transaction, logged, gas_left);
        Ok(self)
    }

    /// Keeps what a call gave.
    fn note(&mut self, transaction: Recovered, Logged { result, logs, next }: Logged, gas_left: &mut u64) {
        self.logs_next = next;
        let kind = transaction.tx_type();
        let outcome = outcome(result);
        *gas_left = gas_left.saturating_sub(outcome.gas_used);
        self.gas_used = self.gas_used.saturating_add(outcome.gas_used);
        let blobs = transaction.as_eip4844().map_or(0, |blobs| blobs.tx().blob_versioned_hashes.len() as u64);
        self.blob_gas_used = self.blob_gas_used.saturating_add(blobs.saturating_mul(DATA_GAS_PER_BLOB));
        self.receipts.push(receipt(Parts {
            kind,
            status: (outcome.status == CallStatus::Success).into(),
            cumulative_gas_used: self.gas_used,
            logs: outcome.logs,
        }));
        self.transactions.push(transaction);
        self.results.push(SimulatedResult {
            status: outcome.status,
            output: outcome.output,
            gas_used: outcome.gas_used,
            gas_spent: outcome.gas_spent,
            logs,
        });
    }

    /// Ends the block: roots and header.
    fn finish(self, root: SimulatedRoot<'_>) -> Result<(Overlay<'a>, SimulatedBlock), SimulateError> {
        let mut overlay = self.machine.into_overlay();
        let (beneficiary, reward) = (self.env.beneficiary, U256::from(self.rules.block_reward));
        if !reward.is_zero() && !overlay.credit(&beneficiary, reward).map_err(Error::View)? {
            return Err(Error::Block(BlockFault::BalanceOverflow { address: beneficiary }).into());
        }
        let state_root = root(overlay.changes()).map_err(Error::View)?;
        let mut logs_bloom = Bloom::ZERO;
        for receipt in &self.receipts {
            logs_bloom.accrue_bloom(&receipt.bloom());
        }
        let since = |fork| self.rules.fork.is_enabled_in(fork);
        let header = Header {
            parent_hash: self.env.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.env.beneficiary,
            state_root,
            transactions_root: transactions_root(&self.transactions),
            receipts_root: calculate_receipt_root(&self.receipts),
            withdrawals_root: since(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
            logs_bloom,
            difficulty: self.env.difficulty,
            number: self.env.number,
            gas_limit: self.env.gas_limit,
            gas_used: self.gas_used,
            timestamp: self.env.timestamp,
            mix_hash: self.env.prev_randao,
            base_fee_per_gas: since(SpecId::LONDON).then_some(self.env.base_fee),
            blob_gas_used: since(SpecId::CANCUN).then_some(self.blob_gas_used),
            excess_blob_gas: since(SpecId::CANCUN).then_some(self.env.excess_blob_gas),
            parent_beacon_block_root: since(SpecId::CANCUN).then_some(self.env.parent_beacon_block_root),
            requests_hash: since(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
            extra_data: extra_data(self.options.style, self.env.timestamp),
            ..Header::default()
        };
        Ok((overlay, SimulatedBlock { header, transactions: self.transactions, results: self.results }))
    }
}

/// The bytes of a type 0 transaction whose `v`, `r` and `s` are zero, as geth has them in a simulation. No signature
/// gives that `v`; but what is signed for the chain 0 ends in the same three zeros (EIP-155).
fn without_signature(transaction: &TxLegacy) -> Vec<u8> {
    TxLegacy { chain_id: Some(0), ..transaction.clone() }.encoded_for_signing()
}

/// Root of transactions under an empty signature.
fn transactions_root(transactions: &[Recovered]) -> B256 {
    ordered_trie_root_with_encoder(transactions, |transaction, out| match transaction.inner() {
        Transaction::Legacy(legacy) => out.put_slice(&without_signature(legacy.tx())),
        other => other.encode_2718(out),
    })
}

/// Keystead's headers have their time in milliseconds there.
fn extra_data(style: HeaderStyle, timestamp: u64) -> Bytes {
    match style {
        HeaderStyle::Keystead => Bytes::copy_from_slice(&timestamp.saturating_mul(MILLIS).to_be_bytes()),
        HeaderStyle::Ethereum => Bytes::new(),
    }
}

/// The transaction that a call is, under an empty signature: of the newest type that its fields allow.
fn transaction(
    chain_id: u64,
    call: SimulatedCall,
    nonce_next: u64,
    gas_limit: u64,
) -> Result<Recovered, InvalidTransaction> {
    let SimulatedCall { request, nonce } = call;
    let (authorizations, blob_hashes) = (request.authorizations, request.blob_hashes);
    let (nonce, signature) = (nonce.unwrap_or(nonce_next), Signature::new(U256::ZERO, U256::ZERO, false));
    let to = request.to.map_or(TxKind::Create, TxKind::Call);
    let target =
        || request.to.ok_or_else(|| InvalidTransaction::Foreign("blob or authorization without to".to_owned()));
    let (value, input, access_list) = (request.value, request.input, request.access_list);
    let (max_fee_per_gas, max_priority_fee_per_gas) = match request.price {
        CallPrice::Free => (0, 0),
        CallPrice::Legacy { gas_price } => (gas_price, gas_price),
        CallPrice::Dynamic { max_fee, max_priority_fee } => (max_fee, max_priority_fee),
    };
    let transaction: Transaction = if !authorizations.is_empty() {
        TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: target()?,
            value,
            access_list,
            authorization_list: authorizations,
            input,
        }
        .into_signed(signature)
        .into()
    } else if !blob_hashes.is_empty() {
        TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: target()?,
            value,
            access_list,
            blob_versioned_hashes: blob_hashes,
            max_fee_per_blob_gas: request.max_fee_per_blob_gas,
            input,
        }
        .into_signed(signature)
        .into()
    } else if let CallPrice::Legacy { gas_price } = request.price {
        let unsigned = TxLegacy { chain_id: None, nonce, gas_price, gas_limit, to, value, input };
        let hash = keccak256(without_signature(&unsigned));
        Signed::new_unchecked(unsigned, signature, hash).into()
    } else {
        TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature)
        .into()
    };
    Ok(Recovered::new_unchecked(transaction, request.from))
}
