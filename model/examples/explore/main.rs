//! Searches raft.tla, or the extended model, within bounds from the command line: see `--help`.

mod arguments;
mod output;

use arguments::{Arguments, HELP, Request, ScriptSource};
use output::Meter;
use outrigger_model::explore::{Raft, Report, Script, Search, TransitionSystem, Verdict};
use outrigger_model::extended::Explored;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// How a program ends that searched, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Exhausted = 0,
    Violated = 1,
    Usage = 2,
    NotExhausted = 3,
}

fn main() -> ExitCode {
    let ended = run(std::env::args().skip(1), &mut io::stdout(), &mut io::stderr());
    // What is written without an error may still wait for the end of its line.
    ExitCode::from(code(ended.and_then(|end| io::stdout().flush().map(|()| end)), &mut io::stderr()))
}

/// The exit code, and on `err` why nobody has the answer.
fn code(ended: io::Result<End>, err: &mut impl Write) -> u8 {
    ended.map_or_else(
        |error| {
            // Whoever closed it, as `head` does, has seen enough.
            if error.kind() != io::ErrorKind::BrokenPipe {
                let _ = writeln!(err, "explore: standard output cannot be written: {error}");
            }
            1
        },
        |end| end as u8,
    )
}

/// The whole program: what `words` ask for, with results on `out` and the rest on `err`.
fn run(words: impl IntoIterator<Item = String>, out: &mut impl Write, err: &mut impl Write) -> io::Result<End> {
    let told = match arguments::parse(words) {
        Ok(Request::Help) => {
            write!(out, "{HELP}")?;
            return Ok(End::Exhausted);
        }
        Ok(Request::Explore(arguments)) if arguments.is_extended => extended(&arguments, out, err),
        Ok(Request::Explore(arguments)) => {
            let report = raft(&arguments).and_then(|raft| explore(raft, &arguments, err));
            report.map(|report| tell(&report, &arguments, out))
        }
        Err(problem) => Err(problem),
    };
    told.unwrap_or_else(|problem| {
        writeln!(err, "explore: {problem}\nTry `--help`.")?;
        Ok(End::Usage)
    })
}

/// Searches the extended model and tells what was found.
fn extended(arguments: &Arguments, out: &mut impl Write, err: &mut impl Write) -> Result<io::Result<End>, String> {
    let (servers, bounds) = (arguments.bounds.servers, arguments.extended_bounds()?);
    Ok(match &arguments.configurations {
        Some(path) => {
            tell(&explore(Explored::with_configurations(servers, path, bounds), arguments, err)?, arguments, out)
        }
        None => tell(&explore(Explored::new(servers, bounds), arguments, err)?, arguments, out),
    })
}

/// Prints what was found.
fn tell<A: Display, V: Display>(report: &Report<A, V>, arguments: &Arguments, out: &mut impl Write) -> io::Result<End> {
    if arguments.is_json {
        output::write_json(report, out)?;
    } else {
        output::write_text(report, out)?;
    }
    Ok(end(report))
}

/// raft.tla as it is to be searched.
fn raft(arguments: &Arguments) -> Result<Raft, String> {
    arguments.refuse_extended()?;
    let mut raft = Raft::new(arguments.bounds).map_err(|error| error.to_string())?;
    if arguments.has_symmetry {
        raft = raft.with_symmetry().map_err(|error| error.to_string())?;
    }
    if arguments.has_histories {
        raft = raft.with_histories();
    }
    for action in &arguments.without {
        raft = raft.without(action).map_err(|error| error.to_string())?;
    }
    Ok(raft)
}

/// Searches as it is told.
fn explore<T: TransitionSystem>(
    system: T,
    arguments: &Arguments,
    err: &mut impl Write,
) -> Result<Report<T::Action, T::Violation>, String> {
    let mut search = Search::new(system).after(script(arguments.script.as_ref())?);
    if let Some(states_max) = arguments.states_max {
        search = search.states_max(states_max);
    }
    let mut meter = Meter::new(arguments.is_quiet);
    let report = search.run_with(|progress| meter.tell(progress, err)).map_err(|error| error.to_string())?;
    meter.close(&report, err);
    Ok(report)
}

/// The script that was asked for.
fn script(source: Option<&ScriptSource>) -> Result<Script, String> {
    Ok(match source {
        None => Script::new(),
        Some(ScriptSource::Text(text)) => Script::parse(text),
        Some(ScriptSource::File(name)) => {
            Script::parse(&std::fs::read_to_string(name).map_err(|error| format!("cannot read {name}: {error}"))?)
        }
    })
}

fn end<A, V>(report: &Report<A, V>) -> End {
    match report.verdict {
        Verdict::Exhausted => End::Exhausted,
        Verdict::NotExhausted { .. } => End::NotExhausted,
        Verdict::Violated(_) => End::Violated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_model::explore::CounterExample;

    /// Runs the program; how it ended, and what it printed on both outputs.
    fn run_with(words: &[&str]) -> (End, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = words.iter().map(|word| (*word).to_owned());
        let end = run(words, &mut out, &mut err).expect("memory takes all that is written");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (end, text(out), text(err))
    }

    #[test]
    fn the_last_line_is_what_tlc_counts() {
        let words = "--servers 2 --values 1 --max-term 2 --max-log 1 --max-messages 1";
        let (end, out, _) = run_with(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(end, End::Exhausted);
        assert_eq!(out.lines().last(), Some("generated=12861 distinct=1645 depth=28 violations=0"));
    }

    #[test]
    fn the_extended_model_is_counted_in_the_same_words() {
        let (end, out, _) = run_with(&["--extended", "--max-term", "1"]);
        assert_eq!(end, End::Exhausted);
        assert_eq!(out.lines().last(), Some("generated=10589 distinct=1349 depth=19 violations=0"));
    }

    #[test]
    fn the_bounds_of_the_extended_model_are_heard() {
        let count = |words: &[&str]| {
            let (end, out, _) = run_with(&[&["--extended", "--max-term", "1", "--servers", "1"], words].concat());
            assert_eq!(end, End::Exhausted, "{words:?}");
            let last = out.lines().last().expect("it ends with its counts").to_owned();
            last.split(' ')
                .find_map(|it| it.strip_prefix("generated="))
                .expect("a count")
                .parse::<u64>()
                .expect("a number")
        };
        let usual = count(&[]);
        let lasting = count(&["--without", "restart"]);
        assert!(lasting < usual);
        assert!(count(&["--reads", "1"]) > usual);
        assert!(count(&["--instant"]) < usual);
        assert!(count(&["--servers", "2", "--snapshots"]) > count(&["--servers", "2"]));
        assert!(count(&["--max-log", "2", "--max-batch", "2"]) > count(&["--max-log", "2"]));
        let words = ["--without", "restart", "--prefix", "Timeout(s1)"];
        assert!(count(&words) < lasting, "what was before is not counted");
    }

    #[test]
    fn a_limit_that_is_reached_is_no_proof() {
        let (end, out, _) = run_with(&["--max-states", "100"]);
        assert_eq!(end, End::NotExhausted);
        assert!(out.starts_with("bounds not exhausted: "), "{out}");
        let (end, out, _) = run_with(&["--max-states", "100", "--output", "json"]);
        assert_eq!(end, End::NotExhausted);
        assert!(out.contains(r#""verdict":"not exhausted""#), "{out}");
    }

    #[test]
    fn one_json_object_says_it_all() {
        let (end, out, err) = run_with(&["--output", "json", "--quiet"]);
        assert_eq!((end, err.as_str()), (End::Exhausted, ""));
        assert_eq!(
            out,
            "{\"generated\":12861,\"distinct\":1645,\"depth\":28,\"violations\":0,\"covered\":1645,\
             \"verdict\":\"exhausted\"}\n"
        );
    }

    #[test]
    fn wrong_usage_ends_with_two_and_says_why() {
        let wrong: [&[&str]; 13] = [
            &["--reads", "1"],
            &["--snapshots"],
            &["--configurations", "1:1,2"],
            &["--extended", "--configurations", "1:1,3"],
            &["--extended", "--symmetry"],
            &["--extended", "--without", "drop"],
            &["--extended", "--servers", "9"],
            &["--nonsense"],
            &["--servers", "9"],
            &["--servers", "7", "--symmetry"],
            &["--without", "sleep"],
            &["--prefix", "BecomeLeader(s1)"],
            &["--script", "no/such/file"],
        ];
        for words in wrong {
            let (end, out, err) = run_with(words);
            assert_eq!((end, out.as_str()), (End::Usage, ""), "{words:?}");
            assert!(err.starts_with("explore: ") && err.ends_with("Try `--help`.\n"), "{err}");
        }
        let (_, _, err) = run_with(&["--servers", "9"]);
        assert!(err.contains("the number of servers cannot be 9: choose from 1 to 8"), "{err}");
    }

    #[test]
    fn a_search_may_begin_with_a_script() {
        let (end, out, _) = run_with(&["--prefix", "Timeout(s1); RequestVote(s1, s2)", "--without", "receive,drop"]);
        assert_eq!(end, End::Exhausted);
        // The request stays in flight. Server 1 may restart, server 2 time out and restart: two states and three.
        assert!(out.ends_with("generated=41 distinct=6 depth=4 violations=0\n"), "{out}");
    }

    #[test]
    fn a_violation_ends_with_one() {
        let found =
            CounterExample { violation: 0, actions: vec![0], scripted: 0, lines: Vec::new(), last: String::new() };
        let verdict = Verdict::Violated(found);
        let report = Report { generated: 2, distinct: 2, depth: 2, covered: 2, verdict };
        assert_eq!((end(&report), end(&report) as u8), (End::Violated, 1));
    }

    #[test]
    fn an_answer_that_nobody_has_is_told_unless_nobody_wants_it() {
        for (kind, told) in [(io::ErrorKind::StorageFull, "cannot be written"), (io::ErrorKind::BrokenPipe, "")] {
            let mut err = Vec::new();
            assert_eq!(code(Err(kind.into()), &mut err), 1);
            let said = String::from_utf8(err).expect("text");
            assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{said}");
        }
    }

    #[test]
    fn help_is_no_mistake() {
        let (end, out, _) = run_with(&["--help"]);
        assert_eq!((end, out.as_str()), (End::Exhausted, HELP));
    }
}
