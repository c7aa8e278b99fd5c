//! Images in the format of `docker save`: layers, a configuration, a manifest. Written without Docker, and
//! reproducible.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, GzBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    cache::hex,
    error::Error,
    node_image::tree::{Source, Tree},
};

/// A layer in a file.
#[derive(Debug)]
pub(crate) struct Layer {
    path: PathBuf,
    /// sha256 of its tar archive, hex: what the image's configuration names, compressed or not.
    diff_id: String,
}

/// An image to be archived.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// Name and tag.
    pub(crate) reference: &'a str,
    /// The `config` of the image's configuration: command, environment, labels.
    pub(crate) config: Value,
    pub(crate) layers: &'a [Layer],
}

impl Layer {
    /// Writes a layer to `path`, compressed if size matters more than time.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(crate) fn write(tree: &Tree, path: PathBuf, compressed: bool) -> Result<Layer, Error> {
        let file = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
        // The encoder writes neither a name nor a time to its header.
        let diff_id = if compressed {
            let mut tee = Hashing::new(GzBuilder::new().write(file, Compression::fast()));
            tree.write(&mut tee)?;
            let (encoder, digest) = tee.end();
            encoder.finish().and_then(|mut file| file.flush()).map_err(Error::io("write", &path))?;
            digest
        } else {
            let mut tee = Hashing::new(file);
            tree.write(&mut tee)?;
            let (mut file, digest) = tee.end();
            file.flush().map_err(Error::io("write", &path))?;
            digest
        };
        Ok(Layer { path, diff_id })
    }
}

impl Image<'_> {
    /// Writes the image as an archive that `docker load` and `ctr images import` read.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let config = self.configuration();
        let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
        let layer_name = |layer: &Layer| format!("{}.tar", layer.diff_id);
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [self.reference],
            "Layers": self.layers.iter().map(layer_name).collect::<Vec<_>>(),
        }]);
        let mut tree = Tree::default();
        tree.file("manifest.json", Source::Bytes(manifest.to_string().into_bytes()), 0o644);
        tree.file(&config_name, Source::Bytes(config), 0o644);
        for layer in self.layers {
            tree.file(&layer_name(layer), Source::Path(layer.path.clone()), 0o644);
        }
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut file = BufWriter::new(file);
        tree.write(&mut file)?;
        file.flush().map_err(Error::io("write", path))
    }

    /// Returns the image's configuration; its sha256 is the image's id.
    fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
        let value = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        value.to_string().into_bytes()
    }
}

/// Returns this machine's architecture, as Docker and Debian name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the references that an archive holds.
///
/// # Errors
/// [`Error::NotAnImage`] when it is not an image archive.
pub(crate) fn references(path: &Path) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        repo_tags: Option<Vec<String>>,
    }
    let not_an_image = |detail: String| Error::NotAnImage { path: path.to_owned(), detail };
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries_with_seek().map_err(|error| not_an_image(error.to_string()))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| not_an_image(error.to_string()))?;
        if !entry.path().is_ok_and(|path| path == Path::new("manifest.json")) {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).map_err(|error| not_an_image(error.to_string()))?;
        let manifest: Vec<Entry> =
            serde_json::from_str(&text).map_err(|error| not_an_image(error.to_string()))?;
        return Ok(manifest.into_iter().flat_map(|entry| entry.repo_tags.unwrap_or_default()).collect());
    }
    Err(not_an_image("it holds no manifest.json".to_owned()))
}

/// A writer that hashes what it passes on.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Hashing<W> {
        Hashing { inner, hasher: Sha256::new() }
    }

    fn end(self) -> (W, String) {
        (self.inner, hex(&self.hasher.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("pause", Source::Bytes(vec![7; 4096]), 0o755);
        tree
    }

    fn image(dir: &Path, name: &str, compressed: bool) -> Vec<u8> {
        let layers = [Layer::write(&tree(), dir.join(format!("{name}.layer")), compressed).unwrap()];
        let config = json!({ "Entrypoint": ["/pause"] });
        let image = Image { reference: "registry.invalid/pause:1", config, layers: &layers };
        image.write(&dir.join(name)).unwrap();
        fs::read(dir.join(name)).unwrap()
    }

    #[test]
    fn an_image_made_twice_is_the_same_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        for compressed in [false, true] {
            assert_eq!(image(dir.path(), "one", compressed), image(dir.path(), "two", compressed));
        }
    }

    #[test]
    fn a_layer_has_the_same_identity_compressed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let [plain, packed] = [false, true].map(|compressed| {
            Layer::write(&tree(), dir.path().join(format!("{compressed}")), compressed).unwrap()
        });
        assert_eq!(plain.diff_id, packed.diff_id);
        assert_eq!(plain.diff_id, crate::cache::sha256_file(&plain.path).unwrap());
        assert!(fs::metadata(&packed.path).unwrap().len() < fs::metadata(&plain.path).unwrap().len());
    }

    #[test]
    fn an_archive_tells_its_references_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        image(dir.path(), "image", false);
        assert_eq!(references(&dir.path().join("image")).unwrap(), ["registry.invalid/pause:1"]);
        let message = references(&dir.path().join("image.layer")).unwrap_err().to_string();
        assert!(message.contains("it holds no manifest.json"), "{message}");
    }
}
