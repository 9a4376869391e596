// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What the audit asks the beacon
/// @dev Spec: specs/0007-beacon.md.
interface IBeacon {
    /// @notice The randomness of a height.
    /// @dev Reverts while it is not known, and when it is no longer kept.
    /// @param height The height.
    /// @return The 32 bytes.
    function randomness(uint256 height) external view returns (bytes32);

    /// @notice Whether `randomness(height)` answers now.
    /// @param height The height.
    /// @return Whether it does.
    function has(uint256 height) external view returns (bool);
}
