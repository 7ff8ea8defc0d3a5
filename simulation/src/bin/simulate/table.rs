//! What a campaign came to, for people and for programs.

use std::fmt::Write;

use outrigger_simulation::Counts;

use crate::campaign::Outcome;

/// A table for people.
pub(crate) fn table(outcome: &Outcome) -> String {
    let total = &outcome.total;
    let mut rows = vec![
        ("seeds", total.seeds.to_string()),
        ("engine steps", total.steps.to_string()),
        ("steps per core and second", format!("{:.0}", steps_per_second(outcome))),
        ("simulated time", format!("{:.0} s", total.simulated.as_secs_f64())),
        ("times real time, per core", format!("{:.0}", times_real_time(outcome))),
        ("terms with a leader", total.leaders.to_string()),
        ("writes acknowledged", total.written.to_string()),
        ("reads answered", total.read.to_string()),
        ("requests in doubt", total.unknown.to_string()),
        ("excused: no quorum has its disk", total.excused.to_string()),
        ("linearizability undecided", total.undecided.to_string()),
        ("failures", outcome.failures.len().to_string()),
    ];
    let groups = [("faults", &total.faults), ("clients", &total.services), ("actions of the model", &total.actions)];
    for (title, counts) in groups {
        rows.push((title, String::new()));
        rows.extend(counts.iter().map(|(name, count)| (*name, count.to_string())));
    }
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string never fails.
        let _ = if value.is_empty() { writeln!(text, "{name}:") } else { writeln!(text, "  {name:<34}{value:>14}") };
    }
    text
}

/// The same for programs.
pub(crate) fn json(outcome: &Outcome, missing: &[&str]) -> String {
    let total = &outcome.total;
    let failures = outcome.failures.iter().map(|failure| {
        let check = failure.violation.check.to_string();
        format!(r#"{{"seed":{},"check":{},"replay":{}}}"#, failure.seed, quoted(&check), quoted(&failure.replay()))
    });
    format!(
        concat!(
            r#"{{"seeds":{},"interrupted":{},"given_up":{},"steps":{},"steps_per_second":{:.0},"simulated_seconds":{:.3},"#,
            r#""times_real_time":{:.1},"undecided":{},"faults":{},"services":{},"actions":{},"failures":[{}],"never_came":[{}]}}"#,
            "\n"
        ),
        outcome.tried(),
        outcome.is_interrupted,
        outcome.is_given_up(),
        total.steps,
        steps_per_second(outcome),
        total.simulated.as_secs_f64(),
        times_real_time(outcome),
        total.undecided,
        object(&total.faults),
        object(&total.services),
        object(&total.actions),
        failures.collect::<Vec<_>>().join(","),
        missing.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","),
    )
}

fn object(counts: &Counts) -> String {
    let pairs: Vec<_> = counts.iter().map(|(name, count)| format!("{}:{count}", quoted(name))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// A string of JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[expect(clippy::cast_precision_loss, reason = "fewer than 2^53 steps")]
pub(crate) fn steps_per_second(outcome: &Outcome) -> f64 {
    outcome.total.steps as f64 / outcome.busy.as_secs_f64().max(f64::EPSILON)
}

pub(crate) fn times_real_time(outcome: &Outcome) -> f64 {
    outcome.total.simulated.as_secs_f64() / outcome.busy.as_secs_f64().max(f64::EPSILON)
}
