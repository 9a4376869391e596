// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IProviders} from "../src/IProviders.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @title The register: listing, changing, pausing
contract ProvidersTest is MarketFixture {
    function setUp() public override {
        super.setUp();
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
        (bool offering, uint128 priceWei) = providers.quote(STRANGER);
        vm.assertEq(offering, true);
        vm.assertEq(priceWei, LISTED_WEI);
        vm.assertEq(providers.providerCount(), 2);
        vm.assertEq(providers.providerAt(0), PROVIDER);
        vm.assertEq(providers.providerAt(1), STRANGER);
    }

    function test_the_register_takes_no_money() public {
        vm.prank(STRANGER);
        (bool ok,) = address(providers).call{value: 1}(abi.encodeCall(IProviders.register, (_offer())));
        vm.assertTrue(!ok, "no value with a registration");
        vm.prank(STRANGER);
        (ok,) = address(providers).call{value: 1}("");
        vm.assertTrue(!ok, "nor without one");
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
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(IProviders.update, (_offer()));
        calls[1] = abi.encodeCall(IProviders.pause, ());
        calls[2] = abi.encodeCall(IProviders.resume, ());
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

    function test_a_page_says_what_bond_is_free_behind_new_work() public {
        vm.assertEq(providers.page(0, 1)[0].bondWei, 0);
        vm.prank(PROVIDER);
        bond.deposit{value: 5 ether}();
        vm.assertEq(providers.page(0, 1)[0].bondWei, 5 ether);
        vm.prank(PROVIDER);
        bond.requestLeave(2 ether);
        vm.assertEq(providers.page(0, 1)[0].bondWei, 3 ether);
    }

    function test_an_index_past_the_end_is_refused() public {
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x32));
        providers.providerAt(1);
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
