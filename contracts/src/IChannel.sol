// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IAudit} from "./IAudit.sol";
import {IAuditTypes} from "./IAuditTypes.sol";

/// @title Payment channels: many payments to one provider with two transactions
/// @notice A customer puts a deposit into a channel. Its signer signs vouchers off the chain, each saying what the
/// provider has earned in all. The provider claims the newest one when it likes; the customer gets the rest. What an
/// audit still has to release cannot be claimed before, and never after a conviction. Money is never pushed: it becomes
/// a credit that its owner withdraws.
/// @dev Deployed at genesis as runtime code over empty storage: no constructor, no immutables, no owner.
/// Amounts are wei, or the smallest units of the channel's ERC-20; the zero address as token means KST. All times are
/// Unix seconds of the block. "By" a deadline includes the deadline's second; "after" excludes it.
/// Spec: specs/0009-channel.md.
interface IChannel {
    /// @notice Where a channel stands. The numbers are part of the proof format.
    /// @dev `Open` and `Closing` hold the rest of the deposit. All later ones are final.
    enum Status {
        None, // 0: there is no such channel
        Open, // 1: the provider may claim
        Closing, // 2: the customer asked for the rest, the provider may claim until `closeAt`
        Closed, // 3: final: the provider closed
        Finished, // 4: final: the provider's last time passed after a request
        Expired // 5: final: the channel's life passed
    }

    /// @notice Which of the two durations of a channel.
    enum Phase {
        Challenge, // 0: from the customer's request to the end
        Life // 1: from the opening to the end
    }

    /// @notice How a channel is opened.
    /// @param provider Whom the channel can pay; never zero.
    /// @param signer Whose key signs the vouchers; never zero. Only a key can sign: a contract's answer is not asked.
    /// @param token The ERC-20 of the channel; zero means KST.
    /// @param challengeSeconds The provider's time to claim after a request to close, 1 to `CHALLENGE_SECONDS_MAX`.
    /// @param lifeSeconds How long the channel lasts at most, 1 to `LIFE_SECONDS_MAX`.
    struct Terms {
        address provider;
        address signer;
        address token;
        uint32 challengeSeconds;
        uint32 lifeSeconds;
    }

    /// @notice How the windows of an audited channel are audited.
    /// @dev Six slots; the layout is part of the proof format (specs/0009-channel.md, section 8).
    /// @param jobHash Hash of the job that the channel pays for.
    /// @param priceWeiPerUnit Price of a unit, in wei: fees of checks and the floor of the bond follow from it.
    /// @param terms The terms. A window's units have one segment; `canary` is not used: an opening has the name
    /// of the window's list of steps there.
    struct Audit {
        bytes32 jobHash;
        uint128 priceWeiPerUnit;
        IAuditTypes.Terms terms;
    }

    /// @notice A channel as stored: the head that a storage proof shows.
    /// @dev Eight slots; the layout is part of the proof format (specs/0009-channel.md, section 8).
    /// @param status Slot 0, bits 0-7. See `Status`.
    /// @param audited Slot 0, bits 8-15. Whether windows must be released by the audit before their held-back part can be
    /// claimed.
    /// @param openedAt Slot 0, bits 16-55. Unix seconds.
    /// @param expiresAt Slot 0, bits 56-95. Last second of the channel's life, Unix seconds.
    /// @param closeAt Slot 0, bits 96-135. Last second of the provider after a request; zero before.
    /// @param closedAt Slot 0, bits 136-175. Unix seconds at which a final status was reached; zero before.
    /// @param challengeSeconds Slot 0, bits 176-207. As in `Terms`.
    /// @param deposit Slot 1, bits 0-127. All that was ever paid in.
    /// @param claimed Slot 1, bits 128-255. All that was ever credited to the provider.
    /// @param history Slot 2. Hash over all windows up to `window`; zero in a channel without audit.
    /// @param customer Slot 3, bits 0-159.
    /// @param window Slot 3, bits 160-223. Number of the last window that was claimed in full; zero before.
    /// @param provider Slot 4, bits 0-159.
    /// @param announced Slot 4, bits 160-223. Number of the last window that was announced to the audit; zero before.
    /// @param signer Slot 5, bits 0-159.
    /// @param number Slot 5, bits 160-223. The channel's number, from 1: what the audit knows it by.
    /// @param token Slot 6, bits 0-159.
    /// @param budgeted Slot 7, bits 0-127. All that was ever taken from the deposit for checks, in wei.
    struct Entry {
        Status status;
        bool audited;
        uint40 openedAt;
        uint40 expiresAt;
        uint40 closeAt;
        uint40 closedAt;
        uint32 challengeSeconds;
        uint128 deposit;
        uint128 claimed;
        bytes32 history;
        address customer;
        uint64 window;
        address provider;
        uint64 announced;
        address signer;
        uint64 number;
        address token;
        uint128 budgeted;
    }

    /// @notice What a signer signs: EIP-712 data.
    /// @param channelId The channel.
    /// @param window Number of the window, from 1.
    /// @param units Units in this window.
    /// @param cumulative What the provider has earned in all, this window included.
    /// @param heldBack The part of `cumulative` that waits for this window's audit; zero in a channel without audit.
    /// @param root Commitment over the window's salted unit results (specs/0003-job.md section 4); in an audited channel
    /// `auditedRoot` of it.
    /// @param history Hash over all windows before this one; zero for the first.
    struct Voucher {
        bytes32 channelId;
        uint64 window;
        uint32 units;
        uint128 cumulative;
        uint128 heldBack;
        bytes32 root;
        bytes32 history;
    }

    /// @notice A window between the last claimed one and a voucher's.
    /// @param units Units in it.
    /// @param root Its commitment.
    struct Window {
        uint32 units;
        bytes32 root;
    }

    /// @notice A channel was opened and the deposit is in.
    /// @param channelId The new channel.
    /// @param customer Who opened it and gets the rest.
    /// @param provider Whom it can pay.
    /// @param signer Whose key signs.
    /// @param token The ERC-20, or zero for KST.
    /// @param deposit How much came in.
    /// @param challengeSeconds The provider's time after a request to close, in seconds.
    /// @param expiresAt Last second (inclusive) of the channel's life.
    /// @param audited Whether windows are audited.
    event ChannelOpened(
        bytes32 indexed channelId,
        address indexed customer,
        address indexed provider,
        address signer,
        address token,
        uint128 deposit,
        uint32 challengeSeconds,
        uint40 expiresAt,
        bool audited
    );

    /// @notice How the windows of the channel that was just opened are audited.
    /// @param channelId The channel.
    /// @param audit The job, its price and the terms.
    event AuditAgreed(bytes32 indexed channelId, Audit audit);

    /// @notice A window that the customer accepted was opened in the audit.
    /// @param channelId The channel.
    /// @param window Number of the window.
    /// @param auditId What the audit knows it by.
    /// @param budgetWei What was taken from the deposit for its checks, in wei.
    event WindowAnnounced(bytes32 indexed channelId, uint64 window, bytes32 indexed auditId, uint256 budgetWei);

    /// @notice More came in.
    /// @param channelId The channel.
    /// @param amount How much.
    /// @param deposit All that was ever paid in.
    event ToppedUp(bytes32 indexed channelId, uint128 amount, uint128 deposit);

    /// @notice The provider claimed.
    /// @param channelId The channel.
    /// @param window Number of the last window that is claimed in full now.
    /// @param claimed All that was ever credited to the provider.
    event Claimed(bytes32 indexed channelId, uint64 window, uint128 claimed);

    /// @notice The customer's side asked for the rest.
    /// @param channelId The channel.
    /// @param closeAt Last second (inclusive) in which the provider can claim.
    event CloseRequested(bytes32 indexed channelId, uint40 closeAt);

    /// @notice The provider closed the channel.
    /// @param channelId The channel.
    event ChannelClosed(bytes32 indexed channelId);

    /// @notice The provider's last time passed after a request.
    /// @param channelId The channel.
    event ChannelFinished(bytes32 indexed channelId);

    /// @notice The channel's life passed.
    /// @param channelId The channel.
    event ChannelExpired(bytes32 indexed channelId);

    /// @notice A part of a deposit became somebody's credit.
    /// @param channelId The channel.
    /// @param account Who can withdraw it: the provider (a claim) or the customer (the rest).
    /// @param token The ERC-20, or zero for KST.
    /// @param amount How much.
    event Credited(bytes32 indexed channelId, address indexed account, address indexed token, uint256 amount);

    /// @notice Credit was paid out.
    /// @param account Whose credit it was.
    /// @param token The ERC-20, or zero for KST.
    /// @param to Who received it.
    /// @param amount How much.
    event Withdrawn(address indexed account, address indexed token, address indexed to, uint256 amount);

    /// @notice The channel does not exist.
    /// @param channelId The id given.
    error ChannelUnknown(bytes32 channelId);

    /// @notice The channel's status does not allow this.
    /// @param channelId The channel.
    /// @param status The status as it is.
    error WrongStatus(bytes32 channelId, Status status);

    /// @notice Only the channel's provider may do this.
    /// @param channelId The channel.
    /// @param caller Who tried.
    error NotProvider(bytes32 channelId, address caller);

    /// @notice Only the channel's customer or its signer may do this.
    /// @param channelId The channel.
    /// @param caller Who tried.
    error NotCustomer(bytes32 channelId, address caller);

    /// @notice Too late.
    /// @param channelId The channel.
    /// @param deadline Last second (inclusive) in which it was possible.
    /// @param timestamp Unix seconds of this block.
    error DeadlinePassed(bytes32 channelId, uint256 deadline, uint256 timestamp);

    /// @notice Too early: the provider still may claim.
    /// @param channelId The channel.
    /// @param deadline Last second (inclusive) of the provider; the call succeeds in later seconds.
    /// @param timestamp Unix seconds of this block.
    error DeadlineNotPassed(bytes32 channelId, uint256 deadline, uint256 timestamp);

    /// @notice A channel cannot pay the zero address.
    /// @param customer The caller.
    error ProviderZero(address customer);

    /// @notice The zero address cannot sign.
    /// @param customer The caller.
    error SignerZero(address customer);

    /// @notice A duration is outside the allowed range.
    /// @param phase Which one.
    /// @param gotSeconds The duration given, in seconds.
    /// @param minSeconds Shortest allowed, inclusive.
    /// @param maxSeconds Longest allowed, inclusive.
    error DurationOutOfRange(Phase phase, uint256 gotSeconds, uint256 minSeconds, uint256 maxSeconds);

    /// @notice There is no audit on this chain, so an audited channel could never pay.
    /// @param audit Where it would be.
    error AuditMissing(address audit);

    /// @notice Fees of checks are KST, and so is an audited channel.
    /// @param token The token given.
    error TokenAudited(address token);

    /// @notice A step is audited as a whole.
    /// @param segments The segments of a unit in the terms given; must be 1.
    error SegmentsNotOne(uint32 segments);

    /// @notice Windows of this channel are not audited.
    /// @param channelId The channel.
    error NotAudited(bytes32 channelId);

    /// @notice Windows are announced one after the other.
    /// @param channelId The channel.
    /// @param window The voucher's window.
    /// @param next The window that can be announced.
    error WindowNotNext(bytes32 channelId, uint64 window, uint64 next);

    /// @notice What is announced is not what was signed for.
    /// @param got `auditedRoot` of what was given.
    /// @param signed The voucher's.
    error RootMismatch(bytes32 got, bytes32 signed);

    /// @notice Nothing was sent.
    /// @param account The caller.
    error AmountZero(address account);

    /// @notice The deposit would not fit.
    /// @param deposit What it is.
    /// @param amount What would be added.
    error DepositTooLarge(uint256 deposit, uint256 amount);

    /// @notice The value sent along is not what the call needs.
    /// @param sentWei What was sent, in wei.
    /// @param neededWei The amount in a channel of KST, zero otherwise, in wei.
    error ValueMismatch(uint256 sentWei, uint256 neededWei);

    /// @notice The token moved another amount than it was told: it keeps a fee, or it lies.
    /// @param token The ERC-20.
    /// @param balanceBefore This contract's balance before.
    /// @param balanceAfter This contract's balance after.
    /// @param amount What should have moved.
    error TransferInexact(address token, uint256 balanceBefore, uint256 balanceAfter, uint256 amount);

    /// @notice The voucher's window, or a later one, was claimed already.
    /// @param channelId The channel.
    /// @param window The voucher's window.
    /// @param claimed The last window that was claimed in full.
    error WindowNotNewer(bytes32 channelId, uint64 window, uint64 claimed);

    /// @notice The list of windows in between has another length than it must have.
    /// @param got Its length.
    /// @param needed How many windows lie in between; none in a channel without audit.
    error SkippedMismatch(uint256 got, uint256 needed);

    /// @notice Too many windows in one claim: claim an earlier voucher first.
    /// @param got How many.
    /// @param max How many are allowed, inclusive.
    error TooManyWindows(uint256 got, uint256 max);

    /// @notice More is held back than was earned, or something is held back in a channel without audit.
    /// @param heldBack The voucher's.
    /// @param max The highest allowed, inclusive.
    error HeldBackTooLarge(uint256 heldBack, uint256 max);

    /// @notice The signature is not the signer's, or not in its one form.
    /// @param signer Whose it must be.
    /// @param recovered Whose it is; zero if it is no signature.
    error SignatureWrong(address signer, address recovered);

    /// @notice The audit of a window in between is not over.
    /// @param windowId The window's id in the audit.
    /// @param window Its number.
    error WindowNotReleased(bytes32 windowId, uint64 window);

    /// @notice The audit found a window wrong: nothing from it on can be claimed.
    /// @param windowId The window's id in the audit.
    /// @param window Its number.
    error WindowConvicted(bytes32 windowId, uint64 window);

    /// @notice The windows in between are not those that the voucher names.
    /// @param got The hash over the stored history and the windows given.
    /// @param signed The voucher's.
    error HistoryMismatch(bytes32 got, bytes32 signed);

    /// @notice Nothing new can be claimed with this voucher now.
    /// @param channelId The channel.
    /// @param claimable What this voucher makes claimable in all.
    /// @param claimed What was claimed.
    error NothingToClaim(bytes32 channelId, uint128 claimable, uint128 claimed);

    /// @notice The voucher promises more than there is.
    /// @param channelId The channel.
    /// @param claimable What this voucher makes claimable in all; at an announcement what it promises, or what was claimed
    /// if that is more, and what its checks may cost.
    /// @param deposit What was paid in and was not taken for checks.
    error DepositTooSmall(bytes32 channelId, uint256 claimable, uint256 deposit);

    /// @notice There is no credit.
    /// @param account The caller.
    /// @param token The ERC-20, or zero for KST.
    error NothingToWithdraw(address account, address token);

    /// @notice Value cannot be sent to the zero address.
    /// @param account The caller.
    error RecipientZero(address account);

    /// @notice The audit that audited channels ask.
    function AUDIT() external view returns (IAudit);

    /// @notice Longest time of the provider after a request to close, in seconds, inclusive.
    function CHALLENGE_SECONDS_MAX() external view returns (uint32);

    /// @notice Longest life of a channel in seconds, inclusive.
    function LIFE_SECONDS_MAX() external view returns (uint32);

    /// @notice Most windows in between that one claim may skip, inclusive.
    function WINDOWS_PER_CLAIM_MAX() external view returns (uint256);

    /// @notice Open a channel with a deposit: the value sent along, or the ERC-20 that this contract was approved for.
    /// @dev None -> Open, anybody. Reverts with `ProviderZero`, `SignerZero`, `DurationOutOfRange`, `AmountZero`,
    /// `ValueMismatch`, what the token reverted with, or `TransferInexact`.
    /// @param terms How it is opened.
    /// @param amount The deposit, 1 to 2^128 - 1.
    /// @return channelId The new channel.
    function open(Terms calldata terms, uint128 amount) external payable returns (bytes32 channelId);

    /// @notice Open a channel whose windows are audited. The deposit also pays the checks.
    /// @dev As `open`; before it reverts with `AuditMissing`, `TokenAudited`, `SegmentsNotOne`, or as the audit's
    /// `checkTerms` does.
    /// @param terms How it is opened; the token is KST.
    /// @param audit The job, its price and the terms.
    /// @param amount The deposit in wei, 1 to 2^128 - 1.
    /// @return channelId The new channel.
    function openAudited(Terms calldata terms, Audit calldata audit, uint128 amount)
        external
        payable
        returns (bytes32 channelId);

    /// @notice Open the next window of an audited channel in the audit. The voucher shows that the customer has its outputs
    /// and accepted them; the deposit for its checks is taken from the channel's, which keeps what the voucher promises.
    /// @dev Open or Closing, provider, by the deadline. Reverts with `NotAudited`, `WindowNotNext`, `SignatureWrong`,
    /// `RootMismatch`, `DepositTooSmall`, and as the audit's `open` does: without a free bond for one.
    /// @param voucher What was signed; its window comes after the last announced one.
    /// @param signature r, s, v: 65 bytes, low s, v 27 or 28.
    /// @param commitment Commitment over the window's salted unit results.
    /// @param steps Name of the list of the window's steps and their inputs (specs/0009-channel.md, section 6). Both sides
    /// stand by it: the customer signed `auditedRoot` of both.
    /// @return auditId What the audit knows the window by.
    function announce(Voucher calldata voucher, bytes calldata signature, bytes32 commitment, bytes32 steps)
        external
        returns (bytes32 auditId);

    /// @notice Pay more in.
    /// @dev Open, anybody, by `expiresAt`. Reverts as `open` does for the amount, and with `DepositTooLarge`.
    /// @param channelId The channel.
    /// @param amount How much.
    function topUp(bytes32 channelId, uint128 amount) external payable;

    /// @notice Claim what a voucher makes claimable now; it becomes the provider's credit.
    /// @dev Open or Closing, provider, by the deadline. In an audited channel `skipped` lists the windows between the
    /// last one claimed in full and the voucher's, in order; otherwise it is empty.
    /// @param voucher What was signed.
    /// @param signature r, s, v: 65 bytes, low s, v 27 or 28.
    /// @param skipped The windows in between.
    function claim(Voucher calldata voucher, bytes calldata signature, Window[] calldata skipped) external;

    /// @notice `claim`, then `close`, in one.
    /// @dev Open or Closing -> Closed, provider, by the deadline.
    /// @param voucher What was signed.
    /// @param signature r, s, v: 65 bytes, low s, v 27 or 28.
    /// @param skipped The windows in between.
    function claimAndClose(Voucher calldata voucher, bytes calldata signature, Window[] calldata skipped) external;

    /// @notice Give up what was not claimed; the rest becomes the customer's credit.
    /// @dev Open or Closing -> Closed, provider, at any time.
    /// @param channelId The channel.
    function close(bytes32 channelId) external;

    /// @notice Ask for the rest; the provider has `challengeSeconds` to claim, at most until `expiresAt`.
    /// @dev Open -> Closing, customer or signer, by `expiresAt`.
    /// @param channelId The channel.
    function requestClose(bytes32 channelId) external;

    /// @notice End a channel whose provider's time is over; the rest becomes the customer's credit.
    /// @dev Closing -> Finished after `closeAt`; Open -> Expired after `expiresAt`; anybody.
    /// @param channelId The channel.
    function finish(bytes32 channelId) external;

    /// @notice Take all of the caller's credit in one token.
    /// @dev Reverts with `NothingToWithdraw`, what the receiver or the token reverted with, or `TransferInexact`.
    /// @param token The ERC-20, or zero for KST.
    function withdraw(address token) external;

    /// @notice Take all of the caller's credit in one token to another account.
    /// @dev As `withdraw`, and `RecipientZero`.
    /// @param token The ERC-20, or zero for KST.
    /// @param to Who receives it.
    function withdrawTo(address token, address to) external;

    /// @notice A channel as it stands.
    /// @dev Reverts with `ChannelUnknown`.
    /// @param channelId The channel.
    /// @return The stored channel.
    function channel(bytes32 channelId) external view returns (Entry memory);

    /// @notice How the windows of a channel are audited.
    /// @dev Reverts with `ChannelUnknown`, `NotAudited`.
    /// @param channelId The channel.
    /// @return The job, its price and the terms.
    function auditOf(bytes32 channelId) external view returns (Audit memory);

    /// @notice What the audit knows a window of a channel by.
    /// @dev Reverts with `ChannelUnknown`.
    /// @param channelId The channel.
    /// @param window Number of the window.
    /// @return The window's id there (specs/0008-audit.md, section 5).
    function auditWindow(bytes32 channelId, uint64 window) external view returns (bytes32);

    /// @notice Last second (inclusive) in which the provider can claim.
    /// @dev Reverts with `ChannelUnknown`.
    /// @param channelId The channel.
    /// @return `closeAt` after a request, `expiresAt` before.
    function deadline(bytes32 channelId) external view returns (uint40);

    /// @notice How many channels were ever opened.
    /// @return The count.
    function channelCount() external view returns (uint256);

    /// @notice What an account can withdraw in a token.
    /// @param account The account.
    /// @param token The ERC-20, or zero for KST.
    /// @return Its credit.
    function credit(address account, address token) external view returns (uint256);

    /// @notice The EIP-712 domain separator of this contract on this chain.
    function domainSeparator() external view returns (bytes32);

    /// @notice What a signer's key signs for a voucher.
    /// @param voucher The voucher.
    /// @return The EIP-712 digest.
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32);

    /// @notice The root that a voucher of an audited channel carries.
    /// @param commitment Commitment over the window's salted unit results.
    /// @param steps Name of the list of the window's steps.
    /// @return keccak256(abi.encode(commitment, steps)).
    function auditedRoot(bytes32 commitment, bytes32 steps) external pure returns (bytes32);

    /// @notice What a voucher's history knows a window by.
    /// @param channelId The channel.
    /// @param window Number of the window.
    /// @param units Units in it.
    /// @param root Its commitment.
    /// @return The window's id.
    function windowId(bytes32 channelId, uint64 window, uint32 units, bytes32 root) external pure returns (bytes32);
}
