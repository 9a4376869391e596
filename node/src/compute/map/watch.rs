//! Looks at the windows of audited channels on the chain until they are over.

use super::events::Event;
use crate::compute::windows::Windows;
use alloy_primitives::B256;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// How often each window is looked at.
const LOOK: Duration = Duration::from_secs(3);

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
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let ids: Vec<B256> = self.watched.ids().keys().copied().collect();
            for id in ids {
                let drawn = match self.windows.drawn(id).await {
                    Ok(drawn) => drawn,
                    Err(error) => {
                        tracing::debug!(%id, error = format!("{error:#}"), "cannot look at a window");
                        continue;
                    }
                };
                self.watched.saw(id, drawn.window.exists());
                let (is_over, convicted) = (drawn.window.is_over(), drawn.window.convicted);
                if !drawn.window.exists() || !is_over && told.get(&id) == Some(&convicted) {
                    continue;
                }
                if self.events.send(Event::Window(Box::new(drawn))).await.is_err() {
                    return;
                }
                told.insert(id, convicted);
                if is_over {
                    self.watched.ids().remove(&id);
                    told.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
