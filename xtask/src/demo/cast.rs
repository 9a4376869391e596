//! Who plays: ten well-known test accounts, of whom eight provide, each a process of its own.

use crate::{
    network::Network,
    parties::{Offer, Provider, wait_for},
    process::{ensure_uninterrupted, show},
};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use terminal::{PREFERENCES, Terminal};

/// The accounts that `keystead init` funds, by their number.
pub(super) const ACCOUNTS: [&str; 10] = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
    "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
    "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
    "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
    "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
];
/// The customer of the audited order.
pub(super) const CAREFUL: usize = 0;
/// Who checks others' work beside its own; who cheats, who dies, who is an owner that comes back.
pub(super) const CHECKERS: std::ops::RangeInclusive<usize> = 1..=5;
pub(super) const CHEAT: usize = 6;
pub(super) const MORTAL: usize = 7;
pub(super) const OWNER: usize = 8;
/// The customer of all other jobs.
pub(super) const CUSTOMER: usize = 9;

/// What a unit costs, and what it costs at the cheat, wei: so the cheat is ordered from first.
pub(super) const PRICE_WEI: u128 = 1_000_000_000_000_000;
pub(super) const CHEAT_PRICE_WEI: u128 = 500_000_000_000_000;
/// Bond of a checker: a seat, and something behind its own work. Of the cheat: all of it behind its work. KST.
const CHECKER_BOND_KST: u64 = 110;
const CHEAT_BOND_KST: u64 = 40;
/// How long a provider may be away before its customers' channels end, seconds: short, so that the demo is.
pub(super) const WATCH_SECONDS: &str = "20";
/// An owner's machine is free within this, as the product promises.
const YIELD_MAX: Duration = Duration::from_secs(1);
/// Work goes on within this once nobody types: the minute of [`PREFERENCES`], up to 20 s that each machine adds, and a busy machine.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// By this time between two saves the status shows that the preferences were read, seconds; 60 are usual.
const MARK_SECONDS: u64 = 59;
/// How long anything may take that should be there soon.
const SOON: Duration = Duration::from_secs(30);

/// What an account does here, in words.
pub(super) const fn role(number: usize) -> &'static str {
    match number {
        CAREFUL => "customer, careful",
        CHEAT => "provider, cheats",
        MORTAL => "provider, dies",
        OWNER => "provider, owner",
        CUSTOMER => "customer",
        _ => "provider, checker",
    }
}

pub(super) fn account(number: usize) -> Result<&'static str> {
    ACCOUNTS.get(number).copied().ok_or_else(|| eyre!("there is no test account {number}"))
}

/// The number of an account, if it is one of the ten.
pub(super) fn number(account: &str) -> Option<usize> {
    ACCOUNTS.iter().position(|known| known.eq_ignore_ascii_case(account))
}

/// How an owner came back, and what came of it.
pub(super) struct Return {
    /// It typed at a terminal; else it had to say so, since this machine does not show its input to a provider, or shows somebody else's too.
    pub(super) typed: bool,
    /// How long it waited for its machine.
    pub(super) waited: Duration,
    /// Why nothing ran then, as the status says.
    pub(super) why: String,
    /// How long after that the work went on.
    pub(super) away: Duration,
    /// Whether it went on by itself, or only once it was told to, since somebody else types at this machine.
    pub(super) alone: bool,
}

/// The eight providers.
pub(super) struct Cast {
    keystead: PathBuf,
    url: String,
    home: PathBuf,
    /// At which the owner types; none if this machine opens none.
    terminal: Option<Terminal>,
    /// Whether a provider sees that, and nobody else who types: then the owner says nothing.
    types: bool,
    providers: BTreeMap<usize, Provider>,
}

impl Cast {
    /// Starts all at once, and waits until the last one takes orders.
    pub(super) fn start(keystead: &Path, network: &Network, home: &Path) -> Result<Self> {
        let (keystead, home) = (keystead.to_owned(), home.join("providers"));
        fs::create_dir_all(&home)?;
        // Before anybody looks for input: a terminal that opens later is somebody who comes.
        let terminal = Terminal::open(&home).and_then(|terminal| terminal.read("1 hour ago").map(|()| terminal));
        let terminal = terminal.inspect_err(|error| println!("  The owner has no terminal: {error}")).ok();
        let mut cast =
            Self { keystead, url: network.url(0)?, home, terminal, types: false, providers: BTreeMap::new() };
        for number in 1..=8 {
            let provider = cast.spawn(number)?;
            cast.providers.insert(number, provider);
        }
        for (number, provider) in &mut cast.providers {
            provider.ready().wrap_err_with(|| format!("provider {number}"))?;
        }
        Ok(cast)
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.home.join(number.to_string())
    }

    fn spawn(&self, number: usize) -> Result<Provider> {
        let price_wei = if number == CHEAT { CHEAT_PRICE_WEI } else { PRICE_WEI };
        let mut more: Vec<String> =
            ["--compute", "always", "--watch-seconds", WATCH_SECONDS, "--price"].map(str::to_owned).into();
        more.push(price_wei.to_string());
        if number == CHEAT {
            more.extend(["--fault-seed", "7"].map(str::to_owned));
        }
        let account = Some(u32::try_from(number)?);
        let offer = Offer { keystead: &self.keystead, url: &self.url, account, more };
        Provider::spawn(&offer, &self.folder(number))
    }

    pub(super) fn provider(&mut self, number: usize) -> Result<&mut Provider> {
        self.providers.get_mut(&number).ok_or_else(|| eyre!("there is no provider {number}"))
    }

    /// Bonds of the checkers and of the cheat, and the checkers' seats: each account's one after the other, all accounts at once.
    pub(super) fn bond(&self) -> Result<()> {
        let bond = |number: usize, words: &[&str]| {
            let mut command = Command::new(&self.keystead);
            command.args(["bond", "--dev-account", &number.to_string(), "--rpc", &self.url, "--dir"]);
            command.arg(self.folder(number)).args(words).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let (seated, behind) = (CHECKER_BOND_KST.to_string(), CHEAT_BOND_KST.to_string());
        let deposits = CHECKERS.map(|number| bond(number, &["deposit", &seated]));
        together(deposits.chain([bond(CHEAT, &["deposit", &behind])]))?;
        // All stand on one machine, so each states another hardware class: a second look must come from another one.
        together(CHECKERS.map(|number| bond(number, &["seat", "1", "--hardware", &number.to_string()])))
    }

    /// Kills a provider without a chance to save anything.
    pub(super) fn kill(&mut self, number: usize) -> Result<()> {
        self.provider(number)?.kill();
        Ok(())
    }

    /// Starts it again in its folder, and waits until it takes orders.
    pub(super) fn restart(&mut self, number: usize) -> Result<()> {
        let mut provider = self.spawn(number)?;
        provider.ready().wrap_err_with(|| format!("provider {number}"))?;
        self.providers.insert(number, provider);
        Ok(())
    }

    /// What an owner says in another terminal: `keystead provide --pause` and its like.
    fn tell(&self, number: usize, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.keystead);
        command.args(["provide", "--dir"]).arg(self.folder(number)).args(words).stdin(Stdio::null());
        println!("  $ {}", show(&command));
        heard(command)
    }

    /// What the status says, without a line for each look.
    fn status(&self, number: usize) -> Result<Value> {
        let mut command = Command::new(&self.keystead);
        command.args(["provide", "--dir"]).arg(self.folder(number)).arg("--status").stdin(Stdio::null());
        serde_json::from_str(&heard(command)?).wrap_err("odd status")
    }

    /// The owner of a machine that works wants it, and leaves again.
    pub(super) fn interrupt_work(&mut self, number: usize) -> Result<Return> {
        let provider = self.provider(number)?;
        let works = wait_for("the owner's machine works", SOON, || Ok(provider.worker()));
        if works.is_err() && self.types {
            println!("  Somebody else is at this machine after all: its owner says so instead of typing.");
            self.types = false;
            self.ignore_input(number)?;
        }
        let provider = self.provider(number)?;
        wait_for("the owner's machine works", SOON, || Ok(provider.worker()))?;
        let typed = self.types;
        match self.terminal.as_ref().filter(|_| typed) {
            Some(terminal) => terminal.read("now")?,
            None => {
                self.tell(number, &["--pause"])?;
            }
        }
        let said = Instant::now();
        let provider = self.provider(number)?;
        wait_for("the owner has the machine", SOON, || Ok(provider.worker().is_none().then_some(())))?;
        let waited = said.elapsed();
        ensure!(waited <= YIELD_MAX, "the owner waited {waited:?}, longer than {YIELD_MAX:?}");
        wait_for("the provider says that it paused", SOON, || {
            Ok(provider.has_said("run paused for the owner")?.then_some(()))
        })?;
        let begins = if typed { "paused: the machine is in use" } else { "paused: you paused" };
        let why = wait_for("the status says why", SOON, || {
            let status = self.status(number)?;
            let why = status.get("headline").and_then(Value::as_str).unwrap_or_default();
            Ok(why.starts_with(begins).then(|| why.to_owned()))
        })?;
        if !typed {
            self.tell(number, &["--resume"])?;
        }
        let provider = self.provider(number)?;
        let alone = wait_for("the work goes on", IDLE_MAX, || Ok(provider.worker())).is_ok();
        let mut away = said.elapsed();
        if typed {
            // Who else comes to this machine later is no part of the story.
            self.ignore_input(number)?;
        }
        if !alone {
            ensure!(typed, "the work did not go on within {IDLE_MAX:?}");
            let provider = self.provider(number)?;
            wait_for("the work goes on beside whoever types", SOON, || Ok(provider.worker()))?;
            away = said.elapsed();
        }
        Ok(Return { typed, waited, why, away, alone })
    }

    /// From now on a provider works whoever types.
    fn ignore_input(&self, number: usize) -> Result<()> {
        self.prefer(number, &anybody())?;
        self.tell(number, &["--compute", "always", "--status"]).map(drop)
    }

    /// Has a provider look for its owner's input from now on, if it sees that nobody is there and would work.
    pub(super) fn await_owner(&mut self, number: usize) -> Result<()> {
        if self.terminal.is_none() {
            return Ok(());
        }
        self.prefer(number, &anybody())?;
        self.tell(number, &["--compute", "auto", "--status"])?;
        self.prefer(number, &format!("{PREFERENCES}[disk]\ncheckpoint_seconds = {MARK_SECONDS}\n"))?;
        let status = wait_for("the owner's preferences hold", SOON, || {
            let status = self.status(number)?;
            let mark = status.pointer("/bounds/checkpoint_s").and_then(Value::as_u64);
            Ok((mark == Some(MARK_SECONDS)).then_some(status))
        })?;
        let runs = status.pointer("/cpu/run").and_then(Value::as_bool) == Some(true);
        let is_empty = status.get("in_use").and_then(Value::as_bool) == Some(false);
        self.types = runs && is_empty;
        if self.types {
            return Ok(());
        }
        let why = status.get("headline").and_then(Value::as_str).unwrap_or_default();
        println!("  Nobody can play an owner who types here ({why}): it says so instead.");
        self.ignore_input(number)
    }

    /// What the owner says in its preferences; the provider reads them within a second.
    fn prefer(&self, number: usize, preferences: &str) -> Result<()> {
        fs::write(self.folder(number).join("owner.toml"), preferences).wrap_err("cannot write an owner's preferences")
    }
}

/// Runs a command that must succeed; what it says.
fn heard(mut command: Command) -> Result<String> {
    let output = command.output().wrap_err("cannot start `keystead provide`")?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "`{}` failed: {said}", show(&command));
    Ok(said)
}

/// [`PREFERENCES`] of an owner who does not mind work beside its own.
fn anybody() -> String {
    PREFERENCES.replacen("cpu = false", "cpu = true", 1)
}

/// Runs commands at the same time; each must succeed.
fn together(commands: impl Iterator<Item = Command>) -> Result<()> {
    let mut started = Vec::new();
    for mut command in commands {
        let shown = show(&command);
        println!("  $ {shown}");
        started.push((command.spawn().wrap_err_with(|| format!("cannot start `{shown}`"))?, shown));
    }
    for (child, shown) in started {
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    ensure_uninterrupted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_has_a_role_and_its_number_is_found_however_it_is_written() {
        for (index, account) in ACCOUNTS.iter().enumerate() {
            assert_eq!(number(&account.to_lowercase()), Some(index));
            assert!(role(index).starts_with(if index == CAREFUL || index == CUSTOMER {
                "customer"
            } else {
                "provider"
            }));
        }
        assert_eq!((number("0x00"), CHECKERS.count()), (None, 5));
        const { assert!(CHEAT_PRICE_WEI < PRICE_WEI) }
    }

    #[test]
    fn an_owner_minds_work_beside_its_own_or_not() {
        assert!(PREFERENCES.contains("[in_use]\ncpu = false\n") && anybody().contains("[in_use]\ncpu = true\n"));
        assert_eq!(anybody().matches("cpu = ").count(), 1);
    }
}
