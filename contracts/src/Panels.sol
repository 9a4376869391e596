// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BALLOT_SLOTS_MAX, LAST_ROUND, PANEL_ROUND, PLACES_TRIED, SLOTS} from "./AuditParameters.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AuditEnds} from "./AuditEnds.sol";
import {Draw} from "./Draw.sol";
import {IBond} from "./IBond.sol";
import {IPanels} from "./IPanels.sol";

/// @title The panels
/// @notice See `IPanels`.
/// @dev Runs by `delegatecall` from `Referee`, itself called so from `Audit`, on the audit's storage and money. At its own
/// address every window is unknown. No call loops over a whole panel: a ballot names at most `BALLOT_SLOTS_MAX` slots, and
/// what stands behind a value is counted as it is revealed.
contract Panels is AuditEnds, IPanels {
    using SafeCast for uint256;

    uint8 private constant REFEREE_ABILITY = 8;

    /// @inheritdoc IPanels
    function commitBallot(bytes32 windowId, uint32 unit, uint8 round, uint8[] calldata slots, bytes32 hash) external {
        Window storage w = _openWindow(windowId);
        Case storage c = _sitting(windowId, unit, round);
        _touch(windowId, unit, round);
        (uint256 checkBy,,) = _times(windowId, unit, round);
        if (block.timestamp > checkBy) revert TooLate(checkBy, block.timestamp);
        uint256 count = slots.length;
        if (count == 0 || count > BALLOT_SLOTS_MAX) revert SlotsOutOfRange(count, BALLOT_SLOTS_MAX);
        Panel storage p = _panel(windowId, unit, round);
        Ballot storage b = _ballotAt(windowId, unit, round, msg.sender);
        if (b.votes == 0) {
            _reserveFee(windowId, w, c, round);
            ++p.committed;
            b.word = hash;
            // What it gave up in this epoch votes still, and its bond is on its way out.
            IBond.Account memory account = BOND.accountOf(msg.sender);
            b.seats = ((uint256(account.seatedWei) + account.leavingWei) / CONTRADICTED_WEI).toUint32();
        } else if (b.word != hash) {
            revert BallotMismatch(windowId, unit, msg.sender, b.word);
        }
        uint128 taken = _taken(windowId, unit, round, slots, p.taken);
        uint128 mine = taken ^ p.taken;
        p.taken = taken;
        b.slots |= mine;
        // LOSSY: at most 127 slots are taken, each by one account.
        b.votes += uint8(count);
        emit BallotCommitted(windowId, unit, round, msg.sender, mine);
    }

    /// @inheritdoc IPanels
    function revealBallot(bytes32 windowId, uint32 unit, uint8 round, Finding finding, bytes32 own, bytes32 nonce)
        external
    {
        Window storage w = _openWindow(windowId);
        Case storage c = _sitting(windowId, unit, round);
        _requireReveal(windowId, unit, round);
        _requireFinding(windowId, unit, w, c, finding);
        bool isExact = w.class == EXACT;
        bytes32 hash =
            keccak256(abi.encodePacked(windowId, unit, round, msg.sender, isExact ? uint8(finding) : 0, own, nonce));
        Ballot storage b = _ballotAt(windowId, unit, round, msg.sender);
        if (b.votes == 0 || b.revealed || b.word != hash) revert RevealMismatch(windowId, unit, 0);
        Panel storage p = _panel(windowId, unit, round);
        b.revealed = true;
        b.finding = finding;
        ++p.revealed;
        emit BallotRevealed(windowId, unit, round, msg.sender, finding, own);
        if (finding == Finding.Inconclusive) {
            ++p.unsure;
            return;
        }
        bytes32 value = isExact ? own : bytes32(uint256(finding));
        b.word = value;
        Support storage s = _support[windowId][_roundKey(unit, round)][value];
        uint8 votes = s.votes + b.votes;
        (s.votes, s.ballots) = (votes, s.ballots + 1);
        // More than two thirds of all its slots: no second value can have them too.
        if (uint256(votes) * 3 > _panelSlots(round) * 2 && !p.ruled) (p.ruled, p.value) = (true, value);
    }

    /// @inheritdoc IPanels
    function conclude(bytes32 windowId, uint32 unit) external {
        Window storage w = _openWindow(windowId);
        Case storage c = _checking(windowId, unit);
        uint8 round = c.round;
        if (round < PANEL_ROUND) revert WrongRound(windowId, unit, round);
        _touch(windowId, unit, round);
        (,, uint256 revealBy) = _times(windowId, unit, round);
        // The randomness was lost: another height draws, and nothing is over yet.
        if (revealBy == 0) return;
        if (block.timestamp <= revealBy) revert TooEarly(revealBy, block.timestamp);
        Panel storage p = _panel(windowId, unit, round);
        if (p.committed != 0 && !c.opened) {
            // Who may hide when drawn is never caught.
            p.paid = p.committed;
            p.ending = Ending.Unopened;
            emit PanelEnded(windowId, unit, round, Ending.Unopened, Finding.Compare);
            _convictFor(windowId, unit, w, c);
            return;
        }
        Finding ruling = _endPanel(windowId, unit, w, c, p);
        if (ruling == Finding.Compare) _withoutRuling(windowId, unit, w, c);
        else if (ruling == Finding.Wrong) _ruleWrong(windowId, unit, w, c);
        else if (ruling == Finding.Right) _ruleRight(windowId, unit, w, c);
        else _endUndecided(windowId, unit, w, c, Stage.Unpaid);
    }

    /// @inheritdoc IPanels
    function settleBallot(bytes32 windowId, uint32 unit, uint8 round, address account) external {
        Panel storage p = _panel(windowId, unit, round);
        Ballot storage b = _ballotAt(windowId, unit, round, account);
        Ending ending = p.ending;
        if (b.votes == 0 || b.settled || ending == Ending.Running) revert NothingToSettle(windowId, unit, account);
        b.settled = true;
        bool stands = b.finding == Finding.Inconclusive || b.word == p.value || ending == Ending.NoRuling;
        if (ending == Ending.Unopened || (b.revealed && stands)) {
            _pay(account, _windows[windowId].feeWei);
            return;
        }
        // A tenth of a seat for each vote, and at most of each of its seats. Whoever shows it gets half.
        uint256 votes = b.votes;
        uint256 fines = votes < b.seats ? votes : b.seats;
        address[] memory finders = new address[](msg.sender == account ? 0 : 1);
        if (finders.length != 0) finders[0] = msg.sender;
        BOND.slashSeated(account, ABSENT_WEI * fines, finders);
        BOND.strike(account);
    }

    /// @inheritdoc IPanels
    function fund(bytes32 windowId, uint32 unit) external payable {
        Window storage w = _openWindow(windowId);
        Case storage c = _checking(windowId, unit);
        if (msg.value == 0) revert ValueMismatch(0, w.feeWei);
        if (c.party != address(0)) c.partyWei += msg.value.toUint96();
        else w.budgetWei += msg.value.toUint128();
        emit Funded(windowId, unit, msg.sender, msg.value);
    }

    /// @inheritdoc IPanels
    function panelSlot(bytes32 windowId, uint32 unit, uint8 round, uint8 slot) external view returns (address) {
        if (round < PANEL_ROUND || round > LAST_ROUND || slot >= _panelSlots(round)) {
            revert WrongRound(windowId, unit, round);
        }
        return
            _holder(_seed(windowId, unit, round), _round(windowId, unit, round), unit, slot, _excluded(windowId, unit));
    }

    /// @inheritdoc IPanels
    function panelOf(bytes32 windowId, uint32 unit, uint8 round) external view returns (Panel memory) {
        return _panel(windowId, unit, round);
    }

    /// @inheritdoc IPanels
    function ballotOf(bytes32 windowId, uint32 unit, uint8 round, address account)
        external
        view
        returns (Ballot memory)
    {
        return _ballotAt(windowId, unit, round, account);
    }

    /// @inheritdoc IPanels
    function supportOf(bytes32 windowId, uint32 unit, uint8 round, bytes32 value)
        external
        view
        returns (Support memory)
    {
        return _support[windowId][_roundKey(unit, round)][value];
    }

    /// @dev Closes a panel's books: who is paid, and what comes back to who pays. `Compare` stands for no ruling.
    function _endPanel(bytes32 id, uint32 unit, Window storage w, Case storage c, Panel storage p)
        private
        returns (Finding ruling)
    {
        uint8 paid = p.revealed;
        if (p.ruled) {
            bytes32 value = p.value;
            paid = _support[id][_roundKey(unit, c.round)][value].ballots + p.unsure;
            if (w.class != EXACT) ruling = Finding(uint256(value));
            else ruling = value == c.value ? Finding.Right : Finding.Wrong;
        }
        uint256 freedWei = uint256(p.committed - paid) * w.feeWei;
        if (c.party != address(0)) c.partyWei += freedWei.toUint96();
        else w.budgetWei += freedWei.toUint128();
        p.paid = paid;
        p.ending = p.ruled ? Ending.Ruling : Ending.NoRuling;
        emit PanelEnded(id, unit, c.round, p.ending, ruling);
    }

    /// @dev A larger panel, if there is one and its fees are there. An appeal whose fees are not there has failed.
    function _withoutRuling(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        uint8 next = c.round + 1;
        bool isFunded = next > LAST_ROUND || c.party == address(0) || c.partyWei >= _panelSlots(next) * w.feeWei;
        Stage appealed = c.appealed;
        if (!isFunded && appealed == Stage.Condemned) _condemn(id, unit, w, c);
        else if (!isFunded && appealed == Stage.Cleared) _clear(id, unit, w, c);
        else if (!isFunded || next > LAST_ROUND) _endUndecided(id, unit, w, c, Stage.Unchecked);
        else _beginLater(id, unit, c, next);
    }

    /// @dev Nobody was found wrong. Who appealed loses nothing as far as the budget goes; who accused pays, or accusing
    /// would be free.
    function _endUndecided(bytes32 id, uint32 unit, Window storage w, Case storage c, Stage stage) private {
        if (c.appealed != Stage.None) _refill(id, unit, w, c);
        _returnBond(c);
        _end(id, unit, w, c, stage);
    }

    function _ruleWrong(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        address party = c.party;
        bool same = _isDrawnSegment(id, unit, c);
        address[] memory finders = same ? _finders(id, unit, c, Finding.Wrong) : new address[](0);
        if (party != address(0) && party != w.provider) {
            finders = new address[](1);
            finders[0] = party;
            _refill(id, unit, w, c);
        }
        _returnBond(c);
        if (same) _punish(id, unit, c, Finding.Right, new address[](0));
        if (w.canaryUnit == unit + 1) _end(id, unit, w, c, Stage.Unpaid);
        else _convict(id, unit, w, c, finders);
    }

    function _ruleRight(bytes32 id, uint32 unit, Window storage w, Case storage c) private {
        bool same = _isDrawnSegment(id, unit, c);
        address[] memory finders = same ? _finders(id, unit, c, Finding.Right) : new address[](0);
        if (c.party == w.provider) {
            finders = new address[](1);
            finders[0] = c.party;
            _refill(id, unit, w, c);
        }
        _returnBond(c);
        if (same) _punish(id, unit, c, Finding.Wrong, finders);
        _end(id, unit, w, c, Stage.Verified);
    }

    /// @dev A unit on this panel.
    function _sitting(bytes32 id, uint32 unit, uint8 round) private view returns (Case storage c) {
        c = _checking(id, unit);
        if (round < PANEL_ROUND || c.round != round) revert WrongRound(id, unit, c.round);
    }

    function _ballotAt(bytes32 id, uint32 unit, uint8 round, address account) private view returns (Ballot storage) {
        return _ballots[id][_roundKey(unit, round)][account];
    }

    /// @dev The taken slots with these, each of which the caller holds.
    function _taken(bytes32 id, uint32 unit, uint8 round, uint8[] calldata slots, uint128 taken)
        private
        view
        returns (uint128)
    {
        bytes32 seed = _seed(id, unit, round);
        Round storage d = _round(id, unit, round);
        address[] memory excluded = _excluded(id, unit);
        uint256 size = _panelSlots(round);
        for (uint256 i = 0; i < slots.length; ++i) {
            uint8 slot = slots[i];
            if (slot >= size || _holder(seed, d, unit, slot, excluded) != msg.sender) {
                revert NotOnDuty(id, unit, slot, msg.sender);
            }
            uint128 bit = uint128(1) << slot;
            if (taken & bit != 0) revert SlotTaken(id, unit, slot);
            taken |= bit;
        }
        return taken;
    }

    /// @dev Who holds a slot: whose seat is in the first of its places with one that may vote; zero if in none.
    function _holder(bytes32 seed, Round storage d, uint32 unit, uint8 slot, address[] memory excluded)
        private
        view
        returns (address)
    {
        (uint32 epoch, uint32 places) = (d.epoch, d.places);
        if (places == 0) return address(0);
        for (uint8 attempt = 0; attempt < PLACES_TRIED; ++attempt) {
            IBond.Seat memory held = BOND.seatIn(epoch, Draw.panelPlace(seed, unit, slot, attempt, places));
            if (held.abilities & REFEREE_ABILITY == 0) continue;
            bool isStranger = true;
            for (uint256 i = 0; i < excluded.length && isStranger; ++i) {
                isStranger = excluded[i] != held.account;
            }
            if (isStranger) return held.account;
        }
        return address(0);
    }

    /// @dev Who has a part in the case: provider, customer, a party, and who checked in rounds 0 and 1. All of them stand
    /// before the first panel is drawn.
    function _excluded(bytes32 id, uint32 unit) private view returns (address[] memory accounts) {
        Window storage w = _windows[id];
        Case storage c = _cases[id][unit];
        accounts = new address[](3 + 2 * uint256(SLOTS));
        (accounts[0], accounts[1], accounts[2]) = (w.provider, w.customer, c.party);
        uint256 count = 3;
        uint32 committed = c.committed;
        for (uint8 k = 0; k < 2 * SLOTS; ++k) {
            if (committed & (uint32(1) << k) == 0) continue;
            accounts[count++] = _checkAt(id, unit, k / SLOTS, k % SLOTS).account;
        }
        assembly ("memory-safe") {
            mstore(accounts, count)
        }
    }
}
