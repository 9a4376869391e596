//! Feels whether the machine answers: a small durable write every moment, how long it took, and how late a short sleep ended.
//!
//! A validator makes each block durable before it goes on. On a disk that puts gigabytes of somebody else away, one such write can take seconds, and a machine whose
//! processors are lent to somebody else runs nothing for as long. That says nothing about the program: a test that promises seconds takes that time off, and only that.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Between two writes.
const PAUSE_MS: u64 = 50;
/// A write that takes no longer is what a disk does, and a sleep that ends no later is what a system does.
const USUAL_MS: u64 = 200;
/// As large as what a validator writes for a small block.
const BYTES: usize = 4_096;

/// Writes until it is ended.
pub(crate) struct DiskPulse {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Standstills>,
}

impl DiskPulse {
    /// Begins on the disk of this folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut file = File::create(folder.join("pulse")).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut found = Standstills::default();
            while !ended.load(Ordering::Relaxed) {
                let from = now_ms();
                file.rewind().unwrap();
                file.write_all(&[0; BYTES]).unwrap();
                file.sync_all().unwrap();
                found.add(from, now_ms());
                let until = now_ms() + PAUSE_MS;
                thread::sleep(Duration::from_millis(PAUSE_MS));
                found.add(until, now_ms());
            }
            found
        });
        Self { over, thread }
    }

    /// Ends and tells what was felt.
    pub(crate) fn end(self) -> Standstills {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// When the machine took longer than usual, in milliseconds since 1970.
#[derive(Default)]
pub(crate) struct Standstills {
    spans: Vec<(u64, u64)>,
    longest_ms: u64,
}

impl Standstills {
    fn add(&mut self, from: u64, to: u64) {
        self.longest_ms = self.longest_ms.max(to.saturating_sub(from));
        if to.saturating_sub(from) > USUAL_MS {
            self.spans.push((from, to));
        }
    }

    /// How much of the time between two moments the machine stood still.
    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        self.spans.iter().map(|span| span.1.min(to).saturating_sub(span.0.max(from))).sum()
    }

    /// How much of it the machine did not stand still.
    pub(crate) fn own(&self, from: u64, to: u64) -> u64 {
        to.saturating_sub(from).saturating_sub(self.between(from, to))
    }

    /// Only those that took longer than so many milliseconds.
    pub(crate) fn longer_than(mut self, ms: u64) -> Self {
        self.spans.retain(|span| span.1 - span.0 > ms);
        self
    }

    pub(crate) const fn longest_ms(&self) -> u64 {
        self.longest_ms
    }
}

#[test]
fn only_the_part_of_a_standstill_that_lies_in_a_gap_is_taken_off() {
    let mut found = Standstills::default();
    [(1_000, 1_100), (2_000, 5_000), (6_000, 6_300)].into_iter().for_each(|(from, to)| found.add(from, to));
    assert_eq!(found.between(0, 10_000), 3_300);
    assert_eq!(found.between(3_000, 6_100), 2_100);
    assert_eq!(found.between(5_000, 6_000), 0);
    assert_eq!((found.own(5_000, 6_000), found.own(2_500, 5_500), found.own(2_000, 5_000)), (1_000, 500, 0));
    assert_eq!(found.longest_ms(), 3_000);
    assert_eq!(found.longer_than(2_000).between(0, 10_000), 3_000);
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
