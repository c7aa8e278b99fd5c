//! Assembles an image in a directory.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Value, json};

use crate::{
    Toolset,
    error::Error,
    node_image::{
        Preloaded,
        archive::{Image, Layer},
        debs::{self, Deb},
        pins::{APPLETS, PACKAGES, PAUSE_TAG, PROGRAMS},
        tree::{Source, Tree},
    },
    progress::{Progress, ProgressMode, Unit},
};

/// Our own files: path in the image, content, mode.
pub(crate) const FILES: [(&str, &str, u32); 4] = [
    ("usr/sbin/init", include_str!("../../../fixtures/node-image/init"), 0o755),
    ("etc/containerd/config.toml", include_str!("../../../fixtures/node-image/containerd.toml"), 0o644),
    (
        "kind/manifests/default-storage.yaml",
        include_str!("../../../fixtures/node-image/default-storage.yaml"),
        0o644,
    ),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644),
];

/// Programs, preloaded images, our own files.
const LAYERS: u64 = 3;

/// The directories in which kind, kubeadm and the containers look up programs.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The parts from which an image is assembled.
pub(crate) struct Parts<'a> {
    /// The programs of a control plane.
    pub(crate) set: &'a Toolset,
    /// The programs of a node.
    pub(crate) programs: &'a Toolset,
    /// Digest of all inputs.
    pub(crate) digest: &'a str,
}

/// An image inside the node image: reference, program, and the program's path in it.
struct Inner {
    reference: String,
    program: PathBuf,
    path: String,
}

/// Returns the image names of a set's tools.
pub(crate) fn preloaded(set: &Toolset) -> Preloaded {
    Preloaded {
        etcd_tag: format!("{}-0", set.tool("etcd").version.trim_start_matches('v')),
        kwok: format!("registry.k8s.io/kwok/kwok:{}", set.tool("kwok").version),
    }
}

impl Parts<'_> {
    /// Builds the image in `dir`, which must be empty, and returns the path of its archive.
    ///
    /// # Errors
    /// [`Error`]; each says what is missing and what to do.
    pub(crate) fn build(
        &self,
        reference: &str,
        dir: &Path,
        progress: ProgressMode,
    ) -> Result<PathBuf, Error> {
        let packages = subdir(dir, "packages")?;
        let debs = debs::unpack(&PACKAGES, &packages, progress)?;
        let progress = Progress::start(progress, "put the node image together", Unit::Parts);
        let images = self.inner();
        progress.total(images.len() as u64 + LAYERS + 1);
        let archives = write_all(&images, &subdir(dir, "preload")?, &progress)?;
        // The last one is the smallest and changes most often; Docker keeps the others.
        let trees: [Tree; LAYERS as usize] =
            [self.base(&debs)?, preloaded_layer(archives), own_files(&self.version())];
        let mut layers = Vec::new();
        for (idx, tree) in trees.iter().enumerate() {
            layers.push(Layer::write(tree, dir.join(format!("layer-{idx}")), false)?);
            progress.advance(1);
        }
        let image = Image { reference, config: self.config(&debs), layers: &layers };
        let archive = dir.join("image.tar");
        image.write(&archive)?;
        Ok(archive)
    }

    fn version(&self) -> String {
        self.programs.tool("kubelet").version.clone()
    }

    /// Returns the layer of programs and the libraries that they are linked against.
    fn base(&self, debs: &[Deb]) -> Result<Tree, Error> {
        let mut tree = Tree::merged_usr();
        for name in ["dev", "proc", "run", "sys", "var", "root", "etc"] {
            tree.dir(name, 0o755);
        }
        tree.dir("tmp", 0o1777);
        tree.link("var/run", "/run");
        for deb in debs {
            tree.add_unpacked(&deb.root, is_needed)?;
        }
        for applet in APPLETS {
            tree.link(&format!("usr/bin/{applet}"), "busybox");
        }
        let of_node = PROGRAMS.map(|name| (name, self.programs.path(name)));
        for (name, program) in of_node.into_iter().chain([("kubectl", self.set.path("kubectl"))]) {
            tree.file(&format!("usr/local/bin/{name}"), Source::Path(program.to_owned()), 0o755);
        }
        Ok(tree)
    }

    fn inner(&self) -> Vec<Inner> {
        let Preloaded { etcd_tag, kwok } = preloaded(self.set);
        let of_set = |reference: String, name: &str| Inner {
            reference,
            program: self.set.path(name).to_owned(),
            path: format!("usr/local/bin/{name}"),
        };
        let version = self.version();
        let mut images: Vec<_> = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
            .into_iter()
            .map(|name| of_set(format!("registry.k8s.io/{name}:{version}"), name))
            .collect();
        images.push(of_set(format!("registry.k8s.io/etcd:{etcd_tag}"), "etcd"));
        images.push(of_set(kwok, "kwok"));
        images.push(Inner {
            reference: format!("registry.k8s.io/pause:{PAUSE_TAG}"),
            program: self.programs.path("pause").to_owned(),
            path: "pause".to_owned(),
        });
        images
    }

    fn config(&self, debs: &[Deb]) -> Value {
        let packages: Vec<_> = debs.iter().map(|deb| format!("{}={}", deb.name, deb.version)).collect();
        json!({
            "Entrypoint": ["/sbin/init"],
            // kind's own image sets this, too; some programs check it.
            "Env": [PATH, "container=docker"],
            "StopSignal": "SIGTERM",
            "Labels": {
                "fleet-e2e.inputs": self.digest,
                "fleet-e2e.packages": packages.join(" "),
            },
        })
    }
}

impl Inner {
    /// Writes the image to a file named after its program.
    fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        let name = Path::new(&self.path).file_name().expect("must have a name").to_string_lossy();
        let mut tree = Tree::default();
        tree.file(&self.path, Source::Path(self.program.clone()), 0o755);
        let layer = Layer::write(&tree, dir.join(format!("{name}.layer")), true)?;
        let config = json!({ "Entrypoint": [format!("/{}", self.path)], "Env": [PATH] });
        let archive = dir.join(format!("{name}.tar"));
        Image { reference: &self.reference, config, layers: &[layer] }.write(&archive)?;
        Ok(archive)
    }
}

/// Writes the archives of the images inside the node image.
fn write_all(images: &[Inner], dir: &Path, progress: &Progress) -> Result<Vec<PathBuf>, Error> {
    let write = &|image: &Inner| image.write(dir).inspect(|_| progress.advance(1));
    // Compressing them is most of the work, and each is independent.
    thread::scope(|scope| {
        let threads: Vec<_> = images.iter().map(|image| scope.spawn(move || write(image))).collect();
        threads.into_iter().map(|thread| thread.join().expect("must not panic")).collect()
    })
}

/// Returns the layer of archives that init imports into containerd. It is not below /var, because that is a volume, to
/// which Docker would copy them.
fn preloaded_layer(archives: Vec<PathBuf>) -> Tree {
    let mut tree = Tree::default();
    for archive in archives {
        let name = archive.file_name().expect("must have a name").to_string_lossy().into_owned();
        tree.file(&format!("kind/images/{name}"), Source::Path(archive), 0o644);
    }
    tree
}

fn own_files(version: &str) -> Tree {
    let mut tree = Tree::default();
    for (path, content, mode) in FILES {
        tree.file(path, Source::Bytes(content.as_bytes().to_vec()), mode);
    }
    tree.file("kind/version", Source::Bytes(version.as_bytes().to_vec()), 0o644);
    tree
}

/// Whether a package's file is needed: programs and libraries are, documents and configuration are not.
fn is_needed(path: &str) -> bool {
    let top = ["usr/bin/", "usr/sbin/", "usr/lib/", "usr/lib64/"].iter().any(|dir| path.starts_with(dir));
    top && !path.contains("/gconv/")
}

fn subdir(dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = dir.join(name);
    fs::create_dir(&path).map_err(Error::io("create", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_has_the_sandbox_image_that_is_preloaded() {
        let config = FILES.iter().find(|(path, ..)| path.ends_with("config.toml")).unwrap().1;
        assert!(config.contains(&format!("sandbox = \"registry.k8s.io/pause:{PAUSE_TAG}\"")), "{config}");
    }

    #[test]
    fn programs_and_libraries_are_taken_from_packages_and_nothing_else() {
        for needed in
            ["usr/bin/busybox", "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libc.so.6"]
        {
            assert!(is_needed(needed), "{needed}");
        }
        for other in ["usr/share/doc/libc6/copyright", "etc/ld.so.conf", "usr/lib/x/gconv/BIG5.so"] {
            assert!(!is_needed(other), "{other}");
        }
    }

    #[test]
    fn our_files_do_not_replace_the_links_of_the_base() {
        let own = own_files("v1.2.3");
        for link in ["bin", "lib", "lib64", "sbin"] {
            assert!(!own.paths().contains(&link), "{link} in {:?}", own.paths());
        }
    }

    #[test]
    fn init_calls_no_command_that_the_node_lacks() {
        let init = FILES[0].1;
        let known: Vec<_> = APPLETS.into_iter().chain(PROGRAMS).collect();
        for name in ["cat", "cp", "mkdir", "mount", "rm", "rmdir", "sleep", "tr", "umount", "ctr"] {
            assert!(init.contains(name) && known.contains(&name), "{name}");
        }
    }
}
