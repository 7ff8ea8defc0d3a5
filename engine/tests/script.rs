//! Text-file tests: each file in `script/` is a story of commands, each followed by what it must print. A person can
//! follow an election, a conflict and a commit from the file alone.
//!
//! ```text
//!   elect 1
//!   ----
//!   (what happened)
//! ```
//!
//! A block ends with an empty line. `UPDATE_SCRIPTS=1 cargo test -p outrigger-engine --test script` writes what is
//! printed now into the files: read the difference before you believe it.

mod cluster;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use cluster::Cluster;

/// Runs one command of a script; what it prints is the answer.
fn run(cluster: &mut Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |place: usize| words[place].parse::<u64>().unwrap_or_else(|_| panic!("a number in `{line}`"));
    let link = |word: &str| -> (u64, u64) {
        let (from, to) = word.split_once("->").unwrap_or_else(|| panic!("FROM->TO in `{line}`"));
        (from.parse().expect("a node"), to.parse().expect("a node"))
    };
    cluster.trace.clear();
    match words[0] {
        "cluster" => *cluster = Cluster::new(&words[1..].iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>()),
        "logs" => *cluster = with_logs(&words[1..]),
        "timeout" => cluster.timeout(number(1)),
        "elapse" => cluster.elapse(Duration::from_millis(number(1))),
        "flush" => drop(cluster.flush(number(1))),
        "deliver" => {
            let (from, to) = link(words[1]);
            assert!(cluster.deliver(|it| it.from.node.0 == from && it.to == to), "`{line}`: nothing is on its way");
        }
        "lose" => {
            let (from, to) = link(words[1]);
            let lost = cluster.drop_messages(|it| it.from.node.0 == from && it.to == to);
            let _ = writeln!(cluster.trace, "{lost} lost");
        }
        "stabilize" => cluster.stabilize(),
        "elect" => cluster.elect(number(1)),
        "propose" => cluster.propose(number(1), number(2), words[3]),
        "read" => cluster.read(number(1), number(2)),
        "cut" => cluster.cut.push(number(1)),
        "heal" => cluster.cut.clear(),
        "crash" => cluster.crash(number(1)),
        "restart" => cluster.restart(number(1)),
        "status" => return status(cluster),
        "quorum" => return quorum(cluster, number(1)),
        "answers" => return cluster.node(number(1)).answers.join("\n") + "\n",
        _ => panic!("unknown command `{line}`"),
    }
    if words.last() == Some(&"quietly") { "ok\n".into() } else { cluster.trace.clone() }
}

/// `1:3:1,1,2` is node 1 in term 3 whose entries behind the membership are of terms 1, 1, 2.
fn with_logs(words: &[&str]) -> Cluster {
    let parse = |word: &&str| -> (u64, u64, Vec<u64>) {
        let parts: Vec<&str> = word.split(':').collect();
        let terms = parts[2].split(',').filter(|it| !it.is_empty()).map(|it| it.parse().unwrap()).collect();
        (parts[0].parse().unwrap(), parts[1].parse().unwrap(), terms)
    };
    let logs: Vec<_> = words.iter().map(parse).collect();
    Cluster::with_logs(&logs.iter().map(|(id, term, terms)| (*id, *term, terms.as_slice())).collect::<Vec<_>>())
}

fn status(cluster: &Cluster) -> String {
    let mut out = String::new();
    for (id, node) in &cluster.nodes {
        let (role, term, commit) = (cluster.role(*id).name(), cluster.term(*id), cluster.commit(*id));
        let role = if node.alive { role } else { "down" };
        let _ = writeln!(out, "{id} {role} term {term} commit {commit} log {}", cluster.log(*id));
    }
    out
}

fn quorum(cluster: &Cluster, id: u64) -> String {
    let status = cluster.engine(id).status();
    let flushed = status.flushed;
    status.membership.quorum().describe(|node| status.matched.get(&node).copied().unwrap_or(flushed))
}

fn play(path: &Path) {
    let written = std::fs::read_to_string(path).unwrap();
    let mut cluster = Cluster::new(&[1]);
    let mut played = String::new();
    for block in written.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        let causes = block.lines().take_while(|line| *line != "----");
        let mut printed = String::new();
        let mut commands = 0;
        for line in causes {
            let _ = writeln!(played, "{line}");
            if !line.starts_with('#') {
                commands += 1;
                printed += &run(&mut cluster, line);
            }
        }
        if commands > 0 {
            let _ = writeln!(played, "----\n{}", printed.trim_end());
        }
        played.push('\n');
    }
    let played = format!("{}\n", played.trim_end());
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        std::fs::write(path, played).unwrap();
        return;
    }
    for (number, (is, should)) in (1..).zip(played.lines().zip(written.lines())) {
        assert_eq!(is, should, "{}:{number}: what happens now (left) is not what is written (right)", path.display());
    }
    assert_eq!(played.trim_end(), written.trim_end(), "{}", path.display());
}

#[test]
fn every_script_prints_what_is_written_in_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        play(&entry.unwrap().path());
        played += 1;
    }
    assert!(played >= 5, "{played} scripts found");
}
