//! How rows are drawn. Nothing is told by colour alone: each kind of line has a shape of its own, which the legend shows.
//!
//! Every text stands in a row that no other shares, or above all rows, or in the margin for times: so that none covers
//! another. Their boxes are kept, and a test compares them.

use std::fmt::Write;

use outrigger::engine::{NodeId, RoleKind};

use super::fold::{Fate, Row, rows};
use super::{Condition, Conditions, Mark, Marks, ROWS_MAX, Sent, apply};

/// Pixels from one row to the next.
const ROW: f64 = 26.0;
/// Pixels from one node to the next.
const COLUMN: f64 = 250.0;
/// Pixels left of the first node, for times.
const LEFT: f64 = 120.0;
/// Pixels right of the last node, for what is said of it.
const RIGHT: f64 = 260.0;
/// The least width, for the legend.
const WIDTH_MIN: f64 = 980.0;
/// The width of a letter, as a part of its size: some programs draw letters of 6.6 pixels 7 wide.
const LETTER: f64 = 0.64;
/// The size of most letters.
const SMALL: f64 = 11.0;

/// Where a text stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Space {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// A text to be drawn: where its line stands, its class, and the size of its letters.
struct Text<'a>(f64, f64, &'a str, f64);

/// A diagram while it is drawn. What is drawn later covers what is drawn earlier, so that labels come last.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    nodes: u64,
    lifelines: String,
    arrows: String,
    labels: String,
    /// Of every text.
    pub(super) spaces: Vec<Space>,
    /// What each node does, and since which height.
    conditions: Conditions,
    since: Vec<f64>,
    /// Times and heights of the rows: when each begins and ends.
    scale: Vec<(u64, u64, f64)>,
    pub(super) width: f64,
    height: f64,
}

impl Drawing {
    pub(super) fn of(marks: &Marks, title: &str, violated: Option<&str>) -> Self {
        let mut rows = rows(marks);
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        let mut conditions = marks.before.clone();
        for (_, row) in rows.drain(..left_out) {
            if let Row::Mark(mark) = row {
                apply(&mut conditions, mark);
            }
        }
        let nodes = marks.nodes;
        let width = (LEFT + place(nodes.saturating_sub(1)) * COLUMN + RIGHT).max(WIDTH_MIN);
        let mut drawing = Self { nodes, width, conditions, ..Self::default() };
        let mut y = drawing.head(title, violated);
        if left_out > 0 || marks.is_cut_short {
            drawing.text(&Text(8.0, y, "note", SMALL), "earlier events are left out");
            y += ROW;
        }
        drawing.names(y);
        y += 2.0 * ROW;
        drawing.since = vec![y - ROW; usize::try_from(nodes).unwrap_or_default()];
        for (place, (now, row)) in rows.iter().enumerate() {
            let until = if let Row::Heartbeats { until, .. } = row { *until } else { *now };
            drawing.scale.push((*now, until, y + self::place(place as u64) * ROW));
        }
        let end = y + place(rows.len() as u64) * ROW;
        drawing.scale.push((marks.end.max(drawing.scale.last().map_or(0, |row| row.1)), u64::MAX, end));
        let mut told = String::new();
        for (place, (now, row)) in rows.iter().enumerate() {
            let y = drawing.scale[place].2;
            let time = format!("{:.3} ms", milliseconds(*now));
            if time != told {
                drawing.text(&Text(8.0, y, "time", SMALL), &time);
                told = time;
            }
            drawing.row(marks, y, *now, row);
        }
        drawing.finish(end, marks.end, violated);
        drawing
    }

    // ---- rows ------------------------------------------------------------------------------------------------

    fn row(&mut self, marks: &Marks, y: f64, now: u64, row: &Row<'_>) {
        match row {
            Row::Heartbeats { until, term, rounds, messages, lost } => {
                let lasts = milliseconds(until - now);
                let lost = if *lost > 0 { format!("; {lost} of {messages} messages lost") } else { String::new() };
                let text = format!("{rounds} rounds of heartbeats, {lasts:.0} ms, term {term}{lost}");
                self.band(y, "beats", &text);
            }
            Row::Mark(Mark::Message(sent)) => self.message(marks, y, now, sent),
            Row::Mark(Mark::World { text }) => self.band(y, "world", text),
            Row::Mark(Mark::Emptied) => self.band(y, "world", "all that is still on its way gets lost"),
            Row::Mark(mark @ Mark::Role { node, role, term }) => {
                self.turn(*node, y, mark);
                self.tag(*node, y, "role", &format!("{}, term {term}", role.name()));
            }
            Row::Mark(mark @ Mark::Process { node, lives, text }) => {
                self.turn(*node, y, mark);
                let x = x(*node);
                if *lives {
                    line(&mut self.arrows, "born", (x - 9.0, y), (x + 9.0, y));
                } else {
                    cross(&mut self.arrows, x, y, 8.0);
                }
                self.tag(*node, y, if *lives { "role" } else { "fault" }, text);
            }
            Row::Mark(mark @ Mark::Pause { node, until, text }) => {
                self.turn(*node, y, mark);
                self.tag(*node, y, "fault", text);
                let wakes = self.height_at(*until);
                self.segment(*node, y, wakes);
                if let Some(since) = index(*node).and_then(|node| self.since.get_mut(node)) {
                    *since = wakes;
                }
                self.conditions.entry(*node).or_default().paused_until = 0;
            }
        }
    }

    fn message(&mut self, marks: &Marks, y: f64, now: u64, sent: &Sent) {
        let (x1, x2) = (x(sent.from), x(sent.to));
        let along = |part: f64| x1 + (x2 - x1) * part;
        let mut said = "";
        for fate in marks.fates(now, sent) {
            let arrows = &mut self.arrows;
            match fate {
                Fate::Lost => {
                    let end = (along(0.6), y + 8.0);
                    line(arrows, "lost", (x1, y), end);
                    cross(arrows, end.0, end.1, 5.0);
                    said = " \u{b7} lost";
                }
                Fate::Cut => {
                    let end = (along(0.5), y + 6.0);
                    line(arrows, "lost", (x1, y), end);
                    line(arrows, "wall", (end.0, end.1 - 8.0), (end.0, end.1 + 8.0));
                    said = " \u{b7} cut off";
                }
                Fate::OnItsWay => {
                    let end = (along(0.85), self.scale.last().map_or(y, |row| row.2));
                    line(&mut self.arrows, "way", (x1, y), end);
                    self.circle(end);
                }
                Fate::Arrives(at) => {
                    let end = (x2, self.height_at(at).max(y + 5.0));
                    line(&mut self.arrows, "sent", (x1, y), end);
                }
                Fate::Dead(at) => {
                    let end = (x2, self.height_at(at).max(y + 5.0));
                    line(&mut self.arrows, "lost", (x1, y), end);
                    cross(&mut self.arrows, end.0, end.1, 5.0);
                    said = " \u{b7} nobody there";
                }
            }
        }
        let room = letters(COLUMN - 26.0) - said.chars().count();
        let label = format!("{}{said}", shortened(&sent.label, room));
        let wide = wide(&label, SMALL);
        let left = if x1 < x2 { x1 + 12.0 } else { x1 - 12.0 - wide };
        self.boxed((left, y - 5.0), "said", &label, &format!("{} \u{2192} {}: {}", sent.from, sent.to, sent.text));
    }

    /// A node turns to something else: what it did until now is drawn.
    fn turn(&mut self, node: NodeId, y: f64, mark: &Mark) {
        let Some(place) = index(node) else { return };
        let since = self.since.get(place).copied().unwrap_or(y);
        if since < y {
            self.segment(node, since, y);
            self.since[place] = y;
        }
        apply(&mut self.conditions, mark);
    }

    fn segment(&mut self, node: NodeId, from: f64, to: f64) {
        let class = class(&self.conditions.get(&node).copied().unwrap_or_default());
        line(&mut self.lifelines, class, (x(node), from), (x(node), to));
    }

    /// At which height a time stands: that of the row that begins then, or between two.
    fn height_at(&self, time: u64) -> f64 {
        let next = self.scale.partition_point(|(begins, ..)| *begins < time);
        let Some(&(begins, _, y)) = self.scale.get(next) else { return self.scale.last().map_or(0.0, |row| row.2) };
        let Some(&(_, ended, above)) = next.checked_sub(1).and_then(|before| self.scale.get(before)) else { return y };
        if begins == time || begins <= ended {
            return y;
        }
        let part = milliseconds(time.saturating_sub(ended)) / milliseconds(begins - ended);
        above + (y - above) * part
    }

    // ---- words -----------------------------------------------------------------------------------------------

    fn text(&mut self, at: &Text<'_>, text: &str) {
        let Text(x, y, class, size) = *at;
        self.spaces.push(Space { left: x, top: y - size * 0.8, right: x + wide(text, size), bottom: y + size * 0.25 });
        let text = escaped(text);
        push(
            &mut self.labels,
            format_args!("<text class='{class}' font-size='{size}' x='{x:.1}' y='{y:.1}'>{text}</text>"),
        );
    }

    /// A text on a ground of its own, which covers lines; `told` is shown to whoever points at it.
    fn boxed(&mut self, (left, y): (f64, f64), class: &str, text: &str, told: &str) {
        let (width, told) = (wide(text, SMALL) + 8.0, escaped(told));
        let corner = (left - 4.0, y - 10.0);
        push(
            &mut self.labels,
            format_args!(
                "<g><title>{told}</title><rect class='{class}-ground' x='{:.1}' y='{:.1}' width='{width:.1}' height='14' rx='3'/>",
                corner.0, corner.1
            ),
        );
        self.text(&Text(left, y, class, SMALL), text);
        push(&mut self.labels, format_args!("</g>"));
    }

    /// What is said of a node, right of its lifeline.
    fn tag(&mut self, node: NodeId, y: f64, class: &str, text: &str) {
        let left = x(node) + 16.0;
        let shown = shortened(text, letters(self.width - left - 8.0));
        self.boxed((left, y + 4.0), class, &shown, text);
    }

    /// What happens to all, across all lifelines.
    fn band(&mut self, y: f64, class: &str, text: &str) {
        let (left, right) = (LEFT - 20.0, x(NodeId(self.nodes.max(1))) + 20.0);
        let right = right.max(left + wide(text, SMALL) + 40.0).min(self.width - 8.0);
        let width = right - left;
        push(
            &mut self.labels,
            format_args!(
                "<rect class='{class}-band' x='{left:.1}' y='{:.1}' width='{width:.1}' height='18' rx='4'/>",
                y - 9.0
            ),
        );
        let shown = shortened(text, letters(width - 20.0));
        let middle = left + (width - wide(&shown, SMALL)) / 2.0;
        self.text(&Text(middle, y + 4.0, class, SMALL), &shown);
    }

    fn circle(&mut self, (x, y): (f64, f64)) {
        push(&mut self.arrows, format_args!("<circle class='end' cx='{x:.1}' cy='{y:.1}' r='4'/>"));
    }

    /// What stands at the top: the title, what was violated, how to read it. Answers where the rest begins.
    fn head(&mut self, title: &str, violated: Option<&str>) -> f64 {
        let mut y = 28.0;
        for part in wrapped(title, letters((self.width - 24.0) * SMALL / 16.0)) {
            self.text(&Text(12.0, y, "name", 16.0), &part);
            y += 22.0;
        }
        if let Some(violated) = violated {
            y = self.alarm(y, violated);
        }
        let how = "Time runs downwards. Each column is a node, each arrow a message from where it leaves to where it arrives.";
        self.text(&Text(12.0, y + 8.0, "note", 12.0), how);
        self.legend(y + 32.0) + 12.0
    }

    /// What was violated, in a frame. Answers where the rest begins.
    fn alarm(&mut self, y: f64, violated: &str) -> f64 {
        let parts = wrapped(violated, letters((self.width - 60.0) * SMALL / 13.0));
        let height = place(parts.len() as u64) * 18.0 + 12.0;
        let width = self.width - 24.0;
        push(
            &mut self.labels,
            format_args!(
                "<rect class='alarm' x='12' y='{:.1}' width='{width:.1}' height='{height:.1}' rx='5'/>",
                y - 10.0
            ),
        );
        cross(&mut self.labels, 28.0, y + 5.0, 6.0);
        for (number, part) in parts.iter().enumerate() {
            self.text(&Text(44.0, y + 9.0 + place(number as u64) * 18.0, "violated", 13.0), part);
        }
        y + height + 8.0
    }

    fn legend(&mut self, top: f64) -> f64 {
        const SAMPLE: f64 = 44.0;
        let (mut x, mut y) = (16.0, top);
        for (class, words) in LEGEND {
            let wide = SAMPLE + wide(words, SMALL) + 24.0;
            if x + wide > self.width {
                (x, y) = (16.0, y + 22.0);
            }
            let end = (x + SAMPLE - 10.0, y - 4.0);
            let drawn = if matches!(class, "dead" | "cut") { "lost" } else { class };
            if !matches!(class, "crash" | "beats") {
                line(&mut self.arrows, drawn, (x, y - 4.0), end);
            }
            match class {
                "lost" => cross(&mut self.arrows, end.0, end.1, 5.0),
                "cut" => line(&mut self.arrows, "wall", (end.0, end.1 - 8.0), (end.0, end.1 + 8.0)),
                "dead" => {
                    line(&mut self.arrows, "down", (end.0, end.1 - 9.0), (end.0, end.1 + 9.0));
                    cross(&mut self.arrows, end.0, end.1, 5.0);
                }
                "way" => self.circle(end),
                "crash" => cross(&mut self.arrows, x + 16.0, end.1, 8.0),
                _ => {}
            }
            self.text(&Text(x + SAMPLE, y, "note", SMALL), words);
            x += wide;
        }
        y + 20.0
    }

    /// The names of the nodes, and what they do before the first row.
    fn names(&mut self, y: f64) {
        for node in (1..=self.nodes).map(NodeId) {
            let (name, x) = (format!("node {node}"), x(node));
            let wide = wide(&name, 14.0);
            push(
                &mut self.labels,
                format_args!(
                    "<rect class='head' x='{:.1}' y='{:.1}' width='{:.1}' height='22' rx='4'/>",
                    x - wide / 2.0 - 8.0,
                    y - 10.0,
                    wide + 16.0
                ),
            );
            self.text(&Text(x - wide / 2.0, y + 6.0, "name", 14.0), &name);
            let condition = self.conditions.get(&node).copied().unwrap_or_default();
            self.tag(node, y + ROW, "role", &described(&condition));
        }
    }

    fn finish(&mut self, end: f64, time: u64, violated: Option<&str>) {
        for node in (1..=self.nodes).map(NodeId) {
            let since = index(node).and_then(|node| self.since.get(node)).copied().unwrap_or(end);
            self.segment(node, since, end + ROW);
            let condition = self.conditions.get(&node).copied().unwrap_or_default();
            self.tag(node, end + ROW, "role", &format!("node {node}: {}", described(&condition)));
        }
        self.text(&Text(8.0, end, "time", SMALL), &format!("{:.3} ms", milliseconds(time)));
        let mut y = end + 2.5 * ROW;
        if let Some(violated) = violated {
            let right = self.width - 12.0;
            line(&mut self.labels, "fatal", (LEFT - 20.0, end + 2.0), (right, end + 2.0));
            if let Some(node) = named(violated, self.nodes) {
                let x = x(node);
                push(&mut self.arrows, format_args!("<circle class='fatal' cx='{x:.1}' cy='{end:.1}' r='11'/>"));
            }
            y = self.alarm(y, violated);
        }
        self.height = y + 12.0;
    }

    pub(super) fn svg(&self) -> String {
        let Self { lifelines, arrows, labels, width, height, .. } = self;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0}' height='{height:.0}' viewBox='0 0 {width:.0} {height:.0}'>\n\
             <style>{STYLE}</style>\n<defs><marker id='head' markerWidth='9' markerHeight='9' refX='9' refY='4.5' orient='auto' \
             markerUnits='userSpaceOnUse'><path d='M0,0 L9,4.5 L0,9 z' fill='#225'/></marker></defs>\n\
             <rect width='{width:.0}' height='{height:.0}' fill='white'/>\n{lifelines}{arrows}{labels}</svg>\n"
        )
    }
}

const LEGEND: [(&str, &str); 11] = [
    ("leader", "leads"),
    ("candidate", "asks for votes"),
    ("follower", "follows"),
    ("down", "does not run"),
    ("paused", "stands still"),
    ("crash", "its process dies"),
    ("sent", "message"),
    ("lost", "lost on its way"),
    ("cut", "its link is cut"),
    ("dead", "arrives where nobody runs"),
    ("way", "still on its way in the end"),
];

const STYLE: &str = "text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#333} \
    .name{font-weight:bold;fill:#111} .time{fill:#888} .note{fill:#555} .role{fill:#143} .fault{fill:#900;font-weight:bold} \
    .violated{fill:#900;font-weight:bold} .said{fill:#225} .world{fill:#640;font-weight:bold} .beats{fill:#555} \
    line{fill:none} .leader{stroke:#197a4b;stroke-width:9} .candidate{stroke:#d9730d;stroke-width:8;stroke-dasharray:4 3} \
    .follower{stroke:#999;stroke-width:2} .down{stroke:#c33;stroke-width:1.5;stroke-dasharray:1 7} \
    .paused{stroke:#57a;stroke-width:3;stroke-dasharray:8 6} .born{stroke:#333;stroke-width:3} \
    .sent{stroke:#225;stroke-width:1.2;marker-end:url(#head)} .way{stroke:#225;stroke-width:1;stroke-dasharray:10 4} \
    .lost{stroke:#a00;stroke-width:1.2;stroke-dasharray:5 3} .wall{stroke:#a00;stroke-width:3} .cross{stroke:#a00;stroke-width:2.5} \
    .end{fill:white;stroke:#225} .fatal{fill:none;stroke:#c00;stroke-width:3} .alarm{fill:#fff0f0;stroke:#c00;stroke-width:2} \
    .head{fill:#eef;stroke:#88a} .said-ground{fill:white;fill-opacity:.88} .role-ground{fill:#effaf3;stroke:#9cb} \
    .fault-ground{fill:#fff0f0;stroke:#d99} .world-band{fill:#fff6dd;stroke:#c93} \
    .beats-band{fill:#f5f5f8;stroke:#aab;stroke-dasharray:3 3}";

/// What the lifeline of a node looks like.
fn class(condition: &Condition) -> &'static str {
    match condition {
        Condition { lives: false, .. } => "down",
        Condition { paused_until: 1.., .. } => "paused",
        Condition { role: RoleKind::Leader, .. } => "leader",
        Condition { role: RoleKind::Candidate | RoleKind::PreCandidate, .. } => "candidate",
        Condition { role: RoleKind::Halted, .. } => "down",
        Condition { role: RoleKind::Follower | RoleKind::Learner, .. } => "follower",
    }
}

fn described(condition: &Condition) -> String {
    if condition.lives {
        format!("{}, term {}", condition.role.name(), condition.term)
    } else {
        "does not run".to_owned()
    }
}

/// The first node that is named.
fn named(violated: &str, nodes: u64) -> Option<NodeId> {
    let (_, behind) = violated.split_once("node ")?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|node| (1..=nodes).contains(node)).map(NodeId)
}

fn index(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(1)?).ok()
}

fn x(node: NodeId) -> f64 {
    LEFT + place(node.0.saturating_sub(1)) * COLUMN
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred rows and nine nodes")]
const fn place(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "histories last minutes")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn wide(text: &str, size: f64) -> f64 {
    place(text.chars().count() as u64) * size * LETTER
}

/// How many small letters fit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "widths are a few thousand pixels")]
fn letters(width: f64) -> usize {
    (width / (SMALL * LETTER)).max(4.0) as usize
}

fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// Lines of so many letters at most, broken at spaces where there are some.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let cut = rest.char_indices().nth(letters).map_or(rest.len(), |(at, _)| at);
            let (part, behind) = rest.split_at(cut);
            let line = lines.last_mut().filter(|line| line.chars().count() + 1 + part.chars().count() <= letters);
            match line {
                Some(line) if line.is_empty() => line.push_str(part),
                Some(line) => line.extend([" ", part]),
                None => lines.push(part.to_owned()),
            }
            rest = behind;
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn line(into: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    push(into, format_args!("<line class='{class}' x1='{x1:.1}' y1='{y1:.1}' x2='{x2:.1}' y2='{y2:.1}'/>"));
}

fn cross(into: &mut String, x: f64, y: f64, size: f64) {
    line(into, "cross", (x - size, y - size), (x + size, y + size));
    line(into, "cross", (x - size, y + size), (x + size, y - size));
}

fn push(into: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _: std::fmt::Result = writeln!(into, "{element}");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
