//! Finds running supervisors. Looking changes nothing: what cannot be reached from here may be reachable from
//! elsewhere.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::protocol::Announcement;
use super::{Error, starter};
use harness_processes::birth::Life;

/// Where supervisors create their scratch directories, each with a copy of the announcement.
const SCRATCH_ROOT: &str = "/tmp";
/// The file by which a supervisor is found, in a run directory and in a scratch directory.
pub const ANNOUNCEMENT: &str = "supervisor.json";

/// A supervisor that is running, as far as is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Id of the run.
    pub run_id: String,
    /// Its run directory.
    pub run_dir: PathBuf,
    /// How to reach it, or why it cannot be reached from here.
    pub reach: Result<Announcement, String>,
}

/// Which supervisors to find.
#[derive(Clone, Debug)]
pub enum Scope<'a> {
    /// Only those with a run directory in this directory.
    In(&'a Path),
    /// Those with a run directory in the first directory, and all that the checkout with these fixtures has started,
    /// wherever they keep theirs.
    Ours(&'a Path, &'a Path),
    /// All supervisors of this user.
    All(&'a Path),
}

impl Scope<'_> {
    fn state_dir(&self) -> &Path {
        match self {
            Self::In(dir) | Self::Ours(dir, _) | Self::All(dir) => dir,
        }
    }

    /// Whether this includes one with its run directory elsewhere.
    fn means(&self, announcement: &Announcement) -> bool {
        match self {
            Self::In(_) => false,
            Self::Ours(_, fixtures) => announcement.fixtures_dir == *fixtures,
            Self::All(_) => true,
        }
    }
}

/// Returns the running supervisors, sorted by run id.
///
/// # Errors
/// When a directory exists but cannot be listed.
pub fn running(scope: &Scope<'_>) -> Result<Vec<Found>, Error> {
    running_with(scope, Path::new(SCRATCH_ROOT))
}

fn running_with(scope: &Scope<'_>, scratch_root: &Path) -> Result<Vec<Found>, Error> {
    let (mut found, mut seen) = (Vec::new(), Vec::new());
    for run_dir in directories(scope.state_dir())? {
        match starter::read(&run_dir.join(ANNOUNCEMENT)) {
            Ok(announcement) => {
                seen.push(announcement.scratch.clone());
                found.extend(look(announcement, run_dir));
            }
            Err(_) => found.extend(hidden(run_dir)),
        }
    }
    for dir in directories(scratch_root)?.iter().filter(|dir| is_own_scratch(dir)) {
        let Ok(announcement) = starter::read(&dir.join(ANNOUNCEMENT)) else { continue };
        if !seen.contains(&announcement.scratch) && scope.means(&announcement) {
            let run_dir = announcement.run_dir.clone();
            found.extend(look(announcement, run_dir));
        }
    }
    found.sort_by(|a, b| a.run_id.cmp(&b.run_id));
    Ok(found)
}

/// Reports a supervisor that another user started: its announcement exists, but we may not read it.
fn hidden(run_dir: PathBuf) -> Option<Found> {
    let file = run_dir.join(ANNOUNCEMENT);
    let error = std::fs::File::open(&file).err().filter(|e| e.kind() == ErrorKind::PermissionDenied)?;
    std::fs::metadata(&file).ok()?;
    let why = format!("{} cannot be read ({error}): is it another user's?", file.display());
    let run_id = run_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Some(Found { run_id, run_dir, reach: Err(why) })
}

/// Returns the directories in a directory, without links: `latest` is a link to one of the others.
fn directories(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            let entries = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
            Ok(entries.map(|entry| entry.path()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::Environment(format!("listing {}: {error}", dir.display()))),
    }
}

/// Whether this is one of our scratch directories. Anyone may create directories in /tmp; those of others are not
/// trusted.
fn is_own_scratch(dir: &Path) -> bool {
    let is_named = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("e2e-"));
    let own = rustix::process::geteuid().as_raw();
    is_named && std::fs::metadata(dir).is_ok_and(|meta| meta.uid() == own && meta.mode() & 0o022 == 0)
}

/// Returns `None` for a supervisor that has ended. One that answers is running, whatever its process id means here.
fn look(announcement: Announcement, run_dir: PathBuf) -> Option<Found> {
    let socket = &announcement.socket;
    let pid = announcement.pid;
    let reach = match UnixStream::connect(socket) {
        Ok(_) => Ok(announcement.clone()),
        Err(error) => Err(match announcement.birth.life(pid) {
            Life::Ended => return None,
            Life::Runs => format!(
                "its process {pid} runs, but its socket {} cannot be reached from here ({error}): is another {} \
                 mounted here, or is it another user's?",
                socket.display(),
                SCRATCH_ROOT
            ),
            Life::Unknown => format!(
                "its process {pid} belongs to another pid namespace, and its socket {} cannot be reached from here \
                 ({error}): ask where it was started, in the container it belongs to; if that is gone, it has ended",
                socket.display()
            ),
        }),
    };
    Some(Found { run_id: announcement.run_id, run_dir, reach })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use harness_processes::birth::Birth;

    /// A directory of run directories and one of scratch directories.
    struct Place {
        state: tempfile::TempDir,
        scratch: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { state: tempfile::tempdir().unwrap(), scratch: tempfile::tempdir().unwrap() }
        }

        /// Writes what a supervisor with the id of this process announces; its run directory is in `runs`.
        fn announce(&self, run: &str, runs: &Path) -> Announcement {
            let run_dir = runs.join(run);
            let scratch = self.scratch.path().join(format!("e2e-{run}"));
            fs::create_dir_all(&run_dir).unwrap();
            fs::create_dir_all(&scratch).unwrap();
            fs::set_permissions(&scratch, Permissions::from_mode(0o700)).unwrap();
            let announcement = Announcement {
                pid: std::process::id(),
                socket: scratch.join("s.sock"),
                scratch: scratch.clone(),
                run_id: run.to_owned(),
                tools_dir: "/t".into(),
                run_dir: run_dir.clone(),
                fixtures_dir: "/checkout/fixtures".into(),
                birth: Birth::of(std::process::id()),
                janitor: None,
            };
            self.write(&announcement);
            announcement
        }

        fn write(&self, announcement: &Announcement) {
            for dir in [&announcement.run_dir, &announcement.scratch] {
                fs::write(dir.join(ANNOUNCEMENT), serde_json::to_vec(announcement).unwrap()).unwrap();
            }
        }

        fn running(&self, scope: &Scope<'_>) -> Vec<Found> {
            running_with(scope, self.scratch.path()).unwrap()
        }
    }

    fn ids(found: &[Found]) -> Vec<&str> {
        found.iter().map(|found| found.run_id.as_str()).collect()
    }

    #[test]
    fn what_a_killed_supervisor_left_is_not_taken_for_a_running_one_and_stays() {
        let place = Place::new();
        let mut left = place.announce("run-1", place.state.path());
        // Its process id is ours by now.
        left.birth.ticks = left.birth.ticks.map(|ticks| ticks - 1);
        place.write(&left);
        assert_eq!(place.running(&Scope::In(place.state.path())), []);
        assert!(left.run_dir.join(ANNOUNCEMENT).exists(), "looking changes nothing");
        assert_eq!(place.running(&Scope::In(&place.state.path().join("nowhere"))), []);
    }

    #[test]
    fn one_whose_socket_is_hidden_is_told_of_and_found_again() {
        let place = Place::new();
        let announcement = place.announce("run-1", place.state.path());
        let hidden = place.scratch.path().join("hidden");
        let _listener = UnixListener::bind(&announcement.socket).unwrap();
        let scope = Scope::In(place.state.path());
        assert_eq!(place.running(&scope)[0].reach.as_ref(), Ok(&announcement));
        // As if something else were mounted over it.
        fs::rename(&announcement.scratch, &hidden).unwrap();
        let found = place.running(&scope);
        let why = found[0].reach.as_ref().unwrap_err();
        assert!(why.contains("cannot be reached from here"), "{why}");
        fs::rename(&hidden, &announcement.scratch).unwrap();
        assert_eq!(place.running(&scope)[0].reach.as_ref(), Ok(&announcement));
    }

    #[test]
    fn one_of_another_pid_namespace_is_spoken_to_if_it_answers_and_told_of_if_not() {
        let place = Place::new();
        let mut announcement = place.announce("run-1", place.state.path());
        announcement.birth.namespace = "pid:[1]".into();
        place.write(&announcement);
        let scope = Scope::In(place.state.path());
        let why = place.running(&scope)[0].reach.clone().unwrap_err();
        assert!(why.contains("another pid namespace"), "{why}");
        let _listener = UnixListener::bind(&announcement.socket).unwrap();
        assert_eq!(place.running(&scope)[0].reach.as_ref(), Ok(&announcement));
    }

    #[test]
    fn runs_of_this_checkout_are_found_wherever_their_directories_are() {
        let place = Place::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let near = place.announce("near", place.state.path());
        let far = place.announce("far", elsewhere.path());
        let mut foreign = place.announce("foreign", elsewhere.path());
        foreign.fixtures_dir = "/other/fixtures".into();
        place.write(&foreign);
        let _listeners =
            [&near, &far, &foreign].map(|announcement| UnixListener::bind(&announcement.socket).unwrap());
        let state = place.state.path();
        assert_eq!(ids(&place.running(&Scope::In(state))), ["near"]);
        let ours = place.running(&Scope::Ours(state, Path::new("/checkout/fixtures")));
        assert_eq!(ids(&ours), ["far", "near"]);
        assert_eq!(ids(&place.running(&Scope::All(state))), ["far", "foreign", "near"]);
        fs::set_permissions(&far.scratch, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            ids(&place.running(&Scope::All(state))),
            ["foreign", "near"],
            "anybody may have written it"
        );
    }
}
