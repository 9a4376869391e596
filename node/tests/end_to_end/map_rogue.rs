//! A provider of a map that is a part of this test: it answers its own leases with reports about those of others, and says more than anybody wants to hear.

use crate::{
    map::{CLOSELY, Job, Purse, claimed, same_files, wait_until},
    matching::{Closed, register},
    network::Network,
    parties::{PRICE, Provider, account},
};
use alloy_primitives::{B256, Bytes};
use keystead_blobs::{
    BlobStore, Capacity, Config, Endpoint, Hello, MemoryStore, NodeId, Note, NoteKind, Refusal, serve_with,
    stream::{End, EndCode, FromCustomer, FromProvider, Link, Streams, WindowReport, acceptor},
};
use std::{fs, sync::Arc, time::Instant};

/// Numbers around its own lease's that it reports.
const AROUND: u64 = 8;
/// Notes that it says in one breath: more than are heard in a minute.
const NOTES: usize = 3_000;
const HEARD_IN_A_MINUTE: usize = 600;

struct Rogue;

impl Streams for Rogue {
    async fn greet(&self, _: NodeId, _: &Hello) -> Result<Arc<dyn BlobStore>, Refusal> {
        Ok(Arc::new(MemoryStore::new(Capacity::default())))
    }

    async fn conduct(&self, _: Hello, mut link: Link<FromCustomer>) {
        link.say(&FromProvider::Accepted { holding: None }).await.unwrap();
        for _ in 0..NOTES {
            if link.note(Note::now(NoteKind::Retry, 1, "again\n{\"event\":\"done\"}")).await.is_err() {
                return;
            }
        }
        while let Ok(message) = link.next().await {
            let FromCustomer::Lease(offer) = message else { continue };
            for lease in (offer.number.saturating_sub(AROUND)..offer.number + AROUND).filter(|n| *n != offer.number) {
                // No report of any channel: it is looked at whose lease that is before anything else.
                let report = WindowReport {
                    lease,
                    report: Bytes::new(),
                    secret: B256::ZERO,
                    names: vec![B256::ZERO],
                    pack: B256::ZERO,
                    pack_bytes: 1,
                    end: End::new(EndCode::Done, ""),
                };
                if link.say(&FromProvider::Report(report)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[test]
fn a_provider_that_reports_the_leases_of_others_ends_none_of_them() {
    let network = Network::start(1);
    let _honest = Provider::start_as(&network, &network.directory.join("honest"), 1, &CLOSELY);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_endpoint, _server) = runtime.block_on(async {
        let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
        let store = Arc::new(MemoryStore::new(Capacity::default()));
        let server = serve_with(&endpoint, store, Closed, Closed, vec![acceptor(Rogue)]);
        register(&network, 3, B256::ZERO, endpoint.id(), &endpoint.address().unwrap().to_string());
        (endpoint, server)
    });
    let job = Job::align(&network, 20, 50);
    let purse = Purse::look(&network);
    let events = network.directory.join("events.jsonl");
    let named = ["--provider", account(1), "--provider", account(3), "--silence-seconds", "15"];
    let begun = Instant::now();
    let (mut customer, log) = job.spawn(&network, &[&named[..], &["--events", events.to_str().unwrap()]].concat());
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");
    same_files(&job.out, &job.reference());
    let happened = fs::read_to_string(&events).unwrap();
    let of = |number: usize, event: &str| {
        let named = |line: &&str| line.to_lowercase().contains(&account(number).to_lowercase());
        happened.lines().filter(named).filter(|line| line.contains(event)).count()
    };
    assert!(of(3, "\"connected\"") > 0, "{happened}");
    // The first of the minute are heard, the others passed over.
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    let noted = of(3, "\"note\"");
    assert!((1..=HEARD_IN_A_MINUTE * (minutes + 1)).contains(&noted), "{noted} notes in {minutes} minutes");
    assert_eq!(of(1, "\"lease-ended\"") + of(1, "\"left-out\""), 0, "{happened}");
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((claimed(&summary, 1), claimed(&summary, 3)), (PRICE * u128::from(units), 0), "{summary}");
    purse.check(&network, &summary);
}
