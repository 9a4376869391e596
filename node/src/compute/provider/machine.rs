//! Who has this machine: one order, lease or proof of hardware at a time, in the order in which they ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The one place on a machine, and how many wait for it.
#[derive(Debug)]
pub(super) struct Machine {
    place: Semaphore,
    waiting: AtomicUsize,
}

/// The machine is the holder's until this is dropped; then it is that of whoever waits longest.
#[derive(Debug)]
pub(super) struct Tenure<'a>(#[allow(dead_code, reason = "it is held, not looked at")] SemaphorePermit<'a>);

/// One more waits until this is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { place: Semaphore::new(1), waiting: AtomicUsize::new(0) }
    }

    /// Waits for the machine, behind all who asked before.
    pub(super) async fn take(&self) -> Tenure<'_> {
        let _waits = Waits::begin(&self.waiting);
        Tenure(self.place.acquire().await.expect("invariant: nobody closes this semaphore, which is private here"))
    }

    /// Whether somebody has it.
    pub(super) fn is_taken(&self) -> bool {
        self.place.available_permits() == 0
    }

    /// How many have it, or wait for it, before whoever asks now; `None` if it is free.
    pub(super) fn before(&self) -> Option<u64> {
        let waiting = u64::try_from(self.waiting()).unwrap_or(u64::MAX);
        self.is_taken().then(|| waiting.saturating_add(1))
    }

    /// How many wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn who_waits_is_counted_as_long_as_it_waits_and_has_the_machine_after_those_before_it() {
        let machine = Machine::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(machine.take());
        let std::task::Poll::Ready(tenure) = first.as_mut().poll(&mut context) else { panic!("it is free") };
        assert!(machine.is_taken() && machine.waiting() == 0 && machine.before() == Some(1));
        let (mut second, mut third) = (Box::pin(machine.take()), Box::pin(machine.take()));
        assert!(second.as_mut().poll(&mut context).is_pending() && third.as_mut().poll(&mut context).is_pending());
        assert_eq!(machine.waiting(), 2);
        drop(third);
        assert_eq!(machine.waiting(), 1, "one that was cancelled waits no more");
        // Who gives it back and asks again is behind who waits.
        drop(tenure);
        let mut again = Box::pin(machine.take());
        assert!(again.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_ready());
        assert_eq!(machine.waiting(), 1);
    }
}
