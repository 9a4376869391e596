//! The outputs of a map as it leaves them: states one after the other, and a journal that says where each lies.

use super::{
    look::Found,
    plain::{Plain, name},
};
use crate::compute::map::kept::{JOURNAL_FILE, OUTPUTS_FILE, Place, states};
use alloy_primitives::B256;
use eyre::{Context as _, Result};
use keystead_job::limits::OUTPUT_BYTES_MAX;
use keystead_proof::{OutputHasher, Results};
use std::io::{Seek as _, SeekFrom};

/// Names the outputs of a map's units. Journal and states may be anything.
///
/// # Errors
/// The states cannot be read. What is wrong with them stands in the answer.
pub(super) fn read(journal: Plain, outputs: Plain, results: &Results) -> Result<Found> {
    let Plain { mut file, bytes } = outputs;
    let (mut places, mut end, mut foreign) = (Places::new(results), 0_u64, None);
    let told = states(journal.file, |place| {
        end = end.max(place.offset.saturating_add(place.length));
        if !places.take(place) {
            foreign.get_or_insert(place.unit);
        }
    });
    if let Err(error) = told {
        return Ok(Found::unusable(format!("{JOURNAL_FILE} is damaged, which says where each output lies: {error:#}")));
    }
    let mut found = Found::default();
    if let Some(unit) = foreign {
        found.faults.push(format!("{JOURNAL_FILE} tells of a unit that the job does not have: unit={unit}"));
    }
    if bytes != end {
        found.faults.push(format!(
            "{OUTPUTS_FILE} has another size than {JOURNAL_FILE} says: got_bytes={bytes} expected_bytes={end}"
        ));
    }
    let chosen = || places.chosen.iter().flatten();
    // No two of them share a byte, so all together are no longer than the file: who says otherwise could have the same bytes read for ever.
    let held = |place: &Place| place.length.min(bytes.saturating_sub(place.offset));
    if chosen().map(held).fold(0, u64::saturating_add) > bytes {
        return Ok(Found::unusable(format!("{JOURNAL_FILE} says of some outputs that they lie in the same place")));
    }
    let mut joined = OutputHasher::default();
    for place in &places.chosen {
        let named = match place {
            Some(place) if place.length <= OUTPUT_BYTES_MAX && place.offset <= bytes => {
                let sought = file.seek(SeekFrom::Start(place.offset));
                sought.and_then(|_| name(&mut file, place.length, &mut joined))
            }
            _ => Ok(None),
        };
        found.names.push(named.wrap_err_with(|| format!("cannot read {OUTPUTS_FILE}"))?);
    }
    let lengths: Vec<u64> = chosen().map(|place| place.length).collect();
    found.join(lengths, &joined);
    Ok(found)
}

/// Where the output of each unit lies.
struct Places {
    /// Names that are proved, if they are known one by one.
    expected: Vec<B256>,
    chosen: Vec<Option<Place>>,
}

impl Places {
    fn new(results: &Results) -> Self {
        let expected = match results {
            Results::Names(names) => names.iter().map(|output| output.name).collect(),
            Results::Root { .. } => Vec::new(),
        };
        let units = usize::try_from(results.units()).unwrap_or(usize::MAX);
        Self { expected, chosen: vec![None; units] }
    }

    /// Of the states of a unit the one with the proved name counts, else the newest of those that came farthest: a unit that was thrown away is done again.
    /// Whether there is such a unit.
    fn take(&mut self, place: Place) -> bool {
        let Ok(unit) = usize::try_from(place.unit) else { return false };
        let expected = self.expected.get(unit);
        let Some(chosen) = self.chosen.get_mut(unit) else { return false };
        let is_better = chosen.is_none_or(|chosen| {
            let is_proved = |place: &Place| Some(&place.name) == expected;
            is_proved(&place) || !is_proved(&chosen) && place.done >= chosen.done
        });
        if is_better {
            *chosen = Some(place);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::plain, *};
    use crate::compute::map::kept::tests::{more, write};
    use keystead_proof::{NamedOutput, output_hash, result_root};
    use std::{fs, path::Path};

    fn names(outputs: &[&[u8]]) -> Results {
        let named = |output: &&[u8]| NamedOutput { name: output_hash(output), is_covered: true };
        Results::Names(outputs.iter().map(named).collect())
    }

    fn found(folder: &Path, results: &Results) -> Found {
        let open = |name: &str| plain::open(&folder.join(name)).unwrap().unwrap();
        read(open(JOURNAL_FILE), open(OUTPUTS_FILE), results).unwrap()
    }

    fn some(outputs: &[&[u8]]) -> Vec<Option<B256>> {
        outputs.iter().map(|output| Some(output_hash(output))).collect()
    }

    /// Two segments a unit; unit 1 was done twice, as when its first provider was convicted.
    fn states() -> Vec<(u32, u32, &'static [u8])> {
        vec![(1, 1, b"half"), (1, 2, b"wrong"), (0, 1, b"half"), (0, 2, b"zero"), (1, 1, b"half"), (1, 2, b"one")]
    }

    #[test]
    fn the_last_state_of_each_unit_is_its_output_and_the_proved_one_before_any_other() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &states());
        let both: [&[u8]; 2] = [b"zero", b"one"];
        let right = found(folder.path(), &names(&both));
        assert_eq!((right.names, right.faults), (some(&both), Vec::new()));
        assert_eq!(right.joined, Some((7, output_hash(b"zeroone"))));
        // Whose names are not known one by one: the newest.
        let root = Results::Root { root: result_root(both.map(output_hash)), units: 2 };
        assert_eq!(found(folder.path(), &root).names, some(&both));
        let older: [&[u8]; 2] = [b"zero", b"wrong"];
        assert_eq!(found(folder.path(), &names(&older)).names, some(&older));
        // A unit of which nothing was done, and one that there is none of.
        let three: [&[u8]; 3] = [b"zero", b"one", b"two"];
        assert_eq!(found(folder.path(), &names(&three)).names.last(), Some(&None));
        let foreign = found(folder.path(), &names(&[b"zero"]));
        assert_eq!(foreign.faults, ["journal tells of a unit that the job does not have: unit=1"]);
    }

    #[test]
    fn states_that_are_cut_short_or_have_more_are_read_as_far_as_they_go() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &states());
        let both = names(&[b"zero", b"one"]);
        let path = folder.path().join(OUTPUTS_FILE);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, whole.get(..whole.len().saturating_sub(1)).unwrap()).unwrap();
        let cut = found(folder.path(), &both);
        assert_eq!(cut.names, [Some(output_hash(b"zero")), None]);
        assert_eq!(cut.faults, ["outputs has another size than journal says: got_bytes=23 expected_bytes=24"]);
        fs::write(&path, [whole.as_slice(), b"!"].concat()).unwrap();
        let more = found(folder.path(), &both);
        assert_eq!((more.names, more.faults.len()), (some(&[b"zero", b"one"]), 1));
        fs::write(&path, b"").unwrap();
        assert_eq!(found(folder.path(), &both).names, [None, None]);
    }

    /// A file whose bytes are said to be all outputs, again and again.
    #[test]
    fn places_that_overlap_are_not_read_and_an_empty_output_at_the_end_is_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(0, 1, b"zero"), (1, 1, b"")]);
        assert_eq!(found(folder.path(), &names(&[b"zero", b""])).names, some(&[b"zero", b""]));
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[(0, 1, b"zero"), (1, 1, b"one!"), (2, 1, b"two!")]);
        let place = |unit| Place { unit, done: 2, offset: 0, length: 12, name: B256::ZERO };
        more(folder.path(), [0, 1].map(place).to_vec());
        let overlapping = found(folder.path(), &names(&[b"other", b"other", b"two!"]));
        assert!(overlapping.names.is_empty(), "{overlapping:?}");
        assert_eq!(overlapping.faults, ["journal says of some outputs that they lie in the same place"]);
    }

    #[test]
    fn a_journal_that_was_changed_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &states());
        let path = folder.path().join(JOURNAL_FILE);
        let changed = fs::read_to_string(&path).unwrap().replacen("\"offset\":0", "\"offset\":1", 1);
        fs::write(&path, changed).unwrap();
        let damaged = found(folder.path(), &names(&[b"zero", b"one"]));
        let fault = damaged.faults.first().unwrap();
        assert!(damaged.is_unusable && fault.contains("line 2 is not what was written"), "{fault}");
    }
}
