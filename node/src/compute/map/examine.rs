//! What a reported window is worth: fetches its outputs, opens its commitment, runs a sample again on this machine.
//!
//! Spec: specs/0011-stream.md sections 5 and 6.

use super::{journal::Place, outputs::Outputs};
use crate::compute::{customer::plan::Prepared, matching::links::Links};
use alloy_primitives::B256;
use eyre::{Context as _, Result};
use keystead_audit::{
    Answer, Judgement, SampleRule, Seed, Task,
    judge::{self, judge},
    sample,
};
use keystead_blobs::{
    Hash, SessionError, Unavailable, Want,
    stream::{End, Source, WindowReport, pack},
};
use keystead_job::{Class, Step, blob_hash, commitment::Secret, step::encode_list};
use keystead_lease::{Item, Lease};
use keystead_market::table::Direction;
use keystead_payment::{Received, Report};
use keystead_runner::{Failure, Session, WorkerCommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Instant,
};
use tokio::{sync::Mutex, task::block_in_place};

/// A window to look at.
#[derive(Debug)]
pub(super) struct Exam {
    pub(super) lease: Lease,
    /// Whose it is.
    pub(super) node: B256,
    pub(super) report: WindowReport,
    /// The channel's report, as far as it is one.
    pub(super) window: Report,
    /// The state before the first step of each item, if that is not the unit input.
    pub(super) before: Vec<Option<Place>>,
    /// In an audited channel every state is fetched, and the root holds the list of the steps.
    pub(super) is_audited: bool,
    pub(super) seed: B256,
    pub(super) rule: SampleRule,
    pub(super) source: Source,
}

/// A state to keep.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) unit: u32,
    pub(super) done: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) name: B256,
}

/// What an audited window is made of, beside its states.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) steps: Vec<Step>,
    /// The report's: from it the salts of the commitment follow.
    pub(super) secret: B256,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Examined {
    /// To be paid; in an audited channel with its list, and with the state after each step.
    Right {
        received: Received,
        states: Vec<Kept>,
        checked: u32,
        unchecked: Option<String>,
        end: End,
        listed: Option<Listed>,
    },
    /// A step is wrong: evidence against the provider.
    Wrong { reason: String },
    /// A step is outside the tolerance, which an honest machine may have given.
    Doubtful { unit: u32, reason: String },
    /// The names or the root are not those of the report.
    Mismatch { reason: String },
    /// The provider does not serve what it reported.
    Missing { reason: String },
    /// The connection went before everything was here: the report comes again with the next one.
    Gone { reason: String },
}

/// This machine's workers for checks, one at a time.
#[derive(Debug)]
pub(super) struct Examiner {
    prepared: Arc<Prepared>,
    outputs: Outputs,
    command: WorkerCommand,
    /// Where it is remembered how fast bytes come.
    links: Links,
    workers: Mutex<Workers>,
}

#[derive(Debug, Default)]
struct Workers {
    program: Option<Session>,
    checker: Option<Session>,
}

impl Examiner {
    pub(super) fn new(prepared: Arc<Prepared>, outputs: Outputs, links: Links) -> Result<Self> {
        let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
        Ok(Self { prepared, outputs, command, links, workers: Mutex::default() })
    }

    /// Looks at a window, from its bytes to the verdict.
    pub(super) async fn examine(&self, exam: Exam) -> Examined {
        let opened = match self.open(&exam).await {
            Ok(states) if exam.is_audited => self.fetch_all(&exam, states).await,
            opened => opened,
        };
        let states = match opened {
            Ok(states) => states,
            Err(found) => return found,
        };
        let steps = exam.is_audited.then(|| steps_of(&exam, &self.prepared.unit_names));
        let mut secret = [0; 32];
        secret.copy_from_slice(exam.report.secret.as_slice());
        let list = steps.as_deref().map(|steps| blob_hash(&encode_list(steps)));
        let received = match exam.window.receive(&Secret::new(secret), &exam.report.names, list) {
            Ok(received) => received,
            Err(error) => return Examined::Mismatch { reason: error.to_string() },
        };
        let (mut checked, mut unchecked) = (0_u32, None);
        for step in self.sample(&exam) {
            match self.check(&exam, &states, step).await {
                Ok(Judgement::Right) => checked = checked.saturating_add(1),
                Ok(Judgement::Inconclusive(reason)) => {
                    unchecked.get_or_insert(reason);
                }
                Ok(Judgement::Wrong(evidence)) => {
                    return Examined::Wrong { reason: format!("{}: {evidence}", exam.step_name(step)) };
                }
                Ok(Judgement::Unpaid(deviation)) => {
                    let reason = format!(
                        "{}: element {} is {}, a re-run gives {}",
                        exam.step_name(step),
                        deviation.element,
                        deviation.got,
                        deviation.expected
                    );
                    let unit = exam.step(step).map_or(0, |(unit, _)| unit);
                    return Examined::Doubtful { unit, reason };
                }
                Err(found) => return found,
            }
        }
        let listed = steps.map(|steps| Listed { steps, secret: exam.report.secret });
        Examined::Right { received, states, checked, unchecked, end: exam.report.end, listed }
    }

    /// Fetches the pack and compares each state with its name.
    async fn open(&self, exam: &Exam) -> Result<Vec<Kept>, Examined> {
        let report = &exam.report;
        let want = Want { hash: report.pack(), bytes_max: report.pack_bytes };
        let begun = Instant::now();
        let got = exam.source.fetch_counted(vec![want]).await.map_err(missing)?;
        let took = begun.elapsed();
        block_in_place(|| self.links.note(exam.node, Direction::Up, got.bytes_received, took));
        let store = exam.source.store();
        let bytes = store.get(report.pack(), pack::PACK_BYTES_MAX);
        let bytes = bytes.map_err(|error| Examined::Missing { reason: error.to_string() })?;
        // It is in hand; the store has room for the next one.
        let _ = store.delete(report.pack());
        let mismatch = |reason: String| Examined::Mismatch { reason };
        let steps = u32::try_from(report.names.len()).unwrap_or(u32::MAX);
        let part = exam.lease.part(steps);
        let parts = pack::decode(&bytes, part.len()).map_err(|error| mismatch(error.to_string()))?;
        let max = self.prepared.spec.limits.output_bytes_max;
        let mut states = Vec::with_capacity(part.len());
        let mut last = 0_usize;
        for (item, state) in part.iter().zip(parts) {
            last = last.saturating_add(item.count as usize);
            let name = blob_hash(state);
            let claimed = last.checked_sub(1).and_then(|last| report.names.get(last));
            let (unit, done) = (item.unit, item.first.saturating_add(item.count));
            if claimed != Some(&name) || u64::try_from(state.len()).unwrap_or(u64::MAX) > max {
                return Err(mismatch(format!("the state of unit {unit} is not the one that the report names")));
            }
            states.push(Kept { unit, done, bytes: state.to_vec(), name });
        }
        Ok(states)
    }

    /// The state after every step, in the order of the report: those of the pack, and the others by their names.
    async fn fetch_all(&self, exam: &Exam, last: Vec<Kept>) -> Result<Vec<Kept>, Examined> {
        let bytes_max = self.prepared.spec.limits.output_bytes_max;
        let mut bytes: BTreeMap<B256, Vec<u8>> = last.into_iter().map(|kept| (kept.name, kept.bytes)).collect();
        let lacking: BTreeSet<B256> =
            exam.report.names.iter().filter(|name| !bytes.contains_key(*name)).copied().collect();
        let wants = lacking.iter().map(|name| Want { hash: Hash::from(*name), bytes_max }).collect();
        exam.source.fetch(wants).await.map_err(missing)?;
        let store = exam.source.store();
        for name in lacking {
            let hash = Hash::from(name);
            let state = store.get(hash, bytes_max).map_err(|error| Examined::Missing { reason: error.to_string() })?;
            let _ = store.delete(hash);
            bytes.insert(name, state);
        }
        let kept = |((unit, segment), name): ((u32, u32), &B256)| {
            let bytes = bytes.get(name).cloned()?;
            Some(Kept { unit, done: segment.saturating_add(1), bytes, name: *name })
        };
        let states: Option<Vec<Kept>> = exam.lease.each().zip(&exam.report.names).map(kept).collect();
        states.ok_or_else(|| Examined::Missing { reason: "a state is not there".to_owned() })
    }

    /// The steps to judge, by their places in the report.
    fn sample(&self, exam: &Exam) -> Vec<u32> {
        let steps = u32::try_from(exam.report.names.len()).unwrap_or(u32::MAX);
        match self.prepared.spec.class {
            Class::SelfChecking => {
                let whole = |(step, (_, segment)): (u32, (u32, u32))| {
                    (segment.saturating_add(1) == self.prepared.spec.segment_count).then_some(step)
                };
                (0..steps).zip(exam.lease.each()).filter_map(whole).collect()
            }
            _ => sample::draw(Seed(exam.seed.0), steps, exam.rule.size(steps)),
        }
    }

    async fn check(&self, exam: &Exam, states: &[Kept], step: u32) -> Result<Judgement, Examined> {
        let spec = &self.prepared.spec;
        let (Some((unit, segment)), Some(claimed)) = (exam.step(step), exam.name(step)) else {
            return Ok(Judgement::Inconclusive("there is no such step".to_owned()));
        };
        let Some(task) = judge::task(spec, unit, segment, exam.seed.0) else {
            return Ok(Judgement::Inconclusive(format!("results of class {} cannot be checked", spec.class)));
        };
        let needs_bytes = spec.tolerance.is_some() || spec.class == Class::SelfChecking;
        let delivered = if needs_bytes { Some(self.state(exam, states, step).await?) } else { None };
        let unit_input = self.prepared.units.get(unit as usize).map(Vec::as_slice).unwrap_or_default();
        let input = match task {
            Task::Rerun { .. } => self.before(exam, states, step, unit_input).await?,
            Task::Checker { seed, .. } => {
                match judge::checker_input(seed, unit_input, delivered.as_deref().unwrap_or_default()) {
                    Some(input) => input,
                    None => return Ok(Judgement::Inconclusive("the unit input is too long".to_owned())),
                }
            }
        };
        let delivered = delivered.filter(|_| spec.tolerance.is_some());
        Ok(judge(spec, task, claimed, self.answer(task, &input, delivered).await))
    }

    /// What a step began with: the unit input, a state that was paid for before, or the state after the step before it.
    async fn before(&self, exam: &Exam, states: &[Kept], step: u32, unit_input: &[u8]) -> Result<Vec<u8>, Examined> {
        let (mut first, mut index) = (0_u32, 0_usize);
        for item in &exam.lease.items {
            if step < first.saturating_add(item.count) {
                break;
            }
            first = first.saturating_add(item.count);
            index = index.saturating_add(1);
        }
        let asked = if step > first { Some(self.state(exam, states, step.saturating_sub(1)).await) } else { None };
        match asked {
            // Who knows which step is looked at must not gain by keeping back the state before it.
            Some(Err(Examined::Missing { .. })) if self.prepared.spec.class == Class::Exact => {}
            Some(answer) => return answer,
            None => {}
        }
        let begin = match exam.before.get(index).and_then(Option::as_ref) {
            Some(place) => self.outputs.read(place).map_err(|error| Examined::Missing { reason: format!("{error:#}") }),
            None => Ok(unit_input.to_vec()),
        };
        self.own(exam, begin?, first..step).await
    }

    /// What these steps lead to on this machine.
    async fn own(&self, exam: &Exam, mut state: Vec<u8>, steps: Range<u32>) -> Result<Vec<u8>, Examined> {
        for step in steps {
            let missing =
                |why: &str| Examined::Missing { reason: format!("{} was not served, and {why}", exam.step_name(step)) };
            let task = exam
                .step(step)
                .and_then(|(unit, segment)| judge::task(&self.prepared.spec, unit, segment, exam.seed.0));
            let task = task.ok_or_else(|| missing("cannot be run here"))?;
            state = match self.answer(task, &state, None).await {
                Answer::Output { bytes, .. } => bytes,
                _ => return Err(missing("does not come to an end here")),
            };
        }
        Ok(state)
    }

    /// The state after a step, as the report names it: from the pack, or from the provider.
    async fn state(&self, exam: &Exam, states: &[Kept], step: u32) -> Result<Vec<u8>, Examined> {
        let missing_name = || Examined::Missing { reason: "there is no such step".to_owned() };
        let name = exam.name(step).ok_or_else(missing_name)?;
        if let Some(kept) = states.iter().find(|kept| kept.name == name) {
            return Ok(kept.bytes.clone());
        }
        let (hash, bytes_max) = (Hash::from(name), self.prepared.spec.limits.output_bytes_max);
        exam.source.fetch(vec![Want { hash, bytes_max }]).await.map_err(missing)?;
        let state = exam.source.store().get(hash, bytes_max);
        let _ = exam.source.store().delete(hash);
        state.map_err(|error| Examined::Missing { reason: error.to_string() })
    }

    async fn answer(&self, task: Task, input: &[u8], delivered: Option<Vec<u8>>) -> Answer {
        let mut workers = self.workers.lock().await;
        let place = match task {
            Task::Rerun { .. } => &mut workers.program,
            Task::Checker { .. } => &mut workers.checker,
        };
        let mut session = match place.take() {
            Some(session) => session,
            None => match self.prepared.start(&self.command, task).await {
                Ok(session) => session,
                Err(failure) => return Answer::NotRun(failure.to_string()),
            },
        };
        let outcome = session.run(input).await;
        *place = Some(session);
        match outcome {
            Ok(done) => Answer::Output { bytes: done.output, delivered },
            Err(Failure::JobError { code }) => Answer::JobError(code),
            Err(failure) => Answer::NotRun(failure.to_string()),
        }
    }
}

impl Exam {
    fn step(&self, step: u32) -> Option<(u32, u32)> {
        self.lease.each().nth(step as usize)
    }

    fn name(&self, step: u32) -> Option<B256> {
        self.report.names.get(step as usize).copied()
    }

    fn step_name(&self, step: u32) -> String {
        match self.step(step) {
            Some((unit, segment)) => format!("unit {unit}, segment {segment}"),
            None => format!("step {step}"),
        }
    }
}

/// The list of the reported steps, as this side knows it from the lease.
fn steps_of(exam: &Exam, unit_names: &[B256]) -> Vec<Step> {
    let before = begins(&exam.lease, &exam.before, unit_names);
    steps(&exam.lease, &before, &exam.report.names)
}

/// What each item begins with: the unit input, or a state that was paid for before.
fn begins(lease: &Lease, before: &[Option<Place>], unit_names: &[B256]) -> Vec<B256> {
    let begin = |(item, before): (&Item, &Option<Place>)| match before {
        Some(place) => place.name,
        None => unit_names.get(item.unit as usize).copied().unwrap_or_default(),
    };
    lease.items.iter().zip(before).map(begin).collect()
}

/// What each reported step is and began with: as its item, or with the state after the step before it.
fn steps(lease: &Lease, begins: &[B256], names: &[B256]) -> Vec<Step> {
    let mut names = names.iter();
    let mut steps = Vec::new();
    for (item, begin) in lease.items.iter().zip(begins) {
        let mut input = *begin;
        for (segment, name) in (item.first..item.first.saturating_add(item.count)).zip(names.by_ref()) {
            steps.push(Step { unit: item.unit, segment, input });
            input = *name;
        }
    }
    steps
}

fn missing(error: SessionError) -> Examined {
    match error {
        SessionError::Unavailable(Unavailable::NotServed { .. }) => Examined::Missing {
            reason: "the provider does not serve what it reported, or no more of it after it was fetched three times"
                .to_owned(),
        },
        SessionError::Unavailable(gone) => Examined::Gone { reason: gone.to_string() },
        error => Examined::Missing { reason: error.to_string() },
    }
}

/// The rule for a window of a provider of which so many steps were checked before.
pub(super) fn rule_after(whole: SampleRule, checked: u32) -> SampleRule {
    SampleRule { units_min: whole.units_min.saturating_sub(checked).max(1), ..whole }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystead_lease::Provider;
    use std::time::Duration;

    const fn name(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    #[test]
    fn a_step_began_with_the_unit_input_a_paid_state_or_the_state_before_it() {
        let items = vec![Item { unit: 1, first: 0, count: 2 }, Item { unit: 0, first: 3, count: 3 }];
        let lease = Lease { number: 1, provider: Provider(0), items, limit: Duration::ZERO };
        let paid = Place { unit: 0, done: 3, offset: 0, length: 1, name: name(30) };
        let begins = begins(&lease, &[None, Some(paid)], &[name(10), name(11)]);
        assert_eq!(begins, [name(11), name(30)]);
        let step = |unit, segment, input| Step { unit, segment, input };
        let whole =
            [step(1, 0, name(11)), step(1, 1, name(1)), step(0, 3, name(30)), step(0, 4, name(3)), step(0, 5, name(4))];
        let names = [1, 2, 3, 4, 5].map(name);
        assert_eq!(steps(&lease, &begins, &names), whole);
        // A report of the first steps alone.
        for count in 1..5 {
            let (some, first) = (names.iter().take(count).copied(), whole.iter().take(count).copied());
            assert_eq!(steps(&lease, &begins, &some.collect::<Vec<_>>()), first.collect::<Vec<_>>());
        }
    }
}
