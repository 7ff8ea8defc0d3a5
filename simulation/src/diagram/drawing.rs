//! How rows are drawn. Nothing is told by colour alone: each kind of line has a shape of its own, which the legend shows.
//!
//! Every text stands in a row that no other shares, or in a column of a row, or above all rows, or in the margin for times:
//! so that none covers another. Their boxes are kept, and a test compares them. Grounds lie below all arrows, so that none
//! breaks one; a text that lines cross has a halo in the colour of its ground.

use std::fmt::Write;

use outrigger::engine::{NodeId, RoleKind};

use super::fold::{Fate, Row, rows};
use super::style::{LEGEND, SMALL, STYLE, letters, place, shortened, wide, wrapped};
use super::{Condition, Conditions, Kind, Mark, Marks, ROWS_MAX, Sent, TICK_LETTERS, Tick, apply, named, seconds};

/// Pixels from one row to the next.
const ROW: f64 = 26.0;
/// Pixels from one node to the next.
const COLUMN: f64 = 250.0;
/// Pixels left of the first node, for times.
const LEFT: f64 = 120.0;
/// Pixels right of the last node, for what is said of it.
const RIGHT: f64 = 260.0;
/// From one line of a band to the next.
const LINE: f64 = 15.0;
/// So long an arrow stays with its label before it goes its own way.
const STEM: f64 = 40.0;
/// The least width, for the legend.
const WIDTH_MIN: f64 = 980.0;
/// How to read it.
const HOW: &str = "Time runs downwards, in seconds; rows are as far apart however long it is from one to the next. Each column is \
                   a node, each arrow a message from where it leaves to where it arrives.\nTwo numbers as in 4/16 name an entry \
                   of the log: its term and its index. A disk that has met a node remembers which life of it was heard. What is \
                   in doubt may have been done, or may still be.";

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

/// A diagram while it is drawn. What is drawn later covers what is drawn earlier: grounds come before arrows, labels last.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    nodes: u64,
    grounds: String,
    lifelines: String,
    arrows: String,
    halos: String,
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
            match row {
                Row::Mark(mark) => apply(&mut conditions, mark),
                Row::Ticks { ticks, .. } => {
                    ticks.into_iter().for_each(|tick| apply(&mut conditions, &Mark::Tick(tick.clone())));
                }
                // What a disk keeps is never among it.
                Row::Repeated { .. } => {}
            }
        }
        let nodes = marks.nodes;
        let width = (LEFT + place(nodes.saturating_sub(1)) * COLUMN + RIGHT).max(WIDTH_MIN);
        let mut drawing = Self { nodes, width, conditions, ..Self::default() };
        let mut y = drawing.head(title, violated);
        if left_out > 0 || marks.is_cut_short {
            // How many rows those marks would be that were dropped before is not known.
            let count = match (left_out, marks.is_cut_short) {
                (0, _) => String::new(),
                (rows, false) => format!("{rows} "),
                (rows, true) => format!("more than {rows} "),
            };
            let note = format!("{count}earlier rows are left out; the trace of this history has them");
            drawing.text(&Text(8.0, y, "note", SMALL), &note);
            y += ROW;
        }
        let from = y + ROW;
        y = drawing.names(y);
        drawing.since = vec![from; usize::try_from(nodes).unwrap_or_default()];
        for (now, row) in &rows {
            let until = match row {
                Row::Repeated { until, .. } | Row::Ticks { until, .. } => *until,
                Row::Mark(_) => *now,
            };
            drawing.scale.push((*now, until, y));
            y += drawing.tall(row);
        }
        drawing.scale.push((marks.end.max(drawing.scale.last().map_or(0, |row| row.1)), u64::MAX, y));
        let mut told = String::new();
        for (place, (now, row)) in rows.iter().enumerate() {
            let y = drawing.scale[place].2;
            let time = seconds(*now);
            if time != told {
                drawing.text(&Text(8.0, y, "time", SMALL), &time);
                told = time;
            }
            drawing.row(marks, y, *now, row);
        }
        drawing.finish(y, marks, violated);
        drawing
    }

    // ---- rows ------------------------------------------------------------------------------------------------

    /// How high a row is.
    fn tall(&self, row: &Row<'_>) -> f64 {
        let lines = match row {
            Row::Repeated { text, .. } | Row::Mark(Mark::World { text }) => self.band_lines(text).len(),
            _ => 1,
        };
        ROW + place(lines.saturating_sub(1) as u64) * LINE
    }

    fn row(&mut self, marks: &Marks, y: f64, now: u64, row: &Row<'_>) {
        match row {
            Row::Repeated { text, .. } => self.band(y, "repeated", text),
            Row::Ticks { ticks, .. } => self.ticks(y, ticks),
            Row::Mark(Mark::Tick(tick)) => self.ticks(y, &[tick]),
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
                let (class, text) =
                    if *lives { ("role", text.clone()) } else { ("fault", format!("{text} \u{b7} {}", seconds(now))) };
                self.tag(*node, y, class, &text);
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
            match fate {
                Fate::Lost => {
                    let end = (along(0.6), y + 8.0);
                    arrow(&mut self.arrows, "lost", (x1, y), end);
                    cross(&mut self.arrows, end.0, end.1, 5.0);
                    said = " \u{b7} lost";
                }
                Fate::Cut => {
                    let end = (along(0.5), y + 6.0);
                    arrow(&mut self.arrows, "lost", (x1, y), end);
                    line(&mut self.arrows, "wall", (end.0, end.1 - 8.0), (end.0, end.1 + 8.0));
                    said = " \u{b7} cut off";
                }
                Fate::OnItsWay => {
                    let end = (along(0.85), self.scale.last().map_or(y, |row| row.2));
                    arrow(&mut self.arrows, "way", (x1, y), end);
                    self.circle(end);
                }
                Fate::Arrives(at) => {
                    let end = (x2, self.height_at(at).max(y + 5.0));
                    arrow(&mut self.arrows, "sent", (x1, y), end);
                }
                Fate::Dead(at) => {
                    let end = (x2, self.height_at(at).max(y + 5.0));
                    arrow(&mut self.arrows, "lost", (x1, y), end);
                    cross(&mut self.arrows, end.0, end.1, 5.0);
                    said = " \u{b7} nobody there";
                }
            }
        }
        let told = format!("{} \u{2192} {}: {}", sent.from, sent.to, sent.text);
        self.beside((x1, y - 5.0), 12.0, x1 < x2, "said", (&sent.label, said), &told);
    }

    /// What disks do, and what clients ask and are told.
    fn ticks(&mut self, y: f64, ticks: &[&Tick]) {
        for node in (1..=self.nodes).map(NodeId) {
            let own: Vec<&Tick> = ticks.iter().copied().filter(|tick| tick.node == node).collect();
            let Some(first) = own.first() else { continue };
            for (number, tick) in own.iter().enumerate() {
                symbol(&mut self.arrows, tick.kind, (x(node) + place(number as u64) * 9.0, y));
            }
            let text = own.iter().map(|tick| &tick.text[..]).collect::<Vec<_>>().join("; ");
            let is_long = text.chars().count() > TICK_LETTERS;
            let right = self.width - x(node);
            let goes_right = !is_long || wide(&text, SMALL) + 32.0 < right || right > self.width / 2.0;
            let apart = 8.0 + place(own.len() as u64) * 9.0;
            self.beside((x(node), y + 4.0), apart, goes_right, kind_class(first.kind), (&text, ""), &text);
        }
    }

    /// A text right or left of a lifeline, as far from it as is said: all the row is its own if it is long.
    fn beside(
        &mut self,
        (x, y): (f64, f64),
        apart: f64,
        goes_right: bool,
        class: &str,
        (text, end): (&str, &str),
        told: &str,
    ) {
        let asked = wide(text, SMALL) + wide(end, SMALL);
        let left = if goes_right { x + apart } else { (x - apart - asked).max(LEFT) };
        let room = letters(self.width - left - 12.0).saturating_sub(end.chars().count());
        let text = format!("{}{end}", shortened(text, room));
        push(&mut self.labels, format_args!("<g><title>{}</title>", escaped(told)));
        self.haloed(&Text(left, y, class, SMALL), "white", &text);
        push(&mut self.labels, format_args!("</g>"));
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
        let class = class(&self.conditions.get(&node).cloned().unwrap_or_default());
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

    /// A text that keeps a narrow margin free of lines.
    fn haloed(&mut self, at: &Text<'_>, ground: &str, text: &str) {
        let number = self.spaces.len();
        push(
            &mut self.halos,
            format_args!("<use class='halo' stroke='{ground}' href='#t{number}' xlink:href='#t{number}'/>"),
        );
        push(&mut self.labels, format_args!("<g id='t{number}'>"));
        self.text(at, text);
        push(&mut self.labels, format_args!("</g>"));
    }

    /// A text on a ground of its own; `told` is shown to whoever points at it.
    fn boxed(&mut self, (left, y): (f64, f64), class: &str, text: &str, told: &str) {
        let (width, told) = (wide(text, SMALL) + 8.0, escaped(told));
        push(
            &mut self.grounds,
            format_args!(
                "<rect class='{class}-ground' x='{:.1}' y='{:.1}' width='{width:.1}' height='14' rx='3'/>",
                left - 4.0,
                y - 10.0
            ),
        );
        push(&mut self.labels, format_args!("<g><title>{told}</title>"));
        let ground = if class == "fault" { "#fff0f0" } else { "#effaf3" };
        self.haloed(&Text(left, y, class, SMALL), ground, text);
        push(&mut self.labels, format_args!("</g>"));
    }

    /// What is said of a node, right of its lifeline.
    fn tag(&mut self, node: NodeId, y: f64, class: &str, text: &str) {
        let left = x(node) + 16.0;
        let shown = shortened(text, letters(self.width - left - 8.0));
        self.boxed((left, y + 4.0), class, &shown, text);
    }

    fn band_lines(&self, text: &str) -> Vec<String> {
        wrapped(text, letters(self.width - LEFT - 20.0))
    }

    /// What happens to all, across all lifelines.
    fn band(&mut self, y: f64, class: &str, text: &str) {
        let lines = self.band_lines(text);
        let longest = lines.iter().map(|line| wide(line, SMALL)).fold(0.0, f64::max);
        let (left, right) = (LEFT - 20.0, x(NodeId(self.nodes.max(1))) + 20.0);
        let width = right.max(left + longest + 20.0).min(self.width - 8.0) - left;
        let height = 18.0 + place(lines.len().saturating_sub(1) as u64) * LINE;
        push(
            &mut self.grounds,
            format_args!(
                "<rect class='{class}-band' x='{left:.1}' y='{:.1}' width='{width:.1}' height='{height:.1}' rx='4'/>",
                y - 9.0
            ),
        );
        let ground = if class == "world" { "#fff6dd" } else { "#f5f5f8" };
        for (number, line) in lines.iter().enumerate() {
            let middle = left + (width - wide(line, SMALL)) / 2.0;
            self.haloed(&Text(middle, y + 4.0 + place(number as u64) * LINE, class, SMALL), ground, line);
        }
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
        for part in wrapped(HOW, letters((self.width - 24.0) * SMALL / 12.0)) {
            self.text(&Text(12.0, y + 8.0, "note", 12.0), &part);
            y += 18.0;
        }
        self.legend(y + 14.0) + 12.0
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
            if !matches!(class, "crash" | "disk" | "client" | "machine" | "engine") {
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
                "disk" => symbol(&mut self.arrows, Kind::Disk, (x + 20.0, end.1)),
                "client" => symbol(&mut self.arrows, Kind::Client, (x + 20.0, end.1)),
                "machine" => symbol(&mut self.arrows, Kind::Machine, (x + 20.0, end.1)),
                "engine" => symbol(&mut self.arrows, Kind::Engine, (x + 20.0, end.1)),
                _ => {}
            }
            self.text(&Text(x + SAMPLE, y, "note", SMALL), words);
            x += wide;
        }
        y + 20.0
    }

    /// The names of the nodes, what they do before the first row, and what their disks hold then. Answers where the rows
    /// begin.
    fn names(&mut self, y: f64) -> f64 {
        let mut end = y + 2.0 * ROW;
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
            let condition = self.conditions.get(&node).cloned().unwrap_or_default();
            self.tag(node, y + ROW, "role", &described(&condition));
            let mut y = y + 2.0 * ROW;
            for kept in condition.kept.lines() {
                symbol(&mut self.arrows, Kind::Disk, (x, y));
                self.beside((x, y + 4.0), 17.0, true, "disk", (&kept, ""), &format!("on disk: {kept}"));
                y += LINE;
            }
            end = end.max(y + ROW - LINE);
        }
        end
    }

    fn finish(&mut self, end: f64, marks: &Marks, violated: Option<&str>) {
        let last = if violated.is_some() { end + 2.0 * ROW } else { end + ROW };
        for node in (1..=self.nodes).map(NodeId) {
            let since = index(node).and_then(|node| self.since.get(node)).copied().unwrap_or(end);
            self.segment(node, since, last);
            let condition = self.conditions.get(&node).cloned().unwrap_or_default();
            self.tag(node, last, "role", &format!("node {node}: {}", described(&condition)));
        }
        self.text(&Text(8.0, end, "time", SMALL), &seconds(marks.end));
        let mut y = last + 1.5 * ROW;
        if let Some(violated) = violated {
            let right = self.width - 12.0;
            line(&mut self.arrows, "fatal", (LEFT - 20.0, end + 2.0), (right, end + 2.0));
            for node in marks.guilty(violated) {
                let x = x(node);
                push(&mut self.arrows, format_args!("<circle class='fatal' cx='{x:.1}' cy='{end:.1}' r='11'/>"));
                self.tag(node, end + ROW, "fault", "here it goes wrong");
            }
            y = self.alarm(y, violated);
        }
        self.height = y + 12.0;
    }

    pub(super) fn svg(&self) -> String {
        let Self { grounds, lifelines, arrows, halos, labels, width, height, .. } = self;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' \
             width='{width:.0}' height='{height:.0}' viewBox='0 0 {width:.0} {height:.0}'>\n\
             <style>{STYLE}</style>\n<defs><marker id='head' markerWidth='9' markerHeight='9' refX='9' refY='4.5' orient='auto' \
             markerUnits='userSpaceOnUse'><path d='M0,0 L9,4.5 L0,9 z' fill='#225'/></marker></defs>\n\
             <rect width='{width:.0}' height='{height:.0}' fill='white'/>\n{lifelines}{grounds}{arrows}{halos}{labels}</svg>\n"
        )
    }
}

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

impl Marks {
    /// Where it went wrong: where the world says, or else on the nodes that are named.
    fn guilty(&self, violated: &str) -> Vec<NodeId> {
        if !self.culprits.is_empty() {
            return self.culprits.iter().copied().collect();
        }
        named(violated).filter(|node| (1..=self.nodes).contains(&node.0)).collect()
    }
}

fn index(node: NodeId) -> Option<usize> {
    usize::try_from(node.0.checked_sub(1)?).ok()
}

fn x(node: NodeId) -> f64 {
    LEFT + place(node.0.saturating_sub(1)) * COLUMN
}

#[expect(clippy::cast_precision_loss, reason = "histories last minutes")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// The way of a message. It begins level, below its label, so that the two are not mistaken where many cross.
fn arrow(into: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let stem = x1 + if x1 < x2 { STEM } else { -STEM };
    push(into, format_args!("<path class='{class}' d='M{x1:.1},{y1:.1} L{stem:.1},{y1:.1} L{x2:.1},{y2:.1}'/>"));
}

/// The mark of whoever does something small.
fn symbol(into: &mut String, kind: Kind, (x, y): (f64, f64)) {
    match kind {
        Kind::Disk => push(
            into,
            format_args!("<rect class='mark-disk' x='{:.1}' y='{:.1}' width='8' height='8'/>", x - 4.0, y - 4.0),
        ),
        Kind::Client => {
            push(into, format_args!("<path class='mark-client' d='M{x:.1},{:.1} l5,5 l-5,5 l-5,-5 z'/>", y - 5.0));
        }
        Kind::Machine => push(into, format_args!("<circle class='mark-machine' cx='{x:.1}' cy='{y:.1}' r='4.5'/>")),
        Kind::Engine => {
            push(into, format_args!("<path class='mark-engine' d='M{x:.1},{:.1} l5,9 l-10,0 z'/>", y - 5.0));
        }
    }
}

const fn kind_class(kind: Kind) -> &'static str {
    match kind {
        Kind::Disk => "disk",
        Kind::Client => "client",
        Kind::Machine => "machine",
        Kind::Engine => "engine",
    }
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
