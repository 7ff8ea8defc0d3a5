//! What each form of a change comes to, and what cannot be.

use super::*;

fn node(id: u64) -> (NodeId, Node) {
    (NodeId(id), Node { address: format!("node{id}") })
}

fn nodes(ids: &[u64]) -> NodeMap<Node> {
    ids.iter().map(|id| node(*id)).collect()
}

fn ids(ids: &[u64]) -> NodeSet {
    ids.iter().map(|id| NodeId(*id)).collect()
}

/// Voters 1, 2 and 3, and the learner 4.
fn members() -> Membership {
    Membership::new(nodes(&[1, 2, 3]), nodes(&[4]))
}

/// What the members are once a change is through.
fn end(change: &ChangeMembers, retain: bool) -> Membership {
    let first = members().changed(change, retain).unwrap();
    if first.goal().is_some() { first.joint().settled() } else { first }
}

/// Changes of those members, whether voters that are removed stay, and what the members are then.
fn cases() -> Vec<(ChangeMembers, bool, &'static str)> {
    let elsewhere = NodeMap::from([(NodeId(4), Node { address: "elsewhere".into() })]);
    vec![
        (ChangeMembers::AddVoterIds(ids(&[4])), false, "voters {1 2 3 4}"),
        (ChangeMembers::AddVoters(nodes(&[3, 5])), false, "voters {1 2 3 5} learners {4}"),
        (ChangeMembers::RemoveVoters(ids(&[3])), false, "voters {1 2} learners {4}"),
        (ChangeMembers::RemoveVoters(ids(&[3, 4])), true, "voters {1 2} learners {3 4}"),
        (ChangeMembers::ReplaceAllVoters(ids(&[1, 4])), false, "voters {1 4}"),
        (ChangeMembers::ReplaceAllVoters(ids(&[4])), true, "voters {4} learners {1 2 3}"),
        (ChangeMembers::AddNodes(nodes(&[1, 6])), false, "voters {1 2 3} learners {4 6}"),
        (ChangeMembers::SetNodes(elsewhere), false, "voters {1 2 3} learners {4}"),
        (ChangeMembers::RemoveNodes(ids(&[4])), false, "voters {1 2 3}"),
        (ChangeMembers::ReplaceAllNodes(nodes(&[1, 2, 3, 7])), false, "voters {1 2 3} learners {7}"),
        (
            ChangeMembers::Batch(vec![
                ChangeMembers::AddVoters(nodes(&[5, 6])),
                ChangeMembers::RemoveVoters(ids(&[1, 2, 3])),
                ChangeMembers::RemoveNodes(ids(&[4])),
            ]),
            false,
            "voters {5 6}",
        ),
    ]
}

#[test]
fn each_form_leads_where_it_says() {
    for (change, retain, expected) in cases() {
        assert_eq!(end(&change, retain).to_string(), expected, "{change}");
    }
}

/// Whoever lost the answer sees by the members whether it is done.
#[test]
fn each_form_holds_when_it_is_through_and_not_before() {
    for (change, retain, _) in cases() {
        let request = ChangeRequest { retain, ..change.clone().into() };
        assert!(!request.holds_in(&members()), "{change}");
        let first = members().changed(&change, retain).unwrap();
        if first.goal().is_some() {
            assert!(!request.holds_in(&first) && !request.holds_in(&first.joint()), "{change} is under way");
        }
        assert!(request.holds_in(&end(&change, retain)), "{change}");
    }
    // In part, or in another way.
    let wants = |change: ChangeMembers, members: &Membership| ChangeRequest::from(change).holds_in(members);
    let fourth_votes = Membership::new(nodes(&[1, 2, 3, 4]), []);
    assert!(!wants(ChangeMembers::AddVoters(nodes(&[4, 5])), &fourth_votes), "one of two");
    assert!(
        !wants(ChangeMembers::AddNodes([(NodeId(4), Node::default())].into()), &fourth_votes),
        "at another address"
    );
    assert!(
        !wants(ChangeMembers::AddVoters([(NodeId(4), Node::default())].into()), &fourth_votes),
        "nor does it vote there"
    );
    assert!(!wants(ChangeMembers::ReplaceAllNodes(nodes(&[1, 2, 3])), &members()), "node 4 should have left");
    assert!(!wants(ChangeMembers::RemoveVoters(ids(&[4])), &members()), "it votes no more, and should have left");
    assert!(!wants(ChangeMembers::ReplaceAllVoters(ids(&[1, 2, 3])), &fourth_votes), "one too many");
    assert!(!wants(ChangeMembers::RemoveNodes(ids(&[4, 5])), &members()), "one of two");
}

#[test]
fn what_cannot_be_is_refused() {
    let elsewhere = NodeMap::from([(NodeId(2), Node { address: "elsewhere".into() })]);
    let cases = [
        (ChangeMembers::AddVoterIds(ids(&[9])), Refusal::UnknownNode { node: NodeId(9) }),
        (ChangeMembers::RemoveVoters(ids(&[9])), Refusal::UnknownNode { node: NodeId(9) }),
        (ChangeMembers::ReplaceAllVoters(ids(&[1, 9])), Refusal::UnknownNode { node: NodeId(9) }),
        (ChangeMembers::SetNodes(nodes(&[9])), Refusal::UnknownNode { node: NodeId(9) }),
        (ChangeMembers::RemoveNodes(ids(&[9])), Refusal::UnknownNode { node: NodeId(9) }),
        (ChangeMembers::AddVoters(elsewhere.clone()), Refusal::AddressDiffers { node: NodeId(2) }),
        (ChangeMembers::AddNodes(elsewhere), Refusal::AddressDiffers { node: NodeId(2) }),
        (
            ChangeMembers::Batch(vec![ChangeMembers::RemoveVoters(ids(&[3])), ChangeMembers::AddVoters(nodes(&[3]))]),
            Refusal::AddedAgain { node: NodeId(3) },
        ),
        (
            ChangeMembers::Batch(vec![ChangeMembers::RemoveNodes(ids(&[4])), ChangeMembers::AddNodes(nodes(&[4]))]),
            Refusal::AddedAgain { node: NodeId(4) },
        ),
        (
            ChangeMembers::Batch(vec![
                ChangeMembers::ReplaceAllNodes(nodes(&[1, 2, 3])),
                ChangeMembers::ReplaceAllNodes(nodes(&[1, 2, 3, 4])),
            ]),
            Refusal::AddedAgain { node: NodeId(4) },
        ),
        (ChangeMembers::RemoveNodes(ids(&[3, 4])), Refusal::StillVoter { node: NodeId(3) }),
        (ChangeMembers::ReplaceAllNodes(nodes(&[2, 3])), Refusal::StillVoter { node: NodeId(1) }),
        (ChangeMembers::RemoveVoters(ids(&[1, 2, 3])), Refusal::NoVoters),
        (ChangeMembers::ReplaceAllVoters(ids(&[])), Refusal::NoVoters),
    ];
    for (change, expected) in cases {
        assert_eq!(members().changed(&change, false), Err(expected), "{change}");
    }
}

/// These members at the addresses of those.
fn at(places: &[(u64, u64)]) -> NodeMap<Node> {
    places.iter().map(|(id, place)| (NodeId(*id), node(*place).1)).collect()
}

#[test]
fn no_two_members_are_reached_at_one_address() {
    let taken = |node, by| Err(Refusal::AddressTaken { node: NodeId(node), by: NodeId(by) });
    let cases = [
        (ChangeMembers::SetNodes(at(&[(2, 3)])), taken(2, 3)),
        (ChangeMembers::SetNodes(at(&[(3, 4)])), taken(3, 4)),
        (ChangeMembers::AddVoters(at(&[(5, 1)])), taken(5, 1)),
        (ChangeMembers::AddNodes(at(&[(5, 4)])), taken(5, 4)),
        (ChangeMembers::AddNodes(at(&[(5, 7), (6, 7)])), taken(5, 6)),
        (ChangeMembers::ReplaceAllNodes(at(&[(1, 1), (2, 2), (3, 2)])), taken(3, 2)),
    ];
    for (change, expected) in cases {
        assert_eq!(members().changed(&change, false), expected, "{change}");
    }
}

#[test]
fn addresses_are_exchanged_handed_on_and_left_empty() {
    let replaced = vec![ChangeMembers::RemoveVoters(ids(&[3])), ChangeMembers::AddVoters(at(&[(5, 3)]))];
    let moved = vec![ChangeMembers::SetNodes(at(&[(2, 3)])), ChangeMembers::SetNodes(at(&[(3, 2)]))];
    let nowhere = [5, 6].map(|id| (NodeId(id), Node::default())).into();
    let cases = [
        (ChangeMembers::SetNodes(at(&[(2, 3), (3, 2)])), "voters {1 2 3} learners {4}"),
        (ChangeMembers::Batch(moved), "voters {1 2 3} learners {4}"),
        (ChangeMembers::Batch(replaced), "voters {1 2 5} learners {4}"),
        (ChangeMembers::AddNodes(nowhere), "voters {1 2 3} learners {4 5 6}"),
    ];
    for (change, expected) in cases {
        assert_eq!(end(&change, false).to_string(), expected, "{change}");
    }
    // Whatever a cluster of an older build has come to, it can be changed.
    let both = Membership::new(at(&[(1, 1), (2, 1)]), []);
    assert!(both.changed(&ChangeMembers::AddNodes(nodes(&[5])), false).is_ok());
    assert!(both.changed(&ChangeMembers::SetNodes(at(&[(2, 2)])), false).is_ok());
}

#[test]
fn nothing_to_change_is_no_change() {
    for change in [
        ChangeMembers::AddVoters(nodes(&[1])),
        ChangeMembers::AddNodes(nodes(&[4])),
        ChangeMembers::RemoveVoters(ids(&[4])),
        ChangeMembers::ReplaceAllVoters(ids(&[1, 2, 3])),
        ChangeMembers::Batch(Vec::new()),
    ] {
        assert_eq!(members().changed(&change, true).unwrap(), members(), "{change}");
    }
}

#[test]
fn a_change_that_is_given_up_leaves_the_members_that_were() {
    let change = ChangeMembers::Batch(vec![
        ChangeMembers::AddVoters(nodes(&[5])),
        ChangeMembers::AddVoterIds(ids(&[4])),
        ChangeMembers::RemoveVoters(ids(&[1])),
    ]);
    let first = members().changed(&change, false).unwrap();
    assert_eq!(first.to_string(), "voters {1 2 3} soon {2 3 4 5} learners {4 5}");
    assert_eq!(first.given_up(), members());
}
