//! What `cargo xtask` does if its output cannot be written.

use std::fs::File;
use std::process::{Command, Output, Stdio};

fn list_mutants(stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["mutants", "--list"]).stdin(Stdio::null()).stdout(stdout).output().unwrap()
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = list_mutants(writer.into());
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{ended:?}");
}

#[test]
fn a_full_disk_is_told_in_one_line() {
    let ended = list_mutants(File::options().write(true).open("/dev/full").unwrap().into());
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{told}");
    assert!(told.contains("No space left") && told.lines().count() == 1, "{told}");
}
