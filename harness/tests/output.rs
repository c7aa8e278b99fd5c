//! What programs do if their output cannot be written: a reader that is gone is not an error, a full disk is reported
//! in one line.

use std::fs::File;
use std::process::{Command, Output, Stdio};

const ENVIRONMENT: i32 = 3;

/// Returns commands that write to stdout.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let scenario = env!("CARGO_BIN_EXE_e2e-scenario");
    let supervisor = env!("CARGO_BIN_EXE_e2e-supervisor");
    vec![
        (scenario, vec!["plan", "--profile", "smoke", "--json"]),
        (scenario, vec!["plan", "--profile", "smoke"]),
        (scenario, vec!["list"]),
        (supervisor, vec!["status", "--state-dir", "/nowhere"]),
    ]
}

fn run(program: &str, args: &[&str], stdout: Stdio) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).stdout(stdout).output().unwrap()
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    for (program, args) in commands() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = run(program, &args, writer.into());
        assert_eq!(ended.status.code(), Some(0), "{program} {args:?}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{program} {args:?}: {ended:?}");
    }
}

#[test]
fn a_full_disk_is_told_in_one_line() {
    for (program, args) in commands() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = run(program, &args, full.into());
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(ENVIRONMENT), "{program} {args:?}: {told}");
        assert!(told.contains("No space left") && told.lines().count() == 1, "{program} {args:?}: {told}");
    }
}

#[test]
fn an_error_that_nobody_can_be_told_keeps_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_e2e-scenario"));
    let status = command.args(["plan", "--profile", "no-such"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(2));
}
