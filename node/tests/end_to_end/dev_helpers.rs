//! Each helper of a development node by the effect that it has.

use crate::{
    dev::{ALICE, BOB, Dev, NOBODY, TIMESTAMP_CODE},
    network::number,
};
use serde_json::{Value, json};

const CONTRACT: &str = "0x00000000000000000000000000000000000000cc";
const WORD_SEVEN: &str = "0x0000000000000000000000000000000000000000000000000000000000000007";

/// What a contract returns as one number when it is called at a block.
fn ask(dev: &Dev, block: &str) -> u64 {
    let answer = dev.call("eth_call", json!([{ "to": CONTRACT }, block]));
    u64::from_str_radix(&answer.as_str().unwrap()[50..], 16).unwrap()
}

fn time(dev: &Dev) -> u64 {
    number(&dev.block("latest")["timestamp"])
}

#[test]
fn dev_sets_the_time_of_the_next_block_and_of_those_after_it() {
    let dev = Dev::start(&["--quiet", "--timestamp", "1000000000"]);
    dev.call("hardhat_setCode", json!([CONTRACT, TIMESTAMP_CODE]));
    assert_eq!(time(&dev), 1_000_000_000);
    assert_eq!(dev.call("evm_increaseTime", json!(["0x0e10"])).as_i64().map(i64::is_negative), Some(true));
    dev.call("evm_mine", json!([]));
    assert!((3_600..3_660).contains(&(time(&dev) - 1_000_000_000)), "{}", time(&dev));
    assert_eq!(ask(&dev, "latest"), time(&dev));

    assert!(dev.call("evm_setNextBlockTimestamp", json!([1_100_000_000])).is_null());
    // Whoever estimates sees the block to come.
    assert_eq!(ask(&dev, "pending"), 1_100_000_000);
    assert_ne!(ask(&dev, "latest"), 1_100_000_000);
    dev.send(ALICE, NOBODY, 1);
    assert_eq!(time(&dev), 1_100_000_000);
    dev.call("evm_mine", json!([]));
    assert!((1..60).contains(&(time(&dev) - 1_100_000_000)), "time goes on from there");

    dev.call("evm_mine", json!([1_200_000_000]));
    assert_eq!(time(&dev), 1_200_000_000);
    dev.call("evm_mine", json!([{ "timestamp": 1_300_000_000_u64, "blocks": 3 }]));
    assert_eq!((time(&dev), dev.height()), (1_300_000_002, 7));

    dev.call("anvil_setBlockTimestampInterval", json!([100]));
    dev.send(ALICE, NOBODY, 1);
    dev.send(ALICE, NOBODY, 1);
    assert_eq!(time(&dev), 1_300_000_202);
    assert_eq!(dev.call("anvil_removeBlockTimestampInterval", json!([])), true);
    dev.call("evm_setTime", json!([1_400_000_000]));
    dev.call("evm_mine", json!([]));
    assert!((0..60).contains(&(time(&dev) - 1_400_000_000)));
}

#[test]
fn dev_makes_many_blocks_at_once_with_seconds_between_them() {
    let dev = Dev::start(&["--quiet"]);
    let start = time(&dev);
    assert_eq!(dev.call("hardhat_mine", json!(["0x3e8", "0x3c"])), true);
    assert_eq!(dev.height(), 1_000);
    let (first, second) = (number(&dev.block("0x1")["timestamp"]), number(&dev.block("0x2")["timestamp"]));
    assert!(first - start < 60 && second - first == 60, "{start} {first} {second}");
    assert_eq!(time(&dev) - first, 999 * 60);
    // The clock goes on from the last of them.
    dev.send(ALICE, NOBODY, 1);
    assert!((1..60).contains(&(time(&dev) - first - 999 * 60)));
    assert!(dev.call("anvil_mine", json!([])).is_null());
    assert!(dev.call("anvil_mine", json!([5, 7])).is_null());
    assert_eq!((dev.height(), dev.call("hardhat_mine", json!([]))), (1_007, json!(true)));
    assert_eq!(dev.height(), 1_008);
}

#[test]
fn dev_amends_balance_nonce_code_and_storage_of_the_head_and_the_next_block_stands_on_it() {
    let dev = Dev::start(&["--quiet"]);
    assert_eq!(dev.call("hardhat_setBalance", json!([NOBODY, "0x00de0b6b3a7640000"])), true);
    assert_eq!((dev.height(), dev.balance(NOBODY)), (0, 1_000_000_000_000_000_000));
    assert!(dev.call("anvil_addBalance", json!([NOBODY, 5])).is_null());
    assert_eq!(dev.balance(NOBODY), 1_000_000_000_000_000_005);
    assert!(dev.call("anvil_deal", json!([NOBODY, "7"])).is_null());
    dev.call("hardhat_setNonce", json!([NOBODY, "0x9"]));
    dev.call("hardhat_setCode", json!([CONTRACT, "0x5f545f5260205ff3"]));
    assert_eq!(dev.call("hardhat_setStorageAt", json!([CONTRACT, "0x0", WORD_SEVEN])), true);
    assert_eq!(ask(&dev, "latest"), 7);
    dev.send(ALICE, NOBODY, 1);
    assert_eq!((dev.height(), dev.balance(NOBODY), ask(&dev, "latest")), (1, 8, 7));
    assert_eq!(dev.call("eth_getTransactionCount", json!([NOBODY, "latest"])), "0x9");
    // What was amended at block 0 belongs to block 0, later amendments do not.
    dev.call("anvil_setBalance", json!([NOBODY, "0x64"]));
    dev.call("anvil_setCode", json!([CONTRACT, "0x"]));
    let at = |block: &str| dev.call("eth_getBalance", json!([NOBODY, block]));
    assert_eq!((at("0x0"), at("0x1"), at("latest")), (json!("0x7"), json!("0x64"), json!("0x64")));
    assert_eq!(dev.call("eth_getCode", json!([CONTRACT, "latest"])), "0x");
    assert_eq!(dev.call("eth_getCode", json!([CONTRACT, "0x0"])), "0x5f545f5260205ff3");
    dev.call("evm_mine", json!([]));
    assert_eq!((at("0x1"), at("0x2")), (json!("0x64"), json!("0x64")));
    // The header of the block after an amendment proves it again.
    let proof = dev.call("eth_getProof", json!([NOBODY, [], "latest"]));
    assert_eq!(proof["balance"], "0x64");
}

#[test]
fn dev_sends_for_impersonated_accounts_and_contracts_without_a_key() {
    let dev = Dev::start(&["--quiet"]);
    let (code, message) = dev.refused("eth_sendTransaction", json!([{ "from": CONTRACT, "to": NOBODY }]));
    assert!(code == -32_000 && message.contains("unknown account"), "{code} {message}");
    dev.call("hardhat_setBalance", json!([CONTRACT, "0xde0b6b3a7640000"]));
    dev.call("hardhat_setCode", json!([CONTRACT, "0x00"]));
    assert_eq!(dev.call("hardhat_impersonateAccount", json!([CONTRACT])), true);
    let first = dev.send(CONTRACT, NOBODY, 1);
    assert_eq!((first["from"].clone(), first["status"].clone()), (json!(CONTRACT), json!("0x1")));
    let hash = &first["transactionHash"];
    assert_eq!(dev.call("eth_getTransactionByHash", json!([hash]))["from"], CONTRACT);
    // Equal transactions of two such accounts have two hashes.
    dev.call("anvil_autoImpersonateAccount", json!([true]));
    let others = ["0x00000000000000000000000000000000000000d1", "0x00000000000000000000000000000000000000d2"];
    let hashes = others.map(|other| {
        dev.call("hardhat_setBalance", json!([other, "0xde0b6b3a7640000"]));
        let fees = json!({ "from": other, "to": NOBODY, "gas": "0x7530", "gasPrice": "0x77359400", "nonce": "0x0" });
        dev.transact(fees)["transactionHash"].clone()
    });
    assert_ne!(hashes[0], hashes[1]);
    // Traces run with the sender that the block has.
    let trace = dev.call("debug_traceTransaction", json!([hashes[1], { "tracer": "callTracer" }]));
    assert_eq!(trace["from"], others[1]);
    dev.call("anvil_autoImpersonateAccount", json!([false]));
    dev.call("hardhat_stopImpersonatingAccount", json!([CONTRACT]));
    for account in [CONTRACT, others[0]] {
        dev.refused("eth_sendTransaction", json!([{ "from": account, "to": NOBODY }]));
    }
    // Nobody holds their keys, so nothing is signed in their names.
    dev.refused("eth_sign", json!([CONTRACT, "0x01"]));
}

#[test]
fn dev_sets_fee_gas_limit_coinbase_and_randomness_of_blocks() {
    let dev = Dev::start(&["--quiet", "--base-fee", "7", "--gas-limit", "30000000"]);
    let genesis = dev.block("latest");
    assert_eq!((genesis["baseFeePerGas"].clone(), genesis["gasLimit"].clone()), (json!("0x7"), json!("0x1c9c380")));
    dev.call("hardhat_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"]));
    assert_eq!(dev.block("pending")["baseFeePerGas"], "0x3b9aca00");
    assert_eq!(dev.call("eth_baseFee", json!([])), "0x3b9aca00");
    dev.call("hardhat_setCoinbase", json!([NOBODY]));
    dev.call("hardhat_setPrevRandao", json!([WORD_SEVEN]));
    dev.call("evm_setBlockGasLimit", json!([25_000_000]));
    // PREVRANDAO.
    dev.call("hardhat_setCode", json!([CONTRACT, "0x445f5260205ff3"]));
    let fees = json!({ "from": ALICE, "to": BOB, "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x2" });
    assert_eq!(dev.transact(fees)["effectiveGasPrice"], "0x3b9aca02");
    let block = dev.block("latest");
    assert_eq!((block["baseFeePerGas"].clone(), block["mixHash"].clone()), (json!("0x3b9aca00"), json!(WORD_SEVEN)));
    assert_eq!((block["gasLimit"].clone(), block["miner"].clone()), (json!("0x17d7840"), json!(NOBODY)));
    assert_eq!((dev.balance(NOBODY), ask(&dev, "latest")), (42_000, 7));
    dev.call("evm_mine", json!([]));
    let block = dev.block("latest");
    // For the next block only.
    assert_ne!(block["mixHash"], WORD_SEVEN);
    assert!(number(&block["baseFeePerGas"]) < 1_000_000_000);
    assert_eq!((block["gasLimit"].clone(), block["miner"].clone()), (json!("0x17d7840"), json!(NOBODY)));
}

/// Who signed a hash, as contracts see it.
fn recovered(dev: &Dev, hash: &str, signature: &Value) -> String {
    let (rs, v) = signature.as_str().unwrap()[2..].split_at(128);
    let call = json!({ "to": "0x0000000000000000000000000000000000000001", "data": format!("{hash}{v:0>64}{rs}") });
    let word = dev.call("eth_call", json!([call, "latest"]));
    format!("0x{}", &word.as_str().unwrap()[26..])
}

#[test]
fn dev_signs_messages_with_the_keys_that_it_holds() {
    let dev = Dev::start(&["--quiet"]);
    let signature = dev.call("personal_sign", json!(["0x68656c6c6f", ALICE]));
    assert_eq!(dev.call("eth_sign", json!([ALICE, "0x68656c6c6f"])), signature);
    assert_eq!(signature.as_str().unwrap().len(), 2 + 130);
    // ECRECOVER says who signed keccak256("\x19Ethereum Signed Message:\n5hello").
    let hash = dev.call("web3_sha3", json!(["0x19457468657265756d205369676e6564204d6573736167653a0a3568656c6c6f"]));
    assert_eq!(recovered(&dev, hash.as_str().unwrap(), &signature), ALICE);
    dev.refused("personal_sign", json!(["0x01", NOBODY]));
    // The digest of the example in EIP-712, whose JSON comes as an object or as a string.
    let mail = json!({
        "types": {
            "Person": [{ "name": "name", "type": "string" }, { "name": "wallet", "type": "address" }],
            "Mail": [
                { "name": "from", "type": "Person" },
                { "name": "to", "type": "Person" },
                { "name": "contents", "type": "string" },
            ],
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail", "version": "1", "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
            "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
            "contents": "Hello, Bob!",
        },
    });
    let signature = dev.call("eth_signTypedData_v4", json!([BOB, mail]));
    assert_eq!(dev.call("eth_signTypedData_v4", json!([BOB, mail.to_string()])), signature);
    let digest = "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2";
    assert_eq!(recovered(&dev, digest, &signature), BOB);
    let (code, message) = dev.refused("eth_signTypedData_v4", json!([BOB, { "types": {}, "primaryType": "Mail" }]));
    assert!(code == -32_602 && message.contains("primaryType"), "{code} {message}");
}

#[test]
fn dev_says_what_it_is() {
    let dev = Dev::start(&["--quiet"]);
    dev.send(ALICE, NOBODY, 1);
    let hash = dev.block("latest")["hash"].clone();
    let info = dev.call("anvil_nodeInfo", json!([]));
    assert_eq!((info["currentBlockNumber"].clone(), info["currentBlockHash"].clone()), (json!("0x1"), hash.clone()));
    assert_eq!(info["environment"]["chainId"], 31_337);
    let metadata = dev.call("hardhat_metadata", json!([]));
    assert_eq!((metadata["chainId"].clone(), metadata["latestBlockHash"].clone()), (json!(31_337), hash));
    let version = dev.call("web3_clientVersion", json!([]));
    assert_eq!(metadata["clientVersion"], version);
    // Suites ask for this name before they use the helpers.
    assert!(version.as_str().unwrap().starts_with("anvil"), "{version}");
    let described = dev.call("rpc.discover", json!([]));
    let names: Vec<&Value> = described["methods"].as_array().unwrap().iter().map(|method| &method["name"]).collect();
    assert!(names.contains(&&json!("evm_snapshot")) && names.contains(&&json!("eth_sendTransaction")));
}
