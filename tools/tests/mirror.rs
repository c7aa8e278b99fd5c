//! The download route, against a loopback mirror that serves right, wrong, truncated and missing files.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tools::{
    Artifact, Error, Options, ProgressMode, Source, Toolset, ensure_pins,
    pins::{ModulePin, Pins, ToolPin},
};

const PROGRAM: &[u8] = b"#!/bin/sh\necho 'tool version v1.2.3'\n";

/// How the mirror answers every request.
#[derive(Clone)]
enum Answer {
    /// Sends this.
    File(Vec<u8>),
    /// Announces the whole, sends half and closes the connection.
    Half(Vec<u8>),
    /// Has no such file.
    Missing,
    /// Redirects the client.
    Redirect,
}

struct Mirror {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Mirror {
    fn start(answer: Answer) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                serve(stream, &answer);
            }
        });
        Mirror { url, requests }
    }
}

/// Answers one request and closes. A client that hangs up early is not a failure of the mirror.
fn serve(mut stream: TcpStream, answer: &Answer) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, location, body, sent) = match answer {
        Answer::File(body) => ("200 OK", "", body.as_slice(), body.len()),
        Answer::Half(body) => ("200 OK", "", body.as_slice(), body.len() / 2),
        Answer::Missing => ("404 Not Found", "", &[][..], 0),
        // As GitHub does: the file is elsewhere. Here it is under /moved, and everything there is the program.
        Answer::Redirect if request.contains("/moved") => ("200 OK", "", PROGRAM, PROGRAM.len()),
        Answer::Redirect => ("302 Found", "location: /moved\r\n", &[][..], 0),
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a module with one program that no Go can build, so that only the download can provide it.
fn pins(sha256: Option<String>, member: Option<&str>) -> Pins {
    let tool = ToolPin { name: "tool".to_owned(), package: "invalid.invalid/none".to_owned() };
    let module = ModulePin {
        name: "fake".to_owned(),
        version: "v1.2.3".to_owned(),
        go_mod: "module fake.invalid\n\ngo 1.21\n".to_owned(),
        go_sum: String::new(),
        ldflags: String::new(),
        tags: String::new(),
        sources: Vec::new(),
        patches: Vec::new(),
        tools: vec![tool],
    };
    let artifact = Artifact {
        tool: "tool".to_owned(),
        url: "https://releases.invalid/v1.2.3/tool".to_owned(),
        member: member.map(str::to_owned),
        sha256,
        digests: "https://releases.invalid/SHA256SUMS".to_owned(),
    };
    Pins { modules: vec![module], artifacts: vec![artifact] }
}

fn options(cache: &Path, mirror: &str) -> Options {
    Options {
        tools_dir: None,
        cache_dir: Some(cache.to_owned()),
        offline: false,
        pinned_only: false,
        mirror: Some(mirror.to_owned()),
        progress: ProgressMode::Hidden,
    }
}

/// Returns everything in the cache except the lock.
fn left_in(cache: &Path) -> Vec<String> {
    let names = fs::read_dir(cache.join("tools")).unwrap().flatten();
    names.map(|e| e.file_name().into_string().unwrap()).filter(|name| !name.ends_with(".lock")).collect()
}

fn ensure(answer: Answer, pins: &Pins) -> (Result<Toolset, Error>, tempfile::TempDir, usize) {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(answer);
    let result = ensure_pins(pins, &options(cache.path(), &mirror.url));
    (result, cache, mirror.requests.load(Ordering::SeqCst))
}

#[test]
fn a_right_file_is_installed_recorded_and_not_asked_for_again() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(Answer::File(PROGRAM.to_vec()));
    let pins = pins(Some(sha256(PROGRAM)), None);
    let options = options(cache.path(), &mirror.url);
    for _ in 0..2 {
        let set = ensure_pins(&pins, &options).unwrap();
        let tool = &set.tools[0];
        assert_eq!((tool.version.as_str(), tool.source), ("v1.2.3", Source::Release));
        assert_eq!(tool.sha256, sha256(PROGRAM));
        assert_eq!(fs::read(&tool.path).unwrap(), PROGRAM);
        set.verify().unwrap();
    }
    assert_eq!(mirror.requests.load(Ordering::SeqCst), 1);
    assert_eq!(left_in(cache.path()), [pins.digest()]);
}

#[test]
fn a_program_is_taken_out_of_its_archive() {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in [("tool-v1.2.3/README", &b"read me"[..]), ("tool-v1.2.3/tool", PROGRAM)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content).unwrap();
    }
    let archive = tar.into_inner().unwrap().finish().unwrap();
    let good = pins(Some(sha256(&archive)), Some("tool-v1.2.3/tool"));
    let (set, _cache, _) = ensure(Answer::File(archive.clone()), &good);
    let set = set.unwrap();
    assert_eq!(set.tools[0].sha256, sha256(PROGRAM), "recorded is the program, not its archive");

    let (result, cache, _) =
        ensure(Answer::File(archive.clone()), &pins(Some(sha256(&archive)), Some("other")));
    let message = result.unwrap_err().to_string();
    assert!(message.contains("has no member other"), "{message}");
    assert!(left_in(cache.path()).is_empty());
}

#[test]
fn a_redirect_is_followed() {
    let (set, _cache, requests) = ensure(Answer::Redirect, &pins(Some(sha256(PROGRAM)), None));
    assert_eq!(set.unwrap().tools[0].source, Source::Release);
    assert_eq!(requests, 2);
}

#[test]
fn a_wrong_digest_installs_nothing_and_is_not_papered_over_by_a_build() {
    let (result, cache, _) = ensure(Answer::File(b"evil".to_vec()), &pins(Some(sha256(PROGRAM)), None));
    let error = result.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let message = error.to_string();
    for part in [&sha256(b"evil"), &sha256(PROGRAM), "nothing was installed", "releases.invalid/SHA256SUMS"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(left_in(cache.path()).is_empty(), "{:?}", left_in(cache.path()));
}

#[test]
fn what_cannot_be_had_is_built_instead_and_leaves_no_part() {
    for answer in [Answer::Half(PROGRAM.to_vec()), Answer::Missing] {
        let (result, cache, requests) = ensure(answer, &pins(Some(sha256(PROGRAM)), None));
        let error = result.unwrap_err();
        // The build is tried, and cannot succeed here.
        assert!(matches!(error, Error::BuildFailed { .. } | Error::NoGo { .. }), "{error}");
        assert!(requests >= 1);
        assert!(left_in(cache.path()).is_empty(), "{:?}", left_in(cache.path()));
    }
}

#[test]
fn offline_no_connection_is_made() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(Answer::File(PROGRAM.to_vec()));
    let options = Options { offline: true, ..options(cache.path(), &mirror.url) };
    let message = ensure_pins(&pins(Some(sha256(PROGRAM)), None), &options).unwrap_err().to_string();
    assert_eq!(mirror.requests.load(Ordering::SeqCst), 0);
    assert!(message.contains("offline") || message.contains("Go is not installed"), "{message}");
}

#[test]
fn a_closed_network_fails_over_within_seconds() {
    // A port without a listener.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let options = options(cache.path(), &format!("http://{address}"));
    assert!(ensure_pins(&pins(Some(sha256(PROGRAM)), None), &options).is_err());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_changed_program_in_the_cache_is_replaced() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(Answer::File(PROGRAM.to_vec()));
    let pins = pins(Some(sha256(PROGRAM)), None);
    let options = options(cache.path(), &mirror.url);
    let path = ensure_pins(&pins, &options).unwrap().tools[0].path.clone();
    fs::write(&path, "changed").unwrap();
    ensure_pins(&pins, &options).unwrap();
    assert_eq!(fs::read(&path).unwrap(), PROGRAM);
    assert_eq!(left_in(cache.path()), [pins.digest()]);
}

#[test]
fn parallel_callers_wait_for_the_one_that_downloads() {
    let cache = tempfile::tempdir().unwrap();
    let mirror = Mirror::start(Answer::File(PROGRAM.to_vec()));
    let pins = pins(Some(sha256(PROGRAM)), None);
    let options = options(cache.path(), &mirror.url);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| ensure_pins(&pins, &options).unwrap())).collect();
        let sets: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
    });
    assert_eq!(mirror.requests.load(Ordering::SeqCst), 1);
}

#[test]
fn an_explicit_directory_must_be_complete() {
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("etcd");
    fs::write(&tool, "").unwrap();
    let message = Toolset::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("lacks etcd, kube-apiserver, kube-controller-manager"), "{message}");
}
