//! Whether a panel of referees could judge a job's units, and how long that takes: known before anything is paid.
//!
//! # Design
//! A referee runs `wgsl/1` on the interpreter, hundreds of times slower than a device, and has the round's own times for it. So the interpreter of this
//! machine runs some workgroups of a unit when an audit is planned ([`measure`], once a job), and a pure rule ([`Panel::of`]) makes the times long enough for a
//! machine of half its speed, or says that no panel could judge the job. What runs on the reference as it does everywhere (`wasm/1`, checker programs) takes
//! a referee as long as a checker, and the person has chosen the time for these.
//!
//! Spec: specs/0008-audit.md §13.1.

use crate::compute::{customer::plan::Prepared, panels::RUN_SECONDS_MAX, recipe::sample};
use eyre::{Context as _, Result, eyre};
use keystead_job::{Class, JobSpec, Runtime};
use keystead_runner::{Failure, Job, Limit, Session, Stop, WorkerCommand};
use std::time::{Duration, Instant};

/// A referee's machine is taken to be so many times slower than this one, beside its owner's other work.
const SLOWER: u64 = 2;
/// What a referee needs beside its runs, seconds: to notice the draw or the opening, and to fetch what it runs.
const FETCH_SECONDS: u64 = 10;
/// And to have its ballot in a block, with three to spare.
const SAID_SECONDS: u64 = 6;
/// Runs of class exact before the commitment: what differs from what was opened is run again.
const EXACT_RUNS: u64 = 2;
/// What the measurement may take, with the start of its worker.
const MEASURE_MAX: Duration = Duration::from_secs(20);
/// Thousandths of a second in one.
const MS: u64 = 1_000;
const US_PER_MS: u64 = 1_000;

/// How long the interpreter of this machine takes for one run: a unit, or one segment of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute::customer) struct Run {
    pub(super) ms: u64,
    /// It was not waited for to the end of what was tried: it may be more.
    pub(super) is_least: bool,
}

/// Times of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) check_seconds: u32,
    pub(super) reveal_seconds: u32,
}

/// What a panel can do about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    /// It takes a referee no longer than a checker, or nobody knows.
    AsChecked,
    /// One run takes a referee so long, and the times are long enough for it.
    InTime { run_seconds: u64, is_least: bool, asked: Times, times: Times },
    /// One run takes a referee longer than any of them gives to it.
    Never { run_seconds: u64, is_least: bool },
}

impl Panel {
    /// The rule. `run` is none if the reference interprets nothing.
    pub(super) fn of(class: Class, run: Option<Run>, asked: Times) -> Self {
        let Some(Run { ms, is_least }) = run else { return Self::AsChecked };
        let run_seconds = ms.saturating_mul(SLOWER).div_ceil(MS);
        if run_seconds > RUN_SECONDS_MAX {
            return Self::Never { run_seconds, is_least };
        }
        let beside = FETCH_SECONDS.saturating_add(SAID_SECONDS);
        let (before, after) = match class {
            // The contract compares.
            Class::Exact => (run_seconds.saturating_mul(EXACT_RUNS), 0),
            // What is wrong is run once more after the opening, which may come when half of the time to reveal is over.
            _ => (run_seconds, run_seconds.saturating_add(beside).saturating_mul(2)),
        };
        let longer = |asked: u32, needed: u64| asked.max(u32::try_from(needed).unwrap_or(u32::MAX));
        let times = Times {
            check_seconds: longer(asked.check_seconds, before.saturating_add(beside)),
            reveal_seconds: longer(asked.reveal_seconds, after),
        };
        Self::InTime { run_seconds, is_least, asked, times }
    }

    /// The times to be ordered, if those are asked for.
    pub(super) const fn times(self, asked: Times) -> Times {
        match self {
            Self::InTime { times, .. } => times,
            Self::AsChecked | Self::Never { .. } => asked,
        }
    }

    /// What the person reads before anything is paid.
    pub(super) fn line(self) -> Option<String> {
        match self {
            Self::AsChecked => None,
            Self::InTime { run_seconds, is_least, asked, times } if asked == times => Some(format!(
                "Referees: a dispute comes before a panel that interprets, {} {run_seconds} s a run, which fits into the time to check",
                least(is_least)
            )),
            Self::InTime { run_seconds, is_least, asked, times } => Some(format!(
                "Referees: a dispute comes before a panel that interprets, {} {run_seconds} s a run. So the time to check is {} s instead of {}, and that to \
                 reveal {} s instead of {}: smaller units, or more segments, make it shorter",
                least(is_least),
                times.check_seconds,
                asked.check_seconds,
                times.reveal_seconds,
                asked.reveal_seconds
            )),
            Self::Never { run_seconds, is_least } => Some(format!("Warning: {}", never(run_seconds, is_least))),
        }
    }
}

/// Why no panel could judge it, with the step.
pub(super) fn never(run_seconds: u64, is_least: bool) -> String {
    format!(
        "no panel of referees could judge this job, so a dispute about it would end without a ruling: one run takes a referee, which interprets, {} \
         {run_seconds} s, and none gives it more than {RUN_SECONDS_MAX}. Cut the work into smaller units, or more segments",
        least(is_least)
    )
}

const fn least(is_least: bool) -> &'static str {
    if is_least { "at least" } else { "about" }
}

/// How long one run takes on this machine's interpreter; none if the reference interprets nothing, or it cannot be found out.
pub(in crate::compute::customer) async fn measure(prepared: &Prepared) -> Option<Run> {
    if !is_interpreted(&prepared.spec) {
        return None;
    }
    say(&format!(
        "Referees interpret this job: a part of a unit is interpreted here first, {} s at most, to know how long they take.",
        MEASURE_MAX.as_secs()
    ));
    match measured(prepared).await {
        Ok(run) => Some(run),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "how long a referee would take for a unit is not known");
            None
        }
    }
}

#[allow(clippy::print_stderr, reason = "progress for the person who waits")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Whether referees interpret it.
fn is_interpreted(spec: &JobSpec) -> bool {
    spec.runtime == Runtime::Wgsl1 && matches!(spec.class, Class::Exact | Class::Tolerance)
}

async fn measured(prepared: &Prepared) -> Result<Run> {
    let spec = &prepared.spec;
    let unit = prepared.units.first().ok_or_else(|| eyre!("the job has no unit"))?;
    let command = WorkerCommand::current_exe().wrap_err("cannot find this program's own file")?;
    let (program, common) = (prepared.side.program().to_vec().into(), prepared.common.clone().into());
    let job = Job { spec: spec.clone(), program, common };
    let mut session = Session::open_reference(command, job, Stop::after(MEASURE_MAX)).await?;
    let groups = sample(spec.limits.workgroups);
    let all = spec.limits.workgroups.iter().fold(1_u64, |all, count| all.saturating_mul(u64::from(*count)));
    let middle = groups.get(groups.len() / 2).copied().ok_or_else(|| eyre!("the job has no workgroup"))?;
    let one = took(&mut session, unit, &[middle]).await?;
    let some = match one {
        // They would take longer than the measurement may.
        Took::All(us) if us.saturating_mul(groups.len() as u64) > micros(MEASURE_MAX) / 2 => None,
        Took::All(_) => Some(took(&mut session, unit, &groups).await?),
        Took::Least(_) => None,
    };
    Ok(estimate(one, some, groups.len() as u64, all))
}

/// What some workgroups took, microseconds.
#[derive(Clone, Copy, Debug)]
enum Took {
    All(u64),
    /// They were not waited for to their end.
    Least(u64),
}

async fn took(session: &mut Session, unit: &[u8], groups: &[[u32; 3]]) -> Result<Took> {
    let begun = Instant::now();
    let ran = session.run_workgroups(unit, groups).await;
    let us = micros(begun.elapsed());
    match ran {
        Ok(_) => Ok(Took::All(us)),
        Err(Failure::Aborted { .. } | Failure::LimitHit { which: Limit::WallMs, .. }) => Ok(Took::Least(us)),
        Err(failure) => Err(failure.into()),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// All workgroups, from what one took and, if there was time, some of them. What a request takes beside its workgroups is in both.
fn estimate(one: Took, some: Option<Took>, some_count: u64, all: u64) -> Run {
    let more = all.saturating_sub(1);
    let (us, is_least) = match (one, some) {
        (Took::Least(us), _) => (us.saturating_mul(all), true),
        (Took::All(one), Some(Took::All(some))) => {
            let beyond = some_count.saturating_sub(1).max(1);
            let each = some.saturating_sub(one).div_ceil(beyond);
            (one.saturating_add(each.saturating_mul(more)), false)
        }
        (Took::All(one), _) => (one.saturating_mul(all), false),
    };
    Run { ms: us.div_ceil(US_PER_MS), is_least }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const ASKED: Times = Times { check_seconds: 120, reveal_seconds: 60 };

    fn of(class: Class, ms: u64) -> Panel {
        Panel::of(class, Some(Run { ms, is_least: false }), ASKED)
    }

    fn times(check_seconds: u32, reveal_seconds: u32) -> Times {
        Times { check_seconds, reveal_seconds }
    }

    #[test]
    fn times_grow_until_a_referee_of_half_the_speed_can_run_twice_and_no_further() {
        // 2 x 52 s and 16 beside are the 120 that were asked for.
        assert_eq!(of(Class::Exact, 26_000).times(ASKED), ASKED);
        assert_eq!(of(Class::Exact, 26_001).times(ASKED), times(122, 60));
        assert_eq!(of(Class::Exact, 900_000).times(ASKED), times(3_616, 60));
        // Once before the commitment, and once in the second half of the time to reveal.
        assert_eq!(of(Class::Tolerance, 7_000).times(ASKED), ASKED);
        assert_eq!(of(Class::Tolerance, 7_001).times(ASKED), times(120, 62));
        assert_eq!(of(Class::Tolerance, 900_000).times(ASKED), times(1_816, 3_632));
        assert_eq!(Panel::of(Class::Exact, None, ASKED), Panel::AsChecked);
    }

    #[test]
    fn what_takes_longer_than_a_referee_gives_is_said_to_be_beyond_every_panel() {
        assert!(matches!(of(Class::Exact, 900_000), Panel::InTime { run_seconds: RUN_SECONDS_MAX, .. }));
        let panel = of(Class::Exact, 900_001);
        assert_eq!(panel, Panel::Never { run_seconds: RUN_SECONDS_MAX + 1, is_least: false });
        assert_eq!(panel.times(ASKED), ASKED, "no time would do");
        let said = panel.line().unwrap_or_default();
        assert!(said.contains("no panel of referees could judge") && said.contains("smaller units"), "{said}");
        assert!(never(9, true).contains("at least 9 s"));
    }

    /// Whatever is asked for: what is ordered is not less, stays within the contract's bounds, and has room for the runs.
    #[test]
    fn whatever_is_asked_for_is_kept_or_made_longer_within_the_bounds_of_the_contract() {
        for class in [Class::Exact, Class::Tolerance] {
            for ms in (0..1_000_000).step_by(7_919) {
                for asked in [times(10, 10), ASKED, times(86_400, 86_400)] {
                    let Panel::InTime { run_seconds, times, .. } =
                        Panel::of(class, Some(Run { ms, is_least: false }), asked)
                    else {
                        assert!(ms > 900_000);
                        continue;
                    };
                    assert!(times.check_seconds >= asked.check_seconds && times.check_seconds <= 86_400);
                    assert!(times.reveal_seconds >= asked.reveal_seconds && times.reveal_seconds <= 86_400);
                    let runs = if class == Class::Exact { 2 } else { 1 };
                    assert!(u64::from(times.check_seconds) > runs * run_seconds);
                    assert!(class == Class::Exact || u64::from(times.reveal_seconds) / 2 > run_seconds);
                }
            }
        }
    }

    #[test]
    fn a_unit_is_estimated_from_its_workgroups_without_what_a_request_takes() {
        // A request takes 5 ms, a workgroup 2.
        let (one, some) = (Took::All(7_000), Some(Took::All(37_000)));
        assert_eq!(estimate(one, some, 16, 1_000), Run { ms: 7 + 2 * 999, is_least: false });
        assert_eq!(estimate(one, None, 16, 10), Run { ms: 70, is_least: false });
        assert_eq!(estimate(Took::Least(20_000_000), None, 16, 256), Run { ms: 5_120_000, is_least: true });
        // One that was slower than all of them together, as a first one may be.
        assert_eq!(estimate(Took::All(9_000), Some(Took::All(8_000)), 16, 100), Run { ms: 9, is_least: false });
    }

    #[test]
    fn only_what_is_interpreted_is_measured() {
        let spec = crate::compute::samples::spec;
        let table = [(Class::Exact, false), (Class::SelfChecking, false), (Class::Tolerance, true)];
        table.into_iter().for_each(|(class, expected)| assert_eq!(is_interpreted(&spec(class, 4, 1)), expected));
    }
}
