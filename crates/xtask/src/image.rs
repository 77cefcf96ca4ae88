//! The image of the webhook, as an OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>). It has one layer with one program, and
//! no other files that could be called or exploited.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::archive::{self, Entry};
use crate::elf;
use crate::source::Source;

/// The user and group of the process. Images without a shell commonly use this id for "nonroot".
const USER: &str = "65532:65532";
const ENTRY_POINT: &str = "/writgate-webhook";
/// The limit of all layers, compressed. A larger image is refused, so that growth is a decision.
const MAX_LAYER: usize = 8 * 1024 * 1024;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What was written.
#[derive(Debug)]
pub(crate) struct Image {
    /// The digest by which the image is pulled: of its manifest, or of its index if it has several architectures.
    pub(crate) digest: String,
    /// Architecture, and size of the compressed layer in bytes.
    layers: Vec<(&'static str, usize)>,
}

impl Image {
    pub(crate) fn summary(&self, output: &Path) -> String {
        let layers: Vec<_> = self.layers.iter().map(|(name, size)| format!("{name} {size} bytes compressed")).collect();
        format!("{}: {} ({})", output.display(), self.digest, layers.join(", "))
    }
}

/// Writes a layout with an image of each binary to the folder `output`, which is replaced.
pub(crate) fn write(binaries: &[PathBuf], source: &Source, output: &Path) -> Result<Image> {
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    let mut layers = Vec::new();
    for path in binaries {
        let binary = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let (manifest, layer) =
            add(&mut layout, &binary, source).with_context(|| format!("{} cannot be in the image", path.display()))?;
        ensure!(
            layers.iter().all(|(other, _)| *other != layer.0),
            "{}: there is already a binary for {}; give one for each architecture",
            path.display(),
            layer.0
        );
        manifests.push(manifest);
        layers.push(layer);
    }
    let mut top = match manifests.len() {
        0 => anyhow::bail!("the image has no binary"),
        1 => manifests.remove(0),
        _ => layout.add(INDEX, &index(&manifests, &annotations(source))),
    };
    let digest = text(&top, "digest");
    top["annotations"] = json!({"org.opencontainers.image.ref.name": source.version});
    layout.write(output, &index(&[top], &Map::new()))?;
    Ok(Image { digest, layers })
}

fn index(manifests: &[Value], annotations: &Map<String, Value>) -> Value {
    let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    if !annotations.is_empty() {
        index["annotations"] = annotations.clone().into();
    }
    index
}

/// Adds the image of one binary. Returns the descriptor of its manifest, its architecture and the size of its layer.
fn add(layout: &mut Layout, binary: &[u8], source: &Source) -> Result<(Value, (&'static str, usize))> {
    let architecture = elf::architecture(binary)?;
    let program = Entry { name: &ENTRY_POINT[1..], mode: 0o555, contents: binary };
    let tar = archive::tar(&[program], source.time)?;
    let layer = archive::gzip(&tar)?;
    ensure!(
        layer.len() <= MAX_LAYER,
        "the layer has {} bytes compressed; expected at most {MAX_LAYER}; find out what grew, for example with cargo bloat",
        layer.len()
    );
    let size = layer.len();
    let annotations = annotations(source);
    let config = json!({
        "created": annotations["org.opencontainers.image.created"],
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {"8443/tcp": {}, "8080/tcp": {}},
            "Entrypoint": [ENTRY_POINT],
            "WorkingDir": "/",
            "Labels": annotations,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", archive::sha256(&tar))]},
        "history": [{
            "created": annotations["org.opencontainers.image.created"],
            "created_by": "make image",
            "comment": "the program only",
        }],
    });
    let layer = layout.add_bytes(LAYER, layer);
    let config = layout.add(CONFIG, &config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "annotations": annotations,
    });
    let mut manifest = layout.add(MANIFEST, &manifest);
    manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
    Ok((manifest, (architecture, size)))
}

/// The annotations of the image specification, which are the labels as well.
fn annotations(source: &Source) -> Map<String, Value> {
    let mut annotations = Map::new();
    let mut put =
        |name: &str, value: String| annotations.insert(format!("org.opencontainers.image.{name}"), value.into());
    put("created", source.time.to_string());
    put("description", "The webhook that admits only workloads with a signed, content-bound approval".to_owned());
    put("licenses", "Apache-2.0".to_owned());
    put("title", "writgate-webhook".to_owned());
    put("version", source.version.to_owned());
    if let Some(revision) = &source.revision {
        put("revision", revision.clone());
    }
    if let Some(url) = &source.url {
        put("source", url.clone());
    }
    annotations
}

/// The blobs of a layout, in the order in which they were added.
#[derive(Default)]
struct Layout(Vec<(String, Vec<u8>)>);

impl Layout {
    /// Adds a document, and returns its descriptor.
    fn add(&mut self, media_type: &str, document: &Value) -> Value {
        self.add_bytes(media_type, document.to_string().into_bytes())
    }

    fn add_bytes(&mut self, media_type: &str, blob: Vec<u8>) -> Value {
        let digest = archive::sha256(&blob);
        let descriptor = json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": blob.len()});
        self.0.push((digest, blob));
        descriptor
    }

    fn write(&self, output: &Path, index: &Value) -> Result<()> {
        let blobs = output.join("blobs/sha256");
        let written = || {
            if output.exists() {
                // A folder that is not a layout was named by mistake.
                ensure!(output.join("oci-layout").is_file(), "the folder exists and is not an image layout");
                fs::remove_dir_all(output)?;
            }
            fs::create_dir_all(&blobs)?;
            for (digest, blob) in &self.0 {
                fs::write(blobs.join(digest), blob)?;
            }
            fs::write(output.join("index.json"), index.to_string())?;
            Ok(fs::write(output.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?)
        };
        written().with_context(|| format!("{} cannot be written", output.display()))
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use jiff::Timestamp;

    use super::*;
    use crate::elf::tests::binary;

    struct Built {
        folder: tempfile::TempDir,
        written: Result<Image>,
    }

    fn source() -> Source {
        Source {
            root: PathBuf::new(),
            version: "1.2.3",
            revision: Some("c0ffee".to_owned()),
            time: Timestamp::from_second(1_764_288_000).unwrap(), // 2025-11-28
            url: None,
        }
    }

    fn build(binaries: &[Vec<u8>]) -> Built {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..binaries.len()).map(|number| folder.path().join(number.to_string())).collect();
        for (path, binary) in paths.iter().zip(binaries) {
            fs::write(path, binary).unwrap();
        }
        let written = write(&paths, &source(), &folder.path().join("image"));
        Built { folder, written }
    }

    fn arm64() -> Vec<u8> {
        let mut binary = binary();
        binary[18] = 183;
        binary
    }

    impl Built {
        fn file(&self, name: &str) -> Vec<u8> {
            fs::read(self.folder.path().join("image").join(name)).unwrap()
        }

        fn json(&self, name: &str) -> Value {
            serde_json::from_slice(&self.file(name)).unwrap()
        }

        /// The blob of a descriptor, whose size and digest are checked.
        fn blob(&self, descriptor: &Value) -> Vec<u8> {
            let digest = text(descriptor, "digest");
            let blob = self.file(&format!("blobs/{}", digest.replace(':', "/")));
            assert_eq!(descriptor["size"], blob.len());
            assert_eq!(digest, format!("sha256:{}", archive::sha256(&blob)));
            blob
        }

        fn document(&self, descriptor: &Value) -> Value {
            serde_json::from_slice(&self.blob(descriptor)).unwrap()
        }
    }

    #[test]
    fn an_image_has_one_layer_with_one_program_for_a_user_without_rights() {
        let built = build(&[binary()]);
        assert_eq!(built.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let top = &built.json("index.json")["manifests"][0];
        assert_eq!(text(top, "digest"), built.written.as_ref().unwrap().digest);
        assert_eq!((&top["mediaType"], &top["platform"]["architecture"]), (&json!(MANIFEST), &json!("amd64")));
        let manifest = built.document(top);
        assert_eq!((&manifest["schemaVersion"], &manifest["mediaType"]), (&json!(2), &json!(MANIFEST)));
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!((layers.len(), &layers[0]["mediaType"]), (1, &json!(LAYER)));

        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(built.blob(&layers[0]).as_slice()).read_to_end(&mut layer).unwrap();
        let config = built.document(&manifest["config"]);
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", archive::sha256(&layer))]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/writgate-webhook"]));
        assert_eq!((&config["os"], &config["created"]), (&json!("linux"), &json!("2025-11-28T00:00:00Z")));

        let mut archive = tar::Archive::new(layer.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut program = entries.next().unwrap().unwrap();
        assert_eq!(program.path().unwrap().to_str(), Some("writgate-webhook"));
        let header = program.header();
        assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.mtime().unwrap()), (0o555, 0, 1_764_288_000));
        let mut contents = Vec::new();
        program.read_to_end(&mut contents).unwrap();
        assert_eq!(contents, binary());
        assert!(entries.next().is_none(), "the layer has a second file");
    }

    #[test]
    fn images_of_two_architectures_have_one_index() {
        let built = build(&[binary(), arm64()]);
        let top = &built.json("index.json")["manifests"][0];
        assert_eq!(
            (&top["mediaType"], text(top, "digest")),
            (&json!(INDEX), built.written.as_ref().unwrap().digest.clone())
        );
        let index = built.document(top);
        let manifests = index["manifests"].as_array().unwrap();
        let architectures: Vec<_> =
            manifests.iter().map(|manifest| text(&manifest["platform"], "architecture")).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
        for manifest in manifests {
            let config = built.document(&built.document(manifest)["config"]);
            assert_eq!(config["architecture"], manifest["platform"]["architecture"]);
        }
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let (one, other) = (build(&[binary()]), build(&[binary()]));
        assert_eq!(one.file("index.json"), other.file("index.json"));
        assert_eq!(one.written.unwrap().digest, other.written.unwrap().digest);
    }

    #[test]
    fn refuses_what_could_not_start_or_is_too_large() {
        let error = |binaries: &[Vec<u8>]| format!("{:#}", build(binaries).written.unwrap_err());
        assert!(error(&[b"#!/bin/sh".to_vec()]).contains("not a 64-bit"));
        assert!(error(&[binary(), binary()]).contains("already a binary for amd64"));
        // Noise does not compress.
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        });
        let large: Vec<u8> = binary().into_iter().chain(noise.take(MAX_LAYER)).collect();
        assert!(error(&[large]).contains("bytes compressed; expected at most 8388608"));
    }

    #[test]
    fn does_not_replace_a_folder_that_is_not_a_layout() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("binary"), binary()).unwrap();
        let error = write(&[folder.path().join("binary")], &source(), folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("not an image layout"), "{error:#}");
        assert!(folder.path().join("binary").is_file());
    }
}
