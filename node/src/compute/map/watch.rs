//! Looks at the windows of audited channels on the chain until they are over.

use super::events::Event;
use crate::compute::windows::{Drawn, Windows};
use alloy_primitives::B256;
use eyre::Result;
use futures::future::join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// How often windows are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Windows of one round; the others have their turn in the next.
const LOOKS_MAX: usize = 32;
/// Questions that the node has at once.
const AT_ONCE: usize = 4;
/// How long it counts that the audit had no such window: a look at many of them takes a while.
const ABSENT_MAX: Duration = Duration::from_secs(300);

/// Which windows are looked at, and when the audit said last that it does not know one; clones share it. As many as are paid and not over.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<BTreeMap<B256, Option<Instant>>>>);

/// Looks at them.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) windows: Windows,
    pub(super) watched: Watched,
    pub(super) events: mpsc::Sender<Event>,
}

impl Watched {
    /// From now on this one too.
    pub(super) fn add(&self, id: B256) {
        self.ids().entry(id).or_insert(None);
    }

    /// Whether the audit was asked not long ago, and had no such window.
    pub(super) fn is_absent(&self, id: &B256) -> bool {
        self.ids().get(id).copied().flatten().is_some_and(|at| at.elapsed() <= ABSENT_MAX)
    }

    /// The next ones to be looked at.
    fn turn(&self, last: &mut B256) -> Vec<B256> {
        turn(&self.ids(), last, LOOKS_MAX).into_iter().collect()
    }

    fn saw(&self, id: B256, exists: bool) {
        if let Some(absent) = self.ids().get_mut(&id) {
            *absent = (!exists).then(Instant::now);
        }
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<B256, Option<Instant>>> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Tells of each window that it was announced, that a step was found wrong, and that it is over. Until nobody listens.
    pub(super) async fn run(self) {
        let mut told: BTreeMap<B256, bool> = BTreeMap::new();
        let mut last = B256::ZERO;
        let mut round = interval(LOOK);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            for ids in self.watched.turn(&mut last).chunks(AT_ONCE) {
                let looked = join_all(ids.iter().map(|id| self.look(*id, told.get(id).copied()))).await;
                for (id, drawn) in ids.iter().zip(looked) {
                    let drawn = match drawn {
                        Ok(Some(drawn)) => drawn,
                        Ok(None) => continue,
                        Err(error) => {
                            tracing::debug!(%id, error = format!("{error:#}"), "cannot look at a window");
                            continue;
                        }
                    };
                    let (is_over, convicted) = (drawn.window.is_over(), drawn.window.convicted);
                    if self.events.send(Event::Window(Box::new(drawn))).await.is_err() {
                        return;
                    }
                    told.insert(*id, convicted);
                    if is_over {
                        self.watched.ids().remove(id);
                        told.remove(id);
                    }
                }
            }
        }
    }

    /// A window with its draw, if there is something to tell of it besides what was told: whether it is convicted.
    async fn look(&self, id: B256, told: Option<bool>) -> Result<Option<Drawn>> {
        let window = self.windows.window(id).await?;
        self.watched.saw(id, window.exists());
        if !window.exists() || !window.is_over() && told == Some(window.convicted) {
            return Ok(None);
        }
        Ok(Some(Drawn { draw: self.windows.round(id, 0, 0).await?, window }))
    }
}

/// Whose turn it is: so many after the last one, and then from the first on.
pub(super) fn turn<T>(all: &BTreeMap<B256, T>, last: &mut B256, max: usize) -> BTreeSet<B256> {
    let after = all.range::<B256, _>((Excluded(*last), Unbounded)).map(|(id, _)| *id);
    let turn: Vec<B256> = after.chain(all.keys().copied()).take(max).collect();
    *last = turn.last().copied().unwrap_or_default();
    turn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_has_its_turn() {
        let all = |bytes: &[u8]| bytes.iter().map(|byte| (B256::repeat_byte(*byte), *byte)).collect::<BTreeMap<_, _>>();
        let ids = |bytes: &[u8]| all(bytes).into_keys().collect::<BTreeSet<B256>>();
        let (few, mut last) = (all(&[1, 2, 3]), B256::ZERO);
        for _ in 0..3 {
            assert_eq!(turn(&few, &mut last, 4), ids(&[1, 2, 3]));
        }
        let mut many = all(&[1, 2, 3, 4, 5, 6]);
        last = B256::ZERO;
        assert_eq!(turn(&many, &mut last, 4), ids(&[1, 2, 3, 4]));
        assert_eq!(turn(&many, &mut last, 4), ids(&[5, 6, 1, 2]));
        // The one that was last is over.
        many.remove(&B256::repeat_byte(2));
        assert_eq!(turn(&many, &mut last, 4), ids(&[3, 4, 5, 6]));
        assert_eq!(turn(&all(&[]), &mut last, 4), BTreeSet::new());
        assert_eq!(last, B256::ZERO);
    }

    #[test]
    fn a_window_is_absent_only_if_the_audit_said_so() {
        let (watched, id) = (Watched::default(), B256::repeat_byte(1));
        watched.add(id);
        assert!(!watched.is_absent(&id) && !watched.is_absent(&B256::ZERO));
        watched.saw(id, false);
        watched.add(id);
        assert!(watched.is_absent(&id));
        watched.saw(id, true);
        assert!(!watched.is_absent(&id));
        // A look that ends after the window was over leaves nothing.
        watched.saw(B256::ZERO, false);
        assert!(!watched.is_absent(&B256::ZERO));
    }
}
