//! Where requests run: bounded lanes of blocking threads, so that slow kinds of work never starve quick ones.
//!
//! # Design
//! A lane has a fixed number of threads and a bounded queue. A full queue refuses at once: a caller that is told
//! "busy" can go elsewhere, one that waits in an endless queue cannot. The permit travels with the work, so work that
//! outlives its request (timeout, closed connection) still counts.

use crate::{error::RpcError, limits::ServerLimits};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What kind of work a method is, from light to heavy; a batch runs in the heaviest lane of its methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Answers from memory in microseconds: runs where the request was read.
    Instant,
    /// Reads the store.
    Read,
    /// Checks a signature and fills the pool.
    Submit,
    /// Executes, proves or searches.
    Compute,
}

/// The lanes of one server.
#[derive(Debug)]
pub(crate) struct Lanes {
    read: Lane,
    submit: Lane,
    compute: Lane,
    /// Work for connections that wait anyway: notifications and receipts.
    feed: Arc<Semaphore>,
}

/// Threads that read for waiting connections at once: few, because what they read is mostly in memory.
const FEED_THREADS: usize = 8;

#[derive(Debug)]
struct Lane {
    /// One permit per request that runs or waits.
    admitted: Arc<Semaphore>,
    /// One permit per thread.
    running: Arc<Semaphore>,
}

impl Lane {
    fn new(threads: usize, waiting: usize) -> Self {
        let threads = threads.max(1);
        let admitted = threads.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { admitted: Arc::new(Semaphore::new(admitted)), running: Arc::new(Semaphore::new(threads)) }
    }
}

impl Lanes {
    /// Lanes as the limits say.
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        Self {
            read: Lane::new(limits.readers_max, limits.waiting_max),
            submit: Lane::new(limits.workers_max, limits.waiting_max),
            compute: Lane::new(limits.workers_max, limits.waiting_max),
            feed: Arc::new(Semaphore::new(FEED_THREADS)),
        }
    }

    /// Runs `job` in the lane of `work` and gives its value.
    ///
    /// Errors: a limit error if the lane's queue is full; an internal error if the job panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: Work,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let lane = match work {
            Work::Instant => return Ok(job()),
            Work::Read => &self.read,
            Work::Submit => &self.submit,
            Work::Compute => &self.compute,
        };
        let Ok(admitted) = Arc::clone(&lane.admitted).try_acquire_owned() else {
            return Err(RpcError::limit("the node is busy: too many requests wait, try again later"));
        };
        let running = Arc::clone(&lane.running).acquire_owned().await.map_err(|closed| RpcError::internal(&closed))?;
        let task = tokio::task::spawn_blocking(move || {
            let value = job();
            drop((running, admitted));
            value
        });
        task.await.map_err(|panicked| RpcError::internal(&panicked))
    }

    /// Runs `job`, which reads the store, and waits for a thread as long as it takes. Callers are bounded by themselves:
    /// a connection has one such job at a time.
    ///
    /// Errors: an internal error if the job panicked.
    pub(crate) async fn run_patiently<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RpcError> {
        let running = Arc::clone(&self.feed).acquire_owned().await.map_err(|closed| RpcError::internal(&closed))?;
        let task = tokio::task::spawn_blocking(move || {
            let value = job();
            drop(running);
            value
        });
        task.await.map_err(|panicked| RpcError::internal(&panicked))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;
    use crate::error::Code;

    #[tokio::test]
    async fn a_full_lane_refuses_and_leaves_the_others_free() {
        let lanes = Arc::new(Lanes::new(&ServerLimits { workers_max: 1, waiting_max: 1, ..ServerLimits::default() }));
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let lanes = Arc::clone(&lanes);
            async move { lanes.run(Work::Compute, move || (started.send(()).is_ok(), gate.recv().is_ok())).await }
        });
        running.await.unwrap();
        let waiting = Arc::clone(&lanes);
        let waiting = tokio::spawn(async move { waiting.run(Work::Compute, || 2).await });
        while lanes.compute.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = lanes.run(Work::Compute, || 3).await.unwrap_err();
        assert_eq!(refused.code, Code::LimitExceeded);
        assert_eq!(lanes.run(Work::Read, || 4).await, Ok(4));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok((true, true)));
        assert_eq!(waiting.await.unwrap(), Ok(2));
        assert_eq!(lanes.run(Work::Compute, || 5).await, Ok(5));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_its_thread() {
        let lanes = Lanes::new(&ServerLimits { workers_max: 1, ..ServerLimits::default() });
        for _ in 0..3 {
            let error = lanes.run(Work::Compute, || panic!("a method has a bug")).await.map(|(): ()| ()).unwrap_err();
            assert_eq!(error.code, Code::Internal);
        }
        assert_eq!(lanes.run(Work::Compute, || 1).await, Ok(1));
    }
}
