//! A history as a sequence diagram: nodes from left to right, time from top to bottom, one row for each thing that happens.
//!
//! ```text
//!   1 (leader, term 3)      2                    3
//!   ┃─── append_entries ───►│                    │
//!   ┃─── heartbeat ──────────────── ✕ lost       │
//!   ┃                       ╳ loses power        │
//! ```
//!
//! It holds the end of a history: what led to a violation is near it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::rc::Rc;

use outrigger::engine::{NodeId, RoleKind, Term};

/// So many marks are kept: about what a person can follow.
const MARKS_MAX: usize = 240;
/// Pixels from one row to the next.
const ROW: usize = 22;
/// Pixels from one node to the next.
const COLUMN: usize = 250;
/// Pixels left of the first node, for times.
const LEFT: usize = 150;
/// Pixels above the first row, for names and the legend.
const TOP: usize = 90;

/// One thing that is drawn.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    /// A message leaves; it arrives at these times, which are none if it is lost.
    Message { from: NodeId, to: NodeId, text: String, arrives: Vec<u64> },
    /// A node does something else from now on, or in another term.
    Role { node: NodeId, role: RoleKind, term: Term },
    /// Something happens to a process.
    Process { node: NodeId, lives: bool, text: String },
    /// Something happens to all.
    World { text: String },
}

/// The marks of a history, shared by the world that makes them and by whoever draws them.
#[derive(Clone, Debug, Default)]
pub struct Diagram(Rc<RefCell<Marks>>);

#[derive(Debug, Default)]
struct Marks {
    nodes: u64,
    /// With the virtual time of each, in nanoseconds; the last ones.
    marks: VecDeque<(u64, Mark)>,
    /// What each node did before the first mark that is kept.
    before: BTreeMap<NodeId, RoleKind>,
}

impl Diagram {
    pub(crate) fn set_nodes(&self, nodes: u64) {
        self.0.borrow_mut().nodes = nodes;
    }

    pub(crate) fn mark(&self, now: u64, mark: Mark) {
        let mut marks = self.0.borrow_mut();
        marks.marks.push_back((now, mark));
        if marks.marks.len() > MARKS_MAX
            && let Some((_, Mark::Role { node, role, .. })) = marks.marks.pop_front()
        {
            marks.before.insert(node, role);
        }
    }

    /// Draws it as SVG, under a title and with the words of what was violated at its end.
    #[must_use]
    pub fn svg(&self, title: &str, violated: Option<&str>) -> String {
        let marks = self.0.borrow();
        let mut drawing = Drawing::new(&marks);
        for (row, (now, mark)) in marks.marks.iter().enumerate() {
            drawing.draw(row, *now, mark);
        }
        drawing.finish(title, violated)
    }
}

/// A diagram while it is drawn.
struct Drawing<'a> {
    marks: &'a Marks,
    svg: String,
    /// What each node does, and since which row.
    roles: BTreeMap<NodeId, (RoleKind, usize)>,
    rows: usize,
}

impl<'a> Drawing<'a> {
    fn new(marks: &'a Marks) -> Self {
        let role = |node| (node, (marks.before.get(&node).copied().unwrap_or(RoleKind::Follower), 0));
        let roles = (1..=marks.nodes).map(NodeId).map(role).collect();
        Self { marks, svg: String::new(), roles, rows: marks.marks.len() }
    }

    fn draw(&mut self, row: usize, now: u64, mark: &Mark) {
        let y = y(row);
        self.text(8, y + 4, "time", &format!("{}.{:03} ms", now / 1_000_000, now / 1_000 % 1_000));
        match mark {
            Mark::Message { from, to, text, arrives } => self.message(row, *from, *to, text, arrives),
            Mark::Role { node, role, term } => {
                self.life(*node, row, *role);
                self.text(x(*node) + 8, y + 4, "role", &format!("{}, term {term}", role.name()));
            }
            Mark::Process { node, lives, text } => {
                self.life(*node, row, if *lives { RoleKind::Follower } else { RoleKind::Halted });
                self.text(x(*node) + 8, y + 4, "fault", text);
            }
            Mark::World { text } => {
                let right = x(NodeId(self.marks.nodes)) + COLUMN / 2;
                self.push(format_args!("<line class='world' x1='{LEFT}' y1='{y}' x2='{right}' y2='{y}'/>"));
                self.text(LEFT + 8, y - 3, "fault", text);
            }
        }
    }

    fn message(&mut self, row: usize, from: NodeId, to: NodeId, text: &str, arrives: &[u64]) {
        let (x1, x2, y1) = (x(from), x(to), y(row));
        let middle = (x1 + x2) / 2;
        if arrives.is_empty() {
            self.push(format_args!("<line class='lost' x1='{x1}' y1='{y1}' x2='{middle}' y2='{}'/>", y1 + ROW / 2));
            self.text(middle, y1 + ROW / 2 + 4, "fault", "\u{2715} lost");
        }
        for at in arrives {
            let until = self.marks.marks.partition_point(|(then, _)| then < at).max(row);
            let (y2, class) = (y(until.min(self.rows)), if until < self.rows { "sent" } else { "way" });
            self.push(format_args!("<line class='{class}' x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}'/>"));
        }
        let (left, anchor) = if x1 < x2 { (x1 + 8, "start") } else { (x1 - 8, "end") };
        let text = escaped(text);
        self.push(format_args!("<text class='said' x='{left}' y='{}' text-anchor='{anchor}'>{text}</text>", y1 - 3));
    }

    /// A node does something else: what it did until now is drawn.
    fn life(&mut self, node: NodeId, row: usize, role: RoleKind) {
        let Some((before, since)) = self.roles.insert(node, (role, row)) else { return };
        let (x, y1, y2) = (x(node), y(since), y(row));
        self.push(format_args!("<line class='{}' x1='{x}' y1='{y1}' x2='{x}' y2='{y2}'/>", before.name()));
    }

    fn text(&mut self, x: usize, y: usize, class: &str, text: &str) {
        let text = escaped(text);
        self.push(format_args!("<text class='{class}' x='{x}' y='{y}'>{text}</text>"));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string never fails.
        let _: std::fmt::Result = writeln!(self.svg, "{element}");
    }

    fn finish(mut self, title: &str, violated: Option<&str>) -> String {
        let last = self.rows;
        for node in (1..=self.marks.nodes).map(NodeId) {
            self.life(node, last, RoleKind::Follower);
            self.text(x(node) - 24, TOP - 14, "name", &format!("node {node}"));
        }
        self.text(8, 24, "name", title);
        self.text(
            8,
            46,
            "time",
            "green: leads   orange: campaigns   grey: follows   dashed red: dead   arrows: messages, without a head: still on their way",
        );
        if let Some(violated) = violated {
            self.text(8, y(last) + ROW, "violated", violated);
        }
        let (width, height) = (x(NodeId(self.marks.nodes)) + COLUMN, y(last) + 3 * ROW);
        let Self { svg, .. } = self;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'>\n<style>{STYLE}</style>\n\
             <defs><marker id='head' markerWidth='8' markerHeight='8' refX='8' refY='4' orient='auto'>\
             <path d='M0,0 L8,4 L0,8 z' fill='#447'/></marker></defs>\n\
             <rect width='{width}' height='{height}' fill='white'/>\n{svg}</svg>\n"
        )
    }
}

const STYLE: &str = "text{font:11px monospace;fill:#333} .name{font-size:14px;font-weight:bold} .time{fill:#999} \
    .role{font-weight:bold;fill:#264} .fault{fill:#a00;font-weight:bold} .violated{fill:#a00;font-size:14px;font-weight:bold} \
    .said{fill:#447} line{stroke:#bbb;stroke-width:2} .sent{stroke:#447;stroke-width:1;marker-end:url(#head)} \
    .way{stroke:#447;stroke-width:1;stroke-dasharray:8 3} \
    .lost{stroke:#a00;stroke-width:1;stroke-dasharray:4 3} .world{stroke:#a00;stroke-width:1;stroke-dasharray:1 3} \
    .leader{stroke:#2a6;stroke-width:6} .candidate,.pre-candidate{stroke:#e82;stroke-width:5} \
    .halted{stroke:#a00;stroke-width:2;stroke-dasharray:3 5}";

fn x(node: NodeId) -> usize {
    LEFT + usize::try_from(node.0.saturating_sub(1)).unwrap_or_default() * COLUMN + COLUMN / 4
}

const fn y(row: usize) -> usize {
    TOP + row * ROW
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_drawn_and_what_is_lost_is_seen() {
        let diagram = Diagram::default();
        diagram.set_nodes(2);
        let (one, two) = (NodeId(1), NodeId(2));
        diagram.mark(1_000_000, Mark::Role { node: one, role: RoleKind::Leader, term: Term(3) });
        let text = || "append_entries <1>".to_owned();
        diagram.mark(2_000_000, Mark::Message { from: one, to: two, text: text(), arrives: vec![3_000_000] });
        diagram.mark(3_000_000, Mark::Message { from: one, to: two, text: text(), arrives: Vec::new() });
        diagram.mark(4_000_000, Mark::Process { node: two, lives: false, text: "loses power".to_owned() });
        let svg = diagram.svg("seed 7", Some("OneVote is violated"));
        for expected in
            ["leader, term 3", "append_entries &lt;1&gt;", "lost", "loses power", "seed 7", "OneVote", "class='leader'"]
        {
            assert!(svg.contains(expected), "{expected} is missing in {svg}");
        }
        assert_eq!(svg.matches("class='sent'").count(), 1);
    }

    #[test]
    fn only_the_end_of_a_long_history_is_kept() {
        let diagram = Diagram::default();
        diagram.set_nodes(1);
        diagram.mark(0, Mark::Role { node: NodeId(1), role: RoleKind::Leader, term: Term(1) });
        (1..=MARKS_MAX as u64).for_each(|now| diagram.mark(now, Mark::World { text: format!("event {now}") }));
        let svg = diagram.svg("", None);
        assert!(!svg.contains("leader, term 1") && svg.contains("class='leader'"), "its role is remembered");
        assert!(svg.contains("event 1<") && svg.contains(&format!("event {MARKS_MAX}<")));
    }
}
