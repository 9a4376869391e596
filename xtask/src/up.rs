//! `cargo xtask up`: a development network of four validators, kept running until Ctrl-C.

use crate::{
    network,
    process::{run as run_command, show},
};
use eyre::{Context as _, Result, eyre};
use std::{
    path::Path,
    process::{Child, Command, ExitCode},
    thread,
    time::Duration,
};

/// How often the validators are looked after.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let keystead = network::build(root)?;
    let folder = tempfile::Builder::new().prefix("keystead-").tempdir()?;
    let network = folder.path().join("network");
    run_command(Command::new(&keystead).arg("init").arg("--out").arg(&network))?;
    let key = network::network_key(&network)?;
    let mut validators = Vec::new();
    for index in 0..4 {
        let mut command = Command::new(&keystead);
        command.arg("node").arg("--dir").arg(network.join(format!("validator-{index}")));
        println!("$ {}", show(&command));
        validators.push(command.spawn().wrap_err("cannot start a validator")?);
    }
    println!();
    println!("JSON-RPC: http://127.0.0.1:8545 (and 8546, 8547, 8548), chain id 19283");
    println!("try:      cast block-number --rpc-url http://127.0.0.1:8545");
    println!("in another terminal, so that `keystead` is found and knows whom to trust:");
    println!("  export PATH=\"{}:$PATH\"", keystead.parent().unwrap_or(root).display());
    println!("  export KEYSTEAD_NETWORK_KEY={key}");
    println!("stop:     Ctrl-C; the network's folder is removed");
    ignore_interrupt();
    watch(&mut validators)
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
