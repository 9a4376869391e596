//! This machine's place in the network: one UDP socket, one identity, no third party.
//!
//! # Design
//! The transport (iroh, QUIC over UDP) can find peers through relays, DNS and port mapping; all three are off here, so
//! that no packet leaves for anyone but the peer that was named. Connections are encrypted end to end and prove both
//! identities (TLS 1.3 with the Ed25519 keys that are the node ids). When relays of our own are added, only this file
//! changes.
//!
//! # Limits
//! Peers exchange the addresses at which they may be reached, and the transport probes up to eight of them with a few
//! packets. A hostile peer can so make an endpoint that is bound to all interfaces send a few small packets to strangers;
//! one that is bound to loopback sends nothing beyond it.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::{
    EndpointAddr, RelayMode, TransportAddr,
    endpoint::{ConnectError, ConnectOptions, Connection, IdleTimeout, QuicTransportConfig, VarInt, presets},
};
use tokio::task::AbortHandle;

use crate::{
    address::{Address, NodeId},
    connection::{unreachable, within},
    error::{SessionError, Unavailable},
    limits::{ALPN, ALPN_BEFORE, CHECK_ALPN, Limits, STREAMS_MAX, WINDOW_BYTES, WINDOW_BYTES_MIN},
    rate::Meter,
};

/// The Ed25519 secret behind a node id. The caller persists it; printing it shows no secret.
#[derive(Clone)]
pub struct SecretKey(iroh::SecretKey);

impl SecretKey {
    /// A fresh key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(iroh::SecretKey::generate())
    }

    /// A key that was persisted. Any 32 bytes are a key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(iroh::SecretKey::from_bytes(bytes))
    }

    /// The secret 32 bytes, to be persisted where only this node reads them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::new(self.0.public())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.id())
    }
}

/// How to open an [`Endpoint`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The identity.
    pub secret: SecretKey,
    /// The one local socket; port 0 takes a free port.
    pub bind: SocketAddr,
    /// What peers are told to dial, if it is not the local socket (behind a router, or bound to all interfaces).
    pub advertise: Vec<SocketAddr>,
    /// What peers may cost.
    pub limits: Limits,
    /// How fast bytes may move, and how many have. The caller keeps a clone to change the rates.
    pub meter: Meter,
}

impl Config {
    /// A random identity on a free port of the loopback interface, with default limits.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            secret: SecretKey::generate(),
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            limits: Limits::default(),
            meter: Meter::default(),
        }
    }
}

/// An open socket with an identity. Clones share it. It serves as provider ([`crate::serve`]) and as customer
/// ([`crate::Session`]) at the same time; until it serves, incoming connections are refused.
#[derive(Clone, Debug)]
pub struct Endpoint {
    inner: iroh::Endpoint,
    advertise: Vec<SocketAddr>,
    limits: Limits,
    meter: Meter,
    refuser: Arc<Refuser>,
}

impl Endpoint {
    /// Opens the socket. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// [`Unavailable::Bind`]: the port is taken or the address is not this machine's.
    pub async fn bind(config: Config) -> Result<Self, SessionError> {
        let Config { secret, bind, advertise, limits, meter } = config;
        let unbound = |detail: String| SessionError::from(Unavailable::Bind { detail });
        let builder = iroh::Endpoint::builder(presets::Minimal)
            .secret_key(secret.0)
            .relay_mode(RelayMode::Disabled)
            .clear_address_lookup()
            .clear_ip_transports()
            .transport_config(transport(&limits)?)
            .bind_addr(bind)
            .map_err(|error| unbound(error.to_string()))?;
        let inner = builder.bind().await.map_err(|error| unbound(chain(&error)))?;
        let endpoint = Self { inner, advertise, limits, meter, refuser: Arc::default() };
        endpoint.refuse_incoming();
        Ok(endpoint)
    }

    /// This machine's identity.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::new(self.inner.id())
    }

    /// The limits that this endpoint was opened with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The meter that this endpoint was opened with: all its sessions share it.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The local sockets, with the ports that were really taken.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.inner.bound_sockets()
    }

    /// What to publish, so that customers reach this machine: the advertised sockets, or else the local one.
    ///
    /// # Errors
    /// [`Unavailable::NoAddress`]: bound to all interfaces and nothing to advertise.
    pub fn address(&self) -> Result<Address, SessionError> {
        let sockets = if self.advertise.is_empty() { self.sockets() } else { self.advertise.clone() };
        Ok(Address::new(self.id(), sockets).map_err(Unavailable::from)?)
    }

    /// Closes all connections, tells the peers, and ends what serves or uses this endpoint.
    pub async fn close(&self) {
        self.inner.close().await;
    }

    /// Dials a peer and proves its identity, within the handshake's time limit.
    pub(crate) async fn connect(&self, address: &Address) -> Result<Connection, SessionError> {
        self.connect_as_either(address, ALPN, &[ALPN_BEFORE]).await
    }

    /// The same for another protocol.
    pub(crate) async fn connect_as(&self, address: &Address, alpn: &'static [u8]) -> Result<Connection, SessionError> {
        self.connect_as_either(address, alpn, &[]).await
    }

    /// Offers several versions of a protocol in one handshake, the dearest first; the peer takes the first of its own that is among them.
    pub(crate) async fn connect_as_either(
        &self,
        address: &Address,
        alpn: &'static [u8],
        besides: &[&'static [u8]],
    ) -> Result<Connection, SessionError> {
        let sockets = address.sockets().iter().copied().map(TransportAddr::Ip);
        let peer = EndpointAddr::from_parts(address.id().inner(), sockets);
        let options = ConnectOptions::new().with_additional_alpns(besides.iter().map(|alpn| alpn.to_vec()).collect());
        let dial = async { Ok::<_, ConnectError>(self.inner.connect_with_opts(peer, alpn, options).await?.await?) };
        let connect = async { dial.await.map_err(|error| unreachable(&error)) };
        // The transport's own future is large; it is kept off the callers' stacks.
        within("connection", self.limits.handshake_timeout, Box::pin(connect)).await
    }

    /// Begins to accept [`ALPN`] and the version before, [`CHECK_ALPN`] and what else is named; incoming connections are the caller's from now on.
    pub(crate) fn accept_incoming(&self, besides: &[&'static [u8]]) -> &iroh::Endpoint {
        self.refuser.set(None);
        self.inner.set_alpns([ALPN, ALPN_BEFORE, CHECK_ALPN].iter().chain(besides).map(|alpn| alpn.to_vec()).collect());
        &self.inner
    }

    /// Refuses whoever dials: an endpoint that does not serve must not let them pile up.
    pub(crate) fn refuse_incoming(&self) {
        self.inner.set_alpns(Vec::new());
        let inner = self.inner.clone();
        let refuse = async move {
            while let Some(incoming) = inner.accept().await {
                incoming.refuse();
            }
        };
        self.refuser.set(Some(tokio::spawn(refuse).abort_handle()));
    }
}

/// The task that refuses incoming connections; it ends with the last clone of its endpoint.
#[derive(Debug, Default)]
struct Refuser(Mutex<Option<AbortHandle>>);

impl Refuser {
    fn set(&self, task: Option<AbortHandle>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(previous) = std::mem::replace(&mut *current, task) {
            previous.abort();
        }
    }
}

impl Drop for Refuser {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// QUIC's own bounds: what a peer may open and send before this program looks at it.
fn transport(limits: &Limits) -> Result<QuicTransportConfig, SessionError> {
    let idle = IdleTimeout::try_from(limits.idle_timeout)
        .map_err(|_| SessionError::Misuse { what: "idle timeout is out of range" })?;
    Ok(QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        // Whoever fetches widens it to what its rate wants.
        .receive_window(VarInt::from_u32(WINDOW_BYTES_MIN))
        .send_window(u64::from(WINDOW_BYTES))
        .max_idle_timeout(Some(idle))
        .build())
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
