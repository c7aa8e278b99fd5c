//! Digests that are not pinned: taken from the publisher over TLS, kept, and never accepted in CI. A site on loopback
//! acts as the publishers.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tools::{
    Artifact, Error, Options, ProgressMode, Source, Toolset, ensure_pins, nextest,
    pins::{ModulePin, Pins, ToolPin},
};

const PROGRAM: &[u8] = b"#!/bin/sh\necho 'tool version v1.2.3'\n";
/// The same program with other bytes.
const REPLACED: &[u8] = b"#!/bin/sh\n# replaced\necho 'tool version v1.2.3'\n";
const FILE: &str = "/releases.invalid/v1.2.3/tool";
const SUMS: &str = "/releases.invalid/v1.2.3/SHA256SUMS";

/// Files by path, served until the test ends; everything else is not found.
struct Site {
    url: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn with(files: &[(&str, &[u8])]) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Site { url, files: Arc::default(), asked: Arc::default() };
        files.iter().for_each(|(path, content)| site.serve(path, content));
        let (files, asked) = (site.files.clone(), site.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let path = requested(&stream);
                let file = files.lock().unwrap().get(&path).cloned();
                asked.lock().unwrap().push(path);
                answer(stream, file.as_deref());
            }
        });
        site
    }

    fn serve(&self, path: &str, content: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), content.to_vec());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Returns the second word of a request's first line. The rest of the head is read, too.
fn requested(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    first.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// Answers a request. A client that hangs up early is not a failure of the site.
fn answer(mut stream: TcpStream, file: Option<&[u8]>) {
    let (status, body) = file.map_or(("404 Not Found", &b""[..]), |file| ("200 OK", file));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn sums(content: &[u8]) -> Vec<u8> {
    format!("{}  other\n{}  tool\n", sha256(b"other"), sha256(content)).into_bytes()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a module with one program that no Go can build, so that only the download can provide it.
fn pins(sha256: Option<String>) -> Pins {
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
        url: format!("https:/{FILE}"),
        member: None,
        sha256,
        digests: format!("https:/{SUMS}"),
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

fn kept(cache: &Path) -> PathBuf {
    cache.join("digests/releases.invalid/v1.2.3/tool")
}

/// Whether the build was tried, which cannot succeed here.
fn was_left_to_a_build(result: Result<Toolset, Error>) -> bool {
    matches!(result, Err(Error::BuildFailed { .. } | Error::NoGo { .. }))
}

#[test]
fn the_publishers_digest_is_checked_and_kept() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, PROGRAM), (SUMS, &sums(PROGRAM))]);
    let options = options(cache.path(), &site.url);
    let set = ensure_pins(&pins(None), &options).unwrap();
    assert_eq!(
        (set.tools[0].source, set.tools[0].sha256.as_str()),
        (Source::Published, sha256(PROGRAM).as_str())
    );
    assert_eq!(site.asked(), [SUMS, FILE]);
    let text = fs::read_to_string(kept(cache.path())).unwrap();
    assert!(text.starts_with(&format!("{}  tool\n", sha256(PROGRAM))), "{text}");

    // Without the set, the kept digest is enough, whatever the publisher serves by now.
    fs::remove_dir_all(cache.path().join("tools")).unwrap();
    site.serve(SUMS, &sums(REPLACED));
    assert_eq!(ensure_pins(&pins(None), &options).unwrap().tools[0].source, Source::Published);
    assert_eq!(site.asked(), [FILE]);
}

#[test]
fn a_release_that_was_replaced_is_refused_until_the_kept_digest_is_removed() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, PROGRAM), (SUMS, &sums(PROGRAM))]);
    let options = options(cache.path(), &site.url);
    ensure_pins(&pins(None), &options).unwrap();
    fs::remove_dir_all(cache.path().join("tools")).unwrap();
    site.serve(FILE, REPLACED);
    site.serve(SUMS, &sums(REPLACED));
    let error = ensure_pins(&pins(None), &options).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let (message, file) = (error.to_string(), kept(cache.path()).display().to_string());
    for part in [&sha256(PROGRAM), &sha256(REPLACED), "nothing was installed", &file] {
        assert!(message.contains(part), "{part} in {message}");
    }
    fs::remove_file(kept(cache.path())).unwrap();
    assert_eq!(ensure_pins(&pins(None), &options).unwrap().tools[0].sha256, sha256(REPLACED));
}

#[test]
fn an_artefact_that_is_not_what_its_publisher_says_is_refused_and_its_digest_not_kept() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, REPLACED), (SUMS, &sums(PROGRAM))]);
    let error = ensure_pins(&pins(None), &options(cache.path(), &site.url)).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    assert!(error.to_string().contains(&format!("its publisher says at https:/{SUMS}")), "{error}");
    assert!(!kept(cache.path()).exists());
}

#[test]
fn without_a_digest_from_the_publisher_the_artefact_is_not_asked_for() {
    let cut = &sums(PROGRAM)[..120];
    let none: [&[(&str, &[u8])]; 4] = [
        &[(FILE, PROGRAM)],
        &[(FILE, PROGRAM), (SUMS, b"<html>log in to this network</html>")],
        &[(FILE, PROGRAM), (SUMS, b"")],
        &[(FILE, PROGRAM), (SUMS, cut)],
    ];
    for files in none {
        let cache = tempfile::tempdir().unwrap();
        let site = Site::with(files);
        assert!(was_left_to_a_build(ensure_pins(&pins(None), &options(cache.path(), &site.url))));
        assert_eq!(site.asked(), [SUMS]);
        assert!(!kept(cache.path()).exists());
    }
}

#[test]
fn an_artefact_that_is_not_there_keeps_no_digest() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(SUMS, &sums(PROGRAM))]);
    assert!(was_left_to_a_build(ensure_pins(&pins(None), &options(cache.path(), &site.url))));
    assert_eq!(site.asked(), [SUMS, FILE]);
    assert!(!kept(cache.path()).exists());
}

#[test]
fn a_pin_goes_before_what_is_kept_and_what_is_published() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, PROGRAM), (SUMS, &sums(PROGRAM))]);
    let options = options(cache.path(), &site.url);
    ensure_pins(&pins(None), &options).unwrap();
    fs::remove_dir_all(cache.path().join("tools")).unwrap();
    site.asked();
    let error = ensure_pins(&pins(Some(sha256(REPLACED))), &options).unwrap_err();
    assert!(error.to_string().contains("is pinned in"), "{error}");
    assert_eq!(ensure_pins(&pins(Some(sha256(PROGRAM))), &options).unwrap().tools[0].source, Source::Release);
    assert_eq!(site.asked(), [FILE, FILE]);
}

#[test]
fn in_ci_only_pins_count_neither_a_kept_digest_nor_a_set_that_was_taken_by_one() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, PROGRAM), (SUMS, &sums(PROGRAM))]);
    let local = options(cache.path(), &site.url);
    let ci = Options { pinned_only: true, ..local.clone() };
    assert!(was_left_to_a_build(ensure_pins(&pins(None), &ci)));
    assert_eq!(site.asked(), Vec::<String>::new());
    ensure_pins(&pins(None), &local).unwrap();
    site.asked();
    assert!(was_left_to_a_build(ensure_pins(&pins(None), &ci)));
    assert_eq!(site.asked(), Vec::<String>::new());
    assert_eq!(ensure_pins(&pins(Some(sha256(PROGRAM))), &ci).unwrap().tools[0].source, Source::Release);
}

#[test]
fn a_digest_that_does_not_come_over_tls_is_not_asked_for() {
    // Not reached: no name is resolved.
    let cache = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    assert!(was_left_to_a_build(ensure_pins(&pins(None), &options(cache.path(), "http://mirror.invalid"))));
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!kept(cache.path()).exists());
}

#[test]
fn what_is_kept_and_is_no_digest_is_not_overlooked() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(&[(FILE, PROGRAM), (SUMS, &sums(PROGRAM))]);
    fs::create_dir_all(kept(cache.path()).parent().unwrap()).unwrap();
    fs::write(kept(cache.path()), "").unwrap();
    let error = ensure_pins(&pins(None), &options(cache.path(), &site.url)).unwrap_err();
    assert!(matches!(error, Error::KeptDigest { .. }), "{error}");
}

/// The variable that marks a child in which a test runs again with other variables. It holds the path of its cache.
const CHILD: &str = "PUBLISHED_TEST_CHILD";

/// Runs a test again in a child without the proxy variables of the environment; it must pass.
fn again(test: &str, cache: &Path, variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test]).env(CHILD, cache);
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        child.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = child.envs(variables.iter().copied()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn cargo_nextest_is_taken_by_its_publishers_digest_and_not_in_ci() {
    if let Some(cache) = std::env::var_os(CHILD) {
        let options = options(Path::new(&cache), &std::env::var("SITE").unwrap());
        let made = nextest::ensure(&options).unwrap();
        assert!(made.path.starts_with(&cache), "{made:?}");
        assert_eq!(nextest::find(&options).unwrap(), Some(made));
        assert_eq!(nextest::find(&Options { pinned_only: true, ..options }).unwrap(), None);
        return;
    }
    let version = nextest::pinned_version().unwrap();
    let program = format!("#!/bin/sh\necho 'cargo-nextest {version} (abc)'\n");
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    tar.append_data(&mut header, "cargo-nextest", program.as_bytes()).unwrap();
    let archive = tar.into_inner().unwrap().finish().unwrap();
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let stem = format!(
        "/github.com/nextest-rs/nextest/releases/download/cargo-nextest-{version}/cargo-nextest-{version}-{triple}"
    );
    let (file, digest) = (format!("{stem}.tar.gz"), format!("{stem}.sha256"));
    let line = format!("{}  cargo-nextest-{version}-{triple}.tar.gz\n", sha256(&archive));
    let site = Site::with(&[(&file, &archive), (&digest, line.as_bytes())]);
    let cache = tempfile::tempdir().unwrap();
    let variables = [("SITE", site.url.as_str()), ("PATH", "/usr/bin:/bin")];
    again("cargo_nextest_is_taken_by_its_publishers_digest_and_not_in_ci", cache.path(), &variables);
    assert_eq!(site.asked(), [digest, file]);
}

#[test]
fn downloads_go_through_the_proxy_of_the_environment_in_each_spelling() {
    if let Some(cache) = std::env::var_os(CHILD) {
        let options = Options { mirror: None, ..options(Path::new(&cache), "") };
        assert!(was_left_to_a_build(ensure_pins(&pins(None), &options)));
        return;
    }
    let proxy = Site::with(&[]);
    let bare = proxy.url.trim_start_matches("http://");
    for (variable, value) in [("HTTPS_PROXY", proxy.url.as_str()), ("https_proxy", bare)] {
        let cache = tempfile::tempdir().unwrap();
        let test = "downloads_go_through_the_proxy_of_the_environment_in_each_spelling";
        again(test, cache.path(), &[(variable, value)]);
        assert_eq!(proxy.asked(), ["releases.invalid:443"], "{variable}={value}");
    }
}

#[test]
fn pinning_writes_what_publishers_serve_and_says_what_it_could_not_get() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("releases.yaml");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/controlplane/releases.yaml");
    let before = fs::read_to_string(&shipped).unwrap();
    fs::write(&file, &before).unwrap();
    let pins = Pins::embedded().unwrap();
    let version = |name: &str| pins.modules.iter().find(|m| m.name == name).unwrap().version.clone();
    let (k8s, etcd, kwok) = (version("kubernetes"), version("etcd"), version("kwok"));
    let mut files = Vec::new();
    for arch in ["amd64", "arm64"] {
        for tool in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"] {
            files.push((
                format!("/dl.k8s.io/release/{k8s}/bin/linux/{arch}/{tool}.sha256"),
                sha256(format!("{tool} {arch}").as_bytes()),
            ));
        }
    }
    let line = |what: &str, file: String| format!("{}  {file}\n", sha256(what.as_bytes()));
    files.push((
        format!("/github.com/etcd-io/etcd/releases/download/{etcd}/SHA256SUMS"),
        ["amd64", "arm64"].map(|arch| line(arch, format!("etcd-{etcd}-linux-{arch}.tar.gz"))).concat(),
    ));
    files.push((
        format!("/api.github.com/repos/kubernetes-sigs/kwok/releases/tags/{kwok}"),
        format!(r#"{{"assets": [{{"name": "kwok-linux-amd64", "digest": "sha256:{}"}}]}}"#, sha256(b"kwok")),
    ));
    let served: Vec<(&str, &[u8])> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    let site = Site::with(&served);
    let all = tools::pin(&options(dir.path(), &site.url), &file).unwrap();
    assert_eq!(all.len(), 14, "seven programs, two architectures");
    let lacking: Vec<_> =
        all.iter().filter(|one| one.now.is_err()).map(|one| (one.tool.as_str(), one.arch)).collect();
    assert_eq!(lacking, [("kwok", "arm64"), ("cargo-nextest", "amd64"), ("cargo-nextest", "arm64")]);
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.contains(&format!("      arm64: {}\n", sha256(b"kubectl arm64"))), "{after}");
    assert_eq!(after.matches("    sha256:\n      amd64: ").count(), 6, "{after}");
    let comments =
        |text: &str| text.lines().filter(|l| l.contains('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(comments(&after), comments(&before));
    // Running it again changes nothing.
    assert!(
        tools::pin(&options(dir.path(), &site.url), &file).unwrap().iter().all(|one| one
            .now
            .as_ref()
            .is_ok_and(|now| Some(now) == one.before.as_ref())
            || one.now.is_err())
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
}
