//! What a diagram shows, and that nothing in it covers anything else.

use super::*;
use crate::History;

const MS: u64 = 1_000_000;

fn node(id: u64) -> NodeId {
    NodeId(id)
}

fn sent(from: u64, to: u64, text: &str, arrives: &[u64]) -> Mark {
    let text = text.to_owned();
    let (arrives, from, to) = (arrives.to_vec(), node(from), node(to));
    Mark::Message(Sent {
        from,
        to,
        label: text.clone(),
        text,
        arrives,
        is_cut: false,
        heartbeat: None,
        is_reply: false,
    })
}

fn beat(from: u64, to: u64, at: u64, is_reply: bool) -> Mark {
    let Mark::Message(sent) = sent(from, to, "beat", &[at]) else { unreachable!("it is a message") };
    Mark::Message(Sent { heartbeat: Some(Term(3)), is_reply, ..sent })
}

/// Two nodes, the second of which is alive, or not.
fn pair(second_lives: bool) -> Diagram {
    let diagram = Diagram::default();
    diagram.set_nodes(2);
    for (id, lives) in [(1, true), (2, true), (2, second_lives)] {
        diagram.mark(0, Mark::Process { node: node(id), lives, text: "starts or dies".to_owned() });
    }
    diagram
}

#[test]
fn what_happens_is_drawn_and_what_is_lost_is_seen() {
    let diagram = pair(true);
    diagram.mark(MS, Mark::Role { node: node(1), role: RoleKind::Leader, term: Term(3) });
    diagram.mark(2 * MS, sent(1, 2, "append_entries <1>", &[3 * MS]));
    diagram.mark(3 * MS, sent(1, 2, "append_entries <1>", &[]));
    diagram.mark(4 * MS, Mark::Process { node: node(2), lives: false, text: "loses power".to_owned() });
    let svg = diagram.svg("seed 7", Some("OneVote is violated: node 2 votes twice"));
    let words = ["leader, term 3", "append_entries &lt;1&gt;", "\u{b7} lost", "loses power", "seed 7", "OneVote"];
    for expected in words.into_iter().chain(["class='leader'", "class='fatal'", "class='alarm'"]) {
        assert!(svg.contains(expected), "{expected} is missing in {svg}");
    }
    let legend = 1;
    assert_eq!(svg.matches("class='sent'").count(), 1 + legend);
}

#[test]
fn a_message_to_a_dead_node_ends_in_a_cross_and_not_in_an_arrow() {
    let count = |lives, class: &str| {
        let diagram = pair(lives);
        diagram.mark(MS, sent(1, 2, "pre_vote", &[2 * MS]));
        diagram.end(3 * MS);
        let svg = diagram.svg("", None);
        (svg.matches(&format!("class='{class}'")).count(), svg.contains("nobody there"))
    };
    let ((arrows, _), (arrows_if_dead, is_told)) = (count(true, "sent"), count(false, "sent"));
    assert_eq!((arrows, arrows_if_dead, is_told), (2, 1, true), "one of them is the legend's");
    // The node dies twice in one of them, and a cross has two lines.
    assert_eq!(count(false, "cross").0, count(true, "cross").0 + 4);
}

#[test]
fn what_was_still_on_its_way_or_waited_for_a_sleeper_does_not_look_delivered() {
    let diagram = pair(true);
    diagram.mark(MS, Mark::Pause { node: node(2), until: 9 * MS, text: "is paused".to_owned() });
    diagram.mark(2 * MS, sent(1, 2, "asleep", &[3 * MS]));
    diagram.mark(4 * MS, sent(2, 1, "late", &[8 * MS]));
    diagram.end(5 * MS);
    let svg = diagram.svg("", None);
    let legend = 1;
    assert_eq!((svg.matches("class='sent'").count(), svg.matches("class='way'").count()), (legend, 2 + legend));
    diagram.mark(10 * MS, Mark::World { text: "later".to_owned() });
    assert_eq!(diagram.svg("", None).matches("class='sent'").count(), 2 + legend);
}

#[test]
fn rounds_of_heartbeats_share_a_row_until_something_else_happens() {
    let diagram = pair(true);
    let round = |at| {
        diagram.mark(at, beat(1, 2, at + MS, false));
        diagram.mark(at + MS, beat(2, 1, at + 2 * MS, true));
    };
    (1..=5).for_each(|number| round(number * 10 * MS));
    diagram.mark(60 * MS, sent(1, 2, "append_entries", &[61 * MS]));
    round(70 * MS);
    diagram.end(100 * MS);
    let svg = diagram.svg("", None);
    assert!(svg.contains("5 rounds of heartbeats, 41 ms, term 3<"), "{svg}");
    assert_eq!(svg.matches(">beat<").count(), 2, "a single round is drawn as it is");
}

#[test]
fn a_role_that_a_node_had_for_no_time_takes_no_row() {
    let diagram = pair(true);
    let role = |at, id, role| diagram.mark(at, Mark::Role { node: node(id), role, term: Term(0) });
    role(MS, 1, RoleKind::Learner);
    role(MS, 1, RoleKind::Follower);
    role(MS, 2, RoleKind::Learner);
    role(2 * MS, 2, RoleKind::Follower);
    let svg = diagram.svg("", None);
    assert_eq!(svg.matches(">learner, term 0</text>").count(), 1, "node 2 is one for a while: {svg}");
    assert_eq!(svg.matches(">follower, term 0</text>").count(), 2, "{svg}");
}

#[test]
fn a_cut_link_ends_a_message_with_a_bar_and_an_emptied_network_loses_what_was_on_its_way() {
    let count = |class: &str, svg: &str| svg.matches(&format!("class='{class}'")).count();
    let drawn = |is_cut, is_emptied| {
        let diagram = pair(true);
        let Mark::Message(sent) = sent(1, 2, "vote", if is_cut { &[] } else { &[5 * MS] }) else { unreachable!() };
        diagram.mark(MS, Mark::Message(Sent { is_cut, ..sent }));
        if is_emptied {
            diagram.mark(2 * MS, Mark::Emptied);
        }
        diagram.end(9 * MS);
        diagram.svg("", None)
    };
    let [delivered, cut, emptied] = [drawn(false, false), drawn(true, false), drawn(false, true)];
    assert_eq!([&delivered, &cut, &emptied].map(|svg| count("sent", svg)), [2, 1, 1], "one is in the legend");
    assert_eq!([&delivered, &cut].map(|svg| count("wall", svg)), [1, 2], "one is in the legend");
    assert!(emptied.contains("all that is still on its way gets lost") && emptied.contains("\u{b7} lost"), "{emptied}");
}

#[test]
fn only_the_end_of_a_long_history_is_drawn() {
    let diagram = pair(true);
    diagram.mark(0, Mark::Role { node: node(1), role: RoleKind::Leader, term: Term(1) });
    let last = (MARKS_MAX + ROWS_MAX) as u64;
    (1..=last).for_each(|now| diagram.mark(now, Mark::World { text: format!("event {now}") }));
    let svg = diagram.svg("", None);
    assert!(svg.contains("earlier events are left out"));
    assert_eq!(svg.matches("leader, term 1</text>").count(), 2, "its role is remembered, at the top and at the bottom");
    assert!(!svg.contains("event 1<") && svg.contains(&format!("event {last}<")));
}

#[test]
fn no_text_covers_another_or_leaves_the_picture() {
    for seed in 1..13 {
        let diagram = Diagram::default();
        // It ends in the middle of trouble, or in peace.
        let history = if seed % 2 == 0 { History::new(seed).falling_over(2_000 * MS) } else { History::new(seed) };
        let violated = history.drawn(&diagram).live().err().map(|failure| failure.violation.to_string());
        let drawing = diagram.drawing(&format!("seed {seed} {}", "and more ".repeat(20)), violated.as_deref());
        for (number, one) in drawing.spaces.iter().enumerate() {
            assert!(one.left >= 0.0 && one.right <= drawing.width, "seed {seed}: {one:?} of {}", drawing.width);
            for other in &drawing.spaces[number + 1..] {
                let apart = one.right <= other.left
                    || other.right <= one.left
                    || one.bottom <= other.top
                    || other.bottom <= one.top;
                assert!(apart, "seed {seed}: {one:?} and {other:?}");
            }
        }
    }
}
