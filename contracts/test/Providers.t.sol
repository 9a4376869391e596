// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IProviders} from "../src/IProviders.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The register: listing, changing, pausing, stake in and out
contract ProvidersTest is MarketFixture {
    uint256 private _delay;

    function setUp() public override {
        super.setUp();
        _delay = providers.UNSTAKE_DELAY_SECONDS();
        vm.deal(STRANGER, 100 ether);
    }

    function test_a_registered_provider_is_listed_and_takes_orders() public {
        vm.expectEmit(address(providers));
        emit IProviders.ProviderRegistered(
            STRANGER, keccak256("node"), keccak256("capability"), LISTED_WEI, "127.0.0.1:4433"
        );
        vm.prank(STRANGER);
        providers.register(_offer());

        IProviders.Provider memory entry = providers.provider(STRANGER);
        vm.assertEq(entry.nodeId, keccak256("node"));
        vm.assertEq(entry.capabilityHash, keccak256("capability"));
        vm.assertEq(entry.priceWeiPerUnit, LISTED_WEI);
        vm.assertEq(entry.endpoint, "127.0.0.1:4433");
        vm.assertEq(entry.registeredAt, START);
        vm.assertEq(entry.updatedAt, START);
        vm.assertEq(entry.offering, true);
        vm.assertEq(uint256(entry.stakeWei) + entry.unstakingWei + entry.unstakeAt, 0);
        (bool offering, uint128 priceWei) = providers.quote(STRANGER);
        vm.assertEq(offering, true);
        vm.assertEq(priceWei, LISTED_WEI);
        vm.assertEq(providers.providerCount(), 2);
        vm.assertEq(providers.providerAt(0), PROVIDER);
        vm.assertEq(providers.providerAt(1), STRANGER);
    }

    function test_value_sent_with_the_registration_becomes_stake() public {
        vm.expectEmit(address(providers));
        emit IProviders.StakeAdded(STRANGER, 3 ether, 3 ether);
        vm.prank(STRANGER);
        providers.register{value: 3 ether}(_offer());
        vm.assertEq(providers.provider(STRANGER).stakeWei, 3 ether);
        vm.assertEq(address(providers).balance, 3 ether);
    }

    function test_an_account_registers_once() public {
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.AlreadyRegistered.selector, PROVIDER));
        providers.register(_offer());
    }

    function test_two_accounts_may_name_the_same_node() public {
        vm.prank(STRANGER);
        providers.register(_offer());
        vm.assertEq(providers.provider(STRANGER).nodeId, providers.provider(PROVIDER).nodeId);
    }

    function test_a_bad_offer_is_refused_at_registration_and_at_update() public {
        IProviders.Offer memory offer = _offer();
        offer.nodeId = 0;
        _offerRefused(offer, abi.encodeWithSelector(IProviders.NodeIdZero.selector, STRANGER), STRANGER);

        offer = _offer();
        offer.priceWeiPerUnit = 0;
        _offerRefused(offer, abi.encodeWithSelector(IProviders.PriceOutOfRange.selector, 0, 1, 1e24), STRANGER);
        offer.priceWeiPerUnit = 1e24 + 1;
        _offerRefused(offer, abi.encodeWithSelector(IProviders.PriceOutOfRange.selector, 1e24 + 1, 1, 1e24), STRANGER);

        offer = _offer();
        offer.endpoint = string(new bytes(257));
        _offerRefused(offer, abi.encodeWithSelector(IProviders.EndpointTooLong.selector, 257, 256), STRANGER);
    }

    function test_the_edges_of_an_offer_are_accepted() public {
        IProviders.Offer memory offer = _offer();
        offer.priceWeiPerUnit = 1;
        offer.endpoint = string(new bytes(256));
        offer.capabilityHash = 0;
        vm.prank(STRANGER);
        providers.register(offer);
        offer.priceWeiPerUnit = 1e24;
        offer.endpoint = "";
        vm.prank(STRANGER);
        providers.update(offer);
        vm.assertEq(providers.provider(STRANGER).priceWeiPerUnit, 1e24);
        vm.assertEq(providers.provider(STRANGER).endpoint, "");
    }

    function test_an_update_replaces_the_offer_and_nothing_else() public {
        vm.prank(PROVIDER);
        providers.addStake{value: 1 ether}();
        vm.prank(PROVIDER);
        providers.pause();
        IProviders.Offer memory offer =
            IProviders.Offer({nodeId: keccak256("n2"), capabilityHash: 0, priceWeiPerUnit: 9, endpoint: "[::1]:1"});
        vm.warp(START + 100);
        vm.expectEmit(address(providers));
        emit IProviders.ProviderUpdated(PROVIDER, keccak256("n2"), 0, 9, "[::1]:1");
        vm.prank(PROVIDER);
        providers.update(offer);
        IProviders.Provider memory entry = providers.provider(PROVIDER);
        vm.assertEq(entry.nodeId, keccak256("n2"));
        vm.assertEq(entry.capabilityHash, bytes32(0));
        vm.assertEq(entry.priceWeiPerUnit, 9);
        vm.assertEq(entry.endpoint, "[::1]:1");
        vm.assertEq(entry.registeredAt, START);
        vm.assertEq(entry.updatedAt, START + 100);
        vm.assertEq(entry.offering, false);
        vm.assertEq(entry.stakeWei, 1 ether);
        vm.assertEq(providers.providerCount(), 1);
    }

    function test_pause_and_resume_change_only_what_they_say() public {
        vm.warp(START + 7);
        vm.expectEmit(address(providers));
        emit IProviders.ProviderPaused(PROVIDER);
        vm.prank(PROVIDER);
        providers.pause();
        (bool offering, uint128 priceWei) = providers.quote(PROVIDER);
        vm.assertEq(offering, false);
        vm.assertEq(priceWei, LISTED_WEI);
        vm.assertEq(providers.provider(PROVIDER).updatedAt, START + 7);

        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.OfferingUnchanged.selector, PROVIDER, false));
        providers.pause();

        vm.expectEmit(address(providers));
        emit IProviders.ProviderResumed(PROVIDER);
        vm.prank(PROVIDER);
        providers.resume();
        (offering,) = providers.quote(PROVIDER);
        vm.assertEq(offering, true);

        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.OfferingUnchanged.selector, PROVIDER, true));
        providers.resume();
    }

    function test_who_is_not_listed_can_do_nothing_but_register() public {
        bytes memory expected = abi.encodeWithSelector(IProviders.NotRegistered.selector, STRANGER);
        bytes[] memory calls = new bytes[](5);
        calls[0] = abi.encodeCall(IProviders.update, (_offer()));
        calls[1] = abi.encodeCall(IProviders.pause, ());
        calls[2] = abi.encodeCall(IProviders.resume, ());
        calls[3] = abi.encodeCall(IProviders.addStake, ());
        calls[4] = abi.encodeCall(IProviders.requestUnstake, (1));
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.prank(STRANGER);
            (bool ok, bytes memory returned) = address(providers).call(calls[i]);
            vm.assertTrue(!ok, "refused");
            vm.assertEq(returned, expected);
        }
        vm.expectRevert(expected);
        providers.provider(STRANGER);
        (bool offering, uint128 priceWei) = providers.quote(STRANGER);
        vm.assertEq(offering, false);
        vm.assertEq(priceWei, 0);
    }

    function test_stake_is_never_nothing() public {
        bytes memory expected = abi.encodeWithSelector(IProviders.AmountZero.selector, PROVIDER);
        vm.prank(PROVIDER);
        vm.expectRevert(expected);
        providers.addStake();
        vm.prank(PROVIDER);
        vm.expectRevert(expected);
        providers.requestUnstake(0);
    }

    function test_no_more_stake_leaves_than_there_is() public {
        _stake(5 ether);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.StakeTooSmall.selector, PROVIDER, 5 ether, 5 ether + 1));
        providers.requestUnstake(5 ether + 1);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.StakeTooSmall.selector, PROVIDER, 5 ether, type(uint256).max));
        providers.requestUnstake(type(uint256).max);
        vm.prank(PROVIDER);
        providers.requestUnstake(5 ether);
        vm.assertEq(providers.provider(PROVIDER).stakeWei, 0);
        vm.assertEq(providers.provider(PROVIDER).unstakingWei, 5 ether);
    }

    function test_stake_leaves_after_the_delay_and_not_a_second_earlier() public {
        _stake(5 ether);
        uint256 before = PROVIDER.balance;
        uint256 unstakeAt = START + _delay;
        vm.expectEmit(address(providers));
        emit IProviders.UnstakeRequested(PROVIDER, 2 ether, 2 ether, uint40(unstakeAt));
        vm.prank(PROVIDER);
        providers.requestUnstake(2 ether);

        vm.warp(unstakeAt - 1);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.UnstakeTooEarly.selector, PROVIDER, unstakeAt, unstakeAt - 1));
        providers.unstake();

        vm.warp(unstakeAt);
        vm.expectEmit(address(providers));
        emit IProviders.Unstaked(PROVIDER, PROVIDER, 2 ether);
        vm.prank(PROVIDER);
        providers.unstake();
        vm.assertEq(PROVIDER.balance, before + 2 ether);
        vm.assertEq(providers.provider(PROVIDER).stakeWei, 3 ether);
        vm.assertEq(providers.provider(PROVIDER).unstakingWei, 0);
        vm.assertEq(providers.provider(PROVIDER).unstakeAt, 0);

        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.NothingUnstaking.selector, PROVIDER));
        providers.unstake();
    }

    function test_a_second_request_joins_the_first_and_starts_the_delay_anew() public {
        _stake(5 ether);
        vm.prank(PROVIDER);
        providers.requestUnstake(2 ether);
        vm.warp(START + _delay - 1);
        vm.prank(PROVIDER);
        providers.requestUnstake(1 ether);
        vm.warp(START + _delay);
        vm.prank(PROVIDER);
        vm.expectRevert(
            abi.encodeWithSelector(
                IProviders.UnstakeTooEarly.selector, PROVIDER, START + 2 * _delay - 1, START + _delay
            )
        );
        providers.unstake();
        vm.warp(START + 2 * _delay - 1);
        vm.prank(PROVIDER);
        providers.unstakeTo(payable(STRANGER));
        vm.assertEq(STRANGER.balance, 103 ether);
        vm.assertEq(address(providers).balance, 2 ether);
    }

    function test_stake_is_not_sent_to_nobody() public {
        _stake(1 ether);
        vm.prank(PROVIDER);
        providers.requestUnstake(1 ether);
        vm.warp(START + _delay);
        vm.prank(PROVIDER);
        vm.expectRevert(abi.encodeWithSelector(IProviders.RecipientZero.selector, PROVIDER));
        providers.unstakeTo(payable(address(0)));
    }

    function test_pages_list_every_provider_once_in_order() public {
        uint256 max = providers.PAGE_COUNT_MAX();
        for (uint256 i = 1; i < max + 3; ++i) {
            vm.prank(address(uint160(0x10000 + i)));
            providers.register(_offer());
        }
        uint256 total = max + 3;
        vm.assertEq(providers.providerCount(), total);
        vm.assertEq(providers.page(0, type(uint256).max).length, max);
        vm.assertEq(providers.page(0, 0).length, 0);
        vm.assertEq(providers.page(total, 10).length, 0);
        vm.assertEq(providers.page(type(uint256).max, 10).length, 0);
        vm.assertEq(providers.page(total - 1, 10).length, 1);
        uint256 seen;
        while (seen < total) {
            IProviders.Listing[] memory listings = providers.page(seen, 10);
            for (uint256 i = 0; i < listings.length; ++i) {
                vm.assertEq(listings[i].account, providers.providerAt(seen + i));
                vm.assertEq(listings[i].provider.endpoint, "127.0.0.1:4433");
            }
            seen += listings.length;
        }
        vm.assertEq(seen, total);
    }

    function test_an_index_past_the_end_is_refused() public {
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        providers.providerAt(1);
    }

    function testFuzz_stake_in_is_stake_out(uint256 inSeed, uint256 outSeed) public {
        uint256 inWei = _within(inSeed, 1, 1e36);
        uint256 outWei = _within(outSeed, 1, inWei);
        uint256 before = PROVIDER.balance;
        _stake(inWei);
        vm.prank(PROVIDER);
        providers.requestUnstake(outWei);
        vm.warp(START + _delay);
        vm.prank(PROVIDER);
        providers.unstake();
        vm.assertEq(PROVIDER.balance, before - inWei + outWei);
        vm.assertEq(providers.provider(PROVIDER).stakeWei, inWei - outWei);
        vm.assertEq(address(providers).balance, inWei - outWei);
    }

    function _stake(uint256 amountWei) private {
        vm.prank(PROVIDER);
        providers.addStake{value: amountWei}();
    }

    function _offerRefused(IProviders.Offer memory offer, bytes memory expected, address newcomer) private {
        vm.prank(newcomer);
        (bool ok, bytes memory returned) = address(providers).call(abi.encodeCall(IProviders.register, (offer)));
        vm.assertTrue(!ok, "register refuses");
        vm.assertEq(returned, expected);
        vm.prank(PROVIDER);
        (ok, returned) = address(providers).call(abi.encodeCall(IProviders.update, (offer)));
        vm.assertTrue(!ok, "update refuses");
        vm.assertEq(bytes4(returned), bytes4(expected));
    }
}
