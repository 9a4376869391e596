//! What providers get that did not hear goodbye: the voucher of their last window, and goodbye.
//!
//! # Design
//! A customer that has signed cannot know whether the voucher arrived before the provider died. So whoever did not end its line is dialled for as long as
//! the customer waits for the ends of its channels, in this process and in every later one. Spec: specs/0011-stream.md section 7.

use super::{
    conduct::Parts,
    line::Way,
    state::{Partner, State},
};
use crate::compute::{channels::Channels, customer::plan::Prepared, market::Market};
use alloy_primitives::{B256, Bytes, FixedBytes};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use eyre::{Context as _, Result, bail, eyre};
use keystead_blobs::{Endpoint, MemoryStore, NodeId, Parties, stream::FromCustomer};
use keystead_contracts::storage::channel::Status;
use keystead_lease::{Out, Provider};
use keystead_payment::{Domain, Payer, Sign, Signature, Standing, Voucher};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// The first pause between two tries; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// With what a map reaches its providers.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) endpoint: Endpoint,
    pub(super) signer: PrivateKeySigner,
    pub(super) market: Market,
    pub(super) channels: Channels,
    pub(super) prepared: Arc<Prepared>,
}

impl Means {
    pub(super) fn of(parts: &Parts<'_>, channels: &Channels) -> Self {
        let Parts { endpoint, signer, market, prepared, .. } = parts;
        let (endpoint, signer, market) = (endpoint.clone(), signer.clone(), market.clone());
        Self { endpoint, signer, market, channels: channels.clone(), prepared: Arc::clone(prepared) }
    }
}

/// The farewells of one map; dropped, they stop.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// Who has not heard yet.
    waiting: BTreeSet<Provider>,
    tasks: JoinSet<Provider>,
}

/// One provider's.
#[derive(Debug)]
struct Farewell {
    provider: Provider,
    channel: B256,
    lease: u64,
    partner: Partner,
    means: Arc<Means>,
}

impl Farewells {
    /// For every provider that may have something to come: all but those that are known to be served.
    pub(super) fn begin(means: Means, state: &State, served: &BTreeSet<Provider>) -> Self {
        let mut farewells = Self::default();
        let means = Arc::new(means);
        for (provider, partner) in state.providers() {
            let (Some(channel), Some(_), Some(lease)) =
                (partner.channel, &partner.payer, state.settled.get(&provider).copied())
            else {
                continue;
            };
            if served.contains(&provider) || state.table.out(provider) == Some(Out::Wrong) {
                continue;
            }
            let (partner, means) = (partner.clone(), Arc::clone(&means));
            let farewell = Farewell { provider, channel, lease, partner, means };
            farewells.waiting.insert(provider);
            farewells.tasks.spawn(farewell.run());
        }
        farewells
    }

    /// Those that have heard since the last call.
    pub(super) fn heard(&mut self) -> Vec<Provider> {
        let mut heard = Vec::new();
        while let Some(ended) = self.tasks.try_join_next() {
            // One that ended abnormally is not waited for any more, and has not heard.
            if let Ok(provider) = ended {
                self.waiting.remove(&provider);
                heard.push(provider);
            }
        }
        if self.tasks.is_empty() {
            self.waiting.clear();
        }
        heard
    }

    /// Whether this one still has something to come.
    pub(super) fn waits(&self, provider: Provider) -> bool {
        self.waiting.contains(&provider)
    }
}

impl Farewell {
    /// Until it has heard, or nothing is owed.
    async fn run(self) -> Provider {
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.attempt().await {
            tracing::debug!(provider = %self.partner.account, error = format!("{error:#}"), "no farewell yet");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
        self.provider
    }

    async fn attempt(&self) -> Result<()> {
        let Means { endpoint, signer, market, channels, prepared } = &*self.means;
        let (terms, standing) = channels.look(self.channel).await?;
        let price = self.partner.price().ok_or_else(|| eyre!("a provider asks nothing"))?;
        let record = self.partner.payer.as_ref().ok_or_else(|| eyre!("nothing was promised"))?;
        let payer = Payer::resume(terms, price, record).wrap_err("a channel's record cannot be trusted")?;
        let Some(voucher) = payer.last().copied() else { return Ok(()) };
        if is_final(&standing) || standing.claimed >= voucher.cumulative {
            return Ok(());
        }
        let node = NodeId::from_bytes(&self.partner.node_id.0).wrap_err("a provider's node id is none")?;
        let parties = Parties { customer: endpoint.id(), provider: node };
        let hello = Way::hello(signer, &prepared.spec, self.channel, parties).wrap_err("cannot sign")?;
        let (store, market) = (Arc::new(MemoryStore::default()), market.clone());
        let way = Way { account: self.partner.account, node, endpoint: endpoint.clone(), hello, store, market };
        let (mut link, _) = way.dial().await?;
        let signed = sign(signer, channels.account.chain_id(), voucher)?;
        link.say(&FromCustomer::Voucher { lease: self.lease, signed }).await?;
        link.say(&FromCustomer::Bye).await?;
        if !link.part().await {
            bail!("it did not hear all");
        }
        Ok(())
    }
}

/// A voucher with its signature, as it is sent.
pub(super) fn sign(signer: &PrivateKeySigner, chain_id: u64, voucher: Voucher) -> Result<Bytes> {
    let signed = voucher.sign(&Domain::of_chain(chain_id), &Key(signer))?;
    Ok(signed.to_bytes().into())
}

/// Whether a channel has ended.
pub(super) const fn is_final(standing: &Standing) -> bool {
    matches!(standing.status, Status::Closed | Status::Finished | Status::Expired)
}

/// The channel's key.
struct Key<'a>(&'a PrivateKeySigner);

impl Sign for Key<'_> {
    type Error = eyre::Report;

    fn sign(&self, digest: B256) -> Result<Signature> {
        let signature = self.0.sign_hash_sync(&digest).wrap_err("cannot sign")?;
        Ok(Signature(FixedBytes(signature.as_bytes())))
    }
}
