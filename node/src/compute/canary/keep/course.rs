//! The loop: counts, waits until a canary is owed, runs one order, and counts again.

use super::{
    follow::{Job, count, last_said},
    jobs::{Jobs, below},
    state::{Ending, Identity, Order, Rule, State, Step},
};
use crate::{
    cli::CanaryKeep,
    compute::{
        amount::{counted, kst},
        canary::CanaryFile,
        customer::stop::Stops,
        event_log::EventLog,
        files::{self, Lock},
        wallet,
        windows::Windows,
    },
};
use alloy_primitives::U256;
use eyre::{Context as _, Report, Result, ensure, eyre};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

const STATE_FILE: &str = "keep.json";
const LOCK_FILE: &str = "keep.lock";
/// Held by a child, too.
const ORDER_LOCK_FILE: &str = "order.lock";
const ORDERS: &str = "orders";
/// Of `keystead run`.
const RUN_STATE_FILE: &str = "order.json";
const RUN_RECORD_FILE: &str = "job.json";
/// Stopped, and an order is under way.
const EXIT_UNDER_WAY: u8 = 3;
/// The money is not enough.
const EXIT_SPENT: u8 = 4;
/// How often the chain is looked at.
const POLL: Duration = Duration::from_secs(5);
/// How often an earlier process's order is looked at.
const POLL_ORDER: Duration = Duration::from_secs(1);
/// After the first failure; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Orders in a row that may come to nothing.
const FAILURES_MAX: u32 = 3;
/// Blocks without a check after which the count is written down all the same: they are read again after a crash.
const UNSAVED_BLOCKS_MAX: u64 = 1_000;

/// `keystead canary keep`.
///
/// # Errors
/// It cannot begin, or three orders in a row came to nothing.
pub(crate) async fn run(options: &CanaryKeep) -> Result<ExitCode> {
    let jobs = Jobs::read(&options.jobs)?;
    let file = CanaryFile::read(&options.canary)?;
    wallet::own_folder(&options.dir)?;
    let log = EventLog::open(None)?;
    let lock = Lock::take(&options.dir.join(LOCK_FILE))?;
    let _lock = lock.ok_or_else(|| {
        eyre!("another `keystead canary keep` works in {}: stop it, or choose another --dir", options.dir.display())
    })?;
    let dir = Some(options.dir.as_path());
    let account = wallet::of_customer(&options.wallet, dir, &options.rpc, |line| log.answer(line)).await?;
    let customer = account.address();
    ensure!(
        customer == file.customer(),
        "{} is for orders of {}, this wallet is {customer}: `keystead canary new --customer {customer}` makes another",
        options.canary.display(),
        file.customer()
    );
    let identity = Identity { chain_id: account.chain_id(), genesis: account.genesis().await?, customer };
    let (path, orders) = (options.dir.join(STATE_FILE), options.dir.join(ORDERS));
    let state = match State::load(&path, &identity)? {
        Some(state) => state,
        None => {
            ensure!(
                !orders.exists(),
                "there are orders, of which one may be under way, but what they cost is gone: put {} back, or begin in another --dir",
                path.display()
            );
            let state = State::new(identity, account.height().await?.saturating_add(1));
            state.save(&path)?;
            state
        }
    };
    files::private_folder(&orders)?;
    let saved_block = state.next_block;
    let windows = Windows { account: Arc::new(account) };
    let stops = Stops::listen_to_both()?;
    Keeper { options, jobs, windows, state, saved_block, stops, log, failures: 0, tries: 0 }.keep().await
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// As asked for.
    Done,
    Stopped,
    Spent,
}

/// What became of the order under way.
enum Tended {
    Over,
    /// It came to nothing.
    Failed(Report),
    /// The same command goes on with it, or what it cost cannot be seen now.
    Unfinished(Report),
    Stopped,
    Spent,
}

/// What an order's folder holds.
enum Found {
    /// The order is over.
    Over(Box<Job>),
    /// `keystead run` goes on with it.
    Open,
    /// Nothing was placed.
    Nothing,
}

struct Keeper<'a> {
    options: &'a CanaryKeep,
    jobs: Jobs,
    windows: Windows,
    state: State,
    /// Blocks up to here are counted in the file.
    saved_block: u64,
    stops: Stops,
    log: EventLog,
    /// Orders that came to nothing, in a row.
    failures: u32,
    /// How often the process of the order under way ended before it was over.
    tries: u32,
}

impl Keeper<'_> {
    async fn keep(mut self) -> Result<ExitCode> {
        let end = self.see_to_it().await?;
        self.save()?;
        self.show();
        Ok(match end {
            End::Done => ExitCode::SUCCESS,
            End::Stopped => match self.state.under_way() {
                None => ExitCode::SUCCESS,
                Some(Order { number, .. }) => {
                    self.say(&format!("Order {number} is under way: run the same command again to go on with it."));
                    ExitCode::from(EXIT_UNDER_WAY)
                }
            },
            End::Spent => {
                let (spent, total) = (kst(self.state.spent_wei()), kst(self.options.max_total));
                self.say(&format!(
                    "What is left of --max-total is not enough for another canary: {spent} of {total} are spent. Give a larger one, or cheaper orders in --jobs"
                ));
                ExitCode::from(EXIT_SPENT)
            }
        })
    }

    async fn see_to_it(&mut self) -> Result<End> {
        let mut shown = None;
        let mut due: Option<Instant> = None;
        while self.stops.pressed() == 0 {
            // An order under way has deadlines: it goes first.
            if self.state.under_way().is_none()
                && let Err(error) = self.count().await
            {
                if self.options.once {
                    return Err(error.wrap_err("cannot count checks"));
                }
                tracing::warn!(error = format!("{error:#}"), "cannot count checks, trying again");
                // Nothing is ordered meanwhile: the last canary may have been told in a block that was not read.
                self.rest(POLL).await;
                continue;
            }
            if self.stops.pressed() > 0 {
                break;
            }
            let tally = self.state.tally();
            if shown.replace(tally) != Some(tally) {
                self.show();
            }
            match self.state.step(&self.rule()) {
                Step::Wait if self.options.once => return Ok(End::Done),
                Step::Wait => {
                    due = None;
                    self.rest(POLL).await;
                }
                Step::Spent => return Ok(End::Spent),
                Step::Order { limit_wei } => {
                    let at = match due {
                        Some(at) => at,
                        None => *due.insert(self.draw_time()?),
                    };
                    let left = at.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        self.rest(left.min(POLL)).await;
                        continue;
                    }
                    due = None;
                    self.begin(limit_wei)?;
                }
                Step::GoOn => match self.tend().await? {
                    Tended::Over if self.options.once => return Ok(End::Done),
                    Tended::Over => (self.failures, self.tries) = (0, 0),
                    Tended::Failed(error) => self.fail(error).await?,
                    Tended::Unfinished(error) => self.try_again(error).await,
                    Tended::Stopped => return Ok(End::Stopped),
                    Tended::Spent => return Ok(End::Spent),
                },
            }
        }
        Ok(End::Stopped)
    }

    const fn rule(&self) -> Rule {
        let CanaryKeep { rate, max_total, max_price, .. } = *self.options;
        Rule { rate_ppm: rate, max_total_wei: max_total, max_price_wei: max_price }
    }

    /// Reads the blocks that came since, each part of them once.
    async fn count(&mut self) -> Result<()> {
        let head = self.windows.account.height().await?;
        while self.state.next_block <= head && self.stops.pressed() == 0 {
            let found = count(&self.windows, self.state.next_block, head).await?;
            self.state.count((found.checks, found.told), found.next_block);
            let unsaved = found.next_block.saturating_sub(self.saved_block);
            if (found.checks, found.told) != (0, 0) || unsaved >= UNSAVED_BLOCKS_MAX {
                self.save()?;
            }
        }
        Ok(())
    }

    /// When the next order comes.
    fn draw_time(&self) -> Result<Instant> {
        let spread = u64::from(self.options.spread_seconds).saturating_add(1);
        let now = Instant::now();
        Ok(now.checked_add(Duration::from_secs(below(spread)?)).unwrap_or(now))
    }

    /// Draws an order and writes it down.
    fn begin(&mut self, limit_wei: U256) -> Result<()> {
        let words = self.jobs.draw()?.to_vec();
        self.state.begin(words, limit_wei);
        self.save()
    }

    /// Runs the order under way until it is over, or its process has ended otherwise.
    async fn tend(&mut self) -> Result<Tended> {
        let Some(mut order) = self.state.under_way().cloned() else { return Ok(Tended::Over) };
        let Some(lock) = self.wait_for_child(&order).await? else { return Ok(Tended::Stopped) };
        let out = self.out(&order);
        let before = found(&out)?;
        if matches!(before, Found::Nothing) {
            // An earlier process may have had another --max-total.
            let Some(limit_wei) = self.state.limit_again(&self.rule()) else {
                self.state.end(Ending::Nothing);
                return Ok(Tended::Spent);
            };
            order.limit_wei = limit_wei;
            self.save()?;
        }
        // An earlier process's child may have seen it through.
        if !matches!(before, Found::Over(_)) {
            self.say(&format!(
                "Canary {}: {}, for at most {}.",
                order.number,
                shown(&order.words),
                kst(order.limit_wei)
            ));
            let mut child = self.start(&order, &lock)?;
            self.see_through(&mut child).await?;
        }
        let is_stopping = self.stops.pressed() > 0;
        match found(&out)? {
            Found::Over(job) => self.account_for(&order, &job).await,
            Found::Open if is_stopping => Ok(Tended::Stopped),
            Found::Open => Ok(Tended::Unfinished(eyre!("order {} is not over: {}", order.number, self.reason(&order)))),
            Found::Nothing => {
                let said = last_said(&self.events(&order));
                self.state.end(Ending::Nothing);
                self.save()?;
                if said.is_some_and(|said| said.facts.above_max_price) && self.rule().is_total(order.limit_wei) {
                    return Ok(Tended::Spent);
                }
                let reason = self.reason(&order);
                Ok(if is_stopping {
                    Tended::Stopped
                } else {
                    Tended::Failed(eyre!("order {} was not placed: {reason}", order.number))
                })
            }
        }
    }

    /// The order is over: what it cost, and whether it showed anything.
    async fn account_for(&mut self, order: &Order, job: &Job) -> Result<Tended> {
        let Job { order: id, status, .. } = job;
        let cost_wei = match job.cost_wei(&self.windows, order.from_block).await {
            Ok(cost_wei) => cost_wei,
            Err(error) => {
                return Ok(Tended::Unfinished(error.wrap_err(format!("cannot see what order {} cost", order.number))));
            }
        };
        let is_done = job.is_done();
        self.state.end(Ending::Over { cost_wei, is_done });
        self.save()?;
        let told = match job.told() {
            Some(unit) => format!("unit {unit} was told"),
            None => "nothing was told, so another canary is owed".to_owned(),
        };
        self.say(&format!("Canary {} is over: order {id} is {status}, {}; {told}.", order.number, kst(cost_wei)));
        Ok(if is_done {
            Tended::Over
        } else {
            let reason = job.uncanny().map_or_else(|| self.reason(order), str::to_owned);
            Tended::Failed(eyre!("order {} is {status}: {reason}", order.number))
        })
    }

    /// Waits after a failure; after too many of them it ends.
    async fn fail(&mut self, error: Report) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        self.tries = 0;
        if self.failures >= FAILURES_MAX {
            return Err(error.wrap_err(format!(
                "{} in a row came to nothing: try a line of {} with `keystead run` itself, then run the same command again",
                counted(self.failures.into(), "order"),
                self.options.jobs.display()
            )));
        }
        let pause = pause(self.failures);
        tracing::warn!(error = format!("{error:#}"), pause_s = pause.as_secs(), "an order came to nothing");
        self.rest(pause).await;
        Ok(())
    }

    /// Waits before the same order goes on, however often: its money is on the chain, and who leaves it tells no canary.
    async fn try_again(&mut self, error: Report) {
        self.tries = self.tries.saturating_add(1);
        let pause = pause(self.tries);
        tracing::warn!(
            error = format!("{error:#}"),
            pause_s = pause.as_secs(),
            "an order is not over, going on with it"
        );
        self.rest(pause).await;
    }

    /// The lock that a child of an earlier process may hold still; `None` if it is to stop before.
    async fn wait_for_child(&self, order: &Order) -> Result<Option<Lock>> {
        let path = self.options.dir.join(ORDER_LOCK_FILE);
        let mut is_said = false;
        loop {
            if self.stops.pressed() > 0 {
                return Ok(None);
            }
            if let Some(lock) = Lock::take(&path)? {
                return Ok(Some(lock));
            }
            if !is_said {
                self.say(&format!(
                    "Order {} is still run by a process of an earlier command: waiting for it.",
                    order.number
                ));
                is_said = true;
            }
            self.rest(POLL_ORDER).await;
        }
    }

    /// `keystead run` in a process group of its own: Ctrl-C comes to it from here alone.
    fn start(&self, order: &Order, lock: &Lock) -> Result<Child> {
        let program = env::current_exe().wrap_err("cannot find this program's own file")?;
        let mut command = std::process::Command::new(program);
        command.args(arguments(self.options, order, (&self.out(order), &self.events(order))));
        command.stdin(lock.share()?).process_group(0);
        Command::from(command).spawn().wrap_err("cannot start `keystead run`")
    }

    /// Until the child has ended. Every Ctrl-C is passed on.
    async fn see_through(&self, child: &mut Child) -> Result<()> {
        let mut passed = 0_u32;
        loop {
            tokio::select! {
                ended = child.wait() => return ended.map(drop).wrap_err("cannot wait for `keystead run`"),
                () = self.stops.wait(passed.saturating_add(1)) => {
                    passed = passed.saturating_add(1);
                    interrupt(child);
                }
            }
        }
    }

    /// Until then, or until it is to stop.
    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.stops.wait(1) => {}
        }
    }

    fn out(&self, order: &Order) -> PathBuf {
        self.options.dir.join(ORDERS).join(order.number.to_string())
    }

    fn events(&self, order: &Order) -> PathBuf {
        self.options.dir.join(ORDERS).join(format!("{}.jsonl", order.number))
    }

    /// Why an order's process ended, as it told programs.
    fn reason(&self, order: &Order) -> String {
        let said = last_said(&self.events(order)).map(|said| said.detail).filter(|detail| !detail.is_empty());
        said.unwrap_or_else(|| "its process ended without a word".to_owned())
    }

    fn save(&mut self) -> Result<()> {
        self.state.save(&self.options.dir.join(STATE_FILE))?;
        self.saved_block = self.state.next_block;
        Ok(())
    }

    fn show(&self) {
        let (tally, owed) = (self.state.tally(), self.state.owed(self.options.rate));
        tracing::info!(
            since_block = tally.from_block,
            checks = tally.checks,
            canaries_told = tally.told,
            owed,
            orders = tally.orders,
            failed = tally.failed,
            spent = kst(self.state.spent_wei()),
            "canaries"
        );
    }

    fn say(&self, line: &str) {
        self.log.answer(line);
    }
}

/// What stands in the folder of an order that no process works on.
fn found(out: &Path) -> Result<Found> {
    // The state goes last, so a record beside it is of an earlier provider, or not all of the truth.
    if out.join(RUN_STATE_FILE).exists() {
        return Ok(Found::Open);
    }
    let path = out.join(RUN_RECORD_FILE);
    let Some(text) = files::read(&path)? else { return Ok(Found::Nothing) };
    let job = Job::parse(&text).wrap_err_with(|| format!("cannot use {}", path.display()))?;
    Ok(Found::Over(Box::new(job)))
}

/// The command line of an order; the words that were drawn come last.
fn arguments(options: &CanaryKeep, order: &Order, (out, events): (&Path, &Path)) -> Vec<OsString> {
    let with = |name: &str, value: &OsStr| {
        let mut word = OsString::from(format!("--{name}="));
        word.push(value);
        word
    };
    let plain = |name: &str, value: &dyn Display| OsString::from(format!("--{name}={value}"));
    let mut line = vec![
        OsString::from("run"),
        with("canary", options.canary.as_os_str()),
        with("out", out.as_os_str()),
        with("events", events.as_os_str()),
        plain("max-price", &order.limit_wei),
        plain("rpc", &options.rpc),
    ];
    let wallet = &options.wallet;
    line.push(match (&wallet.key, wallet.dev_account) {
        (Some(key), _) => with("key", key.as_os_str()),
        (None, Some(number)) => plain("dev-account", &number),
        (None, None) => with("dir", options.dir.as_os_str()),
    });
    line.extend(wallet.chain_id.map(|chain_id| plain("chain-id", &chain_id)));
    line.extend(order.words.iter().map(OsString::from));
    line
}

/// The words as they can be read in a line.
fn shown(words: &[String]) -> String {
    format!("keystead run {}", words.join(" "))
}

/// As Ctrl-C does. A child that has ended needs nothing.
fn interrupt(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::INT)) {
        tracing::warn!(%error, "cannot ask the order to stop");
    }
}

/// How long after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    PAUSE.saturating_mul(doubled).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cli::{Canary, Cli, Command as Asked};
    use clap::Parser as _;
    use std::fs;

    fn options(more: &[&str]) -> CanaryKeep {
        let words = ["keystead", "canary", "keep", "--canary", "c", "--jobs", "j", "--dir", "d", "--max-total", "9"];
        match Cli::try_parse_from(words.iter().chain(more)).unwrap().command {
            Asked::Canary(Canary::Keep(options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    fn order() -> Order {
        let provider = format!("--provider={}", alloy_primitives::Address::repeat_byte(7));
        let words = ["align", "--audit", &provider].map(str::to_owned).into();
        Order { number: 1, words, limit_wei: U256::from(5), from_block: 1 }
    }

    fn line(more: &[&str]) -> Vec<String> {
        let line = arguments(&options(more), &order(), (Path::new("d/orders/1"), Path::new("d/orders/1.jsonl")));
        line.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn an_order_is_a_command_line_of_run_with_the_wallet_of_this_one() {
        let said = line(&["--dev-account", "2", "--chain-id", "7", "--rpc", "http://there"]);
        let first = ["run", "--canary=c", "--out=d/orders/1", "--events=d/orders/1.jsonl", "--max-price=5"];
        assert_eq!(said.get(..5).unwrap(), first);
        assert_eq!(said.get(5..9).unwrap(), ["--rpc=http://there", "--dev-account=2", "--chain-id=7", "align"]);
        assert!(line(&["--key", "k"]).contains(&"--key=k".to_owned()));
        let own = line(&[]);
        assert!(own.contains(&"--dir=d".to_owned()) && !own.iter().any(|word| word.starts_with("--chain-id")));
        let Asked::Run(run) = Cli::try_parse_from(["keystead".to_owned()].into_iter().chain(said)).unwrap().command
        else {
            panic!("no order")
        };
        assert_eq!(
            (run.recipe.as_str(), run.max_price, run.wallet.dev_account),
            ("align", Some(U256::from(5)), Some(2))
        );
    }

    #[test]
    fn one_canary_in_a_hundred_checks_is_what_is_asked_for_without_a_rate() {
        assert_eq!((options(&[]).rate, options(&["--rate", "0.5"]).rate), (10_000, 5_000));
        let words = ["keystead", "canary", "keep", "--canary", "c", "--jobs", "j", "--dir", "d"];
        assert!(Cli::try_parse_from(words).is_err(), "money is always bounded");
    }

    #[test]
    fn a_folder_tells_whether_its_order_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let is_nothing = |out: &Path| matches!(found(out).unwrap(), Found::Nothing);
        assert!(is_nothing(out) && is_nothing(&out.join("none")));
        fs::write(out.join("job.json"), r#"{"order": "7", "status": "audited", "paidWei": "1", "audit": null}"#)
            .unwrap();
        assert!(matches!(found(out).unwrap(), Found::Over(job) if job.order == "7"));
        fs::write(out.join("order.json"), "{}").unwrap();
        assert!(matches!(found(out).unwrap(), Found::Open), "a record before the end is not the last word");
        fs::remove_file(out.join("order.json")).unwrap();
        fs::write(out.join("job.json"), "{").unwrap();
        assert!(found(out).is_err());
    }

    #[test]
    fn pauses_grow_up_to_a_most() {
        let seconds = [1, 2, 3, 5, 6, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(seconds, [10, 20, 40, 160, 300, 300]);
    }
}
