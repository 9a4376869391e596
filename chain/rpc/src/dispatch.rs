//! Finds the method of each call, runs it in its lane and within its time, and joins the answers.
//!
//! # Design
//! Methods are plain functions without I/O of their own; everything asynchronous (queueing, time limits) is here. A
//! batch runs in one lane, one call after the other, so that a batch of many costs the node what one caller may cost.

use crate::{
    error::RpcError,
    lanes::Work,
    message::{Call, Id, Json, Message, Request, response},
    methods,
    params::Params,
    service::Service,
};
use axum::body::Bytes;
use std::{sync::Arc, time::Instant};

/// Bodies up to this length are read where they arrive; longer ones on a blocking thread, as they take milliseconds.
const PARSE_INLINE_BYTES_MAX: usize = 64 * 1024;

/// Answers one message. `None` if there is nothing to answer: it held only notifications.
///
/// Cost: bounded by the service's limits. Errors of any kind are answers.
pub(crate) async fn answer(service: &Arc<Service>, body: Bytes) -> Option<String> {
    let calls_max = service.limits.batch_requests_max;
    let parsed = if body.len() <= PARSE_INLINE_BYTES_MAX {
        Message::parse(&body, calls_max)
    } else {
        let parsed = service.lanes.run(Work::Read, move || Message::parse(&body, calls_max)).await;
        parsed.and_then(|parsed| parsed)
    };
    match parsed {
        Ok(message) => run(service, message).await,
        Err(error) => {
            service.metrics.refused();
            Some(response(&Id::Null, Err(error)))
        }
    }
}

async fn run(service: &Arc<Service>, message: Message) -> Option<String> {
    let work = message.calls().iter().map(work_of).max().unwrap_or(Work::Instant);
    let batch = matches!(message, Message::Batch(_));
    let ids: Vec<Id> = message.calls().iter().filter_map(|call| call.id.clone()).collect();
    let limit = service.limits.request_timeout;
    let _running = service.metrics.running();
    let runner = Arc::clone(service);
    // Time in the queue counts: work that begins late must not run on for a caller who was told that it timed out.
    let deadline = Instant::now().checked_add(limit);
    let job = move || match message {
        Message::Single(call) => {
            let mut bytes_left = runner.limits.response_bytes_max;
            run_call(&runner, call, &mut bytes_left, deadline)
        }
        Message::Batch(calls) => run_batch(&runner, calls, deadline),
    };
    let error = match tokio::time::timeout(limit, service.lanes.run(work, job)).await {
        Ok(Ok(text)) => return text,
        Ok(Err(busy)) => busy,
        Err(_elapsed) => RpcError::timeout(),
    };
    service.metrics.refused();
    let texts: Vec<_> = ids.iter().map(|id| response(id, Err(error.clone()))).collect();
    join(texts, batch)
}

fn work_of(call: &Call) -> Work {
    let method = call.content.as_ref().ok().and_then(|request| methods::find(&request.method));
    method.map_or(Work::Instant, |(_, method)| method.work)
}

/// Runs the calls in order until the time or the size of the answer is used up; the rest get errors.
fn run_batch(service: &Service, calls: Vec<Call>, deadline: Option<Instant>) -> Option<String> {
    let mut texts = Vec::with_capacity(calls.len());
    let mut bytes_left = service.limits.response_bytes_max;
    for call in calls {
        let late = deadline.is_some_and(|deadline| Instant::now() > deadline);
        let text = match call.id {
            Some(id) if late => Some(response(&id, Err(RpcError::timeout()))),
            None if late => None,
            _ => run_call(service, call, &mut bytes_left, deadline),
        };
        texts.extend(text);
    }
    join(texts, true)
}

fn join(texts: Vec<String>, batch: bool) -> Option<String> {
    match (texts.is_empty(), batch) {
        (true, _) => None,
        (false, true) => Some(format!("[{}]", texts.join(","))),
        (false, false) => texts.into_iter().next(),
    }
}

/// Runs one call; takes the size of its result off `bytes_left`, and refuses a result that is larger.
fn run_call(service: &Service, call: Call, bytes_left: &mut usize, deadline: Option<Instant>) -> Option<String> {
    let outcome = if *bytes_left == 0 {
        Err(too_large(service))
    } else {
        call.content.and_then(|it| run_request(service, it, deadline))
    };
    let outcome = outcome.and_then(|json| match bytes_left.checked_sub(json.bytes()) {
        Some(left) => {
            *bytes_left = left;
            Ok(json)
        }
        None => {
            *bytes_left = 0;
            Err(too_large(service))
        }
    });
    call.id.map(|id| response(&id, outcome))
}

fn too_large(service: &Service) -> RpcError {
    RpcError::response_too_large(service.limits.response_bytes_max)
}

fn run_request(service: &Service, request: Request, deadline: Option<Instant>) -> Result<Json, RpcError> {
    let Some((index, method)) = methods::find(&request.method) else {
        service.metrics.refused();
        return Err(RpcError::method_not_found(&request.method));
    };
    let start = Instant::now();
    let outcome = Params::new(method.params, request.params)
        .map(|params| params.until(deadline))
        .and_then(|params| (method.run)(service, &params));
    service.metrics.answered(index, outcome.is_ok(), start.elapsed());
    tracing::debug!(method = method.name, ok = outcome.is_ok(), "rpc");
    outcome
}
