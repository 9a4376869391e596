// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title What a payment channel needs to know of an audit
/// @dev Spec: specs/0009-channel.md section 2 says what whoever implements this must keep.
interface IWindows {
    /// @notice Whether a window's audit is over, and whether it found the work wrong.
    /// @param windowId The window (specs/0009-channel.md section 6). An unknown one is neither closed nor convicted.
    /// @return closed The audit is over; the answer does not change any more.
    /// @return convicted The work was found wrong.
    function released(bytes32 windowId) external view returns (bool closed, bool convicted);
}
