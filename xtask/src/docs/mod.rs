//! `cargo xtask docs`: runs every fenced console block of the guides and compares what it prints with what the guide shows.
//!
//! # Design
//! A guide is one shell session in an empty folder, its blocks in order ([`session`]). Marks behind the word `console` say what a block is ([`guide`]):
//! `network`, it starts a network ([`started`]), whose lines for other terminals the session gets; `background`, its command keeps running;
//! `needs=PROGRAM`, it is skipped where the program is missing. `http://127.0.0.1:8545` of the text is that network, which listens on ports that are free.

mod guide;
mod session;
mod started;

use crate::{
    process::{build_workspace, quiet},
    tally::Tally,
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use guide::{Block, Mark};
use session::Session;
use started::Started;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Where the guides lie.
const GUIDES: &str = "docs/guides";
/// The address that guides show; the runner's network listens on another.
const SHOWN: &str = "http://127.0.0.1:8545";
/// One command may take so long.
const COMMAND_MAX: Duration = Duration::from_secs(60);
/// All guides together may: a reader's patience, and part of every test run.
const ALL_MAX: Duration = Duration::from_secs(240);
/// Where `tools` puts Foundry's cast.
const CAST: &str = "node/tests/tools/node_modules/@foundry-rs/cast-linux-amd64/bin";

/// Runs every guide, or those whose name contains `only`.
pub(crate) fn run(root: &Path, only: Option<&str>) -> Result<Tally> {
    let programs = build_workspace(root)?;
    let mut guides: Vec<PathBuf> = fs::read_dir(root.join(GUIDES))
        .wrap_err_with(|| format!("no {GUIDES}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| only.is_none_or(|only| path.display().to_string().contains(only)))
        .collect();
    guides.sort();
    ensure!(!guides.is_empty(), "no guide in {GUIDES} has this name");
    let start = Instant::now();
    let mut total = Tally::default();
    for path in &guides {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let begin = Instant::now();
        let text = fs::read_to_string(path).wrap_err_with(|| format!("cannot read {name}"))?;
        let blocks = guide::blocks(&text).map_err(|fault| eyre!("{name}:{fault}"))?;
        if guide::PATHS.iter().any(|guide| path.ends_with(guide)) {
            guide::is_short(&text, &blocks).map_err(|fault| eyre!("{name}: {fault}"))?;
        }
        let mut runner = Runner { root, programs: &programs, name: &name, session: None, network: None };
        let mut tally = Tally::default();
        for block in &blocks {
            ensure!(start.elapsed() < ALL_MAX, "the guides took longer than {ALL_MAX:?}: {name}:{}", block.line);
            match runner.block(block) {
                Ok(Outcome::Right) => tally.passed = tally.passed.saturating_add(1),
                Ok(Outcome::Skipped(reason)) => {
                    println!("skipped: {reason}");
                    tally.skipped.push(reason);
                }
                Err(error) => {
                    println!("{name}:{}: {error:#}", block.line);
                    tally.failed = tally.failed.saturating_add(1);
                    // What follows rests on it.
                    break;
                }
            }
        }
        println!("{name}: {tally} of {} blocks in {} s", blocks.len(), begin.elapsed().as_secs());
        total.add(tally);
    }
    Ok(total)
}

enum Outcome {
    Right,
    Skipped(String),
}

struct Runner<'a> {
    root: &'a Path,
    programs: &'a Path,
    name: &'a str,
    // Dropped in this order: what the guide started ends before its network.
    session: Option<Session>,
    network: Option<Started>,
}

impl Runner<'_> {
    fn block(&mut self, block: &Block) -> Result<Outcome> {
        if let Some(program) = block.marks.iter().find_map(Mark::needed).filter(|program| !self.has(program)) {
            return Ok(Outcome::Skipped(format!(
                "{} needs {program}, which is not here: line {}",
                self.name, block.line
            )));
        }
        if block.marks.contains(&Mark::Network) {
            ensure!(self.session.is_none(), "a network block must be the guide's first");
            let [command] = block.commands.as_slice() else { bail!("a network block has one command") };
            println!("$ {}", command.text);
            self.network = Some(Started::start(&command.text, self.root, self.programs)?);
            return Ok(Outcome::Right);
        }
        let network = self.network.as_ref().map(Started::url);
        for command in &block.commands {
            let text = network.as_ref().map_or_else(|| command.text.clone(), |url| command.text.replace(SHOWN, url));
            println!("$ {}", command.text);
            let session = self.session()?;
            let (printed, code) = if block.marks.contains(&Mark::Background) {
                (session.background(&text, &command.expected, COMMAND_MAX)?, 0)
            } else {
                session.run(&text, COMMAND_MAX)?
            };
            let printed = network.as_ref().map_or_else(|| printed.clone(), |url| printed.replace(url, SHOWN));
            ensure!(
                code == command.code,
                "line {}: `{}` ended with {code}, not {}:\n{printed}",
                command.line,
                command.text,
                command.code
            );
            let background = block.marks.contains(&Mark::Background);
            if let Err(difference) = guide::compare(&command.expected, &printed, background) {
                return Err(eyre!("line {}: `{}`: {difference}\nit printed:\n{printed}", command.line, command.text));
            }
        }
        Ok(Outcome::Right)
    }

    fn session(&mut self) -> Result<&mut Session> {
        if self.session.is_none() {
            let environment = [("PATH".to_owned(), self.path())];
            let mut session = Session::start(&environment)?;
            if let Some(network) = &self.network {
                let (printed, code) = session.run(&network.exports(), COMMAND_MAX)?;
                ensure!(code == 0 && printed.is_empty(), "what the network says to copy does not work: {printed}");
            }
            self.session = Some(session);
        }
        self.session.as_mut().ok_or_else(|| eyre!("no session"))
    }

    /// Where programs are found: beside a network its own lines say where `keystead` is.
    fn path(&self) -> String {
        let rest = std::env::var("PATH").unwrap_or_default();
        let tools = format!("{}:{rest}", self.root.join(CAST).display());
        if self.network.is_some() { tools } else { format!("{}:{tools}", self.programs.display()) }
    }

    fn has(&self, program: &str) -> bool {
        let found = quiet(Command::new("sh").args(["-c", "command -v -- \"$0\"", program]).env("PATH", self.path()));
        found.is_some_and(|path| !path.is_empty())
    }
}
