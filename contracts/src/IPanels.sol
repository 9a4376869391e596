// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "./IAuditTypes.sol";

/// @title The panels: referees who decide what two rounds of checkers did not
/// @notice A dispute comes before a panel of 31 slots, then of 63, then of 127, while there is no ruling. A slot is a vote
/// and belongs to an account with a seat; an account votes with all its slots by one ballot. A ruling is what more than two
/// thirds of all slots of a panel found. Call these functions at the *audit's* address, as those of `IReferee`.
/// @dev Spec: specs/0008-audit.md, section 9.
interface IPanels is IAuditTypes {
    /// @notice Commit to a ballot, with up to `BALLOT_SLOTS_MAX` of the caller's slots. With more slots it calls again with
    /// the same hash.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param slots The slots, each held by the caller.
    /// @param hash keccak256 of window id, unit, round, account, finding (one byte; zero but for an exact 4), own, nonce.
    function commitBallot(bytes32 windowId, uint32 unit, uint8 round, uint8[] calldata slots, bytes32 hash) external;

    /// @notice Reveal the ballot; all its slots vote for what it found.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param finding What it found; `Compare` for class exact.
    /// @param own Hash of its own output.
    /// @param nonce The salt.
    function revealBallot(bytes32 windowId, uint32 unit, uint8 round, Finding finding, bytes32 own, bytes32 nonce)
        external;

    /// @notice Ends a panel whose time is over. Anybody; `IReferee.conclude` hands it on.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function conclude(bytes32 windowId, uint32 unit) external;

    /// @notice Pays a ballot of a panel that ended, or fines it. Anybody, and who shows a fine gets half of it.
    /// @dev Paid: what the ruling found, or nothing; all that were revealed if there is no ruling; all that were committed
    /// if the unit was not opened.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param account Whose ballot.
    function settleBallot(bytes32 windowId, uint32 unit, uint8 round, address account) external;

    /// @notice Pay for further panels of a unit: the value goes to its party's bond, or to the budget without a party.
    /// @dev A panel after the first begins only if its party's bond has a fee for each of its slots. Anybody.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function fund(bytes32 windowId, uint32 unit) external payable;

    /// @notice Who holds a slot of a panel; zero if nobody does. Reverts with `NotDrawnYet`.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param slot The slot: below 31, 63 or 127.
    function panelSlot(bytes32 windowId, uint32 unit, uint8 round, uint8 slot) external view returns (address);

    /// @notice A panel as stored.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    function panelOf(bytes32 windowId, uint32 unit, uint8 round) external view returns (Panel memory);

    /// @notice A ballot as stored.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param account Whose ballot.
    function ballotOf(bytes32 windowId, uint32 unit, uint8 round, address account) external view returns (Ballot memory);

    /// @notice What stands behind a value on a panel.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 2 to 4: which panel.
    /// @param value Of class exact an output, else the number of a finding.
    function supportOf(bytes32 windowId, uint32 unit, uint8 round, bytes32 value) external view returns (Support memory);
}
