//! Otterscan's list of what moved inside a transaction: value sent on, contracts created and destroyed.

use super::{
    budget::{TraceError, TraceLimits},
    replay::{ExecutedBlock, Recorder, Subject, replay},
    watch::Detail,
};
use alloy_rpc_types_trace::otterscan::InternalOperation;
use revm_inspectors::otterscan::InternalOperationsInspector;
use std::ops::Range;

/// The operations inside the transactions of a block whose places are in `which`: for each a list in the order in
/// which they were tried, whether or not they were undone later.
///
/// Cost and errors: as [`crate::trace_transactions`].
pub fn internal_operations(
    block: &ExecutedBlock<'_>,
    which: Range<usize>,
    limits: &TraceLimits<'_>,
) -> Result<Vec<Vec<InternalOperation>>, TraceError> {
    replay(block, which, &Operations, limits)
}

struct Operations;

impl Recorder for Operations {
    type Output = Vec<InternalOperation>;
    type Inspector = InternalOperationsInspector;

    fn detail(&self) -> Detail {
        Detail::LIST
    }

    fn begin(&self, _: u64) -> Result<InternalOperationsInspector, TraceError> {
        Ok(InternalOperationsInspector::default())
    }

    fn end(&self, inspector: InternalOperationsInspector, _: Subject<'_, '_, '_>) -> Result<Self::Output, TraceError> {
        Ok(inspector.into_operations())
    }
}
