//! Bands as a person reads them: "at least 40 Gop/s, 2 GiB".

use keystead_market::band::Bands;

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
