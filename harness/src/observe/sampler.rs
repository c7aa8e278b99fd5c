//! CPU and memory of processes and of the host, from /proc.

use std::path::Path;

use platform::cgroup::Groups;

use harness_model::record::{HostSample, ProcessSample};

/// A process to sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Name given at its start.
    pub name: String,
    /// Its cluster, if it belongs to one.
    pub cluster: Option<String>,
    /// Process id.
    pub pid: u32,
}

/// Reads CPU time and memory of each process that still exists.
pub fn processes(watched: &[Watched]) -> Vec<ProcessSample> {
    let sample = |w: &Watched| {
        let proc = format!("/proc/{}", w.pid);
        let stat = std::fs::read_to_string(Path::new(&proc).join("stat")).ok()?;
        let statm = std::fs::read_to_string(Path::new(&proc).join("statm")).ok()?;
        Some(ProcessSample {
            name: w.name.clone(),
            cluster: w.cluster.clone(),
            pid: w.pid,
            cpu_ms: ticks_to_ms(cpu_ticks(&stat)?),
            rss_mib: resident_pages(&statm)? * rustix::param::page_size() as u64 / (1 << 20),
        })
    };
    watched.iter().filter_map(sample).collect()
}

/// Reads load, CPU time and memory of the host.
pub fn host() -> HostSample {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (busy, idle, steal) = host_ticks(&read("/proc/stat"));
    HostSample {
        load1: read("/proc/loadavg").split(' ').next().and_then(|l| l.parse().ok()).unwrap_or_default(),
        busy_cpu_ms: ticks_to_ms(busy),
        idle_cpu_ms: ticks_to_ms(idle),
        steal_cpu_ms: ticks_to_ms(steal),
        available_mib: platform::memory::available().map_or(0, |available| available.mib),
        throttled_cpu_ms: Groups::own().throttled_ms(),
    }
}

fn ticks_to_ms(ticks: u64) -> u64 {
    ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)
}

/// Returns utime + stime (fields 14 and 15, proc(5)); the command name may contain spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

/// Returns (busy, idle, steal) of the first line: user nice system idle iowait irq softirq steal.
fn host_ticks(stat: &str) -> (u64, u64, u64) {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    let at = |i: usize| fields.get(i).copied().unwrap_or_default();
    (at(0) + at(1) + at(2) + at(5) + at(6), at(3) + at(4), at(7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_an_odd_command_name() {
        let stat = "42 (a) b) S 1 1 1 0 -1 4 10 0 0 0 150 50 0 0 20 0 1 0 9 9 9";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(resident_pages("900 300 20 1 0 50 0"), Some(300));
    }

    #[test]
    fn the_host_line_is_split_into_busy_idle_and_steal() {
        assert_eq!(host_ticks("cpu  10 1 4 100 5 2 3 7 0 0\ncpu0 1"), (20, 105, 7));
    }

    #[test]
    fn this_process_can_be_sampled() {
        let me = Watched { name: "me".into(), cluster: None, pid: std::process::id() };
        let gone = Watched { name: "gone".into(), cluster: None, pid: u32::MAX };
        let samples = processes(&[me, gone]);
        assert_eq!(samples.len(), 1);
        assert!(samples[0].rss_mib > 0);
        assert!(host().available_mib > 0);
    }
}
