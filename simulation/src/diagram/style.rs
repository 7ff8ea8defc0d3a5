//! What the kinds of lines and of texts look like, and how they are told apart.

pub(super) const LEGEND: [(&str, &str); 15] = [
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
    ("disk", "its disk"),
    ("client", "a client of it"),
    ("machine", "its state machine"),
    ("engine", "its engine"),
];

pub(super) const STYLE: &str = "text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#333} \
    .name{font-weight:bold;fill:#111} .time{fill:#888} .note{fill:#555} .role{fill:#143} .fault{fill:#900;font-weight:bold} \
    .violated{fill:#900;font-weight:bold} .said,.client{fill:#225} .disk,.machine,.engine{fill:#555} \
    .world{fill:#640;font-weight:bold} .repeated{fill:#555} \
    .sent,.way,.lost{fill:none} .leader{stroke:#197a4b;stroke-width:9} .candidate{stroke:#d9730d;stroke-width:8;stroke-dasharray:4 3} \
    .follower{stroke:#999;stroke-width:2} .down{stroke:#c33;stroke-width:1.5;stroke-dasharray:1 7} \
    .paused{stroke:#57a;stroke-width:3;stroke-dasharray:8 6} .born{stroke:#333;stroke-width:3} \
    .sent{stroke:#225;stroke-width:1.2;marker-end:url(#head)} .way{stroke:#225;stroke-width:1;stroke-dasharray:10 4} \
    .lost{stroke:#a00;stroke-width:1.2;stroke-dasharray:5 3} .wall{stroke:#a00;stroke-width:3} .cross{stroke:#a00;stroke-width:2.5} \
    .end,.mark-client,.mark-machine,.mark-engine{fill:white;stroke:#225} .mark-disk{fill:#555;stroke:white} \
    .fatal{fill:none;stroke:#c00;stroke-width:3} .halo{stroke-width:3;stroke-linejoin:round} \
    .alarm{fill:#fff0f0;stroke:#c00;stroke-width:2} \
    .head{fill:#eef;stroke:#88a} .role-ground{fill:#effaf3;stroke:#9cb} \
    .fault-ground{fill:#fff0f0;stroke:#d99} .world-band{fill:#fff6dd;stroke:#c93} \
    .repeated-band{fill:#f5f5f8;stroke:#aab;stroke-dasharray:3 3}";

/// The width of a letter, as a part of its size: some programs draw letters of 6.6 pixels 7 wide.
const LETTER: f64 = 0.64;
/// The size of most letters.
pub(super) const SMALL: f64 = 11.0;

pub(super) fn wide(text: &str, size: f64) -> f64 {
    place(text.chars().count() as u64) * size * LETTER
}

/// How many small letters fit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "widths are a few thousand pixels")]
pub(super) fn letters(width: f64) -> usize {
    (width / (SMALL * LETTER)).max(4.0) as usize
}

pub(super) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// Lines of so many letters at most, broken where the text has a break of its own, or at spaces where there are some.
pub(super) fn wrapped(text: &str, letters: usize) -> Vec<String> {
    text.lines().flat_map(|line| wrapped_line(line, letters)).collect()
}

fn wrapped_line(text: &str, letters: usize) -> Vec<String> {
    // Lines that continue another one are told by their indent.
    let indent = text.len() - text.trim_start().len();
    let (indent, letters) = (&text[..indent], letters.saturating_sub(indent).max(1));
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
    lines.into_iter().map(|line| format!("{indent}{line}")).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred rows and nine nodes")]
pub(super) const fn place(number: u64) -> f64 {
    number as f64
}
