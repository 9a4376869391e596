//! The story, act by act.

use super::{
    books::{Books, Slash, kst},
    cast::{CHEAT, CHECKERS, Cast, MORTAL, OWNER, Return, account},
    chain::Node,
    jobs::{CHECKED_MAP, Desk, JOBS, Job, MAPPERS, Mapped, Order, Running, Twist},
};
use crate::{
    network::{Network, block_number, build},
    parties::wait_for,
    process::{heed_interrupts, show},
    recipes, tools,
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Shortest time between two blocks, ms: the default.
const INTERVAL_MS: u64 = 200;
/// Seats come and go at the borders of epochs of so many blocks.
const EPOCH_BLOCKS: u64 = 256;
/// A job is over by then, or the demo failed.
const JOB_MAX: Duration = Duration::from_secs(300);
/// How long a window may take whose checks all come to a second round and an appeal; its own times add up to two and a half minutes.
const WINDOW_MAX: Duration = Duration::from_secs(420);
/// How long an epoch may take: 256 blocks come within a minute if each has something in it.
const EPOCH_MAX: Duration = Duration::from_secs(240);
/// How long anything may take that should be there soon.
const SOON: Duration = Duration::from_secs(60);
/// How often somebody who waits hears how far it is.
const NEWS: Duration = Duration::from_secs(10);
/// Transfers a second that keep the network busy until the checkers have their seats, and for how long at most.
const TRANSFERS_PER_S: u64 = 8;
const TRANSFERS_SECONDS: u64 = 240;

/// How the demo is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Leave the folder with results, certificates and logs.
    pub(crate) keep: bool,
    /// The program to use instead of building one.
    pub(crate) keystead: Option<PathBuf>,
}

impl Options {
    /// Reads the words after `demo`.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--keep" => options.keep = true,
                "--keystead" => {
                    let path = words.next().ok_or_else(|| eyre!("--keystead needs the path of a program"))?;
                    options.keystead = Some(PathBuf::from(path));
                }
                other => bail!("`demo` does not know {other}: it takes --keep and --keystead FILE"),
            }
        }
        Ok(options)
    }
}

/// Plays it, and tidies up if all went well.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(
        tools::vulkan()?,
        "half of the recipes run on a graphics card: this machine has no Vulkan driver, not even a software one"
    );
    recipes::fetch(root)?;
    let keystead = match &options.keystead {
        Some(keystead) => fs::canonicalize(keystead).wrap_err_with(|| format!("no {}", keystead.display()))?,
        None => build(root)?,
    };
    heed_interrupts();
    let results = tempfile::Builder::new().prefix("keystead-demo-").tempdir()?;
    let begin = Instant::now();
    let played = play(root, &keystead, results.path(), begin);
    if options.keep || played.is_err() {
        println!("\nResults, certificates and logs lie in {}", results.keep().display());
    }
    played?;
    println!("\nAll of it is so. It took {:.0} s.", begin.elapsed().as_secs_f64());
    Ok(())
}

fn play(root: &Path, keystead: &Path, results: &Path, begin: Instant) -> Result<()> {
    let mut stage = Stage::open(root, keystead, results, begin)?;
    stage.bond()?;
    let traffic = stage.traffic()?;
    let lines = stage.jobs()?;
    stage.until_seated()?;
    drop(traffic);
    stage.act("A careful customer has strangers check: the cheapest provider gets the order, and cheats");
    stage.say(&format!(
        "Number {CHEAT} alters one bit of one unit. It has no record yet, so machines drawn by lot run every unit again; the customer itself looks at one."
    ));
    let audited = stage.desk.audited()?;
    let map = stage.map()?;
    stage.say("It has another job done over two providers, and this time strangers check every window.");
    let checked = stage.desk.checked_map()?;
    let audited = stage.convict(audited)?;
    let maps = [map, stage.checked(checked)?];
    stage.certificates(&lines, &audited)?;
    let orders: Vec<Order> = lines.into_iter().map(|line| line.order).collect();
    let slash = stage.books(&orders, &audited.order, &maps)?;
    let share = kst(slash.bounty_wei);
    stage.say(&format!(
        "Number {CHEAT} lost {} of its bond: {share} went to the machines that found it, the rest is burnt, and the customer, whose price came back, got none of it.",
        kst(slash.taken_wei)
    ));
    Ok(())
}

/// An order of the table at the end.
struct Line {
    recipe: &'static str,
    seconds: f64,
    order: Order,
}

/// Everything that runs.
struct Stage {
    begin: Instant,
    network: Network,
    cast: Cast,
    desk: Desk,
    node: Node,
    acts: u32,
    /// The first block whose windows draw from the seats.
    border: u64,
}

impl Stage {
    fn open(root: &Path, keystead: &Path, results: &Path, begin: Instant) -> Result<Self> {
        heading(begin, 1, "Four validators and eight providers start");
        println!("Each is a process of its own on this machine; no one of them trusts another.");
        let network = Network::start(keystead, 4, INTERVAL_MS)?;
        let node = Node(*network.rpc.first().ok_or_else(|| eyre!("a network without validators"))?);
        let cast = Cast::start(keystead, &network, results)?;
        println!(
            "All eight have tested themselves and take orders. Numbers 1 to 5 will also check others' work; 6 cheats, 7 will die, 8 has an owner."
        );
        let (root, keystead, results) = (root.to_owned(), keystead.to_owned(), results.to_owned());
        let desk = Desk { root, keystead, url: network.url(0)?, results };
        Ok(Self { begin, network, cast, desk, node, acts: 1, border: EPOCH_BLOCKS })
    }

    fn act(&mut self, title: &str) {
        self.acts = self.acts.saturating_add(1);
        heading(self.begin, self.acts, title);
    }

    fn say(&self, line: &str) {
        println!("{line}");
    }

    /// Bonds and seats.
    fn bond(&mut self) -> Result<()> {
        self.act("Five providers take seats as checkers, the cheat puts down a bond");
        self.say("A seat costs 100 KST, which a false verdict would cost. What stands behind one's own work is lost if it is found wrong.");
        self.cast.bond()?;
        let epoch = self.node.head()?.checked_div(EPOCH_BLOCKS).unwrap_or_default();
        self.border = epoch.saturating_add(1).saturating_mul(EPOCH_BLOCKS);
        self.say("On one machine all have the same processor; here each states another hardware class, so that a second look can come from another one.");
        Ok(())
    }

    /// Payments of others, so that blocks come as fast as on a busy network.
    fn traffic(&self) -> Result<Ended> {
        let mut command = Command::new(&self.desk.keystead);
        command.args(["bench", "load", "--senders", "1", "--rpc", &self.desk.url]);
        command.args(["--rate", &TRANSFERS_PER_S.to_string(), "--seconds", &TRANSFERS_SECONDS.to_string()]);
        println!("  $ {}", show(&command));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().wrap_err("cannot start `keystead bench load`")?;
        // It is funded from the account of a customer, who must not send at the same time.
        self.say("Somebody sends payments meanwhile, so that blocks come every 200 ms and the seats count soon: a seat is drawn from the next 256 blocks on.");
        Ok(Ended(child))
    }

    /// One job after the other.
    fn jobs(&mut self) -> Result<Vec<Line>> {
        self.act("Six recipes, each by a provider that the customer's own program chooses");
        self.say(&format!(
            "Number {CHEAT} is left out for now: as the cheapest it would get every order. Its turn comes."
        ));
        let mut lines = Vec::new();
        for job in JOBS {
            if job.twist == Twist::Owner {
                self.cast.await_owner(OWNER)?;
            }
            let running = self.desk.order(job)?;
            let seconds = self.twist(job, running)?;
            let order = Order::read(&self.desk.folder(job.recipe))?;
            ensure!(
                order.status == "accepted" && order.failed.is_empty(),
                "{} did not go as it should: {order:?}",
                job.recipe
            );
            lines.push(Line { recipe: job.recipe, seconds, order });
        }
        Ok(lines)
    }

    /// What happens while a job runs; how long it took.
    fn twist(&mut self, job: &Job, mut running: Running) -> Result<f64> {
        let Twist::Validator(victim) = job.twist else {
            if job.twist == Twist::Owner {
                let Return { typed, waited, why, away, alone } = self.cast.interrupt_work(OWNER)?;
                let (waited_ms, away_s) = (waited.as_millis(), away.as_secs());
                let (came, left) = match (typed, alone) {
                    (true, true) => ("typed at its terminal", "once nobody had typed for a minute"),
                    (true, false) => ("typed at its terminal", "once it was told to, as somebody else types here"),
                    (false, _) => ("said --pause", "once it had said --resume"),
                };
                self.say(&format!("Number {OWNER}'s owner came back in the middle and {came}: the machine was free after {waited_ms} ms (promised: a second), and its status said \"{why}\". The work went on after {away_s} s, {left}."));
            }
            return Ok(running.finish(JOB_MAX)?.seconds);
        };
        running.until_said("units finished", JOB_MAX)?;
        self.network.kill(victim)?;
        self.say(&format!("Validator {victim} is dead (kill -9): three of four go on."));
        let ran = running.finish(JOB_MAX)?;
        self.network.restart(victim)?;
        let address = *self.network.rpc.get(victim).ok_or_else(|| eyre!("no validator {victim}"))?;
        let head = self.node.head()?;
        wait_for("the validator is back and has every block", SOON, || {
            let digits = block_number(address);
            let height = digits.and_then(|digits| u64::from_str_radix(digits.trim_start_matches("0x"), 16).ok());
            Ok(height.is_some_and(|height| height >= head).then_some(()))
        })?;
        self.say(&format!("Validator {victim} was started again and has block {head} and all before it."));
        Ok(ran.seconds)
    }

    /// Until the seats count.
    fn until_seated(&mut self) -> Result<()> {
        let (border, mut told) = (self.border, Instant::now());
        self.act("The lot needs seats");
        wait_for("the first epoch with seats begins", EPOCH_MAX, || {
            let head = self.node.head()?;
            if told.elapsed() >= NEWS {
                told = Instant::now();
                println!("  block {head} of {border}");
            }
            Ok((head >= border).then_some(()))
        })?;
        self.say(&format!("Block {border} is there: the {} seats are drawn from now on.", CHECKERS.count()));
        Ok(())
    }

    /// One job over four providers, one of which dies in the middle.
    fn map(&mut self) -> Result<Mapped> {
        self.act("Meanwhile: one job over four providers, one of which dies");
        let mut running = self.desk.map()?;
        let desk = &self.desk;
        running.until("number 7 has been paid for some units", JOB_MAX, |_| Ok(desk.settled(MORTAL)? > 0))?;
        self.cast.kill(MORTAL)?;
        self.say(&format!("Number {MORTAL} is dead (kill -9), with units under way."));
        let desk = &self.desk;
        running.until("the customer notices", SOON, |_| {
            Ok(desk.has_happened("lease-ended", MORTAL)? || desk.has_happened("lost", MORTAL)?)
        })?;
        self.say("The customer has noticed: what it had not delivered goes to others. It is started again, for what it had earned before.");
        self.cast.restart(MORTAL)?;
        let ran = running.finish(JOB_MAX)?;
        let mapped = self.mapped("sha256-search")?;
        let (steps, count) = (mapped.units, MAPPERS.len());
        self.say(&format!("All {steps} units are done by {count} providers after {:.0} s, each paid once; the dead one has what it had earned.", ran.seconds));
        Ok(mapped)
    }

    /// A map that is over: each unit is paid once, and nothing else.
    fn mapped(&self, folder: &str) -> Result<Mapped> {
        let mapped = Mapped::read(&self.desk.folder(folder))?;
        let mut steps = 0_u64;
        for part in &mapped.parts {
            steps = steps.saturating_add(part.steps);
            let due_wei = part.price_wei.checked_mul(u128::from(part.steps)).ok_or_else(|| eyre!("odd price"))?;
            ensure!(
                part.claimed_wei == due_wei,
                "{} took {} from its channel for {} units, not {}",
                part.account,
                kst(part.claimed_wei),
                part.steps,
                kst(due_wei)
            );
        }
        ensure!(steps == mapped.units, "{steps} units are paid, the job has {}", mapped.units);
        Ok(mapped)
    }

    /// The end of the map whose windows strangers checked.
    fn checked(&mut self, running: Running) -> Result<Mapped> {
        self.act("Strangers have checked the windows of a job over two providers");
        let ran = running.finish(WINDOW_MAX)?;
        let mapped = self.mapped(CHECKED_MAP)?;
        let units = mapped.units;
        ensure!(ran.said.contains("Audit: verified: "), "nobody but its customer checked the map");
        self.say(&format!("All {units} units were run again by machines drawn by lot, and found right, before the providers were paid."));
        Ok(mapped)
    }

    /// The end of the audited order: the cheat is convicted, somebody else does the job.
    fn convict(&mut self, mut running: Running) -> Result<Line> {
        self.act("The cheat is convicted");
        running.until_said("is convicted", WINDOW_MAX)?;
        self.say("A checker drawn by lot found the unit wrong, two others of another hardware class found the same, and nobody appealed for a minute: the bond behind the order is slashed, the price went back, and the customer's program orders from the next one.");
        let ran = running.finish(WINDOW_MAX)?;
        let order = Order::read(&self.desk.folder("audited"))?;
        let cheat = account(CHEAT)?;
        let [(number, provider, status)] = order.failed.as_slice() else {
            bail!("one order was to fail: {order:?}");
        };
        ensure!(
            status == "convicted" && provider.eq_ignore_ascii_case(cheat),
            "order {number} of {provider} is {status}: it was to be convicted"
        );
        ensure!(
            order.status == "audited" && order.assurance == "verified",
            "the second order was to be verified by strangers: {order:?}"
        );
        ensure!(ran.said.contains("CONVICTED") || ran.said.contains("is convicted"), "the customer was not told");
        Ok(Line { recipe: "align, audited", seconds: ran.seconds, order })
    }

    /// Every certificate, verified offline by a process of its own; those of the audited order in full.
    fn certificates(&mut self, lines: &[Line], audited: &Line) -> Result<()> {
        self.act("Every result has a certificate that anybody can check offline");
        let key = self.network.network_key()?;
        println!(
            "  {:<15} {:<14} {:>6} {:>8} {:>12}  {:<9} {:<28} verdict",
            "job", "class", "units", "seconds", "paid", "order", "checked by others"
        );
        for line in lines.iter().chain([audited]) {
            let folder = if line.recipe == audited.recipe { "audited" } else { line.recipe };
            let said = self.verify(&self.desk.folder(folder).join("certificate.json"), &key)?;
            let (order, verdict) = (&line.order, said.lines().next().unwrap_or_default().to_owned());
            println!(
                "  {:<15} {:<14} {:>6} {:>8.1} {:>12}  {:<9} {:<28} {verdict}",
                line.recipe,
                order.class,
                order.units,
                line.seconds,
                kst(order.paid_wei),
                order.number,
                order.assurance
            );
        }
        let failed = audited.order.failed.first().map(|(number, ..)| number.as_str()).unwrap_or_default();
        let conviction = self.desk.folder("audited").join(format!("convicted-{failed}.json"));
        for (title, path, words) in [
            (
                "The certificate of the cheat's order says:",
                conviction,
                ["the provider is convicted", "nothing is paid"],
            ),
            (
                "The certificate of the order that replaced it says:",
                self.desk.folder("audited").join("certificate.json"),
                ["drawn by lot", "are paid: final"],
            ),
            (
                "The certificate of the map that strangers checked says:",
                self.desk.folder(CHECKED_MAP).join("certificate.json"),
                ["drawn by lot", "steps stand in"],
            ),
        ] {
            println!("\n{title}");
            let said = self.verify(&path, &key)?;
            said.lines().for_each(|line| println!("  {line}"));
            for word in words {
                ensure!(said.contains(word), "a certificate does not say {word:?}");
            }
        }
        Ok(())
    }

    /// What `keystead verify` says of a proved certificate; anything else is an error.
    fn verify(&self, certificate: &Path, key: &str) -> Result<String> {
        let mut command = Command::new(&self.desk.keystead);
        command.arg("verify").arg(certificate).args(["--network-key", key]).stdin(Stdio::null());
        let output = command.output().wrap_err("cannot start `keystead verify`")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.starts_with("proved"), "`{}`: {said}{errors}", show(&command));
        Ok(said)
    }

    fn books(&mut self, orders: &[Order], audited: &Order, maps: &[Mapped]) -> Result<Slash> {
        self.act("The books");
        let Desk { keystead, url, .. } = &self.desk;
        let genesis = self.network.genesis();
        let books = Books { keystead, url, node: self.node, genesis, orders, audited, maps };
        books.judge()
    }
}

fn heading(begin: Instant, act: u32, title: &str) {
    println!("\n{act}. {title}  [{:.0} s]", begin.elapsed().as_secs_f64());
}

/// A process that ends with its act.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::cast::CAREFUL, *};

    #[test]
    fn options_are_read_and_what_is_unknown_is_refused_with_what_there_is() {
        let options = Options::parse(&["--keystead", "target/debug/keystead", "--keep"]).unwrap();
        assert!(options.keep && options.keystead.is_some());
        assert!(!Options::parse(&[]).unwrap().keep);
        assert!(Options::parse(&["--kep"]).unwrap_err().to_string().contains("--keep and --keystead FILE"));
        assert!(Options::parse(&["--keystead"]).is_err());
    }

    #[test]
    fn the_customer_of_the_audit_is_nobody_who_checks() {
        assert!(!CHECKERS.contains(&CAREFUL) && !CHECKERS.contains(&CHEAT));
    }
}
