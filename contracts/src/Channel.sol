// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC5267} from "@openzeppelin/contracts/interfaces/IERC5267.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Draw} from "./Draw.sol";
import {ExactTransfer} from "./ExactTransfer.sol";
import {AUDIT_ADDRESS} from "./Genesis.sol";
import {IAudit} from "./IAudit.sol";
import {IAuditTypes} from "./IAuditTypes.sol";
import {IChannel} from "./IChannel.sol";

/// @title Payment channels
/// @notice See `IChannel`.
/// @dev Balance invariant, per token: this contract's balance is at least the sum of `deposit - budgeted - claimed` over all
/// open and closing channels plus all credits, and exactly that unless value was forced in. Only `_claim` and `_end` turn a
/// deposit into credit, and only `announce` hands a part of it to the audit. Every function that changes state holds the
/// guard: a token that calls back can do nothing here.
contract Channel is IChannel, IERC5267, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @inheritdoc IChannel
    /// @dev A genesis address (specs/0009-channel.md, section 2).
    IAudit public constant AUDIT = IAudit(AUDIT_ADDRESS);

    /// @inheritdoc IChannel
    uint32 public constant CHALLENGE_SECONDS_MAX = 30 days;

    /// @inheritdoc IChannel
    uint32 public constant LIFE_SECONDS_MAX = 365 days;

    /// @inheritdoc IChannel
    /// @dev A claim that skips this many costs about 1.3 Mgas beside what the audit needs: a small part of a block.
    uint256 public constant WINDOWS_PER_CLAIM_MAX = 256;

    string private constant NAME = "Keystead Channel";
    string private constant VERSION = "1";
    bytes32 private constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant VOUCHER_TYPE = keccak256(
        "Voucher(bytes32 channelId,uint64 window,uint32 units,uint128 cumulative,uint128 heldBack,bytes32 root,bytes32 history)"
    );

    /// @dev Slot 0: how many channels there are.
    uint256 private _channelCount;

    /// @dev Slot 1: the channels.
    mapping(bytes32 channelId => Entry) private _channels;

    /// @dev Slot 2: what each account can withdraw in each token.
    mapping(address account => mapping(address token => uint256)) private _credits;

    /// @dev Slot 3: how the windows of audited channels are audited.
    mapping(bytes32 channelId => Audit) private _audits;

    /// @inheritdoc IChannel
    function open(Terms calldata terms, uint128 amount) external payable nonReentrant returns (bytes32 channelId) {
        return _open(terms, amount, false);
    }

    /// @inheritdoc IChannel
    function openAudited(Terms calldata terms, Audit calldata audit, uint128 amount)
        external
        payable
        nonReentrant
        returns (bytes32 channelId)
    {
        if (address(AUDIT).code.length == 0) revert AuditMissing(address(AUDIT));
        if (terms.token != address(0)) revert TokenAudited(terms.token);
        if (audit.terms.segments != 1) revert SegmentsNotOne(audit.terms.segments);
        AUDIT.checkTerms(audit.terms, audit.priceWeiPerUnit);
        channelId = _open(terms, amount, true);
        _audits[channelId] = audit;
        emit AuditAgreed(channelId, audit);
    }

    /// @inheritdoc IChannel
    function announce(Voucher calldata voucher, bytes calldata signature, bytes32 commitment, bytes32 steps)
        external
        nonReentrant
        returns (bytes32 auditId)
    {
        bytes32 channelId = voucher.channelId;
        Entry storage entry = _asProvider(channelId);
        _requireBy(channelId, _deadline(entry));
        if (!entry.audited) revert NotAudited(channelId);
        uint64 next = entry.announced + 1;
        if (voucher.window != next) revert WindowNotNext(channelId, voucher.window, next);
        _requireSigned(entry, voucher, signature);
        bytes32 root = auditedRoot(commitment, steps);
        if (root != voucher.root) revert RootMismatch(root, voucher.root);
        entry.announced = next;
        return _openWindow(entry, voucher, commitment, steps);
    }

    /// @inheritdoc IChannel
    function topUp(bytes32 channelId, uint128 amount) external payable nonReentrant {
        Entry storage entry = _existing(channelId);
        if (entry.status != Status.Open) revert WrongStatus(channelId, entry.status);
        _requireBy(channelId, entry.expiresAt);
        uint128 deposit = entry.deposit;
        if (amount > type(uint128).max - deposit) revert DepositTooLarge(deposit, amount);
        deposit += amount;
        entry.deposit = deposit;
        _take(entry.token, amount);
        emit ToppedUp(channelId, amount, deposit);
    }

    /// @inheritdoc IChannel
    function claim(Voucher calldata voucher, bytes calldata signature, Window[] calldata skipped)
        external
        nonReentrant
    {
        Entry storage entry = _asProvider(voucher.channelId);
        _claim(entry, voucher, signature, skipped);
    }

    /// @inheritdoc IChannel
    function claimAndClose(Voucher calldata voucher, bytes calldata signature, Window[] calldata skipped)
        external
        nonReentrant
    {
        Entry storage entry = _asProvider(voucher.channelId);
        _claim(entry, voucher, signature, skipped);
        _end(voucher.channelId, entry, Status.Closed);
        emit ChannelClosed(voucher.channelId);
    }

    /// @inheritdoc IChannel
    function close(bytes32 channelId) external nonReentrant {
        Entry storage entry = _asProvider(channelId);
        _end(channelId, entry, Status.Closed);
        emit ChannelClosed(channelId);
    }

    /// @inheritdoc IChannel
    function requestClose(bytes32 channelId) external nonReentrant {
        Entry storage entry = _existing(channelId);
        if (msg.sender != entry.customer && msg.sender != entry.signer) revert NotCustomer(channelId, msg.sender);
        if (entry.status != Status.Open) revert WrongStatus(channelId, entry.status);
        _requireBy(channelId, entry.expiresAt);
        uint40 closeAt = Math.min(block.timestamp + entry.challengeSeconds, entry.expiresAt).toUint40();
        entry.status = Status.Closing;
        entry.closeAt = closeAt;
        emit CloseRequested(channelId, closeAt);
    }

    /// @inheritdoc IChannel
    function finish(bytes32 channelId) external nonReentrant {
        Entry storage entry = _existing(channelId);
        _requireHeld(channelId, entry);
        uint40 last = _deadline(entry);
        if (block.timestamp <= last) revert DeadlineNotPassed(channelId, last, block.timestamp);
        if (entry.status == Status.Closing) {
            _end(channelId, entry, Status.Finished);
            emit ChannelFinished(channelId);
        } else {
            _end(channelId, entry, Status.Expired);
            emit ChannelExpired(channelId);
        }
    }

    /// @inheritdoc IChannel
    function withdraw(address token) external nonReentrant {
        _withdraw(token, msg.sender);
    }

    /// @inheritdoc IChannel
    function withdrawTo(address token, address to) external nonReentrant {
        if (to == address(0)) revert RecipientZero(msg.sender);
        _withdraw(token, to);
    }

    /// @inheritdoc IChannel
    function channel(bytes32 channelId) external view returns (Entry memory) {
        return _existing(channelId);
    }

    /// @inheritdoc IChannel
    function auditOf(bytes32 channelId) external view returns (Audit memory) {
        if (!_existing(channelId).audited) revert NotAudited(channelId);
        return _audits[channelId];
    }

    /// @inheritdoc IChannel
    function auditWindow(bytes32 channelId, uint64 window) external view returns (bytes32) {
        return _auditWindow(_existing(channelId), window);
    }

    /// @inheritdoc IChannel
    function deadline(bytes32 channelId) external view returns (uint40) {
        return _deadline(_existing(channelId));
    }

    /// @inheritdoc IChannel
    function channelCount() external view returns (uint256) {
        return _channelCount;
    }

    /// @inheritdoc IChannel
    function credit(address account, address token) external view returns (uint256) {
        return _credits[account][token];
    }

    /// @inheritdoc IChannel
    function voucherDigest(Voucher calldata voucher) external view returns (bytes32) {
        return _digest(voucher);
    }

    /// @inheritdoc IERC5267
    function eip712Domain()
        external
        view
        returns (
            bytes1 fields,
            string memory name,
            string memory version,
            uint256 chainId,
            address verifyingContract,
            bytes32 salt,
            uint256[] memory extensions
        )
    {
        return (hex"0f", NAME, VERSION, block.chainid, address(this), bytes32(0), new uint256[](0));
    }

    /// @inheritdoc IChannel
    function domainSeparator() public view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPE, keccak256(bytes(NAME)), keccak256(bytes(VERSION)), block.chainid, address(this))
        );
    }

    /// @inheritdoc IChannel
    function windowId(bytes32 channelId, uint64 window, uint32 units, bytes32 root) public pure returns (bytes32) {
        return keccak256(abi.encode(channelId, window, units, root));
    }

    /// @inheritdoc IChannel
    function auditedRoot(bytes32 commitment, bytes32 steps) public pure returns (bytes32) {
        return keccak256(abi.encode(commitment, steps));
    }

    /// @dev A voucher has only fields of fixed size, so its ABI encoding is its EIP-712 encoding.
    function _digest(Voucher calldata voucher) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domainSeparator(), keccak256(abi.encode(VOUCHER_TYPE, voucher)));
    }

    function _open(Terms calldata terms, uint128 amount, bool audited) private returns (bytes32 channelId) {
        _checkTerms(terms);
        uint256 number = ++_channelCount;
        // The parent's hash binds the id to this history: no voucher of a chain that began anew fits.
        channelId = keccak256(abi.encode(number, blockhash(block.number - 1), msg.sender, terms.provider));
        uint40 nowSeconds = block.timestamp.toUint40();
        Entry storage entry = _channels[channelId];
        entry.status = Status.Open;
        entry.audited = audited;
        entry.openedAt = nowSeconds;
        entry.expiresAt = nowSeconds + terms.lifeSeconds;
        entry.challengeSeconds = terms.challengeSeconds;
        entry.deposit = amount;
        entry.customer = msg.sender;
        entry.provider = terms.provider;
        entry.signer = terms.signer;
        entry.number = number.toUint64();
        entry.token = terms.token;
        _take(terms.token, amount);
        emit ChannelOpened(
            channelId,
            msg.sender,
            terms.provider,
            terms.signer,
            terms.token,
            amount,
            terms.challengeSeconds,
            nowSeconds + terms.lifeSeconds,
            audited
        );
    }

    function _openWindow(Entry storage entry, Voucher calldata voucher, bytes32 commitment, bytes32 steps)
        private
        returns (bytes32 auditId)
    {
        Audit memory audit = _audits[voucher.channelId];
        audit.terms.canary = steps;
        uint256 budgetWei = _budget(entry, voucher, audit);
        auditId = AUDIT.open{value: budgetWei}(
            IAuditTypes.Opening({
                number: entry.number,
                window: voucher.window,
                provider: entry.provider,
                customer: entry.customer,
                jobHash: audit.jobHash,
                commitment: commitment,
                units: voucher.units,
                priceWeiPerUnit: audit.priceWeiPerUnit,
                terms: audit.terms
            })
        );
        emit WindowAnnounced(voucher.channelId, voucher.window, auditId, budgetWei);
    }

    /// @dev The one place where a deposit pays checks. What the voucher promises stays, so no pay pays its own checks; and
    /// what was claimed, since a signer may sign less than before.
    function _budget(Entry storage entry, Voucher calldata voucher, Audit memory audit)
        private
        returns (uint256 budgetWei)
    {
        budgetWei = AUDIT.depositWei(entry.provider, voucher.units, audit.priceWeiPerUnit, audit.terms);
        uint256 leftWei = entry.deposit - entry.budgeted;
        uint256 neededWei = budgetWei + Math.max(voucher.cumulative, entry.claimed);
        if (neededWei > leftWei) revert DepositTooSmall(voucher.channelId, neededWei, leftWei);
        entry.budgeted += budgetWei.toUint128();
    }

    function _auditWindow(Entry storage entry, uint64 window) private view returns (bytes32) {
        return Draw.windowId(address(this), entry.number, window);
    }

    function _checkTerms(Terms calldata terms) private view {
        if (terms.provider == address(0)) revert ProviderZero(msg.sender);
        if (terms.signer == address(0)) revert SignerZero(msg.sender);
        _checkDuration(Phase.Challenge, terms.challengeSeconds, CHALLENGE_SECONDS_MAX);
        _checkDuration(Phase.Life, terms.lifeSeconds, LIFE_SECONDS_MAX);
    }

    function _checkDuration(Phase phase, uint32 gotSeconds, uint32 maxSeconds) private pure {
        if (gotSeconds == 0 || gotSeconds > maxSeconds) revert DurationOutOfRange(phase, gotSeconds, 1, maxSeconds);
    }

    function _existing(bytes32 channelId) private view returns (Entry storage entry) {
        entry = _channels[channelId];
        if (entry.status == Status.None) revert ChannelUnknown(channelId);
    }

    function _asProvider(bytes32 channelId) private view returns (Entry storage entry) {
        entry = _existing(channelId);
        if (msg.sender != entry.provider) revert NotProvider(channelId, msg.sender);
        _requireHeld(channelId, entry);
    }

    function _requireHeld(bytes32 channelId, Entry storage entry) private view {
        Status status = entry.status;
        if (status != Status.Open && status != Status.Closing) revert WrongStatus(channelId, status);
    }

    function _requireBy(bytes32 channelId, uint40 last) private view {
        if (block.timestamp > last) revert DeadlinePassed(channelId, last, block.timestamp);
    }

    function _deadline(Entry storage entry) private view returns (uint40) {
        return entry.closeAt == 0 ? entry.expiresAt : entry.closeAt;
    }

    /// @dev The one place where a deposit becomes the provider's credit. `claimed` only grows, and never above what is
    /// left of `deposit` beside `budgeted`.
    function _claim(Entry storage entry, Voucher calldata voucher, bytes calldata signature, Window[] calldata skipped)
        private
    {
        bytes32 channelId = voucher.channelId;
        _requireBy(channelId, _deadline(entry));
        _checkVoucher(entry, voucher, signature, skipped.length);
        uint128 claimable = entry.audited ? _release(entry, voucher, skipped) : voucher.cumulative;
        if (!entry.audited) entry.window = voucher.window;
        uint128 claimed = entry.claimed;
        if (claimable <= claimed) revert NothingToClaim(channelId, claimable, claimed);
        uint128 left = entry.deposit - entry.budgeted;
        if (claimable > left) revert DepositTooSmall(channelId, claimable, left);
        entry.claimed = claimable;
        _credit(channelId, entry.provider, entry.token, claimable - claimed);
        emit Claimed(channelId, entry.window, claimable);
    }

    function _checkVoucher(
        Entry storage entry,
        Voucher calldata voucher,
        bytes calldata signature,
        uint256 skippedCount
    ) private view {
        uint64 last = entry.window;
        if (voucher.window <= last) revert WindowNotNewer(voucher.channelId, voucher.window, last);
        uint256 needed = entry.audited ? voucher.window - last - 1 : 0;
        if (skippedCount != needed) revert SkippedMismatch(skippedCount, needed);
        if (needed > WINDOWS_PER_CLAIM_MAX) revert TooManyWindows(needed, WINDOWS_PER_CLAIM_MAX);
        uint128 most = entry.audited ? voucher.cumulative : 0;
        if (voucher.heldBack > most) revert HeldBackTooLarge(voucher.heldBack, most);
        _requireSigned(entry, voucher, signature);
    }

    function _requireSigned(Entry storage entry, Voucher calldata voucher, bytes calldata signature) private view {
        // Never a look at code: a key's word stays what it was, whatever its account runs (EIP-1271, EIP-7702).
        (address recovered,,) = ECDSA.tryRecoverCalldata(_digest(voucher), signature);
        if (recovered != entry.signer) revert SignatureWrong(entry.signer, recovered);
    }

    /// @dev Walks the windows up to the voucher's and moves the channel's head behind the last one that is released.
    /// @return claimable What the voucher makes claimable in all.
    function _release(Entry storage entry, Voucher calldata voucher, Window[] calldata skipped)
        private
        returns (uint128 claimable)
    {
        bytes32 history = entry.history;
        // `_checkVoucher` saw that the skipped windows lie between this one and the voucher's: no overflow.
        uint64 window = entry.window;
        for (uint256 i = 0; i < skipped.length; ++i) {
            ++window;
            if (!_isReleased(entry, window)) revert WindowNotReleased(_auditWindow(entry, window), window);
            bytes32 id = windowId(voucher.channelId, window, skipped[i].units, skipped[i].root);
            history = keccak256(abi.encode(history, id));
        }
        if (history != voucher.history) revert HistoryMismatch(history, voucher.history);
        claimable = voucher.cumulative - voucher.heldBack;
        if (_isReleased(entry, voucher.window)) {
            claimable = voucher.cumulative;
            window = voucher.window;
            bytes32 last = windowId(voucher.channelId, voucher.window, voucher.units, voucher.root);
            history = keccak256(abi.encode(history, last));
        }
        entry.window = window;
        entry.history = history;
    }

    function _isReleased(Entry storage entry, uint64 window) private view returns (bool closed) {
        bytes32 id = _auditWindow(entry, window);
        bool convicted;
        (closed, convicted) = AUDIT.released(id);
        if (convicted) revert WindowConvicted(id, window);
    }

    /// @dev The one place where a channel ends. `status` is final, so no second call can pass its status check.
    function _end(bytes32 channelId, Entry storage entry, Status status) private {
        uint256 rest = entry.deposit - entry.budgeted - entry.claimed;
        entry.status = status;
        entry.closedAt = block.timestamp.toUint40();
        if (rest != 0) _credit(channelId, entry.customer, entry.token, rest);
    }

    function _credit(bytes32 channelId, address account, address token, uint256 amount) private {
        _credits[account][token] += amount;
        emit Credited(channelId, account, token, amount);
    }

    /// @dev Money in: the value of this call, or exactly `amount` of an ERC-20 from the caller.
    function _take(address token, uint128 amount) private {
        if (amount == 0) revert AmountZero(msg.sender);
        uint256 neededWei = token == address(0) ? amount : 0;
        if (msg.value != neededWei) revert ValueMismatch(msg.value, neededWei);
        if (token == address(0)) return;
        ExactTransfer.take(token, amount);
    }

    /// @dev Money out. Clears the debt before it pays; what leaves is exactly the debt, so nobody else's money can.
    function _withdraw(address token, address to) private {
        uint256 amount = _credits[msg.sender][token];
        if (amount == 0) revert NothingToWithdraw(msg.sender, token);
        _credits[msg.sender][token] = 0;
        emit Withdrawn(msg.sender, token, to, amount);
        if (token == address(0)) {
            Address.sendValue(payable(to), amount);
            return;
        }
        ExactTransfer.send(token, to, amount);
    }
}
