//! How new a state is that a node serves without asking anybody, by an account of its own.
//!
//! ```text
//!   leader's word arrives: "7 is committed" ──── at most the bound ────► a read is served: 7 and more is committed here
//! ```
//!
//! The world's time counts, so that a node whose clock runs too slowly is allowed what its drift explains, and no more.

use std::collections::VecDeque;

use outrigger::engine::{Event, LogIndex, Message, NodeId, Term};

use crate::look::Look;

/// So many words of leaders are remembered: for longer than any read allows.
const WORDS_MAX: usize = 4096;

/// What one node has heard of its leaders in one life.
#[derive(Debug, Default)]
pub(crate) struct Heard(VecDeque<Told>);

/// A word that came.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: u64,
    term: Term,
    commit: LogIndex,
    /// The most that the leader of that term had said by then, this word included: a late word is no news.
    highest: LogIndex,
}

/// What a leader says that it has committed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    from: NodeId,
    term: Term,
    commit: LogIndex,
}

impl Word {
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let Event::Received { from, message: Some(message) } = event else { return None };
        let (term, commit) = match message {
            Message::Heartbeat(it) => (it.term, it.commit),
            Message::AppendEntries(it) => (it.term, it.commit),
            Message::Committed { term, commit } => (*term, *commit),
            _ => return None,
        };
        Some(Self { from: from.node, term, commit })
    }
}

impl Heard {
    /// A word came, and this is how it left the node.
    pub(crate) fn note(&mut self, word: Word, look: &Look, now: u64) {
        if look.leader != Some(word.from) || look.term != word.term {
            return;
        }
        self.add(now, word.term, word.commit);
    }

    fn add(&mut self, at: u64, term: Term, commit: LogIndex) {
        if self.0.len() == WORDS_MAX {
            self.0.pop_front();
        }
        let before = self.0.back().filter(|before| before.term == term);
        let highest = before.map_or(commit, |before| before.highest.max(commit));
        self.0.push_back(Told { at, term, commit, highest });
    }

    /// Whether a leader has said since `time` that it had committed no more than `commit`, and nothing else before. It knows that only
    /// once it has committed an entry of its own term, and `term_at` tells where those are.
    pub(crate) fn had_all(&self, time: u64, commit: LogIndex, term_at: impl Fn(LogIndex) -> Option<Term>) -> bool {
        let lately = self.0.iter().rev().take_while(|told| told.at >= time);
        lately.into_iter().any(|told| told.highest <= commit && term_at(told.commit) == Some(told.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_for_so_long_and_for_what_it_said() {
        let mut heard = Heard::default();
        let term_at = |index: LogIndex| (index.0 > 4).then_some(Term(2));
        [(100, 4), (200, 7), (300, 9)].into_iter().for_each(|(at, commit)| heard.add(at, Term(2), LogIndex(commit)));
        assert!(heard.had_all(200, LogIndex(7), term_at));
        assert!(!heard.had_all(201, LogIndex(7), term_at), "that was said before");
        assert!(heard.had_all(201, LogIndex(9), term_at));
        assert!(!heard.had_all(100, LogIndex(5), term_at), "an entry of another term says nothing");
        assert!(!heard.had_all(301, LogIndex(9), term_at));
        heard.add(400, Term(2), LogIndex(7));
        assert!(!heard.had_all(301, LogIndex(8), term_at), "that word is late: more was heard before");
        assert!(heard.had_all(301, LogIndex(9), term_at));
        heard.add(500, Term(3), LogIndex(8));
        assert!(!heard.had_all(401, LogIndex(8), term_at), "it is the next leader's, and of an entry of the last one");
    }

    #[test]
    fn the_word_of_a_leader_is_not_late_because_of_what_the_last_one_said() {
        let mut heard = Heard::default();
        heard.add(100, Term(2), LogIndex(9));
        heard.add(200, Term(3), LogIndex(7));
        assert!(heard.had_all(200, LogIndex(7), |_| Some(Term(3))));
    }

    #[test]
    fn only_the_word_of_ones_leader_counts_in_whatever_message() {
        use outrigger::engine::{Incarnation, LogId, Peer, RoleKind, Vote};
        let look = Look {
            node: NodeId(1),
            role: RoleKind::Follower,
            term: Term(2),
            vote: Vote::default(),
            leader: Some(NodeId(2)),
            last: LogId::new(2, 9),
            flushed: LogIndex(9),
            commit: LogIndex(7),
            applied: LogIndex(7),
            membership_at: LogId::ZERO,
            heir: None,
            awaits_heir: false,
        };
        let had_all = |from, term| {
            let (from, commit) = (Peer::new(NodeId(from), Incarnation::default()), LogIndex(7));
            let message = Some(Message::Committed { term: Term(term), commit });
            let mut heard = Heard::default();
            heard.note(Word::of(&Event::Received { from, message }).expect("it says so"), &look, 100);
            heard.had_all(100, commit, |_| Some(Term(term)))
        };
        assert!(had_all(2, 2));
        assert!(!had_all(3, 2), "nobody's leader");
        assert!(!had_all(2, 1), "of an earlier term");
    }
}
