//! The options of `keystead service`.

use clap::{Args, ValueEnum};

/// Options of `keystead service`.
#[derive(Args, Debug)]
pub(crate) struct Service {
    /// Who starts it [default: what this system has, for this account].
    #[arg(long = "for", value_name = "SYSTEM")]
    pub(crate) system: Option<ServiceSystem>,
    /// Account that it runs as; for `systemd` only.
    #[arg(long, value_name = "NAME", default_value = "keystead")]
    pub(crate) account: String,
    /// Most memory of the provider and its workers, in MiB; systemd only [default: no bound here; what jobs may take is what `owner.toml` says].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(256..=16_777_216))]
    pub(crate) memory: Option<u64>,
    /// Write the file to its place instead of printing it. A file that is there and differs is kept, unless `--force` is given.
    #[arg(long)]
    pub(crate) install: bool,
    /// Replace a file that differs.
    #[arg(long, requires = "install")]
    pub(crate) force: bool,
    /// What `keystead provide` is started with, for instance `--dir keystead --rpc http://node:8545`.
    #[arg(last = true, required = true, value_name = "OPTIONS OF PROVIDE")]
    pub(crate) provide: Vec<String>,
}

/// What starts a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceSystem {
    /// A unit of this account's systemd: sees the owner's desktop, needs no rights.
    SystemdUser,
    /// A unit of the machine's systemd, under an account of its own: for servers.
    Systemd,
    /// An agent of this account's launchd (macOS).
    Launchd,
    /// A task that starts when this account logs in (Windows).
    Windows,
    /// A service that runs whether or not somebody is logged in, by WinSW (Windows): for servers, since it sees nobody's input.
    WindowsService,
}
