//! Exceptions: where a rule and common sense part ways, a comment follows sense and says why.
//!
//! ```text
//!   // tidy: allow name because the trait of another crate demands it
//!   fn get_ref(&self) -> &Stream { ... }
//! ```
//!
//! It holds for its own line and for the next line of the file that is no exception itself. One that names no
//! rule, gives no reason or excepts nothing is a finding, so that exceptions go when their cause goes.

use crate::finding::{Finding, Rule};
use crate::tree::{File, Kind};

/// How an exception is written.
pub const FORM: &str = "tidy: allow RULE because REASON";

const PREFIX: &str = "tidy: allow ";

/// One exception in a file.
#[derive(Debug, PartialEq, Eq)]
struct Allowance {
    /// Where it stands, from 1.
    line: usize,
    /// The line that it holds for beside its own; greater than `line`.
    covers: usize,
    rule: Rule,
}

/// Takes out the findings of a file that it excepts, and adds one for each exception that is wrong or idle.
#[must_use]
pub fn apply(file: &File, mut found: Vec<Finding>) -> Vec<Finding> {
    let (allowances, mut faults) = parse(file);
    for allowance in allowances {
        let before = found.len();
        found.retain(|finding| {
            let is_covered = finding.line == allowance.line || finding.line == allowance.covers;
            !(is_covered && finding.rule == allowance.rule)
        });
        if found.len() == before {
            let message = format!("nothing here breaks `{}`: delete the exception", allowance.rule.name());
            faults.push(Finding::new(&file.path, allowance.line, Rule::Allowance, message));
        }
    }
    found.extend(faults);
    found
}

fn parse(file: &File) -> (Vec<Allowance>, Vec<Finding>) {
    let mut allowances = Vec::new();
    let mut faults = Vec::new();
    for (line, text) in file.lines() {
        let Some(body) = exception(file.kind(), text) else { continue };
        match rule(body) {
            Ok(rule) => {
                let below = file.lines().skip(line).find(|(_, text)| exception(file.kind(), text).is_none());
                let covers = below.map_or(line + 1, |(number, _)| number);
                allowances.push(Allowance { line, covers, rule });
            }
            Err(message) => faults.push(Finding::new(&file.path, line, Rule::Allowance, message)),
        }
    }
    (allowances, faults)
}

/// What follows the prefix, where a comment of the file's language begins with it; doc comments are about exceptions.
fn exception(kind: Kind, line: &str) -> Option<&str> {
    let opener = match kind {
        Kind::Rust => "// ",
        Kind::Markdown => "<!-- ",
        Kind::Manifest | Kind::Script => "# ",
        Kind::Lock | Kind::Plain => return None,
    };
    let is_doc = line.trim_start().starts_with("///") || line.trim_start().starts_with("//!");
    let at = line.find(&format!("{opener}{PREFIX}"))?;
    (!is_doc).then(|| &line[at + opener.len() + PREFIX.len()..])
}

fn rule(body: &str) -> Result<Rule, String> {
    let (name, reason) = body.split_once(" because ").unwrap_or((body, ""));
    let reason = reason.trim_end_matches("-->").trim();
    let Some(rule) = Rule::named(name.trim()) else {
        return Err(format!("no rule `{}`: `cargo xtask rules` lists them", name.trim()));
    };
    if !rule.can_be_allowed() {
        return Err(format!("`{}` has no exceptions: mend what it found", rule.name()));
    }
    if reason.is_empty() {
        return Err(format!("an exception without a reason: write `{FORM}`"));
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remaining(text: &str, found: &[(usize, Rule)]) -> Vec<(usize, Rule)> {
        let file = File::new("a.rs", text);
        let found = found.iter().map(|(line, rule)| Finding::new("a.rs", *line, *rule, "")).collect();
        apply(&file, found).iter().map(|finding| (finding.line, finding.rule)).collect()
    }

    fn comment(body: &str) -> String {
        format!("// {PREFIX}{body}\nfn a() {{}}\n")
    }

    #[test]
    fn an_exception_covers_its_line_and_the_next() {
        let text = comment("name because a foreign trait demands it");
        assert_eq!(remaining(&text, &[(2, Rule::Name)]), []);
        assert_eq!(remaining(&text, &[(2, Rule::Name), (3, Rule::Name)]), [(3, Rule::Name)]);
        assert_eq!(remaining(&text, &[(2, Rule::Name), (2, Rule::Link)]), [(2, Rule::Link)]);
    }

    #[test]
    fn exceptions_may_stand_above_each_other() {
        let text = format!("// {PREFIX}name because a\n// {PREFIX}link because b\nfn a() {{}}\n");
        assert_eq!(remaining(&text, &[(3, Rule::Name), (3, Rule::Link)]), []);
    }

    #[test]
    fn an_exception_needs_a_rule_a_reason_and_a_cause() {
        let fault = [(1, Rule::Allowance)];
        assert_eq!(remaining(&comment("everything because I say so"), &[]), fault);
        assert_eq!(remaining(&comment("name because nothing breaks it"), &[]), fault);
        assert_eq!(remaining(&comment("name"), &[(2, Rule::Name)]), [(2, Rule::Name), (1, Rule::Allowance)]);
        let long = comment("file-length because it is long");
        assert_eq!(remaining(&long, &[(2, Rule::FileLength)]), [(2, Rule::FileLength), (1, Rule::Allowance)]);
    }

    #[test]
    fn words_about_exceptions_are_none() {
        assert_eq!(remaining(&format!("/// {PREFIX}name\nfn a() {{}}\n"), &[]), []);
        assert_eq!(remaining(&format!("const A: &str = \"{PREFIX}\";\n"), &[]), []);
    }
}
