//! A worker as its parent sees it: started confined, spoken to over two pipes, always killed and always reaped.
//!
//! # Design
//! On Linux a child dies with the *thread* that started it (`PR_SET_PDEATHSIG`), and threads of an async runtime come and go. So one thread
//! that lives as long as the process starts all workers.

use crate::{
    WORKER_SUBCOMMAND,
    failure::{Failure, cleaned},
    frame,
    message::{PROTOCOL, Reply, Request},
    sandbox,
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::oneshot,
    task::JoinHandle,
};

/// From start to the first frame: loading the binary; generous, as laptops wake up slowly.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a process whose pipe is closed may take to end by itself, so that its own exit code is seen.
const EXIT_MAX: Duration = Duration::from_secs(2);
/// What is kept of a worker's standard error, bytes.
const STDERR_TAIL_BYTES: usize = 8_192;
/// Starts that may wait for the starting thread; more would mean that it hangs.
const STARTS_WAITING_MAX: usize = 64;

/// How to start a worker: a binary whose `main` calls [`crate::worker_main`] under the subcommand `worker`.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl WorkerCommand {
    /// The running binary itself, also if its file was replaced meanwhile (Linux).
    ///
    /// # Errors
    /// The system does not say where the running binary is.
    pub fn current_exe() -> io::Result<Self> {
        let linux = PathBuf::from("/proc/self/exe");
        let program = if cfg!(target_os = "linux") && linux.exists() { linux } else { std::env::current_exe()? };
        Ok(Self::new(program))
    }

    /// Another binary; for tests and unusual installations.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), environment: Vec::new() }
    }

    /// Gives workers one variable of the otherwise empty environment, for drivers in unusual places.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn build(&self, runtime: keystead_job::Runtime) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([WORKER_SUBCOMMAND, runtime.as_str()])
            .env_clear()
            // Mesa would write compiled kernels of strangers into the home folder.
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Nothing loads without it on Windows.
        if cfg!(windows)
            && let Some(root) = std::env::var_os("SystemRoot")
        {
            command.env("SystemRoot", root);
        }
        if cfg!(unix) {
            command.current_dir("/");
        }
        sandbox::confine(&mut command);
        command
    }
}

/// A running worker. Dropping it kills the process and reaps it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Option<Child>,
    pid: u32,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    stderr_reader: JoinHandle<()>,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    pub(crate) async fn start(command: &WorkerCommand, runtime: keystead_job::Runtime) -> Result<Self, Failure> {
        let mut child = start_on_lasting_thread(command.build(runtime)).await.map_err(|error| {
            Failure::provider(format_args!("cannot start a worker: program={} {error}", command.program.display()))
        })?;
        let (stdin, stdout, stderr) = match pipes(&mut child) {
            Ok(pipes) => pipes,
            Err(error) => {
                end(child);
                return Err(Failure::provider(error));
            }
        };
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let stderr_reader = tokio::spawn(keep_tail(stderr, Arc::clone(&tail)));
        let pid = child.id();
        let mut worker = Self { child: Some(child), pid, stdin, stdout, stderr: tail, stderr_reader };
        match tokio::time::timeout(START_MAX, worker.receive(0)).await {
            Ok(Ok((Reply::Ready { protocol: PROTOCOL }, _))) => Ok(worker),
            Ok(Ok((Reply::Failed(failure), _))) | Ok(Err(failure)) => Err(failure),
            Ok(Ok((other, _))) => Err(Failure::provider(format_args!("the worker began with {other:?}"))),
            Err(_) => {
                Err(Failure::provider(format_args!("the worker was not ready: waited_ms={}", START_MAX.as_millis())))
            }
        }
    }

    /// The process id, while the process is known to exist.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a request with its payload.
    pub(crate) async fn send(&mut self, request: &Request, payload: &[&[u8]]) -> Result<(), Failure> {
        match frame::send(&mut self.stdin, request, payload).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// Receives a reply with a payload of at most `payload_max` bytes.
    pub(crate) async fn receive(&mut self, payload_max: u32) -> Result<(Reply, Vec<u8>), Failure> {
        match frame::receive(&mut self.stdout, payload_max).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.failed(error).await),
        }
    }

    /// What a broken pipe or frame means: the process ended, or it broke the protocol.
    async fn failed(&mut self, error: frame::Error) -> Failure {
        let frame::Error::Closed = error else {
            return Failure::provider(format_args!("the worker broke the protocol: {error}"));
        };
        let status = match self.child.take() {
            Some(child) => tokio::task::spawn_blocking(move || ended(child)).await.unwrap_or_else(|e| e.to_string()),
            None => "already ended".to_owned(),
        };
        // The reader ends when the pipe does; a grandchild that holds it open must not hold us.
        let _ = tokio::time::timeout(EXIT_MAX, &mut self.stderr_reader).await;
        let tail: Vec<u8> = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        Failure::WorkerDied { status, stderr: cleaned(&String::from_utf8_lossy(&tail)) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stderr_reader.abort();
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}

fn pipes(child: &mut Child) -> io::Result<(ChildStdin, ChildStdout, ChildStderr)> {
    let gone = || io::Error::other("a pipe of the worker is missing");
    Ok((
        ChildStdin::from_std(child.stdin.take().ok_or_else(gone)?)?,
        ChildStdout::from_std(child.stdout.take().ok_or_else(gone)?)?,
        ChildStderr::from_std(child.stderr.take().ok_or_else(gone)?)?,
    ))
}

/// Kills at once; reaps on a thread of its own, as a driver can hold a dying process for seconds.
fn end(mut child: Child) {
    sandbox::kill(&mut child);
    let reap = move || {
        let _ = child.wait();
    };
    if let Err(error) = std::thread::Builder::new().name("worker-reaper".to_owned()).spawn(reap) {
        tracing::warn!(%error, "a killed worker stays a zombie until this process ends");
    }
}

/// Waits for a process that closed its pipe, kills it if it does not end by itself, and says how it ended. Blocks.
fn ended(mut child: Child) -> String {
    let deadline = Instant::now().checked_add(EXIT_MAX);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                end(child);
                return "closed its pipe and was killed".to_owned();
            }
            Err(error) => return error.to_string(),
        }
    }
}

async fn keep_tail(mut from: ChildStderr, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut chunk = [0; 1_024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(chunk.iter().take(count));
        let excess = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }
}

struct Start {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

async fn start_on_lasting_thread(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<mpsc::SyncSender<Start>> = OnceLock::new();
    let (reply, child) = oneshot::channel();
    let starter = STARTER.get_or_init(|| {
        let (sender, starts) = mpsc::sync_channel::<Start>(STARTS_WAITING_MAX);
        // If the thread cannot start, the receiver is dropped here and every send fails with a clear error.
        let _ = std::thread::Builder::new().name("worker-starter".to_owned()).spawn(move || {
            for Start { mut command, reply } in starts {
                // Nobody may be waiting any more: then the child must not stay.
                if let Err(Ok(child)) = reply.send(command.spawn()) {
                    end(child);
                }
            }
        });
        sender
    });
    starter.try_send(Start { command, reply }).map_err(|error| io::Error::other(format!("worker starter: {error}")))?;
    child.await.map_err(|_| io::Error::other("worker starter ended"))?
}
