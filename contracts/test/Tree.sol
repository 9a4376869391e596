// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Commitments and traces as a provider builds them
/// @dev Written from specs/0003-job.md section 4, apart from the verifier in `src/Commitment.sol`: it goes level by level
/// over all nodes.
library Tree {
    function unitLeaf(uint32 unit, bytes32 salt, bytes32 result) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(0), unit, salt, result));
    }

    function stateLeaf(uint32 segment, bytes32 state) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(uint8(2), segment, state));
    }

    function root(uint8 tag, bytes32[] memory level) internal pure returns (bytes32) {
        while (level.length > 1) {
            level = _up(tag, level);
        }
        return level[0];
    }

    function path(uint8 tag, bytes32[] memory level, uint256 index) internal pure returns (bytes32[] memory siblings) {
        bytes32[] memory found = new bytes32[](32);
        uint256 count;
        while (level.length > 1) {
            uint256 neighbour = index ^ 1;
            if (neighbour < level.length) found[count++] = level[neighbour];
            level = _up(tag, level);
            index /= 2;
        }
        siblings = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            siblings[i] = found[i];
        }
    }

    function _up(uint8 tag, bytes32[] memory level) private pure returns (bytes32[] memory next) {
        next = new bytes32[]((level.length + 1) / 2);
        for (uint256 i = 0; i < next.length; ++i) {
            bool pair = 2 * i + 1 < level.length;
            next[i] = pair ? keccak256(abi.encodePacked(tag, level[2 * i], level[2 * i + 1])) : level[2 * i];
        }
    }
}
