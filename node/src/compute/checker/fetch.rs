//! The blobs of one check: from one source that says what it gives, or from this machine, where what came for the check before is kept.
//!
//! # Invariants
//! Nothing that a source says is believed: blobs have their names, the state before a segment its proof or the chain's word, a step its list. What this
//! machine keeps is read by the same rule.
//!
//! Spec: specs/0008-audit.md §10.

use super::{
    sources::Received,
    work::{Errand, Unready},
};
use crate::compute::{
    opening::{Place, state_before},
    windows::Opened,
};
use alloy_primitives::B256;
use keystead_blobs::{BlobStore, CheckSession, Duty, Fetched, Hash, SessionError, Want, hash};
use keystead_job::{
    JobSpec,
    limits::INPUT_BYTES_MAX,
    step::{STEP_BYTES, parse_list},
};
use std::sync::Arc;
use tokio::task::block_in_place;

/// Bytes of one name in a list.
const NAME_BYTES: u64 = 32;

/// Where a run begins.
pub(super) struct Begins {
    /// Unit and segment of the job.
    pub(super) place: (u32, u32),
    /// The unit's input, or what stands for it: a later step of a channel is known by its state alone.
    pub(super) input: B256,
    /// The state before a later segment.
    pub(super) state: Option<B256>,
}

/// The blobs of one check, as one source has them.
pub(super) struct Fetch<'a> {
    pub(super) errand: &'a Errand<'a>,
    /// What the source said, now or when everything came.
    pub(super) duty: &'a Duty,
    /// None: what came before is here still, and nobody is asked.
    pub(super) session: Option<&'a CheckSession>,
    pub(super) spec: &'a JobSpec,
    pub(super) received: &'a Received,
}

impl Fetch<'_> {
    /// Where the drawn segment of an order's unit begins: the unit's input, or the state that the provider committed to.
    pub(super) async fn begin(&self, opened: Option<Opened>) -> Result<Begins, Unready> {
        let (errand, spec) = (self.errand, self.spec);
        let (which, window) = (errand.record.which, errand.window);
        let unit = which.unit;
        let segment = errand.agent.windows.segment_of(which.window, unit, errand.case).await?;
        let unserved = |error: &dyn std::fmt::Display| Unready::Unserved(error.to_string());
        let state = match (segment, opened) {
            (0, _) => None,
            (_, Some(opened)) => Some(opened.before),
            (_, None) => {
                let (units, segments) = (window.units, window.segments);
                let place = Place { commitment: window.commitment, units, segments, unit, segment };
                Some(state_before(&self.duty.before, place).map_err(|error| unserved(&error))?)
            }
        };
        let list_bytes = u64::from(spec.unit_count).saturating_mul(NAME_BYTES);
        let list = self.one(spec.units_hash, list_bytes).await?;
        let names = hash::parse_list(&list, spec.unit_count as usize).map_err(|error| unserved(&error))?;
        let name = names.get(unit as usize).copied().ok_or_else(|| unserved(&"the list of units is short"))?;
        Ok(Begins { place: (unit, segment), input: B256::from(name), state })
    }

    /// What a step of a channel's window began with, by the list that customer and provider stand by.
    pub(super) async fn begin_of_step(&self) -> Result<Begins, Unready> {
        let (window, spec) = (self.errand.window, self.spec);
        let bytes_max = u64::from(window.units).saturating_mul(u64::try_from(STEP_BYTES).unwrap_or(u64::MAX));
        let list = self.one(window.steps, bytes_max).await?;
        let unfit = |reason: String| Unready::Unfit(reason);
        let steps = parse_list(&list, window.units).map_err(|error| unfit(error.to_string()))?;
        let step = steps.get(self.errand.record.which.unit as usize).copied();
        let step = step.filter(|step| step.unit < spec.unit_count && step.segment < spec.segment_count);
        let step = step.ok_or_else(|| unfit("the window's list names a step that the job has not".to_owned()))?;
        let state = (step.segment > 0).then_some(step.input);
        Ok(Begins { place: (step.unit, step.segment), input: step.input, state })
    }

    /// The program to run, and the common input.
    pub(super) async fn shared(&self) -> Result<(Vec<u8>, Vec<u8>), Unready> {
        let spec = self.spec;
        let (program, bytes_max) = match spec.checker {
            Some(checker) => (checker.program_hash, keystead_job::Runtime::Wasm1.program_bytes_max()),
            None => (spec.program_hash, spec.runtime.program_bytes_max()),
        };
        let program = self.one(program, bytes_max).await?;
        let common = self.one(spec.common_hash, INPUT_BYTES_MAX).await?;
        Ok((program, common))
    }

    pub(super) async fn one(&self, name: B256, bytes_max: u64) -> Result<Vec<u8>, Unready> {
        self.keep([name], bytes_max).await?;
        let bytes = block_in_place(|| self.errand.agent.shelf.get(name, bytes_max));
        bytes.map_err(|error| Unready::Unserved(error.to_string()))
    }

    /// Fetches what is not here, and keeps it while the check lasts.
    pub(super) async fn keep<const N: usize>(&self, names: [B256; N], bytes_max: u64) -> Result<(), Unready> {
        let agent = self.errand.agent;
        let wants: Vec<Want> = names.into_iter().map(|name| Want { hash: Hash::from(name), bytes_max }).collect();
        agent.shelf.hold(self.errand.record.which, wants.iter().map(|want| want.hash));
        let store: &Arc<dyn BlobStore> = &agent.shelf.store;
        let Some(session) = self.session else {
            let lacking = block_in_place(|| agent.shelf.lacks(wants.iter().map(|want| want.hash)));
            let lacks = |blob| Unready::Unserved(format!("it is not here: blob={}", B256::from(blob)));
            return lacking.map_or(Ok(()), |blob| Err(lacks(blob)));
        };
        let mut before = 0;
        let mut report = |fetched: Fetched| {
            self.received.add(fetched.bytes_received.saturating_sub(before));
            before = fetched.bytes_received;
        };
        let fetched = session.fetch_told(store, wants, &mut report).await;
        fetched.map_err(unfetched)
    }
}

/// A disk that is full here is no source's fault: nobody is asked in public for that, and it is counted against nobody.
fn unfetched(error: SessionError) -> Unready {
    match error {
        SessionError::Store(error) => Unready::Fault(error.into()),
        error => Unready::Unserved(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystead_blobs::{StoreError, Unavailable};

    #[test]
    fn a_full_disk_here_is_blamed_on_no_source() {
        let full = StoreError::Full { need_bytes: 2, free_bytes: 1 };
        assert!(matches!(unfetched(full.into()), Unready::Fault(_)));
        let away = Unavailable::NotServed { hash: Hash::of(b"input") };
        assert!(matches!(unfetched(away.into()), Unready::Unserved(_)));
    }
}
