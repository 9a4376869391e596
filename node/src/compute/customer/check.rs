//! Runs a random sample of the units again, on this machine, and compares.

use super::{plan::Prepared, show::Show, talk::Arrived};
use crate::compute::market::Order;
use alloy_primitives::B256;
use eyre::{Context as _, Result, eyre};
use keystead_audit::{Answer, Check, Delivery, Report, SampleRule, Seed};
use keystead_runner::{Failure, Job, Session, Stop, WorkerCommand};
use rand::{TryRngCore as _, rngs::OsRng};

/// Which units are run again, and how they are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) rule: SampleRule,
    pub(super) seed: B256,
}

/// A seed that nobody knew before; to be drawn once for an order, after the commitment was recorded.
pub(super) fn draw_seed() -> Result<B256> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).wrap_err("the system gives no randomness")?;
    Ok(B256::new(seed))
}

/// The sample check of specs/0003-job.md §10.
pub(super) async fn check(
    prepared: &Prepared,
    order: &Order,
    arrived: &Arrived,
    sample: Sample,
    show: &mut Show,
) -> Result<Report> {
    let Sample { rule, seed } = sample;
    let delivery = Delivery {
        spec: &prepared.spec,
        commitment: order.commitment,
        secret: &arrived.secret,
        output_hashes: &arrived.outputs,
    };
    let mut check = Check::new(delivery, rule, Seed(seed.0));
    let total = u64::from(rule.size(prepared.spec.unit_count));
    let mut machine = Machine::new(prepared)?;
    let mut done = 0_u64;
    while let Some(unit) = check.pending() {
        let answer = machine.run(unit).await;
        check.record(unit, answer).wrap_err("the check lost its place")?;
        done = done.saturating_add(1);
        show.progress("units checked", done, total);
    }
    check.report().ok_or_else(|| eyre!("the check ended without a verdict"))
}

/// This machine's worker; it starts with the first unit.
struct Machine<'a> {
    prepared: &'a Prepared,
    command: WorkerCommand,
    session: Option<Session>,
}

impl<'a> Machine<'a> {
    fn new(prepared: &'a Prepared) -> Result<Self> {
        let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
        Ok(Self { prepared, command, session: None })
    }

    async fn run(&mut self, unit: u32) -> Answer {
        let Some(input) = self.prepared.units.get(unit as usize) else {
            return Answer::NotRun("there is no such unit".to_owned());
        };
        let mut session = match self.session.take() {
            Some(session) => session,
            None => match self.start().await {
                Ok(session) => session,
                Err(failure) => return Answer::NotRun(failure.to_string()),
            },
        };
        let outcome = session.run(input).await;
        self.session = Some(session);
        match outcome {
            Ok(done) => Answer::Output(done.output),
            Err(Failure::JobError { code }) => Answer::JobError(code),
            Err(failure) => Answer::NotRun(failure.to_string()),
        }
    }

    async fn start(&self) -> Result<Session, Failure> {
        let job = Job {
            spec: self.prepared.spec.clone(),
            program: self.prepared.side.program().into(),
            common: self.prepared.common.clone().into(),
        };
        Session::open(self.command.clone(), job, Stop::new()).await
    }
}
