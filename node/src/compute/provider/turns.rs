//! Whose turn it is on the processors: a unit of an order, a step of a lease or a check, one at a time, in the order in which they ask.
//!
//! # Design
//! A turn is a value. What runs inputs is kept in an [`InTurn`], which wants to see the turn each time: who forgets to wait does not compile.
//!
//! # Invariants
//! No two of them run at once, so that none disturbs the other's time; and none waits for more than one run of each of the others.
//!
//! # Not here
//! The self-test and proofs of hardware, which measure when nothing is open; a condemned unit that runs again beside the window's times.

use keystead_runner::{Done, Failure, Hear, Job, Said, Session, Stop, WorkerCommand};
use std::{future::Future, pin::pin};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The one turn of a machine.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// Held while something runs; dropped, it is the next one's.
#[derive(Debug)]
pub(crate) struct Turn<'a>(#[allow(dead_code, reason = "it is held, not looked at")] SemaphorePermit<'a>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(1))
    }

    /// Waits for the turn, behind all who asked before.
    pub(crate) async fn take(&self) -> Turn<'_> {
        Turn(self.0.acquire().await.expect("invariant: nobody closes this semaphore, which is private here"))
    }

    /// One step: waits for the turn, says that it begins, and runs; `hear` is told what the program says. `halted` ends it at any moment; a run that is dropped ends its worker.
    pub(crate) async fn step<S: Runs, E>(
        &self,
        engine: &mut InTurn<S>,
        input: &[u8],
        begins: impl FnOnce(&InTurn<S>),
        hear: &mut Hear<'_>,
        halted: impl Future<Output = E>,
    ) -> Result<Result<Done, Failure>, E> {
        let mut halted = pin!(halted);
        let turn = tokio::select! {
            biased;
            end = &mut halted => return Err(end),
            turn = self.take() => turn,
        };
        begins(engine);
        tokio::select! {
            biased;
            end = &mut halted => Err(end),
            outcome = engine.run_heard(&turn, input, hear) => Ok(outcome),
        }
    }
}

/// What runs inputs.
pub(crate) trait Runs {
    /// Runs one; `hear` is told what the program says.
    fn run(&mut self, input: &[u8], hear: &mut Hear<'_>) -> impl Future<Output = Result<Done, Failure>> + Send;
}

impl Runs for Session {
    fn run(&mut self, input: &[u8], hear: &mut Hear<'_>) -> impl Future<Output = Result<Done, Failure>> + Send {
        self.run_heard(input, hear)
    }
}

/// A session that runs nothing but in its turn.
#[derive(Debug)]
pub(crate) struct InTurn<S = Session>(S);

impl<S: Runs> InTurn<S> {
    /// Runs one input, in the turn that is shown. Nobody hears what the program says.
    pub(crate) async fn run(&mut self, turn: &Turn<'_>, input: &[u8]) -> Result<Done, Failure> {
        self.run_heard(turn, input, &mut |_: Said| ()).await
    }

    /// As [`Self::run`], and `hear` is told what the program says.
    pub(crate) async fn run_heard(&mut self, _: &Turn<'_>, input: &[u8], hear: &mut Hear<'_>) -> Result<Done, Failure> {
        self.0.run(input, hear).await
    }
}

impl InTurn {
    /// As [`Session::open_at`].
    pub(crate) async fn open(command: WorkerCommand, job: Job, stop: Stop, place: u8) -> Result<Self, Failure> {
        Session::open_at(command, job, stop, place).await.map(Self)
    }

    /// As [`Session::open_reference`].
    pub(crate) async fn open_reference(command: WorkerCommand, job: Job, stop: Stop) -> Result<Self, Failure> {
        Session::open_reference(command, job, stop).await.map(Self)
    }

    /// As [`Session::worker_pid`].
    pub(crate) fn worker_pid(&self) -> Option<u32> {
        self.0.worker_pid()
    }

    /// As [`Session::engine`].
    pub(crate) fn engine(&self) -> &str {
        self.0.engine()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use std::{
        cell::Cell,
        future::{pending, poll_fn},
        pin::Pin,
        sync::{Arc, Mutex},
        task::{Context, Poll, Waker},
    };

    /// What happened, and which run may end.
    #[derive(Clone, Default)]
    struct Stage(Arc<Mutex<Seen>>);

    #[derive(Default)]
    struct Seen {
        said: Vec<String>,
        running: usize,
        may_end: bool,
    }

    impl Stage {
        fn said(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap().said)
        }

        /// Lets the run that is under way end at its next look.
        fn end(&self) {
            self.0.lock().unwrap().may_end = true;
        }
    }

    /// An engine whose runs end when the test says so. It notices another one that runs at the same time.
    struct Watched {
        name: &'static str,
        stage: Stage,
    }

    /// Counts as running until it is dropped, as a worker does.
    struct Running(Stage);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.0.lock().unwrap().running -= 1;
        }
    }

    impl Runs for Watched {
        fn run(&mut self, input: &[u8], _: &mut Hear<'_>) -> impl Future<Output = Result<Done, Failure>> + Send {
            let (stage, what) = (self.stage.clone(), format!("{} {}", self.name, String::from_utf8_lossy(input)));
            async move {
                let running = {
                    let mut seen = stage.0.lock().unwrap();
                    seen.running += 1;
                    assert_eq!(seen.running, 1, "{what} runs beside another: {:?}", seen.said);
                    seen.said.push(format!("{what} begins"));
                    Running(stage.clone())
                };
                poll_fn(|_| {
                    let may_end = std::mem::take(&mut stage.0.lock().unwrap().may_end);
                    if may_end { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                drop(running);
                stage.0.lock().unwrap().said.push(format!("{what} ends"));
                Err(Failure::Aborted { why: what })
            }
        }
    }

    /// Looks at a task once, as a runtime does that was woken; whether it has ended.
    fn look<F: Future + ?Sized>(task: &mut Pin<Box<F>>) -> bool {
        task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn engine(name: &'static str, stage: &Stage) -> InTurn<Watched> {
        InTurn(Watched { name, stage: stage.clone() })
    }

    /// The steps of a lease, as its work runs them.
    async fn lease(turns: &Turns, stage: &Stage) {
        let mut engine = engine("step", stage);
        for step in ["1", "2", "3"] {
            let ended = turns.step(&mut engine, step.as_bytes(), |_| {}, &mut |_: Said| (), pending::<()>()).await;
            assert!(matches!(ended, Ok(Err(Failure::Aborted { .. }))));
        }
    }

    /// A check, as a checker runs it.
    async fn check(turns: &Turns, stage: &Stage) {
        let mut engine = engine("check", stage);
        let turn = turns.take().await;
        for run in ["a", "b"] {
            let _ = engine.run(&turn, run.as_bytes()).await;
        }
    }

    #[test]
    fn a_check_runs_between_two_steps_of_a_lease_and_never_beside_one() {
        let (turns, stage) = (Turns::new(), Stage::default());
        let mut lease = Box::pin(lease(&turns, &stage));
        let mut check = Box::pin(check(&turns, &stage));
        assert!(!look(&mut lease));
        assert_eq!(stage.said(), ["step 1 begins"]);
        assert!(!look(&mut check) && !look(&mut lease));
        assert!(stage.said().is_empty(), "the check waits for the end of the step");
        stage.end();
        // The lease would begin its second step at once, and finds the check before it.
        assert!(!look(&mut lease));
        assert_eq!(stage.said(), ["step 1 ends"]);
        assert!(!look(&mut check));
        assert_eq!(stage.said(), ["check a begins"]);
        stage.end();
        assert!(!look(&mut check) && !look(&mut lease));
        assert_eq!(stage.said(), ["check a ends", "check b begins"], "one turn is a whole check");
        stage.end();
        assert!(look(&mut check));
        assert!(!look(&mut lease));
        assert_eq!(stage.said(), ["check b ends", "step 2 begins"]);
        // Nobody else asks: the next step follows at once.
        stage.end();
        assert!(!look(&mut lease));
        assert_eq!(stage.said(), ["step 2 ends", "step 3 begins"]);
        stage.end();
        assert!(look(&mut lease));
    }

    #[test]
    fn a_step_that_is_halted_gives_its_turn_back_before_and_while_it_runs() {
        let (turns, stage) = (Turns::new(), Stage::default());
        let (mut first, mut second) = (engine("first", &stage), engine("second", &stage));
        let halt = &Cell::new(false);
        let halted = || poll_fn(move |_| if halt.get() { Poll::Ready("the owner") } else { Poll::Pending });
        let (mut nobody, mut no_other) = (|_: Said| (), |_: Said| ());
        let mut running = Box::pin(turns.step(&mut first, b"1", |_| {}, &mut nobody, halted()));
        let mut waiting = Box::pin(turns.step(&mut second, b"1", |_| {}, &mut no_other, halted()));
        assert!(!look(&mut running) && !look(&mut waiting));
        assert_eq!(stage.said(), ["first 1 begins"]);
        halt.set(true);
        assert!(look(&mut waiting) && look(&mut running));
        drop((waiting, running));
        let mut check = Box::pin(check(&turns, &stage));
        assert!(!look(&mut check));
        assert_eq!(stage.said(), ["check a begins"], "neither holds the turn any more");
    }
}
