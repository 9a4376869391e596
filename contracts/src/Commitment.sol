// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Proofs under a commitment
/// @dev Spec: specs/0003-job.md, section 4.
library Commitment {
    /// @notice A proof has too few or too many siblings, or its index is beyond the end.
    /// @param index Index of the leaf.
    /// @param count Leaves of the tree.
    /// @param siblings Siblings given.
    error ProofMalformed(uint256 index, uint256 count, uint256 siblings);

    uint8 private constant UNIT_LEAF = 0;
    uint8 private constant UNIT_INNER = 1;
    uint8 private constant TRACE_LEAF = 2;
    uint8 private constant TRACE_INNER = 3;
    uint8 private constant RESULT = 4;

    /// @dev The result of a unit of several segments.
    function result(bytes32 output, bytes32 trace) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(RESULT, output, trace));
    }

    /// @dev The commitment that a unit proof leads to.
    function unitRoot(uint32 unit, uint32 units, bytes32 salt, bytes32 unitResult, bytes32[] calldata siblings)
        internal
        pure
        returns (bytes32)
    {
        bytes32 leaf = keccak256(abi.encodePacked(UNIT_LEAF, unit, salt, unitResult));
        return _root(UNIT_INNER, leaf, unit, units, siblings);
    }

    /// @dev The trace that an opening leads to.
    function traceRoot(uint32 segment, uint32 segments, bytes32 state, bytes32[] calldata siblings)
        internal
        pure
        returns (bytes32)
    {
        bytes32 leaf = keccak256(abi.encodePacked(TRACE_LEAF, segment, state));
        return _root(TRACE_INNER, leaf, segment, segments, siblings);
    }

    /// @dev At most 16 levels: counts are at most 65,536.
    function _root(uint8 tag, bytes32 node, uint256 index, uint256 width, bytes32[] calldata siblings)
        private
        pure
        returns (bytes32)
    {
        uint256 used = 0;
        (uint256 first, uint256 count) = (index, width);
        if (index >= width) revert ProofMalformed(index, width, siblings.length);
        while (width > 1) {
            // The last node of a level of odd length has no neighbour and is carried up.
            if (index % 2 == 1 || index + 1 < width) {
                if (used == siblings.length) revert ProofMalformed(first, count, siblings.length);
                bytes32 sibling = siblings[used];
                ++used;
                node = index % 2 == 1
                    ? keccak256(abi.encodePacked(tag, sibling, node))
                    : keccak256(abi.encodePacked(tag, node, sibling));
            }
            index /= 2;
            width = (width + 1) / 2;
        }
        if (used != siblings.length) revert ProofMalformed(first, count, siblings.length);
        return node;
    }
}
