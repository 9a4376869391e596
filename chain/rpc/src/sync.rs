//! Calls that are answered when a block comes: `eth_sendRawTransactionSync` (EIP-7966), and `keystead_getBlocks` of a follower
//! that has all blocks.
//!
//! # Design
//! The transaction is offered in its lane like any other. Then the message waits, without a thread, until the receipt or
//! the block is there, the transaction is gone, or its time is over; it looks again when the store has something new. A
//! receipt that can be read is final, so the answer is too.

use crate::{
    dispatch::{Slot, take_room},
    error::RpcError,
    message::{Id, Json, Request, response},
    methods::{
        self,
        blocks::{self, Range},
        eth::transaction,
    },
    params::{Count, Params},
    service::Service,
};
use alloy_primitives::B256;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The method that always waits.
const METHOD: &str = "eth_sendRawTransactionSync";

/// True if a call is answered by [`begin`] and [`settle`].
pub(crate) fn waits(request: &Request) -> bool {
    request.method == METHOD || blocks::waits(request)
}

/// What a call waits for.
#[derive(Clone, Copy)]
enum Awaited {
    /// The receipt of a transaction that was taken.
    Receipt(B256),
    /// The first block of a range.
    Blocks(Range),
}

impl Awaited {
    const fn method(self) -> &'static str {
        match self {
            Self::Receipt(_) => METHOD,
            Self::Blocks(_) => blocks::NAME,
        }
    }
}

/// A call that began to wait.
pub(crate) struct Begun {
    awaited: Awaited,
    begun: Instant,
    timeout: Duration,
}

/// A call that waits, and its id.
pub(crate) struct Waiting {
    id: Id,
    begun: Begun,
}

impl Begun {
    /// The call that this belongs to.
    pub(crate) const fn waiting(self, id: Id) -> Waiting {
        Waiting { id, begun: self }
    }

    fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= self.timeout
    }
}

/// Offers the transaction of a call, or reads which blocks it wants.
///
/// Errors: those of `eth_sendRawTransaction`; wrong parameters.
pub(crate) fn begin(service: &Service, request: Request) -> Result<Begun, RpcError> {
    let begun = Instant::now();
    let Some((index, method)) = methods::find(&request.method) else {
        return Err(RpcError::method_not_found(&request.method));
    };
    let started = Params::new(method.params, request.params).and_then(|params| {
        if method.name == blocks::NAME {
            let (range, wait) = blocks::waited(&params)?;
            return Ok((wait.min(service.limits.sync_timeout_max), Awaited::Blocks(range)));
        }
        Ok((timeout(service, &params)?, Awaited::Receipt(transaction::offer(service, &params)?)))
    });
    match started {
        Ok((timeout, awaited)) => Ok(Begun { awaited, begun, timeout }),
        Err(error) => {
            service.metrics.answered(index, false, begun.elapsed());
            Err(error)
        }
    }
}

/// The time that the caller gives; the node's own if it gives none, or one out of bounds, as the EIP has it.
fn timeout(service: &Service, params: &Params) -> Result<Duration, RpcError> {
    let limits = &service.limits;
    let asked = params.find::<Count>(1)?.map(|Count(millis)| Duration::from_millis(millis));
    Ok(asked.filter(|it| !it.is_zero() && *it <= limits.sync_timeout_max).unwrap_or(limits.sync_timeout))
}

/// A message whose calls are not all done.
struct Open {
    slots: Vec<Slot>,
    bytes_left: usize,
}

/// Waits until all calls of a message are done; their answers in order.
pub(crate) async fn settle(service: &Arc<Service>, slots: Vec<Slot>, bytes_left: usize) -> Vec<String> {
    // Subscribed before the first look, so that no block falls in between.
    let mut news = service.news();
    let open = Arc::new(Mutex::new(Open { slots, bytes_left }));
    while lock(&open).waits() {
        let (looker, shared) = (Arc::clone(service), Arc::clone(&open));
        let looked = service.lanes.run_patiently(move || lock(&shared).look(&looker)).await;
        let left = match looked {
            Ok(left) => left,
            Err(error) => {
                lock(&open).fail(&error);
                break;
            }
        };
        let Some(left) = left else { break };
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep(left) => {}
        }
    }
    let slots = std::mem::take(&mut lock(&open).slots);
    slots.into_iter().filter_map(|slot| if let Slot::Done(text) = slot { text } else { None }).collect()
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// How long until the first call's time is over; `None` if no call waits.
    fn left(&self, now: Instant) -> Option<Duration> {
        let waiting = self.slots.iter().filter_map(|slot| if let Slot::Waits(it) = slot { Some(it) } else { None });
        let left = waiting.map(|it| it.begun.timeout.saturating_sub(now.saturating_duration_since(it.begun.begun)));
        left.min()
    }

    fn waits(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Waits(_)))
    }

    /// Answers the calls whose wait is over; how long until the next one's is, if one still waits.
    fn look(&mut self, service: &Service) -> Option<Duration> {
        for slot in &mut self.slots {
            let Slot::Waits(waiting) = slot else { continue };
            let outcome = match outcome(service, &waiting.begun) {
                Ok(None) => continue,
                Ok(Some(json)) => take_room(service, json, &mut self.bytes_left),
                Err(error) => Err(error),
            };
            if let Some((index, _)) = methods::find(waiting.begun.awaited.method()) {
                service.metrics.answered(index, outcome.is_ok(), waiting.begun.begun.elapsed());
            }
            *slot = Slot::Done(Some(response(&waiting.id, outcome)));
        }
        self.left(Instant::now())
    }

    fn fail(&mut self, error: &RpcError) {
        for slot in &mut self.slots {
            if let Slot::Waits(waiting) = slot {
                *slot = Slot::Done(Some(response(&waiting.id, Err(error.clone()))));
            }
        }
    }
}

/// What the call waits for, if it is there; an error if it will not come in time. Blocks that do not come are no error: the
/// answer has none.
fn outcome(service: &Service, begun: &Begun) -> Result<Option<Json>, RpcError> {
    let hash = match begun.awaited {
        Awaited::Receipt(hash) => hash,
        Awaited::Blocks(range) => {
            let over = blocks::is_there(service, range)? || begun.is_late(Instant::now());
            return over.then(|| blocks::answer(service, range)).transpose();
        }
    };
    // In this order: a transaction is in its block before it leaves the pool.
    let executable = {
        let pool = service.pool();
        pool.contains(&hash).then(|| pool.is_executable(&hash))
    };
    if let Some(receipt) = transaction::receipt_of(service, &hash)? {
        return Ok(Some(receipt));
    }
    let waited_ms = begun.timeout.as_millis();
    match executable {
        None => Err(RpcError::server(format!("the transaction left the pool: it was replaced or outbid: {hash}"))),
        Some(_) if !begun.is_late(Instant::now()) => Ok(None),
        Some(true) => Err(RpcError::not_included(hash, waited_ms)),
        Some(false) => Err(RpcError::not_ready(hash, waited_ms)),
    }
}
