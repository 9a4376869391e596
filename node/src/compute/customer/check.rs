//! Judges a delivery on this machine: runs a random sample of the units again, or the job's checker program on all of them.

use super::{plan::Prepared, show::Show, talk::Arrived};
use crate::compute::{market::Order, random};
use alloy_primitives::B256;
use eyre::{Context as _, Result, eyre};
use keystead_audit::{Answer, Check, Delivery, Report, SampleRule, Seed, Task, judge};
use keystead_blobs::{BlobStore, Hash};
use keystead_runner::{Failure, Session, WorkerCommand};
use std::collections::BTreeSet;
use tokio::task::block_in_place;

/// Which units are judged, and how they are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rule: SampleRule,
    pub(super) seed: B256,
    /// A unit that is known to be wrong on purpose.
    pub(super) canary: Option<u32>,
}

/// A seed that nobody knew before; to be drawn once for an order, after the commitment was recorded.
pub(super) fn draw_seed() -> Result<B256> {
    random::word()
}

/// The customer's check of specs/0003-job.md §10, before anything is run.
pub(super) fn begin<'a>(prepared: &'a Prepared, order: &Order, arrived: &'a Arrived, sample: Sample) -> Check<'a> {
    let delivery = Delivery {
        spec: &prepared.spec,
        units: order.committed_units(),
        commitment: order.commitment,
        secret: &arrived.secret,
        output_hashes: &arrived.outputs,
        traces: &arrived.traces,
    };
    let check = Check::new(delivery, sample.rule, Seed(sample.seed.0));
    match sample.canary {
        Some(unit) => check.without(unit),
        None => check,
    }
}

/// The states that a check needs from the provider: before and after each segment that is run again.
pub(super) fn states(check: &Check<'_>, arrived: &Arrived) -> BTreeSet<Hash> {
    if arrived.traces.is_empty() {
        return BTreeSet::new();
    }
    let of = |task: &Task| [check.state_before(*task), check.claimed(*task)];
    check.tasks().iter().flat_map(of).flatten().map(Hash::from).collect()
}

/// Runs a check to its verdict.
pub(super) async fn check(
    mut check: Check<'_>,
    prepared: &Prepared,
    store: &dyn BlobStore,
    show: &mut Show,
) -> Result<Report> {
    let mut machine = Machine { prepared, store, command: command()?, session: None };
    while let Some(task) = check.pending() {
        let (before, claimed) = (check.state_before(task), check.claimed(task));
        let answer = machine.answer(task, before, claimed).await;
        check.record(task, answer).wrap_err("the check lost its place")?;
        let (done, total) = check.progress();
        show.progress("units checked", done as u64, total as u64);
    }
    check.report().ok_or_else(|| eyre!("the check ended without a verdict"))
}

fn command() -> Result<WorkerCommand> {
    WorkerCommand::current_exe().wrap_err("cannot find this program's own file")
}

/// This machine's worker; it starts with the first task. A check has tasks of one kind only.
struct Machine<'a> {
    prepared: &'a Prepared,
    store: &'a dyn BlobStore,
    command: WorkerCommand,
    session: Option<Session>,
}

impl Machine<'_> {
    async fn answer(&mut self, task: Task, before: Option<B256>, claimed: Option<B256>) -> Answer {
        let spec = &self.prepared.spec;
        let delivered = claimed.and_then(|name| self.blob(name).ok());
        let input = match self.input(task, before, delivered.as_deref()) {
            Ok(input) => input,
            Err(reason) => return Answer::NotRun(reason),
        };
        // Only a tolerance is weighed against the bytes.
        let delivered = delivered.filter(|_| spec.tolerance.is_some());
        let mut session = match self.session.take() {
            Some(session) => session,
            None => match self.prepared.start(&self.command, task).await {
                Ok(session) => session,
                Err(failure) => return Answer::NotRun(failure.to_string()),
            },
        };
        let outcome = session.run(&input).await;
        self.session = Some(session);
        match outcome {
            Ok(done) => Answer::Output { bytes: done.output, delivered },
            Err(Failure::JobError { code }) => Answer::JobError(code),
            Err(failure) => Answer::NotRun(failure.to_string()),
        }
    }

    fn input(&self, task: Task, before: Option<B256>, delivered: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let unit = self.prepared.units.get(task.unit() as usize).ok_or("there is no such unit")?;
        match task {
            Task::Rerun { .. } => before.map_or_else(|| Ok(unit.clone()), |state| self.blob(state)),
            Task::Checker { seed, .. } => {
                let output = delivered.ok_or("the output is not here")?;
                judge::checker_input(seed, unit, output).ok_or_else(|| "the unit input is too long".to_owned())
            }
        }
    }

    fn blob(&self, name: B256) -> Result<Vec<u8>, String> {
        let max = self.prepared.spec.limits.output_bytes_max;
        block_in_place(|| self.store.get(Hash::from(name), max)).map_err(|error| error.to_string())
    }
}
