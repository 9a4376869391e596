//! The same job several times and on several kinds of machine.

use super::{
    next_step,
    report::{Report, says},
    trial::{On, Trial},
};
use keystead_audit::{
    judge::Judgement,
    tolerance::{Comparison, compare},
};
use keystead_job::{Class, Runtime, Tolerance, check::Bound};
use keystead_runner::{Failure, Said, Words};

/// Lines of the recipe's program that its author is shown; the others are counted.
const LINES_SHOWN: usize = 64;
/// Units that are looked at again where all would take long.
const UNITS_AGAIN: usize = 4;
/// Workgroups of a unit that are interpreted.
const WORKGROUPS_AGAIN: u64 = 16;
/// False vendors that are tried.
const VENDORS: [u64; 4] = [1, 2, 3, 4];
/// How much tighter a tolerance could be before it is worth a word.
const MARGIN_WORTH_A_WORD: f32 = 1_000.0;

/// All outputs, twice, in two workers that know nothing of each other.
pub(super) async fn twice(trial: &Trial<'_>, report: &mut Report) -> Option<Vec<Vec<u8>>> {
    let mut tale = Tale::default();
    let first = all(trial, On::Machine, report, &mut |unit: usize, said: Said| tale.hear(unit, &said)).await;
    tale.tell();
    let first = first?;
    let second = all(trial, On::Machine, report, &mut |_: usize, _: Said| ()).await?;
    let differing = first.iter().zip(&second).position(|(a, b)| a != b);
    let Some(unit) = differing else {
        report.passed("determinism", &format!("{} units run twice in two processes, equal", first.len()));
        return Some(first);
    };
    let at = u32::try_from(unit).unwrap_or(u32::MAX);
    let (a, b) = (first.get(unit)?, second.get(unit)?);
    match trial.judge(at, a, b).await {
        Ok(Judgement::Right) if trial.recipe.class != Class::Exact => {
            report.noted("determinism", &format!("unit {unit} differs from run to run, within what its class allows"));
        }
        _ => report.failed(
            "determinism",
            &format!("unit {unit} gives another output each time"),
            "look for races between invocations, for memory that is read before it is written, and for atomics without a barrier",
        ),
    }
    Some(first)
}

/// What the program says of its units, as much of it as its author reads.
#[derive(Debug, Default)]
struct Tale {
    lines: Vec<(usize, String)>,
    more: u64,
}

impl Tale {
    fn hear(&mut self, unit: usize, said: &Said) {
        match said {
            Said::Line(_) if self.lines.len() < LINES_SHOWN => self.lines.push((unit, said.text())),
            Said::Line(_) => self.more = self.more.saturating_add(1),
            Said::LeftOut(lines) => self.more = self.more.saturating_add(*lines),
        }
    }

    fn tell(&self) {
        self.lines.iter().for_each(|(unit, line)| says(&format!("unit {unit}"), line));
        if self.more > 0 {
            says("", &format!("and {} lines more", self.more));
        }
    }
}

/// All outputs, or what went wrong. `hear` is told what the program says, with the unit.
pub(super) async fn all(
    trial: &Trial<'_>,
    on: On,
    report: &mut Report,
    hear: &mut (dyn FnMut(usize, Said) + Send),
) -> Option<Vec<Vec<u8>>> {
    let mut outputs = Vec::new();
    let failure = match trial.session(on).await {
        Ok(mut session) => loop {
            let at = outputs.len();
            let Some(unit) = trial.plan.units.get(at) else { return Some(outputs) };
            match trial.unit(&mut session, unit, &mut |said: Said| hear(at, said)).await {
                Ok(done) => outputs.push(done.output),
                Err(failure) => break failure,
            }
        },
        Err(failure) => failure,
    };
    let why = format!("unit {}: {failure}", outputs.len());
    report.failed("run", &why, next_step(&failure, trial.recipe));
    None
}

/// Sampled workgroups of some units on the interpreter, against this machine's device.
pub(super) async fn on_reference(trial: &Trial<'_>, report: &mut Report) {
    if trial.recipe.runtime != Runtime::Wgsl1 {
        return;
    }
    match against_reference(trial).await {
        Ok(Seen::NoDevice) => report.noted(
            "reference",
            "this machine has no adapter, so everything ran on the interpreter: check on a machine with one too",
        ),
        Ok(Seen::Equal { words, engine }) => {
            report.passed("reference", &format!("{words} sampled words of {engine} are the interpreter's"));
        }
        Ok(Seen::Different { unit, words }) => report.failed(
            "reference",
            &format!("unit {unit}: {words}"),
            "the program depends on the device: races, out-of-bounds indices, shifts of 32 and more, or a tolerance that is too narrow",
        ),
        Err(failure) => report.noted("reference", &format!("not compared with the interpreter: {failure}")),
    }
}

enum Seen {
    NoDevice,
    Equal { words: usize, engine: String },
    Different { unit: usize, words: String },
}

async fn against_reference(trial: &Trial<'_>) -> Result<Seen, Failure> {
    let mut machine = trial.session(On::Machine).await?;
    let mut reference = trial.session(On::Reference).await?;
    if machine.engine() == reference.engine() {
        return Ok(Seen::NoDevice);
    }
    let workgroups = sample(trial.spec.limits.workgroups);
    let mut count = 0_usize;
    for (unit, input) in some_units(trial) {
        let output = machine.run(input).await?.output;
        let words = reference.run_workgroups(input, &workgroups).await?;
        if let Some(words) = difference(trial, &words, &output) {
            return Ok(Seen::Different { unit, words });
        }
        count = count.saturating_add(words.0.len());
    }
    Ok(Seen::Equal { words: count, engine: machine.engine().to_owned() })
}

/// Units from begin to end of the job.
fn some_units<'a>(trial: &'a Trial<'_>) -> Vec<(usize, &'a Vec<u8>)> {
    let step = trial.plan.units.len().div_ceil(UNITS_AGAIN).max(1);
    let last = trial.plan.units.len().saturating_sub(1);
    trial.plan.units.iter().enumerate().filter(|(at, _)| at.is_multiple_of(step) || *at == last).collect()
}

/// Workgroups spread over a dispatch, the first and the last among them.
pub(crate) fn sample([x, y, z]: [u32; 3]) -> Vec<[u32; 3]> {
    let (x, y, z) = (u64::from(x.max(1)), u64::from(y.max(1)), u64::from(z.max(1)));
    let last = x.saturating_mul(y).saturating_mul(z).saturating_sub(1);
    let parts = WORKGROUPS_AGAIN.saturating_sub(1).max(1);
    let mut chosen: Vec<u64> = (0..=parts)
        .map(|part| u128::from(last).saturating_mul(part.into()).checked_div(parts.into()).unwrap_or_default())
        .map(|at| u64::try_from(at).unwrap_or(last))
        .collect();
    chosen.dedup();
    let id = |at: u64| {
        let row = at.checked_div(x).unwrap_or_default();
        let parts = [at.checked_rem(x), row.checked_rem(y), row.checked_div(y)];
        parts.map(|part| part.and_then(|part| u32::try_from(part).ok()).unwrap_or_default())
    };
    chosen.into_iter().map(id).collect()
}

/// How the device's words are not the interpreter's, by the class' rule; `None` if they are.
fn difference(trial: &Trial<'_>, words: &Words, output: &[u8]) -> Option<String> {
    match (trial.recipe.class, trial.spec.tolerance) {
        (Class::Exact, _) => {
            let (at, ours, theirs) = words.first_difference(output)?;
            let theirs = theirs.map_or_else(|| "missing".to_owned(), |word| word.to_string());
            Some(format!("word {at} is {theirs} on the device, {ours} on the interpreter"))
        }
        (_, Some(tolerance)) if tolerance.element.bytes() == 4 => {
            let word = |at: u32| output.as_chunks::<4>().0.get(at as usize).copied().unwrap_or_default();
            let theirs: Vec<u8> = words.0.iter().flat_map(|(at, _)| word(*at)).collect();
            let ours: Vec<u8> = words.0.iter().flat_map(|(_, ours)| ours.to_le_bytes()).collect();
            disagreement(&tolerance, &theirs, &ours)
        }
        // The checker program has the last word.
        _ => None,
    }
}

/// Why two outputs do not agree; `None` if they do.
fn disagreement(tolerance: &Tolerance, got: &[u8], expected: &[u8]) -> Option<String> {
    match compare(tolerance, got, expected) {
        Comparison::Agree { .. } => None,
        Comparison::Doubtful(far) | Comparison::Differ(far) => Some(format!(
            "element {} is {} here and {} there, {:.1} times the bound; {} elements disagree, {} may",
            far.element, far.got, far.expected, far.times_bound, far.outliers, far.allowed
        )),
        Comparison::Shape { got_bytes, expected_bytes } => {
            Some(format!("{got_bytes} bytes instead of {expected_bytes}"))
        }
    }
}

/// The recipe's own second way to the same outputs.
pub(super) async fn by_reference_program(trial: &Trial<'_>, outputs: &[Vec<u8>], report: &mut Report) {
    let some = some_units(trial);
    let units: Vec<&Vec<u8>> = some.iter().map(|(_, unit)| *unit).collect();
    let expected = match trial.by_reference(&units).await {
        Ok(Some(expected)) => expected,
        Ok(None) => {
            report.noted(
                "own reference",
                "there is no [reference]: a second way to the same numbers finds mistakes that tests do not",
            );
            return;
        }
        Err(error) => {
            report.failed(
                "own reference",
                &format!("{error:#}"),
                "mend the program under [reference], or raise its fuel_max",
            );
            return;
        }
    };
    for ((unit, _), mut expected) in some.iter().zip(expected) {
        let Some(output) = outputs.get(*unit) else { continue };
        if trial.recipe.runtime == Runtime::Wgsl1 && expected.len() < output.len() {
            // Outputs of wgsl/1 have the length of the largest unit.
            expected.resize(output.len(), 0);
        }
        let at = u32::try_from(*unit).unwrap_or(u32::MAX);
        let right = match trial.spec.class {
            Class::SelfChecking => *output == expected || passes(trial, at, [output, &expected]).await,
            _ => matches!(trial.judge(at, output, &expected).await, Ok(Judgement::Right)),
        };
        if !right {
            let at = output.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let why = format!("unit {unit} differs from byte {at} on ({} and {} bytes)", output.len(), expected.len());
            report.failed("own reference", &why, "find out which of the two programs is wrong");
            return;
        }
    }
    report.passed("own reference", &format!("{} units agree with the program under [reference]", some.len()));
}

/// Whether the checker program takes both.
async fn passes(trial: &Trial<'_>, unit: u32, both: [&[u8]; 2]) -> bool {
    for output in both {
        if !matches!(trial.judge(unit, output, output).await, Ok(Judgement::Right)) {
            return false;
        }
    }
    true
}

/// Vendors that round, fuse and reorder as WGSL permits must stay within the tolerance.
pub(super) async fn other_vendors(trial: &Trial<'_>, report: &mut Report) {
    let Some(tolerance) = trial.spec.tolerance.filter(|_| trial.recipe.runtime == Runtime::Wgsl1) else { return };
    match vendors(trial, &tolerance).await {
        Ok(Ok(margin)) => {
            let tried = format!("{} false vendors agree with the interpreter", VENDORS.len());
            if margin >= MARGIN_WORTH_A_WORD {
                let why =
                    format!("{tried}, also with bounds {margin} times narrower: a narrower bound finds more cheating");
                report.noted("tolerance", &why);
            } else {
                report.passed("tolerance", &format!("{tried}, also with bounds {margin} times narrower"));
            }
        }
        Ok(Err(why)) => report.failed(
            "tolerance",
            &format!("an honest vendor may give another result: {why}"),
            "raise absolute or relative under [tolerance], allow outliers_ppm, or cut the work into segments",
        ),
        Err(failure) => report.noted("tolerance", &format!("not tried on false vendors: {failure}")),
    }
}

/// By which power of ten the bounds could be narrower; the inner error is a disagreement.
async fn vendors(trial: &Trial<'_>, tolerance: &Tolerance) -> Result<Result<f32, String>, Failure> {
    let mut reference = trial.session(On::Reference).await?;
    let mut pairs = Vec::new();
    for (unit, input) in some_units(trial) {
        let expected = reference.run(input).await?.output;
        for seed in VENDORS {
            let got = trial.session(On::OtherVendor(seed)).await?.run(input).await?.output;
            if let Some(why) = disagreement(tolerance, &got, &expected) {
                return Ok(Err(format!("vendor {seed}, unit {unit}: {why}")));
            }
            pairs.push((got, expected.clone()));
        }
    }
    let mut margin = 1.0_f32;
    while margin < 1e6 {
        let next = margin * 10.0;
        let narrow = |bound: Bound| Bound::try_from(f32::from(bound) / next).unwrap_or(Bound::ZERO);
        let narrower =
            Tolerance { absolute: narrow(tolerance.absolute), relative: narrow(tolerance.relative), ..*tolerance };
        if pairs.iter().any(|(got, expected)| disagreement(&narrower, got, expected).is_some()) {
            break;
        }
        margin = next;
    }
    Ok(Ok(margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_workgroups_has_both_ends_and_no_workgroup_twice() {
        assert_eq!(sample([1, 1, 1]), [[0, 0, 0]]);
        assert_eq!(sample([3, 2, 1]), [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0]]);
        let many = sample([65_535, 65_535, 65_535]);
        assert_eq!((many.len(), many.first(), many.last()), (16, Some(&[0; 3]), Some(&[65_534; 3])));
        let far: std::collections::BTreeSet<_> = many.iter().collect();
        assert_eq!(far.len(), 16);
    }
}
