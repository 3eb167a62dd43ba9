//! A container image: an OCI image layout in a tar archive, which every runtime and registry client
//! takes. It holds the program and nothing else; no container engine is asked.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    PROGRAM_MODE, archive,
    checksums::sha256,
    release::{NAME, Release},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const FILE_MODE: u32 = 0o644;

pub(super) fn name(release: &Release) -> String {
    release.file("", &format!("-{}.oci.tar", release.arch()))
}

/// Makes the archive around a program.
pub(super) fn pack(release: &Release, program: &[u8]) -> Result<Vec<u8>> {
    let time = release.time()?;
    let files = archive::tar([("usr/bin/governd", PROGRAM_MODE, program)], release.epoch)?;
    let layer = Blob::new(LAYER, archive::gzip(&files)?);
    let configuration = Blob::of_json(
        CONFIGURATION,
        &json!({
            "created": time,
            "architecture": release.debian_arch(),
            "os": "linux",
            "config": {
                "Entrypoint": ["/usr/bin/governd"],
                "Cmd": ["run"],
                "Env": ["PATH=/usr/bin"],
                "Labels": {
                    "org.opencontainers.image.title": NAME,
                    "org.opencontainers.image.version": release.version,
                    "org.opencontainers.image.licenses": "Apache-2.0 OR MIT",
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&files))]},
            "history": [{"created": time, "created_by": "cargo xtask dist"}],
        }),
    );
    let manifest = Blob::of_json(
        MANIFEST,
        &json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": configuration.descriptor(),
            "layers": [layer.descriptor()],
        }),
    );
    let mut listed = manifest.descriptor();
    if let Some(listed) = listed.as_object_mut() {
        let platform = json!({"architecture": release.debian_arch(), "os": "linux"});
        listed.insert("platform".to_owned(), platform);
        let reference = json!({"org.opencontainers.image.ref.name": release.version});
        listed.insert("annotations".to_owned(), reference);
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]});
    let index = index.to_string().into_bytes();
    let mut blobs = [layer, configuration, manifest];
    blobs.sort_by(|left, right| left.digest.cmp(&right.digest));
    let paths = blobs.each_ref().map(|blob| format!("blobs/sha256/{}", blob.digest));
    let blobs = paths.iter().zip(&blobs);
    let blobs = blobs.map(|(path, blob)| (path.as_str(), FILE_MODE, blob.bytes.as_slice()));
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice();
    let frame = [("index.json", FILE_MODE, index.as_slice()), ("oci-layout", FILE_MODE, layout)];
    archive::tar(blobs.chain(frame), release.epoch)
}

/// Bytes that are known by their digest.
struct Blob {
    kind: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, digest: sha256(&bytes), bytes }
    }

    fn of_json(kind: &'static str, value: &Value) -> Self {
        Self::new(kind, value.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.kind,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use super::*;
    use crate::dist::release;

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    /// Follows the digests from the index to the program, as a runtime does.
    #[test]
    fn the_index_leads_to_the_program() {
        let packed = pack(&release::sample(), b"program").unwrap();
        assert!(packed == pack(&release::sample(), b"program").unwrap());
        let files = self::files(&packed);
        let follow = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let bytes = files.get(&format!("blobs/sha256/{digest}")).unwrap();
            assert_eq!(sha256(bytes), digest);
            assert_eq!(descriptor["size"], bytes.len());
            bytes.clone()
        };
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(read(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let index = read(&files["index.json"]);
        let manifest = read(&follow(&index["manifests"][0]));
        let configuration = read(&follow(&manifest["config"]));
        assert_eq!(configuration["config"]["Entrypoint"][0], "/usr/bin/governd");
        let mut layer = Vec::new();
        let compressed = follow(&manifest["layers"][0]);
        flate2::read::GzDecoder::new(compressed.as_slice()).read_to_end(&mut layer).unwrap();
        let diff = configuration["rootfs"]["diff_ids"][0].as_str().unwrap();
        assert_eq!(diff, format!("sha256:{}", sha256(&layer)));
        let names: Vec<_> = self::files(&layer).into_keys().collect();
        assert_eq!(names, ["usr/", "usr/bin/", "usr/bin/governd"]);
    }
}
