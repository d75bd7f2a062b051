//! JoinGroup.

use std::time::Duration;

use super::super::*;
use super::harness::*;

#[test]
fn what_no_group_admits_is_refused_before_a_group_is_made() {
    let with = |change: fn(&mut JoinRequest)| {
        let mut request = join("c");
        change(&mut request);
        request
    };
    let cases = [
        (with(|r| r.group_id = "".into()), GroupError::InvalidGroupId),
        (
            with(|r| r.session_timeout = Duration::from_millis(5_999)),
            GroupError::InvalidSessionTimeout,
        ),
        (
            with(|r| r.session_timeout = Duration::from_millis(1_800_001)),
            GroupError::InvalidSessionTimeout,
        ),
        (
            with(|r| r.member_id = "made-up".into()),
            GroupError::UnknownMemberId,
        ),
    ];
    for (request, error) in cases {
        let mut h = Harness::new();
        let waiter = h.join(request);
        assert_eq!(h.join_error(waiter).0, error);
        assert!(h.registry.is_empty(), "{error}");
    }
}

#[test]
fn protocols_must_fit() {
    let cases: [(&str, Vec<Protocol>, bool); 6] = [
        ("consumer", vec![protocol("range", &["t"])], true),
        (
            "consumer",
            vec![protocol("x", &[]), protocol("range", &["u"])],
            true,
        ),
        ("consumer", vec![protocol("roundrobin", &["t"])], false),
        ("consumer", vec![], false),
        ("connect", vec![protocol("range", &["t"])], false),
        ("", vec![protocol("range", &["t"])], false),
    ];
    for (protocol_type, protocols, fits) in cases {
        let mut h = Harness::new();
        h.stable_group(&["a"]);
        let waiter = h.join(JoinRequest {
            protocol_type: protocol_type.to_owned(),
            protocols,
            ..join("b")
        });
        match fits {
            true => assert_eq!(h.reply(waiter), None, "waits for the rebalance"),
            false => assert_eq!(
                h.join_error(waiter),
                (GroupError::InconsistentGroupProtocol, "")
            ),
        }
    }
}

#[test]
fn an_empty_group_wants_a_protocol_type_and_a_protocol() {
    for (protocol_type, protocols) in [("", vec![protocol("range", &[])]), ("consumer", vec![])] {
        let mut h = Harness::new();
        let waiter = h.join(JoinRequest {
            protocol_type: protocol_type.to_owned(),
            protocols,
            ..join("c")
        });
        assert_eq!(
            h.join_error(waiter).0,
            GroupError::InconsistentGroupProtocol
        );
    }
}

#[test]
fn a_known_member_id_is_asked_for_only_where_the_version_says_so() {
    let mut h = Harness::new();
    let asked = h.join(JoinRequest {
        require_known_member_id: true,
        ..join("c")
    });
    assert_eq!(h.join_error(asked), (GroupError::MemberIdRequired, "c-1"));
    assert_eq!(h.state(), GroupState::Empty);

    let again = h.join(JoinRequest {
        require_known_member_id: true,
        ..rejoin("c-1")
    });
    assert_eq!(h.reply(again), None);
    h.advance(DELAY);
    assert_eq!(h.join_ok(again).member_id.as_str(), "c-1");

    let mut old = Harness::new();
    let waiter = old.add_member("c");
    assert_eq!(old.reply(waiter), None, "joins at once");
}

#[test]
fn a_static_member_is_never_asked_for_a_known_id() {
    let mut h = Harness::new();
    let waiter = h.join(JoinRequest {
        require_known_member_id: true,
        instance_id: Some("i".into()),
        ..join("c")
    });
    h.advance(DELAY);
    assert_eq!(h.join_ok(waiter).member_id.as_str(), "i-1");
}

#[test]
fn a_given_id_that_is_not_used_is_forgotten_after_the_session_timeout() {
    let mut h = Harness::new();
    h.join(JoinRequest {
        require_known_member_id: true,
        ..join("c")
    });
    h.advance(SESSION);
    let late = h.join(rejoin("c-1"));
    assert_eq!(h.join_error(late), (GroupError::UnknownMemberId, "c-1"));
}

#[test]
fn the_initial_delay_is_extended_by_each_newcomer_up_to_the_rebalance_timeout() {
    let mut h = Harness::new();
    let first = h.join(JoinRequest {
        rebalance_timeout: DELAY * 2,
        ..join("a")
    });
    h.advance(Duration::from_secs(2));
    let second = h.join(JoinRequest {
        rebalance_timeout: DELAY * 2,
        ..join("b")
    });
    h.advance(Duration::from_secs(2));
    assert_eq!(h.reply(first), None, "extended by the second member");
    let third = h.join(JoinRequest {
        rebalance_timeout: DELAY * 2,
        ..join("c")
    });
    h.advance(Duration::from_secs(2));
    // Six seconds are the rebalance time-out: no further extension, though a third has joined.
    for waiter in [first, second, third] {
        assert_eq!(h.join_ok(waiter).generation, 1);
    }
}

#[test]
fn only_the_leader_learns_of_the_members() {
    let mut h = Harness::new();
    let a = h.add_member("a");
    let b = h.add_member("b");
    h.advance(DELAY * 3);
    let leader = h.join_ok(a);
    assert_eq!(leader.leader, leader.member_id);
    let members: Vec<_> = leader
        .members
        .iter()
        .map(|m| m.member_id.as_str())
        .collect();
    assert_eq!(members, ["a-1", "b-2"]);
    assert_eq!(
        leader.members[0].metadata,
        protocol("range", &["t"]).metadata
    );
    assert_eq!(leader.protocol.as_deref(), Some("range"));
    assert_eq!(leader.protocol_type.as_deref(), Some("consumer"));
    let follower = h.join_ok(b);
    assert_eq!(
        (follower.leader.as_str(), follower.members.len()),
        ("a-1", 0)
    );
}

#[test]
fn the_protocol_most_members_prefer_wins_among_those_all_support() {
    let both = |first: &str, second: &str| vec![protocol(first, &["t"]), protocol(second, &["t"])];
    let mut h = Harness::new();
    let waiters: Vec<_> = [
        both("range", "sticky"),
        both("sticky", "range"),
        vec![
            protocol("only-mine", &["t"]),
            protocol("sticky", &["t"]),
            protocol("range", &["t"]),
        ],
    ]
    .into_iter()
    .map(|protocols| {
        h.join(JoinRequest {
            protocols,
            ..join("c")
        })
    })
    .collect();
    h.advance(DELAY * 4);
    for waiter in waiters {
        assert_eq!(h.join_ok(waiter).protocol.as_deref(), Some("sticky"));
    }
}

#[test]
fn a_second_join_of_one_member_answers_the_first() {
    let mut h = Harness::new();
    h.join(JoinRequest {
        require_known_member_id: true,
        ..join("c")
    });
    let first = h.join(rejoin("c-1"));
    let second = h.join(rejoin("c-1"));
    assert_eq!(h.join_error(first).0, GroupError::RebalanceInProgress);
    h.advance(DELAY * 2);
    assert_eq!(h.join_ok(second).generation, 1);
}

#[test]
fn a_follower_that_joins_unchanged_disturbs_nobody() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let follower = h.join(rejoin(&ids[1]));
    assert_eq!(h.join_ok(follower).generation, 1);
    assert_eq!(h.state(), GroupState::Stable);

    let leader = h.join(rejoin(&ids[0]));
    assert_eq!(
        h.reply(leader),
        None,
        "a leader may have seen new partitions"
    );
    assert_eq!(h.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_changed_subscription_rebalances() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let changed = h.join(JoinRequest {
        protocols: vec![protocol("range", &["t", "u"])],
        ..rejoin(&ids[1])
    });
    assert_eq!(h.state(), GroupState::PreparingRebalance);
    let leader = h.join(rejoin(&ids[0]));
    assert_eq!(
        h.join_ok(changed).generation,
        2,
        "all have joined: no delay"
    );
    assert_eq!(h.join_ok(leader).members.len(), 2);
}

#[test]
fn a_lost_answer_is_repeated_while_the_leader_assigns() {
    let mut h = Harness::new();
    h.add_member("a");
    h.add_member("b");
    h.advance(DELAY * 3);
    assert_eq!(h.state(), GroupState::CompletingRebalance);
    let again = h.join(rejoin("a-1"));
    assert_eq!(h.join_ok(again).members.len(), 2);
    let again = h.join(rejoin("b-2"));
    assert_eq!(h.join_ok(again).members.len(), 0);
    assert_eq!(h.state(), GroupState::CompletingRebalance);
}

#[test]
fn members_that_do_not_come_back_are_removed_at_the_rebalance_timeout() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let newcomer = h.add_member("c");
    let back = h.join(rejoin(&ids[1]));
    for _ in 0..11 {
        h.advance(Duration::from_secs(5));
        let lazy = h.heartbeat(&ids[0], 1);
        assert_eq!(lazy, Err(GroupError::RebalanceInProgress));
    }
    assert_eq!(h.reply(newcomer), None);
    h.advance(Duration::from_secs(5));
    let joined = h.join_ok(back);
    assert_eq!(joined.generation, 2);
    assert_eq!(joined.leader.as_str(), ids[1], "the old leader is gone");
    assert_eq!(joined.members.len(), 2);
    assert_eq!(h.heartbeat(&ids[0], 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_full_group_takes_nobody_new() {
    let mut h = Harness::with(GroupConfig {
        max_size: 2,
        ..GroupConfig::default()
    });
    let ids = h.stable_group(&["a", "b"]);
    let refused = h.add_member("c");
    assert_eq!(h.join_error(refused), (GroupError::GroupMaxSizeReached, ""));
    assert_eq!(h.state(), GroupState::Stable);

    // While rebalancing, those that have joined count: the last to come finds no room.
    let changed = h.join(JoinRequest {
        protocols: vec![protocol("range", &["u"])],
        ..rejoin(&ids[1])
    });
    let newcomer = h.add_member("d");
    let too_late = h.join(rejoin(&ids[0]));
    assert_eq!(h.join_error(too_late).0, GroupError::GroupMaxSizeReached);
    h.advance(REBALANCE);
    assert_eq!(h.join_ok(changed).generation, 2);
    assert_eq!(h.join_ok(newcomer).generation, 2);
}

#[test]
fn ids_given_out_and_never_used_are_bounded() {
    let mut h = Harness::with(GroupConfig {
        pending_members_max: 2,
        ..GroupConfig::default()
    });
    let ask = JoinRequest {
        require_known_member_id: true,
        ..join("c")
    };
    let errors: Vec<_> = (0..3)
        .map(|_| {
            let waiter = h.join(ask.clone());
            h.join_error(waiter).0
        })
        .collect();
    let (asked, full) = (
        GroupError::MemberIdRequired,
        GroupError::CoordinatorNotAvailable,
    );
    assert_eq!(errors, [asked, asked, full]);
}

#[test]
fn groups_are_bounded() {
    let mut h = Harness::with(GroupConfig {
        groups_per_shard_max: 1,
        ..GroupConfig::default()
    });
    h.add_member("a");
    let refused = h.join(JoinRequest {
        group_id: "other".into(),
        ..join("b")
    });
    assert_eq!(h.join_error(refused).0, GroupError::CoordinatorNotAvailable);
}
