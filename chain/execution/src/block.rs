//! A block run: system calls, then transactions one after another, then receipts and changes.

use crate::{
    env::BlockEnv,
    error::{Asked, BlockFault, Error, InvalidTransaction},
    ethereum::StateRoot,
    evm::{Machine, Stop},
    receipt::{Parts, receipt},
    rules::Rules,
};
use alloy_consensus::{Transaction as _, TxReceipt as _, proofs::calculate_receipt_root};
use alloy_evm::FromRecoveredTx as _;
use alloy_primitives::{Address, B256, Bloom, Bytes, KECCAK256_EMPTY, U256};
use keystead_types::{ChainSpec, ChangeSet, Receipt, Recovered, StateView};
use revm::context::TxEnv;

/// What executing a block gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One per transaction, in order; gas is cumulative.
    pub receipts: Vec<Receipt>,
    /// Gas that all transactions used, after refunds.
    pub gas_used: u64,
    /// Bloom of all logs.
    pub logs_bloom: Bloom,
    /// Root of the receipts' Merkle-Patricia tree.
    pub receipts_root: B256,
    /// What differs from the state before the block.
    pub changes: ChangeSet,
    /// Gas that blobs used; zero on a chain of ours.
    pub blob_gas_used: u64,
    /// Requests for the consensus layer (EIP-7685), type byte and data; none on a chain of ours.
    pub requests: Vec<Bytes>,
}

/// Executes a block on top of `view`, the state after its parent.
///
/// Strict: one transaction that may not stand where it stands refuses the whole block. A transaction that runs and
/// fails (revert, out of gas) is valid and pays.
/// Cost: about 3 µs for a plain transfer over a view in memory (`examples/transfers.rs`); the block's gas limit at most.
/// Trust: `transactions` may be hostile; `view` and `env` are taken as true.
///
/// # Errors
/// [`Error::Transaction`]: the proposer was wrong, refuse the block. [`Error::View`], [`Error::Machine`]: we could not
/// execute, so nothing is known about the block; do not vote.
pub fn execute(
    view: &dyn StateView,
    spec: &ChainSpec,
    env: &BlockEnv,
    transactions: &[Recovered],
) -> Result<Outcome, Error> {
    let mut run = BlockRun::start(view, Rules::of(spec, env), *env)?;
    run.push_all(transactions)?;
    Ok(run.finish())
}

/// A block that is being executed.
pub(crate) struct BlockRun<'a> {
    machine: Machine<'a>,
    rules: Rules,
    env: BlockEnv,
    gas_used: u64,
    blob_gas_used: u64,
    receipts: Vec<Receipt>,
    requests: Vec<Bytes>,
    /// Where receipts have state roots.
    state_root: Option<&'a StateRoot<'a>>,
}

impl<'a> BlockRun<'a> {
    /// Begins a block with its system calls.
    pub(crate) fn start(view: &'a dyn StateView, rules: Rules, env: BlockEnv) -> Result<Self, Error> {
        let mut run = Self::bare(view, rules, env);
        // The genesis block has no parent to speak of (EIP-4788, EIP-2935).
        if env.number > 0 {
            run.machine.system_calls(&rules, &env)?;
        }
        Ok(run)
    }

    /// Begins a block without its system calls.
    pub(crate) fn bare(view: &'a dyn StateView, rules: Rules, env: BlockEnv) -> Self {
        let machine = Machine::new(view, &rules, &env, |_| ());
        let (receipts, requests) = (Vec::new(), Vec::new());
        Self { machine, rules, env, gas_used: 0, blob_gas_used: 0, receipts, requests, state_root: None }
    }

    /// The same with receipts that hold state roots.
    pub(crate) fn with_roots(self, state_root: &'a StateRoot<'a>) -> Self {
        Self { state_root: Some(state_root), ..self }
    }

    /// Gas that later transactions may still ask for.
    pub(crate) const fn gas_left(&self) -> u64 {
        self.env.gas_limit.saturating_sub(self.gas_used)
    }

    /// Receipts so far.
    pub(crate) fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// Executes all transactions of a block; one that is refused refuses the block.
    pub(crate) fn push_all(&mut self, transactions: &[Recovered]) -> Result<(), Error> {
        self.receipts.reserve_exact(transactions.len());
        for (index, transaction) in transactions.iter().enumerate() {
            self.push(transaction).map_err(|stop| match stop {
                Stop::Refused(why) => Error::Transaction { index, hash: *transaction.tx_hash(), source: Box::new(why) },
                Stop::Failed(error) => error,
            })?;
        }
        Ok(())
    }

    /// Executes the next transaction. If it is refused the run is as it was before.
    pub(crate) fn push(&mut self, transaction: &Recovered) -> Result<(), Stop> {
        let kind = transaction.tx_type();
        if !self.rules.transaction_types.contains(kind) {
            return Err(Stop::Refused(InvalidTransaction::TypeNotSupported { kind: kind as u8 }));
        }
        let chain_id = transaction.chain_id();
        if chain_id.is_some() && !self.rules.legacy_chain_ids {
            return Err(Stop::Refused(InvalidTransaction::WrongChainId { got: chain_id, want: self.rules.chain_id }));
        }
        let gas_limit = transaction.gas_limit();
        if gas_limit > self.gas_left() && gas_limit <= self.env.gas_limit {
            return Err(Stop::Refused(InvalidTransaction::GasAboveRemaining { gas_limit, left: self.gas_left() }));
        }
        let blob_gas = self.take_blob_gas(transaction)?;
        let (result, state) = self
            .machine
            .run(TxEnv::from_recovered_tx(transaction.inner(), transaction.signer()), &Asked::from(transaction))?;
        self.machine.overlay().absorb(state)?;
        self.gas_used = self.gas_used.saturating_add(result.tx_gas_used());
        self.blob_gas_used = blob_gas;
        let status = match self.state_root {
            Some(state_root) => state_root(self.machine.overlay().changes()).map_err(Error::View)?.into(),
            None => result.is_success().into(),
        };
        self.receipts.push(receipt(Parts {
            kind,
            status,
            cumulative_gas_used: self.gas_used,
            logs: result.into_logs(),
        }));
        Ok(())
    }

    /// The block's blob gas with this transaction.
    fn take_blob_gas(&self, transaction: &Recovered) -> Result<u64, Stop> {
        let max = self.rules.blobs.map_or(0, |blobs| blobs.max_blob_gas_per_block());
        let asked = transaction.blob_gas_used().unwrap_or_default();
        let used = self.blob_gas_used.saturating_add(asked);
        if used > max {
            let left = max.saturating_sub(self.blob_gas_used);
            return Err(Stop::Refused(InvalidTransaction::BlobGasAboveRemaining { blob_gas: asked, left }));
        }
        Ok(used)
    }

    /// Gives wei to an account out of nothing.
    pub(crate) fn credit(&mut self, address: Address, wei: U256) -> Result<(), Error> {
        if self.machine.overlay().credit(&address, wei)? {
            return Ok(());
        }
        Err(Error::Block(BlockFault::BalanceOverflow { address }))
    }

    /// Calls a contract that must be there and must succeed, as the system; gives what it returns.
    pub(crate) fn call_contract(&mut self, contract: Address) -> Result<Bytes, Error> {
        let account = self.machine.overlay().account(&contract)?;
        if account.is_none_or(|account| account.code_hash == KECCAK256_EMPTY) {
            return Err(Error::Block(BlockFault::ContractMissing { contract }));
        }
        self.machine.required_call(contract)
    }

    /// Adds a request for the consensus layer.
    pub(crate) fn add_request(&mut self, request: Bytes) {
        self.requests.push(request);
    }

    /// The machine as the transactions so far left it, for one who goes on without receipts.
    pub(crate) fn into_machine(self) -> Machine<'a> {
        self.machine
    }

    /// Ends the block.
    pub(crate) fn finish(self) -> Outcome {
        let mut logs_bloom = Bloom::ZERO;
        for receipt in self.receipts.iter().filter(|receipt| !receipt.logs().is_empty()) {
            logs_bloom.accrue_bloom(&receipt.bloom());
        }
        Outcome {
            receipts_root: calculate_receipt_root(&self.receipts),
            receipts: self.receipts,
            gas_used: self.gas_used,
            logs_bloom,
            changes: self.machine.into_overlay().changes(),
            blob_gas_used: self.blob_gas_used,
            requests: self.requests,
        }
    }
}
