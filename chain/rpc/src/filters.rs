//! Filters over HTTP: what `eth_newFilter` and its like create, and what is new when they are polled.
//!
//! # Design
//! A filter is a cursor with an unpredictable name, so that only its creator can use it up. Time is a parameter; filters
//! that nobody asked for long are thrown out when another is created, and refused if they are asked too late.

use crate::{
    error::RpcError,
    feed::{Cursor, Watched},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The filters of one server.
#[derive(Debug, Default)]
pub(crate) struct Filters(Mutex<HashMap<u128, Entry>>);

#[derive(Debug)]
struct Entry {
    filter: Arc<Filter>,
    used: Instant,
}

/// One filter.
#[derive(Debug)]
pub(crate) struct Filter {
    /// What it watches.
    pub(crate) watched: Watched,
    /// Locked while it is polled.
    pub(crate) cursor: Mutex<Cursor>,
}

impl Filters {
    fn entries(&self) -> MutexGuard<'_, HashMap<u128, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a filter; its id.
    ///
    /// Cost: looks at all filters if there are as many as may be. Errors: limit error if they are all in use.
    pub(crate) fn add(
        &self,
        watched: Watched,
        cursor: Cursor,
        now: Instant,
        limits: &crate::ServerLimits,
    ) -> Result<u128, RpcError> {
        let max = limits.filters_max;
        let mut entries = self.entries();
        if entries.len() >= max {
            entries.retain(|_, entry| !entry.is_expired(now, limits.filter_timeout));
        }
        if entries.len() >= max {
            return Err(RpcError::limit(format!("too many filters: limit {max}, uninstall one or subscribe instead")));
        }
        let id = rand::random();
        let filter = Arc::new(Filter { watched, cursor: Mutex::new(cursor) });
        entries.insert(id, Entry { filter, used: now });
        drop(entries);
        Ok(id)
    }

    /// A filter, which counts as used now.
    ///
    /// Errors: server error if there is none of this id, or if it was not used for too long.
    pub(crate) fn find(&self, id: u128, now: Instant, timeout: Duration) -> Result<Arc<Filter>, RpcError> {
        let mut entries = self.entries();
        match entries.get_mut(&id) {
            Some(entry) if !entry.is_expired(now, timeout) => {
                entry.used = now;
                Ok(Arc::clone(&entry.filter))
            }
            Some(_) => {
                entries.remove(&id);
                Err(RpcError::server("filter not found: it was not used for too long"))
            }
            None => Err(RpcError::server("filter not found")),
        }
    }

    /// Puts cursors that stand beyond a block back to it.
    pub(crate) fn go_back(&self, block: u64) {
        for entry in self.entries().values() {
            entry.filter.cursor.lock().unwrap_or_else(PoisonError::into_inner).go_back(block);
        }
    }

    /// Removes a filter; false if there is none of this id.
    pub(crate) fn remove(&self, id: u128) -> bool {
        self.entries().remove(&id).is_some()
    }
}

impl Entry {
    fn is_expired(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.used) > timeout
    }
}
