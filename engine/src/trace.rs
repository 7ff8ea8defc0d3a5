//! Events and commands as a person reads them in a trace: what happened, to whom, with the numbers.
//!
//! ```text
//!   received from 2: append_entries term 3 prev 2/5 entries 3/6..8 commit 5
//!     append_input_entries w4: 3/6..8
//!     apply ..2/5
//! ```

use std::fmt::{Display, Formatter, Result};

use crate::change_members::ChangeMembers;
use crate::command::{Command, StateMachineRequest};
use crate::consistency::{Consistency, Proof};
use crate::entry::Batch;
use crate::event::Event;
use crate::membership::Node;
use crate::message::{AppendOutcome, Message, VoteReply, VoteRequest, Wanted, Warrant};
use crate::node_map::NodeMap;
use crate::node_set::NodeSet;
use crate::types::{LogId, NodeId, Peer};

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn nodes(nodes: &NodeMap<Node>) -> String {
    nodes.iter().map(|(id, node)| format!("{id}={}", node.address)).collect::<Vec<_>>().join(" ")
}

fn claims(Peer { bound, genesis, founding, .. }: &Peer) -> String {
    let bound = bound.unwrap_or(LogId::ZERO);
    format!("bound by {bound}, genesis {genesis}, founding {founding}")
}

fn entries(batches: &[Batch]) -> String {
    if batches.is_empty() { "none".into() } else { list(batches) }
}

fn counted(entries: usize) -> String {
    if entries == 1 { "1 entry".into() } else { format!("{entries} entries") }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let ask = |f: &mut Formatter<'_>, name, it: &VoteRequest| {
            let disrupts = match it.warrant {
                Warrant::None => "",
                Warrant::Operator => ", may disrupt",
                Warrant::Leader => ", may disrupt, at the leader's word",
            };
            write!(f, "{name} term {} last {}{disrupts}", it.term, it.last)
        };
        let vote = |f: &mut Formatter<'_>, name, it: &VoteReply| {
            let answer = if it.granted { "granted" } else { "refused" };
            write!(f, "{name} {answer} for term {}, own term {}", it.asked, it.term)
        };
        match self {
            Self::PreVote(it) => ask(f, "pre_vote", it),
            Self::PreVoteReply(it) => vote(f, "pre_vote_reply", it),
            Self::RequestVote(it) => ask(f, "request_vote", it),
            Self::RequestVoteReply(it) => vote(f, "request_vote_reply", it),
            Self::AppendEntries(it) => {
                let entries = entries(&it.batches);
                write!(f, "append_entries term {} prev {} entries {entries} commit {}", it.term, it.prev, it.commit)
            }
            Self::AppendEntriesReply(it) => match it.outcome {
                AppendOutcome::Matched(index) => write!(f, "append_entries_reply term {} matched {index}", it.term),
                AppendOutcome::Conflict { hint } => {
                    write!(f, "append_entries_reply term {} conflict, hint {hint}", it.term)
                }
                AppendOutcome::Stale => write!(f, "append_entries_reply stale, own term {}", it.term),
            },
            Self::Heartbeat(it) => {
                write!(f, "heartbeat term {} round {} commit {}", it.term, it.round, it.commit)?;
                if it.pledge.is_zero() { Ok(()) } else { write!(f, " pledge {:?}", it.pledge) }
            }
            Self::HeartbeatReply(it) => {
                write!(f, "heartbeat_reply term {} round {}", it.term, it.round)?;
                write!(f, " received {} matched {}", it.received, it.matched)
            }
            Self::Committed { term, commit } => write!(f, "committed term {term} commit {commit}"),
            Self::ReadIndex { term, proof: Proof::Round, .. } => write!(f, "read_index term {term}"),
            Self::ReadIndex { term, proof, .. } => write!(f, "read_index term {term} {proof}"),
            Self::ReadIndexReply { outcome: Ok(index), .. } => write!(f, "read_index_reply {index}"),
            Self::ReadIndexReply { outcome: Err(refusal), .. } => write!(f, "read_index_reply refused: {refusal}"),
            Self::Propose { term, entries, .. } => write!(f, "propose term {term}: {}", counted(entries.len())),
            Self::ProposeReply { outcome: Ok(first), .. } => write!(f, "propose_reply first {first}"),
            Self::ProposeReply { outcome: Err(refusal), .. } => write!(f, "propose_reply refused: {refusal}"),
            Self::InstallSnapshot(it) => {
                let end = it.offset + it.chunk.len() as u64;
                write!(f, "install_snapshot term {} of {} {}:", it.term, it.leader, it.snapshot.id)?;
                write!(f, " bytes {}..{end}", it.offset)
            }
            Self::InstallSnapshotReply(it) => {
                write!(f, "install_snapshot_reply term {} ", it.term)?;
                match it.held {
                    Some(held) => write!(f, "held {held} of {}", it.snapshot),
                    None => write!(f, "not now: {}", it.snapshot),
                }
            }
            Self::DelegateSnapshot(it) => match it.wanted {
                Wanted::Newest { covers } => {
                    write!(f, "delegate_snapshot term {} to {}: the newest, if it covers {covers}", it.term, it.target)
                }
                Wanted::Piece { id, offset } => {
                    write!(f, "delegate_snapshot term {} to {}: {id} from byte {offset}", it.term, it.target)
                }
            },
            Self::TimeoutNow { term } => write!(f, "timeout_now term {term}"),
            Self::HashState { term, at } => write!(f, "hash_state term {term} at {at}"),
            Self::StateHashed { at, hash } => write!(f, "state_hashed at {at}: {hash}"),
            Self::StateDiffers { term, at, agreed } => write!(f, "state_differs term {term} at {at}: {agreed}"),
        }
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Timeout => write!(f, "timeout"),
            Self::Initialize { membership, .. } => write!(f, "initialize {membership}"),
            Self::Propose { token, entries, only_in } => {
                write!(f, "propose #{token}: {}", counted(entries.len()))?;
                only_in.map_or(Ok(()), |term| write!(f, " in term {term} only"))
            }
            Self::ChangeMembers { token, request } => write!(f, "change_members #{token}: {}", request.change),
            Self::Read { token, consistency: Consistency::Linearizable } => write!(f, "read #{token}"),
            Self::Read { token, consistency } => write!(f, "read #{token}: {consistency}"),
            Self::TransferLeadership { token, to: Some(to) } => write!(f, "transfer_leadership #{token}: to {to}"),
            Self::TransferLeadership { token, to: None } => write!(f, "transfer_leadership #{token}"),
            Self::Elect { token, pre_vote: true } => write!(f, "elect #{token}"),
            Self::Elect { token, pre_vote: false } => write!(f, "elect #{token}: without pre-vote"),
            Self::StepDown { token } => write!(f, "step_down #{token}"),
            Self::ForgetLeader { token } => write!(f, "forget_leader #{token}"),
            Self::SetElections { token, on } => write!(f, "set_elections #{token}: {}", if *on { "on" } else { "off" }),
            Self::SetPriority { token, priority } => write!(f, "set_priority #{token}: {priority}"),
            Self::Received { from, message: Some(message) } => write!(f, "received from {}: {message}", from.node),
            Self::Received { from, message: None } => write!(f, "met {from}"),
            Self::Refused { by, reason, .. } => write!(f, "refused by {by}: {reason}"),
            Self::Misfit { node, reason } => write!(f, "misfit of {node}: {reason}"),
            Self::LogFlushed { write } => write!(f, "log_flushed w{write}"),
            Self::StorageFailed { reason } => write!(f, "storage_failed: {reason}"),
            Self::Sent { target, last, .. } => write!(f, "sent to {target} up to {last}"),
            Self::ReplicateGone { target, .. } => write!(f, "replicate_gone to {target}"),
            Self::TakeSnapshot { token } => write!(f, "take_snapshot #{token}"),
            Self::Purge { token, keep_entries } => write!(f, "purge #{token}: keeps {keep_entries}"),
            Self::SnapshotBuilt { snapshot } => write!(f, "snapshot_built {}", snapshot.id),
            Self::SnapshotFailed { reason } => write!(f, "snapshot_failed: {reason}"),
            Self::SnapshotReceived { id, held } => write!(f, "snapshot_received {id}: {held}"),
            Self::SnapshotSpoiled { id, reason } => write!(f, "snapshot_spoiled {id}: {reason}"),
            Self::SnapshotUnreadable { target, id, reason, .. } => {
                write!(f, "snapshot_unreadable {id}, for {target}: {reason}")
            }
            Self::SnapshotRotten { id, reason } => write!(f, "snapshot_rotten {id}: {reason}"),
            Self::SnapshotSent { target, .. } => write!(f, "snapshot piece sent to {target}"),
            Self::Applied { last } => write!(f, "applied {last}"),
            Self::StateHashed { at, hash: Some(hash) } => write!(f, "state_hashed at {at}: {hash}"),
            Self::StateHashed { at, hash: None } => write!(f, "state_hashed at {at}: failed"),
            Self::StateMachineFailed { at, reason } => write!(f, "state_machine_failed at {at}: {reason}"),
        }
    }
}

impl Display for ChangeMembers {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let ids = |set: &NodeSet| list(&set.iter().copied().collect::<Vec<_>>());
        match self {
            Self::AddVoterIds(set) => write!(f, "promote {}", ids(set)),
            Self::AddVoters(map) => write!(f, "add voters {}", nodes(map)),
            Self::RemoveVoters(set) => write!(f, "remove voters {}", ids(set)),
            Self::ReplaceAllVoters(set) => write!(f, "the voters are {}", ids(set)),
            Self::AddNodes(map) => write!(f, "add learners {}", nodes(map)),
            Self::SetNodes(map) => write!(f, "set addresses {}", nodes(map)),
            Self::RemoveNodes(set) => write!(f, "remove learners {}", ids(set)),
            Self::ReplaceAllNodes(map) => write!(f, "the members are {}", nodes(map)),
            Self::Batch(changes) => {
                for (place, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if place > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::SaveVote { write, vote } => {
                let whom = vote.voted_for.map_or("nobody".into(), |NodeId(id)| id.to_string());
                write!(f, "save_vote w{write}: term {} for {whom}", vote.term)
            }
            Self::SavePeer { write, peer } => write!(f, "save_peer w{write}: {peer}"),
            Self::AppendInputEntries { write, batches } => {
                write!(f, "append_input_entries w{write}: {}", entries(batches))
            }
            Self::TruncateLog { write, after } => write!(f, "truncate_log w{write}: after {after}"),
            Self::PurgeLog { write, through } => write!(f, "purge_log w{write}: through {through}"),
            Self::SaveRefusal { by, met } => write!(f, "save_refusal by {by}, which met start {}", met.start),
            Self::SaveCommitted { commit } => write!(f, "save_committed {commit}"),
            Self::Apply { first, last } => write!(f, "apply {first}..{last}"),
            Self::StateMachine(StateMachineRequest::Read { token }) => write!(f, "state_machine: read #{token}"),
            Self::StateMachine(StateMachineRequest::BuildSnapshot { last, .. }) => {
                write!(f, "state_machine: build snapshot of {last}")
            }
            Self::StateMachine(StateMachineRequest::HashState { at }) => write!(f, "state_machine: hash state at {at}"),
            Self::StateMachine(StateMachineRequest::InstallSnapshot { snapshot }) => {
                write!(f, "state_machine: install snapshot {}", snapshot.id)
            }
            Self::SendSnapshot { target, snapshot, offset, bytes_max, .. } => {
                write!(f, "send_snapshot to {target}: {} from byte {offset}, at most {bytes_max}", snapshot.id)
            }
            Self::ReceiveSnapshot { snapshot, offset, chunk } => {
                write!(f, "receive_snapshot {}: {} bytes from {offset}", snapshot.id, chunk.len())
            }
            Self::Replicate { target, prev, last, commit, .. } => {
                write!(f, "replicate to {target}: prev {prev} last {last} commit {commit}")
            }
            Self::ReplicateCommitted { target, commit, .. } => write!(f, "replicate_committed to {target}: {commit}"),
            Self::RebuildReplicationStreams { targets } => {
                let targets: Vec<_> = targets.iter().map(|(node, _)| *node).collect();
                write!(f, "rebuild_replication_streams to [{}]", list(&targets))
            }
            Self::SetPeers { peers } => write!(f, "set_peers {}", nodes(peers)),
            Self::Sign { signature } => write!(f, "sign {}", claims(signature)),
            Self::BroadcastHeartbeat { targets, heartbeat } => {
                write!(f, "broadcast_heartbeat to [{}]: {}", list(targets), Message::Heartbeat(*heartbeat))
            }
            Self::SendVote { targets, request, pre_vote } => {
                let message = if *pre_vote { Message::PreVote(*request) } else { Message::RequestVote(*request) };
                write!(f, "send_vote to [{}]: {message}", list(targets))
            }
            Self::SendMessage { target, message } => write!(f, "send_message to {target}: {message}"),
            Self::AnswerPeer { peer } => write!(f, "answer_peer {peer}"),
            Self::RefusePeer { peer, reason } => write!(f, "refuse_peer {peer}: {reason}"),
            Self::Accepted { token, first } => write!(f, "accepted #{token}: first {first}"),
            Self::SnapshotTaken { token, last } => write!(f, "snapshot_taken #{token}: {last}"),
            Self::Purged { token, through } => write!(f, "purged #{token}: through {through}"),
            Self::Changed { token, at } => write!(f, "changed #{token}: {at}"),
            Self::Transferred { token, result: Ok(done) } => {
                write!(f, "transferred #{token}: node {} leads in term {}", done.leader, done.term)
            }
            Self::Transferred { token, result: Err(why) } => write!(f, "not transferred #{token}: {why}"),
            Self::Elected { token, result: Ok(term) } => write!(f, "elected #{token}: term {term}"),
            Self::Elected { token, result: Err(why) } => write!(f, "not elected #{token}: {why}"),
            Self::Done { token } => write!(f, "done #{token}"),
            Self::Refused { token, refusal } => write!(f, "refused #{token}: {refusal}"),
            Self::Abandoned { from } => write!(f, "abandoned from {from}"),
            Self::StatesDiffer { at, agreed, hashes } => {
                write!(f, "states_differ at {at}:")?;
                hashes.iter().try_for_each(|(node, hash)| write!(f, " {node} has {hash}"))?;
                agreed.map_or(Ok(()), |agreed| write!(f, ", a quorum {agreed}"))
            }
            Self::Halt { fault } => write!(f, "halt: {fault}"),
        }
    }
}
