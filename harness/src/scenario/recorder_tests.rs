//! A disk that fills up during a run: losses are reported, and the judge does not trust the rest.
//!
//! Each test runs itself again with its own small file system (a tmpfs in a mount namespace, if the kernel allows one)
//! and, everywhere, with a limit on the size of its files.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::view::{Facts, Front};
use harness_analysis::judge::{Evidence, Expect, validity};
use harness_model::record::{Phase, ProcessSample, Sample};
use harness_model::summary::Finding;

/// Set when the test runs again: the directory, and the system's message when it is full.
const DIR: &str = "E2E_TEST_FULL_DISK_DIR";
const WORDS: &str = "E2E_TEST_FULL_DISK_WORDS";

/// Runs the test again where little can be written; in that run, calls `test`.
fn on_a_small_disk(name: &str, test: fn(&RunDir, &str)) {
    if let (Some(dir), Ok(words)) = (std::env::var_os(DIR), std::env::var(WORDS)) {
        return test(&RunDir::new(Path::new(&dir)), &words);
    }
    let again = |wrapper: &[&str], words: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg("sh").arg(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("scenario::recorder::tests::{name}"), "--nocapture"]);
        let output = command.env(DIR, dir.path()).env(WORDS, words).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{wrapper:?}: {said}");
    };
    let limit = "trap '' XFSZ; ulimit -f 256; exec \"$@\"";
    again(&["sh", "-c", limit], "File too large");
    let mount = format!("mount -t tmpfs -o size=512k tmpfs \"${DIR}\" && exec \"$@\"");
    let probe = |flags: &&str| {
        let dir = tempfile::tempdir().unwrap();
        let mut probe = Command::new("unshare");
        probe.args([flags, "sh", "-c", &mount, "sh", "true"]).env(DIR, dir.path());
        probe.output().is_ok_and(|output| output.status.success())
    };
    match ["-m", "-rm"].iter().find(|flags| probe(flags)) {
        Some(flags) => again(&["unshare", flags, "sh", "-c", &mount], "No space left on device"),
        None => eprintln!("no file system can be mounted here: tried with a limit on files alone"),
    }
}

fn recorder(dir: &RunDir) -> Recorder {
    let facts = Facts {
        run_id: "run".into(),
        clusters: Vec::new(),
        machines: 0,
        planned: Default::default(),
        unbound_s_max: None,
    };
    let recorder = Recorder::start(dir, View::new(facts, &Front::Quiet).0).unwrap();
    recorder.record(Event::RunStarted {
        run_id: "run".into(),
        profile: "p".into(),
        seed: 1,
        wall_unix_us: 1,
    });
    recorder.record(Event::PhaseStarted { phase: Phase::Soak });
    recorder
}

/// Writes until nothing more can be written.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    while std::io::Write::write_all(&mut file, &[b'.'; 4096]).is_ok() {}
}

fn finding(evidence: &Evidence, rule: &str) -> Finding {
    let all = validity::check(&Expect::default(), evidence);
    all.into_iter().find(|finding| finding.rule == rule).unwrap()
}

#[test]
fn what_a_full_disk_did_not_take_is_told_by_the_last_event() {
    on_a_small_disk("what_a_full_disk_did_not_take_is_told_by_the_last_event", |dir, words| {
        let recorder = recorder(dir);
        let tally = recorder.tally();
        let (mut samples, _scrapes) =
            (tally.create(&dir.processes()).unwrap(), tally.create(&dir.metrics()).unwrap());
        let process = ProcessSample { name: "x".repeat(1000), ..ProcessSample::default() };
        let mut at_us = 0;
        while tally.loss().is_none() {
            at_us += 1;
            assert!(at_us < 10_000, "the disk does not fill up");
            let processes = vec![process.clone()];
            samples.write(&Sample { at_us, processes, ..Sample::default() });
        }
        fill(&dir.root().join("filler"));
        samples.write(&Sample { processes: vec![process], ..Sample::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // This ends the run.
        runtime.block_on(tally.spoiled());
        recorder.end(End::Aborted, Some("evidence was lost".into()));

        let evidence = Evidence::load(dir).unwrap();
        let written = &evidence.written["processes.jsonl"];
        assert_eq!((written.lines, written.lost), (at_us - 1, 2));
        assert_eq!(evidence.samples.len() as u64, at_us - 1, "no torn line is between them");
        let complete = finding(&evidence, "evidence_complete");
        let told = format!("lost: 2 lines of processes.jsonl, from the phase soak on ({words}");
        assert!(!complete.ok && complete.detail.starts_with(&told), "{}", complete.detail);
    });
}

#[test]
fn a_run_whose_last_event_did_not_fit_either_is_not_believed() {
    on_a_small_disk("a_run_whose_last_event_did_not_fit_either_is_not_believed", |dir, _| {
        let recorder = recorder(dir);
        recorder.tally().create(&dir.metrics()).unwrap();
        recorder.tally().create(&dir.processes()).unwrap();
        std::fs::remove_file(dir.reserve()).unwrap();
        fill(&dir.root().join("filler"));
        let mut notes = 0;
        while recorder.tally().loss().is_none() {
            recorder.note("x");
            notes += 1;
            assert!(notes < 100_000, "the disk does not fill up");
        }
        recorder.end(End::Completed, None);

        let evidence = Evidence::load(dir).unwrap();
        for rule in ["completed", "evidence_complete"] {
            assert!(!finding(&evidence, rule).ok, "{rule}");
        }
    });
}
