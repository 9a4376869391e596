//! What the chain says of a round: randomness, times of blocks, what was recorded, who is drawn.

use crate::compute::account::Account;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolEvent as _;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_blobs::NodeId;
use keystead_contracts::{
    BEACON_ADDRESS, BOND_ADDRESS, PROVIDERS_ADDRESS, TOUCHSTONE_ADDRESS,
    bindings::{
        beacon::Beacon,
        bond::Bond,
        providers::Providers,
        touchstone::{ITouchstone, Touchstone as Calls},
    },
};
use keystead_market::touchstone::{
    Facts, Published, Recorded,
    challenge::Round,
    due::{self, CheckerDraw},
    round::{rows_height, vectors_height},
};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// How often a height's randomness is asked for.
const POLL: Duration = Duration::from_millis(100);
/// How long a height's randomness may take: values follow their blocks by two or three.
const RANDOMNESS_MAX: Duration = Duration::from_secs(60);

/// One node's view of the chain, and an account to record with.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) account: Arc<Account>,
}

/// When a block was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Unix milliseconds, from the header's extra data.
    pub(crate) ms: u64,
    /// Unix seconds.
    pub(crate) seconds: u64,
}

/// A provider's vectors came onto the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vectors {
    pub(crate) provider: Address,
    pub(crate) block: u64,
}

impl Chain {
    /// Whether this network has the contract: those that began earlier do not.
    pub(crate) async fn has_touchstone(&self) -> Result<bool> {
        let code = self.account.client().call("eth_getCode", json!([TOUCHSTONE_ADDRESS, "latest"])).await?;
        Ok(code.as_str().is_some_and(|code| code.len() > 2))
    }

    /// The newest height whose randomness is known; 0 if there is none.
    pub(crate) async fn newest_random(&self) -> Result<u64> {
        let newest = self.account.read(BEACON_ADDRESS, &Beacon::newestCall {}).await?;
        u64::try_from(newest).wrap_err("the beacon names a height that no chain has")
    }

    /// The randomness of a height; `None` while it is not on the chain.
    pub(crate) async fn randomness(&self, height: u64) -> Result<Option<B256>> {
        let answer = self.account.client().call("keystead_getBeacon", json!([format!("{height:#x}")])).await?;
        match answer.get("randomness") {
            None => Ok(None),
            Some(value) => Ok(Some(B256::deserialize(value).wrap_err("the randomness is not 32 bytes")?)),
        }
    }

    /// Waits for the randomness of a height.
    pub(crate) async fn await_randomness(&self, height: u64) -> Result<B256> {
        let start = Instant::now();
        loop {
            if let Some(randomness) = self.randomness(height).await? {
                return Ok(randomness);
            }
            let waited = start.elapsed();
            ensure!(
                waited < RANDOMNESS_MAX,
                "the beacon has no value of height {height} after {} s: the committee does not sign, or no block follows \
                 (`keystead dev` needs --block-time 1)",
                waited.as_secs()
            );
            sleep(POLL).await;
        }
    }

    /// When a block was made.
    pub(crate) async fn moment(&self, height: u64) -> Result<Moment> {
        let block = self.account.client().call("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?;
        ensure!(!block.is_null(), "the node does not have block {height}");
        let seconds = crate::client::quantity(block.get("timestamp").unwrap_or(&Value::Null))?;
        let extra = Bytes::deserialize(block.get("extraData").unwrap_or(&Value::Null));
        let extra = extra.wrap_err_with(|| format!("block {height} has no extra data"))?;
        let ms = extra.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
        // A block of another kind has whole seconds only.
        let ms = if ms.checked_div(1_000) == Some(seconds) { ms } else { seconds.saturating_mul(1_000) };
        Ok(Moment { ms, seconds })
    }

    /// Where and when a round is, from the chain alone.
    pub(crate) async fn round(&self, height: u64) -> Result<(Round, Moment)> {
        let beacon = self.randomness(height).await?;
        let beacon =
            beacon.ok_or_else(|| eyre!("height {height} has no randomness, so nobody was challenged there"))?;
        let moment = self.moment(height).await?;
        let chain_id = self.account.chain_id();
        Ok((Round { chain_id, height, time_s: moment.seconds, beacon }, moment))
    }

    /// Records the root of a challenge; the block in which that is. Devices do not wait for each other's blocks: their time runs.
    pub(crate) async fn record_root(&self, challenge: B256, root: B256) -> Result<u64> {
        let call = Calls::recordRootCall { challengeId: challenge, root };
        Ok(self.account.send_beside(TOUCHSTONE_ADDRESS, &call, U256::ZERO).await?.block_number)
    }

    /// Records the root of a challenge's vectors; the block in which that is.
    pub(crate) async fn record_vectors(&self, challenge: B256, root: B256) -> Result<u64> {
        let call = Calls::recordVectorsCall { challengeId: challenge, vectorsRoot: root };
        Ok(self.account.send_beside(TOUCHSTONE_ADDRESS, &call, U256::ZERO).await?.block_number)
    }

    async fn entry(&self, provider: Address, challenge: B256) -> Result<ITouchstone::Entry> {
        let call = Calls::entryOfCall { account: provider, challengeId: challenge };
        self.account.read(TOUCHSTONE_ADDRESS, &call).await
    }

    /// Everything that the chain says of a published round. The round is hostile: what it names is looked up, not believed.
    pub(crate) async fn facts(&self, published: &Published, answer_ms: u64) -> Result<Facts> {
        let (round, challenged) = self.round(published.height).await?;
        let mut recorded = Vec::new();
        for challenge in published.challenges(round)? {
            let entry = self.entry(published.provider, challenge.id()).await?;
            ensure!(
                entry.rootBlock != 0 && entry.vectorsBlock != 0,
                "device {} has not recorded its answer to this challenge",
                challenge.device
            );
            recorded.push(Recorded {
                root: entry.root,
                root_block: entry.rootBlock,
                root_ms: self.moment(entry.rootBlock).await?.ms,
                vectors_root: entry.vectorsRoot,
                vectors_block: entry.vectorsBlock,
                vectors_ms: self.moment(entry.vectorsBlock).await?.ms,
            });
        }
        let missing = || eyre!("the round has no device");
        let vectors_from = vectors_height(recorded.iter().map(|entry| entry.root_block)).ok_or_else(missing)?;
        let rows_from = rows_height(recorded.iter().map(|entry| entry.vectors_block)).ok_or_else(missing)?;
        Ok(Facts {
            round,
            challenge_ms: challenged.ms,
            recorded,
            vectors_from_ms: self.moment(vectors_from).await?.ms,
            vector_beacon: self.await_randomness(vectors_from).await?,
            rows_beacon: self.await_randomness(rows_from).await?,
            answer_ms,
        })
    }

    /// The checkers of a provider's round whose last vectors are in this block. Spec: specs/0010-capability.md §6.7.
    pub(crate) async fn checkers(&self, provider: Address, vectors_block: u64) -> Result<Vec<Address>> {
        let Some(height) = vectors_block.checked_add(1) else { return Ok(Vec::new()) };
        let randomness = self.await_randomness(height).await?;
        let now = self.account.read_at(BOND_ADDRESS, &Bond::placesNowCall {}, height).await?;
        let mut seats: BTreeMap<u32, Address> = BTreeMap::new();
        let mut seated = Vec::new();
        for place in CheckerDraw::new(provider, randomness).places(now.places) {
            let account = match seats.get(&place) {
                Some(account) => *account,
                None => {
                    let call = Bond::seatInCall { epoch: now.epoch, position: place };
                    let account = self.account.read_at(BOND_ADDRESS, &call, height).await?.account;
                    seats.insert(place, account);
                    account
                }
            };
            seated.push(account);
            if due::checkers(provider, seated.iter().copied()).len() == due::CHECKERS {
                break;
            }
        }
        Ok(due::checkers(provider, seated))
    }

    /// Whether anybody but this account holds a seat that may be drawn now.
    pub(crate) async fn has_checkers(&self) -> Result<bool> {
        let now = self.account.read(BOND_ADDRESS, &Bond::placesNowCall {}).await?;
        for position in 0..now.places.min(due::LOOKS_MAX) {
            let call = Bond::seatInCall { epoch: now.epoch, position };
            let account = self.account.read(BOND_ADDRESS, &call).await?.account;
            if !account.is_zero() && account != self.account.address() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether this account holds a seat.
    pub(crate) async fn is_seated(&self) -> Result<bool> {
        let call = Bond::accountOfCall { account: self.account.address() };
        Ok(self.account.read(BOND_ADDRESS, &call).await?.seats > 0)
    }

    /// Vectors that came onto the chain in blocks `first..=last`, oldest first.
    pub(crate) async fn vectors_recorded(&self, first: u64, last: u64) -> Result<Vec<Vectors>> {
        let topics = json!([Calls::VectorsRecorded::SIGNATURE_HASH]);
        let mut vectors = Vec::new();
        for log in self.account.logs(TOUCHSTONE_ADDRESS, first, last, topics).await? {
            let event = Calls::VectorsRecorded::decode_raw_log(log.topics.iter().copied(), &log.data)?;
            vectors.push(Vectors { provider: event.account, block: log.block_number });
        }
        Ok(vectors)
    }

    /// Where a provider says that it is reached, and the hash of its capability record. Hostile text.
    pub(crate) async fn listing(&self, provider: Address) -> Result<String> {
        let call = Providers::providerCall { account: provider };
        let entry = self.account.read(PROVIDERS_ADDRESS, &call).await;
        let entry = entry.wrap_err_with(|| format!("{provider} is no registered provider"))?;
        Ok(entry.endpoint)
    }

    /// The nodes of those accounts that say where they are reached.
    pub(crate) async fn nodes(&self, accounts: &[Address]) -> Vec<NodeId> {
        let mut nodes = Vec::new();
        for account in accounts {
            let Ok(listed) = self.listing(*account).await else { continue };
            nodes.extend(listed.parse::<keystead_blobs::Address>().map(|address| address.id()));
        }
        nodes
    }
}
