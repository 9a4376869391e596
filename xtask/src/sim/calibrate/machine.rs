//! What the machine did all along, and what its cores do to each other.

use crate::parties::{Micros, cpu_by_class, ms, now};
use eyre::{Result, ensure, eyre};
use std::{
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often processor time is noted. The kernel counts it in hundredths of a second.
const SAMPLE: Duration = Duration::from_millis(5);
/// Notes that are kept: more than an hour of them.
const NOTES_MAX: usize = 1_000_000;
/// How long cores are compared at a time, and how often.
const COMPARED: Duration = Duration::from_millis(400);
const ROUNDS: usize = 9;
/// What each thread walks over at random, in words of 8 bytes: a MiB, as a process has in use, more than a first-level cache and less than a second-level
/// one.
const WALK_WORDS: usize = 1 << 17;
/// Steps between two looks at the clock.
const WALK_STEPS: usize = 4_096;

/// A thread that notes something until it is told to stop.
pub(super) struct Notes<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<T>>>>,
}

impl<T: Send + 'static> Notes<T> {
    /// Asks for a note so often; there need not be one each time.
    pub(super) fn start(every: Duration, mut note: impl FnMut() -> Result<Option<T>> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut notes = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                ensure!(notes.len() < NOTES_MAX, "more than {NOTES_MAX} notes");
                notes.extend(note()?);
                thread::sleep(every);
            }
            Ok(notes)
        });
        Self { stop, thread: Some(thread) }
    }

    /// What was noted, oldest first.
    pub(super) fn finish(mut self) -> Result<Vec<T>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| eyre!("the notes were taken"))?;
        thread.join().map_err(|_| eyre!("a thread that takes notes panicked"))?
    }
}

impl<T> Drop for Notes<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Processor seconds so far, of the usual class and of workers, and when.
type Sample = (Micros, [f64; 2]);

/// Starts to note the machine's processor time.
pub(super) fn sample() -> Notes<Sample> {
    Notes::start(SAMPLE, || Ok(Some((now(), cpu_by_class()?))))
}

/// The machine's processor time all along.
pub(super) struct Samples(pub(super) Vec<Sample>);

impl Samples {
    /// Processor time between two moments, ms of either class.
    pub(super) fn between(&self, from: Micros, to: Micros) -> [f64; 2] {
        let ([usual, idle], [usual_before, idle_before]) = (self.until(to), self.until(from));
        [(usual - usual_before) * 1_000.0, (idle - idle_before) * 1_000.0]
    }

    /// On the line between the notes before and after a moment.
    fn until(&self, at: Micros) -> [f64; 2] {
        let next = self.0.partition_point(|(noted, _)| *noted <= at);
        let (before, after) = (next.checked_sub(1).and_then(|last| self.0.get(last)), self.0.get(next));
        match (before, after) {
            (Some((first, [usual, idle])), Some((second, [usual_then, idle_then]))) => {
                let share = ms(*first, at) / ms(*first, *second).max(f64::MIN_POSITIVE);
                [usual + (usual_then - usual) * share, idle + (idle_then - idle) * share]
            }
            (Some((_, used)), None) | (None, Some((_, used))) => *used,
            (None, None) => [0.0, 0.0],
        }
    }
}

/// Speed of a core while all of them walk over memory of their own, as a share of its speed while the others rest: the median of some rounds.
pub(super) fn together(cores: usize) -> Result<f64> {
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let alone = walked(1)?;
        shares.push(walked(cores)? / alone.max(f64::MIN_POSITIVE));
    }
    Ok(super::at(&shares, 0.5).min(1.0))
}

/// Steps that each of so many threads makes in a moment, in the mean.
fn walked(threads: usize) -> Result<f64> {
    let begin = Arc::new(Barrier::new(threads));
    let walkers: Vec<_> = (0..threads)
        .map(|_| {
            let begin = Arc::clone(&begin);
            thread::spawn(move || {
                begin.wait();
                walk()
            })
        })
        .collect();
    let mut steps = 0.0;
    for walker in walkers {
        steps += walker.join().map_err(|_| eyre!("a thread that compares cores panicked"))?;
    }
    Ok(steps / threads.max(1) as f64)
}

/// Steps in a moment: a step reads and writes a word at a place that depends on the last step.
fn walk() -> f64 {
    let (mut words, mut state, mut steps) = (vec![1_u64; WALK_WORDS], 1_u64, 0.0);
    let begun = Instant::now();
    while begun.elapsed() < COMPARED {
        for _ in 0..WALK_STEPS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // LOSSY: below the number of words.
            let place = usize::try_from(state >> 47).unwrap_or_default();
            if let Some(word) = words.get_mut(place) {
                *word = word.wrapping_add(state);
                state ^= *word >> 32;
            }
        }
        steps += WALK_STEPS as f64;
    }
    black_box(words);
    steps
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn processor_time_is_read_between_notes() {
        let samples = Samples(vec![(1_000, [1.0, 0.0]), (11_000, [1.01, 0.0]), (21_000, [1.01, 0.02])]);
        let [usual, idle] = samples.between(1_000, 21_000);
        assert!((usual - 10.0).abs() < 1e-6 && (idle - 20.0).abs() < 1e-6, "{usual} {idle}");
        let [usual, idle] = samples.between(6_000, 16_000);
        assert!((usual - 5.0).abs() < 1e-6 && (idle - 10.0).abs() < 1e-6, "{usual} {idle}");
        // Before the first and after the last note nothing is known.
        assert_eq!(samples.between(0, 1_000), [0.0, 0.0]);
        assert_eq!(samples.between(21_000, 99_000), [0.0, 0.0]);
        assert_eq!(Samples(Vec::new()).between(1, 2), [0.0, 0.0]);
    }

    #[test]
    fn notes_are_kept_until_the_end_and_an_error_is_told() {
        let mut count = 0_u32;
        let (said, heard) = std::sync::mpsc::channel();
        let notes = Notes::start(Duration::from_millis(1), move || {
            count = count.saturating_add(1);
            said.send(count)?;
            Ok(count.is_multiple_of(2).then_some(count))
        });
        while heard.recv_timeout(Duration::from_secs(30)).unwrap() < 5 {}
        let noted = notes.finish().unwrap();
        assert!(noted.starts_with(&[2, 4]), "{noted:?}");
        // It may be ended before it noted anything, and that is no error.
        let (said, heard) = std::sync::mpsc::channel();
        let failing = Notes::<u32>::start(Duration::from_millis(1), move || {
            said.send(())?;
            Err(eyre!("no note"))
        });
        heard.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(failing.finish().unwrap_err().to_string().contains("no note"));
    }

    #[test]
    fn each_thread_of_a_comparison_walks() {
        let steps = walked(2).unwrap();
        // In the mean of both, so both walked, if at all as far as one look at the clock.
        assert!(steps >= WALK_STEPS as f64, "{steps}");
    }
}
