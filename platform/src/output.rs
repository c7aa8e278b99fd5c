//! Output that cannot panic.
//!
//! `println!` and `eprintln!` of the standard library panic when nobody reads or the disk is full. What is said
//! through this module is dropped then, and [`end`] tells what was lost. A reader that has gone (`| head`) has what it
//! wanted: nothing is said, and the exit code is the command's.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Exit code of a command whose answer could not be written: the machine lacks something.
const ENVIRONMENT: u8 = 3;

/// Why something of the answer was lost first.
static LOST: OnceLock<String> = OnceLock::new();

/// As `println!`, but does not panic; see [`output`](crate::output).
#[macro_export]
macro_rules! say {
    () => { $crate::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// As `eprintln!`, but does not panic: where stderr cannot be written to, there is nobody to tell.
#[macro_export]
macro_rules! tell {
    () => { $crate::output::note(format_args!("")) };
    ($($text:tt)*) => { $crate::output::note(format_args!($($text)*)) };
}

/// Writes a line of the answer to stdout.
pub fn line(text: Arguments<'_>) {
    write(format!("{text}\n").as_bytes());
}

/// Writes a part of the answer to stdout.
pub fn write(text: &[u8]) {
    let mut stdout = io::stdout().lock();
    if let Some(why) = loss(stdout.write_all(text).and_then(|()| stdout.flush())) {
        let _ = LOST.set(why);
    }
}

/// Writes a line to stderr.
pub fn note(text: Arguments<'_>) {
    // In one piece: several programs write to the same terminal.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Why text was lost that somebody still wants; none if it was written, or if the reader has gone.
fn loss(result: io::Result<()>) -> Option<String> {
    result.err().filter(|error| error.kind() != ErrorKind::BrokenPipe).map(|error| error.to_string())
}

/// The exit code of a program that would end with `code`: what was lost is told in one line, and is a failure unless
/// there is another.
pub fn end(code: u8) -> ExitCode {
    ExitCode::from(code_after(code, LOST.get()))
}

/// As [`end`] for a program whose exit code says it all (a verdict): a lost text is told and changes nothing.
pub fn end_with_verdict(code: u8) -> ExitCode {
    let _ = code_after(code, LOST.get());
    ExitCode::from(code)
}

fn code_after(code: u8, lost: Option<&String>) -> u8 {
    let Some(why) = lost else { return code };
    crate::tell!("Error: the answer could not be written to stdout: {why}");
    if code == 0 { ENVIRONMENT } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_misses_nothing_and_a_full_disk_does() {
        assert_eq!(loss(Ok(())), None);
        assert_eq!(loss(Err(ErrorKind::BrokenPipe.into())), None);
        assert!(loss(Err(ErrorKind::StorageFull.into())).is_some());
    }

    #[test]
    fn a_lost_answer_fails_what_did_not_fail_already() {
        let why = "no space left".to_owned();
        assert_eq!([0, 1, 4].map(|code| code_after(code, Some(&why))), [3, 1, 4]);
        assert_eq!([0, 1, 4].map(|code| code_after(code, None)), [0, 1, 4]);
    }
}
