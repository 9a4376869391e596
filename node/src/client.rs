//! A small JSON-RPC client for the commands that talk to a node.

use alloy_primitives::{B256, Bytes};
use eyre::{Context as _, Result, bail, ensure, eyre};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// JSON-RPC's code of a call that a contract reverted.
const REVERTED: i64 = 3;

/// What a node answered instead of a result. Find it in a report with `downcast_ref`.
#[derive(Clone, Debug)]
pub(crate) struct RpcFailure {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// What a reverted call returned.
    pub(crate) data: Option<Bytes>,
}

impl fmt::Display for RpcFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            // The message says so itself.
            REVERTED => f.write_str(&self.message),
            code => write!(f, "{} (code {code})", self.message),
        }
    }
}

impl std::error::Error for RpcFailure {}

/// One node's JSON-RPC address.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    /// As it may be shown.
    shown: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let http = http(url, |client| client.timeout(REQUEST_TIMEOUT))?;
        Ok(Self { http, url: url.to_owned(), shown: without_secret(url) })
    }

    /// Calls one method; a JSON-RPC error becomes an error with its message.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.post(&request).await?;
        result_of(&mut answer).wrap_err_with(|| format!("{method} on {}", self.shown))
    }

    /// Sends raw transactions in one batch; one result per transaction, in order.
    pub(crate) async fn send_batch(&self, transactions: &[Bytes]) -> Result<Vec<Result<B256>>> {
        let batch: Vec<Value> = transactions
            .iter()
            .enumerate()
            .map(|(id, raw)| json!({"jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw]}))
            .collect();
        let answer = self.post(&Value::Array(batch)).await?;
        let Value::Array(mut answers) = answer else {
            bail!("{} answered a batch with something else: {answer}", self.shown)
        };
        ensure!(answers.len() == transactions.len(), "{} answers for {} calls", answers.len(), transactions.len());
        answers.sort_by_key(|answer| answer.get("id").and_then(Value::as_u64));
        Ok(answers
            .iter_mut()
            .map(|answer| {
                let hash = result_of(answer)?;
                serde_json::from_value(hash).wrap_err("the answer is not a hash")
            })
            .collect())
    }

    /// A quantity such as `eth_blockNumber`.
    pub(crate) async fn quantity(&self, method: &str, params: Value) -> Result<u64> {
        quantity(&self.call(method, params).await?)
    }

    /// Sends a request that is JSON already; the answer as it came.
    pub(crate) async fn post_text(&self, body: String) -> Result<Vec<u8>> {
        let request = self.http.post(&self.url).header("content-type", "application/json").body(body);
        let response = request.send().await.wrap_err_with(|| self.unreachable())?;
        let bytes = response.bytes().await.wrap_err_with(|| format!("{} did not answer", self.shown))?;
        Ok(bytes.into())
    }

    async fn post(&self, body: &Value) -> Result<Value> {
        let response = self.http.post(&self.url).json(body).send().await.wrap_err_with(|| self.unreachable())?;
        response.json().await.wrap_err_with(|| format!("{} did not answer with JSON", self.shown))
    }

    fn unreachable(&self) -> String {
        format!(
            "cannot reach {}: is a node running there? Start one, or give the address of another: --rpc URL",
            self.shown
        )
    }
}

/// An address without the name and password that may stand in it: errors go to logs and terminals.
fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']);
    let (authority, path) = end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

/// What speaks with the node at `url`, made as `shape` says.
///
/// # Errors
/// It is no address of a node.
pub(crate) fn http(
    url: &str,
    shape: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client> {
    ensure!(
        url.starts_with("http://"),
        "{} is not an address of a node's JSON-RPC: write it as http://HOST:8545; https is not spoken",
        without_secret(url)
    );
    // The HTTP library wants a TLS provider to be named, plain HTTP or not. Only the first call can install one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    shape(reqwest::Client::builder()).build().wrap_err("cannot make an HTTP client")
}

/// Reads `0x…` as a number.
pub(crate) fn quantity(value: &Value) -> Result<u64> {
    let text = value.as_str().ok_or_else(|| eyre!("not a quantity: {value}"))?;
    let digits = text.strip_prefix("0x").ok_or_else(|| eyre!("not a quantity: {value}"))?;
    u64::from_str_radix(digits, 16).wrap_err_with(|| format!("not a quantity: {value}"))
}

fn result_of(answer: &mut Value) -> Result<Value> {
    if let Some(error) = answer.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        let data = error.get("data").and_then(|data| serde_json::from_value(data.clone()).ok());
        bail!(RpcFailure { code, message, data });
    }
    answer.get_mut("result").map(Value::take).ok_or_else(|| eyre!("the answer has neither result nor error"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_password_in_an_address_is_in_no_error() {
        for (url, shown) in [
            ("http://10.0.0.1:8545", "http://10.0.0.1:8545"),
            ("http://me:p@ss@10.0.0.1:8545/rpc?a@b", "http://10.0.0.1:8545/rpc?a@b"),
            ("https://me:secret@host", "https://host"),
            ("host/x@y", "host/x@y"),
        ] {
            assert_eq!(without_secret(url), shown);
        }
        let client = Client::new("http://me:secret@10.0.0.1:8545").unwrap();
        assert!(client.unreachable().contains("10.0.0.1:8545") && !client.unreachable().contains("secret"));
        let error = Client::new("https://me:secret@host").unwrap_err().to_string();
        assert!(error.contains("https://host is not an address") && !error.contains("secret"), "{error}");
    }
}
