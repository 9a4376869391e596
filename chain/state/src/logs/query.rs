//! What a search for logs asks, and what it finds.

use super::{postings::term, search::Groups};
use alloy_primitives::{Address, B256, Log};

/// Which logs are wanted. No alternatives at a place means that any value will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Alternatives for the address.
    pub addresses: Vec<Address>,
    /// Alternatives for each topic.
    pub topics: [Vec<B256>; 4],
    /// Topics that a log must have at least.
    pub topics_min: usize,
}

impl LogQuery {
    /// True if a log is wanted.
    #[must_use]
    pub fn matches(&self, log: &Log) -> bool {
        let topics = log.topics();
        let topic = |(wanted, position): (&Vec<B256>, usize)| {
            wanted.is_empty() || topics.get(position).is_some_and(|topic| wanted.contains(topic))
        };
        topics.len() >= self.topics_min
            && (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.iter().zip(0..).all(topic)
    }

    /// True if no value is named: then every block must be read.
    #[must_use]
    pub fn names_nothing(&self) -> bool {
        self.addresses.is_empty() && self.topics.iter().all(Vec::is_empty)
    }

    /// The terms of the alternatives, place by place.
    pub(crate) fn groups(&self) -> Groups {
        let addresses: Vec<u64> = self.addresses.iter().map(|address| term(0, address.as_slice())).collect();
        let topics = (1_u8..).zip(&self.topics);
        let topics = topics.map(|(kind, topics)| topics.iter().map(|topic| term(kind, topic.as_slice())).collect());
        std::iter::once(addresses).chain(topics).filter(|group| !group.is_empty()).collect()
    }
}

/// A log with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// Height of the block.
    pub block_number: u64,
    /// Hash of the block.
    pub block_hash: B256,
    /// Time of the block in Unix seconds.
    pub block_timestamp: u64,
    /// Hash of the transaction.
    pub transaction_hash: B256,
    /// Index of the transaction in the block.
    pub transaction_index: u64,
    /// Index of the log in the block.
    pub log_index: u64,
    /// The log.
    pub log: Log,
}
