//! Gives what was published to whoever asks, and takes statements. Spec: specs/0005-transfer.md §9.

use super::{
    allowance::{Allowance, Bounds, Drawn},
    shelf::{Given, Shelf},
};
use alloy_primitives::Bytes;
use alloy_rlp::Decodable as _;
use eyre::{Context as _, Result, eyre};
use keystead_blobs::{Address, Answer, Endpoint, NodeId, Question, ask};
use keystead_market::{
    record::Attested,
    touchstone::{
        Published,
        round::{DEVICES_MAX, PUBLISHED_BYTES_MAX},
    },
};
use keystead_owner::preferences;
use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::task::block_in_place;

/// The round that was published last.
const PUBLISHED: u8 = 0x41;
/// Statements about it.
const STATEMENTS: u8 = 0x42;
/// Why nothing was heard, with the step.
const UNREACHED: &str =
    "the provider is not reached: does it still run? `keystead offers` says who answers; then try again";

/// Answers for one provider.
pub(crate) struct Answers {
    shelf: Arc<Shelf>,
    /// The owner's, which may limit the volume.
    preferences: PathBuf,
    allowance: Mutex<Allowance>,
    /// What the allowance's time counts from.
    start: Instant,
}

impl Answers {
    /// Gives what is on the shelf, within what the owner allows strangers.
    pub(crate) fn new(shelf: Arc<Shelf>, preferences: PathBuf) -> Self {
        Self { shelf, preferences, allowance: Mutex::default(), start: Instant::now() }
    }

    /// The round, unless it was asked for too often.
    fn published(&self, peer: NodeId) -> Option<Bytes> {
        let Given { encoded, drawn_for } = self.shelf.given(peer)?;
        // Preferences that cannot be read let nothing move at all.
        let preferences = block_in_place(|| preferences::read(&self.preferences)).unwrap_or_default();
        let drawn = drawn_for.map(|height| Drawn { node: peer, height });
        let bytes = u64::try_from(encoded.len()).unwrap_or(u64::MAX);
        // No code panics while it holds this lock.
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let may = allowance.take(bytes, drawn, Bounds::of(&preferences.network), now_ms);
        drop(allowance);
        if !may {
            tracing::debug!(?peer, bytes, "strangers have asked too often for the proof of hardware: not given now");
        }
        may.then_some(encoded)
    }
}

impl Answer for Answers {
    fn answer(&self, peer: NodeId, question: Question) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            match question.kind {
                PUBLISHED if question.body.is_empty() => self.published(peer),
                STATEMENTS => {
                    let statements = read_statements(&question.body)?;
                    let taken = block_in_place(|| self.shelf.take(&statements));
                    let taken = taken.unwrap_or_else(|error| {
                        tracing::warn!(error = format!("{error:#}"), "cannot keep a checker's statements");
                        0
                    });
                    tracing::debug!(?peer, given = statements.len(), taken, "statements about the proof of hardware");
                    Some(vec![taken].into())
                }
                _ => None,
            }
        })
    }
}

/// A hostile list of at most one statement a device.
fn read_statements(body: &[u8]) -> Option<Vec<Attested>> {
    let mut rest = body;
    let statements = Vec::<Attested>::decode(&mut rest).ok()?;
    (rest.is_empty() && statements.len() <= DEVICES_MAX).then_some(statements)
}

/// Fetches what a provider published; how long that took, milliseconds.
///
/// # Errors
/// It is not reached, has published nothing or gives nothing more to strangers now, or what it gives is no round.
pub(crate) async fn fetch(endpoint: &Endpoint, address: &Address) -> Result<(Published, u64)> {
    let start = Instant::now();
    let question = Question { kind: PUBLISHED, body: Bytes::new() };
    let bytes = ask(endpoint, address, &question, PUBLISHED_BYTES_MAX).await.wrap_err(UNREACHED)?;
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let nothing = || {
        eyre!(
            "the provider has published no proof of hardware: with `--prove always` it makes one; or it was asked for it too often: ask again later"
        )
    };
    let bytes = bytes.ok_or_else(nothing)?;
    Ok((Published::decode(&bytes)?, took_ms))
}

/// Brings statements to the provider that they are about; how many it took.
pub(crate) async fn bring(endpoint: &Endpoint, address: &Address, statements: &[Attested]) -> Result<u8> {
    let body = alloy_rlp::encode(statements.to_vec());
    let question = Question { kind: STATEMENTS, body: body.into() };
    let answer = ask(endpoint, address, &question, 1).await.wrap_err(UNREACHED)?;
    Ok(answer.and_then(|answer| answer.first().copied()).unwrap_or_default())
}
