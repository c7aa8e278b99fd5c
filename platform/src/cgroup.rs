//! What the control groups of this process (version 1 or 2) leave it: memory, and CPU time that was withheld.
//!
//! A container or a CI job has a limit of its own, and the machine's figures say nothing about it.

use std::fs;
use std::path::{Path, PathBuf};

/// Version 1 says "no limit" by a number near 2^63.
const NO_LIMIT_LEAST: u64 = 1 << 60;
const MIB: u64 = 1 << 20;

/// The directories that bound this process, per controller, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    memory: Levels,
    cpu: Levels,
}

/// The group of a process and those around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Levels {
    dirs: Vec<PathBuf>,
    is_v2: bool,
}

/// Room for memory under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room {
    /// What can still be taken, MiB.
    pub left_mib: u64,
    /// The limit, MiB.
    pub limit_mib: u64,
}

impl Groups {
    /// Those of this process; none where /proc does not tell.
    pub fn own() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    fn parse(cgroup: &str, mountinfo: &str) -> Self {
        let of = |controller| Levels::find(controller, cgroup, mountinfo).unwrap_or_default();
        Self { memory: of("memory"), cpu: of("cpu") }
    }

    /// The room under the tightest limit on memory; none without a limit.
    pub fn memory(&self) -> Option<Room> {
        self.memory.dirs.iter().filter_map(|dir| room(dir, self.memory.is_v2)).min()
    }

    /// How long CPUs stood still for this process's groups because a limit on CPU time was used up, in milliseconds
    /// since the groups were made, added up over CPUs; none where the kernel does not count it.
    pub fn throttled_ms(&self) -> Option<u64> {
        let of = |dir: &PathBuf| {
            let stat = fs::read_to_string(dir.join("cpu.stat")).ok()?;
            match self.cpu.is_v2 {
                true => field(&stat, "throttled_usec").map(|us| us / 1_000),
                false => field(&stat, "throttled_time").map(|ns| ns / 1_000_000),
            }
        };
        self.cpu.dirs.iter().filter_map(of).reduce(u64::saturating_add)
    }
}

impl Levels {
    /// A controller is in a hierarchy of version 1 or in that of version 2, never in both.
    fn find(controller: &str, cgroup: &str, mountinfo: &str) -> Option<Self> {
        let lines = || cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let v1 = lines().find(|(names, _)| names.split(',').any(|name| name == controller));
        let (path, is_v2) = match v1 {
            Some((_, path)) => (path, false),
            None => (lines().find(|(names, _)| names.is_empty())?.1, true),
        };
        let mount = mountinfo.lines().filter_map(Mount::parse).find(|mount| match is_v2 {
            true => mount.kind == "cgroup2",
            false => mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller),
        })?;
        let innermost = mount.place_of(path);
        let dirs = innermost.ancestors().take_while(|dir| dir.starts_with(&mount.point));
        Some(Self { dirs: dirs.map(Path::to_owned).collect(), is_v2 })
    }
}

/// A mounted hierarchy.
struct Mount<'a> {
    /// What of the hierarchy is mounted.
    root: &'a str,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of mountinfo: `id parent dev root point options optional... - kind source options` (proc(5)).
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next()?;
        Some(Self { root, point: unescape(point).into(), kind, options: right.nth(1).unwrap_or_default() })
    }

    /// Where a group of that path is to be seen. A container often sees its own group as the mounted root, under
    /// whatever path the group has outside.
    fn place_of(&self, path: &str) -> PathBuf {
        let below = match self.root {
            "/" => Some(path),
            root => path.strip_prefix(root),
        };
        let dir = below.map(|below| self.point.join(below.trim_start_matches('/')));
        dir.filter(|dir| dir.is_dir()).unwrap_or_else(|| self.point.clone())
    }
}

/// Blanks and such are octal in mountinfo.
fn unescape(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Files that were read or written count as used until somebody else needs the memory, so they are taken off: after a
/// build, they are most of what is "used".
fn room(dir: &Path, is_v2: bool) -> Option<Room> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let names = match is_v2 {
        true => ["memory.current", "inactive_file", "active_file"],
        false => ["memory.usage_in_bytes", "total_inactive_file", "total_active_file"],
    };
    let limit = match is_v2 {
        // Beyond `high` a group is slowed down until it gives back.
        true => [number("memory.max"), number("memory.high")].into_iter().flatten().min(),
        false => number("memory.limit_in_bytes"),
    };
    let limit = limit.filter(|limit| *limit < NO_LIMIT_LEAST)?;
    let [usage, inactive, active] = names;
    let stat = read("memory.stat").unwrap_or_default();
    let cache = [inactive, active].iter().filter_map(|name| field(&stat, name)).sum();
    let working_set = number(usage)?.saturating_sub(cache);
    Some(Room { left_mib: limit.saturating_sub(working_set) / MIB, limit_mib: limit / MIB })
}

/// A line `name number`.
fn field(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }

    fn v2(root: &Path, path: &str) -> Groups {
        let mount = format!("30 24 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw\n", root.display());
        Groups::parse(&format!("0::{path}\n"), &mount)
    }

    #[test]
    fn version_2_is_bounded_by_the_tightest_group_around_it() {
        let root = tempfile::tempdir().unwrap();
        let (outer, inner) = (root.path().join("ci"), root.path().join("ci/job"));
        let gib = 1_u64 << 30;
        let files = |max: &str, current: u64, inactive: u64, active: u64| {
            [
                ("memory.max", max.to_owned()),
                ("memory.high", "max".to_owned()),
                ("memory.current", current.to_string()),
                ("memory.stat", format!("anon 1\ninactive_file {inactive}\nactive_file {active}\n")),
            ]
        };
        for (dir, files) in [
            (&outer, files(&(4 * gib).to_string(), 3 * gib, gib, gib / 2)),
            (&inner, files("max", 2 * gib, 0, 0)),
        ] {
            write(dir, &files.each_ref().map(|(name, text)| (*name, text.as_str())));
        }
        let groups = v2(root.path(), "/ci/job");
        // 4 GiB less the 1.5 GiB that are not cache.
        assert_eq!(groups.memory(), Some(Room { left_mib: 2_560, limit_mib: 4_096 }));
        fs::write(outer.join("memory.high"), (2 * gib).to_string()).unwrap();
        assert_eq!(groups.memory(), Some(Room { left_mib: 512, limit_mib: 2_048 }));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let root = tempfile::tempdir().unwrap();
        let (memory, cpu) = (root.path().join("memory"), root.path().join("cpu,cpuacct"));
        let gib = 1_u64 << 30;
        write(
            &memory.join("job"),
            &[
                ("memory.limit_in_bytes", &(2 * gib).to_string()),
                ("memory.usage_in_bytes", &(2 * gib).to_string()),
                (
                    "memory.stat",
                    &format!("inactive_file 7\ntotal_inactive_file {gib}\ntotal_active_file 0\n"),
                ),
            ],
        );
        write(&memory, &[("memory.limit_in_bytes", "9223372036854771712"), ("memory.usage_in_bytes", "1")]);
        write(&cpu.join("job"), &[("cpu.stat", "nr_periods 9\nnr_throttled 2\nthrottled_time 1500000000\n")]);
        let mounts = format!(
            "40 30 0:30 / {} rw - cgroup cgroup rw,memory\n41 30 0:31 / {} rw - cgroup cgroup rw,cpu,cpuacct\n",
            memory.display(),
            cpu.display()
        );
        let groups = Groups::parse("5:memory:/job\n4:cpu,cpuacct:/job\n0::/job\n", &mounts);
        assert_eq!(groups.memory(), Some(Room { left_mib: 1_024, limit_mib: 2_048 }));
        assert_eq!(groups.throttled_ms(), Some(1_500));
    }

    #[test]
    fn withheld_cpu_time_of_version_2_is_added_up_over_the_groups() {
        let root = tempfile::tempdir().unwrap();
        write(
            &root.path().join("pod"),
            &[("cpu.stat", "usage_usec 5\nnr_throttled 1\nthrottled_usec 2000\n")],
        );
        write(&root.path().join("pod/c"), &[("cpu.stat", "nr_throttled 1\nthrottled_usec 3000\n")]);
        assert_eq!(v2(root.path(), "/pod/c").throttled_ms(), Some(5));
        write(&root.path().join("free"), &[("cpu.stat", "usage_usec 5\n")]);
        assert_eq!(v2(root.path(), "/free").throttled_ms(), None, "not counted is not zero");
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_root_is_bounded_by_it() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("memory.max", "1073741824"), ("memory.current", "0")]);
        let mounts = |of: &str| format!("3 2 0:2 {of} {} ro - cgroup2 cgroup rw\n", root.path().display());
        let outside = Groups::parse("0::/docker/abc\n", &mounts("/docker/abc"));
        let other = Groups::parse("0::/../other\n", &mounts("/"));
        for groups in [outside, other] {
            assert_eq!(groups.memory(), Some(Room { left_mib: 1_024, limit_mib: 1_024 }));
        }
        assert_eq!(Groups::parse("", "").memory(), None);
    }

    #[test]
    fn a_mount_point_may_have_blanks() {
        let mount = Mount::parse(r"3 2 0:2 / /a\040b ro shared:9 - cgroup2 cgroup rw").unwrap();
        assert_eq!((mount.point, mount.kind), (PathBuf::from("/a b"), "cgroup2"));
    }
}
