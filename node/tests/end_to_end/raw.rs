//! A bare transport endpoint: no rule of the protocols binds it.

use crate::{matching::entry, network::Network, parties::account};
use iroh::{
    EndpointAddr, TransportAddr,
    endpoint::{QuicTransportConfig, VarInt, presets},
};
use keystead_blobs::{Address, NodeId};
use std::time::Duration;

/// No step of a raw peer takes longer unless something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A socket of a stranger.
pub(crate) struct Raw {
    pub(crate) endpoint: iroh::Endpoint,
}

impl Raw {
    /// On a loopback address of its own, so that it counts as another machine: 127.0.0.`host`.
    pub(crate) async fn bind(host: u8) -> Self {
        let builder = iroh::Endpoint::builder(presets::Minimal).clear_ip_transports();
        let builder = builder.bind_addr(format!("127.0.0.{host}:0")).unwrap();
        Self { endpoint: builder.bind().await.unwrap() }
    }

    /// As [`Self::bind`], with room for almost nothing that it is sent: the other side has to wait until it reads.
    pub(crate) async fn slow(host: u8) -> Self {
        let narrow = QuicTransportConfig::builder().stream_receive_window(VarInt::from_u32(1_024)).build();
        let builder = iroh::Endpoint::builder(presets::Minimal).clear_ip_transports().transport_config(narrow);
        let builder = builder.bind_addr(format!("127.0.0.{host}:0")).unwrap();
        Self { endpoint: builder.bind().await.unwrap() }
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId::from_bytes(self.endpoint.id().as_bytes()).unwrap()
    }

    pub(crate) async fn connect(&self, to: &Address, alpn: &[u8]) -> Result<iroh::endpoint::Connection, String> {
        let id = iroh::EndpointId::from_bytes(to.id().as_bytes()).unwrap();
        let peer = EndpointAddr::from_parts(id, to.sockets().iter().copied().map(TransportAddr::Ip));
        soon(self.endpoint.connect(peer, alpn)).await.map_err(|error| format!("{error:?}"))
    }
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("a step of the test hangs")
}

/// A message as it travels: length, kind, body.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [(body.len() as u32 + 1).to_be_bytes().as_slice(), &[kind], body].concat()
}

/// Where a provider says that it is reached.
pub(crate) fn address_of(network: &Network, number: usize) -> Address {
    entry(network, account(number)).endpoint.parse().unwrap()
}
