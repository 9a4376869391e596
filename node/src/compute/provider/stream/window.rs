//! One paid window of an audited channel: what the audit, its checkers and this provider's own second look need of it.

use crate::compute::{
    checker::source::StepMaterial,
    opening::Work,
    provider::{
        book::Book,
        window::{Attendance, Attended, Rerun, attend, expected},
    },
    windows::{WindowStatus, window_of_channel},
};
use alloy_primitives::B256;
use eyre::{Result, eyre};
use keystead_blobs::{BlobStore, Hash};
use keystead_job::{JobSpec, Step, blob_hash, commitment::Secret, limits::INPUT_BYTES_MAX, step::encode_list};
use keystead_payment::Release;
use keystead_runner::{Failure, Job, Session, Stop};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::block_in_place, time::sleep};

/// The chain has not said yet how many openings are expected.
const UNKNOWN: u64 = u64::MAX;
/// What a second run of one step may take beside its own time.
const RERUN_EXTRA: Duration = Duration::from_secs(60);

/// Where a window is from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) channel: B256,
    /// What the audit knows the channel by.
    pub(super) number: u64,
    pub(super) spec: JobSpec,
    /// Where the channel's blobs are.
    pub(super) store: Arc<dyn BlobStore>,
}

/// A window that was reported and paid.
#[derive(Clone, Debug)]
pub(crate) struct PaidWindow {
    origin: Origin,
    pub(super) number: u64,
    /// The audit's name of it.
    pub(super) id: B256,
    steps: Vec<Step>,
    /// Names of the states after the steps.
    outputs: Vec<B256>,
    secret: B256,
    /// Openings that are still expected, by the window's own rate.
    openings: Arc<AtomicU64>,
}

impl PaidWindow {
    pub(super) fn new(origin: Origin, number: u64, steps: Vec<Step>, outputs: Vec<B256>, secret: B256) -> Self {
        let id = window_of_channel(origin.number, number);
        Self { origin, number, id, steps, outputs, secret, openings: Arc::new(AtomicU64::new(UNKNOWN)) }
    }

    /// Openings that are still expected of it; while the chain has not said at which rate its steps are drawn, at this one.
    pub(super) fn openings(&self, rate_ppm: u32) -> u64 {
        match self.openings.load(Ordering::Relaxed) {
            UNKNOWN => expected(u32::try_from(self.steps.len()).unwrap_or(u32::MAX), rate_ppm),
            known => known,
        }
    }

    /// So many openings are still expected.
    fn expects(&self, openings: u64) {
        self.openings.store(openings, Ordering::Relaxed);
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn outputs(&self) -> &[B256] {
        &self.outputs
    }

    pub(super) const fn secret(&self) -> B256 {
        self.secret
    }

    /// What the window is announced with: its commitment, and the name of the list of its steps.
    pub(super) fn announcement(&self) -> Result<(B256, B256)> {
        Ok((self.work()?.tree()?.root(), list_name(&self.steps)))
    }

    /// Every blob that a check of it may need, but those that all windows share.
    pub(super) fn blobs(&self) -> Vec<B256> {
        let inputs = self.steps.iter().map(|step| step.input);
        inputs.chain(self.outputs.iter().copied()).chain([list_name(&self.steps)]).collect()
    }

    /// What its checkers are served.
    pub(crate) fn material(&self) -> StepMaterial<'_> {
        StepMaterial { spec: &self.origin.spec, steps: &self.steps, outputs: &self.outputs }
    }

    fn job(&self) -> Result<Job> {
        let spec = self.origin.spec.clone();
        let get = |name: B256, max| block_in_place(|| self.origin.store.get(Hash::from(name), max));
        let program = get(spec.program_hash, spec.runtime.program_bytes_max())?;
        let common = get(spec.common_hash, INPUT_BYTES_MAX)?;
        Ok(Job { spec, program: program.into(), common: common.into() })
    }
}

impl Attended for PaidWindow {
    fn id(&self) -> B256 {
        self.id
    }

    fn label(&self) -> String {
        format!("channel {} window {}", self.origin.channel, self.number)
    }

    fn work(&self) -> Result<Work> {
        Ok(Work { secret: Secret::new(self.secret.0), outputs: self.outputs.clone(), traces: Vec::new() })
    }

    fn run_again(&self, book: &Book, unit: u32, _segment: u32) -> Result<Rerun> {
        let index = unit as usize;
        let found = self.steps.get(index).copied().zip(self.outputs.get(index).copied());
        let (step, wrote) = found.ok_or_else(|| eyre!("the window has no step {unit}"))?;
        let input = block_in_place(|| self.origin.store.get(Hash::from(step.input), INPUT_BYTES_MAX))?;
        let spec = self.origin.spec.clone();
        let limit = Duration::from_millis(spec.limits.wall_ms_max).saturating_add(RERUN_EXTRA);
        let (command, job, stop, fault) = (book.command.clone(), self.job()?, Stop::after(limit), book.fault);
        let place = book.place(&spec);
        let run = async move {
            let outcome = Session::open_at(command, job, stop, place).await?.run(&input).await?;
            let wrong = fault.and_then(|fault| fault.alter_step_again(&spec, &outcome.output));
            let same = [Some(outcome.output), wrong].into_iter().flatten().any(|output| blob_hash(&output) == wrote);
            Ok::<_, Failure>(same)
        };
        Ok(Box::pin(run))
    }
}

/// The name of the list of a window's steps.
pub(super) fn list_name(steps: &[Step]) -> B256 {
    blob_hash(&encode_list(steps))
}

/// Attends to a window that was announced until its audit is over: its number, and what came of it.
pub(super) async fn vigil(book: Arc<Book>, window: Arc<PaidWindow>) -> (u64, Release) {
    let mut attendance = Attendance::default();
    let mut said = String::new();
    loop {
        match attend(&book, &*window, &mut attendance).await.map(release) {
            Ok(Release::Pending) => said.clear(),
            Ok(release) => {
                // At once: its file stays while a lease is worked on, which may be waiting for just this.
                window.expects(0);
                return (window.number, release);
            }
            Err(error) => {
                // Each reason once in a row: the bond is lost if it lasts.
                let reason = format!("{error:#}");
                if said != reason {
                    tracing::warn!(
                        window = window.label(),
                        error = reason,
                        "a window cannot be attended to, trying again"
                    );
                    said = reason;
                }
            }
        }
        if let Some(openings) = attendance.openings() {
            window.expects(openings);
        }
        sleep(attendance.pause()).await;
    }
}

/// What a claim may count on.
pub(super) const fn release(status: WindowStatus) -> Release {
    match status {
        // It may not be known yet where this node stands.
        WindowStatus::None | WindowStatus::Open => Release::Pending,
        WindowStatus::Closed => Release::Released,
        WindowStatus::Convicted => Release::Convicted,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::{opening::Shown, provider::record::tests::spec};
    use keystead_blobs::MemoryStore;
    use keystead_job::step::audited_root;

    pub(crate) fn origin() -> Origin {
        let store: Arc<dyn BlobStore> = Arc::new(MemoryStore::default());
        Origin { channel: B256::repeat_byte(1), number: 7, spec: spec(4), store }
    }

    #[test]
    fn a_window_is_announced_with_the_root_that_its_voucher_carries_and_opens_under_it() {
        let step = |unit| Step { unit, segment: 0, input: blob_hash(&[1]) };
        let (steps, outputs) = (vec![step(2), step(0)], vec![blob_hash(&[2]), blob_hash(&[3])]);
        let window = PaidWindow::new(origin(), 5, steps.clone(), outputs.clone(), B256::repeat_byte(9));
        let (commitment, list) = window.announcement().unwrap();
        let tree = keystead_job::commitment::Tree::new(&Secret::new([9; 32]), &outputs).unwrap();
        assert_eq!(audited_root(commitment, list), audited_root(tree.root(), list_name(&steps)));
        assert_eq!(window.id(), window_of_channel(7, 5));
        let proof = window.work().unwrap().proof(1, 0, Shown::Both).unwrap();
        assert_eq!((proof.result, proof.before), (outputs[1], B256::ZERO));
        // Until the chain says how many steps are drawn, the rate of the day counts.
        assert_eq!([30_000, 1_000_000].map(|rate_ppm| window.openings(rate_ppm)), [1, 2]);
        window.expects(0);
        assert_eq!(window.openings(1_000_000), 0);
        let blobs = window.blobs();
        assert!([steps[0].input, outputs[0], outputs[1], list].iter().all(|name| blobs.contains(name)));
    }
}
