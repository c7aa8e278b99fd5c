//! The container engine's command line, as far as it is needed here.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Error;

/// If a command does not finish within this time, the engine hangs.
const CEILING: Duration = Duration::from_secs(60);

/// The engine that `DOCKER_HOST` names, or the default one.
#[derive(Clone, Debug, Default)]
pub(super) struct Docker;

impl Docker {
    /// Runs `docker ARGS` and returns its output, trimmed.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or fails; with its error output.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String, Error> {
        self.feed(args, b"").await.map(|out| String::from_utf8_lossy(&out).trim().to_owned())
    }

    /// Same as [`Docker::run`], with input, and with its raw output.
    ///
    /// # Errors
    /// Same as [`Docker::run`].
    pub(super) async fn feed(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>, Error> {
        let said = format!("docker {}", args.join(" "));
        let failed = |why: String| Error::Environment(format!("`{said}`: {why}"));
        let mut child = Command::new("docker")
            .args(args)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(format!("{e}; is Docker installed?")))?;
        let stdin = child.stdin.take();
        let talk = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(input).await?;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(CEILING, talk).await;
        let output = output.map_err(|_| failed(format!("no answer within {} s", CEILING.as_secs())))?;
        let output = output.map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("{}: {}", output.status, stderr.trim())))
    }

    /// Runs a shell script in a container.
    ///
    /// # Errors
    /// Same as [`Docker::run`].
    pub(super) async fn sh(&self, container: &str, script: &str) -> Result<String, Error> {
        self.run(&["exec", container, "sh", "-c", script]).await
    }

    /// Returns the names of all containers, running or not, that begin with `prefix`.
    ///
    /// # Errors
    /// Same as [`Docker::run`].
    pub(super) async fn containers(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let filter = format!("name=^/?{prefix}");
        let names = self.run(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Removes containers with their volumes, in any state.
    ///
    /// # Errors
    /// Same as [`Docker::run`].
    pub(super) async fn remove(&self, containers: &[String]) -> Result<(), Error> {
        if containers.is_empty() {
            return Ok(());
        }
        let mut args = vec!["rm", "--force", "--volumes"];
        args.extend(containers.iter().map(String::as_str));
        self.run(&args).await.map(drop)
    }
}
