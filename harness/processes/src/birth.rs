//! The process that a process id referred to when it was recorded.

use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// Distinguishes a process from others with its id: ids are reused, start over when the machine boots, and mean
/// something else in another container. Fields are empty if /proc did not provide them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Birth {
    /// When it was started, in clock ticks since the machine booted.
    pub ticks: Option<u64>,
    /// Identifies the boot of the machine.
    pub boot: String,
    /// Identifies the pid namespace that its id belongs to.
    pub namespace: PathBuf,
}

/// A process that is recorded, to be recognised later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its process id.
    pub pid: u32,
    /// Distinguishes it from others with that id.
    pub birth: Birth,
}

impl Recorded {
    /// Records the process with that id, as seen from here.
    pub fn of(pid: u32) -> Self {
        Self { pid, birth: Birth::of(pid) }
    }

    /// Whether it still runs.
    pub fn life(&self) -> Life {
        self.birth.life(self.pid)
    }
}

/// Whether a recorded process still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Runs,
    /// It has ended.
    Ended,
    /// Its id means nothing here: it belongs to another pid namespace.
    Unknown,
}

impl Birth {
    /// Describes the process with that id, as seen from here.
    pub fn of(pid: u32) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { ticks: started_ticks(pid), boot: boot.trim().to_owned(), namespace: namespace() }
    }

    /// Whether process `pid`, with this birth, still runs.
    pub fn life(&self, pid: u32) -> Life {
        let now = Self::of(pid);
        if !self.boot.is_empty() && self.boot != now.boot {
            return Life::Ended;
        }
        if !self.namespace.as_os_str().is_empty() && self.namespace != now.namespace {
            return Life::Unknown;
        }
        let is_other = self.ticks.is_some_and(|ticks| now.ticks.is_some_and(|now| now != ticks));
        if is_other || is_zombie(pid) || !is_alive(pid) { Life::Ended } else { Life::Runs }
    }
}

/// Returns the clock ticks from boot to the start of a process: field 22 of /proc/PID/stat (proc(5)). `None` once it
/// has ended, even if it is still a zombie.
pub fn started_ticks(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    if has_ended(&fields) { None } else { fields.get(19)?.parse().ok() }
}

/// Returns the fields of /proc/PID/stat (proc(5)) from the third one on, which is the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may contain blanks and parentheses.
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn has_ended(stat: &[String]) -> bool {
    stat.first().is_some_and(|state| matches!(state.as_str(), "Z" | "X"))
}

/// Whether the process has ended and was not reaped: an init that reaps nothing keeps it for ever.
fn is_zombie(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| has_ended(&fields))
}

fn namespace() -> PathBuf {
    std::fs::read_link("/proc/self/ns/pid").unwrap_or_default()
}

/// Whether a process of that id exists; a zombie counts until it is reaped.
pub fn is_alive(pid: u32) -> bool {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    raw.is_some_and(|pid| pidfd_open(pid, PidfdFlags::empty()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_others_with_its_id() {
        let me = std::process::id();
        let birth = Birth::of(me);
        assert!(birth.ticks.is_some_and(|ticks| ticks > 0), "{birth:?}");
        assert_eq!(birth.life(me), Life::Runs);
        let ticks = birth.ticks.map(|ticks| ticks + 1);
        assert_eq!(Birth { ticks, ..birth.clone() }.life(me), Life::Ended, "its id is used again");
        assert_eq!(Birth { boot: "x".to_owned(), ..birth.clone() }.life(me), Life::Ended, "the machine was");
        assert_eq!(Birth { namespace: "pid:[1]".into(), ..birth.clone() }.life(me), Life::Unknown);
        assert_eq!(birth.life(u32::MAX), Life::Ended);
    }

    #[test]
    fn a_process_that_nobody_reaps_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let recorded = Recorded::of(child.id());
        assert_eq!(recorded.life(), Life::Runs);
        child.kill().unwrap();
        let began = std::time::Instant::now();
        while recorded.life() != Life::Ended {
            assert!(began.elapsed().as_secs() < 10, "still {:?}", recorded.life());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(is_alive(child.id()), "it was not reaped");
        child.wait().unwrap();
    }
}
