//! One step of `cargo xtask ci`: a command, and how its output is shown.

use std::process::{Command, Stdio};

use anyhow::Context;
use tools::{ProgressMode, run_quietly};

/// One step.
pub struct Step {
    /// What it checks.
    pub name: String,
    /// The command that checks it.
    pub command: Command,
    /// Whether its output is shown immediately, because people want to see it.
    pub shown: bool,
}

impl Step {
    /// Creates a step whose output is shown only when it fails.
    pub fn quiet(name: impl Into<String>, command: Command) -> Step {
        Step { name: name.into(), command, shown: false }
    }

    /// Creates a step whose output is shown immediately.
    pub fn shown(name: impl Into<String>, command: Command) -> Step {
        Step { name: name.into(), command, shown: true }
    }

    /// Runs the step. Returns `None` if it passed, otherwise its output (as far as that was held back).
    pub fn run(mut self) -> anyhow::Result<Option<String>> {
        if self.shown {
            let what = format!("cannot start `{}`", repeat(&self.command));
            let status = self.command.stdin(Stdio::null()).status().context(what)?;
            return Ok((!status.success()).then(|| format!("{status}")));
        }
        run_quietly(&mut self.command, &self.name, ProgressMode::Auto)
            .with_context(|| format!("cannot run the step {}", self.name))
    }
}

/// Returns the command as a user would type it.
pub fn repeat(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default();
    // `cargo-nextest nextest run` is the same as `cargo nextest run` for users who have it on PATH.
    let mut words = vec![if name == "cargo-nextest" { program.to_string() } else { name.to_owned() }];
    let flags = command.get_envs().find(|(name, _)| *name == "RUSTDOCFLAGS").and_then(|(_, value)| value);
    if let Some(flags) = flags {
        words.insert(0, format!("RUSTDOCFLAGS='{}'", flags.to_string_lossy()));
    }
    words.extend(command.get_args().map(|arg| {
        let arg = arg.to_string_lossy();
        if arg.contains([' ', '(']) { format!("'{arg}'") } else { arg.into_owned() }
    }));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_repeat_a_step_is_what_one_types() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").env("OTHER", "x");
        assert_eq!(repeat(&command), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn a_failing_step_gives_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo why >&2; exit 1"]);
        assert_eq!(Step::quiet("x", command).run().unwrap().as_deref(), Some("why"));
        assert_eq!(Step::quiet("x", Command::new("true")).run().unwrap(), None);
    }
}
