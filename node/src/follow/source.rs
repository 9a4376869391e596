//! One node that blocks are taken from, and what can be wrong with its answers.
//!
//! # Trust
//! Everything that comes from a source is hostile: its length is bounded while it arrives, its shape when it is parsed, its
//! blocks when they are decoded, and its certificates before anybody sees the blocks.

use super::standing::{Blame, Standings};
use crate::{certificate::CertificateForm, client::http};
use alloy_primitives::{B256, Bytes, U64};
use eyre::{Result, ensure};
use keystead_proof::{BlockWithCertificate, StretchError};
use keystead_state::{Chunk, Section};
use keystead_types::{Block, BlockError, Certificate};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Longest answer that is read: what a node may answer at most, 25 MB, with room for the frame.
const ANSWER_BYTES_MAX: usize = 26_000_000;
/// Sources that may be named: each costs a connection and a line of the log.
pub(crate) const SOURCES_MAX: usize = 64;
/// How long an answer may take. A slow line takes some seconds for the largest.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest part of a source's words that is repeated in a log, in characters.
const WORDS_CHARS_MAX: usize = 512;

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No connection, or it broke.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("too slow: timeout_ms={0}")]
    Slow(u128),
    /// An answer longer than any honest one.
    #[error("answer too large: max_bytes={ANSWER_BYTES_MAX}")]
    TooLarge,
    /// Another HTTP status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// Not the JSON that was asked for; the words name the field.
    #[error("not an answer: {0}")]
    Malformed(String),
    /// A JSON-RPC error.
    #[error("refused: code={code} {message}")]
    Refused {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// A field of the answer that cannot be true.
    #[error("field={field}: got={got} want={want}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it says.
        got: String,
        /// What it must say.
        want: String,
    },
    /// Bytes that are no block, or a body that is not the header's.
    #[error("field=block: place={place}: {source}")]
    Block {
        /// Position in the answer.
        place: usize,
        /// What is wrong.
        source: Box<BlockError>,
    },
    /// Blocks or certificates that do not fit.
    #[error(transparent)]
    Stretch(#[from] StretchError),
    /// A block that a certificate shows to be false.
    #[error("field=hash: gave a block that is not the one that the network made final: height={0} or above")]
    False(u64),
    /// Blocks that do not continue the chain.
    #[error("{0}")]
    Foreign(String),
    /// More blocks without a certificate than may wait.
    #[error("gives no certificate: {0}")]
    Uncertified(String),
    /// A hash of another transaction than the one that was sent.
    #[error("field=result: the hash of another transaction: got={got} want={want}")]
    OtherHash {
        /// What it answered.
        got: B256,
        /// The transaction's hash.
        want: B256,
    },
}

impl Fault {
    /// Whether the source lied, or is merely not there.
    pub(crate) const fn blame(&self) -> Blame {
        match self {
            Self::Unreachable(_) | Self::Slow(_) | Self::Status(_) | Self::Refused { .. } | Self::Uncertified(_) => {
                Blame::Absent
            }
            Self::TooLarge
            | Self::Malformed(_)
            | Self::Field { .. }
            | Self::Block { .. }
            | Self::Stretch(_)
            | Self::False(_)
            | Self::Foreign(_)
            | Self::OtherHash { .. } => Blame::Lied,
        }
    }
}

fn words(text: &impl fmt::Display) -> String {
    text.to_string().chars().take(WORDS_CHARS_MAX).filter(|it| !it.is_control()).collect()
}

/// What a source answered to a request for blocks, decoded.
pub(crate) struct Answer {
    /// The newest height that it says it can prove.
    pub(crate) head: u64,
    /// Blocks whose bodies are those of their headers. Nothing else is known of them.
    pub(crate) blocks: Vec<BlockWithCertificate>,
}

/// Which blocks to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// Height of the first.
    pub(crate) from: u64,
    /// How many.
    pub(crate) count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAnswer {
    chain_id: U64,
    head: U64,
    oldest: U64,
    blocks: Vec<RawBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlock {
    block: Bytes,
    certificate: Option<CertificateForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawChunk {
    entries: U64,
    raw_bytes: U64,
    chunk: Bytes,
    last: Bytes,
}

#[derive(Deserialize)]
struct Frame<T> {
    result: Option<T>,
    error: Option<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    code: i64,
    #[serde(default)]
    message: String,
}

/// One node's JSON-RPC address.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    http: reqwest::Client,
    url: Arc<str>,
}

impl Source {
    /// A source by its address.
    ///
    /// # Errors
    /// The address is not usable.
    pub(crate) fn new(url: &str) -> Result<Self> {
        // A source must not send us elsewhere.
        let http = http(url, |client| client.redirect(reqwest::redirect::Policy::none()))?;
        Ok(Self { http, url: url.into() })
    }

    /// Asks for blocks, and waits up to `wait` for the first if the source has none of them yet. Checks everything that needs
    /// neither key nor other blocks.
    pub(crate) async fn blocks(&self, range: Range, wait: Duration, chain_id: u64) -> Result<Answer, Fault> {
        let mut params = vec![format!("{:#x}", range.from), format!("{:#x}", range.count)];
        if !wait.is_zero() {
            params.push(format!("{:#x}", wait.as_millis()));
        }
        let raw: RawAnswer =
            self.call("keystead_getBlocks", &json!(params), wait.saturating_add(ANSWER_TIMEOUT)).await?;
        let decoded = tokio::task::spawn_blocking(move || decode(raw, range, chain_id)).await;
        decoded.map_err(|error| Fault::Malformed(error.to_string()))?
    }

    /// The genesis file that it says the chain began with.
    pub(crate) async fn genesis(&self) -> Result<Value, Fault> {
        self.call("keystead_getGenesis", &json!([]), ANSWER_TIMEOUT).await
    }

    /// Offers a transaction; its hash, or the source's refusal.
    pub(crate) async fn send(&self, raw: &Bytes, timeout: Duration) -> Result<B256, Fault> {
        self.call("eth_sendRawTransaction", &json!([raw]), timeout).await
    }

    /// The receipts of a block, EIP-2718.
    pub(crate) async fn receipts(&self, number: u64) -> Result<Vec<Bytes>, Fault> {
        self.call("debug_getRawReceipts", &json!([format!("{number:#x}")]), ANSWER_TIMEOUT).await
    }

    /// A chunk of the state after a block and the key of its last entry, behind a key; `None` if there is no more.
    pub(crate) async fn state(
        &self,
        number: u64,
        section: Section,
        after: &[u8],
    ) -> Result<Option<(Chunk, Vec<u8>)>, Fault> {
        let params = json!([format!("{number:#x}"), section.name(), Bytes::copy_from_slice(after)]);
        let raw: Option<RawChunk> = self.request("keystead_getState", &params, ANSWER_TIMEOUT).await?;
        Ok(raw.map(|raw| {
            let (entries, raw_bytes, packed) = (raw.entries.to(), raw.raw_bytes.to(), raw.chunk.to_vec());
            (Chunk { section, entries, raw_bytes, packed }, raw.last.to_vec())
        }))
    }

    /// Calls one method whose result is not null.
    async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<T, Fault> {
        let result = self.request(method, params, timeout).await?;
        result.ok_or_else(|| Fault::Malformed("neither result nor error".to_owned()))
    }

    /// Calls one method; `None` if the result is null.
    async fn request<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<Option<T>, Fault> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let body = tokio::time::timeout(timeout, self.post(&request)).await;
        let body = body.map_err(|_elapsed| Fault::Slow(timeout.as_millis()))??;
        let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice::<Frame<T>>(&body)).await;
        let parsed = parsed.map_err(|error| Fault::Malformed(error.to_string()))?;
        match parsed.map_err(|error| Fault::Malformed(words(&error)))? {
            Frame { error: Some(RawError { code, message }), .. } => {
                Err(Fault::Refused { code, message: words(&message) })
            }
            Frame { result, error: None } => Ok(result),
        }
    }

    /// The body of an answer, given up as soon as it is too long.
    async fn post(&self, request: &Value) -> Result<Vec<u8>, Fault> {
        let broken = |error: reqwest::Error| Fault::Unreachable(words(&error.without_url()));
        let mut response = self.http.post(&*self.url).json(request).send().await.map_err(broken)?;
        if response.status().as_u16() != 200 {
            return Err(Fault::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
                return Err(Fault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn decode(raw: RawAnswer, range: Range, chain_id: u64) -> Result<Answer, Fault> {
    let field = |field, got: u64, want: String| Fault::Field { field, got: got.to_string(), want };
    let (got, head, oldest): (u64, u64, u64) = (raw.chain_id.to(), raw.head.to(), raw.oldest.to());
    if got != chain_id {
        return Err(field("chainId", got, chain_id.to_string()));
    }
    let count = raw.blocks.len() as u64;
    if count > range.count {
        return Err(field("blocks", count, format!("at most {}", range.count)));
    }
    if count == 0 && head >= range.from && oldest <= range.from {
        return Err(field("blocks", 0, format!("block {}: head={head} oldest={oldest}", range.from)));
    }
    let end = range.from.saturating_add(count);
    if count > 0 && head < end.saturating_sub(1) {
        return Err(field("head", head, format!("at least {}: it gave this block", end.saturating_sub(1))));
    }
    // A node gives blocks up to its newest certificate.
    let bare = raw.blocks.last().is_some_and(|last| last.certificate.is_none());
    if bare && head < end {
        return Err(Fault::Field {
            field: "certificate",
            got: "null".to_owned(),
            want: format!("that of block {head}"),
        });
    }
    let mut blocks = Vec::with_capacity(raw.blocks.len());
    for (place, it) in raw.blocks.into_iter().enumerate() {
        let block = Block::decode(&it.block).map_err(|source| Fault::Block { place, source: Box::new(source) })?;
        let (block, bytes) = (Arc::new(block), it.block.len());
        blocks.push(BlockWithCertificate { block, bytes, certificate: it.certificate.map(Certificate::from) });
    }
    Ok(Answer { head, blocks })
}

/// All sources, and how each stands.
#[derive(Clone)]
pub(crate) struct Sources {
    all: Arc<[Source]>,
    standings: Arc<Mutex<Standings>>,
}

impl Sources {
    /// Sources by their addresses.
    ///
    /// # Errors
    /// An address that is not usable; none or too many.
    pub(crate) fn new(urls: &[String]) -> Result<Self> {
        let count = urls.len();
        ensure!((1..=SOURCES_MAX).contains(&count), "name 1 to {SOURCES_MAX} sources with --from: got {count}");
        let all = urls.iter().map(|url| Source::new(url)).collect::<Result<Arc<[Source]>>>()?;
        Ok(Self { standings: Arc::new(Mutex::new(Standings::new(all.len()))), all })
    }

    fn standings(&self) -> MutexGuard<'_, Standings> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The source that is used least of those that stand well; else how long until one may be asked again.
    pub(crate) fn choose(&self) -> Result<(usize, Source), Duration> {
        let index = self.standings().choose(Instant::now())?;
        self.all.get(index).map(|source| (index, source.clone())).ok_or(ANSWER_TIMEOUT)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// All sources, the ones that stand best first.
    pub(crate) fn ranked(&self) -> Vec<(usize, Source)> {
        let ranked = self.standings().ranked(Instant::now());
        ranked.into_iter().filter_map(|index| Some((index, self.all.get(index)?.clone()))).collect()
    }

    /// Takes note of the height that a source names.
    pub(crate) fn heard(&self, index: usize, head: u64) {
        self.standings().heard(index, head);
    }

    /// Takes note of a right answer.
    pub(crate) fn praise(&self, index: usize, head: u64) {
        self.standings().praise(index, head);
    }

    /// Takes note of a wrong or missing answer, and says so.
    pub(crate) fn blame(&self, index: usize, fault: &Fault) {
        let pause = self.standings().blame(index, fault.blame(), Instant::now());
        let source = self.all.get(index).map(ToString::to_string).unwrap_or_default();
        let pause_ms = pause.as_millis();
        match fault.blame() {
            Blame::Lied => tracing::warn!(%source, %fault, pause_ms, "a source lied: it is left alone"),
            Blame::Absent => tracing::warn!(%source, %fault, pause_ms, "a source does not answer: it is left alone"),
        }
    }

    /// The greatest height that a source in good standing says it can prove.
    pub(crate) fn head(&self) -> u64 {
        self.standings().head(Instant::now())
    }
}
