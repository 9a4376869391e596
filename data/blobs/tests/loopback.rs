//! Nothing leaves this machine: the sockets themselves cannot reach anyone but loopback.
//!
//! A test program of its own, because it looks at every socket of its process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use crate::support::{Conduct, Provider, customer, eventually, memory, open, sample, whole_session};
use keystead_blobs::Limits;

/// Reads the kernel's socket tables: no socket of this process may be able to reach beyond loopback. A socket that is
/// bound to a loopback address cannot, and one that is not bound to one is a failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_packet_can_leave_for_anyone_but_loopback() {
    let provider = Provider::start(Conduct::Deliver, None, Limits::default(), memory()).await;
    whole_session(&provider.address, 1).await;
    let endpoint = customer().await;
    let _session = open(&endpoint, &provider.address, 2, &[sample(1, 10)]).await.unwrap();
    // Other sockets of this process come and go: at start, the transport asks the kernel for its default interface by
    // connecting a socket that never sends. What stays must be bound to loopback.
    eventually("every socket is bound to loopback", || {
        let sockets = sockets_of_this_process();
        sockets.len() >= 2 && sockets.iter().all(|local| is_loopback(local))
    })
    .await;
}

/// The local addresses of this process's internet sockets, as the kernel's tables print them.
fn sockets_of_this_process() -> Vec<String> {
    let ours: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut sockets = Vec::new();
    for table in ["udp", "udp6", "tcp", "tcp6", "raw", "raw6", "icmp", "icmp6"] {
        let Ok(text) = std::fs::read_to_string(format!("/proc/self/net/{table}")) else { continue };
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if ours.iter().any(|ours| ours == fields[9]) {
                sockets.push(fields[1].to_owned());
            }
        }
    }
    sockets
}

/// Whether a local address of the tables is 127.0.0.1, which is printed in the machine's byte order.
fn is_loopback(local: &str) -> bool {
    local.starts_with(if cfg!(target_endian = "little") { "0100007F:" } else { "7F000001:" })
}

#[test]
fn the_check_of_sockets_sees_one_that_is_not_bound_to_loopback() {
    let open = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = format!(":{:04X}", open.local_addr().unwrap().port());
    let sockets = sockets_of_this_process();
    let local = sockets.iter().find(|local| local.ends_with(&port)).unwrap();
    assert!(!is_loopback(local));
}
