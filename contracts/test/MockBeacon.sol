// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title A mock: what the beacon would say, without a committee
/// @dev Knows the heights below the current block's, and the newest 8,192 of them, as the real one does. Everybody can
/// predict it, so it shows nothing about that.
contract MockBeacon {
    /// @notice As `IBeacon` says.
    function randomness(uint256 height) external view returns (bytes32) {
        require(has(height), "mock beacon: not known");
        return keccak256(abi.encodePacked("mock beacon", height));
    }

    /// @notice As `IBeacon` says.
    function has(uint256 height) public view returns (bool) {
        return height < block.number && height + 8192 >= block.number;
    }
}
