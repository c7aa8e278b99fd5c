//! The Docker engine, used through its command-line client, as kind does.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{error::Error, progress::ProgressMode, quiet::run_quietly};

/// How long an engine may take to answer. The client itself would wait as long as a socket stays silent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// An engine that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Its version, e.g. `20.10.24`.
    pub version: String,
}

impl Docker {
    /// Finds the engine that the environment names (`DOCKER_HOST`, otherwise the client's context).
    ///
    /// # Errors
    /// [`Error::NoDockerClient`], and [`Error::NoDockerEngine`] with what to do about it.
    pub fn find() -> Result<Docker, Error> {
        let mut command = command(&["version", "--format", "{{.Server.Version}}"]);
        let answer =
            answer_within(&mut command, ANSWER_TIMEOUT).map_err(|source| Error::NoDockerClient { source })?;
        let detail = match answer {
            Some((status, version, _)) if status.success() && !version.is_empty() => {
                return Ok(Docker { version });
            }
            Some((_, _, complaint)) => complaint,
            None => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        };
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| "the usual place (DOCKER_HOST is not set)".to_owned());
        Err(Error::NoDockerEngine { host, detail })
    }

    /// Returns the id of an image if the engine has it, `sha256:…`.
    ///
    /// # Errors
    /// [`Error::DockerFailed`] when the engine gives no answer.
    pub fn image_id(&self, reference: &str) -> Result<Option<String>, Error> {
        match output(&["image", "inspect", "--format", "{{.Id}}", reference]) {
            Ok(id) => Ok(Some(id)),
            Err(Error::DockerFailed { output, .. }) if is_no_such_image(&output) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Loads an archive of images.
    ///
    /// # Errors
    /// [`Error::DockerFailed`] with the engine's output.
    pub fn load(&self, archive: &Path, progress: ProgressMode) -> Result<(), Error> {
        let mut command = command(&["load", "--quiet", "--input"]);
        command.arg(archive);
        let failed = run_quietly(&mut command, "load the node image into Docker", progress)
            .map_err(|source| Error::NoDockerClient { source })?;
        match failed {
            None => Ok(()),
            Some(output) => Err(Error::DockerFailed {
                command: format!("docker load --input {}", archive.display()),
                output,
            }),
        }
    }
}

/// Returns the output of a docker command without surrounding white space.
fn output(args: &[&str]) -> Result<String, Error> {
    let output = command(args).output().map_err(|source| Error::NoDockerClient { source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::DockerFailed { command: format!("docker {}", args.join(" ")), output: text(&output.stderr) })
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(args).stdin(Stdio::null());
    command
}

/// Whether this is the client's message for a missing image, in old or new versions.
fn is_no_such_image(output: &str) -> bool {
    output.to_ascii_lowercase().contains("no such image")
}

/// Runs a command with little output. Returns status, stdout and stderr, or `None` if it did not end in time and was
/// killed.
fn answer_within(
    command: &mut Command,
    timeout: Duration,
) -> io::Result<Option<(ExitStatus, String, String)>> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    };
    let (stdout, stderr) = rest(&mut child);
    Ok(Some((status, stdout, stderr)))
}

/// Returns what a child had written before it ended.
fn rest(child: &mut Child) -> (String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    // Unreadable output is left out.
    let _ = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut stdout));
    let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut stderr));
    (stdout.trim().to_owned(), stderr.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Option<(ExitStatus, String, String)> {
        answer_within(Command::new("sh").args(["-c", script]), timeout).unwrap()
    }

    #[test]
    fn an_answer_is_waited_for_and_silence_is_cut_short() {
        let (status, stdout, stderr) =
            shell("echo 20.10.24; echo oh >&2; exit 1", Duration::from_secs(60)).unwrap();
        assert_eq!((status.code(), stdout.as_str(), stderr.as_str()), (Some(1), "20.10.24", "oh"));
        assert!(shell("exec sleep 60", Duration::from_millis(50)).is_none());
    }

    #[test]
    fn an_absent_image_is_told_from_a_silent_engine() {
        assert!(is_no_such_image("Error: No such image: fleet-e2e/node:x"));
        assert!(is_no_such_image("Error response from daemon: no such image: fleet-e2e/node:x"));
        assert!(!is_no_such_image("Cannot connect to the Docker daemon at unix:///x. Is it running?"));
    }
}
