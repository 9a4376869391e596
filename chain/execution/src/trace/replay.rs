//! Runs the transactions of a committed block again on its parent's state, or a call at some place in it.

use super::{
    budget::{Budget, TraceError, TraceLimits},
    watch::{Detail, Watch},
};
use crate::{
    block::BlockRun,
    call::{CallRequest, Place},
    env::BlockEnv,
    error::{Asked, Error},
    evm::{EvmContext, Machine, Stop},
    overlay::{Before, Overlay},
    overrides::Overrides,
    rules::Rules,
};
use alloy_evm::FromRecoveredTx as _;
use alloy_primitives::B256;
use alloy_rpc_types_eth::TransactionInfo;
use keystead_types::{ChainSpec, Recovered, StateView};
use revm::{
    Inspector,
    context::{
        BlockEnv as EvmBlock, TxEnv,
        result::{HaltReason, ResultAndState},
    },
};
use std::ops::Range;

/// A block that was executed before, and the state that it was executed on.
///
/// Trust: taken as true; a transaction that does not run as it did is [`Error::Transaction`].
#[derive(Clone, Copy)]
pub struct ExecutedBlock<'a> {
    /// State after the parent.
    pub view: &'a dyn StateView,
    /// Rules of the chain.
    pub spec: &'a ChainSpec,
    /// The block's environment.
    pub env: BlockEnv,
    /// The block's hash, which the traces repeat.
    pub hash: B256,
    /// All its transactions, in order.
    pub transactions: &'a [Recovered],
}

impl std::fmt::Debug for ExecutedBlock<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecutedBlock")
            .field("env", &self.env)
            .field("hash", &self.hash)
            .field("transactions", &self.transactions.len())
            .finish_non_exhaustive()
    }
}

/// Where a call is tried.
#[derive(Clone, Copy, Debug)]
pub enum CallSite<'a> {
    /// On a state, in the environment of the block that left it.
    After(ExecutedBlock<'a>),
    /// In a block, after this many of its transactions.
    Within(ExecutedBlock<'a>, usize),
}

/// Makes one kind of trace.
pub(crate) trait Recorder {
    /// The trace of one transaction.
    type Output;
    /// What watches the machine.
    type Inspector: for<'a> Inspector<EvmContext<'a>>;

    /// What the inspector copies, so that it can be counted before.
    fn detail(&self) -> Detail;

    /// The inspector of one transaction, which may copy this many bytes.
    fn begin(&self, bytes_max: u64) -> Result<Self::Inspector, TraceError>;

    /// The trace, from what the inspector saw.
    fn end(&self, inspector: Self::Inspector, subject: Subject<'_, '_, '_>) -> Result<Self::Output, TraceError>;
}

/// A transaction that ran under an inspector.
pub(crate) struct Subject<'s, 'o, 'a> {
    /// Where it stands.
    pub(crate) info: TransactionInfo,
    /// What was run.
    pub(crate) transaction: &'s TxEnv,
    /// Its block.
    pub(crate) block: &'s EvmBlock,
    /// What it gave and changed.
    pub(crate) ran: &'s ResultAndState<HaltReason>,
    /// The state before it.
    pub(crate) before: Before<'o, 'a>,
}

/// Runs one transaction under a recorder; its changes stay in the machine.
///
/// # Errors
/// Besides those of the budget and the recorder: [`Error::Request`] if the transaction may not run.
pub(crate) fn record<'a, R: Recorder>(
    machine: Machine<'a>,
    transaction: &TxEnv,
    info: TransactionInfo,
    recorder: &R,
    budget: &mut Budget<'_>,
) -> Result<(Machine<'a>, R::Output), TraceError> {
    budget.look()?;
    let mut watch = Watch::new(recorder.begin(budget.bytes_left())?, recorder.detail(), budget);
    let asked = Asked::from(transaction);
    let (mut machine, outcome) = machine.inspect(transaction.clone(), &asked, &mut watch);
    let inspector = watch.into_inner();
    let (result, state) = match outcome {
        Ok(ran) => ran,
        Err(Stop::Refused(why)) => return Err(Error::Request(why).into()),
        Err(Stop::Failed(Error::Machine(what))) => {
            // The inspector's own bound on copies speaks through the same channel as ours.
            let copies = what.contains("recorded byte limit").then(|| budget.too_large());
            return Err(budget.error().or(copies).unwrap_or_else(|| Error::Machine(what).into()));
        }
        Err(Stop::Failed(error)) => return Err(error.into()),
    };
    if let Some(spent) = budget.error() {
        return Err(spent);
    }
    let ran = ResultAndState::new(result, state);
    let block = machine.block().clone();
    let before = Before::new(machine.overlay());
    let subject = Subject { info, transaction, block: &block, ran: &ran, before };
    let output = recorder.end(inspector, subject)?;
    machine.overlay().absorb(ran.state)?;
    Ok((machine, output))
}

/// The traces of the transactions in `which`.
pub(crate) fn replay<R: Recorder>(
    block: &ExecutedBlock<'_>,
    which: Range<usize>,
    recorder: &R,
    limits: &TraceLimits<'_>,
) -> Result<Vec<R::Output>, TraceError> {
    let budget = &mut Budget::new(limits);
    let mut machine = before(block, which.start, budget)?;
    let mut outputs = Vec::new();
    for index in which {
        let transaction = transaction(block, index)?;
        let info = TransactionInfo {
            hash: Some(*transaction.tx_hash()),
            index: Some(index as u64),
            block_hash: Some(block.hash),
            block_number: Some(block.env.number),
            base_fee: Some(block.env.base_fee),
            ..TransactionInfo::default()
        };
        let env = TxEnv::from_recovered_tx(transaction.inner(), transaction.signer());
        let (next, output) = record(machine, &env, info, recorder, budget).map_err(|error| match error {
            TraceError::Execution(Error::Request(why)) => diverged(index, transaction, Stop::Refused(why)),
            other => other,
        })?;
        machine = next;
        outputs.push(output);
    }
    Ok(outputs)
}

fn transaction<'a>(block: &ExecutedBlock<'a>, index: usize) -> Result<&'a Recovered, TraceError> {
    let count = block.transactions.len();
    block.transactions.get(index).ok_or(TraceError::NoTransaction { index, count })
}

/// The machine after the system calls and the first `count` transactions.
fn before<'a>(block: &ExecutedBlock<'a>, count: usize, budget: &mut Budget<'_>) -> Result<Machine<'a>, TraceError> {
    let mut run = BlockRun::start(block.view, Rules::of(block.spec, &block.env), block.env)?;
    for index in 0..count {
        budget.look()?;
        let transaction = transaction(block, index)?;
        run.push(transaction).map_err(|stop| diverged(index, transaction, stop))?;
    }
    Ok(run.into_machine())
}

fn diverged(index: usize, transaction: &Recovered, stop: Stop) -> TraceError {
    match stop {
        Stop::Refused(why) => Error::Transaction { index, hash: *transaction.tx_hash(), source: Box::new(why) }.into(),
        Stop::Failed(error) => error.into(),
    }
}

impl<'a> CallSite<'a> {
    const fn block(&self) -> &ExecutedBlock<'a> {
        match self {
            Self::After(block) | Self::Within(block, _) => block,
        }
    }

    fn place(&self, overrides: &Overrides, budget: &mut Budget<'_>) -> Result<Place<'a>, TraceError> {
        let block = self.block();
        let overlay = match self {
            Self::After(block) => Overlay::of(block.view, &block.env),
            Self::Within(block, count) => before(block, *count, budget)?.into_overlay(),
        };
        Ok(Place::new(overlay, block.spec, &block.env, overrides)?)
    }
}

/// Tries calls at a place, one after another, each on the state that the one before it left.
///
/// # Errors
/// As [`record`]; the first call that fails ends it.
pub(crate) fn replay_calls<R: Recorder>(
    site: &CallSite<'_>,
    overrides: &Overrides,
    calls: Vec<(CallRequest, R)>,
    gas_cap: u64,
    limits: &TraceLimits<'_>,
) -> Result<Vec<R::Output>, TraceError> {
    let budget = &mut Budget::new(limits);
    let mut place = site.place(overrides, budget)?;
    let info = TransactionInfo { block_number: Some(place.env.number), ..TransactionInfo::default() };
    let mut outputs = Vec::with_capacity(calls.len());
    for (request, recorder) in calls {
        let gas = request.gas.unwrap_or(gas_cap).min(gas_cap);
        let (next, output) = place
            .with_machine(request, gas, |machine, transaction| record(machine, transaction, info, &recorder, budget))?;
        place = next;
        outputs.push(output);
    }
    Ok(outputs)
}
