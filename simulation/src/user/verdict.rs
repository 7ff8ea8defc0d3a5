//! What is said when a user's state machine is not what it must be: where, which command, what differs, what to look for.

use bytes::Bytes;
use outrigger::engine::{LogIndex, NodeId};

use super::machine::{Fault, State};
use super::subject::{Due, Reference, Replica};
use crate::check::{Check, Violation};
use crate::trace::digest;

/// How much of a text is shown before the first difference, and behind it.
const SHOWN: (usize, usize) = (60, 200);
/// So often a state is made again to see whether it differs: of two keys in hash order, one in two attempts does.
const ATTEMPTS: u32 = 16;

/// A command and its place.
pub(super) fn place(state: &dyn State, index: LogIndex, command: &[u8]) -> String {
    format!("the command at index {index}, {}", cut(&state.command_text(command), 0))
}

/// What somebody's code could not do with a command.
pub(super) fn fault(at: &str, fault: Fault) -> Violation {
    match fault {
        Fault::Panicked(words) => Violation {
            check: Check::Apply,
            reason: format!(
                "apply panics on {at}: {words}\nIn production this stops every node, and stops it again at each start, \
                 until a version runs that can apply the command. Answer what a caller can get wrong with an error in \
                 the response."
            ),
        },
        Fault::Encoding(reason) => Violation { check: Check::Encoding, reason: format!("{reason} (at {at})") },
    }
}

/// What a snapshot could not do.
pub(super) fn snapshot_fault(node: NodeId, at: LogIndex, fault: Fault) -> Violation {
    let (Fault::Panicked(reason) | Fault::Encoding(reason)) = fault;
    let reason = format!("node {node} takes a snapshot after index {at} and cannot use it: {reason}");
    Violation { check: Check::Snapshot, reason }
}

/// A node answers a command otherwise than the reference does.
pub(super) fn response_differs(reference: &Reference, replica: &Replica, response: &Bytes) -> Violation {
    let Replica { node, state, last, .. } = replica;
    let due = &reference.due[last];
    let (answer, answers) = (state.response_text(response), state.response_text(&due.response));
    let (answer, answers) = beside(&answer, &answers);
    let at = place(&**state, *last, &due.command);
    let what = format!(
        "node {node} answers {at}, with\n  {answer}\nand a state machine that has applied the same commands in the same \
         order, with\n  {answers}"
    );
    blame(reference, replica, &what, is_reordered(&answer, &answers))
}

/// A node holds another state than the reference.
pub(super) fn state_differs(reference: &Reference, replica: &Replica) -> Violation {
    let Replica { node, state, last, .. } = replica;
    let at = place(&**state, *last, &reference.due[last].command);
    let found = state.text();
    let due = other_text(reference, *last, &found);
    if due == found {
        let shown = cut(&found, 0);
        let reason = format!(
            "after {at}, node {node} holds\n  {shown}\nApplied again just now, the same commands lead to the same; at the \
             time, a state machine that applied them in the same order came to other bytes. So something has changed \
             meanwhile: a clock, a random number, something read from outside.\n{DETERMINISM}"
        );
        return Violation { check: Check::Determinism, reason };
    }
    let (shown, shown_due) = beside(&found, &due);
    let what = format!(
        "after {at}, node {node} holds\n  {shown}\nand a state machine that has applied the same commands in the same \
         order\n  {shown_due}"
    );
    blame(reference, replica, &what, is_reordered(&found, &due))
}

/// A state that was restored is another than the one whose bytes it was restored from.
pub(super) fn restored_differs(reference: &Reference, replica: &Replica, restored: &dyn State) -> Violation {
    let Replica { node, state, last, .. } = replica;
    let (was, is) = (state.text(), restored.text());
    let (shown, shown_restored) = beside(&was, &is);
    let hint = if is_reordered(&was, &is) { HASH_ORDER } else { "Serialize and Deserialize must fit together." };
    let reason = format!(
        "node {node} takes a snapshot after index {last}; restored from its bytes and serialised again it is another. It was\n  \
         {shown}\nand becomes\n  {shown_restored}\n{hint}"
    );
    let check = if is_deterministic(reference, *last) { Check::Snapshot } else { Check::Determinism };
    Violation { check, reason }
}

/// A clone of the state has changed with the original.
pub(super) fn clone_differs(replica: &Replica, cloned_at: LogIndex, clone: &dyn State, command: &[u8]) -> Violation {
    let Replica { node, state, last, .. } = replica;
    let (at, now) = (place(&**state, *last, command), cut(&clone.text(), 0));
    let reason = format!(
        "node {node} clones the state after index {cloned_at}, as a snapshot does, and applies {at}. That changes the clone, \
         which is now\n  {now}\nDo both share something, such as an Arc<Mutex<..>>? A clone must stay as it was."
    );
    Violation { check: Check::Snapshot, reason }
}

const HASH_ORDER: &str = "Both hold the same, in another order. A HashMap or HashSet serialises in hash order, which no \
                          two nodes share: use BTreeMap or BTreeSet.";
const DETERMINISM: &str = "apply must be deterministic: no HashMap or HashSet whose order shows, no clock, no random \
                           number, nothing read from outside.";

/// Whether a machine differs from another by itself, or since it was restored.
fn blame(reference: &Reference, replica: &Replica, what: &str, is_reordered: bool) -> Violation {
    if let Some(at) = replica.restored_at.filter(|_| !is_reordered && is_deterministic(reference, replica.last)) {
        let node = replica.node;
        let hint = format!(
            "Node {node} had been restored from a snapshot of its state after index {at}, and no other way leads to this: \
             something that matters is not in the serialised state, such as a field with #[serde(skip)]."
        );
        return Violation { check: Check::Snapshot, reason: format!("{what}\n{hint}") };
    }
    let hint = if is_reordered { HASH_ORDER } else { DETERMINISM };
    Violation { check: Check::Determinism, reason: format!("{what}\n{hint}") }
}

/// Whether all commands up to an index, however often they are applied, lead to the same. What depends on hash order or on
/// chance may do so by accident, though not every time.
fn is_deterministic(reference: &Reference, last: LogIndex) -> bool {
    (0..ATTEMPTS).all(|_| again(reference, last).is_some_and(|(_, is_same)| is_same))
}

/// A state machine that applies all commands up to an index once more, and whether it answers as before.
fn again(reference: &Reference, last: LogIndex) -> Option<(Box<dyn State>, bool)> {
    let mut state = (reference.make)();
    let mut is_same = true;
    for Due { command, response, state: looked_at } in reference.due.range(..=last).map(|(_, due)| due) {
        is_same &= state.apply(command).ok()? == *response;
        is_same &= looked_at.is_none_or(|looked_at| state.bytes().is_ok_and(|bytes| digest(&bytes) == looked_at));
    }
    Some((state, is_same))
}

/// What the state after a command is to another machine that applies the same. The reference may be ahead of it, so it is
/// made again; with hash order, a clock or chance that is yet another state, and may look like the first one by accident.
fn other_text(reference: &Reference, last: LogIndex, found: &str) -> String {
    let texts = (0..ATTEMPTS).filter_map(|_| again(reference, last)).map(|(state, _)| state.text());
    let mut same = None;
    for text in texts {
        if text != found {
            return text;
        }
        same = Some(text);
    }
    same.unwrap_or_default()
}

/// Whether two texts are made of the same parts, in another order.
fn is_reordered(one: &str, other: &str) -> bool {
    let sorted = |text: &str| {
        let brackets = |c: char| "[](){}".contains(c);
        let mut parts: Vec<String> =
            text.split(brackets).flat_map(|part| part.split(", ")).map(str::to_owned).collect();
        parts.sort_unstable();
        parts
    };
    one != other && sorted(one) == sorted(other)
}

/// Two texts, each around the place from which on they differ.
fn beside(one: &str, other: &str) -> (String, String) {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(SHOWN.0);
    (cut(one, from), cut(other, from))
}

/// A text from a place on, as much of it as is shown.
fn cut(text: &str, from: usize) -> String {
    let before = if from > 0 { "..." } else { "" };
    let mut rest = text.chars().skip(from);
    let shown: String = rest.by_ref().take(SHOWN.0 + SHOWN.1).collect();
    let behind = if rest.next().is_some() { "..." } else { "" };
    format!("{before}{shown}{behind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_are_shown_around_their_first_difference() {
        let long = |end: &str| format!("{}{end}", "語".repeat(1000));
        let (one, other) = beside(&long("a, b"), &long("b, a"));
        assert_eq!(one, format!("...{}a, b", "語".repeat(60)));
        assert_eq!(other, format!("...{}b, a", "語".repeat(60)));
        assert_eq!(beside("same", "same"), ("same".into(), "same".into()));
        let (one, _) = beside(&"x".repeat(1000), "y");
        assert_eq!(one, format!("{}...", "x".repeat(260)));
    }

    #[test]
    fn another_order_is_told_from_another_content() {
        assert!(is_reordered("{a: 1, b: 2}", "{b: 2, a: 1}"));
        assert!(is_reordered("Store({(1, 2), (3, 4)})", "Store({(3, 4), (1, 2)})"));
        assert!(!is_reordered("75", "57") && !is_reordered("{a: 12}", "{a: 21}"));
        assert!(!is_reordered("{a: 1}", "{a: 2}") && !is_reordered("{a: 1}", "{a: 1}"));
    }
}
