//! The transport from outside: sessions, questions and streams over loopback, with honest and hostile peers.

mod check;
mod hostile_customer;
mod hostile_provider;
mod inquiry;
mod loopback;
mod notes;
mod questions;
mod rates;
mod session;
mod stream;
mod support;
