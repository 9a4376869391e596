//! From a recipe's name and files to a job: its spec, and every blob that a provider may ask for.

use super::{audit::referee::Run, choose::Offers};
use crate::{
    cli,
    compute::{
        money::Money,
        recipe::{open, run_step},
    },
};
use eyre::{Context as _, Result, bail, eyre};
use keystead_audit::Task;
use keystead_job::{
    B256, Checker, Class, JobSpec, Recipe, blob_hash, hash_list, parameter::Parameters, recipe::Agreement, spec::Draft,
};
use keystead_recipes::{CustomerSide, Inputs, Plan};
use keystead_runner::{Failure, Job, Session, Stop, WorkerCommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio::sync::OnceCell;

/// A job ready to be ordered.
#[derive(Debug)]
pub(in crate::compute) struct Prepared {
    pub(in crate::compute) side: &'static dyn CustomerSide,
    pub(in crate::compute) recipe: Recipe,
    pub(in crate::compute) inputs: Inputs,
    pub(in crate::compute) parameters: Parameters,
    pub(in crate::compute) spec: JobSpec,
    pub(in crate::compute) common: Vec<u8>,
    pub(in crate::compute) units: Vec<Vec<u8>>,
    /// Names of the unit inputs, in unit order.
    pub(in crate::compute) unit_names: Vec<B256>,
    /// What is known of who would take it.
    pub(super) offers: Offers,
    /// How long referees take, measured when an audit is planned first; none if it is not known.
    pub(super) interpreted: OnceCell<Option<Run>>,
}

impl Prepared {
    /// Bytes that a provider fetches before it begins.
    pub(in crate::compute) fn input_bytes(&self) -> u64 {
        let sizes = self.units.iter().map(Vec::len).chain([self.common.len(), self.side.program().len()]);
        sizes.fold(0, |sum: u64, size| sum.saturating_add(size as u64))
    }

    /// What a program is told of the job when it is planned, to be paid in this money. Spec: specs/0011-stream.md §10.
    pub(in crate::compute) fn facts(&self, money: &Money) -> Value {
        let spec = &self.spec;
        json!({
            "job": spec.hash(),
            "recipe": spec.recipe.to_string(),
            "runtime": spec.runtime.as_str(),
            "units": spec.unit_count,
            "segments": spec.segment_count,
            "token": money.currency().contract(),
        })
    }

    /// Starts a worker of this machine for what a check wants to be run.
    ///
    /// # Errors
    /// The worker's; the recipe has no checker program, and that is asked for.
    pub(in crate::compute) async fn start(&self, command: &WorkerCommand, task: Task) -> Result<Session, Failure> {
        let Self { side, spec, common, .. } = self;
        let (spec, program) = match task {
            Task::Rerun { .. } => (Some(spec.clone()), Some(side.program())),
            Task::Checker { .. } => (spec.checker_job(), side.checker()),
        };
        let (Some(spec), Some(program)) = (spec, program) else {
            return Err(Failure::Aborted { why: "the recipe has no checker program".to_owned() });
        };
        let job = Job { spec, program: program.into(), common: common.clone().into() };
        Session::open(command.clone(), job, Stop::new()).await
    }
}

/// What a person wants done.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute) struct Work<'a> {
    pub(in crate::compute) recipe: &'a str,
    pub(in crate::compute) input: &'a [(String, String)],
    pub(in crate::compute) set: &'a [(String, String)],
}

impl<'a> From<&'a cli::Run> for Work<'a> {
    fn from(options: &'a cli::Run) -> Self {
        Self { recipe: &options.recipe, input: &options.input, set: &options.set }
    }
}

/// Reads the files and makes the job; touches neither network nor money.
pub(in crate::compute) async fn prepare(work: Work<'_>) -> Result<Prepared> {
    let side = open(work.recipe)?;
    let recipe = side.recipe()?;
    let files: Vec<(String, PathBuf)> =
        work.input.iter().map(|(name, path)| (name.clone(), PathBuf::from(path))).collect();
    let inputs = Inputs::read(&recipe, &files)?;
    let parameters = recipe.parameters(work.set)?;
    if matches!(recipe.class, Class::Statistical | Class::Opaque) {
        bail!(
            "recipe {} is of class {}: nothing can check such results, which would stay unverified, so none are ordered",
            side.name(),
            recipe.class
        );
    }
    let plan = match side.planner(&inputs, &parameters)? {
        Some(step) => side.planned(&run_step(&recipe, step).await?)?,
        None => side.plan(&inputs, &parameters)?,
    };
    let unit_names: Vec<B256> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
    let spec =
        job_spec(side, &recipe, &plan, &unit_names).wrap_err("the recipe made a job that no provider would take")?;
    let (common, units, offers, interpreted) = (plan.common, plan.units, Offers::default(), OnceCell::new());
    Ok(Prepared { side, recipe, inputs, parameters, spec, common, units, unit_names, offers, interpreted })
}

/// The job of a plan.
pub(in crate::compute) fn job_spec(
    side: &dyn CustomerSide,
    recipe: &Recipe,
    plan: &Plan,
    unit_names: &[B256],
) -> Result<JobSpec> {
    let checker = side.checker().zip(recipe.checker.as_ref());
    let checker =
        checker.map(|(program, declared)| Checker { program_hash: blob_hash(program), fuel_max: declared.fuel_max });
    let spec = JobSpec::new(Draft {
        recipe: recipe.name.clone(),
        runtime: recipe.runtime,
        class: recipe.class,
        program_hash: blob_hash(side.program()),
        common_hash: blob_hash(&plan.common),
        units_hash: hash_list(unit_names),
        unit_count: u32::try_from(unit_names.len()).map_err(|_| eyre!("too many units: {}", unit_names.len()))?,
        segment_count: plan.segment_count,
        limits: plan.limits,
        checker,
        tolerance: recipe.tolerance.as_ref().map(Agreement::tolerance),
    })?;
    Ok(spec)
}
