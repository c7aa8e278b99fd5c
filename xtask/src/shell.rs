//! Short commands that are run for their answer, through xshell.
//!
//! Programs that go on (control planes, cargo with its progress, an engine) are started with [`std::process::Command`]:
//! they need a process id, a file for their output, or to take this process's place.

use std::path::Path;

use anyhow::Context;
use xshell::{Cmd, Shell};

/// A shell that runs its commands in a directory; it neither changes nor reads this process's own.
///
/// # Errors
/// When there is no current directory to start from.
pub fn within(dir: &Path) -> anyhow::Result<Shell> {
    let shell = Shell::new().context("cannot tell the current directory")?;
    shell.change_dir(dir);
    Ok(shell)
}

/// What a command prints on stdout, byte for byte.
///
/// # Errors
/// When it cannot be started, or fails: then with what it said on stderr.
pub fn answer(command: Cmd<'_>) -> anyhow::Result<Vec<u8>> {
    let shown = command.to_string();
    let output =
        command.quiet().ignore_status().output().with_context(|| format!("cannot start `{shown}`"))?;
    anyhow::ensure!(
        output.status.success(),
        "`{shown}` failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// The same as text, without the blanks around it.
///
/// # Errors
/// As [`answer`].
pub fn text(command: Cmd<'_>) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&answer(command)?).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::cmd;

    #[test]
    fn an_answer_comes_from_the_directory_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("here"), "").unwrap();
        let shell = within(dir.path()).unwrap();
        assert_eq!(text(cmd!(shell, "ls")).unwrap(), "here");
        assert_eq!(answer(cmd!(shell, "ls")).unwrap(), b"here\n");
    }

    #[test]
    fn a_command_that_fails_is_named_with_its_own_words() {
        let shell = within(Path::new("/")).unwrap();
        let told = text(cmd!(shell, "ls /there/is/no/such/dir")).unwrap_err().to_string();
        assert!(told.contains("`ls /there/is/no/such/dir` failed: ls: "), "{told}");
        let told = text(cmd!(shell, "no-such-program-of-ours")).unwrap_err().to_string();
        assert_eq!(told, "cannot start `no-such-program-of-ours`");
    }
}
