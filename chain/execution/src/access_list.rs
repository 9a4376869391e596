//! Which accounts and slots a call touches, as an EIP-2930 list.
//!
//! # Design
//! A list changes prices, prices can change what code does, and so what it touches: the call is tried again with the
//! list so far until the list stands still.

use crate::{
    call::{CallRequest, CallStatus, outcome},
    error::Error,
    overrides::Overrides,
    trace::{CallSite, Detail, Recorder, Subject, TraceError, TraceLimits, replay_calls},
};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::Bytes;
use revm_inspectors::access_list::AccessListInspector;

/// Tries until the list must stand still: lists only grow, and code that depends on its own price that often is built
/// for it.
const ROUNDS_MAX: usize = 8;

/// A list for a call, and what the call gives with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessListOutcome {
    /// Accounts and slots, in order; without the caller, the called account and the precompiled contracts.
    pub access_list: AccessList,
    /// Gas of the call with this list.
    pub gas_used: u64,
    /// How it ended.
    pub status: CallStatus,
    /// What it returned.
    pub output: Bytes,
}

/// Finds the access list of a call.
///
/// Gas and price are as in [`crate::call`]. Cost: at most eight runs, each at most what `limits` say.
/// Trust: the request and the overrides may be hostile.
///
/// # Errors
/// As [`crate::trace_call`]. A call that fails still has a list.
pub fn access_list(
    site: &CallSite<'_>,
    overrides: &Overrides,
    request: CallRequest,
    gas_cap: u64,
    limits: &TraceLimits<'_>,
) -> Result<AccessListOutcome, TraceError> {
    let round = |request: &CallRequest| {
        let calls = vec![(request.clone(), Touched(request.access_list.clone()))];
        let found = replay_calls(site, overrides, calls, gas_cap, limits)?.into_iter().next();
        found.ok_or_else(|| TraceError::from(Error::Machine("a call gave no access list".to_owned())))
    };
    let mut request = request;
    let mut found = round(&request)?;
    for _ in 1..ROUNDS_MAX {
        if found.access_list == request.access_list {
            break;
        }
        request.access_list = found.access_list;
        found = round(&request)?;
    }
    Ok(found)
}

/// Collects what is touched, beginning with a list.
struct Touched(AccessList);

impl Recorder for Touched {
    type Output = AccessListOutcome;
    type Inspector = AccessListInspector;

    fn detail(&self) -> Detail {
        Detail::NOTHING
    }

    fn begin(&self, _: u64) -> Result<AccessListInspector, TraceError> {
        Ok(AccessListInspector::new(self.0.clone()))
    }

    fn end(
        &self,
        inspector: AccessListInspector,
        subject: Subject<'_, '_, '_>,
    ) -> Result<AccessListOutcome, TraceError> {
        let outcome = outcome(subject.ran.result.clone());
        let (gas_used, status, output) = (outcome.gas_used, outcome.status, outcome.output);
        Ok(AccessListOutcome { access_list: inspector.into_access_list(), gas_used, status, output })
    }
}
