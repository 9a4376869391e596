"""web3.py: deployment, calls, logs, filters, revert reasons, batches, raw and typed transactions, proofs, subscriptions."""

import asyncio
import json
import sys
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractCustomError, TransactionNotFound, Web3RPCError
from web3.middleware import SignAndSendRawMiddlewareBuilder

NETWORK = json.loads(sys.argv[1])
# The first, the fifth and the sixth account of the test mnemonic; other scenarios use others at the same time.
KEYS = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
]
OWNER, ALICE, BOB = (Account.from_key(key) for key in KEYS)
SENT = []


def artifact(name):
    return json.loads((Path(NETWORK["artifacts"]) / f"{name}.json").read_text())


def mined(w3, transaction):
    receipt = w3.eth.wait_for_transaction_receipt(transaction, timeout=60, poll_latency=0.02)
    SENT.append(receipt["transactionHash"].to_0x_hex())
    return receipt


def failure(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"nothing failed, expected {kind}")


def deploy(w3, name, *arguments):
    compiled = artifact(name)
    contract = w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    receipt = mined(w3, contract.constructor(*arguments).transact({"from": OWNER.address}))
    assert receipt["status"] == 1
    return w3.eth.contract(address=receipt["contractAddress"], abi=compiled["abi"])


def tokens(w3):
    token = deploy(w3, "Token", 10**24)
    art = deploy(w3, "Collection")
    mined(w3, token.functions.transfer(ALICE.address, 100).transact({"from": OWNER.address}))
    assert token.functions.balanceOf(ALICE.address).call() == 100
    receipt = mined(w3, art.functions.mint(ALICE.address).transact({"from": OWNER.address}))
    (event,) = art.events.Transfer().process_receipt(receipt)
    assert event["args"]["to"] == ALICE.address and event["args"]["tokenId"] == 1
    mined(w3, art.functions.transferFrom(ALICE.address, BOB.address, 1).transact({"from": ALICE.address}))
    assert art.functions.ownerOf(1).call() == BOB.address
    return token, art


def events(w3, token):
    first = w3.eth.block_number + 1
    polled = token.events.Transfer.create_filter(from_block=first, argument_filters={"to": BOB.address})
    by_topic = w3.eth.filter({"address": token.address, "topics": [Web3.to_hex(Web3.keccak(text="Transfer(address,address,uint256)"))]})
    blocks = w3.eth.filter("latest")
    for to, value in ((BOB, 1), (ALICE, 2), (BOB, 3)):
        mined(w3, token.functions.transfer(to.address, value).transact({"from": OWNER.address}))
    found = polled.get_new_entries()
    assert [entry["args"]["value"] for entry in found] == [1, 3], found
    assert polled.get_new_entries() == []
    assert len(by_topic.get_new_entries()) == 3
    assert [entry["args"]["value"] for entry in polled.get_all_entries()] == [1, 3]
    asked = token.events.Transfer.get_logs(from_block=first, argument_filters={"to": [BOB.address, ALICE.address]})
    assert [entry["args"]["value"] for entry in asked] == [1, 2, 3]
    hashes = blocks.get_new_entries()
    heights = [w3.eth.get_block(block)["number"] for block in hashes]
    assert heights == list(range(heights[0], heights[0] + len(heights))), heights
    assert w3.eth.uninstall_filter(polled.filter_id) and not w3.eth.uninstall_filter(polled.filter_id)
    lost = failure(Web3RPCError, polled.get_new_entries)
    assert "filter not found" in str(lost), lost


def errors(w3, token):
    stranger = "0x" + "11" * 20
    call = failure(ContractCustomError, lambda: token.functions.transfer(ALICE.address, 1).call({"from": stranger}))
    data = Web3.to_bytes(hexstr=call.data)
    assert data[:4] == Web3.keccak(text="ERC20InsufficientBalance(address,uint256,uint256)")[:4]
    assert w3.codec.decode(["address", "uint256", "uint256"], data[4:]) == (stranger, 0, 1)
    # The estimate that precedes sending fails in the same way, so nothing is sent.
    failure(ContractCustomError, lambda: token.functions.transfer(ALICE.address, 10**30).transact({"from": BOB.address}))
    forced = token.functions.transfer(ALICE.address, 10**30).transact({"from": BOB.address, "gas": 100_000})
    assert mined(w3, forced)["status"] == 0
    failure(TransactionNotFound, lambda: w3.eth.get_transaction("0x" + "22" * 32))
    nothing = failure(Web3RPCError, lambda: w3.eth.call({"to": token.address, "data": "0x", "gas": 2**63}, 10**12))
    assert nothing.rpc_response["error"]["code"] in (-32000, -32001, -32602), nothing.rpc_response


def batches(w3, token):
    with w3.batch_requests() as batch:
        batch.add(w3.eth.get_block(0))
        batch.add(w3.eth.get_balance(OWNER.address))
        batch.add(token.functions.totalSupply())
        batch.add(token.functions.balanceOf(BOB.address))
        genesis, balance, supply, held = batch.execute()
    assert genesis["number"] == 0 and balance > 0 and supply == 10**24 and held == 4


def signed(w3, token):
    head = w3.eth.get_block("latest")
    history = w3.eth.fee_history(4, "latest", [10, 90])
    assert len(history["baseFeePerGas"]) == len(history["gasUsedRatio"]) + 1
    common = {"chainId": NETWORK["chain"], "to": ALICE.address, "value": 5, "gas": 21_000}
    fees = {"maxFeePerGas": head["baseFeePerGas"] * 3, "maxPriorityFeePerGas": w3.eth.max_priority_fee}
    nonce = w3.eth.get_transaction_count(BOB.address, "pending")
    kinds = [
        common | {"nonce": nonce, "gasPrice": head["baseFeePerGas"] * 3},
        common | {"nonce": nonce + 1, "gasPrice": head["baseFeePerGas"] * 3, "gas": 30_000, "accessList": [{"address": ALICE.address, "storageKeys": ["0x" + "00" * 32]}]},
        common | {"nonce": nonce + 2} | fees,
    ]
    before = w3.eth.get_balance(BOB.address)
    sent = [w3.eth.send_raw_transaction(Account.sign_transaction(kind, BOB.key).raw_transaction) for kind in kinds]
    receipts = [mined(w3, hash) for hash in sent]
    assert [receipt["type"] for receipt in receipts] == [0, 1, 2]
    paid = sum(receipt["gasUsed"] * receipt["effectiveGasPrice"] for receipt in receipts)
    assert w3.eth.get_balance(BOB.address) == before - paid - 3 * 5
    stale = failure(Web3RPCError, lambda: w3.eth.send_raw_transaction(Account.sign_transaction(kinds[0], BOB.key).raw_transaction))
    assert "nonce too low" in str(stale) or "already known" in str(stale), stale
    foreign = Account.sign_transaction(kinds[2] | {"chainId": 1, "nonce": nonce + 3}, BOB.key)
    failure(Web3RPCError, lambda: w3.eth.send_raw_transaction(foreign.raw_transaction))

    # EIP-7702: Alice's account points at code, Bob pays for it.
    target = deploy(w3, "Batch")
    authorization = Account.sign_authorization(
        {"chainId": NETWORK["chain"], "address": target.address, "nonce": w3.eth.get_transaction_count(ALICE.address)}, ALICE.key
    )
    typed = common | fees | {"nonce": nonce + 3, "value": 0, "gas": 100_000, "authorizationList": [authorization], "data": "0x"}
    assert mined(w3, w3.eth.send_raw_transaction(Account.sign_transaction(typed, BOB.key).raw_transaction))["type"] == 4
    assert w3.eth.get_code(ALICE.address).hex() == "ef0100" + target.address[2:].lower()


def permit(w3, token):
    deadline = w3.eth.get_block("latest")["timestamp"] + 3_600
    fields = [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"), ("deadline", "uint256")]
    domain = {"name": "Scenario Token", "version": "1", "chainId": NETWORK["chain"], "verifyingContract": token.address}
    value = {"owner": OWNER.address, "spender": BOB.address, "value": 9, "nonce": 0, "deadline": deadline}
    types = {"Permit": [{"name": name, "type": kind} for name, kind in fields]}
    signature = Account.sign_message(encode_typed_data(domain, types, value), OWNER.key)
    parts = (signature.v, signature.r.to_bytes(32, "big"), signature.s.to_bytes(32, "big"))
    mined(w3, token.functions.permit(OWNER.address, BOB.address, 9, deadline, *parts).transact({"from": BOB.address}))
    assert token.functions.allowance(OWNER.address, BOB.address).call() == 9


def proofs(w3, token):
    height = w3.eth.block_number
    proof = w3.eth.get_proof(token.address, [2], height)
    assert int.from_bytes(proof["storageProof"][0]["value"], "big") == 10**24
    assert Web3.keccak(w3.eth.get_code(token.address)) == proof["codeHash"]
    # The root node of the proof is what the header commits to.
    assert Web3.keccak(proof["accountProof"][0]) == w3.eth.get_block(height)["stateRoot"]
    assert int.from_bytes(w3.eth.get_storage_at(token.address, 2), "big") == 10**24
    traced = w3.eth.create_access_list({"from": OWNER.address, "to": token.address, "data": token.encode_abi("transfer", [BOB.address, 1])})
    assert [entry["address"] for entry in traced["accessList"]] == [token.address]


async def subscriptions(token, send):
    """Logs and heads over one WebSocket; the logs are those of the transfers that `send` makes."""
    heard, heads = [], []
    async with AsyncWeb3(WebSocketProvider(NETWORK["ws"][-1])) as w3:
        logs = await w3.eth.subscribe("logs", {"address": token.address})
        blocks = await w3.eth.subscribe("newHeads")
        sending = asyncio.get_running_loop().run_in_executor(None, send)
        async with asyncio.timeout(60):
            async for message in w3.socket.process_subscriptions():
                if message["subscription"] == logs:
                    heard.append(int(message["result"]["data"].hex(), 16))
                else:
                    assert message["subscription"] == blocks
                    heads.append(message["result"]["number"])
                if len(heard) == 3 and len(heads) > 2:
                    break
        await sending
        assert await w3.eth.unsubscribe(logs)
    assert heard == [11, 12, 13], heard
    assert heads == list(range(heads[0], heads[0] + len(heads))), heads


def main():
    w3 = Web3(Web3.HTTPProvider(NETWORK["http"][0]))
    assert w3.is_connected() and w3.eth.chain_id == NETWORK["chain"] and w3.client_version.lower().startswith("keystead")
    for account in (OWNER, ALICE, BOB):
        w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    token, _art = tokens(w3)
    events(w3, token)
    errors(w3, token)
    batches(w3, token)
    permit(w3, token)
    proofs(w3, token)

    def send():
        for value in (11, 12, 13):
            mined(w3, token.functions.transfer(BOB.address, value).transact({"from": OWNER.address}))

    asyncio.run(subscriptions(token, send))
    signed(w3, token)
    balances = {account.address: str(token.functions.balanceOf(account.address).call()) for account in (OWNER, ALICE, BOB)}
    print(json.dumps({"token": token.address, "balances": balances, "hashes": SENT}))


main()
