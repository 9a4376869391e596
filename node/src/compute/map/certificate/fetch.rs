//! The chain's part of a certificate: words of channels and of their windows, with the trie nodes that prove them, all of one block that is final.

use super::{
    arrange::Announced,
    make::{Missing, count},
};
use crate::{certificate::CertificateForm, client::Client, compute::account::Account};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::Decodable as _;
use eyre::{Context as _, Result, ensure, eyre};
use keystead_contracts::storage::channel::{Provider, Signer};
use keystead_proof::{
    AUDIT_ADDRESS, CHANNEL_ADDRESS, CHANNEL_SLOTS, MAP_NODES_MAX, MAP_WINDOWS_MAX, channel_slots, channel_window_slots,
};
use keystead_types::{Certificate, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// Slots of one question: a quarter of what a node takes, so that the answer is a few megabytes at most.
const SLOTS_MAX: usize = 256;
/// Blocks that are tried: a node keeps the states of the newest ones alone.
const TRIES_MAX: u32 = 30;
/// After this no further block is tried.
const FETCH_MAX: Duration = Duration::from_secs(30);
/// How long a certificate of the block may take.
const FINAL_MAX: Duration = Duration::from_secs(20);
/// The pause between two tries, and between two questions for a certificate.
const PAUSE: Duration = Duration::from_millis(500);

/// What the chain has of a map. Nothing in it is verified here: who puts the certificate together does that.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) certificate: Certificate,
    /// From the certified block down to the one of the words.
    pub(super) headers: Vec<Header>,
    pub(super) nodes: Vec<Bytes>,
    /// In the order in which the channels were asked for.
    pub(super) announced: Vec<Announced>,
}

/// As `keystead_getFinalization` answers.
#[derive(Debug, Deserialize)]
struct Finalization {
    certificate: CertificateForm,
    headers: Vec<Bytes>,
}

/// As `eth_getProof` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proved {
    account_proof: Vec<Bytes>,
    storage_proof: Vec<Slot>,
}

#[derive(Debug, Deserialize)]
struct Slot {
    key: B256,
    value: U256,
    proof: Vec<Bytes>,
}

/// Asks until one block gave everything, for a bounded time.
pub(super) async fn fetch(account: &Account, channels: &[B256]) -> Result<Proof, Missing> {
    let (begin, mut tries) = (Instant::now(), 1_u32);
    loop {
        let error = match attempt(account, channels).await {
            Ok(proof) => return Ok(proof),
            Err(error) => error,
        };
        let error = match error.downcast::<Missing>() {
            Ok(missing) => return Err(missing),
            Err(error) => error,
        };
        if tries >= TRIES_MAX || begin.elapsed() > FETCH_MAX {
            return Err(Missing::NotFetched(format!("{error:#}")));
        }
        tracing::debug!(error = format!("{error:#}"), "no proof of the audits yet");
        tries = tries.saturating_add(1);
        sleep(PAUSE).await;
    }
}

/// All of the newest block.
///
/// # Errors
/// The node's, which another block may mend, or a [`Missing`] that none mends.
async fn attempt(account: &Account, channels: &[B256]) -> Result<Proof> {
    let (client, (block, _)) = (account.client(), account.head().await?);
    let Finalization { certificate, headers } = finalization(client, block).await?;
    let decode = |bytes: &Bytes| Header::decode(&mut bytes.as_ref()).wrap_err("the node's header is none");
    let headers = headers.iter().map(decode).collect::<Result<Vec<Header>>>()?;
    let mut pool = Pool { client, block, nodes: BTreeSet::new() };
    let slots: Vec<B256> = channels.iter().flat_map(|channel| channel_slots(*channel)).collect();
    let announced = announced(channels, &pool.words(CHANNEL_ADDRESS, &slots).await?)?;
    let windows = announced.iter().fold(0_u64, |sum, channel| sum.saturating_add(channel.windows));
    let max = count(MAP_WINDOWS_MAX);
    ensure!(windows <= max, Missing::TooLarge { what: "windows", got: windows, max });
    let of = |channel: &Announced| {
        let number = channel.number;
        (1..=channel.windows).flat_map(move |window| channel_window_slots(number, window))
    };
    let slots: Vec<B256> = announced.iter().flat_map(of).collect();
    pool.words(AUDIT_ADDRESS, &slots).await?;
    Ok(Proof { certificate: certificate.into(), headers, nodes: pool.nodes.into_iter().collect(), announced })
}

/// What makes the block final, once it is.
async fn finalization(client: &Client, block: u64) -> Result<Finalization> {
    let begin = Instant::now();
    loop {
        let answer = client.call("keystead_getFinalization", json!([format!("{block:#x}")])).await?;
        if !answer.is_null() {
            return serde_json::from_value(answer).wrap_err("the node answers with something else than a finalization");
        }
        ensure!(begin.elapsed() <= FINAL_MAX, "block {block} has no certificate after {} s", FINAL_MAX.as_secs());
        sleep(PAUSE).await;
    }
}

/// Where each channel stands.
fn announced(channels: &[B256], words: &[B256]) -> Result<Vec<Announced>> {
    let (words, _) = words.as_chunks::<CHANNEL_SLOTS>();
    let of = |(channel, words): (&B256, &[B256; CHANNEL_SLOTS])| -> Result<Announced> {
        let [_, _, provider, signer, ..] = *words;
        let windows = Provider::decode(provider).wrap_err("the node's word of a channel is none")?.announced;
        let number = Signer::decode(signer).wrap_err("the node's word of a channel is none")?.number;
        Ok(Announced { channel: *channel, number, windows })
    };
    channels.iter().zip(words).map(of).collect()
}

/// The nodes of a block's tries, each once.
struct Pool<'a> {
    client: &'a Client,
    block: u64,
    nodes: BTreeSet<Bytes>,
}

impl Pool<'_> {
    /// The words of a contract's slots, in their order; what proves them is in the pool.
    async fn words(&mut self, contract: Address, slots: &[B256]) -> Result<Vec<B256>> {
        let block = format!("{:#x}", self.block);
        let mut words = Vec::with_capacity(slots.len());
        for part in slots.chunks(SLOTS_MAX) {
            let answer = self.client.call("eth_getProof", json!([contract, part, block])).await?;
            words.extend(self.take(answer, part)?);
            let (got, max) = (count(self.nodes.len()), count(MAP_NODES_MAX));
            ensure!(got <= max, Missing::TooLarge { what: "trie nodes", got, max });
        }
        Ok(words)
    }

    fn take(&mut self, answer: Value, slots: &[B256]) -> Result<Vec<B256>> {
        let proved: Proved =
            serde_json::from_value(answer).wrap_err("the node answers with something else than a proof")?;
        let is_asked = proved.storage_proof.iter().map(|slot| slot.key).eq(slots.iter().copied());
        if !is_asked {
            return Err(eyre!("the node proves other slots than those that it was asked for"));
        }
        self.nodes.extend(proved.account_proof);
        let mut words = Vec::with_capacity(slots.len());
        for Slot { value, proof, .. } in proved.storage_proof {
            self.nodes.extend(proof);
            words.push(value.into());
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn nodes_are_kept_once_and_a_proof_of_other_slots_is_refused() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let mut pool = Pool { client: &client, block: 7, nodes: BTreeSet::new() };
        let slots = [1, 2].map(B256::repeat_byte);
        let slot = |at: usize, value: &str| json!({"key": slots[at], "value": value, "proof": ["0x01", "0x02"]});
        let answer = json!({
            "accountProof": ["0x01", "0x03"],
            "storageProof": [slot(0, "0x0"), slot(1, "0xff")],
            "nonce": "0x1",
        });
        assert_eq!(pool.take(answer.clone(), &slots).unwrap(), [B256::ZERO, B256::with_last_byte(0xff)]);
        assert_eq!(pool.nodes.len(), 3);
        for other in [&slots[..1], &[slots[1], slots[0]]] {
            assert!(pool.take(answer.clone(), other).is_err());
        }
        assert!(pool.take(json!(null), &slots).is_err());
    }

    #[test]
    fn a_channel_is_read_from_its_fourth_and_fifth_word() {
        let mut words = vec![B256::ZERO; CHANNEL_SLOTS * 2];
        // Number and count of windows lie above the address, in the low end of 28 bytes.
        words[2][11] = 3;
        words[3][11] = 9;
        words[CHANNEL_SLOTS + 3][11] = 10;
        let channels = [1, 2].map(B256::repeat_byte);
        let found = announced(&channels, &words).unwrap();
        let expected = [(3, 9), (0, 10)].into_iter().zip(channels);
        let expected: Vec<_> =
            expected.map(|((windows, number), channel)| Announced { channel, number, windows }).collect();
        assert_eq!(found, expected);
        words[2][0] = 1;
        assert!(announced(&channels, &words).is_err());
    }
}
