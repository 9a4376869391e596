// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IChannel} from "../src/IChannel.sol";
import {ChannelFixture} from "./ChannelFixture.sol";
import {MockAudit, WildToken} from "./ChannelTokens.sol";

/// @title Random customers, providers and strangers, with a second bookkeeping beside the channels
/// @dev Each call tries one thing as a random account at a random time, legal or not. The model decides first, from the
/// specification, whether it must work and what it must pay; a difference stops the run. Durations and waits are a few
/// seconds, so that runs often stand exactly on a deadline.
contract ChannelHandler is ChannelFixture {
    struct Model {
        IChannel.Status status;
        bool audited;
        address customer;
        address provider;
        address token;
        uint256 expiresAt;
        uint256 closeAt;
        uint256 challengeSeconds;
        uint256 deposit;
        uint256 price;
        uint256 claimed;
        uint256 budgeted;
        uint64 window;
        uint64 signed;
        uint64 announced;
        uint256 endings;
    }

    mapping(bytes32 channelId => Model) private _models;
    mapping(bytes32 channelId => mapping(uint64 window => uint128)) private _cumulative;
    mapping(bytes32 channelId => mapping(uint64 window => uint128)) private _heldBack;
    mapping(bytes32 channelId => mapping(uint64 window => MockAudit.Answer)) private _answers;
    mapping(address account => mapping(address token => uint256)) public credits;
    mapping(address token => uint256) public total;
    bytes32[] private _ids;
    address[] private _actors;
    uint256 public successes;
    uint256 public refusals;
    uint256 public claims;
    uint256 public partialClaims;
    uint256 public announcements;

    constructor(address[] memory actors, WildToken wild) {
        _actors = actors;
        token = wild;
        for (uint256 i = 0; i < actors.length; ++i) {
            total[KST] += actors[i].balance;
            total[address(wild)] += wild.balanceOf(actors[i]);
        }
    }

    function setUp() public override {}

    function channelCount() external view returns (uint256) {
        return _ids.length;
    }

    function idAt(uint256 index) external view returns (bytes32) {
        return _ids[index];
    }

    function model(bytes32 channelId) external view returns (Model memory) {
        return _models[channelId];
    }

    function actor(uint256 seed) public view returns (address) {
        return _actors[seed % _actors.length];
    }

    /// @dev The most that the provider may ever have: signed, and no window before it unreleased or convicted.
    function mostEarned(bytes32 channelId) external view returns (uint256 most) {
        Model storage entry = _models[channelId];
        for (uint64 w = 1; w <= entry.signed; ++w) {
            if (_cumulative[channelId][w] > most) most = _cumulative[channelId][w];
            if (entry.audited && _answers[channelId][w] != MockAudit.Answer.Released) break;
        }
    }

    function wait(uint256 seed) external {
        vm.warp(block.timestamp + seed % 5);
    }

    function open(uint256 customerSeed, uint256 providerSeed, uint256 seed, uint256 amountSeed) external {
        bool audited = (seed >> 24) % 2 == 0;
        IChannel.Terms memory terms = IChannel.Terms({
            provider: actor(providerSeed),
            signer: vm.addr(SIGNER_KEY),
            // One audited opening in eight is in a token, which is refused.
            token: seed % (audited ? 8 : 2) != 1 ? KST : address(token),
            challengeSeconds: uint32(1 + (seed >> 8) % 9),
            lifeSeconds: uint32(1 + (seed >> 16) % 60)
        });
        uint128 amount = uint128(amountSeed % 2000);
        // One in eight openings carries a wrong value.
        uint256 value = terms.token == KST ? amount : 0;
        if (seed % 8 == 7) ++value;
        address customer = actor(customerSeed);
        bytes memory call = audited
            ? abi.encodeCall(IChannel.openAudited, (terms, _auditAt(seed), amount))
            : abi.encodeCall(IChannel.open, (terms, amount));
        vm.prank(customer);
        (bool ok, bytes memory returned) = address(channels).call{value: value}(call);
        _agree(ok, amount != 0 && seed % 8 != 7 && (!audited || terms.token == KST), "open");
        if (!ok) return;
        bytes32 channelId = abi.decode(returned, (bytes32));
        _ids.push(channelId);
        Model storage entry = _models[channelId];
        entry.status = IChannel.Status.Open;
        entry.audited = audited;
        entry.customer = customer;
        entry.provider = terms.provider;
        entry.token = terms.token;
        entry.expiresAt = block.timestamp + terms.lifeSeconds;
        entry.challengeSeconds = terms.challengeSeconds;
        entry.deposit = amount;
        entry.price = audited ? _auditAt(seed).priceWeiPerUnit : 0;
    }

    /// @dev Prices so small that a deposit pays the checks of a few windows: some are free.
    function _auditAt(uint256 seed) private pure returns (IChannel.Audit memory agreed) {
        agreed = _audit();
        agreed.priceWeiPerUnit = uint128((seed >> 32) % 3);
    }

    function topUp(uint256 channelSeed, uint256 callerSeed, uint256 amountSeed) external {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0) return;
        uint128 amount = uint128(amountSeed % 500);
        bool expected = entry.status == IChannel.Status.Open && block.timestamp <= entry.expiresAt && amount != 0;
        vm.prank(actor(callerSeed));
        (bool ok,) = address(channels).call{value: entry.token == KST ? amount : 0}(
            abi.encodeCall(IChannel.topUp, (channelId, amount))
        );
        _agree(ok, expected, "topUp");
        if (ok) entry.deposit += amount;
    }

    /// @dev The signer signs the next window; sometimes more than the deposit, sometimes nothing new. And sometimes, against
    /// the rules of section 11, all that is left with nothing held back, or less than before: nobody else may lose by it.
    function sign(uint256 channelSeed, uint256 priceSeed, uint256 heldSeed) public {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0 || entry.signed == 40) return;
        uint64 window = ++entry.signed;
        if (heldSeed % 8 == 6) {
            // LOSSY: a deposit is below 2^128.
            _cumulative[channelId][window] = uint128(entry.deposit - entry.budgeted);
            return;
        }
        uint128 price = uint128(priceSeed % 200);
        uint128 before = heldSeed % 8 == 7 ? 0 : _cumulative[channelId][window - 1];
        _cumulative[channelId][window] = before + price;
        _heldBack[channelId][window] = entry.audited ? uint128(heldSeed % (price + 1)) : 0;
    }

    /// @dev The provider, or somebody else, announces the next window, or another one; three in eight are not what was signed.
    function announce(uint256 channelSeed, uint256 windowSeed, uint256 callerSeed) public {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0 || entry.signed == 0) return;
        uint64 window = windowSeed % 8 == 7 ? uint64(1 + (windowSeed >> 8) % entry.signed) : entry.announced + 1;
        if (window > entry.signed) window = entry.signed;
        address caller = callerSeed % 8 == 7 ? actor(callerSeed >> 8) : entry.provider;
        uint256 budgetWei = 136 * entry.price;
        uint256 promised = _cumulative[channelId][window];
        if (promised < entry.claimed) promised = entry.claimed;
        bool expected = caller == entry.provider && _isHeld(entry) && block.timestamp <= _deadline(entry)
            && entry.audited && window == entry.announced + 1 && entry.budgeted + budgetWei + promised <= entry.deposit
            && (windowSeed >> 4) % 8 < 5;
        bytes memory call = _announceCall(channelId, window, (windowSeed >> 4) % 8);
        vm.prank(caller);
        (bool ok,) = address(channels).call(call);
        _agree(ok, expected, "announce");
        if (!ok) return;
        ++announcements;
        vm.assertEq(audit.commitment(), _commitment(window));
        vm.assertEq(audit.canary(), _listName(window));
        entry.announced = window;
        entry.budgeted += budgetWei;
    }

    /// @dev The audit answers for some window; an answer never changes.
    function answer(uint256 channelSeed, uint256 windowSeed, uint256 answerSeed) public {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0) return;
        uint64 window = uint64(1 + entry.window + windowSeed % 3);
        if (_answers[channelId][window] != MockAudit.Answer.Unknown) return;
        MockAudit.Answer next = answerSeed % 10 == 0 ? MockAudit.Answer.Convicted : MockAudit.Answer.Released;
        _answers[channelId][window] = next;
        audit.set(_auditId(channelId, window), next);
    }

    /// @dev Any signed voucher, by the provider or somebody else, with or without closing.
    function claim(uint256 channelSeed, uint256 windowSeed, uint256 callerSeed, bool closes) public {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0 || entry.signed == 0) return;
        uint64 window = uint64(1 + windowSeed % entry.signed);
        address caller = callerSeed % 8 == 7 ? actor(callerSeed >> 8) : entry.provider;
        (uint256 claimable, uint64 head) = _claimable(channelId, entry, window);
        bool expected = caller == entry.provider && _isHeld(entry) && block.timestamp <= _deadline(entry)
            && claimable > entry.claimed && claimable + entry.budgeted <= entry.deposit;
        bytes memory call = _claimCall(channelId, window, closes);
        vm.prank(caller);
        (bool ok,) = address(channels).call(call);
        _agree(ok, expected, "claim");
        if (!ok) return;
        ++claims;
        if (head != window) ++partialClaims;
        credits[entry.provider][entry.token] += claimable - entry.claimed;
        entry.claimed = claimable;
        entry.window = head;
        if (closes) _end(entry, IChannel.Status.Closed);
    }

    /// @dev Twelve steps of the four kinds above on one channel, so that channels get far in a short run.
    function trade(uint256 channelSeed, uint256 seed) external {
        for (uint256 i = 0; i < 12; ++i) {
            uint256 dice = uint256(keccak256(abi.encode(seed, i)));
            uint256 more = dice >> 64;
            if (dice % 4 == 0) sign(channelSeed, more, more >> 64);
            else if (dice % 4 == 1) announce(channelSeed, more, more >> 64);
            else if (dice % 4 == 2) answer(channelSeed, more, more >> 64);
            else claim(channelSeed, more, more >> 64, false);
        }
    }

    function close(uint256 channelSeed, uint256 callerSeed) external {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0 || callerSeed % 4 != 0) return;
        address caller = callerSeed % 8 == 0 ? actor(callerSeed >> 8) : entry.provider;
        vm.prank(caller);
        (bool ok,) = address(channels).call(abi.encodeCall(IChannel.close, (channelId)));
        _agree(ok, caller == entry.provider && _isHeld(entry), "close");
        if (ok) _end(entry, IChannel.Status.Closed);
    }

    function requestClose(uint256 channelSeed, uint256 callerSeed) external {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0) return;
        address caller = callerSeed % 4 == 3 ? actor(callerSeed >> 8) : entry.customer;
        bool expected =
            caller == entry.customer && entry.status == IChannel.Status.Open && block.timestamp <= entry.expiresAt;
        vm.prank(caller);
        (bool ok,) = address(channels).call(abi.encodeCall(IChannel.requestClose, (channelId)));
        _agree(ok, expected, "requestClose");
        if (!ok) return;
        entry.status = IChannel.Status.Closing;
        uint256 closeAt = block.timestamp + entry.challengeSeconds;
        entry.closeAt = closeAt < entry.expiresAt ? closeAt : entry.expiresAt;
    }

    function finish(uint256 channelSeed, uint256 callerSeed) external {
        (bytes32 channelId, Model storage entry) = _any(channelSeed);
        if (channelId == 0) return;
        vm.prank(actor(callerSeed));
        (bool ok,) = address(channels).call(abi.encodeCall(IChannel.finish, (channelId)));
        _agree(ok, _isHeld(entry) && block.timestamp > _deadline(entry), "finish");
        if (!ok) return;
        bool asked = entry.status == IChannel.Status.Closing;
        _end(entry, asked ? IChannel.Status.Finished : IChannel.Status.Expired);
    }

    function withdraw(uint256 seed, uint256 toSeed, bool inToken) external {
        address account = actor(seed);
        address to = actor(toSeed);
        address which = inToken ? address(token) : KST;
        uint256 owed = credits[account][which];
        uint256 before = _balance(to, which);
        vm.prank(account);
        (bool ok,) = address(channels).call(abi.encodeCall(IChannel.withdrawTo, (which, to)));
        _agree(ok, owed != 0, "withdrawTo");
        credits[account][which] = 0;
        vm.assertEq(_balance(to, which), before + owed);
    }

    /// @dev Below 5 with what was signed; otherwise with another commitment, another list, or both in each other's place.
    function _announceCall(bytes32 channelId, uint64 window, uint256 kind) private view returns (bytes memory) {
        IChannel.Voucher memory voucher = _signedVoucher(channelId, window);
        bytes32 commitment = kind == 5 ? _commitment(window + 1) : _commitment(window);
        bytes32 list = kind == 6 ? _listName(window + 1) : _listName(window);
        if (kind == 7) (commitment, list) = (list, commitment);
        return abi.encodeCall(IChannel.announce, (voucher, _sign(voucher), commitment, list));
    }

    function _claimCall(bytes32 channelId, uint64 window, bool closes) private view returns (bytes memory) {
        Model storage entry = _models[channelId];
        IChannel.Voucher memory voucher = _signedVoucher(channelId, window);
        IChannel.Window[] memory skipped = entry.audited ? _skipped(entry.window + 1, window) : _skipped(0, 0);
        if (closes) return abi.encodeCall(IChannel.claimAndClose, (voucher, _sign(voucher), skipped));
        return abi.encodeCall(IChannel.claim, (voucher, _sign(voucher), skipped));
    }

    function _signedVoucher(bytes32 channelId, uint64 window) private view returns (IChannel.Voucher memory voucher) {
        voucher = _voucher(channelId, window, _models[channelId].audited);
        voucher.cumulative = _cumulative[channelId][window];
        voucher.heldBack = _heldBack[channelId][window];
    }

    /// @dev What a voucher makes claimable, zero if nothing, and the window behind which the channel then stands.
    function _claimable(bytes32 channelId, Model storage entry, uint64 window)
        private
        view
        returns (uint256 claimable, uint64 head)
    {
        if (window <= entry.window) return (0, 0);
        if (!entry.audited) return (_cumulative[channelId][window], window);
        for (uint64 w = entry.window + 1; w < window; ++w) {
            if (_answers[channelId][w] != MockAudit.Answer.Released) return (0, 0);
        }
        MockAudit.Answer last = _answers[channelId][window];
        if (last == MockAudit.Answer.Convicted) return (0, 0);
        if (last == MockAudit.Answer.Released) return (_cumulative[channelId][window], window);
        return (_cumulative[channelId][window] - _heldBack[channelId][window], window - 1);
    }

    function _end(Model storage entry, IChannel.Status status) private {
        entry.status = status;
        ++entry.endings;
        credits[entry.customer][entry.token] += entry.deposit - entry.budgeted - entry.claimed;
    }

    function _isHeld(Model storage entry) private view returns (bool) {
        return entry.status == IChannel.Status.Open || entry.status == IChannel.Status.Closing;
    }

    function _deadline(Model storage entry) private view returns (uint256) {
        return entry.status == IChannel.Status.Closing ? entry.closeAt : entry.expiresAt;
    }

    function _any(uint256 seed) private view returns (bytes32 channelId, Model storage entry) {
        // The newer half is looked at more often, so that channels get old and young ones get work.
        if (_ids.length != 0) {
            uint256 span = seed % 4 == 0 ? _ids.length : (_ids.length + 1) / 2;
            channelId = _ids[_ids.length - 1 - (seed >> 8) % span];
        }
        entry = _models[channelId];
    }

    function _balance(address account, address which) private view returns (uint256) {
        return which == KST ? account.balance : token.balanceOf(account);
    }

    function _agree(bool ok, bool expected, string memory what) private {
        vm.assertEq(ok, expected, what);
        if (ok) ++successes;
        else ++refusals;
    }
}
