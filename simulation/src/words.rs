//! The words of failures: what people read instead of a value's own notation.

use std::collections::BTreeMap;
use std::fmt::Display;

use outrigger::engine::{NodeId, Term, Token, Vote};

/// What is there, or what is said of nothing.
pub(crate) fn or<T: Display>(there: Option<T>, nothing: &str) -> String {
    there.map_or_else(|| nothing.to_owned(), |there| there.to_string())
}

/// A client's request, as the trace names it.
pub(crate) fn request(token: Option<Token>) -> String {
    or(token.map(|token| format!("request #{token}")), "no request")
}

/// What a node has promised.
pub(crate) fn vote(Vote { term, voted_for }: Vote) -> String {
    match voted_for {
        Some(candidate) => format!("a vote in term {term} for {candidate}"),
        None => format!("term {term} without a vote"),
    }
}

/// Who leads, and in which term.
pub(crate) fn reign(reign: Option<(Term, NodeId)>) -> String {
    or(reign.map(|(term, node)| format!("node {node} in term {term}")), "nobody")
}

/// The registers that differ from those that are due, or all that are due if there are none to compare.
pub(crate) fn registers(found: Option<&BTreeMap<u64, u64>>, due: &BTreeMap<u64, u64>) -> String {
    let Some(found) = found else { return "has no state".to_owned() };
    let keys = found.keys().chain(due.keys().filter(|key| !found.contains_key(key)));
    let differing = keys.filter(|key| found.get(key) != due.get(key)).map(|key| {
        let [held, due] = [found, due].map(|registers| or(registers.get(key), "nothing"));
        format!("holds {held} in register {key}, where {due} was written last")
    });
    differing.collect::<Vec<_>>().join("\nand ")
}

/// What the model says, with its servers named as the nodes that they stand for: `s4` is node 4.
pub(crate) fn of_model(said: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    let mut letters = said.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_server = letter == 's' && !before.is_alphanumeric() && letters.peek().is_some_and(char::is_ascii_digit);
        if is_server {
            words.push_str("node ");
        } else {
            words.push(letter);
        }
        before = letter;
    }
    words
}

/// Whether a text is free of Rust's own notation and of the model's names.
#[cfg(test)]
pub(crate) fn is_plain(text: &str) -> bool {
    let notation = ["Some(", "None", "NodeId(", "Term(", "LogIndex(", "WriteId(", "Token(", "ServerId(", "[]"];
    !notation.iter().any(|notation| text.contains(notation)) && of_model(text) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_model_are_nodes_and_other_words_stay() {
        assert_eq!(of_model("GrantVote(s1, s23) is said of terms1"), "GrantVote(node 1, node 23) is said of terms1");
        assert_eq!(of_model("s4"), "node 4");
        assert_eq!(of_model("its 3 s"), "its 3 s");
    }

    #[test]
    fn registers_are_told_where_they_differ() {
        let due = BTreeMap::from([(1, 10), (2, 20), (3, 30)]);
        assert_eq!(registers(None, &due), "has no state");
        let found = BTreeMap::from([(1, 10), (2, 21), (4, 40)]);
        assert_eq!(
            registers(Some(&found), &due),
            "holds 21 in register 2, where 20 was written last\nand holds 40 in register 4, where nothing was written \
             last\nand holds nothing in register 3, where 30 was written last"
        );
    }

    #[test]
    fn who_leads_and_what_is_promised_is_said_in_words() {
        let [leader, nobody] = [Some((Term(3), NodeId(2))), None].map(reign);
        let [voted, open] = [Some(NodeId(2)), None].map(|voted_for| vote(Vote { term: Term(3), voted_for }));
        let [asked, unasked] = [Some(Token(36)), None].map(request);
        for text in [&leader, &nobody, &voted, &open, &asked, &unasked] {
            assert!(is_plain(text), "{text}");
        }
        assert_eq!([leader, nobody], ["node 2 in term 3", "nobody"]);
        assert_eq!([voted, open], ["a vote in term 3 for 2", "term 3 without a vote"]);
        assert_eq!([asked, unasked], ["request #36", "no request"]);
    }
}
