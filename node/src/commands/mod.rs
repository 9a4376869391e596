//! One module per subcommand.

mod bench;
mod bond;
mod canary;
mod completions;
#[cfg(feature = "validator")]
mod db;
#[cfg(feature = "validator")]
mod dev;
#[cfg(feature = "validator")]
mod follow;
#[cfg(feature = "validator")]
mod import;
#[cfg(feature = "validator")]
mod init;
mod map;
#[cfg(feature = "validator")]
mod node;
mod prove;
mod provide;
mod recipe;
mod run;
mod service;
#[cfg(feature = "validator")]
mod snapshot;
mod statement;
mod verify;
mod why_not;
mod worker;

use crate::cli::{Bench, Cli, Command, LogFormat};
use eyre::{Context as _, Result};
use std::{io::IsTerminal as _, process::ExitCode};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

/// What a shell reports of a program that the signal of a closed pipe ended (128 + 13).
const READER_GONE: i32 = 141;

/// Runs what was asked for; the code is the process's exit code.
///
/// # Errors
/// Whatever stopped the command, with the context to act on it.
pub(crate) fn dispatch(cli: Cli) -> Result<ExitCode> {
    if let Command::Worker(options) = cli.command {
        // Its standard error belongs to the job; there is nobody to log for.
        return Ok(worker::run(options));
    }
    start_logging(&cli.log, cli.log_format)?;
    if only_answers(&cli.command) {
        end_with_the_reader();
    }
    match cli.command {
        #[cfg(feature = "validator")]
        Command::Init(options) => init::run(&options),
        #[cfg(feature = "validator")]
        Command::Node(options) => node::run(&options),
        #[cfg(feature = "validator")]
        Command::Follow(options) => follow::run(&options),
        #[cfg(feature = "validator")]
        Command::Import(options) => import::run(&options),
        #[cfg(feature = "validator")]
        Command::Dev(options) => dev::run(&options),
        #[cfg(feature = "validator")]
        Command::Db(command) => db::run(&command),
        #[cfg(feature = "validator")]
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Verify(options) => verify::run(&options),
        Command::Provide(options) => provide::run(&options),
        Command::Service(options) => service::run(&options),
        Command::Prove(options) => prove::run(&options),
        Command::Bond(options) => bond::run(&options),
        Command::Canary(command) => canary::run(&command),
        Command::Run(options) => run::run(&options),
        Command::Statement(options) => statement::run(&options),
        Command::WhyNot(options) => why_not::run(&options),
        Command::Offers(options) => why_not::run_offers(&options),
        Command::Recipe(command) => recipe::run(&command),
        Command::Map(options) => map::run(options),
        Command::Worker(options) => Ok(worker::run(options)),
        Command::Bench(Bench::Load(options)) => bench::run(&options),
        Command::Bench(Bench::Peak(options)) => bench::run_peak(&options),
        Command::Completions(options) => completions::run(options.shell),
    }
}

/// Sees a command's work through, on threads of this name.
fn wait_for(name: &str, work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name(name).build();
    runtime.wrap_err("cannot start the runtime")?.block_on(work)
}

/// Whether a command asks something and ends: nothing is lost if nobody reads on, as in `keystead recipe list | head -3`.
const fn only_answers(command: &Command) -> bool {
    matches!(
        command,
        Command::Verify(_)
            | Command::Bond(_)
            | Command::Statement(_)
            | Command::WhyNot(_)
            | Command::Offers(_)
            | Command::Prove(_)
            | Command::Recipe(_)
            | Command::Completions(_)
    )
}

/// From here on a print to a reader that has gone ends the process without a word. The library's `println!` panics then, and this is the only place where
/// all of them pass.
#[allow(clippy::exit, reason = "the process is about to end by a panic")]
fn end_with_the_reader() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        if said.is_some_and(|said| said.starts_with("failed printing to stdout") && said.contains("os error 32")) {
            std::process::exit(READER_GONE);
        }
        before(panic);
    }));
}

fn start_logging(filter: &str, format: LogFormat) -> Result<()> {
    // The engine logs every view at info level; a person wants the blocks.
    let filter = match filter {
        plain @ ("error" | "warn" | "info") => {
            format!("{plain},commonware=warn,fjall=warn,lsm_tree=warn,iroh=warn,noq=error")
        }
        other => other.to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).wrap_err_with(|| format!("--log is not a filter: {filter}"))?;
    // Colours are for terminals: in a file they are noise.
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
