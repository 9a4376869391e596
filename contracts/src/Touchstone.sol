// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {BEACON_ADDRESS} from "./Genesis.sol";
import {IBeacon} from "./IBeacon.sol";
import {ITouchstone} from "./ITouchstone.sol";

/// @title When a machine answered a challenge to prove what it is
/// @notice See `ITouchstone`.
/// @dev Invariants: an entry's words, once not zero, never change; `vectorsBlock` is zero or above `rootBlock + 1`.
contract Touchstone is ITouchstone {
    using SafeCast for uint256;

    /// @dev Slot 0. Spec: specs/0010-capability.md, section 6.5; light clients read the words directly.
    mapping(address account => mapping(bytes32 challengeId => Entry)) private _entries;

    /// @inheritdoc ITouchstone
    function recordRoot(bytes32 challengeId, bytes32 root) external {
        if (root == 0) revert RootZero(msg.sender, challengeId);
        Entry storage entry = _entries[msg.sender][challengeId];
        if (entry.rootBlock != 0) revert AlreadyRecorded(msg.sender, challengeId, entry.rootBlock);
        entry.root = root;
        entry.rootBlock = block.number.toUint64();
        entry.rootTime = block.timestamp.toUint40();
        emit RootRecorded(msg.sender, challengeId, root);
    }

    /// @inheritdoc ITouchstone
    function recordVectors(bytes32 challengeId, bytes32 vectorsRoot) external {
        if (vectorsRoot == 0) revert RootZero(msg.sender, challengeId);
        Entry storage entry = _entries[msg.sender][challengeId];
        uint64 rootBlock = entry.rootBlock;
        if (rootBlock == 0) revert NoRoot(msg.sender, challengeId);
        if (entry.vectorsBlock != 0) revert AlreadyRecorded(msg.sender, challengeId, entry.vectorsBlock);
        if (!IBeacon(BEACON_ADDRESS).has(rootBlock + 1)) revert NotDrawnYet(msg.sender, challengeId, rootBlock + 1);
        entry.vectorsRoot = vectorsRoot;
        entry.vectorsBlock = block.number.toUint64();
        entry.vectorsTime = block.timestamp.toUint40();
        emit VectorsRecorded(msg.sender, challengeId, vectorsRoot);
    }

    /// @inheritdoc ITouchstone
    function entryOf(address account, bytes32 challengeId) external view returns (Entry memory) {
        return _entries[account][challengeId];
    }
}
