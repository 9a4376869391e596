//! Options of the proof of hardware.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Longest work of a proof of hardware, seconds.
pub(crate) const PROVE_SECONDS_MAX: u64 = 600;

/// When `keystead provide` proves its hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProveWhen {
    /// Before the first order and whenever the network asks, if the network has anybody who could check it.
    Auto,
    /// The same, whoever is there.
    Always,
    /// Never: the record has claims only.
    Never,
}

/// What a proof may take of the machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Proving {
    /// Memory to show in a proof of hardware, in MiB, of every device or as DEVICE=MIB of one (0 is the processor, 1 the graphics card): four fifths of it are
    /// filled, and customers see no more as proved. Name a card's memory to show all of it, if no other program needs it meanwhile. May be repeated
    /// [default: 256].
    #[arg(long, value_name = "[DEVICE=]MIB", value_parser = parse_memory)]
    pub(crate) prove_memory: Vec<(Option<u8>, u64)>,
    /// How long a proof of hardware shall work, about, in seconds, 1 to 600. Below 8 s or so the memory does not count.
    #[arg(long, value_name = "SECONDS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=PROVE_SECONDS_MAX))]
    pub(crate) prove_seconds: u64,
}

/// Memory of a device unless it is named, MiB: a first proof that costs a small machine little, and takes from no owner what other programs hold. Not a share of a
/// card: how much of one is free, or there at all, not every driver says (docs/hardware-proof.md).
const MEMORY_MIB: u64 = 256;

impl Proving {
    /// Memory to fill on a device, MiB: what was said last of it, else of every device.
    pub(crate) fn memory_mib(&self, device: u8) -> u64 {
        let of = |wanted: Option<u8>| self.prove_memory.iter().rev().find(|(named, _)| *named == wanted);
        of(Some(device)).or_else(|| of(None)).map_or(MEMORY_MIB, |(_, mib)| *mib)
    }
}

/// Options of `keystead prove`.
#[derive(Args, Debug)]
pub(crate) struct Prove {
    /// Check what this provider has published, against the chain and against the seats of its checkers.
    #[arg(long, value_name = "ACCOUNT", value_parser = super::values::address)]
    pub(crate) verify: Option<keystead_types::Address>,
    /// JSON-RPC address of a node, for `--verify`.
    #[arg(long, value_name = "URL", env = "KEYSTEAD_RPC", default_value = "http://127.0.0.1:8545")]
    pub(crate) rpc: String,
    #[command(flatten)]
    pub(crate) proving: Proving,
    /// Let workers read this file or folder too: a graphics driver in an unusual place. May be repeated.
    #[arg(long, value_name = "PATH")]
    pub(crate) worker_reads: Vec<PathBuf>,
}

fn parse_memory(text: &str) -> Result<(Option<u8>, u64), String> {
    let (device, mib) = match text.split_once('=') {
        Some((device, mib)) => (Some(device), mib),
        None => (None, text),
    };
    let device =
        device.map(|device| device.parse::<u8>().map_err(|_| format!("{device} is no device: 0 is the processor")));
    let mib = mib.parse::<u64>().ok().filter(|mib| (1..=1 << 30).contains(mib));
    let mib = mib.ok_or_else(|| format!("{text} names no memory in MiB: 1 to 1073741824, as in 256 or 1=24576"))?;
    Ok((device.transpose()?, mib))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn memory_is_said_for_one_device_or_for_all() {
        let said = ["64", "1=24576", "1=8"].map(|text| parse_memory(text).unwrap());
        let proving = Proving { prove_memory: said.to_vec(), prove_seconds: 1 };
        assert_eq!([0, 1, 2].map(|device| proving.memory_mib(device)), [64, 8, 64]);
        let silent = Proving { prove_memory: Vec::new(), prove_seconds: 1 };
        assert_eq!(silent.memory_mib(0), 256);
        for wrong in ["", "0", "x=4", "1=", "300=4", "4 GiB"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }
}
