//! What to tell whoever asked for a change of the members that was refused, or that changed nothing: what is wrong, with the number of
//! the node, and which command mends it.

use outrigger::ClientError;
use outrigger::engine::{ChangeMembers, Node, NodeId, NodeMap, Refusal};

use super::super::Failure;

/// What to say of a change after which all is as it was. Whoever adds a member whose disk was lost takes it for done otherwise.
pub(super) fn nothing_done(asked: &ChangeMembers) -> String {
    let added: Vec<_> = match asked {
        ChangeMembers::AddVoters(nodes) | ChangeMembers::AddNodes(nodes) => nodes.keys().map(|node| node.0).collect(),
        _ => Vec::new(),
    };
    let list = |separator: &str| added.iter().map(u64::to_string).collect::<Vec<_>>().join(separator);
    if added.is_empty() {
        return ": nothing to do".to_owned();
    }
    format!(
        ": nothing to do, members already: {}; if a data directory was lost, `outrigger member remove {}` comes first, then the node is \
         added again and started with --join and an empty directory",
        list(", "),
        list(" ")
    )
}

/// What an error means for whoever asked for this change of the members: those that do not pass by themselves have a code of their own.
pub(super) fn failure(error: &ClientError, asked: &ChangeMembers) -> Failure {
    let ClientError::MembersNotChanged { refusal } = error else {
        let hint = if matches!(error, ClientError::Unknown { .. }) { "; see `outrigger member list`" } else { "" };
        return Failure { message: format!("{error}{hint}"), ..Failure::of_client(error) };
    };
    let message = advice(*refusal, asked)
        .map_or_else(|| error.to_string(), |advice| format!("the members are not changed: {advice}"));
    if error.is_retryable() { Failure::not_applied(message) } else { Failure::plain(message) }
}

/// What is wrong and which command mends it, where the engine, which knows of no commands, cannot say that.
fn advice(refusal: Refusal, asked: &ChangeMembers) -> Option<String> {
    let addresses = addresses(asked);
    let address = |node: &NodeId| addresses.get(node).map(|node| node.address.as_str());
    Some(match refusal {
        Refusal::UnknownNode { node } => format!("node {node} is no member; {}", instead_of_stranger(node, asked)),
        Refusal::NoVoters => {
            "no voter would be left, and nobody could decide anything any more; leave at least one, or add another one \
             first by `outrigger member add ID=PEER_ADDR` (to end the cluster, stop its nodes)"
                .to_owned()
        }
        Refusal::AddressDiffers { node } => {
            let new = address(&node).unwrap_or("PEER_ADDR");
            format!(
                "node {node} is a member already, at another address than {new}; `outrigger member list` shows where, and `outrigger \
                 member update {node}={new}` changes it"
            )
        }
        Refusal::AddressTaken { node, by } => {
            let address = address(&node).unwrap_or("the same address");
            format!(
                "nodes {node} and {by} would both be reached at {address}; give each an address of its own, or let two change places by \
                 one `outrigger member update`"
            )
        }
        _ => return None,
    })
}

/// What to do if a change names who is no member: whoever was to get a vote or an address can be added, who was to lose one cannot.
fn instead_of_stranger(node: NodeId, asked: &ChangeMembers) -> String {
    match asked {
        ChangeMembers::AddVoterIds(_) => {
            format!(
                "add it first by `outrigger member add-learner {node}=PEER_ADDR`, or in one step by `outrigger member add \
                 {node}=PEER_ADDR`"
            )
        }
        ChangeMembers::SetNodes(nodes) => {
            let address = nodes.get(&node).map_or("PEER_ADDR", |node| &node.address);
            format!("add it by `outrigger member add {node}={address}`, or see by `outrigger member list` who is one")
        }
        ChangeMembers::Batch(steps) if steps.iter().any(|step| matches!(step, ChangeMembers::ReplaceAllVoters(_))) => {
            format!("if it is a new one, say where its peers reach it: --voters {node}=PEER_ADDR")
        }
        _ => "see by `outrigger member list` who is one".to_owned(),
    }
}

/// Where a change says that nodes are reached.
fn addresses(change: &ChangeMembers) -> NodeMap<Node> {
    match change {
        ChangeMembers::AddVoters(nodes)
        | ChangeMembers::AddNodes(nodes)
        | ChangeMembers::SetNodes(nodes)
        | ChangeMembers::ReplaceAllNodes(nodes) => nodes.clone(),
        ChangeMembers::Batch(changes) => changes.iter().flat_map(addresses).collect(),
        ChangeMembers::AddVoterIds(_)
        | ChangeMembers::RemoveVoters(_)
        | ChangeMembers::ReplaceAllVoters(_)
        | ChangeMembers::RemoveNodes(_) => NodeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use outrigger::engine::{LogIndex, NodeSet};

    use super::super::{distinct, removal, replacement};
    use super::*;

    #[test]
    fn what_will_not_pass_by_itself_has_a_code_of_its_own() {
        let asked = ChangeMembers::AddVoterIds([4, 9].map(NodeId).into());
        let code = |refusal| failure(&ClientError::MembersNotChanged { refusal }, &asked).code;
        assert_eq!(code(Refusal::UnknownNode { node: NodeId(9) }), 1);
        assert_eq!(code(Refusal::NoVoters), 1);
        assert_eq!(code(Refusal::ChangeInProgress { at: LogIndex(3) }), 3);
        assert_eq!(code(Refusal::Lagging { node: NodeId(4), matched: LogIndex(3), last: LogIndex(9) }), 3);
        assert_eq!(code(Refusal::NoMajority { silent: NodeId(4) }), 3);
        let unknown = failure(&ClientError::Unknown { reason: "it died".to_owned() }, &asked);
        assert!(unknown.code == 4 && unknown.message.contains("member list"), "{unknown:?}");
    }

    /// Found by a user: the number and the advice of the engine's own words were left out.
    #[test]
    fn a_refusal_says_what_is_wrong_and_which_command_mends_it() {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<NodeSet>();
        let at = |id: u64| distinct(vec![(id, "10.0.0.9:7101".to_owned())]).unwrap();
        let stranger = Refusal::UnknownNode { node: NodeId(9) };
        let new_voters = replacement(vec![(1, None), (9, None)]).unwrap();
        let differs = Refusal::AddressDiffers { node: NodeId(9) };
        for (refusal, asked, parts) in [
            (
                stranger,
                ChangeMembers::AddVoterIds(set(&[9])),
                ["node 9 is no member", "member add-learner 9=PEER_ADDR`"],
            ),
            (stranger, ChangeMembers::SetNodes(at(9)), ["node 9 is no member", "member add 9=10.0.0.9:7101`"]),
            (stranger, ChangeMembers::RemoveVoters(set(&[9])), ["node 9 is no member", "`outrigger member list`"]),
            (stranger, removal(set(&[9])).change, ["node 9 is no member", "`outrigger member list`"]),
            (stranger, new_voters, ["node 9 is no member", "--voters 9=PEER_ADDR"]),
            (Refusal::NoVoters, removal(set(&[1])).change, ["no voter would be left", "leave at least one"]),
            (differs, ChangeMembers::AddVoters(at(9)), ["than 10.0.0.9:7101", "member update 9=10.0.0.9:7101`"]),
            (Refusal::StillVoter { node: NodeId(9) }, ChangeMembers::RemoveNodes(set(&[9])), ["node 9 votes", "first"]),
        ] {
            let said = failure(&ClientError::MembersNotChanged { refusal }, &asked).message;
            assert!(said.starts_with("the members are not changed: "), "{said}");
            parts.iter().for_each(|part| assert!(said.contains(part), "no `{part}` in {said}"));
        }
    }
}
