//! What one step of an order takes: computing in the usual class, computing in the idle class, and waiting.
//!
//! # Design
//! A step is known by how long it took on the idle machine and by the processor time that was used meanwhile. One that used more than its length had
//! several threads. What is left of the three parts is done in turns of a millisecond, each part as often as there is of it: processes of one step talk to
//! each other, so its computing is not in one piece.

use super::{
    Step,
    processors::{Processors, Rates, Threads},
};
use crate::random::Random;

/// What is left of a step, ms on the idle machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    usual: f64,
    idle: f64,
    rest: f64,
    /// Of either class, while it computes.
    threads: f64,
    turn: Turn,
}

/// What this millisecond is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Rest,
    Usual,
    Idle,
}

impl Work {
    /// One of those that were measured. One that took longer than the mean is taken to have computed longer as well.
    pub(crate) fn drawn(step: &Step, random: &mut Random) -> Self {
        let wall = step.wall[random.below(step.wall.len() as u32) as usize];
        let mean = step.wall.iter().sum::<f64>() / step.wall.len() as f64;
        let scale = if mean > 0.0 { wall / mean } else { 0.0 };
        let busy = (step.usual_ms + step.idle_ms) * scale;
        let threads = if wall > 0.0 { (busy / wall).max(1.0) } else { 1.0 };
        // Turns are whole; the mean stays.
        let mut whole = |value: f64| value.floor() + if random.chance(value.fract()) { 1.0 } else { 0.0 };
        Self {
            usual: whole(step.usual_ms * scale / threads),
            idle: whole(step.idle_ms * scale / threads),
            rest: whole((wall - busy / threads).max(0.0)),
            threads,
            turn: Turn::Rest,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.usual + self.idle + self.rest <= 0.0
    }

    /// Something is waited for as well.
    pub(crate) fn wait(&mut self, ms: f64) {
        self.rest += ms;
    }

    /// Chooses what the next millisecond is for.
    pub(crate) fn choose(&mut self, random: &mut Random) {
        let at = random.unit() * (self.usual + self.idle + self.rest);
        self.turn = match at {
            _ if at < self.usual => Turn::Usual,
            _ if at < self.usual + self.idle => Turn::Idle,
            _ => Turn::Rest,
        };
    }

    /// What it needs in this millisecond.
    pub(crate) fn threads(&self) -> Threads {
        match self.turn {
            Turn::Rest => Threads::default(),
            Turn::Usual => Threads { usual: self.threads, idle: 0.0 },
            Turn::Idle => Threads { usual: 0.0, idle: self.threads },
        }
    }

    /// One millisecond at these rates.
    pub(crate) fn advance(&mut self, processors: &Processors, rates: Rates) {
        let alone = processors.alone(self.threads);
        let (left, done) = match self.turn {
            Turn::Rest => (&mut self.rest, 1.0),
            Turn::Usual => (&mut self.usual, rates.usual / alone),
            Turn::Idle => (&mut self.idle, rates.idle / alone),
        };
        *left = (*left - done).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(step: &Step, beside: Threads) -> f64 {
        let processors = Processors { cores: 2.0, waiting: 0.0, together: 1.0 };
        let mut random = Random::new(5);
        let mut turns = 0.0;
        for _ in 0..200 {
            let mut work = Work::drawn(step, &mut random);
            while !work.is_done() {
                work.choose(&mut random);
                let own = work.threads();
                let all = Threads { usual: own.usual + beside.usual, idle: own.idle + beside.idle };
                work.advance(&processors, processors.rates(all));
                turns += 1.0;
            }
        }
        turns / 200.0
    }

    #[test]
    fn a_step_alone_takes_what_it_took_and_of_one_among_others_only_the_computing_is_slowed() {
        let step = Step { wall: vec![100.5, 80.5], usual_ms: 30.0, idle_ms: 20.0 };
        let alone = took(&step, Threads::default());
        assert!((alone - 90.5).abs() < 3.0, "{alone}");
        // With three others a thread has half of a core, and the idle class has nearly nothing.
        let usual = took(&Step { idle_ms: 0.0, ..step.clone() }, Threads { usual: 3.0, idle: 0.0 });
        assert!((usual - 120.5).abs() < 4.0, "{usual}");
        let idle = took(&step, Threads { usual: 2.0, idle: 0.0 });
        assert!(idle > 1_000.0, "{idle}");
    }

    #[test]
    fn who_used_more_time_than_it_took_had_several_threads() {
        let step = Step { wall: vec![100.0], usual_ms: 150.0, idle_ms: 0.0 };
        assert!((took(&step, Threads::default()) - 100.0).abs() < 1e-9);
        // 1.5 threads and 1 other want 2.5 cores.
        let beside = took(&step, Threads { usual: 1.0, idle: 0.0 });
        assert!((beside - 125.0).abs() < 2.0, "{beside}");
    }
}
