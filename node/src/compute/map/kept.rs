//! Where the outputs of a map lie in its folder, for whoever holds them against a certificate: nothing is opened here, and nothing is written.
//!
//! # Design
//! The [`journal`](super::journal) says of each state that was paid for where it lies. A process that goes on with a map reads the whole state of the map from
//! it, and cuts a torn end; here only the places are read, line by line, and a torn end is passed over.

pub(crate) use super::journal::Place;
use super::journal::{BYTES_MAX, Entry, LINE_MAX, whole};
use eyre::{Context as _, Result, ensure, eyre};
use std::io::{BufRead, Read as _};

/// The journal's name in the folder of a map.
pub(crate) const JOURNAL_FILE: &str = "journal";
/// Where the states lie one after the other.
pub(crate) const OUTPUTS_FILE: &str = "outputs";

/// Shows each state that a journal tells of, in the order in which they were paid. `journal` may be anything; a line of it is held at a time.
///
/// # Errors
/// It is longer than a journal is, or a line that has an end is none that was written.
pub(crate) fn states(journal: impl BufRead, mut see: impl FnMut(Place)) -> Result<()> {
    let mut journal = journal.take(BYTES_MAX.saturating_add(1));
    let (mut line, mut bytes) = (Vec::new(), 0_u64);
    for number in 1_u64.. {
        line.clear();
        let got = journal.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).wrap_err("it cannot be read")?;
        bytes = bytes.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
        ensure!(bytes <= BYTES_MAX, "it is too large: max_bytes={BYTES_MAX}");
        if !line.ends_with(b"\n") {
            ensure!(
                u64::try_from(got).is_ok_and(|got| got < LINE_MAX),
                "line {number} is too long: max_bytes={LINE_MAX}"
            );
            // The end, or an append that was cut short.
            break;
        }
        let json = whole(&line).ok_or_else(|| eyre!("line {number} is not what was written"))?;
        // Whoever wrote the line chose the words that the error would repeat.
        let entry: Entry = serde_json::from_slice(json)
            .map_err(|error| eyre!("line {number} is unknown, at the {}th byte of its JSON", error.column()))?;
        if let Entry::Settled(settled) = entry {
            settled.states.into_iter().for_each(&mut see);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::{
        super::journal::{Journal, Settled, sum},
        *,
    };
    use alloy_primitives::Bytes;
    use keystead_job::blob_hash;
    use keystead_lease::Provider;
    use std::{fs, path::Path};

    /// Writes a journal and outputs as a map leaves them: the states of the units, each with how many segments led to it.
    pub(crate) fn write(folder: &Path, states: &[(u32, u32, &[u8])]) {
        let (journal, _) = Journal::open(&folder.join(JOURNAL_FILE)).unwrap();
        journal.append(&Entry::Began { first_lease: 1 }).unwrap();
        let mut bytes = Vec::new();
        for (lease, (unit, done, state)) in (1_u64..).zip(states) {
            let (offset, length) = (bytes.len() as u64, state.len() as u64);
            bytes.extend_from_slice(state);
            let place = Place { unit: *unit, done: *done, offset, length, name: blob_hash(state) };
            journal.append(&settled(lease, vec![place])).unwrap();
        }
        journal.append(&Entry::Done).unwrap();
        fs::write(folder.join(OUTPUTS_FILE), bytes).unwrap();
    }

    /// Has the journal tell of more states, wherever they lie.
    pub(crate) fn more(folder: &Path, states: Vec<Place>) {
        let (journal, _) = Journal::open(&folder.join(JOURNAL_FILE)).unwrap();
        journal.append(&settled(1_000, states)).unwrap();
    }

    fn settled(lease: u64, states: Vec<Place>) -> Entry {
        let (provider, payer, window) = (Provider(0), Bytes::new(), None);
        Entry::Settled(Settled { lease, provider, steps: 1, checked: 0, unchecked: false, states, payer, window })
    }

    fn seen(journal: &[u8]) -> Result<Vec<(u32, u64)>> {
        let mut seen = Vec::new();
        states(journal, |place| seen.push((place.unit, place.offset)))?;
        Ok(seen)
    }

    #[test]
    fn every_state_of_a_journal_is_shown_a_torn_end_is_passed_over_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(1, 1, b"one"), (0, 1, b"zero"), (1, 1, b"again")]);
        let journal = fs::read(folder.path().join(JOURNAL_FILE)).unwrap();
        let all: [(u32, u64); 3] = [(1, 0), (0, 3), (1, 7)];
        assert_eq!(seen(&journal).unwrap(), all);
        assert_eq!(seen(&journal[..journal.len() - 1]).unwrap(), all);
        assert!(seen(&[]).unwrap().is_empty());
        let mut changed = journal.clone();
        let second = journal.iter().position(|byte| *byte == b'\n').unwrap() + 30;
        changed[second] ^= 1;
        assert!(format!("{:#}", seen(&changed).unwrap_err()).contains("line 2 is not what was written"));
        let foreign = r#"{"\u001b[2Jfiles: equal":1}"#;
        let foreign = format!("{} {foreign}\n", sum(foreign.as_bytes()));
        let error = format!("{:#}", seen(foreign.as_bytes()).unwrap_err());
        assert!(error.starts_with("line 1 is unknown") && !error.contains("equal"), "{error}");
        let long = vec![b'x'; usize::try_from(LINE_MAX).unwrap() + 1];
        assert!(format!("{:#}", seen(&long).unwrap_err()).contains("line 1 is too long"));
    }
}
