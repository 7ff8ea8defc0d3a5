//! A system of the servers s1 to sn as bytes: what tells it apart, and how it waits in the queue.
//!
//! Every number is one byte, which the bounds see to; a server is its place, s1 being 1 and nobody 0; a set of servers is
//! the bits of their places less 1. The servers stand in the order of a [`Relabeling`], under the names that it gives
//! them, and messages in the order of their bytes, so that equal systems are equal bytes:
//!
//! ```text
//!   server    term · state · voted for · commit index · responded · granted · next index × n · match index × n
//!             · length of the log · (term · value) × length
//!   message   kind · term · source · destination · 5 bytes by kind · count
//!
//!   all       server × n · message until the end
//! ```
//! [`read`] turns the bytes into the system again, so nothing is missing from them.

use crate::log::{Entry, Log, LogIndex, Term};
use crate::message::{AppendEntriesRequest, Body, Message};
use crate::server::{Server, ServerState};
use crate::server_set::{ServerId, ServerSet};
use crate::system::System;

/// The most servers that can be encoded: a set of them is a byte.
pub(super) const SERVERS_MAX: usize = 8;

/// The largest number that can be encoded.
pub(super) const NUMBER_MAX: usize = u8::MAX as usize;

/// The length of a server without indexes and entries.
const SERVER: usize = 7;

/// The length of a message.
const MESSAGE: usize = 10;

const REQUEST_VOTE_REQUEST: u8 = 0;
const REQUEST_VOTE_RESPONSE: u8 = 1;
const APPEND_ENTRIES_REQUEST: u8 = 2;
const APPEND_ENTRIES_RESPONSE: u8 = 3;

/// A permutation of the servers s1 to sn: their new names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relabeling {
    /// The number of servers, n.
    len: usize,
    /// At the place of a server less 1, the new one's: each of 0 to n - 1 once, then zeros.
    new: [u8; SERVERS_MAX],
    /// The inverse of `new`.
    old: [u8; SERVERS_MAX],
}

impl Relabeling {
    /// Gives each of `len` servers its own name.
    pub(super) fn identity(len: usize) -> Self {
        let places: Vec<u8> = (0..).take(len).collect();
        Self::new(&places)
    }

    /// The place less 1 of each new name: a permutation of 0 to n - 1.
    pub(super) fn new(places: &[u8]) -> Self {
        assert!(places.len() <= SERVERS_MAX, "a set of servers is a byte");
        let (mut new, mut old) = ([0; SERVERS_MAX], [0; SERVERS_MAX]);
        for (own, place) in (0..).zip(places) {
            new[usize::from(own)] = *place;
            old[usize::from(*place)] = own;
        }
        Self { len: places.len(), new, old }
    }

    /// The servers in the order of their new names.
    pub(super) fn servers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.old[..self.len].iter().map(|old| ServerId(usize::from(*old) + 1))
    }

    /// The new place of `id`.
    fn place(&self, id: ServerId) -> u8 {
        self.new[id.0 - 1] + 1
    }

    /// The new places of `ids`, as bits.
    fn bits(&self, ids: &ServerSet) -> u8 {
        ids.iter().fold(0, |bits, id| bits | 1 << self.new[id.0 - 1])
    }
}

/// How many bytes `system` makes.
pub(super) fn length(system: &System<u8>) -> usize {
    let entries: usize = system.servers.iter().map(|(_, server)| server.log.len().0).sum();
    let servers = system.servers.len();
    servers * (SERVER + 2 * servers) + 2 * entries + MESSAGE * system.messages.iter().count()
}

/// Appends `system` under the names of `names` to `bytes`.
pub(super) fn write(system: &System<u8>, names: &Relabeling, bytes: &mut Vec<u8>) {
    for server in names.servers().filter_map(|id| system.servers.at(id)) {
        write_server(server, names, bytes);
    }
    let messages = bytes.len();
    for (message, count) in system.messages.iter() {
        bytes.extend(message_bytes(message, count, names));
    }
    bytes[messages..].as_chunks_mut::<MESSAGE>().0.sort_unstable();
}

fn write_server(server: &Server<u8>, names: &Relabeling, bytes: &mut Vec<u8>) {
    let state = match server.state {
        ServerState::Leader => 0,
        ServerState::Candidate => 1,
        ServerState::Follower => 2,
    };
    bytes.extend([
        byte(server.current_term.0),
        state,
        server.voted_for.map_or(0, |id| names.place(id)),
        byte(server.commit_index.0),
        names.bits(&server.votes_responded),
        names.bits(&server.votes_granted),
    ]);
    for map in [&server.next_index, &server.match_index] {
        bytes.extend(names.servers().map(|id| map.at(id).map_or(0, |index| byte(index.0))));
    }
    write_log(&server.log, bytes);
}

/// Appends `log` to `bytes`.
pub(super) fn write_log(log: &Log<u8>, bytes: &mut Vec<u8>) {
    bytes.push(byte(log.len().0));
    bytes.extend(log.iter().flat_map(|(_, entry)| [byte(entry.term.0), entry.value]));
}

/// Appends the place of `id` under the names of `names` to `bytes`.
pub(super) fn write_name(id: ServerId, names: &Relabeling, bytes: &mut Vec<u8>) {
    bytes.push(names.place(id));
}

fn message_bytes(message: &Message<u8>, count: usize, names: &Relabeling) -> [u8; MESSAGE] {
    let (kind, [a, b, c, d, e]) = match &message.body {
        Body::RequestVoteRequest { last_log_term, last_log_index } => {
            (REQUEST_VOTE_REQUEST, [byte(last_log_term.0), byte(last_log_index.0), 0, 0, 0])
        }
        Body::RequestVoteResponse { vote_granted } => (REQUEST_VOTE_RESPONSE, [u8::from(*vote_granted), 0, 0, 0, 0]),
        Body::AppendEntriesRequest(request) => {
            // No entry is of term 0, so that stands for none.
            let (term, value) = request.entry.as_ref().map_or((0, 0), |entry| (byte(entry.term.0), entry.value));
            let (index, prev_term) = (byte(request.prev_log_index.0), byte(request.prev_log_term.0));
            (APPEND_ENTRIES_REQUEST, [index, prev_term, term, value, byte(request.commit_index.0)])
        }
        Body::AppendEntriesResponse { success, match_index } => {
            (APPEND_ENTRIES_RESPONSE, [u8::from(*success), byte(match_index.0), 0, 0, 0])
        }
    };
    let (source, dest) = (names.place(message.source), names.place(message.dest));
    [kind, byte(message.term.0), source, dest, a, b, c, d, e, byte(count)]
}

/// A number as a byte.
pub(super) fn byte(number: usize) -> u8 {
    assert!(number <= NUMBER_MAX, "{number} is more than a byte holds: the bounds are to prevent that");
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Makes `system`, which has the servers s1 to sn, what was written to `bytes` under its own names.
pub(super) fn read(mut bytes: &[u8], system: &mut System<u8>) {
    for server in system.servers.values_mut() {
        bytes = read_server(bytes, server);
    }
    system.messages.clear();
    let (messages, rest) = bytes.as_chunks::<MESSAGE>();
    assert!(rest.is_empty(), "{} bytes of half a message", rest.len());
    for message in messages {
        for _ in 0..message[MESSAGE - 1] {
            system.messages.send(read_message(message));
        }
    }
}

/// Makes `server` what `bytes` begins with; what follows.
fn read_server<'b>(bytes: &'b [u8], server: &mut Server<u8>) -> &'b [u8] {
    let Some((&[term, state, voted_for, commit_index, responded, granted], mut bytes)) = bytes.split_first_chunk()
    else {
        unreachable!("a server is at least six bytes");
    };
    server.current_term = Term(usize::from(term));
    server.state = [ServerState::Leader, ServerState::Candidate, ServerState::Follower][usize::from(state)];
    server.voted_for = (voted_for > 0).then(|| ServerId(usize::from(voted_for)));
    server.commit_index = LogIndex(usize::from(commit_index));
    read_set(responded, &mut server.votes_responded);
    read_set(granted, &mut server.votes_granted);
    for map in [&mut server.next_index, &mut server.match_index] {
        let (indexes, rest) = bytes.split_at(map.len());
        for (own, index) in map.values_mut().zip(indexes) {
            *own = LogIndex(usize::from(*index));
        }
        bytes = rest;
    }
    let (length, rest) = bytes.split_at(1);
    let (entries, rest) = rest.split_at(2 * usize::from(length[0]));
    server.log.clear();
    for [term, value] in entries.as_chunks().0 {
        server.log.push(Entry { term: Term(usize::from(*term)), value: *value });
    }
    rest
}

fn read_set(bits: u8, ids: &mut ServerSet) {
    ids.clear();
    let members = (0..SERVERS_MAX).filter(|place| bits & 1 << place != 0);
    members.for_each(|place| ids.insert(ServerId(place + 1)));
}

fn read_message(&[kind, term, source, dest, a, b, c, d, e, _]: &[u8; MESSAGE]) -> Message<u8> {
    let (number, flag) = (usize::from, |byte| byte == 1);
    let body = match kind {
        REQUEST_VOTE_REQUEST => {
            Body::RequestVoteRequest { last_log_term: Term(number(a)), last_log_index: LogIndex(number(b)) }
        }
        REQUEST_VOTE_RESPONSE => Body::RequestVoteResponse { vote_granted: flag(a) },
        APPEND_ENTRIES_REQUEST => Body::AppendEntriesRequest(AppendEntriesRequest {
            prev_log_index: LogIndex(number(a)),
            prev_log_term: Term(number(b)),
            entry: (c > 0).then(|| Entry { term: Term(number(c)), value: d }),
            commit_index: LogIndex(number(e)),
        }),
        APPEND_ENTRIES_RESPONSE => Body::AppendEntriesResponse { success: flag(a), match_index: LogIndex(number(b)) },
        other => unreachable!("no message is of kind {other}"),
    };
    Message::new(Term(number(term)), ServerId(number(source)), ServerId(number(dest)), body)
}

#[cfg(test)]
mod tests {
    use super::super::sample::systems;
    use super::*;
    use std::collections::BTreeMap;

    fn bytes_of(system: &System<u8>, names: &Relabeling) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(system, names, &mut bytes);
        bytes
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut read_system = System::new(&ServerSet::first(3));
        for system in systems(3, 500) {
            let bytes = bytes_of(&system, &Relabeling::identity(3));
            assert_eq!(bytes.len(), length(&system));
            read(&bytes, &mut read_system);
            assert_eq!(read_system, system);
        }
    }

    #[test]
    fn different_systems_are_different_bytes() {
        let mut by_bytes = BTreeMap::new();
        for system in systems(2, 500) {
            let bytes = bytes_of(&system, &Relabeling::identity(2));
            let other = by_bytes.entry(bytes).or_insert_with(|| system.clone());
            assert_eq!(*other, system);
        }
        assert!(by_bytes.len() > 5_000, "{} are few", by_bytes.len());
    }

    #[test]
    fn renaming_there_and_back_changes_nothing() {
        let (there, back) = (Relabeling::new(&[1, 2, 0]), Relabeling::new(&[2, 0, 1]));
        let identity = Relabeling::identity(3);
        let mut renamed = System::new(&ServerSet::first(3));
        let mut changed = 0;
        for system in systems(3, 200) {
            let bytes = bytes_of(&system, &identity);
            read(&bytes_of(&system, &there), &mut renamed);
            changed += usize::from(renamed != system);
            assert_eq!(bytes_of(&renamed, &back), bytes);
        }
        assert!(changed > 2_000, "{changed} changed");
    }

    #[test]
    fn a_renamed_system_allows_the_renamed_steps() {
        let there = Relabeling::new(&[1, 2, 0]);
        let mut renamed = System::new(&ServerSet::first(3));
        for system in systems(3, 20) {
            read(&bytes_of(&system, &there), &mut renamed);
            let successors = |system: &System<u8>, names: &Relabeling| {
                let after = |action| {
                    let mut next = system.clone();
                    next.apply(&action).expect("what is enabled can be applied");
                    bytes_of(&next, names)
                };
                let mut all: Vec<Vec<u8>> = system.enabled(&[1, 2]).into_iter().map(after).collect();
                all.sort();
                all
            };
            assert_eq!(successors(&system, &there), successors(&renamed, &Relabeling::identity(3)));
        }
    }
}
