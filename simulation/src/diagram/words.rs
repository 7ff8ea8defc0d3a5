//! What marks are made of: a few words on each message, each thing that a disk does, each question and its answer.

use outrigger::engine::{
    AppendOutcome, Batch, Command, Consistency, Event, LogId, LogIndex, Message, NodeId, Payload, Vote,
};

use super::{Kept, Kind, Mark, Sent, Tick};
use crate::machine::Answer;
use crate::workload::Wish;

impl Mark {
    /// A message leaves; `command` tells what an entry holds.
    pub(crate) fn message(
        (from, to): (NodeId, NodeId),
        message: &Message,
        arrives: impl Iterator<Item = u64>,
        is_cut: bool,
        command: impl Fn(&Payload) -> String,
    ) -> Self {
        let (heartbeat, is_reply) = match message {
            Message::Heartbeat(it) => (Some(it.term), false),
            Message::HeartbeatReply(it) => (Some(it.term), true),
            _ => (None, false),
        };
        let (label, text) = (label(message, command), message.to_string());
        let shape = match message {
            Message::Propose { term, .. } => format!("propose, term {term}"),
            Message::ReadIndexReply { .. } | Message::ProposeReply { .. } => without_numbers(&label),
            _ => label.clone(),
        };
        Self::Message(Sent { from, to, label, shape, text, arrives: arrives.collect(), is_cut, heartbeat, is_reply })
    }

    /// A node's disk is told to keep something.
    pub(crate) fn write(node: NodeId, command: &Command) -> Option<Self> {
        let text = match command {
            Command::SaveVote { vote, .. } => format!("saves {}", voted(*vote)),
            Command::SavePeer { peer, .. } => format!("saves that it met {}", peer.node),
            Command::AppendInputEntries { batches, .. } => format!("writes {}", entries(batches)),
            Command::TruncateLog { after, .. } => format!("drops entries after {}", after.index),
            Command::SaveRefusal { by, .. } => format!("saves that {} refused it", by.node),
            _ => return None,
        };
        Some(Self::tick(node, Kind::Disk, text))
    }

    /// A node's disk has flushed these writes, or could not.
    pub(crate) fn flush(node: NodeId, writes: &Flushed, event: &Event) -> Self {
        let Event::StorageFailed { reason } = event else {
            let mark = Self::tick(node, Kind::Disk, format!("flushed: {}", writes.text));
            let Self::Tick(tick) = mark else { return mark };
            return Self::Tick(Tick { kept: writes.kept.clone(), ..tick });
        };
        Self::tick(node, Kind::Disk, format!("flush fails: {reason}"))
    }

    /// A client asks a node.
    pub(crate) fn asked(node: NodeId, number: u64, wish: &Wish, commands: &[String]) -> Self {
        let commands = if commands.is_empty() { String::new() } else { format!(": {}", commands.join(", ")) };
        let how = if let Wish::Read(..) = wish { "begins" } else { "asked" };
        Self::tick(node, Kind::Client, format!("{} {how}{commands}", wished(number, wish)))
    }

    /// A client is answered by a node.
    pub(crate) fn answered(node: NodeId, number: u64, wish: &Wish, answer: &Answer) -> Self {
        let answer = match answer {
            Answer::Written(first) => format!("done at {}", first.index),
            Answer::Refused => "refused".to_owned(),
            Answer::Unknown => "in doubt".to_owned(),
            Answer::Read(at, Some(value)) => format!("sees {value} at {at}"),
            Answer::Read(at, None) => format!("sees nothing at {at}"),
            Answer::Denied(denied) => denied.to_string(),
            Answer::Alive(session) => format!("session {session}"),
        };
        Self::tick(node, Kind::Client, format!("{} {answer}", wished(number, wish)))
    }

    /// A node goes on with a state that was restored from its own bytes.
    pub(crate) fn restored(node: NodeId, at: LogIndex) -> Self {
        Self::tick(node, Kind::Machine, format!("restored from snapshot at {at}"))
    }

    /// A node has heard no leader for too long, and wants to be one.
    pub(crate) fn timed_out(node: NodeId) -> Self {
        Self::tick(node, Kind::Engine, "election timeout".to_owned())
    }

    /// A node takes its log up to this entry for committed.
    pub(crate) fn commits(node: NodeId, last: LogId) -> Self {
        Self::tick(node, Kind::Engine, format!("commits up to {last}"))
    }

    pub(super) fn tick(node: NodeId, kind: Kind, text: String) -> Self {
        // Of votes and peers each counts.
        let is_told_each = ["saves", "vote", "met", "fails"].iter().any(|word| text.contains(word));
        let shape = match kind {
            Kind::Machine => None,
            // Each node of a cluster commits the same: they are one story.
            Kind::Engine => Some(without_numbers(&text)),
            Kind::Disk if is_told_each => None,
            // The disks of a quorum do the same by nature: only one that does it again and again is repeated.
            Kind::Disk => Some(format!("node {node} {}", without_numbers(&text))),
            Kind::Client => Some(without_numbers(text.split(':').next().unwrap_or_default())),
        };
        Self::Tick(Tick { node, kind, text, shape, kept: Kept::default() })
    }
}

/// What of a message there is room for beside an arrow.
fn label(message: &Message, command: impl Fn(&Payload) -> String) -> String {
    let vote = |name, granted| format!("{name} {}", if granted { "granted" } else { "refused" });
    match message {
        Message::PreVote(it) => format!("pre_vote, term {}", it.term),
        Message::PreVoteReply(it) => vote("pre_vote", it.granted),
        Message::RequestVote(it) => format!("request_vote, term {}", it.term),
        Message::RequestVoteReply(it) => format!("{}, term {}", vote("vote", it.granted), it.asked),
        Message::AppendEntries(it) => {
            let batches: Vec<_> = it.batches.iter().map(ToString::to_string).collect();
            let entries = if batches.is_empty() { "nothing".to_owned() } else { batches.join(" ") };
            format!("append_entries {entries}")
        }
        Message::AppendEntriesReply(it) => match it.outcome {
            AppendOutcome::Matched(index) => format!("has entries up to {index}"),
            AppendOutcome::Conflict { hint } => format!("conflict, hint {hint}"),
            AppendOutcome::Stale => format!("stale, own term {}", it.term),
        },
        Message::Heartbeat(it) => format!("heartbeat, term {}", it.term),
        Message::HeartbeatReply(it) => format!("heartbeat_reply, term {}", it.term),
        Message::Committed { commit, .. } => format!("committed {commit}"),
        Message::Propose { entries, .. } => {
            let commands: Vec<String> = entries.iter().map(command).collect();
            format!("propose {}", commands.join(", "))
        }
        other => other.to_string(),
    }
}

/// What is asked for. Writes are named by their values, as what is violated names them; reads by their tokens.
fn wished(number: u64, wish: &Wish) -> String {
    match wish {
        // What a read must see is what is asked of it: most of them everything.
        Wish::Read(_, Consistency::Linearizable) => format!("read {number}"),
        Wish::Read(_, consistency) => format!("read {number} ({consistency})"),
        Wish::Write(writes) => match &writes[..] {
            [first, .., last] => format!("write {}\u{2013}{}", first.value, last.value),
            [first] => format!("write {}", first.value),
            [] => "write nothing".to_owned(),
        },
        Wish::Once(once) => format!("write {} as {}", once.write.value, numbered(&once.payload)),
        Wish::Copy(payload) => format!("late copy of {}", numbered(payload)),
        Wish::Register(_) => "register a session".to_owned(),
        Wish::KeepAlive(session) => format!("keep session {session}"),
    }
}

/// The place of a write in its session.
fn numbered(Payload { session, sequence, .. }: &Payload) -> String {
    format!("{session}#{sequence}")
}

fn entries(batches: &[Batch]) -> String {
    let (first, last) = (batches.first().map(Batch::first), batches.last().map(Batch::last));
    match (first, last) {
        (Some(first), Some(last)) if first == last => format!("entry {last}"),
        (Some(first), Some(last)) => format!("entries {first}\u{2013}{last}"),
        _ => "nothing".to_owned(),
    }
}

/// What a flush makes durable.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    text: String,
    kept: Kept,
}

impl Flushed {
    pub(crate) fn of(writes: &[Command]) -> Self {
        let (mut parts, mut kept, mut up_to) = (Vec::new(), Kept::default(), None);
        for write in writes {
            match write {
                Command::SaveVote { vote, .. } => {
                    kept.vote = Some(*vote);
                    parts.push(voted(*vote));
                }
                Command::SavePeer { peer, .. } => {
                    kept.met.insert(peer.node);
                    parts.push(format!("met {}", peer.node));
                }
                Command::AppendInputEntries { batches, .. } => up_to = batches.last().map(Batch::last),
                Command::TruncateLog { after, .. } => up_to = Some(*after),
                _ => {}
            }
        }
        parts.extend(up_to.map(|last| format!("up to {last}")));
        Self { text: parts.join(", "), kept }
    }
}

impl Kept {
    /// In a few words a line.
    pub(super) fn lines(&self) -> Vec<String> {
        let met: Vec<NodeId> = self.met.iter().copied().collect();
        let met = (!met.is_empty()).then(|| format!("met {}", list(&met)));
        self.vote.map(voted).into_iter().chain(met).collect()
    }
}

fn voted(vote: Vote) -> String {
    match vote.voted_for {
        Some(candidate) => format!("vote for {candidate} in term {}", vote.term),
        None => format!("term {}, no vote", vote.term),
    }
}

/// Who hears whom: as sides, if the nodes have fallen into some, or node by node.
pub(crate) fn network(nodes: &[NodeId], cuts: impl Fn(NodeId, NodeId) -> bool) -> String {
    let apart = |one: NodeId, other: NodeId| one != other && cuts(one, other);
    let is_cut_anywhere = nodes.iter().any(|from| nodes.iter().any(|to| apart(*from, *to)));
    if !is_cut_anywhere {
        return "all links work".to_owned();
    }
    if let Some(sides) = sides(nodes, &apart) {
        return format!("the network comes apart: {}", told_sides(&sides));
    }
    for bridge in nodes {
        let others: Vec<NodeId> = nodes.iter().copied().filter(|node| node != bridge).collect();
        let is_whole = others.iter().all(|other| !apart(*bridge, *other) && !apart(*other, *bridge));
        if let Some(sides) = sides(&others, &apart).filter(|sides| is_whole && sides.len() > 1) {
            return format!("the network comes apart: {}, and node {bridge} bridges them", told_sides(&sides));
        }
    }
    one_way(nodes, &apart)
}

/// The sides of a network: within each all hear each other, and across them nobody hears anybody. None if it is not so.
fn sides(nodes: &[NodeId], apart: &impl Fn(NodeId, NodeId) -> bool) -> Option<Vec<Vec<NodeId>>> {
    let mut sides: Vec<Vec<NodeId>> = Vec::new();
    for node in nodes {
        match sides.iter_mut().find(|side| !apart(side[0], *node)) {
            Some(side) => side.push(*node),
            None => sides.push(vec![*node]),
        }
    }
    let side_of = |node: NodeId| sides.iter().position(|side| side.contains(&node));
    let fits = |from: NodeId, to: NodeId| apart(from, to) == (side_of(from) != side_of(to));
    nodes.iter().all(|from| nodes.iter().all(|to| fits(*from, *to))).then_some(sides)
}

fn told_sides(sides: &[Vec<NodeId>]) -> String {
    sides.iter().map(|side| format!("[{}]", list(side))).collect::<Vec<_>>().join(" | ")
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Links that are cut one way, by whoever has lost the most of them.
fn one_way(nodes: &[NodeId], apart: &impl Fn(NodeId, NodeId) -> bool) -> String {
    let mut cut: Vec<(NodeId, NodeId)> = nodes
        .iter()
        .flat_map(|from| nodes.iter().map(move |to| (*from, *to)))
        .filter(|(from, to)| apart(*from, *to))
        .collect();
    let mut told = Vec::new();
    while !cut.is_empty() {
        let speakers = nodes.iter().map(|node| (cut.iter().filter(|(from, _)| from == node).count(), *node, true));
        let hearers = nodes.iter().map(|node| (cut.iter().filter(|(_, to)| to == node).count(), *node, false));
        let all: Vec<(usize, NodeId, bool)> = speakers.chain(hearers).collect();
        let most = all.iter().map(|(count, ..)| *count).max().unwrap_or_default();
        let Some((_, node, speaks)) = all.into_iter().find(|(count, ..)| *count == most) else { break };
        let is_its = |(from, to): &(NodeId, NodeId)| if speaks { *from == node } else { *to == node };
        let others: Vec<NodeId> =
            cut.iter().filter(|link| is_its(link)).map(|(from, to)| if speaks { *to } else { *from }).collect();
        cut.retain(|link| !is_its(link));
        let is_all = others.len() + 1 == nodes.len();
        told.push(match (speaks, is_all) {
            (true, true) => format!("nobody hears node {node}"),
            (false, true) => format!("node {node} hears nobody"),
            (true, false) if others.len() == 1 => format!("node {} does not hear {node}", list(&others)),
            (true, false) => format!("nodes {} do not hear {node}", list(&others)),
            (false, false) => format!("node {node} does not hear {}", list(&others)),
        });
    }
    told.join("; ")
}

/// A text in which all numbers are alike, those of a range as well.
fn without_numbers(text: &str) -> String {
    let mut told = String::new();
    for letter in text.chars() {
        let is_in_number = letter.is_ascii_digit() || (matches!(letter, '\u{2013}' | '/') && told.ends_with('#'));
        match (is_in_number, told.ends_with('#')) {
            (true, true) => {}
            (true, false) => told.push('#'),
            (false, _) => told.push(letter),
        }
    }
    told
}
