// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title The bond: what providers and checkers lose if they are found wrong
/// @notice An account deposits, puts a part behind orders or into seats, and asks the rest back with a delay. A seat is
/// a chance to be drawn as a checker. Nobody but the market, the audit and the referee can lock or slash.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner. All amounts
/// are wei, all times Unix seconds of the block. Spec: specs/0008-audit.md, section 4.
interface IBond {
    /// @notice What an account has here.
    /// @dev Three slots.
    /// @param freeWei Neither locked, nor seated, nor leaving.
    /// @param lockedWei Behind windows that are not closed.
    /// @param seatedWei Behind seats; below `seats * SEAT_WEI` after a slash, and then no seat is drawn until a deposit.
    /// @param leavingWei Asked back, and not yet taken.
    /// @param leaveAt From when (inclusive) `leavingWei` can be taken; zero when there is none.
    /// @param seats How many seats it holds, those of the next epoch included.
    /// @param strikeEpoch The epoch that `strikes` counts.
    /// @param strikes Strikes in that epoch.
    /// @param suspendedUntil The first epoch in which it is drawn again.
    struct Account {
        uint128 freeWei;
        uint128 lockedWei;
        uint128 seatedWei;
        uint128 leavingWei;
        uint40 leaveAt;
        uint32 seats;
        uint32 strikeEpoch;
        uint8 strikes;
        uint32 suspendedUntil;
    }

    /// @notice A place in the list from which checkers are drawn. One slot.
    /// @param account Whose it is; zero if there never was anybody.
    /// @param hardware The hardware class stated (specs/0010).
    /// @param abilities Bits: 1 `wasm/1`, 2 `wgsl/1` exact, 4 `wgsl/1` float, 8 CPU reference.
    /// @param fromEpoch First epoch in which it is in the list.
    /// @param untilEpoch First epoch in which it is no longer.
    struct Seat {
        address account;
        uint16 hardware;
        uint8 abilities;
        uint32 fromEpoch;
        uint32 untilEpoch;
    }

    /// @notice Bond came in.
    /// @param account Whose it is.
    /// @param amountWei How much.
    /// @param freeWei Free bond after it.
    event Deposited(address indexed account, uint256 amountWei, uint256 freeWei);

    /// @notice Free bond was asked back, or seats were given up.
    /// @param account Whose it is.
    /// @param amountWei How much by this call.
    /// @param leavingWei All that waits now.
    /// @param leaveAt From when (inclusive) it can be taken.
    event LeaveRequested(address indexed account, uint256 amountWei, uint256 leavingWei, uint40 leaveAt);

    /// @notice Bond that had waited was paid out.
    /// @param account Whose it was.
    /// @param to Who received it.
    /// @param amountWei How much.
    event Left(address indexed account, address indexed to, uint256 amountWei);

    /// @notice Bond stands behind a window.
    /// @param account Whose it is.
    /// @param amountWei How much by this call.
    event Locked(address indexed account, uint256 amountWei);

    /// @notice Bond is free again.
    /// @param account Whose it is.
    /// @param amountWei How much by this call.
    event Unlocked(address indexed account, uint256 amountWei);

    /// @notice Seats were taken; they are drawn from `fromEpoch` on.
    /// @param account Whose they are.
    /// @param position One place in the list.
    /// @param hardware The hardware class stated.
    /// @param abilities The ability bits.
    /// @param fromEpoch First epoch in which it is in the list.
    event Seated(address indexed account, uint32 indexed position, uint16 hardware, uint8 abilities, uint32 fromEpoch);

    /// @notice A seat was given up, or moved to another place.
    /// @param account Whose it was.
    /// @param position The place that is empty from `untilEpoch` on.
    /// @param untilEpoch First epoch in which it is empty.
    event Unseated(address indexed account, uint32 indexed position, uint32 untilEpoch);

    /// @notice An account lost bond.
    /// @param account Who.
    /// @param takenWei What it lost.
    /// @param bountyWei The part that finders got; the rest is burnt.
    event Slashed(address indexed account, uint256 takenWei, uint256 bountyWei);

    /// @notice An account did not do what it was drawn for.
    /// @param account Who.
    /// @param epoch The epoch.
    /// @param strikes Strikes in this epoch.
    event Struck(address indexed account, uint32 epoch, uint8 strikes);

    /// @notice Only the market, the audit or the referee may do this.
    /// @param caller Who tried.
    error NotAuthorized(address caller);

    /// @notice An amount or a count of zero makes no sense here.
    /// @param account The caller.
    error AmountZero(address account);

    /// @notice There is not enough free bond.
    /// @param account Whose.
    /// @param freeWei What is free.
    /// @param askedWei What was asked for.
    error FreeTooSmall(address account, uint256 freeWei, uint256 askedWei);

    /// @notice Too many in one call.
    /// @param got The count given.
    /// @param max Most allowed, inclusive.
    error TooMany(uint256 got, uint256 max);

    /// @notice The ability bits are none, or contain unknown ones.
    /// @param abilities The bits given.
    error AbilitiesUnknown(uint8 abilities);

    /// @notice This seat is not the caller's, or was given up already.
    /// @param account The caller.
    /// @param position The place given.
    error NotSeated(address account, uint32 position);

    /// @notice There is nothing on its way out.
    /// @param account The caller.
    error NothingLeaving(address account);

    /// @notice The delay has not passed yet.
    /// @param account The caller.
    /// @param leaveAt From when (inclusive) the call succeeds.
    /// @param timestamp Time of this block.
    error LeaveTooEarly(address account, uint256 leaveAt, uint256 timestamp);

    /// @notice No place at the end of the list is old enough, and no hole either.
    /// @param places How many places the list has.
    error NothingToCompact(uint32 places);

    /// @notice Value cannot be sent to the zero address.
    /// @param account The caller.
    error RecipientZero(address account);

    /// @notice Bond of one seat, in wei.
    function SEAT_WEI() external view returns (uint128);

    /// @notice Seconds between asking back and being able to take.
    /// @dev Longer than any window lives, so that nobody can leave before it is found out.
    function LEAVE_DELAY_SECONDS() external view returns (uint40);

    /// @notice Blocks of an epoch; seats come and go at its borders.
    function EPOCH_BLOCKS() external view returns (uint256);

    /// @notice Most seats that one call takes or gives up.
    function SEATS_PER_CALL_MAX() external view returns (uint256);

    /// @notice Strikes in one epoch that suspend an account for the next.
    function STRIKES_MAX() external view returns (uint8);

    /// @notice Add bond. First it fills what a slash took from behind the caller's seats, the rest is free.
    function deposit() external payable;

    /// @notice Ask free bond back. A second request joins the first and starts the delay anew for both.
    /// @dev Reverts with `AmountZero` or `FreeTooSmall`.
    /// @param amountWei How much.
    function requestLeave(uint256 amountWei) external;

    /// @notice Take what has waited out the delay.
    /// @dev Reverts with `NothingLeaving`, `LeaveTooEarly`, or with what the receiver reverted with.
    function withdraw() external;

    /// @notice Take it to another account.
    /// @dev As `withdraw`, and `RecipientZero`.
    /// @param to Who receives it.
    function withdrawTo(address payable to) external;

    /// @notice Turn free bond into seats, which are drawn from the next epoch on.
    /// @dev Reverts with `AmountZero`, `TooMany`, `AbilitiesUnknown` or `FreeTooSmall`.
    /// @param count How many, 1 to `SEATS_PER_CALL_MAX`.
    /// @param hardware The hardware class; stated, not proved here.
    /// @param abilities The ability bits.
    function seat(uint32 count, uint16 hardware, uint8 abilities) external;

    /// @notice Give seats up from the next epoch on. Their bond leaves with the delay.
    /// @dev Reverts with `AmountZero`, `TooMany` or `NotSeated`.
    /// @param positions Their places in the list, 1 to `SEATS_PER_CALL_MAX`.
    function unseat(uint32[] calldata positions) external;

    /// @notice Make the list one place shorter, or prepare it: moves the last seat into an old hole, or takes up to eight
    /// holes of places that are gone off the queue. Anybody.
    /// @dev Reverts with `NothingToCompact`.
    function compact() external;

    /// @notice Lock free bond behind a window. For the market.
    /// @dev Reverts with `NotAuthorized` or `FreeTooSmall`.
    /// @param account Whose.
    /// @param amountWei How much.
    function lock(address account, uint256 amountWei) external;

    /// @notice Free locked bond. For the market and the audit.
    /// @param account Whose.
    /// @param amountWei How much; it was locked before.
    function unlock(address account, uint256 amountWei) external;

    /// @notice Take locked bond. Half goes to the finders in equal parts, as free bond; the rest is burnt.
    /// @param account Who loses it.
    /// @param amountWei How much; it was locked before.
    /// @param finders Who found it; with none, all is burnt.
    function slashLocked(address account, uint256 amountWei, address[] calldata finders) external;

    /// @notice Take bond of a checker: free first, then leaving, then seated; what there is, if there is less. Never
    /// what is locked, since that stands behind windows.
    /// @param account Who loses it.
    /// @param amountWei How much at most.
    /// @param finders As in `slashLocked`.
    /// @return takenWei What was taken.
    function slashSeated(address account, uint256 amountWei, address[] calldata finders)
        external
        returns (uint256 takenWei);

    /// @notice Count a strike; `STRIKES_MAX` in one epoch suspend the account for the next.
    /// @param account Who.
    function strike(address account) external;

    /// @notice An account's bond.
    /// @param account The account.
    /// @return What is stored; zeros if there is nothing.
    function accountOf(address account) external view returns (Account memory);

    /// @notice A place of the list as stored, whatever the epoch.
    /// @param position The place.
    /// @return The seat; zeros if there never was one.
    function seatAt(uint32 position) external view returns (Seat memory);

    /// @notice Who sits at a place in an epoch, if anybody who can be drawn now.
    /// @dev A place keeps what it held for `LEAVE_DELAY_SECONDS` after it became empty. One storage read for the seat,
    /// two for the account.
    /// @param epoch The epoch.
    /// @param position The place.
    /// @return held The seat; all zero if the place is empty in that epoch, or its account is suspended now, or has too
    /// little bond behind its seats.
    function seatIn(uint32 epoch, uint32 position) external view returns (Seat memory held);

    /// @notice How many places the list has in the current epoch, holes included.
    /// @return epoch The current epoch.
    /// @return places The count.
    function placesNow() external view returns (uint32 epoch, uint32 places);

    /// @notice All that was ever burnt, in wei. It stays here for ever.
    function burntWei() external view returns (uint256);
}
