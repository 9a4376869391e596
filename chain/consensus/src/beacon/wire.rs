//! The message between members: partial signatures of one sender. The first byte is the purpose.
//!
//! Spec: specs/0007-beacon.md §3.

use super::Purpose;
use keystead_types::SIGNATURE_BYTES;

/// Partials in one message at most.
pub(crate) const ENTRIES_MAX: usize = 64;
const HEIGHT_BYTES: usize = 8;
const ENTRY_BYTES: usize = HEIGHT_BYTES + SIGNATURE_BYTES;
/// Longest message in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 + ENTRIES_MAX * ENTRY_BYTES;

/// A height and the sender's partial signature over it; nothing is checked.
pub(crate) type Entry = (u64, [u8; SIGNATURE_BYTES]);

const fn tag(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Beacon => 0,
    }
}

/// The message of these partials, the first [`ENTRIES_MAX`] of them.
pub(crate) fn encode(purpose: Purpose, entries: &[Entry]) -> Vec<u8> {
    let mut out = vec![tag(purpose)];
    for (height, partial) in entries.iter().take(ENTRIES_MAX) {
        out.extend_from_slice(&height.to_be_bytes());
        out.extend_from_slice(partial);
    }
    out
}

/// What a message says; `None` unless it has this form: a known purpose, 1 to [`ENTRIES_MAX`] entries, heights ascending.
pub(crate) fn decode(message: &[u8]) -> Option<(Purpose, Vec<Entry>)> {
    let (first, rest) = message.split_first()?;
    if *first != tag(Purpose::Beacon) || rest.is_empty() || message.len() > MESSAGE_BYTES_MAX {
        return None;
    }
    let (entries, left) = rest.as_chunks::<ENTRY_BYTES>();
    if !left.is_empty() {
        return None;
    }
    let entries: Vec<Entry> = entries.iter().map(entry).collect();
    entries.is_sorted_by(|a, b| a.0 < b.0).then_some((Purpose::Beacon, entries))
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Entry {
    let (mut height, mut partial) = ([0; HEIGHT_BYTES], [0; SIGNATURE_BYTES]);
    let targets = height.iter_mut().chain(&mut partial);
    targets.zip(bytes).for_each(|(to, from)| *to = *from);
    (u64::from_be_bytes(height), partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        for count in [1, 2, ENTRIES_MAX] {
            let entries: Vec<Entry> = (1..).map(|height| (height, [7; 48])).take(count).collect();
            assert_eq!(decode(&encode(Purpose::Beacon, &entries)), Some((Purpose::Beacon, entries)));
        }
        let many: Vec<Entry> = (1..).map(|height| (height, [7; 48])).take(ENTRIES_MAX + 1).collect();
        assert_eq!(encode(Purpose::Beacon, &many).len(), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn malformed_messages_are_refused() {
        let good = encode(Purpose::Beacon, &[(1, [7; 48]), (2, [8; 48])]);
        for cut in 0..good.len() {
            let prefix = good.get(..cut).unwrap_or_default();
            assert_eq!(decode(prefix).is_some(), cut == 1 + ENTRY_BYTES, "{cut}");
        }
        let mut other = good;
        other[0] = 1;
        assert_eq!(decode(&other), None, "an unknown purpose");
        for entries in [[(2, [7; 48]), (1, [7; 48])], [(2, [7; 48]), (2, [7; 48])]] {
            assert_eq!(decode(&encode(Purpose::Beacon, &entries)), None, "heights that do not ascend");
        }
        assert_eq!(decode(&[0; MESSAGE_BYTES_MAX + ENTRY_BYTES]), None);
    }
}
