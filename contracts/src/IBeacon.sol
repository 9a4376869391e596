// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Randomness that nobody can predict or choose
/// @notice Holds the randomness of the newest heights of the chain. The committee makes the randomness of a height only
/// after the block of that height is final, so bind a draw to a height *after* the one in which everything that it
/// decides upon became final. One value comes with nearly every block, usually that of the second block before it.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner. Written by the
/// system address only, at the start of a block, after every validator has checked the committee's signatures.
/// Spec: specs/0007-beacon.md, section 5.
interface IBeacon {
    /// @notice Only the system may write.
    /// @param caller Who tried.
    error NotSystem(address caller);

    /// @notice Values come in the order of their heights, without a gap.
    /// @param first The first height given.
    /// @param expected The height that comes next.
    error OutOfOrder(uint256 first, uint256 expected);

    /// @notice The randomness of this height is not known yet: ask again in a later block.
    /// @param height The height asked for.
    /// @param newest The newest height that is known; zero if there is none.
    error NotYet(uint256 height, uint256 newest);

    /// @notice The randomness of this height is no longer kept; height 0 never had any.
    /// @param height The height asked for.
    /// @param oldest The oldest height that is kept.
    error TooOld(uint256 height, uint256 oldest);

    /// @notice Writes the randomness of consecutive heights. For the system alone; emits nothing.
    /// @dev Reverts with `NotSystem` or `OutOfOrder`. Gas: about 23,000 per height.
    /// @param first The first height: `newest() + 1`.
    /// @param values The randomness of `first`, `first + 1`, and so on.
    function record(uint256 first, bytes32[] calldata values) external;

    /// @notice The randomness of a height: keccak256 of the committee's signature over it.
    /// @dev Reverts with `NotYet` or `TooOld`. Gas: two storage reads.
    /// @param height The height, from `oldest()` to `newest()` inclusive.
    /// @return The 32 bytes.
    function randomness(uint256 height) external view returns (bytes32);

    /// @notice Whether the randomness of a height can be read now.
    /// @param height Any height.
    /// @return True if `randomness(height)` does not revert.
    function has(uint256 height) external view returns (bool);

    /// @notice The newest height whose randomness is known.
    /// @return The height; zero if there is none.
    function newest() external view returns (uint256);

    /// @notice The oldest height whose randomness is kept.
    /// @return The height; 1 as long as nothing was overwritten.
    function oldest() external view returns (uint256);

    /// @notice How many heights are kept.
    /// @return Number of heights.
    function RING() external view returns (uint256);
}
