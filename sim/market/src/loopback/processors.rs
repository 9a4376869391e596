//! The cores of one machine, shared by all threads that compute at once.
//!
//! # Design
//! Processor sharing in the two classes that the kernel knows here. Threads of the usual class share all cores evenly, none with more than one; threads of
//! the idle class (units run in it) share what is left. Who only looks whether there is something to do takes a fixed part of the cores, a little at a
//! time, and at once. A core may be slower while its neighbours are busy: they share memory, caches and, on a rented machine, perhaps their insides.
//!
//! # Not here
//! Which core a thread is on, and what it costs to move it.

/// What a thread of the idle class gets at least, as a share of a core.
const IDLE_MIN: f64 = 0.01;
/// Cores that are never taken by who only looks, so that a wrong number ends in slow orders and not in a division by zero.
const FREE_MIN: f64 = 0.1;

/// The machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    pub(crate) cores: f64,
    /// Taken by who only looks.
    pub(crate) waiting: f64,
    /// Speed of a core while all of them are busy, as a share of its speed while the others rest.
    pub(crate) together: f64,
}

/// Threads that compute now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Threads {
    pub(crate) usual: f64,
    /// In the system's idle class.
    pub(crate) idle: f64,
}

/// How fast one thread of each class goes; 1 is a core to itself while the others rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) usual: f64,
    pub(crate) idle: f64,
}

impl Processors {
    pub(crate) fn rates(&self, threads: Threads) -> Rates {
        let (free, speed) = (self.free(), self.speed(threads));
        let left = (free - threads.usual).max(0.0);
        Rates {
            usual: speed * (free / threads.usual.max(f64::MIN_POSITIVE)).min(1.0),
            idle: speed * (left / threads.idle.max(f64::MIN_POSITIVE)).clamp(IDLE_MIN, 1.0),
        }
    }

    /// How fast each of so many threads goes while nobody else computes, as when it was measured.
    pub(crate) fn alone(&self, threads: f64) -> f64 {
        self.rates(Threads { usual: threads, idle: 0.0 }).usual
    }

    /// Cores in use.
    pub(crate) fn used(&self, threads: Threads) -> f64 {
        (threads.usual + threads.idle + self.waiting).min(self.cores)
    }

    /// Cores for who computes.
    pub(crate) fn free(&self) -> f64 {
        (self.cores - self.waiting).max(FREE_MIN)
    }

    /// Between one busy core and all of them.
    fn speed(&self, threads: Threads) -> f64 {
        let others = (self.used(threads) - 1.0).max(0.0) / (self.cores - 1.0).max(1.0);
        1.0 - (1.0 - self.together) * others.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const TASK_MS: f64 = 50.0;

    fn machine(cores: f64) -> Processors {
        Processors { cores, waiting: 0.0, together: 1.0 }
    }

    /// Tasks of a fixed length that come as a Poisson process and fill this share of the cores: how long one takes in the mean, ms, and what share of a
    /// core a thread of the idle class had beside them.
    fn sojourn(processors: Processors, load: f64) -> (f64, f64) {
        let mut random = Random::new(7);
        let gap_ms = TASK_MS / (load * processors.cores);
        let (mut next, mut tasks, mut took, mut ended, mut idle) = (0.0, Vec::<(f64, f64)>::new(), 0.0, 0.0, 0.0);
        let steps = 3_000_000_u32;
        for now in (0..steps).map(f64::from) {
            while next <= now {
                tasks.push((now, TASK_MS));
                next += random.exponential(gap_ms);
            }
            let rates = processors.rates(Threads { usual: tasks.len() as f64, idle: 1.0 });
            idle += rates.idle / f64::from(steps);
            tasks.iter_mut().for_each(|(_, left)| *left -= rates.usual);
            for (begun, _) in tasks.extract_if(.., |(_, left)| *left <= 1e-9) {
                took += now + 1.0 - begun;
                ended += 1.0;
            }
        }
        (took / ended, idle)
    }

    #[test]
    fn one_core_takes_as_long_as_the_formula_of_processor_sharing_says() {
        // M/G/1-PS: S / (1 - load), whatever the lengths are (Kleinrock, Queueing Systems, volume 2, 4.4).
        let (took, _) = sojourn(machine(1.0), 0.6);
        assert!((took / (TASK_MS / 0.4) - 1.0).abs() < 0.06, "{took}");
    }

    #[test]
    fn two_cores_take_as_long_as_the_formula_of_two_servers_says() {
        // M/G/2-PS does not depend on the lengths either, so it is M/M/2: S / (1 - load^2) (Cohen 1979).
        let (took, _) = sojourn(machine(2.0), 0.6);
        assert!((took / (TASK_MS / 0.64) - 1.0).abs() < 0.06, "{took}");
    }

    #[test]
    fn the_idle_class_has_what_is_left() {
        // One core that is busy for half of the time, and the least share while it is.
        let (_, idle) = sojourn(machine(1.0), 0.5);
        assert!((idle - (0.5 + 0.5 * IDLE_MIN)).abs() < 0.02, "{idle}");
        let full = machine(2.0).rates(Threads { usual: 3.0, idle: 4.0 });
        assert!((full.usual - 2.0 / 3.0).abs() < 1e-9 && (full.idle - IDLE_MIN).abs() < 1e-9, "{full:?}");
        let half = machine(2.0).rates(Threads { usual: 1.0, idle: 2.0 });
        assert!((half.usual - 1.0).abs() < 1e-9 && (half.idle - 0.5).abs() < 1e-9, "{half:?}");
    }

    #[test]
    fn busy_neighbours_slow_a_core_and_who_only_looks_takes_its_part() {
        let slow = Processors { together: 0.8, ..machine(2.0) };
        let rate = |usual| slow.rates(Threads { usual, idle: 0.0 }).usual;
        assert!((rate(1.0) - 1.0).abs() < 1e-9 && (rate(2.0) - 0.8).abs() < 1e-9, "{} {}", rate(1.0), rate(2.0));
        assert!((rate(1.5) - 0.9).abs() < 1e-9 && (rate(4.0) - 0.4).abs() < 1e-9, "{} {}", rate(1.5), rate(4.0));
        let looks = Processors { waiting: 0.5, ..machine(2.0) };
        assert!((looks.alone(3.0) - 0.5).abs() < 1e-9);
        assert!((looks.used(Threads { usual: 1.0, idle: 0.25 }) - 1.75).abs() < 1e-9);
        assert!((looks.used(Threads { usual: 9.0, idle: 0.0 }) - 2.0).abs() < 1e-9);
    }
}
