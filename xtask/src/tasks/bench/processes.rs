//! Processes of clusters, found by the run id in their environment (`E2E_RUN_ID`).

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process with a run id.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// The kernel's name for it, at most 15 bytes.
    pub name: String,
    /// The run id in its environment.
    pub run_id: String,
}

/// Returns the processes with one of these run ids.
pub fn of(run_ids: &[String]) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let run_id = run_ids.iter().find(|run_id| bears(pid, run_id))?.clone();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(Process { pid, name: name.trim_end().to_owned(), run_id })
        })
        .collect()
}

fn bears(pid: u32, run_id: &str) -> bool {
    let wanted = format!("E2E_RUN_ID={run_id}");
    // It is unreadable if the process has ended in the meantime or belongs to another user.
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

impl Process {
    /// Sends a signal, unless the process has ended and its id has been reused.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return };
        if bears(self.pid, &self.run_id) {
            // It may end at this very moment, which is just as well.
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }

    /// Returns the CPU time that the process has used so far, in milliseconds; 0 if it has ended.
    pub fn cpu_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        ticks(&stat) * 1000.0 / rustix::param::clock_ticks_per_second() as f64
    }
}

/// Returns user and system time from a line of `/proc/PID/stat`, in clock ticks.
fn ticks(stat: &str) -> f64 {
    // The name may contain spaces and parentheses, so fields are counted after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_name_holds() {
        assert_eq!(ticks("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 120 30 5 5 20"), 150.0);
        assert_eq!(ticks(""), 0.0);
    }

    #[test]
    fn a_process_is_found_by_its_run_id_and_ended() {
        let run_id = format!("e2e-bench-test-{}", std::process::id());
        let mut command = Command::new("sleep");
        let mut child = command.arg("60").env("E2E_RUN_ID", &run_id).stdin(Stdio::null()).spawn().unwrap();
        let run_ids = [run_id, "another".to_owned()];
        // A process that is just executing another program shows no environment for a moment.
        let until = Instant::now() + Duration::from_secs(30);
        let mut found = of(&run_ids);
        while found.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            found = of(&run_ids);
        }
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [child.id()]);
        found[0].signal(Signal::KILL);
        child.wait().unwrap();
        assert!(of(&run_ids).is_empty());
    }
}
