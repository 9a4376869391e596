// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAuditTypes} from "./IAuditTypes.sol";

/// @title The referee: what follows from what was found
/// @notice Openings, questions for inputs, conclusions of rounds, accusations, appeals and canaries. Call these functions
/// at the *audit's* address: the audit hands every call that it does not know to the code at the referee's address, which
/// works on the audit's storage and money. At its own address it has neither, and refuses everything.
/// @dev One contract would be longer than a contract may be. Nothing can be replaced: the address is a constant and the
/// code stands from genesis on. Spec: specs/0008-audit.md, sections 7 to 12.
interface IReferee is IAuditTypes {
    /// @notice Open a unit that has a check. For the provider, in the first half of the time to reveal.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param proof The unit proof and the openings.
    function openUnit(bytes32 windowId, uint32 unit, Proof calldata proof) external;

    /// @notice The customer says where checkers and referees get what they need: the answer to who asked for the input, or,
    /// of a unit that is being looked at and in any round, without a question.
    /// @dev An answer must come in time, brings the asker's fee back to the budget and is given once. Without a question
    /// nothing but the event follows, and a customer may do so eight times a unit; while a question waits, the call is its
    /// answer. Reverts with `WrongStage` unless the unit is being looked at.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param key The address of the customer's node as text, 1 to 128 bytes.
    function handKey(bytes32 windowId, uint32 unit, bytes calldata key) external;

    /// @notice Draw the conclusion of a unit's round, or of an appeal's time. Anybody.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function conclude(bytes32 windowId, uint32 unit) external;

    /// @notice The customer did not hand it in time: the unit is paid unchecked and the checker gets its fee. Anybody.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function withhold(bytes32 windowId, uint32 unit) external;

    /// @notice The customer reveals that a unit is a canary (section 12), after round 0's reveals and once a window.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param own The value that its hash commits to.
    /// @param nonce The salt.
    function revealCanary(bytes32 windowId, uint32 unit, bytes32 own, bytes32 nonce) external payable;

    /// @notice Accuse a unit, or appeal, with a bond of `PANEL_FEES` fees sent along: panels of referees decide.
    /// @dev Accuse: anybody, by the end of round 0, a unit that nobody accused yet. Appeal: the provider of a condemned
    /// unit, or a checker whose finding a cleared unit contradicts.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Of an accusation: the segment that is wrong, or `SEEKING` to find it with the referee contract.
    /// Ignored in an appeal.
    function challenge(bytes32 windowId, uint32 unit, uint32 segment) external payable;

    /// @notice Who accused with `SEEKING` asks the provider for the state after a segment, to find the first that
    /// differs from its own. One question at a time, at most `ASKS_MAX`, each within `BISECT_SECONDS`.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Index of the segment.
    function ask(bytes32 windowId, uint32 unit, uint32 segment) external;

    /// @notice The provider answers by `BISECT_SECONDS` after the question, with an opening of that segment.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param proof The unit proof and the openings.
    function answer(bytes32 windowId, uint32 unit, Proof calldata proof) external;

    /// @notice Who accused names the segment that is wrong, by `BISECT_SECONDS` after the last answer.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    /// @param segment Index of the segment.
    function name(bytes32 windowId, uint32 unit, uint32 segment) external;

    /// @notice Whoever does not keep its time in a search loses it: the provider is convicted, or the bond goes to the
    /// window's budget. Anybody.
    /// @param windowId The window.
    /// @param unit Index of the unit in the window.
    function endSearch(bytes32 windowId, uint32 unit) external;
}
