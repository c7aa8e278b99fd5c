//! Runs a long command without its output: progress while it works, its last lines when it fails.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::progress::{Progress, ProgressMode, Unit};

/// Number of lines of a failed command that are kept.
const TAIL: usize = 200;

/// Runs a build-like command that names one unit of work per line, with empty stdin.
///
/// `Ok(None)` means success; `Ok(Some(..))` holds the last lines that a failed command wrote.
///
/// # Errors
/// When the command cannot be started or its output cannot be read.
pub fn run_quietly(command: &mut Command, label: &str, progress: ProgressMode) -> io::Result<Option<String>> {
    // One pipe for both, so that the lines keep their order.
    let (output, stdout) = io::pipe()?;
    command.stdin(Stdio::null()).stderr(stdout.try_clone()?).stdout(stdout);
    let mut child = command.spawn()?;
    // The command holds our writing ends. Without them, the pipe ends with the child.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let progress = Progress::start(progress, label, Unit::Packages);
    let mut tail = VecDeque::with_capacity(TAIL);
    for line in BufReader::new(output).split(b'\n') {
        progress.advance(1);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(String::from_utf8_lossy(&line?).into_owned());
    }
    let status = child.wait()?;
    Ok((!status.success()).then(|| Vec::from(tail).join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<String> {
        run_quietly(Command::new("sh").args(["-c", script]), "test", ProgressMode::Hidden).unwrap()
    }

    #[test]
    fn success_is_silent_and_a_failure_tells_its_last_lines() {
        assert_eq!(shell("echo chatter >&2"), None);
        assert_eq!(shell("echo one; echo two >&2; exit 3").as_deref(), Some("one\ntwo"));
        let many = shell("seq 1 1000 >&2; false").unwrap();
        assert!(many.starts_with("801\n") && many.ends_with("\n1000"), "{many}");
    }
}
