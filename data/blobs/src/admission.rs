//! Counts who is connected, so that no peer and no address takes more than its share.
//!
//! # Design
//! A connection that is not yet a session costs its maker nothing, so a few addresses could hold every such place. When all are taken, a newcomer gets
//! the oldest place of the address that holds the most, if that is at least two more than the newcomer's own: whoever comes with one connection gets
//! in beside any flood from fewer addresses than there are places.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash as StdHash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{address::NodeId, limits::Limits};

/// Shared counters; tickets give their place back when they are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Connections that are not yet sessions, by source address (`None`: not an IP transport).
    handshakes: Tally<Option<IpAddr>>,
    /// Those that hold a place, by the order of their coming.
    guests: BTreeMap<u64, Guest>,
    next: u64,
    sessions: Tally<NodeId>,
}

/// Who holds a place for a handshake.
#[derive(Debug)]
struct Guest {
    source: Option<IpAddr>,
    /// Rings when somebody else got the place.
    dismissed: Arc<Notify>,
}

/// A number of things in all and by kind. Kinds with none take no memory.
#[derive(Debug)]
struct Tally<K> {
    total: usize,
    by_kind: HashMap<K, usize>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { total: 0, by_kind: HashMap::new() }
    }
}

impl<K: Eq + StdHash + Copy> Tally<K> {
    fn of(&self, kind: K) -> usize {
        self.by_kind.get(&kind).copied().unwrap_or_default()
    }

    fn add(&mut self, kind: K, total_max: usize, kind_max: usize) -> bool {
        let of_kind = self.of(kind);
        if self.total >= total_max || of_kind >= kind_max {
            return false;
        }
        self.total = self.total.saturating_add(1);
        self.by_kind.insert(kind, of_kind.saturating_add(1));
        true
    }

    fn remove(&mut self, kind: K) {
        self.total = self.total.saturating_sub(1);
        let left = self.of(kind).saturating_sub(1);
        if left == 0 {
            self.by_kind.remove(&kind);
        } else {
            self.by_kind.insert(kind, left);
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// A place for a connection that begins, or `None` if there is none for this address.
    pub(crate) fn handshake(&self, source: Option<IpAddr>) -> Option<Ticket> {
        let Limits { handshakes_max, handshakes_per_ip_max, .. } = self.limits;
        let source = source.map(network);
        let mut counts = self.counts();
        if counts.handshakes.total >= handshakes_max && counts.handshakes.of(source) < handshakes_per_ip_max {
            counts.make_room(source);
        }
        if !counts.handshakes.add(source, handshakes_max, handshakes_per_ip_max) {
            return None;
        }
        let (number, dismissed) = (counts.next, Arc::new(Notify::new()));
        counts.next = number.wrapping_add(1);
        counts.guests.insert(number, Guest { source, dismissed: Arc::clone(&dismissed) });
        Some(Ticket { admission: self.clone(), place: Place::Handshake { number, dismissed } })
    }

    /// Whether half of the places for handshakes are taken: time to ask sources to prove their address.
    pub(crate) fn is_crowded(&self) -> bool {
        self.counts().handshakes.total >= self.limits.handshakes_max.div_ceil(2)
    }

    /// A place for a session, or `None` if there is none for this peer.
    pub(crate) fn session(&self, peer: NodeId) -> Option<Ticket> {
        let Limits { sessions_max, sessions_per_peer_max, .. } = self.limits;
        let admitted = self.counts().sessions.add(peer, sessions_max, sessions_per_peer_max);
        admitted.then(|| Ticket { admission: self.clone(), place: Place::Session(peer) })
    }

    /// Sessions now.
    pub(crate) fn sessions(&self) -> usize {
        self.counts().sessions.total
    }

    /// Connections that are not yet sessions.
    pub(crate) fn handshakes(&self) -> usize {
        self.counts().handshakes.total
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No code panics while it holds this lock.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Dismisses the oldest guest of the address with the most, if the newcomer's has at least two fewer.
    fn make_room(&mut self, newcomer: Option<IpAddr>) {
        let least = self.handshakes.of(newcomer).saturating_add(2);
        let most = self.handshakes.by_kind.values().copied().max().unwrap_or_default();
        if most < least {
            return;
        }
        let oldest = self.guests.iter().find(|(_, guest)| self.handshakes.of(guest.source) == most);
        let oldest = oldest.map(|(number, guest)| (*number, Arc::clone(&guest.dismissed)));
        if let Some((number, dismissed)) = oldest {
            self.leave(number);
            dismissed.notify_one();
        }
    }

    /// Frees a guest's place, once.
    fn leave(&mut self, number: u64) {
        if let Some(guest) = self.guests.remove(&number) {
            self.handshakes.remove(guest.source);
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 network that one IPv6 customer is given.
const fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[derive(Clone, Debug)]
enum Place {
    Handshake { number: u64, dismissed: Arc<Notify> },
    Session(NodeId),
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Admission,
    place: Place,
}

impl Ticket {
    /// Rings when the place was given to somebody else; never for a session's.
    pub(crate) fn dismissed(&self) -> Arc<Notify> {
        match &self.place {
            Place::Handshake { dismissed, .. } => Arc::clone(dismissed),
            Place::Session(_) => Arc::default(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        match &self.place {
            Place::Handshake { number, .. } => counts.leave(*number),
            Place::Session(peer) => counts.sessions.remove(*peer),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use std::task::{Context, Waker};

    const LIMITS: fn() -> Limits = || Limits {
        handshakes_max: 3,
        handshakes_per_ip_max: 2,
        sessions_max: 2,
        sessions_per_peer_max: 1,
        ..Limits::default()
    };

    #[test]
    fn one_address_cannot_take_every_place() {
        let admission = Admission::new(LIMITS());
        let (near, far) = (Some(IpAddr::from([127, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 1])));
        let first = admission.handshake(near).unwrap();
        assert!(!admission.is_crowded());
        let _second = admission.handshake(near).unwrap();
        assert!(admission.is_crowded());
        assert!(admission.handshake(near).is_none());
        let _third = admission.handshake(far).unwrap();
        assert!(admission.handshake(far).is_none());
        drop(first);
        assert!(admission.handshake(near).is_some());
    }

    #[test]
    fn a_newcomer_gets_the_oldest_place_of_whoever_holds_the_most_and_not_more_than_that() {
        let admission = Admission::new(Limits { handshakes_max: 4, handshakes_per_ip_max: 3, ..Limits::default() });
        let address = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let flood = [1, 1, 1].map(|last| admission.handshake(address(last)).unwrap());
        let other = admission.handshake(address(2)).unwrap();
        let honest = admission.handshake(address(3)).unwrap();
        assert_eq!(flood.each_ref().map(rung), [true, false, false]);
        assert_eq!(admission.handshakes(), 4);
        // Two of the flood, one and one: a second newcomer still gains by it, a third connection of the same one would not.
        assert!(admission.handshake(address(4)).is_some_and(|fourth| {
            assert_eq!(flood.each_ref().map(rung), [false, true, false]);
            assert!(admission.handshake(address(3)).is_none(), "one each: nobody has more");
            drop(fourth);
            true
        }));
        drop(flood);
        assert_eq!(admission.handshakes(), 2, "a place that was given away is not given back twice");
        drop((other, honest));
        assert_eq!((admission.handshakes(), admission.counts().guests.len()), (0, 0));
    }

    /// Whether the bell of a ticket has rung since it was looked at last.
    fn rung(ticket: &Ticket) -> bool {
        let bell = ticket.dismissed();
        let mut notified = std::pin::pin!(bell.notified());
        notified.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let admission = Admission::new(LIMITS());
        let ticket = |text: &str| admission.handshake(Some(text.parse().unwrap()));
        let _first = ticket("2001:db8:1:2::1").unwrap();
        let _second = ticket("2001:db8:1:2:ffff::9").unwrap();
        assert!(ticket("2001:db8:1:2:3:4:5:6").is_none());
        let _mapped = ticket("::ffff:10.0.0.1").unwrap();
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn one_peer_cannot_take_every_session_and_places_come_back() {
        let admission = Admission::new(LIMITS());
        let peers = [SecretKey::generate().id(), SecretKey::generate().id(), SecretKey::generate().id()];
        let first = admission.session(peers[0]).unwrap();
        assert!(admission.session(peers[0]).is_none());
        let _second = admission.session(peers[1]).unwrap();
        assert!(admission.session(peers[2]).is_none());
        drop(first);
        assert_eq!(admission.sessions(), 1);
        assert!(admission.session(peers[2]).is_some());
        assert_eq!(admission.sessions(), 1);
        assert_eq!(admission.counts().sessions.by_kind.len(), 1);
    }
}
