// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "./IAuditTypes.sol";

/// @title The audit: windows of committed units, who checks them, and whether they are paid
/// @notice A provider commits to a window of units. Then the beacon draws some of them, and checkers for each. Checkers
/// commit to what they found before anything is opened; if they find a unit wrong, others look, and at last the referees.
/// Pay leaves only after the window has closed. Fees become credits that their owners withdraw.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner. All amounts are
/// wei, all times Unix seconds of the block. "By" a time includes its second. Spec: specs/0008-audit.md.
interface IAudit is IAuditTypes {
    /// @notice Refuses terms outside their bounds. For sources, before they take money.
    /// @dev Reverts with `TermOutOfRange`.
    /// @param terms The terms of the audit.
    /// @param priceWeiPerUnit Price of a unit, in wei.
    function checkTerms(Terms calldata terms, uint128 priceWeiPerUnit) external pure;

    /// @notice What a customer deposits for checks: 1.5 times those expected, rounded up, and
    /// `CHECKS_EXTRA`.
    /// @param provider Who did the work.
    /// @param units Units of the window.
    /// @param priceWeiPerUnit Price of a unit, in wei.
    /// @param terms The terms of the audit.
    function depositWei(address provider, uint32 units, uint128 priceWeiPerUnit, Terms calldata terms)
        external
        view
        returns (uint256);

    /// @notice The effective rate of a provider's next window, in parts per million.
    /// @param provider Who did the work.
    /// @param class Job class: 1 exact, 2 self-checking, 3 tolerance.
    /// @param bondWei Bond behind the window, in wei.
    /// @param ratePpm The rate of the terms, in parts per million.
    function effectiveRatePpm(address provider, uint8 class, uint128 bondWei, uint32 ratePpm)
        external
        view
        returns (uint32);

    /// @notice Open a window; the value sent along is its budget. For the market and the channel.
    /// @param opening What the source says.
    function open(Opening calldata opening) external payable returns (bytes32 windowId);

    /// @notice Take the randomness of a round from the beacon. Anybody; does nothing the second time.
    /// @dev If the beacon no longer keeps it, another height draws.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    function touch(bytes32 windowId, uint32 unit, uint8 round) external;

    /// @notice Commit to a check.
    /// @dev By the slot that asked for the unit's input, before the customer answered: takes the question back.
    /// @param key Which.
    /// @param hash See specs/0008-audit.md, section 7.
    /// @param named The named checkers of a private job, else empty.
    function commitCheck(Key calldata key, bytes32 hash, address[] calldata named) external;

    /// @notice Reveal a check.
    /// @param key Which check.
    /// @param finding What it found.
    /// @param own Hash of its own output.
    /// @param nonce The salt.
    function reveal(Key calldata key, Finding finding, bytes32 own, bytes32 nonce) external;

    /// @notice A checker on duty in round 0 that did not commit got no input. In the first half of the time to check.
    /// @dev The fee that a check earns is set aside. `commitCheck` of the same slot takes the question back while it is not
    /// answered: then that fee is the check's, nobody is blamed, and others may ask.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param slot The slot, 0 to 15.
    function askInput(bytes32 windowId, uint32 unit, uint8 slot) external;

    /// @notice Close a window. Anybody, after round 0's time and when no unit is pending.
    /// @param windowId The window.
    function close(bytes32 windowId) external;

    /// @notice Take all of the caller's credit.
    function withdraw() external;

    /// @notice Take all of the caller's credit to another account.
    /// @param to Who receives it.
    function withdrawTo(address payable to) external;

    /// @notice A window as stored.
    /// @param windowId The window.
    function windowOf(bytes32 windowId) external view returns (Window memory);

    /// @notice A unit as stored.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function caseOf(bytes32 windowId, uint32 unit) external view returns (Case memory);

    /// @notice A check as stored.
    /// @param key Which check.
    function checkOf(Key calldata key) external view returns (Check memory);

    /// @notice A round as stored.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    function roundOf(bytes32 windowId, uint32 unit, uint8 round) external view returns (Round memory);

    /// @notice Whether a unit is drawn. Reverts with `NotDrawnYet`.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function drawn(bytes32 windowId, uint32 unit) external view returns (bool);

    /// @notice The drawn segment of a unit. Reverts with `NotDrawnYet`.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function segmentOf(bytes32 windowId, uint32 unit) external view returns (uint32);

    /// @notice Who holds a slot of round 0 or 1; of panels `IPanels.panelSlot` says it.
    /// @param key Which check.
    /// @param named The named checkers of a private job in order, else empty.
    /// @return account The account; zero if the place is empty.
    /// @return eligible Whether it may check.
    /// @return onDuty Whether it is among the first, or a reserve.
    function slot(Key calldata key, address[] calldata named)
        external
        view
        returns (address account, bool eligible, bool onDuty);

    /// @notice Last seconds of a unit's round: to check, to open, to reveal.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param round 0, 1, or 2 to 4 for the panels.
    function times(bytes32 windowId, uint32 unit, uint8 round)
        external
        view
        returns (uint256 checkBy, uint256 openBy, uint256 revealBy);

    /// @notice Whether a window is over, and whether it was found wrong. For the channel.
    /// @param windowId The window.
    function released(bytes32 windowId) external view returns (bool closed, bool convicted);

    /// @notice As `released`, with the units that are paid. For the market.
    /// @param windowId The window.
    function outcome(bytes32 windowId) external view returns (bool closed, bool convicted, uint32 paidUnits);

    /// @notice Units of closed windows of a provider in a class since its last fault. A unit that checkers drawn by lot found
    /// right counts for 1,000,000 / effective rate units, so for one where all are drawn, and for one in a probation also of a
    /// window from before the fault; units that were drawn and stayed unchecked, and private windows, count for none.
    /// @param provider Who did the work.
    /// @param class Job class: 1 exact, 2 self-checking, 3 tolerance.
    function verifiedCount(address provider, uint8 class) external view returns (uint256);

    /// @notice How often a customer withheld an input, or handed a key that nobody could use.
    /// @param customer Who ordered it.
    function withheldCount(address customer) external view returns (uint256);

    /// @notice What an account can withdraw.
    /// @param account The account.
    function credit(address account) external view returns (uint256);
}
