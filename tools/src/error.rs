//! Errors while tools are provided. Every message ends with what to do next.

use std::{io, path::PathBuf};

/// A failure to provide the tools.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `E2E_CACHE_DIR` nor a home directory says where the cache is.
    #[error(
        "no place for the tool cache: neither HOME nor E2E_CACHE_DIR is set; set E2E_CACHE_DIR to a writable directory"
    )]
    NoHome,

    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted operation, e.g. `write`.
        action: &'static str,
        /// The path that it was applied to.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// An explicit tools directory is incomplete.
    #[error("{} lacks {}; put them there, or leave --tools-dir and E2E_TOOLS_DIR unset to use the cache", dir.display(), missing.join(", "))]
    DirIncomplete {
        /// The given directory.
        dir: PathBuf,
        /// Names of the programs that are missing or not executable.
        missing: Vec<String>,
    },

    /// A program did not report its version.
    #[error("{} does not report its version: {detail}; replace it, or remove it so that it is built again", path.display())]
    NoVersion {
        /// The program.
        path: PathBuf,
        /// Its output, or why it could not be started.
        detail: String,
    },

    /// A program built from the pins reports a version other than the pinned one.
    #[error(
        "{name} was built from the pin {expected} but reports {reported}: the linker flags in tools/src/pins.rs do not fit this version"
    )]
    VersionMismatch {
        /// The program.
        name: String,
        /// The pinned version.
        expected: String,
        /// What `--version` printed.
        reported: String,
    },

    /// A cached program is not the file that was installed.
    #[error("{} is not the file that was installed (sha256 {actual}, recorded {expected}); remove its directory, and the next run builds it again", path.display())]
    Corrupt {
        /// The program.
        path: PathBuf,
        /// The recorded digest, hex.
        expected: String,
        /// The digest of the file now, hex.
        actual: String,
    },

    /// A release artefact has a digest other than the one it must have.
    #[error("{url} has sha256 {actual}, but {expected} {whose}; nothing was installed. {advice}")]
    WrongDigest {
        /// The address of the download.
        url: String,
        /// The digest that it must have, hex.
        expected: String,
        /// The digest of the download, hex.
        actual: String,
        /// The source of the expected digest, e.g. `is pinned in …`.
        whose: String,
        /// What to do about it, as a sentence.
        advice: String,
    },

    /// A file of the cache that should hold a digest does not.
    #[error("{} holds no sha256; remove it, and the digest is taken from the publisher again", path.display())]
    KeptDigest {
        /// The file.
        path: PathBuf,
    },

    /// Digests cannot be written to the file of pins.
    #[error("{}: cannot write the digests of {tool}: {detail}", path.display())]
    NotPinned {
        /// The file.
        path: PathBuf,
        /// The program whose digests were to be written.
        tool: String,
        /// What is wrong with the file.
        detail: String,
    },

    /// The archive does not hold the expected file.
    #[error("{url} has no member {member}; correct `member` in fixtures/controlplane/releases.yaml")]
    NoMember {
        /// The archive.
        url: String,
        /// The path that was expected in it.
        member: String,
    },

    /// Go is needed and not installed.
    #[error("{} must be built from source, and Go is not installed; install Go {go} or newer (https://go.dev/dl), or give a directory with the programs by --tools-dir", missing.join(", "))]
    NoGo {
        /// Programs to build.
        missing: Vec<String>,
        /// The Go version that the pinned modules require.
        go: String,
    },

    /// `cargo` is needed and not there.
    #[error("cargo-nextest {version} must be built from source, and cargo cannot be started: {source}")]
    NoCargo {
        /// The pinned version.
        version: String,
        /// The system's error.
        source: io::Error,
    },

    /// A change cannot be applied to a pinned module.
    #[error(
        "{patch} does not fit {module} as it is pinned: {detail}; rewrite it in fixtures/controlplane, or remove it there and in tools/src/pins.rs"
    )]
    Patch {
        /// The file name of the change.
        patch: String,
        /// The module that it changes.
        module: String,
        /// What is wrong.
        detail: String,
    },

    /// A build from source failed.
    #[error("building {what} failed{}: `{command}`\n{output}", if *offline { " (offline: only what the module and crate caches hold can be built; run `cargo xtask tools` once with network)" } else { "" })]
    BuildFailed {
        /// What should have been built.
        what: String,
        /// The command line.
        command: String,
        /// The last lines of its output.
        output: String,
        /// Whether the build was not allowed to use the network.
        offline: bool,
    },

    /// apt or dpkg is needed and not there.
    #[error(
        "cannot start {program}, with which the node image takes busybox and runc from Debian: {source}; build it on Debian or Ubuntu with `cargo xtask node-image --to-archive FILE`, and load it here with `--from-archive FILE`"
    )]
    NoApt {
        /// The program.
        program: String,
        /// The system's error.
        source: io::Error,
    },

    /// apt or dpkg failed.
    #[error("`{command}` failed; if apt knows no such package, `apt-get update` first\n{output}")]
    AptFailed {
        /// The command line.
        command: String,
        /// The last lines of its output.
        output: String,
    },

    /// Debian packages are needed, and the network must not be used.
    #[error("{} is not cached, and its Debian packages cannot be downloaded offline; run `cargo xtask node-image` once with network, or give `--from-archive FILE`", path.display())]
    OfflineNode {
        /// The path that it would have.
        path: PathBuf,
    },

    /// The tools have a Kubernetes version that differs from that of the node's programs.
    #[error(
        "the node image is for Kubernetes {version}, but the tools' kube-apiserver is {reported}; leave --tools-dir and E2E_TOOLS_DIR unset to use the pinned one"
    )]
    OtherKubernetes {
        /// The version of the node's programs.
        version: String,
        /// The version of the tools.
        reported: String,
    },

    /// A file is not an image archive.
    #[error("{} is not an image archive: {detail}; write one with `cargo xtask node-image --to-archive FILE`", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },

    /// An archive does not hold the wanted image.
    #[error("{} holds {found}, but these tools need {expected}; write it again with `cargo xtask node-image --to-archive FILE`, from this source tree", path.display())]
    ForeignArchive {
        /// The file.
        path: PathBuf,
        /// The references in it.
        found: String,
        /// The reference of the wanted image.
        expected: String,
    },

    /// Docker loaded an image but does not have it.
    #[error("Docker has no image {reference}, although it loaded one; check the output of `docker images`")]
    NotLoaded {
        /// The reference.
        reference: String,
    },

    /// The `docker` command is needed and not there.
    #[error(
        "cannot start `docker`: {source}; install Docker's command-line client (Debian: `apt-get install docker.io`)"
    )]
    NoDockerClient {
        /// The system's error.
        source: io::Error,
    },

    /// No Docker engine answers.
    #[error(
        "no Docker engine answers at {host}: {detail}; start Docker or set DOCKER_HOST, or, as root, put `cargo xtask dockerd --` before the command: that starts one for as long as the command runs"
    )]
    NoDockerEngine {
        /// The address that was tried.
        host: String,
        /// The client's message.
        detail: String,
    },

    /// A docker command failed.
    #[error("`{command}` failed\n{output}")]
    DockerFailed {
        /// The command line.
        command: String,
        /// Its output.
        output: String,
    },

    /// The files under `fixtures/controlplane/` cannot be parsed.
    #[error("fixtures/controlplane/{file}: {detail}")]
    Pins {
        /// The file, relative to `fixtures/controlplane/`.
        file: String,
        /// What is wrong in it.
        detail: String,
    },
}

impl Error {
    /// Wraps the error of a file operation; for `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
