//! Candidates for a query from one part of the index.

use super::postings::{Place, Run};
use crate::error::Error;
use std::ops::RangeInclusive;

/// Terms of the alternatives at each place that the query names.
pub(crate) type Groups = Vec<Vec<u64>>;

/// How much longer than what is left a list may be to be read: reading a posting costs some ten nanoseconds, comparing a
/// candidate with its log some ten microseconds.
const LENGTH_RATIO_MAX: u64 = 256;

/// A part of the index.
pub(crate) trait Lists {
    /// A list that was found and not read yet.
    type List;

    /// The list of a term, with its length.
    fn find(&self, term: u64) -> Result<Option<(u64, Self::List)>, Error>;

    /// Appends the places of a list.
    fn read(&self, list: &Self::List, out: &mut Vec<Place>) -> Result<(), Error>;
}

impl Lists for Run {
    type List = u64;

    fn find(&self, term: u64) -> Result<Option<(u64, u64)>, Error> {
        let length = self.of_term(term).len() as u64;
        Ok((length > 0).then_some((length, term)))
    }

    fn read(&self, term: &u64, out: &mut Vec<Place>) -> Result<(), Error> {
        out.extend(self.of_term(*term).iter().map(|entry| entry.place));
        Ok(())
    }
}

/// The places in a range of heights that may match, in order. All that match are among them.
pub(crate) fn candidates<L: Lists>(
    lists: &L,
    groups: &Groups,
    heights: &RangeInclusive<u64>,
) -> Result<Vec<Place>, Error> {
    let mut sized = Vec::with_capacity(groups.len());
    for group in groups {
        let mut length = 0_u64;
        let mut found = Vec::new();
        for term in group {
            if let Some((count, list)) = lists.find(*term)? {
                length = length.saturating_add(count);
                found.push(list);
            }
        }
        if found.is_empty() {
            return Ok(Vec::new());
        }
        sized.push((length, found));
    }
    sized.sort_by_key(|(length, _)| *length);
    let mut left: Option<Vec<Place>> = None;
    for (length, group) in sized {
        if left.as_ref().is_some_and(|left| length > (left.len() as u64).saturating_mul(LENGTH_RATIO_MAX)) {
            break;
        }
        let mut places = Vec::new();
        for list in &group {
            lists.read(list, &mut places)?;
        }
        places.retain(|place| heights.contains(&place.number));
        if group.len() > 1 {
            places.sort_unstable();
            places.dedup();
        }
        left = Some(match left {
            Some(left) => both(&left, &places),
            None => places,
        });
    }
    Ok(left.unwrap_or_default())
}

/// What two ascending lists share.
fn both(short: &[Place], long: &[Place]) -> Vec<Place> {
    let mut rest = long;
    let mut out = Vec::new();
    for place in short {
        let at = rest.partition_point(|other| other < place);
        rest = rest.get(at..).unwrap_or_default();
        if rest.first() == Some(place) {
            out.push(*place);
        }
    }
    out
}
