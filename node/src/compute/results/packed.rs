//! The outputs of an order as `keystead run --keep-outputs` leaves them: `be32(count) || be64(length) x count || bytes`.

use super::{
    FILE,
    look::Found,
    plain::{Plain, name},
};
use eyre::{Context as _, Result};
use keystead_job::limits::{OUTPUT_BYTES_MAX, UNIT_COUNT_MAX};
use keystead_proof::OutputHasher;
use std::io::{ErrorKind, Read};

/// Most parts: an output a unit, and of a job of several segments a list of states a unit.
const PARTS_MAX: u32 = 2 * UNIT_COUNT_MAX;
/// Bytes of the count and of a length.
const COUNT_BYTES: u64 = 4;
const LENGTH_BYTES: u64 = 8;

/// Names the outputs of a pack of a job of so many units, and the lists of states behind them, if there is one a unit. It may be anything; of what else is
/// behind the last unit only the length is read.
///
/// # Errors
/// It cannot be read. What is wrong with it stands in the answer.
pub(super) fn read(plain: Plain, units: u32) -> Result<Found> {
    let Plain { mut file, bytes } = plain;
    let named = || format!("cannot read {FILE}");
    let Some(count) = word::<4>(&mut file).wrap_err_with(named)?.map(u32::from_be_bytes) else {
        return Ok(Found::unusable(format!("{FILE} is too short to be a pack of outputs: got_bytes={bytes}")));
    };
    if count > PARTS_MAX {
        let fault = format!("{FILE} is no pack of outputs: got_parts={count} max_parts={PARTS_MAX}");
        return Ok(Found::unusable(fault));
    }
    let mut expected = COUNT_BYTES.saturating_add(LENGTH_BYTES.saturating_mul(count.into()));
    let mut lengths = Vec::new();
    for part in 0..count {
        let Some(length) = word::<8>(&mut file).wrap_err_with(named)?.map(u64::from_be_bytes) else {
            return Ok(Found::unusable(format!("{FILE} ends among its lengths: got_bytes={bytes}")));
        };
        if length > OUTPUT_BYTES_MAX {
            return Ok(Found::unusable(format!(
                "{FILE} has an output that is larger than one can be: part={part} got_bytes={length} max_bytes={OUTPUT_BYTES_MAX}"
            )));
        }
        expected = expected.saturating_add(length);
        lengths.push(length);
    }
    let mut found = Found::default();
    if bytes != expected {
        found.faults.push(format!("{FILE} has another size than it says: got_bytes={bytes} expected_bytes={expected}"));
    }
    let named_parts = if count == units.saturating_mul(2) { count } else { units };
    let (mut joined, mut lists) = (OutputHasher::default(), OutputHasher::default());
    for (part, length) in (0_u32..).zip(&lengths) {
        let joined = if part < units { &mut joined } else { &mut lists };
        let got = if part < named_parts { name(&mut file, *length, joined).wrap_err_with(named)? } else { None };
        found.names.push(got);
    }
    // What the outputs are together says nothing of the lists.
    lengths.truncate(units as usize);
    found.join(lengths, &joined);
    Ok(found)
}

/// The next bytes; `None` if the file ends before.
fn word<const N: usize>(from: &mut impl Read) -> std::io::Result<Option<[u8; N]>> {
    let mut word = [0; N];
    match from.read_exact(&mut word) {
        Ok(()) => Ok(Some(word)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::{super::plain, *};
    use alloy_primitives::B256;
    use keystead_blobs::stream::pack;
    use keystead_proof::output_hash;

    const OUTPUTS: [&[u8]; 3] = [b"first", b"", b"third"];

    fn names() -> Vec<Option<B256>> {
        OUTPUTS.iter().map(|output| Some(output_hash(output))).collect()
    }

    fn found(bytes: &[u8]) -> Found {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, bytes).unwrap();
        read(plain::open(&path).unwrap().unwrap(), 3).unwrap()
    }

    #[test]
    fn the_outputs_of_a_pack_are_named_in_unit_order_and_together() {
        let found = found(&pack::encode(&OUTPUTS));
        assert_eq!((found.names, found.faults), (names(), Vec::new()));
        assert_eq!(found.joined, Some((10, output_hash(b"firstthird"))));
    }

    #[test]
    fn a_pack_that_is_cut_short_or_has_more_is_read_as_far_as_it_goes_and_said_to_be_another() {
        let whole = pack::encode(&OUTPUTS);
        let cut = found(&whole[..whole.len() - 1]);
        assert_eq!(cut.names, [names()[0], names()[1], None]);
        assert_eq!(cut.faults, ["outputs.pack has another size than it says: got_bytes=37 expected_bytes=38"]);
        assert_eq!(cut.joined, None);
        let more = found(&[whole.as_slice(), b"!"].concat());
        assert_eq!((more.names, more.faults.len()), (names(), 1));
    }

    #[test]
    fn an_output_behind_the_last_unit_is_counted_and_not_read() {
        let found = found(&pack::encode(&[b"first".as_slice(), b"", b"third", b"fourth"]));
        assert_eq!((found.names, found.joined), ([names(), vec![None]].concat(), None));
        assert!(found.faults.is_empty(), "the comparison tells of it: {:?}", found.faults);
    }

    #[test]
    fn a_list_of_states_for_each_output_is_named_and_is_no_part_of_their_join() {
        let parts: [&[u8]; 6] = [b"first", b"", b"third", b"list 0", b"list 1", b"list 2"];
        let found = found(&pack::encode(&parts));
        assert_eq!(found.names, parts.map(|part| Some(output_hash(part))));
        assert_eq!((found.joined, found.faults), (Some((10, output_hash(b"firstthird"))), Vec::new()));
    }

    #[test]
    fn what_is_no_pack_is_not_read_on_and_never_believed_about_its_lengths() {
        let count = |count: u32| count.to_be_bytes();
        let cases = [
            (vec![0, 0], "too short to be a pack"),
            (count(PARTS_MAX + 1).to_vec(), "got_parts=131073 max_parts=131072"),
            (count(UNIT_COUNT_MAX).to_vec(), "ends among its lengths"),
            ([&count(1)[..], &[0xff; 8]].concat(), "larger than one can be: part=0"),
        ];
        for (bytes, words) in cases {
            let found = found(&bytes);
            assert!(found.is_unusable && found.names.is_empty(), "{words}");
            assert!(found.faults.iter().any(|fault| fault.contains(words)), "{:?}", found.faults);
        }
    }
}
