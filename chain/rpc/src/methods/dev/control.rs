//! When blocks come, what they hold, and ways back.

use super::{
    super::Method,
    DONE, NULL,
    number::{Amount, Whole},
    row,
};
use crate::{
    dev::{MineOrder, Setting},
    error::RpcError,
    message::Json,
    params::{FromJson, Param, Params, member, show},
    service::Service,
};
use alloy_primitives::{Address, B256, U64};
use serde_json::{Value, json};
use std::time::Duration;

const SECONDS: Param = Param::required("seconds", "number");
const TIMESTAMP: Param = Param::required("timestamp", "number: Unix seconds");
const INTERVAL: Param = Param::required("interval", "number: seconds; 0 for none");
const ENABLED: Param = Param::required("enabled", "boolean");
const BLOCKS: Param = Param::optional("blocks", "number; default 1");
const SPACING: Param = Param::optional("interval", "number: seconds from one block to the next; default 1");
const FEE: Param = Param::required("baseFee", "number: wei per gas");
const GAS: Param = Param::required("gasLimit", "number");
const NAME: Param = Param::required("snapshot", "quantity that evm_snapshot gave");
const ADDRESS: Param = Param::required("address", "address");
const HASH: Param = Param::required("hash", "hash of a transaction");
const WORD: Param = Param::required("prevRandao", "32 bytes");

const SNAPSHOT: &str = "Remembers the chain, the time and the pool as they are.";
const REVERT: &str = "Goes back to a snapshot, which is used up with all later ones.";
const MINE: &str = "Makes blocks of what waits, empty ones if nothing does.";
const INCREASE_TIME: &str = "Moves the time of the blocks to come.";
const SET_TIME: &str = "Sets the time of now.";
const NEXT_TIMESTAMP: &str = "Sets the time of the next block.";
const TIMESTAMP_INTERVAL: &str = "Sets how many seconds are from each block to the next, whatever the clock says.";
const NO_TIMESTAMP_INTERVAL: &str = "Lets the time of blocks follow the clock again.";
const AUTOMINE: &str = "Sets whether each transaction gets its block at once.";
const GET_AUTOMINE: &str = "Whether each transaction gets its block at once.";
const SET_INTERVAL: &str = "Makes a block each time so many seconds have passed.";
const GET_INTERVAL: &str = "Seconds between two blocks that come by themselves.";
const GAS_LIMIT: &str = "Sets the gas limit of the blocks to come.";
const BASE_FEE: &str = "Sets the base fee of the next block.";
const COINBASE: &str = "Sets who gets the priority fees from the next block on.";
const PREV_RANDAO: &str = "Sets what PREVRANDAO returns in the next block.";
const RESET: &str = "Goes back to the beginning and forgets every setting.";
const DROP: &str = "Takes a transaction out of the pool.";
const DROP_ALL: &str = "Takes all transactions out of the pool.";

const FOUND: &str = "boolean: whether there was one";
const AHEAD: &str = "number: seconds that the chain's time is ahead of the clock";

/// The rows.
pub(super) const METHODS: &[Method] = &[
    row("evm_snapshot", SNAPSHOT, &[], "quantity: its name", snapshot),
    row("anvil_snapshot", SNAPSHOT, &[], "quantity: its name", snapshot),
    row("evm_revert", REVERT, &[NAME], FOUND, revert),
    row("anvil_revert", REVERT, &[NAME], FOUND, revert),
    row(
        "evm_mine",
        MINE,
        &[Param::optional("order", "number: Unix seconds, or object: timestamp, blocks")],
        "0x0",
        evm_mine,
    ),
    row("hardhat_mine", MINE, &[BLOCKS, SPACING], DONE, hardhat_mine),
    row("anvil_mine", MINE, &[BLOCKS, SPACING], NULL, anvil_mine),
    row("evm_increaseTime", INCREASE_TIME, &[SECONDS], AHEAD, increase_time),
    row("anvil_increaseTime", INCREASE_TIME, &[SECONDS], AHEAD, increase_time),
    row("evm_setTime", SET_TIME, &[TIMESTAMP], AHEAD, set_time),
    row("anvil_setTime", SET_TIME, &[TIMESTAMP], AHEAD, set_time),
    row("evm_setNextBlockTimestamp", NEXT_TIMESTAMP, &[TIMESTAMP], NULL, next_timestamp),
    row("anvil_setNextBlockTimestamp", NEXT_TIMESTAMP, &[TIMESTAMP], NULL, next_timestamp),
    row("anvil_setBlockTimestampInterval", TIMESTAMP_INTERVAL, &[SECONDS], NULL, timestamp_interval),
    row("anvil_removeBlockTimestampInterval", NO_TIMESTAMP_INTERVAL, &[], "boolean: true", no_timestamp_interval),
    row("evm_setAutomine", AUTOMINE, &[ENABLED], NULL, set_automine),
    row("anvil_setAutomine", AUTOMINE, &[ENABLED], NULL, set_automine),
    row("anvil_setAutoMine", AUTOMINE, &[ENABLED], NULL, set_automine),
    row("hardhat_getAutomine", GET_AUTOMINE, &[], "boolean", automine),
    row("anvil_getAutomine", GET_AUTOMINE, &[], "boolean", automine),
    row("evm_setIntervalMining", SET_INTERVAL, &[INTERVAL], NULL, set_interval),
    row("anvil_setIntervalMining", SET_INTERVAL, &[INTERVAL], NULL, set_interval),
    row("anvil_getIntervalMining", GET_INTERVAL, &[], "number or null", interval),
    row("evm_setBlockGasLimit", GAS_LIMIT, &[GAS], DONE, gas_limit),
    row("anvil_setBlockGasLimit", GAS_LIMIT, &[GAS], DONE, gas_limit),
    row("hardhat_setNextBlockBaseFeePerGas", BASE_FEE, &[FEE], NULL, base_fee),
    row("anvil_setNextBlockBaseFeePerGas", BASE_FEE, &[FEE], NULL, base_fee),
    row("hardhat_setCoinbase", COINBASE, &[ADDRESS], NULL, coinbase),
    row("anvil_setCoinbase", COINBASE, &[ADDRESS], NULL, coinbase),
    row("hardhat_setPrevRandao", PREV_RANDAO, &[WORD], NULL, prev_randao),
    row("anvil_setPrevRandao", PREV_RANDAO, &[WORD], NULL, prev_randao),
    row("hardhat_reset", RESET, &[Param::optional("options", "object without forking")], DONE, reset),
    row("anvil_reset", RESET, &[Param::optional("options", "object without forking")], NULL, anvil_reset),
    row("hardhat_dropTransaction", DROP, &[HASH], FOUND, drop_transaction),
    row("anvil_dropTransaction", DROP, &[HASH], "hash or null", anvil_drop_transaction),
    row("anvil_dropAllTransactions", DROP_ALL, &[], NULL, drop_all),
];

fn null() -> Result<Json, RpcError> {
    Json::of(&())
}

fn set(service: &Service, setting: Setting) -> Result<Json, RpcError> {
    service.dev()?.set(setting)?;
    null()
}

fn snapshot(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&U64::from(service.dev()?.snapshot()?))
}

fn revert(service: &Service, params: &Params) -> Result<Json, RpcError> {
    // A name that no snapshot can have is one that there is not.
    let Amount(name) = params.get(0)?;
    let dev = service.dev()?;
    let done = u64::try_from(name).map_or(Ok(false), |name| dev.revert(name))?;
    if done {
        went_back(service);
    }
    Json::of(&done)
}

/// Whoever polls hears of the blocks to come, though their heights were told before.
fn went_back(service: &Service) {
    service.filters.go_back(service.chain().head().saturating_add(1));
}

fn evm_mine(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let order = params.find::<EvmOrder>(0)?.map_or(ONE, |EvmOrder(order)| order);
    service.dev()?.mine(order)?;
    Json::of(&"0x0")
}

const ONE: MineOrder = MineOrder { blocks: 1, timestamp: None, interval: None };

/// What `evm_mine` takes.
struct EvmOrder(MineOrder);

impl FromJson for EvmOrder {
    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(object) = value else {
            let Whole(timestamp) = Whole::from_json(value)
                .map_err(|_| format!("expected Unix seconds or an object, got {}", show(value)))?;
            return Ok(Self(MineOrder { timestamp: Some(timestamp), ..ONE }));
        };
        let timestamp = member::<Whole>(object, "timestamp")?.map(|Whole(timestamp)| timestamp);
        let blocks = member::<Whole>(object, "blocks")?.map_or(1, |Whole(blocks)| blocks);
        Ok(Self(MineOrder { blocks, timestamp, interval: None }))
    }
}

fn mine(service: &Service, params: &Params) -> Result<(), RpcError> {
    let blocks = params.find::<Whole>(0)?.map_or(1, |Whole(blocks)| blocks);
    let interval = params.find::<Whole>(1)?.map(|Whole(seconds)| seconds);
    Ok(service.dev()?.mine(MineOrder { blocks, timestamp: None, interval })?)
}

fn hardhat_mine(service: &Service, params: &Params) -> Result<Json, RpcError> {
    mine(service, params)?;
    Json::of(&true)
}

fn anvil_mine(service: &Service, params: &Params) -> Result<Json, RpcError> {
    mine(service, params)?;
    null()
}

fn increase_time(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(seconds) = params.get(0)?;
    Json::of(&service.dev()?.increase_time(seconds)?)
}

fn set_time(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(timestamp) = params.get(0)?;
    Json::of(&service.dev()?.set_time(timestamp)?)
}

fn next_timestamp(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(timestamp) = params.get(0)?;
    set(service, Setting::NextTimestamp(timestamp))
}

fn timestamp_interval(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(seconds) = params.get(0)?;
    set(service, Setting::TimestampInterval(Some(seconds)))
}

fn no_timestamp_interval(service: &Service, _: &Params) -> Result<Json, RpcError> {
    service.dev()?.set(Setting::TimestampInterval(None))?;
    Json::of(&true)
}

fn set_automine(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set(service, Setting::Automine(params.get(0)?))
}

fn automine(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&service.dev()?.mining().automine)
}

fn set_interval(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(seconds) = params.get(0)?;
    set(service, Setting::Interval((seconds > 0).then(|| Duration::from_secs(seconds))))
}

fn interval(service: &Service, _: &Params) -> Result<Json, RpcError> {
    Json::of(&service.dev()?.mining().interval.map(|interval| interval.as_secs()))
}

fn gas_limit(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(gas) = params.get(0)?;
    service.dev()?.set(Setting::BlockGasLimit(gas))?;
    Json::of(&true)
}

fn base_fee(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let Whole(fee) = params.get(0)?;
    set(service, Setting::NextBaseFee(fee))
}

fn coinbase(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set(service, Setting::Coinbase(params.get::<Address>(0)?))
}

fn prev_randao(service: &Service, params: &Params) -> Result<Json, RpcError> {
    set(service, Setting::PrevRandao(params.get::<B256>(0)?))
}

fn start_again(service: &Service, params: &Params) -> Result<(), RpcError> {
    // Callers that fork nothing may still send the object, with nothing in it.
    let source = params.value(0).get("forking").and_then(|forking| forking.get("jsonRpcUrl"));
    if source.is_some_and(|source| !source.is_null()) {
        return Err(params.wrong(0, "forking another chain is not supported"));
    }
    service.dev()?.reset()?;
    went_back(service);
    Ok(())
}

fn reset(service: &Service, params: &Params) -> Result<Json, RpcError> {
    start_again(service, params)?;
    Json::of(&true)
}

fn anvil_reset(service: &Service, params: &Params) -> Result<Json, RpcError> {
    start_again(service, params)?;
    null()
}

fn drop_transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash: B256 = params.get(0)?;
    Json::of(&service.dev()?.drop_transaction(&hash))
}

fn anvil_drop_transaction(service: &Service, params: &Params) -> Result<Json, RpcError> {
    let hash: B256 = params.get(0)?;
    Json::of(&service.dev()?.drop_transaction(&hash).then_some(json!(hash)))
}

fn drop_all(service: &Service, _: &Params) -> Result<Json, RpcError> {
    service.dev()?.drop_all_transactions();
    null()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
    use super::*;

    #[test]
    fn an_order_of_blocks_is_a_time_or_an_object() {
        let read = |value: Value| EvmOrder::from_json(&value).map(|EvmOrder(order)| order);
        assert_eq!(read(json!(7)).unwrap(), MineOrder { timestamp: Some(7), ..ONE });
        assert_eq!(read(json!("0x7")).unwrap(), MineOrder { timestamp: Some(7), ..ONE });
        assert_eq!(read(json!({})).unwrap(), ONE);
        assert_eq!(read(json!({ "blocks": 5 })).unwrap(), MineOrder { blocks: 5, ..ONE });
        let both = MineOrder { blocks: 5, timestamp: Some(9), interval: None };
        assert_eq!(read(json!({ "blocks": "0x5", "timestamp": 9 })).unwrap(), both);
        for wrong in [json!(true), json!([1]), json!({ "blocks": "x" }), json!({ "timestamp": -1 })] {
            assert!(read(wrong).is_err());
        }
    }
}
