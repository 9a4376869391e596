//! Real processes on loopback: networks of validators, outside tools, crashes, bad input.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

mod appealed;
mod audited;
mod audits;
mod bad_input;
mod beacon;
mod canary;
mod canary_keep;
mod churn;
mod classes;
mod convicted;
mod crash;
mod crooks;
mod customer;
mod db;
mod detection;
mod dev;
mod dev_helpers;
mod dev_refusals;
mod dev_suites;
mod dice;
mod disk;
mod disk_pulse;
mod drawn;
mod due;
mod endurance;
mod ethereum_libraries;
mod ethereum_tools;
mod fee_tokens;
mod floods;
mod follow;
mod follower;
mod forgers;
mod foundry;
mod hostile;
mod http;
mod import;
mod later;
mod liar;
mod lies;
mod map;
mod map_audited;
mod map_price;
mod map_rogue;
mod map_tokens;
mod market;
mod matching;
mod named;
mod network;
mod overload;
mod owner;
mod owner_rates;
mod owner_watcher;
mod parties;
mod proofs;
mod raw;
mod recipes;
mod savings;
mod searched;
mod seats;
mod sender;
mod slow_source;
mod snapshot;
mod stopped;
mod tokens;
mod touchstone;
mod traffic;
mod websocket;
