//! Where checkers come in at a customer's node, and the address at which they find it.
//!
//! # Invariants
//! Nobody is served whom the chain does not put on duty for a unit of a window that this customer has.
//!
//! Spec: specs/0008-audit.md §10, specs/0005-transfer.md §8.

use crate::compute::{
    checker::source::{self, Admitted},
    windows::Windows,
};
use alloy_primitives::B256;
use eyre::{Result, ensure, eyre};
use keystead_blobs::{
    Address, Authorise, CheckHello, Ended, Endpoint, Failure, FailureCode, Handler, Hello, Job, NodeId, Offer, Refusal,
    RefusalCode,
};
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Longest answer that the contract takes.
const KEY_BYTES_MAX: usize = 128;

/// What a customer has for checkers.
pub(crate) trait Gives: Send + Sync + 'static {
    /// Whether a window is one of this customer's.
    fn has(&self, window: B256) -> bool;

    /// What a checker whom the chain puts on duty may fetch.
    ///
    /// # Errors
    /// The refusal for the checker.
    fn offer(&self, admitted: &Admitted) -> Result<Offer, Refusal>;
}

/// Decides by the chain who is served.
#[derive(Debug)]
pub(crate) struct Door<G> {
    pub(crate) windows: Windows,
    /// This node.
    pub(crate) node: NodeId,
    pub(crate) gives: G,
}

impl<G: Gives> Authorise for Door<G> {
    async fn authorise(&self, _: NodeId, _: &Hello) -> Result<(), Refusal> {
        Err(Refusal::new(RefusalCode::NotAssigned, "this is a customer: it takes no orders"))
    }

    async fn on_duty(&self, checker: NodeId, hello: &CheckHello) -> Result<Offer, Refusal> {
        if !self.gives.has(hello.window) {
            return Err(Refusal::new(RefusalCode::NotAssigned, "this customer has no such window open"));
        }
        let admitted = source::admit(&self.windows, hello, checker, self.node).await?;
        self.gives.offer(&admitted)
    }
}

/// Never reached: nobody is authorised.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Handler for Nobody {
    async fn run(&self, _: &mut Job) -> Result<(), Failure> {
        Err(Failure::new(FailureCode::Internal, "this is a customer: it takes no orders"))
    }

    fn ended(&self, ended: Ended) {
        tracing::debug!(peer = ?ended.customer, outcome = ?ended.outcome, "a checker's session ended");
    }
}

/// Where checkers reach this node: its socket, or at all interfaces the one that leads to the first of these others to which there is a way.
pub(crate) fn reached(endpoint: &Endpoint, others: &[SocketAddr]) -> Result<String> {
    let bound = endpoint.sockets().into_iter().next().ok_or_else(|| eyre!("this node has no socket"))?;
    let socket = if bound.ip().is_unspecified() {
        let own = others.iter().find_map(|other| own_ip(bound.ip(), *other));
        let own = own.ok_or_else(|| eyre!("no provider has an address to which this machine has a way"))?;
        SocketAddr::new(own, bound.port())
    } else {
        bound
    };
    let text = Address::new(endpoint.id(), vec![socket])?.to_string();
    ensure!(text.len() <= KEY_BYTES_MAX, "this node's address is too long: bytes={} max={KEY_BYTES_MAX}", text.len());
    Ok(text)
}

/// This machine's address on the way to another. Sends nothing: the system only chooses the way.
fn own_ip(any: IpAddr, other: SocketAddr) -> Option<IpAddr> {
    let probe = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    probe.connect(other).ok()?;
    Some(probe.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_blobs::Config;

    #[tokio::test]
    async fn a_node_tells_an_address_that_can_be_dialled() {
        let own = Endpoint::bind(Config::loopback()).await.unwrap();
        assert_eq!(reached(&own, &[]).unwrap(), own.address().unwrap().to_string());
        let everywhere = Config { bind: "0.0.0.0:0".parse().unwrap(), ..Config::loopback() };
        let everywhere = Endpoint::bind(everywhere).await.unwrap();
        assert!(reached(&everywhere, &[]).is_err());
        // There is no way from a socket of the one family to an address of the other: the next one is tried.
        let others: [SocketAddr; 2] = ["[::1]:9", "127.0.0.1:9"].map(|other| other.parse().unwrap());
        let text = reached(&everywhere, &others).unwrap();
        let address: Address = text.parse().unwrap();
        assert_eq!(address.sockets()[0].port(), everywhere.sockets()[0].port());
        assert!(address.sockets()[0].ip().is_loopback() && address.id() == everywhere.id());
    }
}
