//! This machine's node towards the others of the data network: its key, and the socket at which it is reached.
//!
//! # Design
//! A node that others come back to has its key and its port in two files of a folder. Who only asks has one that nobody knows again.
//!
//! # Invariants
//! The chain may name a customer's node to checkers. So every process that works in a folder has the same key, and the port of the one before unless
//! somebody else has taken it.

use crate::{compute::files, digits::hex_array};
use alloy_primitives::hex;
use eyre::{Context as _, Result};
use keystead_blobs::{Config, Endpoint, Limits, Meter, SecretKey, SessionError};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

const KEY_FILE: &str = "node.key";
const PORT_FILE: &str = "node.port";

/// A customer's node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) secret: SecretKey,
    port_file: PathBuf,
}

impl Node {
    /// The node of a folder that is there; it gets its key at the first call.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        Ok(Self { secret: key(folder)?, port_file: folder.join(PORT_FILE) })
    }

    /// Opens its socket, and notes the port that was really taken.
    pub(crate) async fn bind(&self, ip: IpAddr) -> Result<Endpoint> {
        let config = |port| config(self.secret.clone(), SocketAddr::new(ip, port));
        let before = self.port()?;
        let bound = match Endpoint::bind(config(before)).await {
            Err(_) if before != 0 => Endpoint::bind(config(0)).await,
            bound => bound,
        };
        let endpoint = bound.wrap_err("cannot open a socket")?;
        let port = endpoint.sockets().first().map_or(0, SocketAddr::port);
        files::replace(&self.port_file, port.to_string().as_bytes())?;
        Ok(endpoint)
    }

    /// Zero: any.
    fn port(&self) -> Result<u16> {
        let port = files::read(&self.port_file)?.and_then(|text| text.trim().parse().ok());
        Ok(port.unwrap_or(0))
    }
}

/// The socket of a node that nobody knows again, where it reaches these.
///
/// # Errors
/// As [`Endpoint::bind`].
pub(crate) async fn passing(others: &[SocketAddr]) -> Result<Endpoint, SessionError> {
    Endpoint::bind(config(SecretKey::generate(), SocketAddr::new(towards(others), 0))).await
}

/// Where a socket reaches these: on loopback if they are there, so that no other interface is opened.
pub(crate) fn towards(others: &[SocketAddr]) -> IpAddr {
    let loopback = others.iter().all(|other| other.ip().is_loopback());
    let v6 = !others.is_empty() && others.iter().all(SocketAddr::is_ipv6);
    match (loopback, v6) {
        (true, true) => Ipv6Addr::LOCALHOST.into(),
        (true, false) => Ipv4Addr::LOCALHOST.into(),
        (false, true) => Ipv6Addr::UNSPECIFIED.into(),
        (false, false) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn config(secret: SecretKey, bind: SocketAddr) -> Config {
    Config { secret, bind, advertise: Vec::new(), limits: Limits::default(), meter: Meter::default() }
}

/// The key in a folder; it is made at the first call.
pub(crate) fn key(folder: &Path) -> Result<SecretKey> {
    let path = folder.join(KEY_FILE);
    if let Some(text) = files::read_secret(&path)? {
        return Ok(SecretKey::from_bytes(&hex_array(&text, &format!("the key in {}", path.display()))?));
    }
    let key = SecretKey::generate();
    files::create_secret(&path, &format!("{}\n", hex::encode(key.to_bytes())))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_node_keeps_its_key_and_notes_its_port_and_takes_another_if_somebody_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let node = Node::of(folder.path()).unwrap();
        assert_eq!(node.port().unwrap(), 0);
        let first = node.bind(ip).await.unwrap();
        let port = first.sockets()[0].port();
        let again = Node::of(folder.path()).unwrap();
        assert_eq!((again.secret.id(), again.port().unwrap()), (first.id(), port));
        let second = again.bind(ip).await.unwrap();
        let other = second.sockets()[0].port();
        assert_ne!(other, port, "the first process has it still");
        assert_eq!(node.port().unwrap(), other);
    }

    #[test]
    fn a_socket_stays_on_loopback_if_all_others_are_there_and_speaks_what_they_speak() {
        let at = |others: &[&str]| {
            let others: Vec<SocketAddr> = others.iter().map(|other| other.parse().unwrap()).collect();
            towards(&others).to_string()
        };
        assert_eq!(at(&[]), "127.0.0.1");
        assert_eq!(at(&["127.0.0.1:9", "[::1]:9"]), "127.0.0.1");
        assert_eq!(at(&["[::1]:9"]), "::1");
        assert_eq!(at(&["127.0.0.1:9", "192.0.2.1:9"]), "0.0.0.0");
        assert_eq!(at(&["[2001:db8::1]:9", "192.0.2.1:9"]), "0.0.0.0");
        assert_eq!(at(&["[2001:db8::1]:9", "[::1]:9"]), "::");
    }
}
