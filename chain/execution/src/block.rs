//! A block run: system calls, then transactions one after another, then receipts and changes.

use crate::{
    env::BlockEnv,
    error::{Asked, Error, InvalidTransaction},
    evm::{Machine, Stop},
    receipt::{Parts, receipt},
    rules::Rules,
};
use alloy_consensus::{Transaction as _, TxReceipt as _, proofs::calculate_receipt_root};
use alloy_evm::FromRecoveredTx as _;
use alloy_primitives::{B256, Bloom};
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
    let mut run = BlockRun::start(view, Rules::keystead(spec), *env)?;
    run.receipts.reserve_exact(transactions.len());
    for (index, transaction) in transactions.iter().enumerate() {
        run.push(transaction).map_err(|stop| match stop {
            Stop::Refused(why) => Error::Transaction { index, hash: *transaction.tx_hash(), source: Box::new(why) },
            Stop::Failed(error) => error,
        })?;
    }
    Ok(run.finish())
}

/// A block that is being executed.
pub(crate) struct BlockRun<'a> {
    machine: Machine<'a>,
    rules: Rules,
    env: BlockEnv,
    gas_used: u64,
    receipts: Vec<Receipt>,
}

impl<'a> BlockRun<'a> {
    /// Begins a block with its system calls.
    pub(crate) fn start(view: &'a dyn StateView, rules: Rules, env: BlockEnv) -> Result<Self, Error> {
        let mut machine = Machine::new(view, &rules, &env, |_| ());
        // The genesis block has no parent to speak of (EIP-4788, EIP-2935).
        if env.number > 0 {
            machine.system_calls(&rules, &env)?;
        }
        Ok(Self { machine, rules, env, gas_used: 0, receipts: Vec::new() })
    }

    /// Gas that later transactions may still ask for.
    pub(crate) const fn gas_left(&self) -> u64 {
        self.env.gas_limit.saturating_sub(self.gas_used)
    }

    /// Executes the next transaction. If it is refused the run is as it was before.
    pub(crate) fn push(&mut self, transaction: &Recovered) -> Result<(), Stop> {
        let kind = transaction.tx_type();
        if !self.rules.transaction_types.contains(kind) {
            return Err(Stop::Refused(InvalidTransaction::TypeNotSupported { kind: kind as u8 }));
        }
        let gas_limit = transaction.gas_limit();
        if gas_limit > self.gas_left() && gas_limit <= self.env.gas_limit {
            return Err(Stop::Refused(InvalidTransaction::GasAboveRemaining { gas_limit, left: self.gas_left() }));
        }
        let (result, state) = self
            .machine
            .run(TxEnv::from_recovered_tx(transaction.inner(), transaction.signer()), &Asked::from(transaction))?;
        self.machine.overlay().absorb(state)?;
        self.gas_used = self.gas_used.saturating_add(result.tx_gas_used());
        self.receipts.push(receipt(Parts {
            kind,
            success: result.is_success(),
            cumulative_gas_used: self.gas_used,
            logs: result.into_logs(),
        }));
        Ok(())
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
        }
    }
}
