//! An image of one layer from nothing but the program, as an OCI layout in a tar
//! (image-spec: image-layout.md, manifest.md, config.md).
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    About,
    sum::sha256,
    tree::{Tree, gzip},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image is called where it is imported.
pub fn reference(about: &About) -> String {
    format!("localhost/netdiag:{}", about.version)
}

/// The whole layout, uncompressed: its one large file is.
pub fn layout(about: &About, files: &Tree) -> Result<Vec<u8>> {
    let mut tree = Tree::default();
    let tar = files.tar("", about.time)?;
    let layer = put(&mut tree, LAYER, gzip(&tar)?);
    let config = put(&mut tree, CONFIG, text(&config(about, &tar))?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": labels(about),
    });
    let mut manifest = put(&mut tree, MANIFEST, text(&manifest)?);
    manifest["platform"] = json!({ "architecture": about.target.debian, "os": "linux" });
    // containerd goes by the first name, other tools by the tag alone.
    manifest["annotations"] = json!({
        "io.containerd.image.name": reference(about),
        "org.opencontainers.image.ref.name": about.version,
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    tree.file("index.json", text(&index)?);
    tree.file(
        "oci-layout",
        text(&json!({ "imageLayoutVersion": "1.0.0" }))?,
    );
    tree.tar("", about.time)
}

fn config(about: &About, layer: &[u8]) -> Value {
    let created = about.created();
    json!({
        "created": created,
        "architecture": about.target.debian,
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/netdiag"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Labels": labels(about),
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        "history": [{ "created": created, "created_by": "cargo xtask dist" }],
    })
}

fn labels(about: &About) -> Value {
    let mut labels = json!({
        "org.opencontainers.image.title": "netdiag",
        "org.opencontainers.image.description": super::SUMMARY,
        "org.opencontainers.image.version": about.version,
        "org.opencontainers.image.licenses": super::LICENCE,
        "org.opencontainers.image.created": about.created(),
    });
    if let Some(commit) = &about.commit {
        labels["org.opencontainers.image.revision"] = json!(commit);
    }
    labels
}

/// Stores a blob by its digest and gives its descriptor.
fn put(tree: &mut Tree, kind: &str, blob: Vec<u8>) -> Value {
    let told = json!({ "mediaType": kind, "digest": digest(&blob), "size": blob.len() });
    tree.file(&format!("blobs/sha256/{}", sha256(&blob)), blob);
    told
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("encode the image's description")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> Vec<u8> {
        let mut files = Tree::default();
        files.program("usr/bin/netdiag", "program");
        files.link("usr/bin/kubectl-netdiag", "netdiag");
        layout(&About::example(), &files).expect("a layout")
    }

    /// Every descriptor must lead to a blob of its digest and size.
    #[test]
    fn descriptors_lead_to_their_blobs() {
        let tar = packed();
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut blobs = std::collections::BTreeMap::new();
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("whole");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("read");
            blobs.insert(path, content);
        }
        let json = |path: &str| serde_json::from_slice::<Value>(&blobs[path]).expect("JSON");
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let path = digest.replace("sha256:", "blobs/sha256/");
            assert_eq!(descriptor["size"], blobs[&path].len());
            assert_eq!(digest, super::digest(&blobs[&path]));
            path
        };
        let manifest = json(&blob(&json("index.json")["manifests"][0]));
        let config = json(&blob(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/netdiag"]));
        let layer = &blobs[&blob(&manifest["layers"][0])];
        let mut tar = Vec::new();
        let mut reader = flate2::read::GzDecoder::new(layer.as_slice());
        std::io::Read::read_to_end(&mut reader, &mut tar).expect("a gzip");
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&tar));
    }

    #[test]
    fn the_same_bytes_twice() {
        assert_eq!(packed(), packed());
    }
}
