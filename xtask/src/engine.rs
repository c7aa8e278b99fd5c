//! A Docker engine of our own: started directly, with everything that it creates in separate places, and stopped by its
//! process id.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::{fs::DirBuilderExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tools::runc::Means;
use xshell::cmd;

use crate::shell;
use crate::supervisor::last_lines;

/// Time for a start. It takes a second or two, but a busy machine needs longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for a stop. dockerd gives each container ten seconds, one after the other in the worst case.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The file in the data directory that records what the engine leaves behind, until that is removed.
const TRACES: &str = "fleet-e2e.json";
/// The file that is locked while an engine uses the data directory.
const LOCK: &str = "fleet-e2e.lock";

/// What an engine is started with.
pub struct Spec<'a> {
    /// The dockerd program.
    pub dockerd: &'a Path,
    /// The directory of the workspace's programs.
    pub bin_dir: &'a Path,
    /// The directory in which the engine keeps its images.
    pub data_root: &'a Path,
}

/// A running engine.
pub struct Engine {
    child: Child,
    traces: Traces,
    data_root: PathBuf,
    _lock: File,
}

/// What an engine leaves behind in addition to its data.
#[derive(Debug, Serialize, Deserialize)]
struct Traces {
    /// The directory of the socket, log, pid file and state.
    dir: PathBuf,
    /// The name of the control group of all its containers.
    cgroup: String,
}

impl Engine {
    /// Starts an engine and waits until it answers. Must be called from the main thread, because the engine dies with
    /// the thread that forks it. `started` is called with its process id as soon as there is one.
    pub fn start(spec: &Spec, started: impl FnOnce(u32)) -> anyhow::Result<Engine> {
        let lock = lock(spec.data_root)?;
        // An engine that was killed could not clean up.
        if let Some(traces) = Traces::read(spec.data_root) {
            traces.remove();
        }
        let traces = Traces::make(spec.data_root)?;
        let means = Means::own().context("cannot determine this process's capabilities")?;
        let log = File::create(traces.log()).context("cannot create dockerd's log")?;
        let mut command = command(spec, &traces, !means.lacking().is_empty());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start e2e-shim")?;
        started(child.id());
        let mut engine = Engine { child, traces, data_root: spec.data_root.to_owned(), _lock: lock };
        if let Err(error) = engine.wait_until_it_answers() {
            let last = last_lines(&engine.traces.log());
            engine.end_process()?;
            engine.forget();
            return Err(error.context(format!("dockerd did not start; its last words:\n{last}")));
        }
        // Containers and networks of an engine that was killed, which dockerd has just restored.
        engine.empty()?;
        Ok(engine)
    }

    /// Returns the engine's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the value for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.traces.socket().display())
    }

    /// Removes every container, volume and network, stops the engine, and removes everything else that it created,
    /// except its data.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let emptied = self.empty();
        self.end_process()?;
        self.forget();
        emptied
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !answers(&self.traces.socket()) {
            if let Some(status) = self.child.try_wait().context("cannot wait for dockerd")? {
                bail!("it ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("it does not answer after {} s", START_TIMEOUT.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn empty(&self) -> anyhow::Result<()> {
        if self.docker(&["version"]).is_err() {
            // A signal that was passed on has stopped it already, so nothing can be removed any more.
            return Ok(());
        }
        let containers = self.docker(&["ps", "--all", "--quiet"])?;
        if !containers.is_empty() {
            let mut args = vec!["rm", "--force", "--volumes"];
            args.extend(containers.lines());
            self.docker(&args)?;
        }
        self.docker(&["volume", "prune", "--force"])?;
        self.docker(&["network", "prune", "--force"])?;
        Ok(())
    }

    /// Runs a docker command and returns its output.
    fn docker(&self, args: &[&str]) -> anyhow::Result<String> {
        let shell = shell::within(Path::new("/"))?;
        let docker = cmd!(shell, "docker {args...}").env("DOCKER_HOST", self.host());
        shell::text(docker.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY"))
    }

    /// Stops dockerd, which stops its containerd.
    fn end_process(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("dockerd has no process id")?;
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(pid, Signal::TERM).context("cannot stop dockerd")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("dockerd did not stop within {} s and was killed", STOP_TIMEOUT.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn forget(&self) {
        self.traces.remove();
        let _ = fs::remove_file(self.data_root.join(TRACES));
    }
}

impl Traces {
    fn make(data_root: &Path) -> anyhow::Result<Traces> {
        // A short name, because the path of a socket is limited to 107 bytes.
        let dir = PathBuf::from(format!("/tmp/e2e-docker-{}", std::process::id()));
        let traces = Traces { dir, cgroup: format!("e2e-docker-{}", std::process::id()) };
        // Recorded before it is created, so that nothing ever exists without a record.
        let path = data_root.join(TRACES);
        fs::write(&path, serde_json::to_vec(&traces)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&traces.dir)
            .with_context(|| format!("cannot create {}", traces.dir.display()))?;
        fs::write(traces.config(), "{}").context("cannot write dockerd's configuration")?;
        Ok(traces)
    }

    fn read(data_root: &Path) -> Option<Traces> {
        serde_json::from_slice(&fs::read(data_root.join(TRACES)).ok()?).ok()
    }

    /// Removes the control groups and the directory. Ignores errors: the kernel refuses to remove what is in use, and
    /// there is nothing more to do about it here.
    fn remove(&self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let roots = hierarchies.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        for root in roots {
            remove_cgroups(&root.join(&self.cgroup));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("dockerd.log")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("daemon.json")
    }
}

/// Returns the command for dockerd. It dies with us, does not read the host's configuration and does not change its
/// network.
fn command(spec: &Spec, traces: &Traces, short_of_capabilities: bool) -> Command {
    let mut command = Command::new(spec.bin_dir.join("e2e-shim"));
    command.arg("--term").arg(std::process::id().to_string()).arg(spec.dockerd);
    command.arg("--host").arg(format!("unix://{}", traces.socket().display()));
    command.arg("--config-file").arg(traces.config());
    command.arg("--data-root").arg(spec.data_root);
    command.arg("--exec-root").arg(traces.dir.join("exec"));
    command.arg("--pidfile").arg(traces.dir.join("dockerd.pid"));
    // Ports are published by a process, docker-proxy, instead of by firewall rules.
    command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
    command.args(["--ip-masq=false", "--ip-forward=false", "--userland-proxy=true"]);
    command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
    command.arg("--cgroup-parent").arg(format!("/{}", traces.cgroup));
    if short_of_capabilities {
        let wrapper = spec.bin_dir.join("e2e-runc");
        command.arg("--add-runtime").arg(format!("e2e-runc={}", wrapper.display()));
        command.args(["--default-runtime", "e2e-runc"]);
    }
    // A Ctrl-C at the terminal must not stop dockerd before the command has cleaned up.
    command.process_group(0);
    command
}

/// Locks the data directory for this engine.
fn lock(data_root: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(data_root).with_context(|| format!("cannot create {}", data_root.display()))?;
    let file = File::create(data_root.join(LOCK))
        .with_context(|| format!("cannot write to {}", data_root.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another `cargo xtask dockerd` uses {}; wait for it, use its engine, or give another --data-root",
            data_root.display()
        );
    }
    Ok(file)
}

/// Whether an engine listens and is ready.
fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().is_some_and(|line| line.contains(" 200 ")))
    };
    ask().unwrap_or(false)
}

/// Removes empty control groups, the innermost first. A group with processes stays.
fn remove_cgroups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Finds a program on `PATH`, or in the directories of programs for root.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_program_in(std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)), name)
}

/// Finds a program of that name in the first of these directories that has one.
pub fn find_program_in(mut dirs: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    dirs.find_map(|dir| {
        let path = dir.join(name);
        tools::is_executable(&path).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(short_of_capabilities: bool) -> Vec<String> {
        let traces = Traces { dir: PathBuf::from("/tmp/t"), cgroup: "g".to_owned() };
        let (dockerd, bin_dir, data_root) = (Path::new("/d"), Path::new("/b"), Path::new("/data"));
        let spec = Spec { dockerd, bin_dir, data_root };
        let command = command(&spec, &traces, short_of_capabilities);
        command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_firewall_is_left_alone_and_runc_replaced_only_where_it_must_be() {
        let usual = args(false);
        for flag in ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"] {
            assert!(usual.iter().any(|arg| arg == flag), "{usual:?}");
        }
        assert!(!usual.iter().any(|arg| arg.contains("e2e-runc")), "{usual:?}");
        assert!(args(true).iter().any(|arg| arg == "e2e-runc=/b/e2e-runc"));
    }

    #[test]
    fn a_data_directory_has_one_engine_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("another `cargo xtask dockerd`"));
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn what_an_engine_leaves_is_noted_before_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Traces::read(dir.path()).is_none());
        let made = Traces::make(dir.path()).unwrap();
        let noted = Traces::read(dir.path()).unwrap();
        assert_eq!((&noted.dir, &noted.cgroup), (&made.dir, &made.cgroup));
        assert!(made.dir.exists());
        noted.remove();
        assert!(!made.dir.exists());
    }

    #[test]
    fn a_socket_that_is_not_there_does_not_answer() {
        assert!(!answers(Path::new("/nowhere/docker.sock")));
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }
}
