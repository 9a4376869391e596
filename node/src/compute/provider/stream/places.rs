//! Who has a place among the channels: a customer only so many, and who waits longest for work gives way to a customer with fewer.
//!
//! # Design
//! Pure: the desk says what stands, and does what is said. A channel that gives way is not cut off: it takes no further lease, what it earned is claimed,
//! and its place is free once it is closed on the chain. Until then newcomers are asked to come again, and nobody else gives way;
//! but one that waits for audits, which may take days, gives way only where no other can, and keeps no other from it.

use alloy_primitives::{Address, B256};
use std::{collections::BTreeMap, time::Duration};

/// Channels at once: each may fill its share of the disk.
pub(super) const CHANNELS_MAX: usize = 32;
/// Channels of one customer at once: a job has one with each provider, and few people run more than some jobs at a time.
const OF_ONE_MAX: usize = 8;
/// A channel without a lease for less than this is between two of them.
const IDLE_MIN: Duration = Duration::from_secs(60);

/// A place that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) channel: B256,
    pub(super) customer: Address,
    /// How long it has had no lease; `None` if it has one, or a report that is not paid yet.
    pub(super) idle: Option<Duration>,
    /// Takes no further lease; its place becomes free.
    pub(super) ends: bool,
    /// Windows of it are in the audit: its place becomes free when they are over, which may take days.
    pub(super) is_audited: bool,
}

/// What a newcomer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// The customer has all that one may have.
    TooMany,
    /// This channel gives way.
    GivesWay(B256),
    /// One gives way already.
    Soon,
    Full,
}

impl Room {
    /// Why a newcomer must come again.
    pub(super) fn refusal(self) -> Option<String> {
        match self {
            Self::Free => None,
            Self::TooMany => Some(format!("this customer has {OF_ONE_MAX} channels here: end one of them first")),
            Self::GivesWay(_) | Self::Soon => {
                Some("all places are taken; one becomes free: come again in a minute".to_owned())
            }
            Self::Full => {
                Some(format!("all {CHANNELS_MAX} places are at work: come again later, or choose another provider"))
            }
        }
    }
}

/// Whether a newcomer's channel has a place.
pub(super) fn room(places: &[Place], newcomer: Address) -> Room {
    let mut counts: BTreeMap<Address, usize> = BTreeMap::new();
    for place in places {
        let count = counts.entry(place.customer).or_default();
        *count = count.saturating_add(1);
    }
    let of = |customer: &Address| counts.get(customer).copied().unwrap_or_default();
    if of(&newcomer) >= OF_ONE_MAX {
        return Room::TooMany;
    }
    if places.len() < CHANNELS_MAX {
        return Room::Free;
    }
    let waits = |place: &&Place| place.idle.is_some_and(|idle| idle >= IDLE_MIN) && of(&place.customer) > of(&newcomer);
    // Who waits for an audit keeps nobody waiting for whom another place could be free at once.
    for is_audited in [false, true] {
        let alike = || places.iter().filter(move |place| place.is_audited == is_audited);
        if alike().any(|place| place.ends) {
            return Room::Soon;
        }
        if let Some(longest) = alike().filter(waits).max_by_key(|place| place.idle) {
            return Room::GivesWay(longest.channel);
        }
    }
    Room::Full
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    const fn customer(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    /// Channels of these customers, by number; each is idle for ten minutes and its number of seconds.
    fn idle(customers: impl IntoIterator<Item = u8>) -> Vec<Place> {
        let place = |(number, of): (u8, u8)| Place {
            channel: B256::repeat_byte(number),
            customer: customer(of),
            idle: Some(Duration::from_secs(600 + u64::from(number))),
            ends: false,
            is_audited: false,
        };
        (0..).zip(customers).map(place).collect()
    }

    #[test]
    fn one_customer_has_eight_places_and_no_more() {
        assert_eq!(room(&idle([1; 7]), customer(1)), Room::Free);
        assert_eq!(room(&idle([1; 8]), customer(1)), Room::TooMany);
        assert_eq!(room(&idle([1; 8]), customer(2)), Room::Free);
        // Also where there were more from before.
        assert_eq!(room(&idle([1; 40]), customer(1)), Room::TooMany);
    }

    #[test]
    fn when_all_are_taken_the_longest_idle_gives_way_to_a_customer_with_fewer() {
        let mut places = idle((0..32).map(|number| number % 4));
        assert_eq!(room(&places[..31], customer(9)), Room::Free);
        assert_eq!(room(&places, customer(9)), Room::GivesWay(B256::repeat_byte(31)));
        // It works again: the next one.
        places[31].idle = None;
        assert_eq!(room(&places, customer(9)), Room::GivesWay(B256::repeat_byte(30)));
        // One that gives way is enough.
        places[30].ends = true;
        assert_eq!(room(&places, customer(9)), Room::Soon);
    }

    #[test]
    fn who_waits_for_an_audit_gives_way_last_and_keeps_nobody_waiting() {
        let mut places = idle((0..32).map(|number| number % 4));
        for place in &mut places[16..] {
            place.is_audited = true;
        }
        places[31].ends = true;
        assert_eq!(room(&places, customer(9)), Room::GivesWay(B256::repeat_byte(15)));
        places[15].ends = true;
        assert_eq!(room(&places, customer(9)), Room::Soon);
        // Nobody else can give way: one of them is enough.
        for place in &mut places[..16] {
            (place.ends, place.idle) = (false, None);
        }
        assert_eq!(room(&places, customer(9)), Room::Soon);
        places[31].ends = false;
        assert_eq!(room(&places, customer(9)), Room::GivesWay(B256::repeat_byte(31)));
    }

    #[test]
    fn nobody_who_works_or_waits_for_less_than_a_minute_gives_way() {
        let mut places = idle((0..32).map(|number| number % 4));
        for place in &mut places {
            place.idle = None;
        }
        assert_eq!(room(&places, customer(9)), Room::Full);
        places[5].idle = Some(IDLE_MIN.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(room(&places, customer(9)), Room::Full);
        places[5].idle = Some(IDLE_MIN);
        assert_eq!(room(&places, customer(9)), Room::GivesWay(B256::repeat_byte(5)));
    }

    #[test]
    fn nobody_gains_by_pushing_out_who_has_no_more_than_oneself() {
        let places = idle(0..32);
        assert_eq!(room(&places, customer(99)), Room::GivesWay(B256::repeat_byte(31)));
        assert_eq!(room(&places, customer(3)), Room::Full, "each has one, and so has this one");
        let mut places = idle([7; 7].into_iter().chain(10..35));
        assert_eq!(room(&places, customer(10)), Room::GivesWay(B256::repeat_byte(6)), "only of who has more");
        places[6].idle = None;
        assert_eq!(room(&places, customer(10)), Room::GivesWay(B256::repeat_byte(5)));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        assert_eq!(Room::Free.refusal(), None);
        for room in [Room::TooMany, Room::GivesWay(B256::ZERO), Room::Soon, Room::Full] {
            let words = room.refusal().unwrap();
            let advises = words.contains("come again") || words.contains("end one of them");
            assert!(advises && words.len() < 256, "{room:?}: {words}");
        }
    }
}
