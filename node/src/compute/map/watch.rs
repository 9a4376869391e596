//! Looks at the windows of audited channels on the chain until they are over.

use super::events::Event;
use crate::compute::windows::Windows;
use alloy_primitives::B256;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// How often each window is looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Which windows are looked at; clones share it. As many as are paid and not over.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<Mutex<BTreeSet<B256>>>);

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
        self.ids().insert(id);
    }

    fn ids(&self) -> MutexGuard<'_, BTreeSet<B256>> {
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
            let ids: Vec<B256> = self.watched.ids().iter().copied().collect();
            for id in ids {
                let drawn = match self.windows.drawn(id).await {
                    Ok(drawn) => drawn,
                    Err(error) => {
                        tracing::debug!(%id, error = format!("{error:#}"), "cannot look at a window");
                        continue;
                    }
                };
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
