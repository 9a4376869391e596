// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Draw} from "../src/Draw.sol";
import {IAuditTypes} from "../src/IAuditTypes.sol";

/// @title A mock of the audit: its answers are set by the test
/// @dev It is put at the audit's address, and has what a channel calls. It takes all terms and keeps every budget, which is that of the
/// real one for a provider in probation. Tests of both contracts together are in `ChannelAudit.t.sol`.
contract MockAudit {
    enum Answer {
        Unknown,
        Released,
        Convicted
    }

    mapping(bytes32 windowId => Answer) public answers;
    uint256 public opened;
    /// @dev What the last window was opened with.
    bytes32 public commitment;
    bytes32 public canary;

    function set(bytes32 windowId, Answer answer) external {
        answers[windowId] = answer;
    }

    function open(IAuditTypes.Opening calldata opening) external payable returns (bytes32 id) {
        ++opened;
        commitment = opening.commitment;
        canary = opening.terms.canary;
        id = Draw.windowId(msg.sender, opening.number, opening.window);
    }

    function released(bytes32 windowId) external view returns (bool closed, bool convicted) {
        Answer answer = answers[windowId];
        return (answer != Answer.Unknown, answer == Answer.Convicted);
    }

    function depositWei(address, uint32 units, uint128 priceWeiPerUnit, IAuditTypes.Terms calldata terms)
        external
        pure
        returns (uint256)
    {
        uint256 checks = (3 * uint256(units) * terms.checkers + 1) / 2 + 40;
        return checks * (uint256(priceWeiPerUnit) * terms.feePpm / 1_000_000);
    }

    function checkTerms(IAuditTypes.Terms calldata, uint128) external pure {}
}

/// @title A token whose manners are set by the test
contract WildToken {
    enum Manner {
        Good, // returns true
        Silent, // returns nothing
        Refusing, // returns false and moves nothing
        Lying, // returns true and moves nothing
        FeeIn, // the receiver gets one less
        FeeOut, // the sender pays one more
        Generous, // the receiver gets one more
        Calling // calls back before it moves
    }

    Manner public manner;
    mapping(address account => uint256) public balanceOf;
    mapping(address account => bool) public blocked;
    address private _target;
    bytes private _payload;
    uint256 public refusals;
    bytes public lastReturned;

    error Blocked(address account);

    function behave(Manner next) external {
        manner = next;
    }

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function blockAccount(address account) external {
        blocked[account] = true;
    }

    function arm(address target, bytes calldata payload) external {
        _target = target;
        _payload = payload;
        manner = Manner.Calling;
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    /// @dev Returns what a word-returning function would, or nothing, by hand: the manner decides.
    function _move(address from, address to, uint256 amount) private {
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        Manner m = manner;
        if (m == Manner.Calling) _callBack();
        if (m != Manner.Refusing && m != Manner.Lying) {
            balanceOf[from] -= amount + (m == Manner.FeeOut ? 1 : 0);
            if (m == Manner.FeeIn) --amount;
            if (m == Manner.Generous) ++amount;
            balanceOf[to] += amount;
        }
        uint256 word = m == Manner.Refusing ? 0 : 1;
        uint256 length = m == Manner.Silent ? 0 : 32;
        assembly ("memory-safe") {
            mstore(0, word)
            return(0, length)
        }
    }

    function _callBack() private {
        (bool ok, bytes memory returned) = _target.call(_payload);
        lastReturned = returned;
        if (!ok) ++refusals;
    }
}
