//! What all methods that trace have in common: bounds, room for deep results, errors.

use crate::{
    chain::Replayable,
    error::RpcError,
    message::Json,
    methods::eth::failed,
    params::{BlockId, Params},
    pending::Place,
    service::Service,
};
use alloy_primitives::B256;
use keystead_execution::{CallSite, Error, ExecutedBlock, TraceError, TraceLimits};
use serde::Serialize;

/// Stack of a thread that makes and writes nested traces: 1,024 calls deep (the EVM's limit), several frames of the
/// serialiser for each, some hundred bytes to a few KiB per frame. Only what is used takes memory.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Runs `job` under the bounds of a trace on a thread with a deep stack, and writes its result.
///
/// Errors: those of the job; a limit error if the node can make no thread.
pub(super) fn traced<T: Serialize>(
    service: &Service,
    params: &Params,
    job: impl FnOnce(&TraceLimits<'_>) -> Result<T, RpcError> + Send,
) -> Result<Json, RpcError> {
    let limits = &service.limits;
    let stop = || params.late();
    let bounds = TraceLimits { steps_max: limits.trace_steps_max, bytes_max: limits.trace_bytes_max, stop: &stop };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("trace".to_owned()).stack_size(STACK_BYTES);
        // The result is written and dropped in there, both of which walk down its whole depth.
        let thread = thread.spawn_scoped(scope, || Json::within(&job(&bounds)?, limits.response_bytes_max));
        let thread = thread.map_err(|error| {
            tracing::warn!(%error, "no thread for a trace");
            RpcError::limit("the node is busy: it has no thread for a trace, try again later")
        })?;
        thread.join().map_err(|_| RpcError::internal(&"a trace panicked"))?
    })
}

/// The error of a trace.
pub(super) fn refused(error: TraceError) -> RpcError {
    match error {
        TraceError::Execution(Error::Transaction { .. }) => RpcError::internal(&error),
        TraceError::Execution(error) => failed(error),
        TraceError::Options(_) | TraceError::NoTransaction { .. } => RpcError::invalid_params(error.to_string()),
        TraceError::TooManySteps { .. } | TraceError::TooLarge { .. } => RpcError::limit(error.to_string()),
        TraceError::Stopped => RpcError::timeout(),
    }
}

/// The transaction with this hash in its block; `None` if no block has it.
pub(super) fn find(service: &Service, hash: &B256) -> Result<Option<(Replayable, usize)>, RpcError> {
    let Some((number, index)) = service.context.store.transaction_location(hash)? else { return Ok(None) };
    Ok(service.chain().replayable(BlockId::Number(number))?.map(|block| (block, index)))
}

/// The state after a block, as a place for calls.
pub(super) struct After(Place);

impl After {
    /// The state after the block of this name.
    pub(super) fn find(service: &Service, id: BlockId) -> Result<Self, RpcError> {
        Place::find(service, id).map(Self)
    }

    /// The same for the executor.
    pub(super) fn site<'a>(&'a self, service: &'a Service) -> CallSite<'a> {
        let Place { state, env } = &self.0;
        let (spec, env, hash) = (&service.context.spec, *env, state.hash());
        CallSite::After(ExecutedBlock { view: &**state, spec, env, hash, transactions: &[] })
    }
}
