// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {EnergyMarket} from "./EnergyMarket.sol";

/// @title One contract between a seller and a buyer, with an address of its own
/// @notice Its money is set aside from the payer's balance in the market when it is made. It is paid when the delivery
///         was confirmed, and goes back when both parties cancel or when the time to deliver is over.
contract EnergyAgreement {
    enum State {
        None,
        Committed,
        Delivered,
        Settled,
        Cancelled,
        Expired
    }

    /// @dev With a negative price the seller pays. deliverBy is in seconds since the epoch.
    struct Terms {
        bytes32 tradeId;
        address seller;
        address buyer;
        uint32 energyWh;
        int64 priceWeiPerWh;
        uint32 slot;
        uint64 deliverBy;
    }

    event StateChanged(State state);
    event CancellationAsked(address indexed by);

    error NotFactory(address caller);
    error NotParty(address caller);
    error NotConfirmer(address caller);
    error WrongState(State state);
    error TooLate(uint64 deliverBy);
    error TooEarly(uint64 deliverBy);

    /// @notice The market that has the money.
    EnergyMarket public immutable market;

    address private immutable _factory;

    /// @notice What was agreed.
    Terms public terms;

    /// @notice None 0, Committed 1, Delivered 2, Settled 3, Cancelled 4, Expired 5.
    State public state;

    /// @notice Whether a party has asked to cancel.
    mapping(address party => bool) public asksToCancel;

    constructor(EnergyMarket market_) {
        market = market_;
        _factory = msg.sender;
    }

    modifier when(State expected) {
        require(state == expected, WrongState(state));
        _;
    }

    /// @notice Write down what was agreed. The factory's alone to call, once.
    function begin(Terms calldata terms_) external when(State.None) {
        require(msg.sender == _factory, NotFactory(msg.sender));
        terms = terms_;
        _become(State.Committed);
    }

    /// @notice Say that the energy was delivered. Who pays for it or the market's meter may, in time.
    function confirmDelivery() external when(State.Committed) {
        address payer = terms.priceWeiPerWh >= 0 ? terms.buyer : terms.seller;
        require(msg.sender == market.currentAccount(payer) || msg.sender == market.meter(), NotConfirmer(msg.sender));
        require(block.timestamp <= terms.deliverBy, TooLate(terms.deliverBy));
        _become(State.Delivered);
    }

    /// @notice Pay for what was delivered; the buyer gets the energy's token. Anybody may.
    function settle() external when(State.Delivered) {
        _become(State.Settled);
        address payee = terms.priceWeiPerWh >= 0 ? terms.seller : terms.buyer;
        market.settleCommitment(terms.seller, terms.buyer, payee, terms.slot, terms.energyWh);
    }

    /// @notice Ask to cancel; when both parties have, the money goes back.
    function cancel() external when(State.Committed) {
        address seller = market.currentAccount(terms.seller);
        address buyer = market.currentAccount(terms.buyer);
        require(msg.sender == seller || msg.sender == buyer, NotParty(msg.sender));
        asksToCancel[msg.sender] = true;
        emit CancellationAsked(msg.sender);
        if (asksToCancel[seller] && asksToCancel[buyer]) {
            _become(State.Cancelled);
            market.returnCommitment();
        }
    }

    /// @notice Give the money back when no delivery was confirmed in time. Anybody may.
    function expire() external when(State.Committed) {
        require(block.timestamp > terms.deliverBy, TooEarly(terms.deliverBy));
        _become(State.Expired);
        market.returnCommitment();
    }

    function _become(State next) private {
        state = next;
        emit StateChanged(next);
    }
}

/// @title Makes agreements, each at an address that is known before
/// @notice An operator of the market makes them, between actors; who pays has to have accepted agreements in the market.
contract EnergyAgreementFactory {
    event AgreementCreated(bytes32 indexed tradeId, address indexed agreement, address seller, address buyer);

    error NotOperator(address caller);
    error NotAnActor(address account);
    error SelfTrade(address account);
    error ZeroEnergy();
    error DeliverByIsOver(uint64 deliverBy);
    error DeliverByTooFar(uint64 deliverBy);

    /// @dev Longer than that no money is set aside.
    uint256 private constant LONGEST_S = 366 days;

    /// @notice The market that has the money.
    EnergyMarket public immutable market;

    /// @notice The code of all agreements.
    EnergyAgreement public immutable implementation;

    constructor(EnergyMarket market_) {
        market = market_;
        implementation = new EnergyAgreement(market_);
    }

    /// @notice Where the agreement of a trade is, or will be.
    function addressOf(bytes32 tradeId) public view returns (address) {
        bytes32 hash = keccak256(abi.encodePacked(bytes1(0xff), address(this), tradeId, keccak256(_proxy())));
        return address(uint160(uint256(hash)));
    }

    /// @notice Make an agreement and set its money aside. For a trade that has one nothing is done.
    function create(EnergyAgreement.Terms calldata terms) public returns (address agreement) {
        require(market.isOperator(msg.sender), NotOperator(msg.sender));
        agreement = addressOf(terms.tradeId);
        if (agreement.code.length != 0) return agreement;
        require(market.isActor(terms.seller), NotAnActor(terms.seller));
        require(market.isActor(terms.buyer), NotAnActor(terms.buyer));
        require(terms.seller != terms.buyer, SelfTrade(terms.seller));
        require(terms.energyWh != 0, ZeroEnergy());
        require(terms.deliverBy > block.timestamp, DeliverByIsOver(terms.deliverBy));
        require(terms.deliverBy <= block.timestamp + LONGEST_S, DeliverByTooFar(terms.deliverBy));

        bytes memory code = _proxy();
        bytes32 salt = terms.tradeId;
        assembly ("memory-safe") {
            agreement := create2(0, add(code, 32), mload(code), salt)
        }
        bool byBuyer = terms.priceWeiPerWh >= 0;
        int256 price = byBuyer ? int256(terms.priceWeiPerWh) : -int256(terms.priceWeiPerWh);
        address payer = byBuyer ? terms.buyer : terms.seller;
        market.commit(agreement, payer, uint256(price) * terms.energyWh, terms.slot);
        EnergyAgreement(agreement).begin(terms);
        emit AgreementCreated(terms.tradeId, agreement, terms.seller, terms.buyer);
    }

    /// @notice Make several agreements, all or none.
    function createMany(EnergyAgreement.Terms[] calldata terms) external returns (address[] memory agreements) {
        agreements = new address[](terms.length);
        for (uint256 i = 0; i < terms.length; ++i) {
            agreements[i] = create(terms[i]);
        }
    }

    /// @notice Settle several agreements, all or none. Anybody may.
    function settleMany(address[] calldata agreements) external {
        for (uint256 i = 0; i < agreements.length; ++i) {
            EnergyAgreement(agreements[i]).settle();
        }
    }

    /// @dev ERC-1167: code that lets the implementation do everything, on storage of its own.
    function _proxy() private view returns (bytes memory) {
        return abi.encodePacked(
            hex"3d602d80600a3d3981f3363d3d373d3d3d363d73", address(implementation), hex"5af43d82803e903d91602b57fd5bf3"
        );
    }
}
