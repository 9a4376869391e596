//! Room for orders: who orders and brings no input keeps nobody else out.
//!
//! # Design
//! An order costs its customer only gas until it is leased: the escrow comes back. So an order whose inputs are not here holds its place on sufferance.
//! When the book is full, one of the customer with the most such orders is let go, the oldest first; its customer may come again. Leased orders stay.
//!
//! # Invariants
//! An order whose inputs are here is never let go. Nothing is sent to the chain: a flood costs this provider no fee.

use super::{
    book::{Book, COURSES_MAX},
    course::Course,
};
use alloy_primitives::{Address, U256};
use std::{collections::BTreeMap, sync::Arc};

/// Units of all open orders together. Each takes some 64 bytes of memory and of disk once its input is here: 256 MiB.
pub(super) const UNITS_MAX: u64 = 1 << 22;

/// An order that waits for its customer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) order: U256,
    pub(super) customer: Address,
}

/// Which order is let go for one of `newcomer`: the oldest of who has the most that wait, the new one counted; among equals the oldest of all.
pub(super) fn victim(waiting: &[Waiting], newcomer: Address) -> Option<U256> {
    let mut counts: BTreeMap<Address, usize> = BTreeMap::from([(newcomer, 1)]);
    for one in waiting {
        let count = counts.entry(one.customer).or_default();
        *count = count.saturating_add(1);
    }
    let most = waiting.iter().filter_map(|one| counts.get(&one.customer)).max()?;
    waiting.iter().filter(|one| counts.get(&one.customer) == Some(most)).map(|one| one.order).min()
}

impl Book {
    /// Makes room for one more order with so many units; false if there is none to be made.
    pub(super) fn make_room(&self, customer: Address, units: u32) -> bool {
        loop {
            let (count, all_units) = {
                let courses = self.courses();
                let units = courses.values().map(|course| u64::from(course.spec.unit_count));
                (courses.len(), units.fold(0, u64::saturating_add))
            };
            if count < COURSES_MAX && all_units.saturating_add(u64::from(units)) <= UNITS_MAX {
                return true;
            }
            if !self.forgo_one(customer, None) {
                return false;
            }
        }
    }

    /// Whether no further order would have a place.
    pub(super) fn is_full(&self) -> bool {
        let courses = self.courses();
        courses.len() >= COURSES_MAX && !courses.values().any(|course| course.is_waiting())
    }

    /// Lets one order go that waits for its customer, but not this one; false if there is none.
    pub(super) fn forgo_one(&self, newcomer: Address, but: Option<U256>) -> bool {
        let waiting: Vec<Waiting> = {
            let courses = self.courses();
            let waiting = courses.iter().filter(|(order, course)| Some(**order) != but && course.is_waiting());
            waiting.map(|(order, course)| Waiting { order: *order, customer: course.customer() }).collect()
        };
        let Some(order) = victim(&waiting, newcomer) else { return false };
        let course: Option<Arc<Course>> = {
            let mut courses = self.courses();
            // Its inputs may have arrived meanwhile; then the next round finds another one.
            let gone = courses.get(&order).is_some_and(|course| course.let_go());
            gone.then(|| courses.remove(&order)).flatten()
        };
        if let Some(course) = course {
            tracing::info!(%order, "order let go: its inputs did not come, and others need its place");
            self.clear(order, &course);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(list: &[(u64, u8)]) -> Vec<Waiting> {
        let one = |(order, customer): &(u64, u8)| Waiting {
            order: U256::from(*order),
            customer: Address::repeat_byte(*customer),
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn the_oldest_order_of_who_has_the_most_goes_first_and_an_honest_newcomer_stays() {
        let me = Address::repeat_byte(9);
        let chosen = |list: &[(u64, u8)]| victim(&waiting(list), me).map(|order| order.to::<u64>());
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[(5, 1)]), Some(5));
        assert_eq!(chosen(&[(3, 2), (5, 1), (7, 1)]), Some(5), "two of one customer");
        assert_eq!(chosen(&[(3, 2), (5, 1), (7, 4)]), Some(3), "as many accounts as orders: the oldest");
        assert_eq!(chosen(&[(3, 2), (5, 9), (7, 9)]), Some(5), "the newcomer's own, which has the most");
        assert_eq!(chosen(&[(3, 2), (4, 2), (5, 9)]), Some(3), "as many as the newcomer would have: the oldest of all");
    }
}
