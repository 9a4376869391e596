//! Counts who is connected, so that no peer and no address takes more than its share.

use std::{
    collections::HashMap,
    hash::Hash as StdHash,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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
    sessions: Tally<NodeId>,
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
    fn add(&mut self, kind: K, total_max: usize, kind_max: usize) -> bool {
        let of_kind = self.by_kind.get(&kind).copied().unwrap_or_default();
        if self.total >= total_max || of_kind >= kind_max {
            return false;
        }
        self.total = self.total.saturating_add(1);
        self.by_kind.insert(kind, of_kind.saturating_add(1));
        true
    }

    fn remove(&mut self, kind: K) {
        self.total = self.total.saturating_sub(1);
        let left = self.by_kind.get(&kind).copied().unwrap_or_default().saturating_sub(1);
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
        let admitted = self.counts().handshakes.add(source, handshakes_max, handshakes_per_ip_max);
        admitted.then(|| Ticket { admission: self.clone(), place: Place::Handshake(source) })
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

#[derive(Clone, Copy, Debug)]
enum Place {
    Handshake(Option<IpAddr>),
    Session(NodeId),
}

/// A place that is taken.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Admission,
    place: Place,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        match self.place {
            Place::Handshake(source) => counts.handshakes.remove(source),
            Place::Session(peer) => counts.sessions.remove(peer),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::SecretKey;

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
