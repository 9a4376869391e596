//! Gives what was published to whoever asks, and takes statements. Spec: specs/0005-transfer.md §9.

use super::shelf::Shelf;
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
use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

/// The round that was published last.
const PUBLISHED: u8 = 0x41;
/// Statements about it.
const STATEMENTS: u8 = 0x42;
/// Why nothing was heard, with the step.
const UNREACHED: &str =
    "the provider is not reached: does it still run? `keystead offers` says who answers; then try again";

/// Answers for one provider.
pub(crate) struct Answers {
    pub(crate) shelf: Arc<Shelf>,
}

impl Answer for Answers {
    fn answer(&self, peer: NodeId, question: Question) -> Pin<Box<dyn Future<Output = Option<Bytes>> + Send + '_>> {
        Box::pin(async move {
            match question.kind {
                PUBLISHED if question.body.is_empty() => self.shelf.encoded(),
                STATEMENTS => {
                    let statements = read_statements(&question.body)?;
                    let taken = tokio::task::block_in_place(|| self.shelf.take(&statements));
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
/// It is not reached, has published nothing, or what it gives is no round.
pub(crate) async fn fetch(endpoint: &Endpoint, address: &Address) -> Result<(Published, u64)> {
    let start = Instant::now();
    let question = Question { kind: PUBLISHED, body: Bytes::new() };
    let bytes = ask(endpoint, address, &question, PUBLISHED_BYTES_MAX).await.wrap_err(UNREACHED)?;
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let bytes = bytes
        .ok_or_else(|| eyre!("the provider has published no proof of hardware: with `--prove always` it makes one"))?;
    Ok((Published::decode(&bytes)?, took_ms))
}

/// Brings statements to the provider that they are about; how many it took.
pub(crate) async fn bring(endpoint: &Endpoint, address: &Address, statements: &[Attested]) -> Result<u8> {
    let body = alloy_rlp::encode(statements.to_vec());
    let question = Question { kind: STATEMENTS, body: body.into() };
    let answer = ask(endpoint, address, &question, 1).await.wrap_err(UNREACHED)?;
    Ok(answer.and_then(|answer| answer.first().copied()).unwrap_or_default())
}
