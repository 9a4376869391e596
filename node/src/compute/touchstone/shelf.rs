//! What this provider published last, and the statements of checkers about it: on the disk, and ready for whoever asks.
//!
//! # Invariants
//! Every statement here is signed by a checker that was drawn for the round that is here, about one of its challenges.

use super::{chain::Chain, measure::Device};
use crate::compute::files;
use alloy_primitives::{Address, B256, Bytes};
use eyre::{Context as _, Result};
use keystead_blobs::NodeId;
use keystead_market::{
    record::{Attested, Proved, Trust, attested::agreed},
    touchstone::{Published, due::quorum},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

const FOLDER: &str = "proof";
const PUBLISHED_FILE: &str = "published.rlp";
const ROUND_FILE: &str = "round.json";
const VERSION: u32 = 1;

/// What belongs to a round beside what is published.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    version: u32,
    /// Height of the challenge: the two files belong together if it is the same.
    height: u64,
    /// The devices that proved.
    devices: Vec<Device>,
    /// Ids of the challenges.
    challenges: Vec<B256>,
    /// The checkers that were drawn.
    checkers: Vec<Address>,
    /// Nodes of those of them that are listed as providers, as text.
    #[serde(default)]
    nodes: Vec<String>,
    /// What they stated.
    statements: Vec<Attested>,
}

/// What is given to whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) encoded: Bytes,
    /// Height of the round, if the asker was drawn to check it.
    pub(crate) drawn_for: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    published: Option<Published>,
    kept: Option<Kept>,
    /// The encoding that is given out.
    encoded: Bytes,
}

/// The shelf of one provider.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    provider: Address,
    chain_id: u64,
    state: Mutex<State>,
    /// Rises when statements come.
    news: watch::Sender<u64>,
}

impl Shelf {
    /// Opens the shelf in a provider's folder. What another account or a broken file left there counts as nothing.
    pub(crate) fn open(folder: &Path, provider: Address, chain_id: u64) -> Result<Self> {
        let folder = folder.join(FOLDER);
        files::private_folder(&folder)?;
        let state = read(&folder, provider).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "the last proof of hardware is not read: it is made anew");
            State::default()
        });
        Ok(Self { folder, provider, chain_id, state: Mutex::new(state), news: watch::Sender::new(0) })
    }

    /// The devices of the last round; none if there is none.
    pub(crate) fn devices(&self) -> Vec<Device> {
        self.locked().kept.as_ref().map(|kept| kept.devices.clone()).unwrap_or_default()
    }

    /// Height of the last round.
    pub(crate) fn height(&self) -> Option<u64> {
        self.locked().kept.as_ref().map(|kept| kept.height)
    }

    /// The checkers that were drawn for the last round.
    pub(crate) fn checkers(&self) -> Vec<Address> {
        self.locked().kept.as_ref().map(|kept| kept.checkers.clone()).unwrap_or_default()
    }

    /// What is given to a node that asks; `None` before the first round.
    pub(crate) fn given(&self, asker: NodeId) -> Option<Given> {
        let state = self.locked();
        let kept = state.kept.as_ref().filter(|_| state.published.is_some())?;
        let drawn_for = kept.nodes.contains(&asker.to_string()).then_some(kept.height);
        Some(Given { encoded: state.encoded.clone(), drawn_for })
    }

    /// Takes a new round in the place of the last one, whose statements are about something else.
    pub(crate) async fn publish(
        &self,
        chain: &Chain,
        published: Published,
        devices: Vec<Device>,
        checkers: Vec<Address>,
    ) -> Result<()> {
        let (round, _) = chain.round(published.height).await?;
        let challenges = published.challenges(round)?.iter().map(|challenge| challenge.id()).collect();
        let height = published.height;
        let nodes = chain.nodes(&checkers).await.iter().map(NodeId::to_string).collect();
        let kept = Kept { version: VERSION, height, devices, challenges, checkers, nodes, statements: Vec::new() };
        let bare = Published { statements: Vec::new(), ..published };
        let encoded = Bytes::from(bare.encode());
        files::replace(&self.folder.join(PUBLISHED_FILE), &encoded)?;
        self.write(&kept)?;
        *self.locked() = State { published: Some(bare), kept: Some(kept), encoded };
        Ok(())
    }

    fn write(&self, kept: &Kept) -> Result<()> {
        let json = serde_json::to_vec_pretty(kept).wrap_err("cannot write the proof's statements")?;
        files::replace(&self.folder.join(ROUND_FILE), &json)
    }

    /// Takes statements that somebody brought; how many were new and hold. Hostile: each is checked, signatures last.
    pub(crate) fn take(&self, statements: &[Attested]) -> Result<u8> {
        let mut state = self.locked();
        let State { published: Some(published), kept: Some(kept), encoded } = &mut *state else { return Ok(0) };
        let mut taken = 0u8;
        for entry in statements {
            let (device, checker) = (entry.statement.device, entry.statement.checker);
            let known =
                kept.statements.iter().any(|old| (old.statement.device, old.statement.checker) == (device, checker));
            let about = entry.statement.height == kept.height && kept.challenges.contains(&entry.statement.challenge);
            let drawn = |account: Address| kept.checkers.contains(&account);
            let trust = Trust { chain_id: self.chain_id, checkers: &drawn, oldest_s: 0 };
            if !known && about && entry.prove(self.provider, trust).is_ok() {
                kept.statements.push(*entry);
                taken = taken.saturating_add(1);
            }
        }
        if taken == 0 {
            return Ok(0);
        }
        kept.statements.sort_by_key(|entry| (entry.statement.device, entry.statement.checker));
        published.statements.clone_from(&kept.statements);
        *encoded = published.encode().into();
        let kept = kept.clone();
        drop(state);
        self.write(&kept)?;
        self.news.send_modify(|news| *news = news.saturating_add(1));
        Ok(taken)
    }

    /// Statements so far, strictly ascending by device and checker.
    pub(crate) fn statements(&self) -> Vec<Attested> {
        self.locked().kept.as_ref().map(|kept| kept.statements.clone()).unwrap_or_default()
    }

    /// What enough checkers agree on.
    pub(crate) fn proved(&self) -> Vec<Proved> {
        let state = self.locked();
        let Some(kept) = &state.kept else { return Vec::new() };
        let drawn = |account: Address| kept.checkers.contains(&account);
        let trust = Trust { chain_id: self.chain_id, checkers: &drawn, oldest_s: 0 };
        let proved: Vec<Proved> =
            kept.statements.iter().filter_map(|entry| entry.prove(self.provider, trust).ok()).collect();
        agreed(&proved, quorum(kept.checkers.len()))
    }

    /// Rises whenever statements come.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(folder: &Path, provider: Address) -> Result<State> {
    let Some(text) = files::read(&folder.join(ROUND_FILE))? else { return Ok(State::default()) };
    let kept: Kept = serde_json::from_str(&text).wrap_err("the round's file is damaged")?;
    let path = folder.join(PUBLISHED_FILE);
    let bytes = fs::read(&path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    let mut published = Published::decode(&bytes).wrap_err("the published file is damaged")?;
    if kept.version != VERSION || published.provider != provider || published.height != kept.height {
        return Ok(State::default());
    }
    published.statements.clone_from(&kept.statements);
    let encoded = published.encode().into();
    Ok(State { published: Some(published), kept: Some(kept), encoded })
}
