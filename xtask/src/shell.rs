//! Short commands that are run for their output, through xshell.
//!
//! Programs that keep running (control planes, cargo with its progress, an engine) are started with
//! [`std::process::Command`]: they need a process id, a file for their output, or to replace this process.

use std::path::Path;

use anyhow::Context;
use xshell::{Cmd, Shell};

/// Returns a shell that runs its commands in a directory. It neither reads nor changes the directory of this process.
///
/// # Errors
/// When there is no current directory to start from.
pub fn within(dir: &Path) -> anyhow::Result<Shell> {
    let shell = Shell::new().context("cannot determine the current directory")?;
    shell.change_dir(dir);
    Ok(shell)
}

/// Runs a command and returns what it prints on stdout, byte for byte.
///
/// # Errors
/// When it cannot be started, or fails; the error then contains its stderr.
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

/// Runs a command and returns what it prints on stdout as text, without surrounding white space.
///
/// # Errors
/// As for [`answer`].
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
