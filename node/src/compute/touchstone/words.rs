//! Bands as a person reads them: "at least 40 Gop/s, 2 GiB".

use keystead_market::band::Bands;

/// Work that is shorter may show no memory, seconds: vectors take two blocks or so, and the products must take four times as long (specs/0010-capability.md §6.4).
const MEMORY_SECONDS_MIN: u64 = 8;

/// What was shown of a device. A band promises its least value.
pub(crate) fn bands(bands: Bands) -> String {
    let speed = bands.throughput.map(|band| speed(band.at_least()));
    let memory = bands.memory.map(|band| format!("{} filled", binary(band.at_least(), "MiB", "GiB")));
    let network = bands.bandwidth.map(|band| format!("{}/s to a checker", binary(band.at_least(), "KiB", "MiB")));
    let shown: Vec<String> = [speed, memory, network].into_iter().flatten().collect();
    if shown.is_empty() { "nothing yet".to_owned() } else { format!("at least {}", shown.join(", ")) }
}

/// Why the memory of a device does not count, if it does not.
pub(crate) fn without_memory(bands: Bands) -> Option<&'static str> {
    let none = bands.memory.is_none() && bands.throughput.is_some();
    none.then_some(
        "memory not shown: the work was over too soon to tell kept words from words made again (--prove-seconds)",
    )
}

/// What a proof fills of a device, beside what the record claims of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) device: u8,
    pub(crate) filled_mib: u64,
    /// How long that takes, seconds.
    pub(crate) filled_s: u64,
    pub(crate) claimed_mib: u64,
    /// Whether what is claimed is memory that nothing else on this machine uses.
    pub(crate) is_own: bool,
    /// How long a proof of all that is claimed would work, seconds; `None` if no proof can.
    pub(crate) whole_s: Option<u64>,
}

impl Share {
    /// What its owner should know; nothing if four fifths of what is claimed are filled, which is all that a proof asks for.
    pub(crate) fn sentence(self) -> Option<String> {
        let Self { device, filled_mib, filled_s, claimed_mib, is_own, whole_s } = self;
        if filled_mib.saturating_mul(5) >= claimed_mib.saturating_mul(4) {
            return None;
        }
        let (filled, claimed) = (binary(filled_mib, "MiB", "GiB"), binary(claimed_mib, "MiB", "GiB"));
        let short = if filled_s < MEMORY_SECONDS_MIN {
            format!(", perhaps none: {filled_s} s of work are too short to tell kept words from words made again")
        } else {
            String::new()
        };
        let more = match (is_own, whole_s) {
            (true, Some(seconds)) => format!(
                "--prove-memory {device}={claimed_mib} fills four fifths of it, in about {seconds} s, if that much is free; other programs \
                 cannot have it meanwhile"
            ),
            (true, None) => {
                format!("--prove-memory {device}=MIB fills more, though not all of it in the time of one proof")
            }
            (false, _) => {
                format!("--prove-memory {device}=MIB fills more, of the memory that every other program here uses, too")
            }
        };
        Some(format!(
            "device {device}: the record claims {claimed} of memory, a proof fills {filled}, and customers see no more than that as proved{short}. {more}"
        ))
    }
}

/// Millions of operations a second.
pub(crate) fn speed(mop_per_s: u64) -> String {
    match mop_per_s {
        0..=9_999 => format!("{mop_per_s} Mop/s"),
        10_000..=9_999_999 => format!("{} Gop/s", mop_per_s / 1_000),
        _ => format!("{} Top/s", mop_per_s / 1_000_000),
    }
}

fn binary(amount: u64, unit: &str, larger: &str) -> String {
    if amount < 1_024 { format!("{amount} {unit}") } else { format!("{} {larger}", amount / 1_024) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystead_market::band::Band;

    #[test]
    fn an_owner_hears_what_a_proof_does_not_show_and_what_would() {
        let card =
            Share { device: 1, filled_mib: 205, filled_s: 12, claimed_mib: 24_576, is_own: true, whole_s: Some(6) };
        let said = card.sentence().unwrap_or_default();
        assert!(said.starts_with("device 1: the record claims 24 GiB of memory, a proof fills 205 MiB, "), "{said}");
        assert!(
            said.contains("--prove-memory 1=24576 fills four fifths of it, in about 6 s, if that much is free"),
            "{said}"
        );
        assert!(said.contains("as proved. --prove-memory"), "{said}");
        let fast = Share { filled_s: 7, ..card }.sentence().unwrap_or_default();
        assert!(fast.contains("as proved, perhaps none: 7 s of work are too short"), "{fast}");
        let slow = Share { whole_s: None, ..card }.sentence().unwrap_or_default();
        assert!(slow.contains("--prove-memory 1=MIB") && slow.contains("not all of it"), "{slow}");
        // Of the processor nobody is told to fill all memory.
        let processor = Share { device: 0, is_own: false, ..card }.sentence().unwrap_or_default();
        assert!(processor.contains("0=MIB") && !processor.contains("0=24576"), "{processor}");
        // Four fifths are all that a proof asks for.
        assert_eq!(Share { filled_mib: 19_661, ..card }.sentence(), None);
        assert!(Share { filled_mib: 19_660, ..card }.sentence().is_some());
    }

    #[test]
    fn bands_are_said_as_what_they_promise() {
        let all = Bands { throughput: Band::of(40_000), memory: Band::of(2_048), bandwidth: Band::of(3_000) };
        assert_eq!(bands(all), "at least 32 Gop/s, 2 GiB filled, 2 MiB/s to a checker");
        assert_eq!(bands(Bands { throughput: Band::of(40), ..Bands::default() }), "at least 32 Mop/s");
        assert_eq!(bands(Bands::default()), "nothing yet");
        assert_eq!(speed(9_999_999), "9999 Gop/s");
        assert_eq!(speed(12_000_000), "12 Top/s");
        assert!(without_memory(Bands { throughput: Band::of(40), ..Bands::default() }).is_some());
        assert!(without_memory(all).is_none());
    }
}
