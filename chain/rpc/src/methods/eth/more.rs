//! The second half of the `eth_*` rows: uncles, transactions, logs, calls and proofs.

use super::{ADDRESS, BLOCK, HASH, INDEX, NUMBER, TRANSACTION_HASH, block, call, logs, proof, transaction};
use crate::{lanes::Work, methods::Method, params::Param};

pub(in crate::methods) const CALL: Param = Param::required("transaction", call::CALL_FIELDS);
pub(in crate::methods) const STATE_OVERRIDES: Param = Param::optional(
    "stateOverrides",
    "object by address: balance, nonce, code, state or stateDiff, movePrecompileToAddress",
);
pub(in crate::methods) const BLOCK_OVERRIDES: Param = Param::optional(
    "blockOverrides",
    "object: number, time, gasLimit, feeRecipient, prevRandao, baseFeePerGas, blobBaseFee, blockHash",
);

/// Uncles, transactions, logs, calls and proofs.
pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "eth_getUncleCountByBlockNumber",
        about: "How many uncles a block has; none on a chain of ours.",
        params: &[NUMBER],
        result: "quantity or null",
        work: Work::Read,
        run: block::uncle_count_by_number,
    },
    Method {
        name: "eth_getUncleCountByBlockHash",
        about: "How many uncles a block has; none on a chain of ours.",
        params: &[HASH],
        result: "quantity or null",
        work: Work::Read,
        run: block::uncle_count_by_hash,
    },
    Method {
        name: "eth_getUncleByBlockNumberAndIndex",
        about: "An uncle of a block by index; always null on a chain of ours.",
        params: &[NUMBER, INDEX],
        result: "block or null",
        work: Work::Instant,
        run: block::uncle_by_number,
    },
    Method {
        name: "eth_getUncleByBlockHashAndIndex",
        about: "An uncle of a block by index; always null on a chain of ours.",
        params: &[HASH, INDEX],
        result: "block or null",
        work: Work::Instant,
        run: block::uncle_by_hash,
    },
    Method {
        name: "eth_sendRawTransaction",
        about: "Offers a signed transaction of type 0, 1, 2 or 4 to the network.",
        params: &[Param::required("transaction", "bytes: the EIP-2718 encoding")],
        result: "hash of the transaction",
        work: Work::Submit,
        run: transaction::send_raw,
    },
    Method {
        name: "eth_sendRawTransactionSync",
        about: "Offers a signed transaction and answers when it is in a block, which is final (EIP-7966).",
        params: &[
            Param::required("transaction", "bytes: the EIP-2718 encoding"),
            Param::optional("timeout", "quantity or number: milliseconds to wait, at most 10,000; default 2,000"),
        ],
        result: "receipt; error 4 if it is in no block in time, 5 if it could not be executed, data is its hash",
        work: Work::Submit,
        run: transaction::send_raw_sync,
    },
    Method {
        name: "eth_getTransactionByHash",
        about: "A transaction, from a block or from the pool.",
        params: &[TRANSACTION_HASH],
        result: "transaction or null",
        work: Work::Read,
        run: transaction::by_hash,
    },
    Method {
        name: "eth_getTransactionByBlockNumberAndIndex",
        about: "A transaction by its place.",
        params: &[NUMBER, INDEX],
        result: "transaction or null",
        work: Work::Read,
        run: transaction::by_number_and_index,
    },
    Method {
        name: "eth_getTransactionByBlockHashAndIndex",
        about: "A transaction by its place.",
        params: &[HASH, INDEX],
        result: "transaction or null",
        work: Work::Read,
        run: transaction::by_hash_and_index,
    },
    Method {
        name: "eth_getTransactionReceipt",
        about: "What a transaction did, once it is in a block; that block is final.",
        params: &[TRANSACTION_HASH],
        result: "receipt or null",
        work: Work::Read,
        run: transaction::receipt,
    },
    Method {
        name: "eth_getLogs",
        about: "Logs of one block or of a bounded range of blocks, by address and topics.",
        params: &[Param::required(
            "filter",
            "object: fromBlock and toBlock (default latest) or blockHash; address: one or an array; \
             topics: up to four of null, a hash, or an array of alternatives",
        )],
        result: "array of logs",
        work: Work::Compute,
        run: logs::get_logs,
    },
    Method {
        name: "eth_call",
        about: "Tries a call on a block's state and forgets its changes.",
        params: &[CALL, BLOCK, STATE_OVERRIDES, BLOCK_OVERRIDES],
        result: "bytes that the call returned",
        work: Work::Compute,
        run: call::call,
    },
    Method {
        name: "eth_estimateGas",
        about: "A gas limit with which the call succeeds on a block's state.",
        params: &[CALL, BLOCK, STATE_OVERRIDES, BLOCK_OVERRIDES],
        result: "quantity",
        work: Work::Compute,
        run: call::estimate_gas,
    },
    Method {
        name: "eth_getProof",
        about: "Merkle proofs of an account and of storage slots against the state root of a block (EIP-1186).",
        params: &[ADDRESS, Param::required("storageKeys", "array of storage keys"), BLOCK],
        result: "object: address, accountProof, balance, codeHash, nonce, storageHash, storageProof",
        work: Work::Compute,
        run: proof::get_proof,
    },
];
