//! Whether the process that a record names is alive, as far as that can be seen from here.
//!
//! A process that is seen is alive. A process that is not seen is dead only where it would be seen: in the same boot
//! and the same namespaces, through a /proc that hides nothing. Everywhere else the local view proves nothing, and the
//! Lease decides.

use std::collections::BTreeMap;
use std::path::Path;

use harness_processes::birth::started_ticks;

const BOOT: &str = "e2e.bigfleet.lucy.sh/boot-id";
const PID_NAMESPACE: &str = "e2e.bigfleet.lucy.sh/pid-namespace";
/// Start times are counted from the boot, whose time each time namespace can shift.
const TIME_NAMESPACE: &str = "e2e.bigfleet.lucy.sh/time-namespace";
const PID: &str = "e2e.bigfleet.lucy.sh/pid";
const STARTED: &str = "e2e.bigfleet.lucy.sh/started-ticks";

/// What can be seen of a process from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It exists.
    Lives,
    /// It would be seen if it existed.
    Ended,
    /// It may exist where it cannot be seen from here.
    Unknown,
}

/// The place from which processes are observed.
pub(super) struct Here {
    boot: Option<String>,
    pid_namespace: Option<String>,
    time_namespace: Option<String>,
    sees_all: bool,
    started_ticks: fn(u32) -> Option<u64>,
}

impl Here {
    /// Returns the place of this process.
    pub(super) fn now() -> Self {
        let link = |name: &str| {
            let target = std::fs::read_link(Path::new("/proc/self/ns").join(name)).ok();
            target.map(|target| target.display().to_string())
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self {
            boot: boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            pid_namespace: link("pid"),
            time_namespace: link("time"),
            sees_all: proc_shows_all(),
            started_ticks,
        }
    }

    /// Describes this process for a record. Unknown values are left out.
    pub(super) fn describe(&self) -> BTreeMap<String, String> {
        let pid = std::process::id();
        let said = [
            (BOOT, self.boot.clone()),
            (PID_NAMESPACE, self.pid_namespace.clone()),
            (TIME_NAMESPACE, self.time_namespace.clone()),
            (PID, Some(pid.to_string())),
            (STARTED, (self.started_ticks)(pid).map(|ticks| ticks.to_string())),
        ];
        said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Returns what can be seen of the process that a record describes.
    pub(super) fn sees(&self, said: &BTreeMap<String, String>) -> Seen {
        let is_here = |key: &str, here: &Option<String>| {
            said.get(key).is_some_and(|value| Some(value) == here.as_ref())
        };
        let same_place = is_here(BOOT, &self.boot)
            && is_here(PID_NAMESPACE, &self.pid_namespace)
            // Kernels before 5.6 have no time namespaces.
            && said.get(TIME_NAMESPACE) == self.time_namespace.as_ref();
        let pid = said.get(PID).and_then(|text| text.parse::<u32>().ok());
        let started = said.get(STARTED).and_then(|text| text.parse::<u64>().ok());
        let (true, Some(pid), Some(started)) = (same_place, pid, started) else { return Seen::Unknown };
        match (self.started_ticks)(pid) {
            Some(ticks) if ticks == started => Seen::Lives,
            _ if self.sees_all => Seen::Ended,
            _ => Seen::Unknown,
        }
    }
}

/// Returns the process id that a record names.
pub(super) fn pid_of(said: &BTreeMap<String, String>) -> &str {
    said.get(PID).map_or("?", String::as_str)
}

/// Whether /proc is that of our own namespace, and hides no process from us.
fn proc_shows_all() -> bool {
    let is_ours = std::fs::read_link("/proc/self")
        .is_ok_and(|target| target.as_os_str().to_str() == Some(std::process::id().to_string().as_str()));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    is_ours && hides_nothing(&mounts) && started_ticks(1).is_some()
}

/// Whether `/proc/self/mountinfo` shows a whole proc without `hidepid` (proc(5)) on /proc.
fn hides_nothing(mountinfo: &str) -> bool {
    let mut on_proc = mountinfo.lines().filter_map(|line| {
        let (place, filesystem) = line.split_once(" - ")?;
        let place: Vec<&str> = place.split(' ').collect();
        (place.get(4) == Some(&"/proc")).then_some((place.get(3).copied()?, filesystem))
    });
    // The last mount is on top.
    let Some((root, filesystem)) = on_proc.next_back() else { return false };
    let mut words = filesystem.split(' ');
    let (kind, options) = (words.next(), words.nth(1).unwrap_or_default());
    let hides = |option: &str| option.strip_prefix("hidepid=").is_some_and(|how| !matches!(how, "0" | "off"));
    root == "/" && kind == Some("proc") && !options.split(',').any(hides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        let place = |text: &str| Some(text.to_owned());
        Here {
            boot: place("b"),
            pid_namespace: place("pid:[1]"),
            time_namespace: place("time:[1]"),
            sees_all: true,
            started_ticks: |pid| (pid != 7).then_some(100),
        }
    }

    fn record(changes: &[(&str, Option<&str>)]) -> BTreeMap<String, String> {
        let mut said = here().describe();
        for (key, value) in changes {
            match value {
                Some(value) => said.insert((*key).to_owned(), (*value).to_owned()),
                None => said.remove(*key),
            };
        }
        said
    }

    #[test]
    fn this_process_lives() {
        let here = Here::now();
        assert_eq!(here.sees(&here.describe()), Seen::Lives);
    }

    #[test]
    fn a_process_is_dead_only_where_it_would_be_seen() {
        let blind = || Here { sees_all: false, ..here() };
        let nowhere = || Here { boot: None, pid_namespace: None, time_namespace: None, ..here() };
        let gone = [(PID, Some("7"))];
        let with = |more: (&'static str, Option<&'static str>)| record(&[(PID, Some("7")), more]);
        let cases = [
            ("it is there", here(), record(&[]), Seen::Lives),
            ("seen in spite of hidepid: ours, or of one user", blind(), record(&[]), Seen::Lives),
            ("gone", here(), record(&gone), Seen::Ended),
            ("its id is another's", here(), record(&[(STARTED, Some("99"))]), Seen::Ended),
            ("gone, or hidden", blind(), record(&gone), Seen::Unknown),
            ("another's, or not", blind(), record(&[(STARTED, Some("99"))]), Seen::Unknown),
            ("another machine, or after a boot", here(), with((BOOT, Some("c"))), Seen::Unknown),
            ("another container", here(), with((PID_NAMESPACE, Some("pid:[2]"))), Seen::Unknown),
            ("another clock", here(), with((TIME_NAMESPACE, Some("time:[2]"))), Seen::Unknown),
            ("no time namespace is recorded", here(), with((TIME_NAMESPACE, None)), Seen::Unknown),
            ("no boot is recorded", here(), with((BOOT, None)), Seen::Unknown),
            ("no namespace is recorded", here(), with((PID_NAMESPACE, None)), Seen::Unknown),
            ("no start is recorded", here(), with((STARTED, None)), Seen::Unknown),
            ("neither is known", nowhere(), nowhere().describe(), Seen::Unknown),
            ("an older version's record", here(), BTreeMap::new(), Seen::Unknown),
        ];
        for (what, here, said, expected) in cases {
            assert_eq!(here.sees(&said), expected, "{what}");
        }
    }

    #[test]
    fn a_proc_that_hides_processes_is_known() {
        let on = |line: &str| hides_nothing(&format!("21 20 0:1 / / rw - ext4 /dev/a rw\n{line}\n"));
        let plain = "22 21 0:5 / /proc rw,nosuid shared:1 - proc proc rw";
        assert!(on(plain));
        assert!(on(&format!("{plain},hidepid=off")) && on(&format!("{plain},gid=5,hidepid=0")));
        for hidden in ["hidepid=1", "hidepid=2", "gid=5,hidepid=invisible", "hidepid=ptraceable"] {
            assert!(!on(&format!("{plain},{hidden}")), "{hidden}");
        }
        assert!(!on(&format!("{plain}\n23 22 0:6 / /proc rw - tmpfs t rw")), "something else lies on it");
        assert!(!on(""), "nothing is known");
    }
}
