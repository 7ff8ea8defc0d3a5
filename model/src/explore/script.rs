//! Scripts: a list of actions as text, to begin a search where they lead.
//!
//! ```text
//!   # Server 1 becomes a candidate and asks itself.      a comment ends with its line
//!   Timeout(s1); RequestVote(s1, s1)                     steps end with a line or a semicolon
//!    3. Receive(s1 -> s1 term 2)                         a number before a step is not read
//! ```
//! A step names one of the actions that are possible: by its whole text, as a counter-example prints it, or by the
//! beginning of just one, cut at the end of a word. So a printed counter-example is a script, and `Receive(s1 -> s2)` is
//! enough where a single message is on its way from s1 to s2.

use std::fmt;

/// The steps of a script, not yet looked up in any system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// In order; none is empty.
    steps: Vec<Step>,
}

/// A step with its place, which errors name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// The line of the script, from 1.
    line: usize,
    /// Without comment, number and surrounding blanks.
    text: String,
}

/// Why a step of a script cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptError {
    /// No possible action is called, or begins, so.
    Impossible {
        /// The line of the script, from 1.
        line: usize,
        /// The step.
        step: String,
        /// What is possible there.
        enabled: Vec<String>,
    },
    /// The beginnings of several possible actions, of which none is meant more than another.
    Ambiguous {
        /// The line of the script, from 1.
        line: usize,
        /// The step.
        step: String,
        /// The actions that begin so.
        meant: Vec<String>,
    },
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, step, list) = match self {
            Self::Impossible { line, step, enabled } => (line, step, enabled),
            Self::Ambiguous { line, step, meant } => (line, step, meant),
        };
        write!(f, "line {line}: ")?;
        match self {
            Self::Impossible { .. } => write!(f, "`{step}` is not possible there; name one of")?,
            Self::Ambiguous { .. } => write!(f, "`{step}` may mean {} actions; write more of one of", list.len())?,
        }
        list.iter().try_for_each(|action| write!(f, "\n  {action}"))
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// The script without steps.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Reads a script. Any text is one; whether its steps are possible shows when they are taken.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let steps = (1..).zip(lines).flat_map(|(line, steps)| {
            let texts = steps.split(';').map(|step| without_number(step.trim()).to_owned());
            texts.map(move |text| Step { line, text })
        });
        Self { steps: steps.filter(|step| !step.text.is_empty()).collect() }
    }

    /// The number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// For each step what finds it among the texts of the possible actions: its place there.
    pub(super) fn choices(&self) -> impl Iterator<Item = impl Fn(&[String]) -> Result<usize, ScriptError>> {
        self.steps.iter().map(|step| |enabled: &[String]| step.choose(enabled))
    }
}

impl Step {
    /// Which of the actions `enabled` is meant.
    fn choose(&self, enabled: &[String]) -> Result<usize, ScriptError> {
        if let Some(place) = enabled.iter().position(|action| *action == self.text) {
            return Ok(place);
        }
        let mut begun = enabled.iter().enumerate().filter(|(_, action)| self.begins(action));
        let (line, step) = (self.line, self.text.clone());
        match (begun.next(), begun.next()) {
            (Some((place, _)), None) => Ok(place),
            (None, _) => Err(ScriptError::Impossible { line, step, enabled: enabled.to_vec() }),
            (Some(_), Some(_)) => {
                let meant = enabled.iter().filter(|action| self.begins(action)).cloned().collect();
                Err(ScriptError::Ambiguous { line, step, meant })
            }
        }
    }

    /// Whether `action` begins with the step, cut at the end of a word.
    fn begins(&self, action: &str) -> bool {
        let beginning = self.text.strip_suffix(')').unwrap_or(&self.text);
        let rest = action.strip_prefix(beginning);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
    }
}

/// `step` without a leading `12.`.
fn without_number(step: &str) -> &str {
    let rest = step.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let numbered = rest.len() < step.len();
    rest.strip_prefix('.').filter(|_| numbered).map_or(step, str::trim_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Vec<String> {
        let texts = ["Timeout(s1)", "Timeout(s11)", "Receive(s1 -> s2 term 2 Ask)", "Receive(s1 -> s2 term 22 Ask)"];
        texts.map(String::from).to_vec()
    }

    fn choose(step: &str) -> Result<usize, ScriptError> {
        let script = Script::parse(step);
        let choice = script.choices().next().expect("a step");
        choice(&enabled())
    }

    #[test]
    fn comments_numbers_and_blanks_are_not_read() {
        let script = Script::parse("# a story\n\n  1. Timeout(s1)  # begins; so\nA(b);;  12. C \n");
        let texts: Vec<&str> = script.steps.iter().map(|step| step.text.as_str()).collect();
        assert_eq!(texts, ["Timeout(s1)", "A(b)", "C"]);
        assert_eq!(script.steps[1].line, 4);
        assert_eq!(script.len(), 3);
        assert!(Script::parse("\n # nothing\n;").is_empty());
    }

    #[test]
    fn a_whole_text_is_meant_before_any_beginning() {
        assert_eq!(choose("Timeout(s1)"), Ok(0));
        assert_eq!(choose("Timeout(s11)"), Ok(1));
    }

    #[test]
    fn a_beginning_is_cut_at_the_end_of_a_word() {
        assert_eq!(choose("Receive(s1 -> s2 term 2)"), Ok(2));
        assert_eq!(choose("Receive(s1 -> s2 term 22"), Ok(3));
        assert!(choose("Receive(s1 -> s2 te").is_err());
    }

    #[test]
    fn what_may_mean_two_actions_is_refused_with_both() {
        let error = choose("Receive(s1 -> s2)").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: `Receive(s1 -> s2)` may mean 2 actions; write more of one of\n  \
             Receive(s1 -> s2 term 2 Ask)\n  Receive(s1 -> s2 term 22 Ask)"
        );
    }

    #[test]
    fn what_is_not_possible_is_refused_with_what_is() {
        let error = choose("Restart(s1)").unwrap_err();
        assert!(matches!(&error, ScriptError::Impossible { enabled, .. } if enabled.len() == 4));
        assert!(
            error.to_string().starts_with("line 1: `Restart(s1)` is not possible there; name one of\n  Timeout(s1)")
        );
    }
}
