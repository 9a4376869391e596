//! The server: accepts connections, reads messages within bounds, and hands them to dispatch.
//!
//! # Design
//! HTTP and WebSocket share one port and one number of connections: each has a [`Guest`], which holds its place until it
//! ends.
//! axum routes; the accept loop is our own over hyper, because the bounds that keep hostile callers off (time for a
//! request's head, number of connections, time for reading an answer) are set there and `axum::serve` does not show
//! them. One task per connection; all of them end before [`serve`] returns.
//!
//! Trust: hostile input.

mod connection;
mod routes;
mod socket;

use crate::{
    context::Context,
    error::Error,
    limits::{Cors, ServerLimits},
    service::Service,
};
use axum::{Extension, http::HeaderValue};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long the loop waits after an accept that failed for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long the server waits for connections that it has cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// One connection's place, and how it learns that the server stops.
#[derive(Clone, Debug)]
struct Guest {
    /// Given back when the last owner is gone.
    _place: Arc<OwnedSemaphorePermit>,
    /// Its sender is dropped when the server stops; nothing is ever sent.
    stopped: watch::Receiver<()>,
}

/// Answers JSON-RPC over HTTP and WebSocket until `shutdown` completes; then lets open requests end and returns.
///
/// `POST /` takes JSON-RPC 2.0, single or batch; `GET /` with an upgrade becomes a WebSocket that takes the same messages
/// and sends notifications. `GET /health` answers 200 or 503 with the head's number and age,
/// `GET /metrics` Prometheus text.
/// Limits: [`ServerLimits`]. Must run on a multi-threaded tokio runtime.
///
/// # Errors
/// [`Error`] if the server cannot start. Once it runs, only `shutdown` ends it.
pub async fn serve(
    context: Context,
    listener: TcpListener,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let address = listener.local_addr()?;
    let cors = cors(&limits.cors)?;
    let service = Arc::new(Service::new(context, limits));
    let router = routes::router(Arc::clone(&service)).layer(cors);
    tracing::info!(%address, "rpc server listens");
    let (stop, stopped) = watch::channel(());
    let places_max = service.limits.connections_max.clamp(1, Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(places_max));
    let open = || places_max.saturating_sub(places.available_permits());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let guest = Guest { _place: Arc::new(place), stopped: stopped.clone() };
                        let router = router.clone().layer(Extension(guest));
                        let limits = service.limits.clone();
                        connections.spawn(connection::serve(stream, router, limits, stopped.clone()));
                    }
                    Err(_full) => {
                        service.metrics.connection_refused();
                        connection::refuse(&stream);
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "rpc server cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
        service.metrics.connections(open());
    }
    drop((listener, stop, stopped, router));
    // Each connection, HTTP or WebSocket, gives its place back when it ends.
    let all = u32::try_from(places_max).unwrap_or(u32::MAX);
    if tokio::time::timeout(service.limits.shutdown_timeout, places.acquire_many(all)).await.is_err() {
        tracing::warn!(open = open(), "rpc server cuts connections that did not end in time");
        connections.shutdown().await;
        let _ = tokio::time::timeout(CUT_TIME, places.acquire_many(all)).await;
    }
    tracing::info!(%address, "rpc server stopped");
    Ok(())
}

fn cors(cors: &Cors) -> Result<CorsLayer, Error> {
    let layer = CorsLayer::new()
        .allow_methods([axum::http::Method::GET, axum::http::Method::POST])
        .allow_headers([axum::http::header::CONTENT_TYPE])
        .max_age(Duration::from_secs(600));
    match cors {
        Cors::Any => Ok(layer.allow_origin(AllowOrigin::any())),
        Cors::Nobody => Ok(CorsLayer::new()),
        Cors::Only(origins) => {
            let origins = origins.iter().map(|it| HeaderValue::from_str(it).map_err(|_| Error::Origin(it.clone())));
            Ok(layer.allow_origin(AllowOrigin::list(origins.collect::<Result<Vec<_>, _>>()?)))
        }
    }
}
