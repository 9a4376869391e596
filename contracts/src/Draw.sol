// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What the beacon's randomness draws
/// @dev Pure, so that programs off the chain and tests can repeat it. Spec: specs/0008-audit.md, sections 5 and 6.
library Draw {
    /// @dev Ranges of parts per million.
    uint256 internal constant PPM = 1_000_000;

    /// @dev A window's number: who opened it, that one's own number, and the window's number there.
    function windowId(address source, uint256 number, uint64 window) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("keystead/window/v1", source, number, window));
    }

    /// @dev The seed of a round of a window.
    function seed(bytes32 randomness, bytes32 id, uint8 round) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("keystead/audit/v1", randomness, id, round));
    }

    /// @dev Whether a unit is checked, by the seed of round 0 and the rate in parts per million.
    function isDrawn(bytes32 seed0, uint32 unit, uint32 ratePpm) internal pure returns (bool) {
        // LOSSY: the first eight bytes are meant.
        uint256 head = uint64(bytes8(keccak256(abi.encodePacked(seed0, uint8(0), unit))));
        return head * PPM < uint256(ratePpm) << 64;
    }

    /// @dev Which of `segments` segments of a drawn unit is run again.
    function segment(bytes32 seed0, uint32 unit, uint32 segments) internal pure returns (uint32) {
        // LOSSY: the first eight bytes are meant, and the rest of a division by 32 bits fits 32 bits.
        return uint32(uint64(bytes8(keccak256(abi.encodePacked(seed0, uint8(1), unit)))) % segments);
    }

    /// @dev Which of `places` places of the list slot `j` of a unit points to; `places` is not zero.
    function place(bytes32 seedOfRound, uint32 unit, uint8 j, uint32 places) internal pure returns (uint32) {
        // LOSSY: the rest of a division by 32 bits fits 32 bits.
        return uint32(uint256(keccak256(abi.encodePacked(seedOfRound, uint8(2), unit, j))) % places);
    }

    /// @dev Which of `places` places slot `j` of a unit's panel points to at the `attempt`-th try; `places` is not zero.
    function panelPlace(bytes32 seedOfRound, uint32 unit, uint8 j, uint8 attempt, uint32 places)
        internal
        pure
        returns (uint32)
    {
        // LOSSY: the rest of a division by 32 bits fits 32 bits.
        return uint32(uint256(keccak256(abi.encodePacked(seedOfRound, uint8(3), unit, j, attempt))) % places);
    }
}
