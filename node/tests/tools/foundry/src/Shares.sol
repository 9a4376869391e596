// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.37;

/// @title Arithmetic of shares
/// @notice A library with an external function, so that forge has to deploy it first and to link its address.
library Shares {
    /// @notice What is due to one payee.
    /// @param received All that ever came in, wei.
    /// @param share The payee's share.
    /// @param total All shares.
    /// @param released What the payee already has, wei.
    function due(uint256 received, uint256 share, uint256 total, uint256 released) external pure returns (uint256) {
        return received * share / total - released;
    }
}
