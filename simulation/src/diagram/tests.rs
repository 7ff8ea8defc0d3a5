//! What a diagram shows, and that nothing in it covers anything else.

use std::time::Duration;

use outrigger::engine::{
    Body, Command, Consistency, Event, Incarnation, LogIndex, Message, Payload, Peer, Proof, Refusal, RequestId,
    WriteId,
};

use super::*;
use crate::History;
use crate::check::Check;
use crate::refinement::Falsify;
use crate::workload::Wish;
use crate::world::World;

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
        shape: text.clone(),
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
    assert!(svg.contains("within 0.041000 s: 5 rounds of heartbeats, term 3<"), "{svg}");
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
    assert!(svg.contains(&format!(">more than {} earlier rows are left out;", MARKS_MAX - ROWS_MAX)), "{svg}");
    assert_eq!(svg.matches("leader, term 1</text>").count(), 2, "its role is remembered, at the top and at the bottom");
    assert!(!svg.contains("event 1<") && svg.contains(&format!("event {last}<")));
}

#[test]
fn it_is_said_how_many_rows_are_left_out_as_far_as_that_is_known() {
    let left_out = |marks: usize, is_cut_short: bool| {
        let diagram = Diagram::default();
        diagram.set_nodes(2);
        (1..=marks as u64).for_each(|now| diagram.mark(now, Mark::World { text: format!("event {now}") }));
        diagram.0.borrow_mut().is_cut_short = is_cut_short;
        let svg = diagram.svg("", None);
        let end = svg.find("earlier rows are left out;")?;
        svg[..end].rsplit('>').next().map(|count| count.trim().to_owned())
    };
    assert_eq!(left_out(ROWS_MAX, false), None, "all are drawn");
    assert_eq!(left_out(ROWS_MAX + 1, false).as_deref(), Some("1"));
    assert_eq!(left_out(ROWS_MAX + 1, true).as_deref(), Some("more than 1"));
    assert_eq!(left_out(ROWS_MAX, true).as_deref(), Some(""), "all that is kept is drawn");
}

/// A mark and a client's or a disk's own words.
fn tick(id: u64, kind: Kind, text: &str) -> Mark {
    Mark::tick(node(id), kind, text.to_owned())
}

fn drawn(diagram: &Diagram) -> String {
    diagram.svg("", None)
}

fn count(svg: &str, text: &str) -> usize {
    svg.matches(text).count()
}

#[test]
fn every_node_where_it_goes_wrong_is_marked_whatever_the_message_names() {
    let violated = Some("Refinement is violated: ServeRead(s2, read 3) is not allowed");
    let (diagram, other) = (pair(true), pair(true));
    assert_eq!(count(&diagram.svg("", violated), "here it goes wrong"), 0, "nobody knows where");
    diagram.blame([node(2)]);
    let svg = diagram.svg("", violated);
    assert_eq!((count(&svg, "<circle class='fatal'"), count(&svg, "here it goes wrong</text>")), (1, 1), "{svg}");
    assert!(svg.contains(&format!("<circle class='fatal' cx='{:.1}'", 120.0 + 250.0)), "it is node 2: {svg}");
    assert_eq!(count(&drawn(&diagram), "here it goes wrong"), 0, "nothing went wrong");
    let svg = other.svg("", Some("ElectionSafety is violated: nodes 1 and 2 both lead in term 3"));
    assert_eq!(count(&svg, "<circle class='fatal'"), 2, "both are named: {svg}");
}

#[test]
fn the_world_says_where_it_went_wrong() {
    let diagram = Diagram::default();
    let history = History::new(9).drawn(&diagram);
    let mut world = World::new(&history);
    world.falsify = Some(Falsify::Step(|after| {
        let is_it = after.look.node == NodeId(2) && after.look.commit.0 > 2;
        after.look.commit = if is_it { after.look.commit.next() } else { after.look.commit };
        is_it
    }));
    let failure = history.live_in(world).expect_err("a falsehood is not believed");
    assert_eq!(failure.violation.check, Check::Refinement);
    assert_eq!(diagram.0.borrow().culprits, BTreeSet::from([node(2)]), "{}", failure.violation);
}

#[test]
fn a_history_shows_its_reads_and_writes_and_disks() {
    let diagram = Diagram::default();
    History::new(3).drawn(&diagram).live().expect("nothing goes wrong");
    let marks = diagram.0.borrow();
    let ticks =
        || marks.marks.iter().filter_map(|(_, mark)| if let Mark::Tick(tick) = mark { Some(tick) } else { None });
    let kinds = [(Kind::Client, "begins"), (Kind::Client, "sees"), (Kind::Client, "asked"), (Kind::Client, "done at")];
    let disks = [(Kind::Disk, "writes entr"), (Kind::Disk, "flushed: "), (Kind::Disk, "saves that it met")];
    let engines = [(Kind::Engine, "election timeout"), (Kind::Engine, "commits up to ")];
    for (kind, words) in kinds.into_iter().chain(disks).chain(engines) {
        assert!(ticks().any(|tick| tick.kind == kind && tick.text.contains(words)), "nobody tells what {words}");
    }
    // Whatever a client is told it has asked for before, at the same node.
    for answer in ticks().filter(|tick| tick.text.contains(" sees ")) {
        let asked = format!("{} begins", answer.text.split(" sees").next().expect("a word"));
        let is_cut_off = marks.is_cut_short && !ticks().any(|tick| tick.text == asked);
        assert!(is_cut_off || ticks().any(|tick| tick.node == answer.node && tick.text == asked), "{answer:?}");
    }
}

#[test]
fn a_read_that_need_not_see_all_says_so() {
    let wished = |consistency| match Mark::asked(node(1), 3, &Wish::Read(7, consistency), &[]) {
        Mark::Tick(tick) => tick.text,
        other => panic!("{other:?}"),
    };
    assert_eq!(wished(Consistency::Linearizable), "read 3 begins");
    assert_eq!(wished(Consistency::Lease), "read 3 (lease) begins");
    let age_max = Duration::from_millis(50);
    assert_eq!(wished(Consistency::Acknowledged { age_max }), "read 3 (acknowledged within 50ms) begins");
}

#[test]
fn what_clients_ask_and_what_disks_do_stands_at_their_nodes() {
    let diagram = pair(true);
    diagram.mark(MS, tick(1, Kind::Client, "read 3 begins"));
    diagram.mark(MS, tick(2, Kind::Disk, "saves vote for 2 in term 3"));
    diagram.mark(3 * MS, tick(2, Kind::Disk, "flushed: vote for 2 in term 3"));
    diagram.mark(9 * MS, tick(1, Kind::Client, "read 3 sees 5 at 7"));
    let svg = drawn(&diagram);
    let texts = ["read 3 begins", "saves vote for 2 in term 3", "flushed: vote for 2 in term 3", "read 3 sees 5 at 7"];
    texts.iter().for_each(|text| assert!(svg.contains(&format!(">{text}</text>")), "{text} is missing in {svg}"));
    let legend = 1;
    assert_eq!(
        ["client", "disk", "machine"].map(|who| count(&svg, &format!("class='mark-{who}'")) - legend),
        [2, 2, 0]
    );
    let height = |text: &str| {
        let before = &svg[..svg.find(&format!(">{text}</text>")).expect("it is drawn")];
        before[before.rfind(" y='").expect("it stands somewhere")..].to_owned()
    };
    assert_eq!(height(texts[0]), height(texts[1]), "what happens at once shares a row");
    assert_ne!(height(texts[1]), height(texts[2]));
}

#[test]
fn what_a_disk_holds_is_known_when_its_flush_is_no_longer_drawn() {
    let diagram = pair(true);
    let peer = Peer::new(node(1), Incarnation::default());
    let vote = Vote { term: Term(3), voted_for: Some(node(1)) };
    let writes = [Command::SavePeer { write: WriteId(1), peer }, Command::SaveVote { write: WriteId(2), vote }];
    writes.iter().filter_map(|write| Mark::write(node(2), write)).for_each(|mark| diagram.mark(MS, mark));
    let flushed = Event::LogFlushed { write: WriteId(2) };
    diagram.mark(2 * MS, Mark::flush(node(2), &Flushed::of(&writes), &flushed));
    let svg = drawn(&diagram);
    for text in ["saves that it met 1", "saves vote for 1 in term 3", "flushed: met 1, vote for 1 in term 3"] {
        assert!(svg.contains(text), "{text} is missing in {svg}");
    }
    for (at, is_kept) in [(ROWS_MAX, "some rows are left out"), (MARKS_MAX, "some marks are dropped")] {
        (0..at as u64).for_each(|now| diagram.mark(3 * MS + now, Mark::World { text: "something".to_owned() }));
        let svg = drawn(&diagram);
        assert_eq!(
            ["flushed:", ">vote for 1 in term 3</text>", ">met 1</text>"].map(|text| count(&svg, text)),
            [0, 1, 1],
            "{is_kept}"
        );
    }
    let failed = Event::StorageFailed { reason: "no space".to_owned() };
    let mark = Mark::flush(node(2), &Flushed::of(&writes), &failed);
    assert!(matches!(&mark, Mark::Tick(tick) if tick.text == "flush fails: no space" && tick.kept == Kept::default()));
}

#[test]
fn what_all_are_told_at_once_is_no_repetition() {
    let diagram = Diagram::default();
    diagram.set_nodes(9);
    (2..=9).for_each(|other| diagram.mark(MS, sent(1, other, "pre_vote, term 3", &[2 * MS])));
    (0..20).for_each(|now| diagram.mark(3 * MS + now, Mark::World { text: "something".to_owned() }));
    assert_eq!(count(&drawn(&diagram), ">pre_vote, term 3 \u{b7} nobody there</text>"), 8);
}

#[test]
fn whatever_is_repeated_shares_a_row_and_what_leads_to_the_end_does_not() {
    let diagram = pair(true);
    let ask = |at: u64| {
        let refused = Message::ReadIndexReply { request: RequestId(at), outcome: Err(Refusal::NotLeader) };
        let asked = Message::ReadIndex { term: Term(2), request: RequestId(at), proof: Proof::Round };
        let message = |link, message: &Message, at| {
            Mark::message(link, message, std::iter::once(at * MS), false, |_| String::new())
        };
        diagram.mark(at * MS, tick(1, Kind::Client, &format!("read {at} begins")));
        diagram.mark(at * MS, message((node(1), node(2)), &asked, at + 1));
        diagram.mark((at + 1) * MS, message((node(2), node(1)), &refused, at + 2));
        diagram.mark((at + 2) * MS, tick(1, Kind::Client, &format!("read {at} refused")));
    };
    (1..=30).for_each(|time| ask(time * 10));
    diagram.end(400 * MS);
    let svg = drawn(&diagram);
    let refused = "read_index_reply refused: the node that was asked does not lead; try again (2\u{2192}1)";
    for folded in ["read begins", "read_index term 2 (1\u{2192}2)", refused, "read refused"] {
        assert!(svg.contains(&format!("27 times {folded}</text>")), "{folded} is missing in {svg}");
    }
    assert_eq!(
        (count(&svg, ">read 280 begins</text>"), count(&svg, ">read_index term 2<")),
        (1, 3),
        "the last ones are drawn"
    );
}

#[test]
fn a_reason_is_shown_whole_where_there_is_room() {
    let diagram = pair(true);
    let reason = "read_index_reply refused: leadership changed before the read was confirmed";
    diagram.mark(MS, sent(2, 1, reason, &[2 * MS]));
    diagram.mark(3 * MS, sent(1, 2, reason, &[4 * MS]));
    diagram.end(9 * MS);
    assert_eq!(count(&drawn(&diagram), &format!(">{reason}</text>")), 2);
}

#[test]
fn a_network_that_comes_apart_is_told_by_its_sides() {
    let nodes: Vec<NodeId> = (1..=5).map(node).collect();
    let told = |cut: &[(u64, u64)]| network(&nodes, |from, to| cut.contains(&(from.0, to.0)));
    let both = |one: &[u64], other: &[u64]| -> Vec<(u64, u64)> {
        one.iter().flat_map(|one| other.iter().flat_map(move |other| [(*one, *other), (*other, *one)])).collect()
    };
    assert_eq!(told(&[]), "all links work");
    assert_eq!(told(&both(&[1, 3], &[2, 4, 5])), "the network comes apart: [1 3] | [2 4 5]");
    assert_eq!(told(&both(&[4], &[1, 2, 3, 5])), "the network comes apart: [1 2 3 5] | [4]");
    let bridged = "the network comes apart: [1] | [2 4 5], and node 3 bridges them";
    assert_eq!(told(&both(&[1], &[2, 4, 5])), bridged);
    assert_eq!(told(&[(2, 1), (2, 3), (2, 4), (2, 5)]), "nobody hears node 2");
    assert_eq!(told(&[(1, 2), (3, 2), (4, 2), (5, 2)]), "node 2 hears nobody");
    assert_eq!(told(&[(1, 2), (3, 2), (4, 1)]), "node 2 does not hear 1 3; node 1 does not hear 4");
    assert_eq!(told(&[(1, 2), (1, 4)]), "nodes 2 4 do not hear 1");
}

#[test]
fn peace_says_that_it_begins_and_who_crashes_once_more() {
    let diagram = Diagram::default();
    History::new(9).drawn(&diagram).live().expect("nothing goes wrong");
    let marks = diagram.0.borrow();
    let told: Vec<&str> = marks
        .marks
        .iter()
        .filter_map(|(_, mark)| if let Mark::World { text } = mark { Some(&text[..]) } else { None })
        .collect();
    let expected = ["peace begins: all faults end", " crashes once more, and clients only read"];
    expected.iter().for_each(|words| assert!(told.iter().any(|text| text.contains(words)), "{words}: {told:?}"));
}

#[test]
fn times_are_the_traces_and_a_crash_has_its_own() {
    let diagram = pair(true);
    diagram.mark(1_234_567_891, Mark::Process { node: node(2), lives: false, text: "loses power".to_owned() });
    let svg = drawn(&diagram);
    assert!(svg.contains("loses power \u{b7} 1.234567 s</text>") && svg.contains(">1.234567 s</text>"), "{svg}");
    assert!(!svg.contains(" ms<"), "{svg}");
}

#[test]
fn links_that_were_whole_are_not_told_to_work_again() {
    for seed in 1..8 {
        let diagram = Diagram::default();
        History::new(seed).drawn(&diagram).live().expect("nothing goes wrong");
        let marks = diagram.0.borrow();
        // What was cut before the first mark that is kept is not known.
        let mut is_whole = !marks.is_cut_short;
        for (_, mark) in &marks.marks {
            let Mark::World { text } = mark else { continue };
            assert!(!is_whole || text != "all links work", "seed {seed}");
            let is_cut = ["apart", "hear", "peace begins"].iter().any(|word| text.contains(word));
            is_whole = if text == "all links work" { true } else { is_whole && !is_cut };
        }
    }
}

#[test]
fn a_proposal_carries_its_commands_and_a_banner_keeps_its_lines() {
    let proposal = Message::Propose {
        term: Term(2),
        request: RequestId(1),
        entries: [Payload::command(b"pay".to_vec().into())].into(),
    };
    let diagram = pair(true);
    let words = |payload: &Payload| match &payload.body {
        Body::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    diagram.mark(MS, Mark::message((node(1), node(2)), &proposal, std::iter::once(2 * MS), false, words));
    diagram.mark(3 * MS, Mark::restored(node(2), LogIndex(7)));
    diagram.end(9 * MS);
    let svg = diagram.svg("", Some("Determinism is violated: node 1 holds\n  {a: 1}\nand another\n  {a: 2}"));
    assert!(svg.contains(">propose pay</text>") && svg.contains(">restored from snapshot at 7</text>"), "{svg}");
    for line in ["Determinism is violated: node 1 holds", "  {a: 1}", "and another", "  {a: 2}"] {
        assert_eq!(count(&svg, &format!(">{line}</text>")), 2, "at the top and at the bottom: {line} in {svg}");
    }
}

#[test]
fn no_ground_covers_an_arrow_and_an_arrow_begins_below_its_label() {
    let diagram = pair(true);
    diagram.mark(MS, Mark::Role { node: node(1), role: RoleKind::Leader, term: Term(3) });
    diagram.mark(2 * MS, sent(1, 2, "one", &[30 * MS]));
    diagram.mark(3 * MS, Mark::World { text: "something".to_owned() });
    diagram.end(40 * MS);
    let svg = drawn(&diagram);
    let last_ground = svg.rfind("-ground'").max(svg.rfind("-band'")).expect("there are grounds");
    let arrow = svg.find("<path class='sent'").expect("there is an arrow");
    assert!(last_ground < arrow, "{svg}");
    let way: Vec<&str> = svg[arrow..].split('\'').nth(3).expect("its way").split([' ', ',']).collect();
    assert_eq!((way[0], way[1], way[3]), ("M120.0", way[3], way[1]), "it is level at first: {way:?}");
}

#[test]
fn a_history_is_drawn_the_same_again() {
    let drawn = || {
        let diagram = Diagram::default();
        let _ = History::new(5).falling_over(2_000 * MS).drawn(&diagram).live();
        diagram.svg("seed 5", Some("Health is violated: it falls over"))
    };
    assert_eq!(drawn(), drawn());
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
