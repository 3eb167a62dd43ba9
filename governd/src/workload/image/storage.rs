//! What Podman and CRI-O keep of their containers in files (containers/storage, `containers.go` and
//! `images.go`): the answer where nobody listens on their sockets, as with Podman by default.

use std::{fs::File, io::Read as _, path::Path};

use serde::Deserialize;

use super::{image, pod};
use crate::{core::workload::Told, workload::limits::STORAGE_FILE_BYTES_MAX};

/// A line of `containers.json`.
#[derive(Deserialize)]
struct ContainerEntry {
    id: String,
    /// Id of the image.
    image: Option<String>,
    /// JSON of whoever made the container.
    metadata: Option<String>,
}

/// What Podman and CRI-O write into `metadata`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: Option<String>,
    namespace: Option<String>,
    pod_name: Option<String>,
}

/// A line of `images.json`.
#[derive(Deserialize)]
struct ImageEntry {
    id: String,
    digest: Option<String>,
    #[serde(default)]
    names: Vec<String>,
}

/// What the files say of a container; `None` if they cannot be read or do not know it.
pub(super) fn told(storage: &Path, id: &str) -> Option<Told> {
    let containers: Vec<ContainerEntry> =
        read(&storage.join("overlay-containers/containers.json"))?;
    let entry = containers.into_iter().find(|entry| entry.id == id)?;
    let metadata: Metadata =
        entry.metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let images: Vec<ImageEntry> =
        read(&storage.join("overlay-images/images.json")).unwrap_or_default();
    let kept = images.into_iter().find(|one| Some(&one.id) == entry.image.as_ref());
    let name =
        metadata.image_name.as_deref().or_else(|| kept.as_ref()?.names.first().map(|s| &**s));
    let digest = kept.as_ref().and_then(|kept| kept.digest.as_deref());
    let image = image(name, digest);
    let pod = pod(|label| match label {
        "io.kubernetes.pod.namespace" => metadata.namespace.as_deref(),
        "io.kubernetes.pod.name" => metadata.pod_name.as_deref(),
        _ => None,
    });
    let told = Told { image, pod };
    (told != Told::default()).then_some(told)
}

/// A list in a file, unless it is larger than any should be.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<Vec<T>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(STORAGE_FILE_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::core::workload::Image;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn write(dir: &Path, containers: &str, images: &str) {
        for (name, text) in [
            ("overlay-containers/containers.json", containers),
            ("overlay-images/images.json", images),
        ] {
            fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn files_name_the_image_and_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(told(dir.path(), ID), None);
        let metadata = r#"{\"image-name\":\"docker.io/acme/bot:2\",\"image-id\":\"ab\"}"#;
        let entry = |metadata: &str| {
            format!(
                r#"[{{"id":"other","image":null}},
                    {{"id":"{ID}","names":["bot"],"image":"ab","metadata":"{metadata}","x":[1]}}]"#
            )
        };
        let images = format!(
            r#"[{{"id":"ab","digest":"sha256:{ID}","names":["docker.io/acme/bot:1","b"]}}]"#
        );
        let image = |name: &str, has_digest: bool| Told {
            image: Some(Image {
                name: name.into(),
                digest: has_digest.then(|| format!("sha256:{ID}").into()),
            }),
            pod: None,
        };
        let pod =
            r#"{\"image-name\":\"docker.io/acme/bot:2\",\"namespace\":\"n\",\"pod-name\":\"p\"}"#;
        let of_pod =
            Told { pod: Some(("n".into(), "p".into())), ..image("docker.io/acme/bot:2", true) };
        let rows = [
            (entry(metadata), images.as_str(), Some(image("docker.io/acme/bot:2", true))),
            (entry(pod), &images, Some(of_pod)),
            (entry("{}"), &images, Some(image("docker.io/acme/bot:1", true))),
            (entry("nonsense"), &images, Some(image("docker.io/acme/bot:1", true))),
            (entry(metadata), "nonsense", Some(image("docker.io/acme/bot:2", false))),
            (entry("{}"), "[]", None),
            ("[]".into(), &images, None),
            ("{".into(), &images, None),
        ];
        for (containers, images, expected) in rows {
            write(dir.path(), &containers, images);
            assert_eq!(told(dir.path(), ID), expected, "{containers} {images}");
        }
    }
}
