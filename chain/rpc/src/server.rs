//! The HTTP server: accepts connections, reads bodies within bounds, and hands them to dispatch.
//!
//! # Design
//! axum routes; the accept loop is our own over hyper, because the bounds that keep hostile callers off (time for a
//! request's head, number of connections, time for reading an answer) are set there and `axum::serve` does not show
//! them. One task per connection; all of them end before [`serve`] returns.
//!
//! Trust: hostile input.

mod connection;
mod routes;

use crate::{
    context::Context,
    error::Error,
    limits::{Cors, ServerLimits},
    service::Service,
};
use axum::http::HeaderValue;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long the loop waits after an accept that failed for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers JSON-RPC over HTTP until `shutdown` completes; then lets open requests end and returns.
///
/// `POST /` takes JSON-RPC 2.0, single or batch. `GET /health` answers 200 or 503 with the head's number and age,
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
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= service.limits.connections_max => {
                    service.metrics.connection_refused();
                    connection::refuse(&stream);
                }
                Ok((stream, _)) => {
                    let serving = connection::serve(stream, router.clone(), service.limits.clone(), stopped.clone());
                    connections.spawn(serving);
                }
                Err(error) => {
                    tracing::warn!(%error, "rpc server cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
        service.metrics.connections(connections.len());
    }
    drop((listener, stop));
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(service.limits.shutdown_timeout, all_ended).await.is_err() {
        tracing::warn!(open = connections.len(), "rpc server cuts connections that did not end in time");
        connections.shutdown().await;
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
