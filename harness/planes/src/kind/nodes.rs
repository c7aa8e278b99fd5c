//! The processes in the nodes of kind clusters, as the host sees them.
//!
//! A component is found by its node's container id in `/proc/PID/cgroup`. It is signalled through the engine, so that
//! the harness needs no rights over root's processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use crate::Error;
use harness_processes::birth::started_ticks;
use harness_processes::{Key, tail};
use harness_processes::{ProcessInfo, ProcessState};

/// Reported for a process whose whole node ended although no end was requested.
const NODE_IS_GONE: &str =
    "(everything in its node ended: the container was removed, or the Docker engine was stopped)";
/// Reported for a process whose log is still in its node.
const LOG_COMES_LATER: &str = "(its log is in the node, and is copied here before the container is removed)";

/// A process in a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its id on the host.
    pub pid: u32,
    /// Its id in the node.
    pub pid_in_node: u32,
    /// Clock ticks from boot to its start, which distinguish it from a later process with the same id.
    started_ticks: u64,
}

impl Found {
    fn lives(&self) -> bool {
        started_ticks(self.pid) == Some(self.started_ticks)
    }
}

/// Finds the process of that name in the container.
pub(super) fn find(container_id: &str, component: &str) -> Option<Found> {
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find_map(|pid| {
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        (group.contains(container_id) && is_program(&command, component)).then(|| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let pid_in_node = second_pid(&status)?;
            Some(Found { pid, pid_in_node, started_ticks: started_ticks(pid)? })
        })?
    })
}

/// Whether the first word of a command line (separated by NUL) is that program.
fn is_program(command: &[u8], name: &str) -> bool {
    let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
    program.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
}

/// Returns the id one namespace below ours (proc(5), `NSpid`).
fn second_pid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

struct Entry {
    found: Found,
    state: ProcessState,
    asked: bool,
    started: String,
    starts: u32,
    log_file: PathBuf,
}

/// The known processes of all nodes.
#[derive(Default)]
pub(super) struct Processes(Mutex<BTreeMap<Key, Entry>>);

impl Processes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.0.lock().expect("the list of processes in nodes must not be poisoned")
    }

    /// Registers a process that was found, for the first time or after a requested start.
    pub(super) fn note(&self, key: &Key, found: Found, log_file: PathBuf) {
        let mut entries = self.lock();
        let starts = entries.get(key).map_or(0, |entry| entry.starts) + 1;
        let started = jiff::Timestamp::now().to_string();
        let state = ProcessState::Running;
        entries.insert(key.clone(), Entry { found, state, asked: false, started, starts, log_file });
    }

    /// Forgets the processes of a lease, or of all leases.
    pub(super) fn forget(&self, lease: Option<&str>) {
        self.lock().retain(|key, _| lease.is_some_and(|lease| key.lease != lease));
    }

    /// Whether there is, or was, such a process.
    pub(super) fn know(&self, key: &Key) -> bool {
        self.lock().contains_key(key)
    }

    /// Returns the process of that key while it runs.
    ///
    /// # Errors
    /// When there is none, or it has ended.
    pub(super) fn running(&self, key: &Key) -> Result<Found, Error> {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(key) else {
            return Err(Error::Usage(format!("no process {key}")));
        };
        entry.look();
        match entry.state {
            ProcessState::Exited => Err(Error::Usage(format!("{key} is not running"))),
            ProcessState::Running | ProcessState::Paused => Ok(entry.found.clone()),
        }
    }

    /// Records what was done to a process: its end was requested, or it was paused or continued.
    pub(super) fn asked(&self, key: &Key, state: ProcessState) {
        if let Some(entry) = self.lock().get_mut(key) {
            match state {
                ProcessState::Exited => entry.asked = true,
                ProcessState::Running | ProcessState::Paused => entry.state = state,
            }
        }
    }

    /// Whether the process of that key has ended.
    pub(super) fn has_ended(&self, key: &Key) -> bool {
        self.lock().get_mut(key).is_none_or(|entry| {
            entry.look();
            entry.state == ProcessState::Exited
        })
    }

    /// Returns what is known about a process.
    pub(super) fn info(&self, key: &Key) -> Option<ProcessInfo> {
        self.lock().get_mut(key).map(|entry| entry.describe(key))
    }

    /// Returns what is known about all processes.
    pub(super) fn all(&self) -> Vec<ProcessInfo> {
        let mut infos: Vec<_> = self.lock().iter_mut().map(|(key, entry)| entry.describe(key)).collect();
        let of = |info: &ProcessInfo| (info.lease.clone(), info.cluster.clone());
        let alive = |info: &&ProcessInfo| info.state != ProcessState::Exited;
        let living: BTreeSet<_> = infos.iter().filter(alive).map(of).collect();
        for info in infos.iter_mut().filter(|info| info.unasked && !living.contains(&of(info))) {
            info.last_log_lines = vec![NODE_IS_GONE.to_owned()];
        }
        infos
    }
}

impl Entry {
    fn look(&mut self) {
        if !self.found.lives() {
            self.state = ProcessState::Exited;
        }
    }

    fn describe(&mut self, key: &Key) -> ProcessInfo {
        self.look();
        let unasked = self.state == ProcessState::Exited && !self.asked;
        ProcessInfo {
            lease: key.lease.clone(),
            cluster: key.cluster.clone(),
            name: key.name.clone(),
            pid: self.found.pid,
            state: self.state,
            // Only kubelet knows them.
            exit_code: None,
            signal: None,
            unasked,
            started: self.started.clone(),
            starts: self.starts,
            log_file: self.log_file.clone(),
            last_log_lines: if unasked { self.last_lines() } else { Vec::new() },
        }
    }

    fn last_lines(&self) -> Vec<String> {
        match self.log_file.exists() {
            true => tail(&self.log_file, 12),
            false => vec![LOG_COMES_LATER.to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_first_word() {
        assert!(is_program(b"/usr/local/bin/kube-scheduler\0--config=x\0", "kube-scheduler"));
        assert!(is_program(b"kwok\0", "kwok"));
        assert!(!is_program(b"kubectl\0logs\0kube-scheduler\0", "kube-scheduler"));
        assert!(!is_program(b"", "kwok"));
    }

    #[test]
    fn the_id_in_the_node_is_the_second() {
        assert_eq!(second_pid("Name:\tkwok\nNSpid:\t4711\t52\t1\n"), Some(52));
        assert_eq!(second_pid("NSpid:\t4711\n"), None, "a process of the host is in no node");
    }

    #[test]
    fn a_process_that_ended_is_told_from_one_that_lives() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let found = Found { pid, pid_in_node: 0, started_ticks: started_ticks(pid).unwrap() };
        assert!(found.lives());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found.lives());
        let key = Key::of_cluster("l", "c", "kwok");
        let processes = Processes::default();
        processes.note(&key, found, "/no.log".into());
        assert!(processes.info(&key).unwrap().unasked, "nobody asked for its end");
        assert_eq!(processes.info(&key).unwrap().last_log_lines, [LOG_COMES_LATER]);
        processes.asked(&key, ProcessState::Exited);
        let info = processes.info(&key).unwrap();
        assert_eq!((info.state, info.unasked), (ProcessState::Exited, false));
    }

    #[test]
    fn a_node_of_which_nothing_lives_is_told_as_gone() {
        let pid = std::process::id();
        let living = Found { pid, pid_in_node: 1, started_ticks: started_ticks(pid).unwrap() };
        let ended = Found { started_ticks: 0, ..living.clone() };
        let processes = Processes::default();
        for (cluster, name, found) in
            [("a", "etcd", &ended), ("a", "kwok", &ended), ("b", "etcd", &ended), ("b", "kwok", &living)]
        {
            processes.note(&Key::of_cluster("l", cluster, name), found.clone(), "/no.log".into());
        }
        let lines: Vec<_> = processes.all().into_iter().flat_map(|info| info.last_log_lines).collect();
        assert_eq!(lines, [NODE_IS_GONE, NODE_IS_GONE, LOG_COMES_LATER]);
    }
}
