//! The tracers of geth's `debug_trace*`: step by step, call trees, the state before and after, selectors.

use super::{
    budget::{TraceError, TraceLimits},
    replay::{CallSite, ExecutedBlock, Recorder, Subject, replay, replay_calls},
    watch::{Detail, StepDetail},
};
use crate::{call::CallRequest, error::Error, overrides::Overrides};
use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType as Builtin, GethDebugTracerType, GethDebugTracingOptions, GethTrace,
};
use revm_inspectors::tracing::{
    DebugInspector, DebugInspectorError, TraceLimitBehavior, TraceLimits as CopyLimits, TracingInspector,
    TransactionContext,
};
use std::ops::Range;

/// Names of the tracers that there are.
const TRACERS: &str =
    "4byteTracer, callTracer, erc7562Tracer, flatCallTracer, muxTracer, noopTracer, prestateTracer, stateGasTracer";

/// Traces the transactions of a block whose places are in `which`, in order.
///
/// Cost: runs the block up to the last of them again, at most what `limits` say.
/// Trust: the options may be hostile.
///
/// # Errors
/// [`TraceError::Options`], [`TraceError::NoTransaction`]: the caller must change the request. Those of the limits: it
/// must ask for less. [`TraceError::Execution`]: we cannot.
pub fn trace_transactions(
    block: &ExecutedBlock<'_>,
    which: Range<usize>,
    options: &GethDebugTracingOptions,
    limits: &TraceLimits<'_>,
) -> Result<Vec<GethTrace>, TraceError> {
    replay(block, which, &Tracer::new(options)?, limits)
}

/// Traces a call that nobody sent.
///
/// Gas and price are as in [`crate::call`]. Cost: `gas_cap` and what comes before the call's place, at most what
/// `limits` say. Trust: all but `site` may be hostile.
///
/// # Errors
/// As [`trace_transactions`]; [`Error::Request`] if the call may not run, [`Error::Overrides`].
pub fn trace_call(
    site: &CallSite<'_>,
    overrides: &Overrides,
    request: CallRequest,
    gas_cap: u64,
    options: &GethDebugTracingOptions,
    limits: &TraceLimits<'_>,
) -> Result<GethTrace, TraceError> {
    let traces = replay_calls(site, overrides, vec![(request, Tracer::new(options)?)], gas_cap, limits)?;
    traces.into_iter().next().ok_or_else(|| Error::Machine("a call gave no trace".to_owned()).into())
}

/// One of geth's tracers with its options.
struct Tracer<'a> {
    options: &'a GethDebugTracingOptions,
    /// Made once to check the options; each transaction gets a copy.
    inspector: DebugInspector,
}

impl<'a> Tracer<'a> {
    fn new(options: &'a GethDebugTracingOptions) -> Result<Self, TraceError> {
        let name = options.tracer.as_ref().map(GethDebugTracerType::as_str).unwrap_or_default();
        let inspector = DebugInspector::new(options.clone()).map_err(|error| {
            TraceError::Options(match error {
                DebugInspectorError::UnsupportedTracer | DebugInspectorError::JsTracerNotEnabled => {
                    let name: String = name.chars().take(40).collect();
                    format!("tracer not found: {name:?}: this node has {TRACERS}; without a name it logs every step")
                }
                DebugInspectorError::InvalidTracerConfig => format!("tracerConfig does not fit the tracer {name}"),
                other => other.to_string(),
            })
        })?;
        Ok(Self { options, inspector })
    }
}

impl Recorder for Tracer<'_> {
    type Output = GethTrace;
    type Inspector = DebugInspector;

    fn detail(&self) -> Detail {
        let config = &self.options.config;
        let steps_max = config.limit.filter(|limit| *limit != 0).unwrap_or(u64::MAX);
        match self.options.tracer.as_ref().filter(|tracer| !tracer.as_str().is_empty()) {
            None => Detail::TREE.with_steps(StepDetail {
                stack: config.is_stack_enabled(),
                memory: config.is_memory_enabled(),
                storage: config.is_storage_enabled(),
                steps_max,
            }),
            Some(GethDebugTracerType::BuiltInTracer(builtin)) => match builtin {
                Builtin::Erc7562Tracer => {
                    let steps = StepDetail { stack: true, memory: true, storage: true, steps_max: u64::MAX };
                    Detail::TREE.with_steps(steps)
                }
                Builtin::NoopTracer | Builtin::StateGasTracer => Detail::NOTHING,
                Builtin::FourByteTracer => Detail::LIST,
                Builtin::PreStateTracer => Detail::BARE_TREE,
                _ => Detail::TREE,
            },
            Some(_) => Detail::TREE,
        }
    }

    fn begin(&self, bytes_max: u64) -> Result<DebugInspector, TraceError> {
        let copy = self.inspector.try_clone().map_err(|error| TraceError::Options(error.to_string()))?;
        Ok(match copy {
            DebugInspector::Default(inspector, config) => {
                DebugInspector::Default(bounded(inspector, bytes_max), config)
            }
            DebugInspector::Erc7562Tracer(inspector, config) => {
                DebugInspector::Erc7562Tracer(bounded(inspector, bytes_max), config)
            }
            // They copy only inputs, which are counted before.
            other => other,
        })
    }

    fn end(&self, mut inspector: DebugInspector, subject: Subject<'_, '_, '_>) -> Result<GethTrace, TraceError> {
        let Subject { info, transaction, block, ran, mut before } = subject;
        let context = TransactionContext {
            block_hash: info.block_hash,
            tx_index: info.index.and_then(|index| usize::try_from(index).ok()),
            tx_hash: info.hash,
        };
        let trace = inspector.get_result(Some(context), transaction, block, ran, &mut before);
        trace.map(without_nothing).map_err(|error| match error {
            DebugInspectorError::Database(error) => Error::View(error.0).into(),
            other => TraceError::Options(other.to_string()),
        })
    }
}

/// A log of steps as the execution APIs have it: what a step does not have is left out rather than zero or empty.
fn without_nothing(mut trace: GethTrace) -> GethTrace {
    if let GethTrace::Default(frame) = &mut trace {
        for step in &mut frame.struct_logs {
            step.refund_counter = step.refund_counter.filter(|refund| *refund != 0);
            step.return_data = step.return_data.take().filter(|bytes| !bytes.is_empty());
        }
    }
    trace
}

/// The inspector with its own bound on the bytes that it copies.
pub(super) fn bounded(inspector: TracingInspector, bytes_max: u64) -> TracingInspector {
    let bytes = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let limits = CopyLimits::default().set_max_recorded_bytes(Some(bytes)).set_behavior(TraceLimitBehavior::Halt);
    inspector.with_limits(limits)
}
