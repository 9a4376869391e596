//! The words of channels and windows, out of one pool of trie nodes.
//!
//! Spec: specs/0002-proof-bundle.md §12, specs/0009-channel.md §8.

use super::{MapChannel, MapFault, Place};
use crate::{
    audit::{AUDIT_ADDRESS, AUDIT_WORDS, Audit, in_mapping, window_begins, window_of},
    report::Reason,
    trie::{PathError, descend},
    value,
};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};

/// Where contract `Channel` lives on every Keystead chain.
pub const CHANNEL_ADDRESS: Address = address!("4b53540000000000000000000000000000000006");

/// Slots of a channel that the certificate of a map proves.
pub const CHANNEL_SLOTS: usize = 6;

/// Slots of a channel's window in the audit: the window's eight words, and the two of its first draw.
pub const CHANNEL_WINDOW_SLOTS: usize = 10;

/// Storage slots of the mappings of channels and of their audits' terms.
const CHANNELS_SLOT: u64 = 1;
const TERMS_SLOT: u64 = 3;
/// Words of a channel that are proved: status, customer, provider, signer with the number.
const CHANNEL_WORDS: [u64; 4] = [0, 3, 4, 5];
/// Of its audit's terms: the job's hash, and the bond behind each window. A window keeps its own bond until it is closed, and not longer.
const TERMS_WORDS: [u64; 2] = [0, 3];

/// Where a field lies: word of [`channel_slots`], lowest bit, width in bits.
struct Field {
    word: usize,
    low: usize,
    bits: usize,
}

const STATUS: Field = Field { word: 0, low: 0, bits: 8 };
const AUDITED: Field = Field { word: 0, low: 8, bits: 8 };
const CUSTOMER: Field = Field { word: 1, low: 0, bits: 160 };
const PROVIDER: Field = Field { word: 2, low: 0, bits: 160 };
const ANNOUNCED: Field = Field { word: 2, low: 160, bits: 64 };
const NUMBER: Field = Field { word: 3, low: 160, bits: 64 };
const JOB_HASH: Field = Field { word: 4, low: 0, bits: 256 };
const BOND_WEI: Field = Field { word: 5, low: 0, bits: 128 };

/// Bits that the layout uses of each word, from the lowest.
const USED_BITS: [usize; CHANNEL_SLOTS] = [208, 224, 224, 224, 256, 128];

/// Highest status that the contract writes.
const STATUS_MAX: u64 = 5;

/// Slots of a channel in contract `Channel`, in the order in which they are read.
#[must_use]
pub fn channel_slots(channel: B256) -> [B256; CHANNEL_SLOTS] {
    let begin = |mapping: u64| U256::from_be_bytes(in_mapping(channel, U256::from(mapping)).0);
    let (entry, terms) = (begin(CHANNELS_SLOT), begin(TERMS_SLOT));
    let [a, b, c, d] = CHANNEL_WORDS.map(|word| B256::from(entry.wrapping_add(U256::from(word))));
    let [job_hash, bond] = TERMS_WORDS.map(|word| B256::from(terms.wrapping_add(U256::from(word))));
    [a, b, c, d, job_hash, bond]
}

/// Slots of a window in the audit, in the order in which they are read. `number`: the channel's; `window`: from 1.
#[must_use]
pub fn channel_window_slots(number: u64, window: u64) -> [B256; CHANNEL_WINDOW_SLOTS] {
    let (window, draw) = window_begins(window_of(CHANNEL_ADDRESS, number, window));
    [0u64, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|word| {
        let begin = if word < 8 { window } else { draw };
        B256::from(begin.wrapping_add(U256::from(word % 8)))
    })
}

/// Trie nodes with their hashes, ascending, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pool {
    nodes: Vec<(B256, Bytes)>,
}

impl Pool {
    /// From nodes in any order.
    pub(super) fn sorted(nodes: Vec<Bytes>) -> Self {
        let mut nodes: Vec<(B256, Bytes)> = nodes.into_iter().map(|node| (keccak256(&node), node)).collect();
        nodes.sort_unstable_by_key(|(hash, _)| *hash);
        nodes.dedup_by_key(|(hash, _)| *hash);
        Self { nodes }
    }

    /// From nodes that are in order; `None` if they are not.
    pub(super) fn ordered(nodes: Vec<Bytes>) -> Option<Self> {
        let nodes: Vec<(B256, Bytes)> = nodes.into_iter().map(|node| (keccak256(&node), node)).collect();
        nodes.is_sorted_by(|(one, _), (next, _)| one < next).then_some(Self { nodes })
    }

    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn nodes(&self) -> Vec<&Bytes> {
        self.nodes.iter().map(|(_, node)| node).collect()
    }

    /// Drops what was not used.
    pub(super) fn keep(&mut self, used: &[bool]) {
        let mut used = used.iter();
        self.nodes.retain(|_| used.next().copied().unwrap_or_default());
    }
}

/// Walks over a pool, which remember the nodes that they needed.
struct Walks<'a> {
    pool: &'a Pool,
    used: Vec<bool>,
}

impl<'a> Walks<'a> {
    fn value(&mut self, root: B256, key: B256) -> Result<Option<&'a [u8]>, PathError> {
        let (nodes, used) = (&self.pool.nodes, &mut self.used);
        descend(root, key.as_slice(), |hash| {
            let missing = PathError::Missing { hash };
            let at = nodes.binary_search_by_key(&hash, |(own, _)| *own).map_err(|_| missing)?;
            if let Some(used) = used.get_mut(at) {
                *used = true;
            }
            let (_, node) = nodes.get(at).ok_or(missing)?;
            Ok(node.as_ref())
        })
    }

    /// Storage root of an account; that of the empty trie if there is no such account.
    fn account(&mut self, state_root: B256, address: Address) -> Result<B256, Reason> {
        let found = self.value(state_root, keccak256(address));
        let found = found.map_err(|source| Reason::Path { path: format!("account {address:#x}"), source })?;
        Ok(value::account(found)?.storage_root)
    }

    /// The words of some slots; `whose` names them.
    fn words<const N: usize>(
        &mut self,
        root: B256,
        slots: &[B256; N],
        whose: impl Fn() -> String,
    ) -> Result<[U256; N], Reason> {
        let mut words = [U256::ZERO; N];
        for (index, (word, slot)) in words.iter_mut().zip(slots).enumerate() {
            let found = self.value(root, keccak256(slot));
            let found =
                found.map_err(|source| Reason::Path { path: format!("word {index} of {}", whose()), source })?;
            *word = value::slot(found)?;
        }
        Ok(words)
    }
}

/// A channel as the contracts store it.
#[derive(Clone, Debug)]
pub(super) struct ChannelState {
    /// Whether there is such a channel.
    pub(super) is_there: bool,
    pub(super) is_audited: bool,
    pub(super) customer: Address,
    pub(super) provider: Address,
    /// Windows announced.
    pub(super) announced: u64,
    pub(super) number: u64,
    pub(super) job_hash: B256,
    /// What is locked behind each window as it is opened.
    bond_wei: U256,
    /// As many as the certificate lists.
    pub(super) windows: Vec<WindowState>,
}

impl ChannelState {
    fn from_words(channel: B256, words: &[U256; CHANNEL_SLOTS]) -> Result<Self, MapFault> {
        let read = |place: &Field| {
            let ones = U256::MAX.wrapping_shr(256usize.saturating_sub(place.bits));
            words.get(place.word).copied().unwrap_or_default().wrapping_shr(place.low) & ones
        };
        if let Some(word) = words.iter().zip(USED_BITS).position(|(word, used)| word.bit_len() > used) {
            return Err(MapFault::Stray { channel, word });
        }
        let number = |place: &Field| read(place).saturating_to::<u64>();
        for (field, place, highest) in [("status", STATUS, STATUS_MAX), ("audited", AUDITED, 1)] {
            let number = number(&place);
            if number > highest {
                return Err(MapFault::Unknown { channel, field, number });
            }
        }
        let party = |place: &Field| Address::from_word(B256::from(read(place)));
        Ok(Self {
            is_there: number(&STATUS) != 0,
            is_audited: number(&AUDITED) == 1,
            customer: party(&CUSTOMER),
            provider: party(&PROVIDER),
            announced: number(&ANNOUNCED),
            number: number(&NUMBER),
            job_hash: B256::from(read(&JOB_HASH)),
            bond_wei: read(&BOND_WEI),
            windows: Vec::new(),
        })
    }
}

/// A window as the audit stores it.
#[derive(Clone, Debug)]
pub(super) struct WindowState {
    /// Its number in the audit.
    pub(super) id: B256,
    pub(super) audit: Audit,
    pub(super) commitment: B256,
    /// Name of the list of steps.
    pub(super) list: B256,
}

impl WindowState {
    fn from_words(of: &ChannelState, place: Place, words: &[U256; CHANNEL_WINDOW_SLOTS]) -> Result<Self, MapFault> {
        let Place { channel, window } = place;
        // The third has the fee, and the bond for as long as it is locked: what was agreed is a term of the channel.
        let [head, parties, _, terms, verified, commitment, named, list, draw, randomness] = *words;
        let audit: [U256; AUDIT_WORDS] = [head, parties, terms, verified, named, draw, randomness, of.bond_wei];
        let audit = Audit::from_words(&audit).map_err(|source| MapFault::Words { channel, window, source })?;
        let id = window_of(CHANNEL_ADDRESS, of.number, window);
        Ok(Self { id, audit, commitment: B256::from(commitment), list: B256::from(list) })
    }
}

/// What the slots hold, and which nodes led there.
pub(super) struct Found {
    pub(super) channels: Vec<ChannelState>,
    pub(super) used: Vec<bool>,
}

impl Found {
    /// Whether every node was needed.
    pub(super) fn all_used(&self) -> Result<(), MapFault> {
        let (used, got) = (self.used.iter().filter(|used| **used).count(), self.used.len());
        if used == got { Ok(()) } else { Err(MapFault::Unused { used, got }) }
    }
}

/// Reads the words of all channels and of the windows listed for them.
///
/// Trust: the nodes are hostile, the root is what the caller believes in. Cost: a walk for each slot.
pub(super) fn find(state_root: B256, pool: &Pool, channels: &[MapChannel]) -> Result<Found, Reason> {
    let mut walks = Walks { pool, used: vec![false; pool.len()] };
    let channel_root = walks.account(state_root, CHANNEL_ADDRESS)?;
    let audit_root = walks.account(state_root, AUDIT_ADDRESS)?;
    let mut found = Vec::with_capacity(channels.len());
    for MapChannel { id: channel, windows } in channels {
        let words = walks.words(channel_root, &channel_slots(*channel), || format!("channel {channel}"))?;
        let mut state = ChannelState::from_words(*channel, &words)?;
        for (window, _) in (1u64..).zip(windows) {
            let whose = || format!("window {window} of channel {channel}");
            let words = walks.words(audit_root, &channel_window_slots(state.number, window), whose)?;
            let place = Place { channel: *channel, window };
            let read = WindowState::from_words(&state, place, &words)?;
            state.windows.push(read);
        }
        found.push(state);
    }
    Ok(Found { channels: found, used: walks.used })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests stop at the first surprise")]
    use super::*;
    use crate::audit::tests::layout;
    use serde_json::Value;

    fn variable(layout: &Value, label: &str) -> u64 {
        let variables = layout["storage"].as_array().unwrap();
        let variable = variables.iter().find(|variable| variable["label"] == label).unwrap();
        variable["slot"].as_str().unwrap().parse().unwrap()
    }

    /// Label, slot, lowest bit and width of the members of a structure, as the compiler laid them out.
    fn members(layout: &Value, structure: &str) -> Vec<(String, u64, usize, usize)> {
        let members = layout["types"][format!("t_struct({structure})_storage")]["members"].as_array().unwrap();
        let read = |member: &Value| {
            let bytes = layout["types"][member["type"].as_str().unwrap()]["numberOfBytes"].as_str().unwrap();
            let slot = member["slot"].as_str().unwrap().parse().unwrap();
            let low = member["offset"].to_string().parse::<usize>().unwrap() * 8;
            (member["label"].as_str().unwrap().to_owned(), slot, low, bytes.parse::<usize>().unwrap() * 8)
        };
        members.iter().map(read).collect()
    }

    #[test]
    fn the_words_are_the_compilers_layout_and_leave_nothing_out() {
        let channel = layout("Channel");
        assert_eq!((variable(&channel, "_channels"), variable(&channel, "_audits")), (CHANNELS_SLOT, TERMS_SLOT));
        let entry = members(&channel, "Entry");
        let fields = [
            ("status", STATUS),
            ("audited", AUDITED),
            ("customer", CUSTOMER),
            ("provider", PROVIDER),
            ("announced", ANNOUNCED),
            ("number", NUMBER),
        ];
        for (label, Field { word, low, bits }) in fields {
            let member = entry.iter().find(|member| member.0 == label).unwrap();
            assert_eq!((member.1, member.2, member.3), (CHANNEL_WORDS[word], low, bits), "{label}");
        }
        for (slot, used) in CHANNEL_WORDS.into_iter().zip(USED_BITS) {
            let inside = entry.iter().filter(|member| member.1 == slot);
            assert_eq!(inside.map(|member| member.2 + member.3).max(), Some(used), "word {slot}");
        }
        let audit = members(&channel, "Audit");
        assert_eq!(audit[0], ("jobHash".to_owned(), TERMS_WORDS[0], JOB_HASH.low, JOB_HASH.bits));
        let terms = audit.iter().find(|member| member.0 == "terms").unwrap().1;
        let bond = members(&channel, "Terms").into_iter().find(|member| member.0 == "bondWei").unwrap();
        assert_eq!((terms + bond.1, bond.2, bond.3), (TERMS_WORDS[1], BOND_WEI.low, BOND_WEI.bits));
        // Of the window what an order's audit does not have; the rest is checked there.
        let window = members(&layout("Audit"), "Window");
        let own = [("commitment", 5, 0, 256), ("named", 6, 0, 256), ("canary", 7, 0, 256)];
        for (label, slot, low, bits) in own {
            assert!(window.contains(&(label.to_owned(), slot, low, bits)), "{label}");
        }
        let last = window.iter().map(|member| member.1).max();
        assert_eq!(last, Some(7), "a window has eight words");
    }

    #[test]
    fn a_pool_is_in_order_and_forgets_what_is_not_used() {
        let nodes: Vec<Bytes> = (0u8..5).map(|n| Bytes::copy_from_slice(&[0xc1, n])).collect();
        let twice = nodes.iter().chain(&nodes).cloned().collect();
        let mut pool = Pool::sorted(twice);
        assert_eq!(pool.len(), 5);
        let sorted: Vec<Bytes> = pool.nodes().into_iter().cloned().collect();
        assert_eq!(Pool::ordered(sorted.clone()), Some(pool.clone()));
        assert_eq!(Pool::ordered(sorted.iter().rev().cloned().collect()), None);
        assert_eq!(Pool::ordered(vec![sorted[0].clone(), sorted[0].clone()]), None);
        pool.keep(&[true, false, false, false, true]);
        assert_eq!(pool.nodes(), [&sorted[0], &sorted[4]]);
    }

    #[test]
    fn words_that_the_contract_cannot_have_written_are_refused() {
        let channel = B256::repeat_byte(3);
        let with = |word: usize, value: U256| {
            let mut words = [U256::ZERO; CHANNEL_SLOTS];
            words[word] = value;
            ChannelState::from_words(channel, &words)
        };
        for (word, used) in USED_BITS.into_iter().enumerate() {
            assert!(with(word, U256::ONE << (used - 1)).is_ok(), "{word}");
            if used < 256 {
                assert_eq!(with(word, U256::ONE << used).unwrap_err(), MapFault::Stray { channel, word });
            }
        }
        assert!(with(0, U256::from(5)).is_ok() && with(0, U256::from(0x0100)).is_ok());
        let unknown = |field, number| MapFault::Unknown { channel, field, number };
        assert_eq!(with(0, U256::from(6)).unwrap_err(), unknown("status", 6));
        assert_eq!(with(0, U256::from(0x0200)).unwrap_err(), unknown("audited", 2));
    }
}
