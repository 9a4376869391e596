//! Runs a recipe's job on this machine: each run in a worker of its own, as a provider's would be.

use crate::compute::customer::job_spec;
use eyre::{Context as _, Result};
use keystead_audit::judge::{Answer, Judgement, Task, checker_input, judge};
use keystead_job::{
    B256, Class, JobSpec, Limits, Recipe, Runtime, blob_hash, hash_list,
    spec::{Draft, RecipeName},
};
use keystead_recipes::{CustomerSide, Folder, Plan};
use keystead_runner::{Done, Failure, Hear, Job, Said, Session, Stop, WorkerCommand};

/// A seed for checker programs. Nobody here could profit from knowing it.
const SEED: [u8; 32] = [0x5e; 32];

/// On what a trial runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// The best that this machine has.
    Machine,
    /// The interpreter.
    Reference,
    /// A false second vendor, for tolerance.
    OtherVendor(u64),
}

/// A planned job with everything that runs it.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    pub(super) folder: &'a Folder,
    pub(super) recipe: &'a Recipe,
    pub(super) plan: Plan,
    pub(super) spec: JobSpec,
}

impl<'a> Trial<'a> {
    pub(super) fn new(folder: &'a Folder, plan: Plan) -> Result<Self> {
        let recipe = folder.manifest_keys();
        let names: Vec<B256> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
        let spec = job_spec(folder, recipe, &plan, &names)?;
        Ok(Self { folder, recipe, plan, spec })
    }

    pub(super) fn job(&self) -> Job {
        self.job_of(self.spec.clone())
    }

    fn job_of(&self, spec: JobSpec) -> Job {
        let program = self.folder.program().to_vec().into();
        Job { spec, program, common: self.plan.common.clone().into() }
    }

    /// A warm worker with the job.
    pub(super) async fn session(&self, on: On) -> Result<Session, Failure> {
        open(self.job(), on).await
    }

    /// The same job with other limits.
    pub(super) async fn session_within(&self, limits: Limits, on: On) -> Result<Session, Failure> {
        let draft = Draft { limits, ..(*self.spec).clone() };
        let spec = JobSpec::new(draft).map_err(|error| Failure::ProviderFault { why: error.to_string() })?;
        open(self.job_of(spec), on).await
    }

    /// All segments of a unit, the last output with what the most expensive segment used; `hear` is told what the program says.
    pub(super) async fn unit(&self, session: &mut Session, unit: &[u8], hear: &mut Hear<'_>) -> Result<Done, Failure> {
        let mut done = session.run_heard(unit, hear).await?;
        for _ in 1..self.plan.segment_count {
            let next = session.run_heard(&done.output, hear).await?;
            let fuel = done.usage.fuel.max(next.usage.fuel);
            let wall_us = done.usage.wall_us.max(next.usage.wall_us);
            done = next;
            (done.usage.fuel, done.usage.wall_us) = (fuel, wall_us);
        }
        Ok(done)
    }

    /// What the class' own rule says of an output, where `expected` is this machine's.
    pub(super) async fn judge(&self, unit: u32, delivered: &[u8], expected: &[u8]) -> Result<Judgement, Failure> {
        let name = blob_hash(delivered);
        let (task, answer) = if self.spec.class == Class::SelfChecking {
            let task = Task::Checker { unit, seed: SEED };
            let answer = match self.checker_says(unit, delivered).await {
                Ok(verdict) => Answer::output(verdict),
                Err(Failure::JobError { code }) => Answer::JobError(code),
                Err(failure) => return Err(failure),
            };
            (task, answer)
        } else {
            let answer = Answer::Output { bytes: expected.to_vec(), delivered: Some(delivered.to_vec()) };
            (Task::Rerun { unit, segment: 0 }, answer)
        };
        Ok(judge(&self.spec, task, name, answer))
    }

    /// A warm worker with the checker program.
    pub(super) async fn open_checker(&self) -> Result<Session, Failure> {
        let spec = self.spec.checker_job().ok_or_else(|| broken("the job has no checker"))?;
        let program = self.folder.checker().ok_or_else(|| broken("the recipe has no checker"))?;
        let job = Job { spec, program: program.to_vec().into(), common: self.plan.common.clone().into() };
        open(job, On::Machine).await
    }

    async fn checker_says(&self, unit: u32, output: &[u8]) -> Result<Vec<u8>, Failure> {
        let input = self.plan.units.get(unit as usize).ok_or_else(|| broken("there is no such unit"))?;
        let input = checker_input(SEED, input, output).ok_or_else(|| broken("the unit input is too long"))?;
        Ok(self.open_checker().await?.run(&input).await?.output)
    }

    /// The outputs of the recipe's reference program.
    pub(super) async fn by_reference(&self, units: &[&Vec<u8>]) -> Result<Option<Vec<Vec<u8>>>> {
        let (Some(program), Some(declared)) = (self.folder.reference_program(), &self.recipe.reference) else {
            return Ok(None);
        };
        let spec = side_job(&self.recipe.name, program, declared.fuel_max, &self.plan, self.recipe)?;
        let job = Job { spec, program: program.to_vec().into(), common: self.plan.common.clone().into() };
        let mut session = open(job, On::Machine).await?;
        let mut outputs = Vec::new();
        for unit in units {
            outputs.push(self.unit(&mut session, unit, &mut |_: Said| ()).await?.output);
        }
        Ok(Some(outputs))
    }
}

fn broken(why: &str) -> Failure {
    Failure::ProviderFault { why: why.to_owned() }
}

/// A `wasm/1` job of one of the recipe's side programs, with the plan's units.
fn side_job(name: &RecipeName, program: &[u8], fuel_max: u64, plan: &Plan, recipe: &Recipe) -> Result<JobSpec> {
    let names: Vec<B256> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
    let declared = recipe.limits;
    let limits = Limits {
        wall_ms_max: declared.wall_ms_max,
        fuel_max,
        memory_bytes_max: declared.memory_bytes_max,
        output_bytes_max: declared.output_bytes_max,
        loop_iterations_max: 0,
        workgroups: [0; 3],
    };
    JobSpec::new(Draft {
        recipe: name.clone(),
        runtime: Runtime::Wasm1,
        class: Class::Exact,
        program_hash: blob_hash(program),
        common_hash: blob_hash(&plan.common),
        units_hash: hash_list(&names),
        unit_count: u32::try_from(names.len()).wrap_err("too many units")?,
        segment_count: plan.segment_count,
        limits,
        checker: None,
        tolerance: None,
    })
    .wrap_err("[reference] does not fit the limits")
}

async fn open(job: Job, on: On) -> Result<Session, Failure> {
    let command = WorkerCommand::current_exe().map_err(|error| Failure::ProviderFault { why: error.to_string() })?;
    match on {
        On::Machine => Session::open(command, job, Stop::new()).await,
        On::Reference => Session::open_reference(command, job, Stop::new()).await,
        On::OtherVendor(seed) => Session::open_other_vendor(command, job, Stop::new(), seed).await,
    }
}
