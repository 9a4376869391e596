//! The handle on the windows that are tended, and what runs behind it.

use super::{
    rounds::Rounds,
    shelf::{Shelf, Steps},
};
use crate::compute::{
    audited::{
        answers::Questions,
        door::{Door, Nobody, reached},
    },
    customer::plan::Prepared,
    map::{journal::Place, outputs::Outputs},
    market::Market,
    windows::Windows,
};
use alloy_primitives::B256;
use eyre::Result;
use keystead_blobs::{Address, Endpoint, Server, serve};
use keystead_job::Step;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::AbortHandle, time::sleep};

/// How often it is asked who asks, and how windows stand.
const POLL: Duration = Duration::from_secs(1);

/// A paid window, as checkers are told of it.
#[derive(Clone, Debug)]
pub(in crate::compute::map) struct Paid {
    /// The audit's id.
    pub(in crate::compute::map) id: B256,
    /// The steps, in the order of the report.
    pub(in crate::compute::map) steps: Vec<Step>,
    /// Where the states lie that steps began with and that no window left here.
    pub(in crate::compute::map) inputs: Vec<Place>,
    /// Where the state after each step lies.
    pub(in crate::compute::map) outputs: Vec<Place>,
    /// A block not after the window's announcement.
    pub(in crate::compute::map) since_block: u64,
}

/// How a window stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::compute::map) struct Stand {
    /// Drawn steps; 0 while nothing is drawn.
    pub(in crate::compute::map) drawn: u32,
    /// Concluded steps; more than were drawn, if others were accused.
    pub(in crate::compute::map) done: u32,
    /// The same in a sentence without its end.
    pub(in crate::compute::map) words: String,
}

/// The windows that are tended. Clones share them; what runs behind them ends with the last clone.
#[derive(Clone, Debug)]
pub(in crate::compute::map) struct Tended(Arc<Running>);

impl Tended {
    /// Serves on the endpoint and answers questions until it is dropped. Must be called on a Tokio runtime.
    pub(in crate::compute::map) fn begin(
        windows: Windows,
        endpoint: &Endpoint,
        prepared: Arc<Prepared>,
        outputs: Outputs,
    ) -> Self {
        let spec = prepared.spec.clone();
        let shelf = Arc::new(Shelf::new(prepared, outputs));
        let gives = Steps { spec, shelf: Arc::clone(&shelf) };
        let door = Door { windows: windows.clone(), node: endpoint.id(), gives };
        let store = Arc::clone(&shelf);
        let server = serve(endpoint, store, door, Nobody);
        let board = Arc::new(Board { shelf, told: Mutex::default() });
        let answering = tokio::spawn(answer(windows.clone(), endpoint.clone(), Arc::clone(&board)));
        let tending = tokio::spawn(tend(windows, Arc::clone(&board)));
        let tasks = [answering.abort_handle(), tending.abort_handle()];
        Self(Arc::new(Running { board, _server: server, tasks }))
    }

    /// Tends a window from now on; it need not be announced yet. Adding it again changes nothing.
    pub(in crate::compute::map) fn add(&self, paid: Paid) {
        let Paid { id, steps, inputs, outputs, since_block } = paid;
        self.0.board.shelf.keep(&inputs);
        self.0.board.shelf.add(id, steps, &outputs, since_block);
    }

    /// A window is over. States that were added with it can still be fetched as inputs of other windows' steps: a process that starts again
    /// adds and removes the windows that were over before.
    pub(in crate::compute::map) fn remove(&self, id: B256) {
        self.0.board.shelf.remove(id);
        self.0.board.told().remove(&id);
    }

    /// How a window stands as far as it is known; `None` if it is not announced yet, or was removed.
    pub(in crate::compute::map) fn stand(&self, id: B256) -> Option<Stand> {
        self.0.board.told().get(&id).map(|told| told.stand.clone())
    }
}

/// What ends with the last handle.
#[derive(Debug)]
struct Running {
    board: Arc<Board>,
    /// Held, not read.
    _server: Server,
    tasks: [AbortHandle; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What was seen of a window last.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) stand: Stand,
    pub(super) is_over: bool,
}

/// The windows and how they stand, for handles and tasks.
#[derive(Debug)]
pub(super) struct Board {
    shelf: Arc<Shelf>,
    told: Mutex<BTreeMap<B256, Told>>,
}

impl Board {
    /// Windows that are not known to be over, each with a block not after its announcement.
    pub(super) fn open(&self) -> BTreeMap<B256, u64> {
        let mut windows = self.shelf.windows();
        let told = self.told();
        windows.retain(|id, _| told.get(id).is_none_or(|told| !told.is_over));
        windows
    }

    /// Writes down how a window stands, unless it was removed meanwhile.
    pub(super) fn tell(&self, id: B256, told: Told) {
        if self.shelf.holds(id) {
            self.told().insert(id, told);
        }
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<B256, Told>> {
        // No code panics while it holds this lock.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers who asks for an input.
async fn answer(windows: Windows, endpoint: Endpoint, board: Arc<Board>) {
    let mut questions = Questions::new(windows.clone());
    let (mut key, mut is_told) = (None, false);
    loop {
        sleep(POLL).await;
        questions.keep(&board.open());
        if let Err(error) = questions.read().await {
            tracing::debug!(error = format!("{error:#}"), "cannot look for checkers that ask");
        }
        if !questions.is_asked() {
            continue;
        }
        if key.is_none() {
            match found(&windows, &endpoint).await {
                Ok(address) => key = Some(address),
                // Asked again every second: said once.
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::warn!("checkers that ask for an input cannot be answered, trying again: {error:#}");
                }
                Err(error) => tracing::debug!(error = format!("{error:#}"), "this node's address is not known"),
            }
        }
        if let Some(key) = &key {
            questions.answer(key.as_bytes()).await;
        }
    }
}

/// Looks at the windows, and does what nobody else does.
async fn tend(windows: Windows, board: Arc<Board>) {
    let mut rounds = Rounds::default();
    loop {
        sleep(POLL).await;
        rounds.round(&windows, &board).await;
    }
}

/// Where checkers find this node: on the way to somebody in the register.
async fn found(windows: &Windows, endpoint: &Endpoint) -> Result<String> {
    let market = Market { account: Arc::clone(&windows.account) };
    let offers = market.offers().await?;
    // What providers publish is hostile text; of an address only its sockets are used, and only to ask the system for a way.
    let addresses = offers.iter().filter_map(|offer| offer.endpoint.parse::<Address>().ok());
    reached(endpoint, &furthest(addresses.flat_map(|address| address.sockets().to_vec()).collect()))
}

/// Those that are far away first: an address of this machine that leads to them is one that most checkers can dial.
fn furthest(mut sockets: Vec<SocketAddr>) -> Vec<SocketAddr> {
    sockets.sort_by_key(|socket| match socket.ip() {
        ip if ip.is_loopback() => 2,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() => 1,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => 1,
        _ => 0,
    });
    sockets
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::map::tend::shelf::Held;

    #[derive(Debug)]
    struct Nothing;

    impl Held for Nothing {
        fn numbers(&self) -> BTreeMap<B256, usize> {
            BTreeMap::new()
        }

        fn blob(&self, _: usize) -> &[u8] {
            &[]
        }
    }

    #[test]
    fn a_window_that_is_over_is_told_and_not_looked_at_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::open(&folder.path().join("outputs"), 0).unwrap();
        let shelf = Arc::new(Shelf::new(Arc::new(Nothing), outputs));
        let board = Board { shelf, told: Mutex::default() };
        let (first, second) = (B256::repeat_byte(1), B256::repeat_byte(2));
        board.shelf.add(first, Vec::new(), &[], 5);
        board.shelf.add(second, Vec::new(), &[], 6);
        let told = |is_over| Told { stand: Stand { drawn: 1, done: 0, words: "Audit".to_owned() }, is_over };
        board.tell(first, told(false));
        assert_eq!(board.open(), BTreeMap::from([(first, 5), (second, 6)]));
        board.tell(first, told(true));
        assert_eq!(board.open(), BTreeMap::from([(second, 6)]));
        assert_eq!(board.told().get(&first).map(|told| told.stand.drawn), Some(1));
        // A look that ends after the removal leaves nothing.
        board.shelf.remove(second);
        board.tell(second, told(false));
        assert!(!board.told().contains_key(&second));
    }

    #[test]
    fn the_way_to_those_far_away_is_asked_for_first() {
        let sockets = ["127.0.0.1:1", "192.168.1.9:2", "8.8.8.8:3", "[::1]:4", "[fd00::1]:5", "[2001:db8::1]:6"];
        let sockets = furthest(sockets.iter().map(|socket| socket.parse().unwrap()).collect());
        assert_eq!(sockets.iter().map(SocketAddr::port).collect::<Vec<u16>>(), [3, 6, 2, 5, 1, 4]);
    }
}
