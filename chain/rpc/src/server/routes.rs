//! What stands at which path, and how a request's body is read within its bounds.

use super::{Guest, socket};
use crate::{
    dispatch,
    error::RpcError,
    limits::Cors,
    message::{Id, response},
    metrics,
    service::{BODY_UNIT_BYTES, Service},
};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Extension, FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{future::poll_fn, pin::Pin, sync::Arc};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes over the limit that are read and thrown away before the refusal, so that ordinary clients, which write the
/// whole body before they read, see the refusal and not a broken connection.
const DISCARDED_BYTES_MAX: usize = 32 * 1024 * 1024;

const HINT: &str = "This is the JSON-RPC port of a Keystead node: send POST / with content-type application/json, for example\n\
    {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}\n\
    WebSocket connects to the same address and takes the same messages.\n\
    GET /health and GET /metrics tell how the node is.\n";

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/", get(root).post(rpc))
        .route("/health", get(health))
        .route("/metrics", get(page))
        .with_state(service)
}

async fn health(State(service): State<Arc<Service>>) -> Response {
    let head = service.context.store.head();
    let age_ms = service.head_age_ms();
    let stale = u128::from(age_ms) > service.limits.head_age_max.as_millis();
    let (code, status) = if stale { (StatusCode::SERVICE_UNAVAILABLE, "stalled") } else { (StatusCode::OK, "ok") };
    let body = serde_json::json!({
        "status": status,
        "headNumber": head.number,
        "headHash": head.hash,
        "headAgeMs": age_ms,
        "poolTransactions": service.pool_size().transactions,
    });
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn page(State(service): State<Arc<Service>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, metrics::page(&service)).into_response()
}

/// A hint for people, or the beginning of a WebSocket.
async fn root(State(service): State<Arc<Service>>, Extension(guest): Extension<Guest>, request: Request) -> Response {
    let (mut parts, _body) = request.into_parts();
    if !parts.headers.contains_key(header::UPGRADE) {
        return HINT.into_response();
    }
    if !may_connect(&service.limits.cors, &parts.headers) {
        let error = RpcError::invalid_request("this origin may not connect");
        return refusal(&service, StatusCode::FORBIDDEN, error);
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => socket::upgrade(upgrade, service, guest),
        Err(rejection) => rejection.into_response(),
    }
}

/// Browsers connect WebSockets across origins without asking first, so the origin is checked here. Other programs send
/// none.
fn may_connect(cors: &Cors, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    match cors {
        Cors::Any => true,
        Cors::Nobody => false,
        Cors::Only(origins) => origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()),
    }
}

async fn rpc(State(service): State<Arc<Service>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let error = RpcError::invalid_request("content-type must be application/json");
        return refusal(&service, StatusCode::UNSUPPORTED_MEDIA_TYPE, error);
    }
    let reading = read(&service, &parts.headers, body);
    let (body, _room) = match tokio::time::timeout(service.limits.body_timeout, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(refused)) => return refused.answer(&service),
        Err(_elapsed) => return refusal(&service, StatusCode::REQUEST_TIMEOUT, RpcError::timeout()),
    };
    match dispatch::answer(&service, body, None).await {
        // The room is given back when the last byte is on its way.
        Some(answer) => json(StatusCode::OK, Bytes::from_owner(answer)),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn json(code: StatusCode, body: impl Into<Body>) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn refusal(service: &Service, code: StatusCode, error: RpcError) -> Response {
    service.metrics.refused();
    json(code, response(&Id::Null, Err(error)))
}

/// Browsers send other content types across origins without asking first, so only JSON's is taken.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/json-rpc", "application/jsonrequest"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Why a body was not read.
enum Refused {
    /// Longer than the limit.
    TooLarge,
    /// Other bodies take all the room.
    Busy,
    /// The connection broke.
    Broken,
}

impl Refused {
    fn answer(self, service: &Service) -> Response {
        let max_bytes = service.limits.body_bytes_max;
        match self {
            Self::TooLarge => {
                let error = RpcError::limit(format!("request body too large: limit {max_bytes} bytes"));
                refusal(service, StatusCode::PAYLOAD_TOO_LARGE, error)
            }
            Self::Busy => {
                let error = RpcError::limit("the node is busy: too many request bodies at once, try again later");
                refusal(service, StatusCode::SERVICE_UNAVAILABLE, error)
            }
            Self::Broken => refusal(service, StatusCode::BAD_REQUEST, RpcError::parse("the body ended early")),
        }
    }
}

/// Reads a body; the permit is its share of the room for bodies, taken as its bytes arrive.
async fn read(
    service: &Service,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refused> {
    let max = service.limits.body_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced > max) {
        let waits = headers.contains_key(header::EXPECT);
        if !waits {
            discard(&mut body).await;
        }
        return Err(Refused::TooLarge);
    }
    let mut read = Vec::new();
    let mut room: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = next_chunk(&mut body).await? {
        if chunk.len() > max.saturating_sub(read.len()) {
            discard(&mut body).await;
            return Err(Refused::TooLarge);
        }
        // By the length of the whole, so that many small chunks take no more than few large ones.
        let bytes = read.len().saturating_add(chunk.len());
        let units = bytes.div_ceil(BODY_UNIT_BYTES).saturating_sub(read.len().div_ceil(BODY_UNIT_BYTES));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&service.bodies).try_acquire_many_owned(units) else {
            discard(&mut body).await;
            return Err(Refused::Busy);
        };
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        read.extend_from_slice(&chunk);
    }
    Ok((read.into(), room))
}

/// The next bytes of a body; `None` at its end.
async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Refused> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(_broken)) => return Err(Refused::Broken),
            // Trailers carry nothing for us.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => continue,
            },
        }
    }
}

/// Reads a bounded rest of a body and throws it away.
async fn discard(body: &mut Body) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Ok(Some(chunk)) = next_chunk(body).await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}
