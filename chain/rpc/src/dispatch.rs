//! Finds the method of each call, runs it in its lane and within its time, and joins the answers.
//!
//! # Design
//! Methods are plain functions without I/O of their own; everything asynchronous (queueing, time limits) is here. A
//! batch runs in one lane, one call after the other, so that a batch of many costs the node what one caller may cost.
//! Calls that wait for a block (`sync.rs`) hold no thread while they wait.

use crate::{
    error::RpcError,
    lanes::Work,
    message::{Call, Id, Json, Message, Request, response},
    methods::{self, eth::transaction, subscribe},
    params::Params,
    service::Service,
    subscriptions::Caller,
    sync::{self, Waiting},
};
use axum::body::Bytes;
use std::{sync::Arc, time::Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Bodies up to this length are read where they arrive; longer ones on a blocking thread, as they take milliseconds.
const PARSE_INLINE_BYTES_MAX: usize = 64 * 1024;

/// Transactions of a batch that are offered together: a few milliseconds of work for one core.
const OFFERS_MAX: usize = 128;

/// What a call has come to.
pub(crate) enum Slot {
    /// Its answer; `None` for a notification.
    Done(Option<String>),
    /// It waits for a receipt or a block.
    Waits(Waiting),
}

/// The answer to a message, with its share of the room for answers until it is dropped: that is, until it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    /// JSON.
    pub(crate) text: String,
    /// `None` for a refusal, which is small.
    _room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// An answer that says why there is none.
    pub(crate) const fn refusal(text: String) -> Self {
        Self { text, _room: None }
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Answers one message. `None` if there is nothing to answer: it held only notifications.
///
/// `caller` is given if the message came over a connection that takes notifications.
/// Cost: bounded by the service's limits. Errors of any kind are answers.
pub(crate) async fn answer(service: &Arc<Service>, body: Bytes, caller: Option<Arc<Caller>>) -> Option<Answer> {
    let calls_max = service.limits.batch_requests_max;
    let parsed = if body.len() <= PARSE_INLINE_BYTES_MAX {
        Message::parse(&body, calls_max)
    } else {
        let parsed = service.lanes.run(Work::Read, move || Message::parse(&body, calls_max)).await;
        parsed.and_then(|parsed| parsed)
    };
    match parsed {
        Ok(message) => run(service, message, caller).await,
        Err(error) => {
            service.metrics.refused();
            Some(Answer::refusal(response(&Id::Null, Err(error))))
        }
    }
}

async fn run(service: &Arc<Service>, message: Message, caller: Option<Arc<Caller>>) -> Option<Answer> {
    let work = message.calls().iter().map(|call| work_of(service, call)).max().unwrap_or(Work::Instant);
    let batch = matches!(message, Message::Batch(_));
    let ids: Vec<Id> = message.calls().iter().filter_map(|call| call.id.clone()).collect();
    let _running = service.metrics.running();
    let error = match run_slots(service, work, message, caller.clone()).await {
        Ok(Slots { slots, bytes_left, waiting }) => {
            let texts = sync::settle(service, slots, bytes_left).await;
            drop(waiting);
            let text = join(texts, batch)?;
            match service.answer_room(text.len()) {
                Some(room) => return Some(Answer { text, _room: Some(room) }),
                None => RpcError::limit("the node is busy: too many answers wait to be read, try again later"),
            }
        }
        Err(error) => error,
    };
    if let Some(caller) = caller {
        caller.abandon(service);
    }
    service.metrics.refused();
    join(ids.iter().map(|id| response(id, Err(error.clone()))).collect(), batch).map(Answer::refusal)
}

/// The calls of a message after they ran.
struct Slots {
    slots: Vec<Slot>,
    /// Bytes that answers may still have.
    bytes_left: usize,
    /// The message's share of the room for messages that wait.
    waiting: Option<OwnedSemaphorePermit>,
}

/// Runs the calls of a message in order in one lane, until the time or the size of the answer is used up.
async fn run_slots(
    service: &Arc<Service>,
    work: Work,
    message: Message,
    caller: Option<Arc<Caller>>,
) -> Result<Slots, RpcError> {
    let waits = message.calls().iter().any(|call| call.content.as_ref().is_ok_and(sync::waits));
    let waiting = match waits {
        true => Some(Arc::clone(&service.sync_waiting).try_acquire_owned().map_err(|_full| {
            RpcError::limit(
                "the node is busy: too many callers wait for blocks: use eth_sendRawTransaction, or do not wait",
            )
        })?),
        false => None,
    };
    let limit = service.limits.request_timeout;
    // Time in the queue counts: work that begins late must not run on for a caller who was told that it timed out.
    let deadline = Instant::now().checked_add(limit);
    let runner = Arc::clone(service);
    let job = move || {
        let mut bytes_left = runner.limits.response_bytes_max;
        let mut slots = Vec::with_capacity(message.calls().len());
        let mut calls = message.into_calls().into_iter().peekable();
        while let Some(call) = calls.next() {
            let late = deadline.is_some_and(|deadline| Instant::now() > deadline);
            match call.id {
                Some(id) if late => slots.push(Slot::Done(Some(response(&id, Err(RpcError::timeout()))))),
                None if late => slots.push(Slot::Done(None)),
                _ if is_offer(&call) => {
                    let mut offers = vec![call];
                    while let Some(next) = calls.next_if(|next| offers.len() < OFFERS_MAX && is_offer(next)) {
                        offers.push(next);
                    }
                    slots.extend(run_offers(&runner, offers, &mut bytes_left));
                }
                _ => slots.push(run_call(&runner, call, caller.as_deref(), &mut bytes_left, deadline)),
            }
        }
        (slots, bytes_left)
    };
    match tokio::time::timeout(limit, service.lanes.run(work, job)).await {
        Ok(ran) => ran.map(|(slots, bytes_left)| Slots { slots, bytes_left, waiting }),
        Err(_elapsed) => Err(RpcError::timeout()),
    }
}

fn work_of(service: &Service, call: &Call) -> Work {
    let method = call.content.as_ref().ok().and_then(|request| service.method(&request.method));
    method.map_or(Work::Instant, |(_, method)| method.work)
}

fn join(texts: Vec<String>, batch: bool) -> Option<String> {
    match (texts.is_empty(), batch) {
        (true, _) => None,
        (false, true) => Some(format!("[{}]", texts.join(","))),
        (false, false) => texts.into_iter().next(),
    }
}

/// Runs one call; takes the size of its result off `bytes_left`, and refuses a result that is larger.
fn run_call(
    service: &Service,
    call: Call,
    caller: Option<&Caller>,
    bytes_left: &mut usize,
    deadline: Option<Instant>,
) -> Slot {
    let Call { id, content } = call;
    let request = match content {
        Ok(_) if *bytes_left == 0 => return Slot::Done(id.map(|id| response(&id, Err(too_large(service))))),
        Ok(request) => request,
        Err(error) => return Slot::Done(id.map(|id| response(&id, Err(error)))),
    };
    if sync::waits(&request) {
        return match (sync::begin(service, request), id) {
            (Ok(begun), Some(id)) => Slot::Waits(begun.waiting(id)),
            (Err(error), Some(id)) => Slot::Done(Some(response(&id, Err(error)))),
            (_, None) => Slot::Done(None),
        };
    }
    let outcome = run_request(service, request, caller, deadline).and_then(|json| take_room(service, json, bytes_left));
    Slot::Done(id.map(|id| response(&id, outcome)))
}

fn is_offer(call: &Call) -> bool {
    call.content.as_ref().is_ok_and(|request| request.method == transaction::SEND_RAW)
}

/// Runs calls of `eth_sendRawTransaction` that follow each other. Each is answered as if it came alone.
fn run_offers(service: &Service, offers: Vec<Call>, bytes_left: &mut usize) -> Vec<Slot> {
    let start = Instant::now();
    let (mut ids, mut given) = (Vec::with_capacity(offers.len()), Vec::with_capacity(offers.len()));
    for Call { id, content } in offers {
        if let Ok(request) = content {
            ids.push(id);
            given.push(request.params);
        }
    }
    let answers: Vec<Result<Json, RpcError>> = match *bytes_left {
        0 => given.iter().map(|_| Err(too_large(service))).collect(),
        _ => transaction::send_many(service, given),
    };
    let share = start.elapsed().checked_div(u32::try_from(ids.len()).unwrap_or(u32::MAX)).unwrap_or_default();
    let index = methods::find(transaction::SEND_RAW).map(|(index, _)| index);
    ids.into_iter()
        .zip(answers)
        .map(|(id, answer)| {
            index.into_iter().for_each(|index| service.metrics.answered(index, answer.is_ok(), share));
            let answer = answer.and_then(|json| take_room(service, json, bytes_left));
            Slot::Done(id.map(|id| response(&id, answer)))
        })
        .collect()
}

/// Takes the size of a result off `bytes_left`.
///
/// Errors: response too large; then nothing is left for later calls either.
pub(crate) fn take_room(service: &Service, json: Json, bytes_left: &mut usize) -> Result<Json, RpcError> {
    match bytes_left.checked_sub(json.bytes()) {
        Some(left) => {
            *bytes_left = left;
            Ok(json)
        }
        None => {
            *bytes_left = 0;
            Err(too_large(service))
        }
    }
}

fn too_large(service: &Service) -> RpcError {
    RpcError::response_too_large(service.limits.response_bytes_max)
}

fn run_request(
    service: &Service,
    request: Request,
    caller: Option<&Caller>,
    deadline: Option<Instant>,
) -> Result<Json, RpcError> {
    let Some((index, method)) = service.method(&request.method) else {
        service.metrics.refused();
        return Err(RpcError::method_not_found(&request.method));
    };
    let start = Instant::now();
    let over_connection = caller.zip(subscribe::over_connection(method.name));
    let outcome = Params::new(method.params, request.params).map(|params| params.until(deadline)).and_then(|params| {
        match over_connection {
            Some((caller, run)) => run(service, caller, &params),
            None => (method.run)(service, &params),
        }
    });
    service.metrics.answered(index, outcome.is_ok(), start.elapsed());
    tracing::debug!(method = method.name, ok = outcome.is_ok(), "rpc");
    outcome
}
