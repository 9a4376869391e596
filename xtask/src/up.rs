//! `cargo xtask up`: a development network of four validators, kept running until Ctrl-C.

use crate::{
    network,
    process::{run as run_command, show},
};
use eyre::{Context as _, Result, bail, eyre};
use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
    thread,
    time::Duration,
};

/// How often the validators are looked after.
const LOOK: Duration = Duration::from_millis(500);

/// Validators of the network.
const COUNT: usize = 4;

/// What can be wished beside the usual; for whoever starts several, or has built the program already.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Ports that are free, instead of those that the guides name.
    free_ports: bool,
    /// This program instead of one that is built first.
    keystead: Option<PathBuf>,
    /// Ends when standard input does: for who holds its other end, so that nothing is left however it ends.
    until_eof: bool,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--free-ports" => options.free_ports = true,
                "--until-eof" => options.until_eof = true,
                "--keystead" => {
                    let file = words.next().ok_or_else(|| eyre!("--keystead needs a file"))?;
                    options.keystead = Some(PathBuf::from(file));
                }
                other => {
                    bail!("unknown option `{other}` of up: there are --free-ports, --until-eof and --keystead FILE")
                }
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(root: &Path, options: Options) -> Result<ExitCode> {
    let keystead = match options.keystead {
        Some(program) => program,
        None => network::build(root)?,
    };
    let folder = tempfile::Builder::new().prefix("keystead-").tempdir()?;
    let network = folder.path().join("network");
    let mut init = Command::new(&keystead);
    init.args(["init", "--validators", &COUNT.to_string()]);
    if options.free_ports {
        init.args(["--p2p-port", "0", "--rpc-port", "0"]);
    }
    run_command(init.arg("--out").arg(&network))?;
    let key = network::network_key(&network)?;
    let mut validators = Vec::new();
    let mut ports = Vec::new();
    for index in 0..COUNT {
        let mut command = Command::new(&keystead);
        let own = network.join(format!("validator-{index}"));
        command.arg("node").arg("--dir").arg(&own);
        ports.push(network::rpc_address(&own)?.port());
        println!("$ {}", show(&command));
        validators.push(command.spawn().wrap_err("cannot start a validator")?);
    }
    println!();
    let (first, others) = ports.split_first().ok_or_else(|| eyre!("a network without validators"))?;
    let others: Vec<String> = others.iter().map(u16::to_string).collect();
    println!("JSON-RPC: http://127.0.0.1:{first} (and {}), chain id 19283", others.join(", "));
    println!("try:      cast block-number --rpc-url http://127.0.0.1:{first}");
    println!("in another terminal, so that `keystead` is found and knows whom to trust:");
    println!("  export PATH=\"{}:$PATH\"", keystead.parent().unwrap_or(root).display());
    println!("  export KEYSTEAD_NETWORK_KEY={key}");
    if options.free_ports {
        println!("  export KEYSTEAD_RPC=http://127.0.0.1:{first}");
    }
    println!("stop:     Ctrl-C; the network's folder is removed");
    ignore_interrupt();
    if options.until_eof {
        thread::spawn(interrupt_at_end_of_input);
    }
    watch(&mut validators)
}

/// Ctrl-C for this process's group, once nobody holds the other end of standard input.
fn interrupt_at_end_of_input() {
    // What is read does not matter, nor why there is no more.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    // SAFETY: a signal to the own group, whose members are this process, which ignores it, and what it started.
    #[allow(unsafe_code, reason = "libc call")]
    unsafe {
        libc::kill(0, libc::SIGINT);
    }
}

/// Waits until the validators end: Ctrl-C reaches them too, since they share the terminal.
fn watch(validators: &mut [Child]) -> Result<ExitCode> {
    loop {
        let mut running = false;
        for (index, validator) in validators.iter_mut().enumerate() {
            match validator.try_wait()? {
                None => running = true,
                Some(status) if status.success() => {}
                Some(status) => return Err(eyre!("validator {index} ended: {status}")),
            }
        }
        if !running {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOK);
    }
}

/// Leaves Ctrl-C to the validators, which were started with the usual disposition; this process then cleans up.
fn ignore_interrupt() {
    // SAFETY: setting a signal's disposition to "ignore" runs no code of ours in a handler.
    #[allow(unsafe_code, reason = "libc call")]
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_option_is_refused_with_those_that_there_are() {
        let all = Options { free_ports: true, keystead: Some(PathBuf::from("k")), until_eof: true };
        assert_eq!(Options::parse(&["--keystead", "k", "--free-ports", "--until-eof"]).ok(), Some(all));
        assert_eq!(Options::parse(&[]).ok(), Some(Options::default()));
        for words in [&["--keystead"][..], &["--ports"], &["--free-ports", "k"]] {
            let refused = Options::parse(words).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains("--keystead"), "{words:?}: {refused}");
        }
    }
}
