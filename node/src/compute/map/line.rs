//! A connection with one provider: dialled again and again while there is work, and the messages over it.

use super::events::Event;
use crate::compute::{market::Market, provider_log::Quota};
use alloy_primitives::{Address as Account, B256, Bytes, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use keystead_blobs::{
    Address, BlobStore, Endpoint, Hash, Hello, NodeId, Parties, Reason, RefusalCode, SessionError, Unavailable,
    stream::{self, FromCustomer, FromProvider, LeaseOffer, Link, RefuseCode, stream_digest},
};
use keystead_job::JobSpec;
use keystead_lease::Provider;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Commands that wait for a line.
pub(super) const COMMANDS_MAX: usize = 16;
/// The first pause between two dials; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the loop wants to be said.
#[derive(Debug)]
pub(super) enum Command {
    Lease {
        offer: LeaseOffer,
        pack: Vec<u8>,
    },
    Voucher {
        lease: u64,
        signed: Bytes,
    },
    Refuse {
        lease: u64,
        code: RefuseCode,
        reason: String,
    },
    Cancel {
        lease: u64,
    },
    /// The connection may be gone on the other side without a word: connect anew.
    Redial,
    /// There is no more work; the line ends.
    Bye,
}

/// How a provider is reached, and with what.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) account: Account,
    /// The node that the register names.
    pub(super) node: NodeId,
    pub(super) endpoint: Endpoint,
    pub(super) hello: Hello,
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) market: Market,
}

/// How a conversation ended.
#[derive(Debug)]
enum Talk {
    /// The connection was lost; why.
    Lost(String),
    /// There is no more work; whether the provider heard it.
    Over { heard: bool },
}

/// One provider's line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) provider: Provider,
    pub(super) way: Way,
    /// Program and common input.
    pub(super) shared: Vec<Hash>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    /// The last lease's pack, which is in the store until the next one.
    pub(super) pack: Option<Hash>,
    /// How many of its notes are heard; the others cost the loop nothing.
    pub(super) quota: Quota,
}

impl Way {
    /// What opens a stream over a channel: the channel's signer vouches for both nodes.
    pub(super) fn hello(
        signer: &PrivateKeySigner,
        job: &JobSpec,
        channel: B256,
        parties: Parties,
    ) -> Result<Hello, alloy_signer::Error> {
        let credential = signer.sign_hash_sync(&stream_digest(channel, parties))?;
        Ok(Hello {
            order: U256::from_be_bytes(channel.0),
            job: job.encode().into(),
            credential: Bytes::copy_from_slice(&credential.as_bytes()),
        })
    }

    /// Dials where the register says that the provider is now: after a restart that may be somewhere else. It counts only if it is the same
    /// node.
    pub(super) async fn dial(&self) -> Result<(Link<FromProvider>, Option<u64>), SessionError> {
        let nowhere = |detail: &str| SessionError::from(Unavailable::Unreachable { detail: detail.to_owned() });
        let read = self.market.endpoint_of(self.account).await;
        let endpoint = read.map_err(|error| nowhere(&format!("cannot read the register: {error:#}")))?;
        let address = endpoint.parse::<Address>().ok().filter(|address| address.id() == self.node);
        let address = address.ok_or_else(|| nowhere("the register names another node, or no address"))?;
        stream::dial(&self.endpoint, &address, self.hello.clone(), Arc::clone(&self.store)).await
    }
}

impl Line {
    /// Until it is told that there is no more work, or the provider does not want any. The provider, if it heard goodbye.
    pub(super) async fn run(mut self) -> Option<Provider> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.way.dial().await {
                Ok((link, holding)) => {
                    pause = PAUSE_MIN;
                    let provider = self.provider;
                    self.tell(Event::Connected { provider, holding }).await;
                    match self.converse(link).await {
                        Talk::Lost(reason) => self.tell(Event::Lost { provider, reason }).await,
                        Talk::Over { heard } => return heard.then_some(provider),
                    }
                }
                Err(SessionError::Refused(refusal)) if !is_passing(refusal.code) => {
                    self.tell(Event::Unwilling { provider: self.provider, reason: refusal.to_string() }).await;
                    return None;
                }
                Err(error) => tracing::debug!(provider = %self.way.account, %error, "not reached"),
            }
            if self.is_over_after(pause).await {
                return None;
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn tell(&self, event: Event) {
        // The loop is over if nobody listens.
        let _ = self.events.send(event).await;
    }

    /// Waits; true if there is no more work. What else was to be said is out of date by the next connection.
    async fn is_over_after(&mut self, pause: Duration) -> bool {
        let end = Instant::now().checked_add(pause);
        loop {
            let wait = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => if matches!(command, None | Some(Command::Bye)) {
                    return true;
                },
                () = wait => return false,
            }
        }
    }

    async fn converse(&mut self, mut link: Link<FromProvider>) -> Talk {
        link.offer(self.shared.iter().copied());
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    if matches!(command, Some(Command::Redial)) {
                        return Talk::Lost("this process stood still for longer than connections live".to_owned());
                    }
                    let bye = matches!(command, None | Some(Command::Bye));
                    if let Err(error) = self.say(&mut link, command.unwrap_or(Command::Bye)).await {
                        return if bye { Talk::Over { heard: false } } else { Talk::Lost(error.to_string()) };
                    }
                    if bye {
                        return Talk::Over { heard: link.part().await };
                    }
                }
                message = link.next() => match message {
                    Ok(FromProvider::Note(_)) if !self.quota.hears(std::time::Instant::now()) => {}
                    Ok(message) => {
                        let source = link.source();
                        self.tell(Event::Heard { provider: self.provider, message, source }).await;
                    }
                    Err(error) => return Talk::Lost(error.to_string()),
                },
            }
        }
    }

    async fn say(&mut self, link: &mut Link<FromProvider>, command: Command) -> Result<(), SessionError> {
        let message = match command {
            Command::Lease { offer, pack: bytes } => {
                if let Some(before) = self.pack.take() {
                    self.way.store.delete(before)?;
                }
                let name = self.way.store.put(&bytes)?;
                self.pack = Some(name);
                link.offer(self.shared.iter().copied().chain([name]));
                FromCustomer::Lease(offer)
            }
            Command::Voucher { lease, signed } => FromCustomer::Voucher { lease, signed },
            Command::Refuse { lease, code, reason } => {
                FromCustomer::Refuse { lease, code, reason: Reason::new(&reason) }
            }
            Command::Cancel { lease } => FromCustomer::Cancel { lease },
            // It ended the conversation before.
            Command::Redial => return Ok(()),
            Command::Bye => FromCustomer::Bye,
        };
        link.say(&message).await
    }
}

/// Whether a refusal may be another one a little later.
const fn is_passing(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::Busy | RefusalCode::ChainUnavailable | RefusalCode::Internal)
}
