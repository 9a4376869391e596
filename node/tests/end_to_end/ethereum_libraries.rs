//! The libraries that programs are written with, each in a real scenario against four validators: ethers, web3.py, alloy.

use crate::{
    ethereum_tools::{installed, npm, scenario, tools},
    network::{Network, PATIENCE, wait_until},
};
use alloy_eips::{BlockNumberOrTag, eip7702::Authorization};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_provider::{
    Provider, ProviderBuilder,
    network::{Ethereum, EthereumWallet, TransactionBuilder as _, TransactionBuilder7702 as _},
    transport::TransportError,
};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::SolCall as _;
use futures::StreamExt as _;
use serde_json::json;
use std::{path::Path, time::Duration};

/// The fixtures' bindings, with the calls that alloy makes through a provider.
#[allow(missing_docs, clippy::too_many_arguments, reason = "generated")]
mod bindings {
    alloy_sol_types::sol! {
        #[sol(rpc, all_derives)]
        Token,
        "../contracts/artifacts/Token.json"
    }
}
#[allow(missing_docs, clippy::too_many_arguments, reason = "generated")]
mod batch {
    alloy_sol_types::sol! {
        #[sol(rpc, all_derives)]
        Batch,
        "../contracts/artifacts/Batch.json"
    }
}
use batch::Batch;
use bindings::Token;

type Request = <Ethereum as alloy_provider::Network>::TransactionRequest;
type Receipt = <Ethereum as alloy_provider::Network>::ReceiptResponse;

/// What the node answers whose transaction is in no block after two seconds, as EIP-7966 has it.
const LATE: i64 = 4;

/// How often alloy's watchers ask; its default for a local node is 250 ms, longer than a block.
const POLL: Duration = Duration::from_millis(50);
const SUPPLY: u64 = 1_000_000;

#[test]
fn ethers_runs_tokens_events_nonces_proofs_delegation_and_permit() {
    let (Some(_), Some(_)) = (npm("ethers"), npm("@ethereumjs/mpt")) else { return };
    let (network, report) = scenario(Path::new("node"), "ethers.mjs");
    // What was replaced is nowhere.
    for index in 0..4 {
        wait_until("its pool has dropped what was replaced", || {
            let found = network.call(index, "eth_getTransactionByHash", json!([report["replaced"]]));
            found.is_null().then_some(())
        });
    }
}

#[test]
fn web3_py_runs_tokens_filters_batches_typed_transactions_and_subscriptions() {
    let python = tools().join(".venv").join("bin").join("python");
    let Some(python) = installed(&python, "the Python environment of node/tests/tools") else { return };
    scenario(&python, "scenario_web3.py");
}

#[test]
fn alloy_deploys_sends_and_watches() {
    // alloy's HTTP client wants one to be chosen, also for a URL without TLS.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    // A transaction that is sent with its receipt has two seconds.
    let network = Network::alone(4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (token, alice) = runtime.block_on(Box::pin(alloy(&network)));
    let data = Bytes::from(Token::balanceOfCall { account: alice }.abi_encode());
    for index in 0..4 {
        wait_until("every validator has the last transfer", || {
            let held = network.call(index, "eth_call", json!([{"to": token, "data": data}, "latest"]));
            (held == json!(format!("{:#066x}", 55 - 3))).then_some(())
        });
    }
}

/// The scenario; gives the token and who holds 52 of it at the end.
async fn alloy(network: &Network) -> (Address, Address) {
    let owner: PrivateKeySigner = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80".parse().unwrap();
    let alice: PrivateKeySigner = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse().unwrap();
    let mut wallet = EthereumWallet::from(owner.clone());
    wallet.register_signer(alice.clone());
    let provider = ProviderBuilder::new().wallet(wallet).connect_http(network.url(0).parse().unwrap());
    provider.client().set_poll_interval(POLL);
    assert_eq!(provider.get_chain_id().await.unwrap(), 19_283);

    let token = Token::deploy(&provider, U256::from(SUPPLY)).await.unwrap();
    let deployed = provider.get_block_number().await.unwrap();
    let mut told = token.Transfer_filter().topic1(owner.address()).watch().await.unwrap().into_stream();
    let mut blocks = provider.watch_blocks().await.unwrap().into_stream().flat_map(futures::stream::iter);

    // Ten in flight; the fillers give nonces, gas and fees.
    let mut sent = Vec::new();
    for value in 1..=10 {
        sent.push(token.transfer(alice.address(), U256::from(value)).send().await.unwrap());
    }
    for pending in sent {
        assert!(pending.with_timeout(Some(PATIENCE)).get_receipt().await.unwrap().status());
    }
    for value in 1..=10_u64 {
        let (event, log) = within(told.next()).await.unwrap().unwrap();
        assert_eq!((event.to, event.value), (alice.address(), U256::from(value)));
        assert!(!log.removed && log.block_number > Some(deployed));
    }
    let seen = within(blocks.next()).await.unwrap();
    let block = provider.get_block_by_hash(seen).await.unwrap().unwrap();
    assert!(block.header.number > deployed);

    assert_eq!(token.balanceOf(alice.address()).call().await.unwrap(), U256::from(55));
    let before = token.balanceOf(alice.address()).block(deployed.into()).call().await.unwrap();
    assert_eq!(before, U256::ZERO, "the state of an old block");
    let found = token.Transfer_filter().topic2(alice.address()).from_block(deployed).query().await.unwrap();
    assert_eq!(found.len(), 10);

    let refused = token.transfer(owner.address(), U256::from(56)).from(alice.address()).send().await.unwrap_err();
    let Some(Token::TokenErrors::ERC20InsufficientBalance(error)) = refused.as_decoded_interface_error() else {
        panic!("{refused}")
    };
    assert_eq!((error.sender, error.balance, error.needed), (alice.address(), U256::from(55), U256::from(56)));

    proof(&provider, *token.address(), alice.address()).await;
    delegation(&token, &alice).await;
    (*token.address(), alice.address())
}

/// `eth_sendRawTransactionSync` (EIP-7966) answers with the receipt; an EIP-7702 authorization lets one transaction of Alice's
/// make two calls.
async fn delegation<P: Provider + Clone>(token: &Token::TokenInstance<P>, alice: &PrivateKeySigner) {
    let provider = token.provider();
    let target = Batch::deploy(provider.clone()).await.unwrap();
    let nonce = provider.get_transaction_count(alice.address()).await.unwrap();
    let authorization = Authorization { chain_id: U256::from(19_283), address: *target.address(), nonce };
    let signature = alice.sign_hash_sync(&authorization.signature_hash()).unwrap();
    let request =
        Request::default().with_to(alice.address()).with_authorization_list(vec![authorization.into_signed(signature)]);
    let receipt = settled(provider, provider.send_transaction_sync(request).await).await;
    assert!(receipt.status() && receipt.block_number.is_some());
    let code = provider.get_code_at(alice.address()).await.unwrap();
    assert_eq!(code[..], [&[0xef, 0x01, 0x00][..], target.address().as_slice()].concat());

    let call = |value: u64| Batch::Call {
        to: *token.address(),
        value: U256::ZERO,
        data: Token::transferCall { to: *target.address(), value: U256::from(value) }.abi_encode().into(),
    };
    let own = Batch::new(alice.address(), provider.clone());
    let sent = own.execute(vec![call(1), call(2)]).from(alice.address()).send_sync().await;
    let sent = sent.map_err(|error| match error {
        alloy_contract::Error::TransportError(error) => error,
        other => panic!("{other}"),
    });
    let executed = settled(provider, sent).await;
    assert_eq!((executed.status(), executed.logs().len()), (true, 3));
}

/// The receipt of the answer; if a disk that stood still made it late, that of the transaction which the refusal names.
async fn settled<P: Provider>(provider: &P, answer: Result<Receipt, TransportError>) -> Receipt {
    let error = match answer {
        Ok(receipt) => return receipt,
        Err(error) => error,
    };
    let late = error.as_error_resp().filter(|error| error.code == LATE);
    let Some(Ok(hash)) = late.and_then(|error| error.try_data_as::<B256>()) else { panic!("{error}") };
    within(async {
        loop {
            if let Some(receipt) = provider.get_transaction_receipt(hash).await.unwrap() {
                return receipt;
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
}

/// The proof of a balance names the value, and its first node is what the header commits to.
async fn proof<P: Provider>(provider: &P, token: Address, holder: Address) {
    let slot = keccak256([B256::left_padding_from(holder.as_slice()), B256::ZERO].concat());
    let block = provider.get_block_by_number(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    let proof = provider.get_proof(token, vec![slot]).number(block.header.number).await.unwrap();
    assert_eq!(proof.storage_proof[0].value, U256::from(55));
    assert_eq!(keccak256(&proof.account_proof[0]), block.header.state_root);
    assert_eq!(keccak256(&proof.storage_proof[0].proof[0]), proof.storage_hash);
}

/// What comes in time.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}
