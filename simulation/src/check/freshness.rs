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
pub(crate) struct Heard(VecDeque<(u64, Term, LogIndex)>);

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
        if self.0.len() == WORDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, word.term, word.commit));
    }

    /// Whether a leader has said since `time` that it had committed no more than `commit`. It knows that only once it has committed
    /// an entry of its own term, and `term_at` tells where those are.
    pub(crate) fn had_all(&self, time: u64, commit: LogIndex, term_at: impl Fn(LogIndex) -> Option<Term>) -> bool {
        let lately = self.0.iter().rev().take_while(|(at, ..)| *at >= time);
        lately.into_iter().any(|(_, term, told)| *told <= commit && term_at(*told) == Some(*term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_for_so_long_and_for_what_it_said() {
        let mut heard = Heard::default();
        let term_at = |index: LogIndex| (index.0 > 4).then_some(Term(2));
        heard.0.extend([(100, Term(2), LogIndex(4)), (200, Term(2), LogIndex(7)), (300, Term(2), LogIndex(9))]);
        assert!(heard.had_all(200, LogIndex(7), term_at));
        assert!(!heard.had_all(201, LogIndex(7), term_at), "that was said before");
        assert!(heard.had_all(201, LogIndex(9), term_at));
        assert!(!heard.had_all(100, LogIndex(5), term_at), "an entry of another term says nothing");
        assert!(!heard.had_all(301, LogIndex(9), term_at));
    }
}
