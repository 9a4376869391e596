// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {AUDIT_ADDRESS, MARKET_ADDRESS, REFEREE_ADDRESS} from "./Genesis.sol";
import {IBond} from "./IBond.sol";

/// @title The bond
/// @notice See `IBond`.
/// @dev Balance invariant: this contract's balance is at least the sum of all free, locked, seated and leaving bond plus
/// what is burnt, and exactly that unless value was forced in.
/// The list of seats: a place holds one seat. A place that became empty is a *hole*; it is filled again only after
/// `LEAVE_DELAY_SECONDS`, so that what an epoch's list said stays readable for as long as a window lives. The bond of a
/// seat waits just as long, so holes cost as much as seats.
contract Bond is IBond, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @inheritdoc IBond
    uint128 public constant SEAT_WEI = 100 ether;

    /// @inheritdoc IBond
    uint40 public constant LEAVE_DELAY_SECONDS = 14 days;

    /// @inheritdoc IBond
    uint256 public constant EPOCH_BLOCKS = 256;

    /// @inheritdoc IBond
    /// @dev About three million gas.
    uint256 public constant SEATS_PER_CALL_MAX = 64;

    /// @inheritdoc IBond
    uint8 public constant STRIKES_MAX = 8;

    /// @dev All the ability bits that have a meaning.
    uint8 private constant ABILITIES = 15;

    /// @dev The `untilEpoch` of a seat that was not given up.
    uint32 private constant NEVER = type(uint32).max;

    /// @dev Most outdated entries of the queue that one call looks at.
    uint256 private constant STALE_MAX = 8;

    /// @dev Slot 0: the accounts.
    mapping(address account => Account) private _accounts;

    /// @dev Slot 1: the places of the list.
    mapping(uint256 position => Seat) private _seats;

    /// @dev Slot 2: the holes in the order in which they arose: position in the low 32 bits, time above.
    mapping(uint256 index => uint256) private _holes;

    /// @dev Slot 3: index of the oldest hole, of the next new one; places from `_changeEpoch + 1` on, and in and before
    /// that epoch.
    uint64 private _holesBegin;
    uint64 private _holesEnd;
    uint32 private _places;
    uint32 private _placesBefore;
    uint32 private _changeEpoch;

    /// @dev Slot 4: when a place became empty; zero while somebody sits there.
    mapping(uint256 position => uint256) private _freedAt;

    /// @dev Slot 5.
    uint256 private _burntWei;

    modifier authorized() {
        if (msg.sender != MARKET_ADDRESS && msg.sender != AUDIT_ADDRESS && msg.sender != REFEREE_ADDRESS) {
            revert NotAuthorized(msg.sender);
        }
        _;
    }

    /// @inheritdoc IBond
    function deposit() external payable {
        if (msg.value == 0) revert AmountZero(msg.sender);
        Account storage entry = _accounts[msg.sender];
        uint128 amount = msg.value.toUint128();
        uint256 wanted = uint256(entry.seats) * SEAT_WEI;
        uint128 missing = wanted > entry.seatedWei ? (wanted - entry.seatedWei).toUint128() : 0;
        uint128 filled = missing < amount ? missing : amount;
        if (filled != 0) entry.seatedWei += filled;
        entry.freeWei += amount - filled;
        emit Deposited(msg.sender, msg.value, entry.freeWei);
    }

    /// @inheritdoc IBond
    function requestLeave(uint256 amountWei) external {
        if (amountWei == 0) revert AmountZero(msg.sender);
        Account storage entry = _accounts[msg.sender];
        _takeFree(msg.sender, entry, amountWei);
        _toLeaving(entry, amountWei);
    }

    /// @inheritdoc IBond
    function withdraw() external nonReentrant {
        _withdraw(payable(msg.sender));
    }

    /// @inheritdoc IBond
    function withdrawTo(address payable to) external nonReentrant {
        if (to == address(0)) revert RecipientZero(msg.sender);
        _withdraw(to);
    }

    /// @inheritdoc IBond
    function seat(uint32 count, uint16 hardware, uint8 abilities) external {
        if (count == 0) revert AmountZero(msg.sender);
        if (count > SEATS_PER_CALL_MAX) revert TooMany(count, SEATS_PER_CALL_MAX);
        if (abilities == 0 || abilities > ABILITIES) revert AbilitiesUnknown(abilities);
        Account storage entry = _accounts[msg.sender];
        uint256 amountWei = uint256(count) * SEAT_WEI;
        _takeFree(msg.sender, entry, amountWei);
        entry.seatedWei += amountWei.toUint128();
        entry.seats += count;
        for (uint256 i = 0; i < count; ++i) {
            uint32 position = _freePlace();
            _sit(position, Seat(msg.sender, hardware, abilities, _epoch() + 1, NEVER));
        }
    }

    /// @inheritdoc IBond
    function unseat(uint32[] calldata positions) external {
        if (positions.length == 0) revert AmountZero(msg.sender);
        if (positions.length > SEATS_PER_CALL_MAX) revert TooMany(positions.length, SEATS_PER_CALL_MAX);
        Account storage entry = _accounts[msg.sender];
        for (uint256 i = 0; i < positions.length; ++i) {
            Seat storage held = _seats[positions[i]];
            if (held.account != msg.sender || held.untilEpoch != NEVER) revert NotSeated(msg.sender, positions[i]);
            _rise(positions[i], held);
        }
        uint32 seats = entry.seats - uint32(positions.length);
        // After a slash the remaining seats keep what they need first.
        uint256 keepWei = Math.min(uint256(seats) * SEAT_WEI, entry.seatedWei);
        uint256 amountWei = entry.seatedWei - keepWei;
        entry.seats = seats;
        entry.seatedWei = keepWei.toUint128();
        _toLeaving(entry, amountWei);
    }

    /// @inheritdoc IBond
    function compact() external {
        uint32 places = _places;
        if (places == 0) revert NothingToCompact(places);
        Seat storage last = _seats[places - 1];
        if (last.untilEpoch != NEVER) {
            if (!_isOld(_freedAt[places - 1])) revert NothingToCompact(places);
            _setPlaces(places - 1);
            return;
        }
        uint64 begin = _holesBegin;
        (bool found, uint32 position) = _popHole();
        if (!found) {
            // What was dropped on the way is a step, too: to revert would bring it back, in the way of every later call.
            if (_holesBegin == begin) revert NothingToCompact(places);
            return;
        }
        _sit(position, Seat(last.account, last.hardware, last.abilities, _epoch() + 1, NEVER));
        _rise(places - 1, last);
    }

    /// @inheritdoc IBond
    function lock(address account, uint256 amountWei) external authorized {
        Account storage entry = _accounts[account];
        _takeFree(account, entry, amountWei);
        entry.lockedWei += amountWei.toUint128();
        emit Locked(account, amountWei);
    }

    /// @inheritdoc IBond
    function unlock(address account, uint256 amountWei) external authorized {
        Account storage entry = _accounts[account];
        entry.lockedWei -= amountWei.toUint128();
        entry.freeWei += amountWei.toUint128();
        emit Unlocked(account, amountWei);
    }

    /// @inheritdoc IBond
    function slashLocked(address account, uint256 amountWei, address[] calldata finders) external authorized {
        _accounts[account].lockedWei -= amountWei.toUint128();
        _share(account, amountWei, finders);
    }

    /// @inheritdoc IBond
    function slashSeated(address account, uint256 amountWei, address[] calldata finders)
        external
        authorized
        returns (uint256 takenWei)
    {
        Account storage entry = _accounts[account];
        uint256 fromFree = Math.min(amountWei, entry.freeWei);
        uint256 fromLeaving = Math.min(amountWei - fromFree, entry.leavingWei);
        uint256 fromSeated = Math.min(amountWei - fromFree - fromLeaving, entry.seatedWei);
        entry.freeWei -= fromFree.toUint128();
        entry.leavingWei -= fromLeaving.toUint128();
        entry.seatedWei -= fromSeated.toUint128();
        takenWei = fromFree + fromLeaving + fromSeated;
        _share(account, takenWei, finders);
    }

    /// @inheritdoc IBond
    function strike(address account) external authorized {
        Account storage entry = _accounts[account];
        uint32 epoch = _epoch();
        uint8 strikes = entry.strikeEpoch == epoch ? entry.strikes : 0;
        // Beyond the most it changes nothing, so that a count cannot overflow.
        if (strikes < STRIKES_MAX) ++strikes;
        entry.strikeEpoch = epoch;
        entry.strikes = strikes;
        if (strikes == STRIKES_MAX) entry.suspendedUntil = epoch + 2;
        emit Struck(account, epoch, strikes);
    }

    /// @inheritdoc IBond
    function accountOf(address account) external view returns (Account memory) {
        return _accounts[account];
    }

    /// @inheritdoc IBond
    function seatAt(uint32 position) external view returns (Seat memory) {
        return _seats[position];
    }

    /// @inheritdoc IBond
    function seatIn(uint32 epoch, uint32 position) external view returns (Seat memory held) {
        Seat memory found = _seats[position];
        if (epoch < found.fromEpoch || epoch >= found.untilEpoch) return held;
        Account storage entry = _accounts[found.account];
        if (_epoch() < entry.suspendedUntil) return held;
        if (entry.seatedWei < uint256(entry.seats) * SEAT_WEI) return held;
        return found;
    }

    /// @inheritdoc IBond
    function placesNow() external view returns (uint32 epoch, uint32 places) {
        epoch = _epoch();
        places = epoch > _changeEpoch ? _places : _placesBefore;
    }

    /// @inheritdoc IBond
    function burntWei() external view returns (uint256) {
        return _burntWei;
    }

    function _epoch() private view returns (uint32) {
        return (block.number / EPOCH_BLOCKS).toUint32();
    }

    function _takeFree(address account, Account storage entry, uint256 amountWei) private {
        if (amountWei > entry.freeWei) revert FreeTooSmall(account, entry.freeWei, amountWei);
        entry.freeWei -= amountWei.toUint128();
    }

    function _toLeaving(Account storage entry, uint256 amountWei) private {
        entry.leavingWei += amountWei.toUint128();
        entry.leaveAt = block.timestamp.toUint40() + LEAVE_DELAY_SECONDS;
        emit LeaveRequested(msg.sender, amountWei, entry.leavingWei, entry.leaveAt);
    }

    function _setPlaces(uint32 places) private {
        uint32 epoch = _epoch();
        if (epoch > _changeEpoch) {
            _placesBefore = _places;
            _changeEpoch = epoch;
        }
        _places = places;
    }

    function _isOld(uint256 freedAt) private view returns (bool) {
        return block.timestamp >= freedAt + LEAVE_DELAY_SECONDS;
    }

    /// @dev Takes the oldest hole off the queue if it is old enough. Entries of places that `compact` cut off are
    /// dropped on the way, at most `STALE_MAX` a call: a place that was cut off and filled again has another time.
    function _popHole() private returns (bool found, uint32 position) {
        uint64 index = _holesBegin;
        uint64 end = _holesEnd;
        for (uint256 i = 0; i < STALE_MAX && index != end && !found; ++i) {
            uint256 hole = _holes[index];
            uint256 freedAt = hole >> 32;
            if (!_isOld(freedAt)) break;
            // LOSSY: the position is the low 32 bits.
            position = uint32(hole);
            found = position < _places && _freedAt[position] == freedAt;
            ++index;
        }
        _holesBegin = index;
    }

    /// @dev An old hole, or a new place at the end. A place beyond the end is old: `compact` cuts off no other.
    function _freePlace() private returns (uint32) {
        (bool found, uint32 position) = _popHole();
        if (found) return position;
        uint32 places = _places;
        _setPlaces(places + 1);
        return places;
    }

    function _sit(uint32 position, Seat memory held) private {
        _seats[position] = held;
        _freedAt[position] = 0;
        emit Seated(held.account, position, held.hardware, held.abilities, held.fromEpoch);
    }

    function _rise(uint32 position, Seat storage held) private {
        held.untilEpoch = _epoch() + 1;
        _freedAt[position] = block.timestamp;
        _holes[_holesEnd] = (block.timestamp << 32) | position;
        _holesEnd += 1;
        emit Unseated(held.account, position, held.untilEpoch);
    }

    /// @dev Half at most goes to finders, so that convicting oneself costs at least half.
    function _share(address account, uint256 takenWei, address[] calldata finders) private {
        uint256 shareWei = finders.length == 0 ? 0 : takenWei / 2 / finders.length;
        for (uint256 i = 0; i < finders.length; ++i) {
            _accounts[finders[i]].freeWei += shareWei.toUint128();
        }
        uint256 bountyWei = shareWei * finders.length;
        _burntWei += takenWei - bountyWei;
        emit Slashed(account, takenWei, bountyWei);
    }

    /// @dev Clears the debt before it pays; the guard only keeps a receiver from nesting withdrawals.
    function _withdraw(address payable to) private {
        Account storage entry = _accounts[msg.sender];
        uint256 amountWei = entry.leavingWei;
        if (amountWei == 0) revert NothingLeaving(msg.sender);
        if (block.timestamp < entry.leaveAt) revert LeaveTooEarly(msg.sender, entry.leaveAt, block.timestamp);
        entry.leavingWei = 0;
        entry.leaveAt = 0;
        emit Left(msg.sender, to, amountWei);
        Address.sendValue(to, amountWei);
    }
}
