//! Cuts a simulation into ranges of paths, and reads what comes back.

use super::{
    blob::{UNIT_PATHS_MAX, Unit},
    model::{self, Drift, Holding, Model},
    path,
    prices::{self, History},
    report::{self, Losses, Subject},
};
use crate::{
    CustomerSide, Error, Inputs, Plan, ResultFile,
    settings::{integer, text},
};
use keystead_job::parameter::Parameters;

/// Invocations of a workgroup, as in the kernel.
const WORKGROUP: u32 = 64;
/// Most paths of a job, also after rounding up to whole units: the report sorts them in memory (128 MiB).
const PATHS_MAX: u64 = 33_554_432;

/// The recipe `value-at-risk`.
#[derive(Clone, Copy, Debug)]
pub struct ValueAtRisk;

/// Everything that plan and assembly both derive from files and parameters.
struct Work {
    holdings: Vec<Holding>,
    history: History,
    model: Model,
    horizon_months: u32,
    confidence: u64,
    seed: u64,
    unit_paths: u32,
    unit_count: u32,
}

fn drift(parameters: &Parameters) -> Result<Drift, Error> {
    match text(parameters, "drift")? {
        "historical" => Ok(Drift::Historical),
        "zero" => Ok(Drift::Zero),
        other => Err(Error::Setting { name: "drift", what: format!("must be historical or zero, got {other:?}") }),
    }
}

fn currency(parameters: &Parameters) -> Result<&str, Error> {
    let currency = text(parameters, "currency")?;
    let plain = (1..=8).contains(&currency.len()) && currency.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let what = || format!("must be 1 to 8 letters or digits, got {currency:?}");
    if plain { Ok(currency) } else { Err(Error::Setting { name: "currency", what: what() }) }
}

impl Work {
    fn new(inputs: &Inputs, parameters: &Parameters) -> Result<Self, Error> {
        let horizon_months = integer(parameters, "horizon-months", 1..=24)?;
        let confidence = integer(parameters, "confidence-basis-points", 5_000..=9_999)?;
        let paths: u64 = integer(parameters, "paths", 1..=i64::from(u32::MAX))?;
        let unit_paths: u32 = integer(parameters, "paths-per-unit", 1..=i64::from(UNIT_PATHS_MAX))?;
        let seed = integer(parameters, "seed", 0..=i64::MAX)?;
        currency(parameters)?;
        if !unit_paths.is_multiple_of(WORKGROUP) {
            let what = format!("must be a multiple of {WORKGROUP}, got {unit_paths}");
            return Err(Error::Setting { name: "paths-per-unit", what });
        }
        let unit_count = paths.div_ceil(u64::from(unit_paths));
        let rounded = unit_count.saturating_mul(u64::from(unit_paths));
        if rounded > PATHS_MAX {
            let advice = "set paths lower; the error falls only with the square root of their number";
            return Err(Error::TooLarge { what: "paths in whole units", got: rounded, max: PATHS_MAX, advice });
        }
        let unit_count = u32::try_from(unit_count).unwrap_or(u32::MAX);
        let holdings = model::holdings(text(parameters, "holdings")?)?;
        let symbols: Vec<&str> = holdings.iter().map(|holding| holding.symbol.as_str()).collect();
        let history = prices::history(inputs.file("prices")?, &symbols)?;
        let model = Model::new(&holdings, &history, horizon_months, drift(parameters)?)?;
        Ok(Self { holdings, history, model, horizon_months, confidence, seed, unit_paths, unit_count })
    }

    /// The losses of all units, if each has the right length and no loss that the model rules out.
    fn losses(&self, outputs: &[Vec<u8>]) -> Result<Losses, Error> {
        let expected = usize::try_from(self.unit_count).unwrap_or(usize::MAX);
        if outputs.len() != expected {
            return Err(Error::OutputCount { got: outputs.len(), expected });
        }
        let range = self.model.loss_range();
        let unit_paths = usize::try_from(self.unit_paths).unwrap_or(usize::MAX);
        let mut losses = Vec::with_capacity(expected.saturating_mul(unit_paths));
        for (unit, output) in outputs.iter().enumerate() {
            let (words, rest) = output.as_chunks::<4>();
            if words.len() != unit_paths || !rest.is_empty() {
                let what = format!("{} bytes, expected {}", output.len(), unit_paths.saturating_mul(4));
                return Err(Error::Output { unit, what });
            }
            for word in words {
                let loss = i32::from_le_bytes(*word);
                if !range.contains(&loss) {
                    let what = format!("impossible loss {loss}, expected {} to {}", range.start(), range.end());
                    return Err(Error::Output { unit, what });
                }
                losses.push(loss);
            }
        }
        Ok(Losses::new(losses))
    }
}

impl CustomerSide for ValueAtRisk {
    fn name(&self) -> &'static str {
        "value-at-risk"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../value-at-risk/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../value-at-risk/kernel/value_at_risk.wgsl")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let work = Work::new(inputs, parameters)?;
        let common = work.model.quantise(work.seed).encode();
        let first_path = |index: u32| u64::from(index).saturating_mul(u64::from(work.unit_paths));
        let unit = |index| Unit { first_path: first_path(index), path_count: work.unit_paths }.encode();
        let units: Vec<Vec<u8>> = (0..work.unit_count).map(unit).collect();
        let groups = work.unit_paths.div_ceil(WORKGROUP);
        let mut limits = self.recipe()?.limits([groups, 1, 1]);
        limits.output_bytes_max = u64::from(work.unit_paths).saturating_mul(4);
        Ok(Plan { common, units, segment_count: 1, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        path::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters)?;
        let losses = work.losses(outputs)?;
        let subject = Subject {
            currency: currency(parameters)?,
            holdings: &work.holdings,
            model: &work.model,
            gross_value: model::gross_value(&work.holdings),
            horizon_months: work.horizon_months,
            confidence_basis_points: work.confidence,
            drift: text(parameters, "drift")?,
            seed: work.seed,
            first_month: work.history.first.to_string(),
            last_month: work.history.last.to_string(),
            monthly_returns: work.history.returns.len(),
        };
        report::files(&subject, &losses)
    }
}
