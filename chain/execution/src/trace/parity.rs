//! The traces of OpenEthereum's `trace_*`: flat lists of calls, virtual machine traces, state differences.

use super::{
    budget::{TraceError, TraceLimits},
    geth::bounded,
    replay::{CallSite, ExecutedBlock, Recorder, Subject, replay, replay_calls},
    watch::{Detail, StepDetail},
};
use crate::{call::CallRequest, error::Error, overrides::Overrides};
use alloy_primitives::map::HashSet;
use alloy_rpc_types_trace::parity::{LocalizedTransactionTrace, TraceResults, TraceType};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use std::ops::Range;

/// A call of `trace_callMany`.
#[derive(Clone, Debug, Default)]
pub struct ParityCall {
    /// The call.
    pub request: CallRequest,
    /// What is asked about it.
    pub types: HashSet<TraceType>,
}

/// The calls inside the transactions of a block whose places are in `which`, a list for each.
///
/// Cost and errors: as [`crate::trace_transactions`].
pub fn parity_traces(
    block: &ExecutedBlock<'_>,
    which: Range<usize>,
    limits: &TraceLimits<'_>,
) -> Result<Vec<Vec<LocalizedTransactionTrace>>, TraceError> {
    replay(block, which, &Calls, limits)
}

/// What `types` ask about the transactions of a block whose places are in `which`.
///
/// Cost and errors: as [`crate::trace_transactions`].
pub fn parity_results(
    block: &ExecutedBlock<'_>,
    which: Range<usize>,
    types: &HashSet<TraceType>,
    limits: &TraceLimits<'_>,
) -> Result<Vec<TraceResults>, TraceError> {
    replay(block, which, &Results(types.clone()), limits)
}

/// What is asked about calls that nobody sent, made one after another on the same state.
///
/// Cost and errors: as [`crate::trace_call`]; `gas_cap` holds for each call.
pub fn parity_call(
    site: &CallSite<'_>,
    overrides: &Overrides,
    calls: Vec<ParityCall>,
    gas_cap: u64,
    limits: &TraceLimits<'_>,
) -> Result<Vec<TraceResults>, TraceError> {
    let calls = calls.into_iter().map(|call| (call.request, Results(call.types))).collect();
    replay_calls(site, overrides, calls, gas_cap, limits)
}

/// Lists of calls.
struct Calls;

impl Recorder for Calls {
    type Output = Vec<LocalizedTransactionTrace>;
    type Inspector = TracingInspector;

    fn detail(&self) -> Detail {
        Detail::TREE
    }

    fn begin(&self, _: u64) -> Result<TracingInspector, TraceError> {
        Ok(TracingInspector::new(TracingInspectorConfig::default_parity()))
    }

    fn end(&self, mut inspector: TracingInspector, subject: Subject<'_, '_, '_>) -> Result<Self::Output, TraceError> {
        inspector.set_transaction_gas_limit(subject.transaction.gas_limit);
        let gas_used = subject.ran.result.tx_gas_used();
        let builder = inspector.into_parity_builder().with_transaction_gas_used(gas_used);
        Ok(builder.into_localized_transaction_traces(subject.info))
    }
}

/// Any of the three kinds.
struct Results(HashSet<TraceType>);

impl Recorder for Results {
    type Output = TraceResults;
    type Inspector = TracingInspector;

    fn detail(&self) -> Detail {
        let steps = StepDetail { stack: false, memory: false, storage: false, steps_max: u64::MAX };
        if self.0.contains(&TraceType::VmTrace) { Detail::TREE.with_steps(steps) } else { Detail::TREE }
    }

    fn begin(&self, bytes_max: u64) -> Result<TracingInspector, TraceError> {
        let config = TracingInspectorConfig::from_parity_config(&self.0);
        Ok(bounded(TracingInspector::new(config), bytes_max))
    }

    fn end(&self, mut inspector: TracingInspector, subject: Subject<'_, '_, '_>) -> Result<TraceResults, TraceError> {
        let Subject { transaction, ran, before, .. } = subject;
        inspector.set_transaction_gas_limit(transaction.gas_limit);
        let mut results = inspector
            .into_parity_builder()
            .into_trace_results_with_state(ran, &self.0, before)
            .map_err(|error| Error::View(error.0))?;
        results.set_root_trace_gas_used(ran.result.tx_gas_used());
        Ok(results)
    }
}
