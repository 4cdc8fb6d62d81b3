//! OCI layouts, written byte by byte so that they can be wrong in every place.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An entry of an archive.
#[derive(Clone, Default)]
pub struct Item {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    data: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
    pax: Vec<(String, Vec<u8>)>,
    gnu: bool,
    /// Fields of the header that are overwritten: offset and bytes.
    raw: Vec<(usize, Vec<u8>)>,
}

impl Item {
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Item {
        Item { kind, name: name.as_ref().to_vec(), mode: 0o644, ..Item::default() }
    }

    pub fn link(mut self, target: impl AsRef<[u8]>) -> Item {
        self.link = target.as_ref().to_vec();
        self
    }

    pub fn mode(mut self, mode: u32) -> Item {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u64, gid: u64) -> Item {
        self.owner = (uid, gid);
        self
    }

    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Item {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Item {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    pub fn data(mut self, data: impl AsRef<[u8]>) -> Item {
        self.data = data.as_ref().to_vec();
        self
    }

    /// Long names and large numbers as GNU tar writes them, not as POSIX does.
    pub fn gnu(mut self) -> Item {
        self.gnu = true;
        self
    }

    /// Overwrites a field of the header; the checksum is right nevertheless.
    pub fn raw(mut self, offset: usize, bytes: impl AsRef<[u8]>) -> Item {
        self.raw.push((offset, bytes.as_ref().to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut pax = self.pax.clone();
        for (kind, key, value) in [(b'L', "path", &self.name), (b'K', "linkpath", &self.link)] {
            if value.len() > 100 && self.gnu {
                let long = Item { data: [value, &b"\0"[..]].concat(), ..Item::new(kind, "././@LongLink") };
                long.write(out);
            } else if value.len() > 100 {
                pax.push((key.into(), value.clone()));
            }
        }
        for (key, value) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if value > 0o7777777 && !self.gnu {
                pax.push((key.into(), value.to_string().into_bytes()));
            }
        }
        if !pax.is_empty() {
            let data = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            Item { data, ..Item::new(b'x', "PaxHeader") }.write(out);
        }
        let mut header = if self.gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        let short = |field: &[u8]| field[..field.len().min(100)].to_vec();
        let (name, link) = (short(&self.name), short(&self.link));
        header.as_mut_bytes()[..name.len()].copy_from_slice(&name);
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(&link);
        header.as_mut_bytes()[156] = self.kind;
        header.set_mode(self.mode);
        let number = |n: u64| if self.gnu || n <= 0o7777777 { n } else { 0 };
        header.set_uid(number(self.owner.0));
        header.set_gid(number(self.owner.1));
        header.set_size(self.data.len() as u64);
        header.set_mtime(1_700_000_000);
        for (offset, bytes) in &self.raw {
            header.as_mut_bytes()[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.data);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
}

/// A PAX record, whose length counts its own digits.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Item {
    Item { data: data.as_ref().to_vec(), ..Item::new(b'0', name) }
}

pub fn dir(name: impl AsRef<[u8]>) -> Item {
    Item::new(b'5', name).mode(0o755)
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item::new(b'2', name).link(target).mode(0o777)
}

pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Item {
    Item::new(b'1', name).link(target)
}

/// An archive, without the zero blocks at its end.
pub fn open_tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    items.iter().for_each(|item| item.write(&mut out));
    out
}

pub fn tar(items: &[Item]) -> Vec<u8> {
    [open_tar(items), vec![0; 2 * BLOCK]].concat()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(data: &[u8]) -> String {
    let hex = format!("{:x}", Sha256::digest(data));
    format!("sha256:{hex}")
}

/// A layer: its blob, and what the manifest and the configuration say of it.
#[derive(Clone)]
pub struct Layer {
    pub blob: Vec<u8>,
    pub digest: String,
    pub diff_id: String,
    pub media_type: String,
    pub missing: bool,
    /// Its size according to the manifest, if that is not the real one.
    pub declared: Option<u64>,
}

impl Layer {
    pub fn packed(tar: &[u8], blob: Vec<u8>) -> Layer {
        let media_type = if blob.starts_with(b"\x1f\x8b") { format!("{PLAIN}+gzip") } else { PLAIN.into() };
        Layer {
            digest: digest(&blob),
            diff_id: digest(tar),
            blob,
            media_type,
            missing: false,
            declared: None,
        }
    }

    pub fn plain(tar: &[u8]) -> Layer {
        Layer::packed(tar, tar.to_vec())
    }

    pub fn gzip(tar: &[u8]) -> Layer {
        Layer::packed(tar, gzip(tar))
    }

    pub fn of(items: &[Item]) -> Layer {
        Layer::gzip(&tar(items))
    }

    /// The same, whose blob is not there.
    pub fn but_missing(self) -> Layer {
        Layer { missing: true, ..self }
    }
}

/// An image; `config` is written instead of a right one.
#[derive(Clone, Default)]
pub struct Layout {
    pub layers: Vec<Layer>,
    pub diff_ids: Option<Vec<String>>,
    pub config: Option<String>,
}

impl Layout {
    pub fn new(layers: impl IntoIterator<Item = Layer>) -> Layout {
        Layout { layers: layers.into_iter().collect(), ..Layout::default() }
    }

    /// Writes it as an OCI layout with one image.
    pub fn write(&self, directory: &Path) {
        let (blobs, manifest) = self.blobs();
        for (digest, data) in &blobs {
            let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", digest));
            put(&directory.join("blobs").join(algorithm).join(hex), data);
        }
        let index = json!({
            "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &digest(manifest.as_bytes()), manifest.len() as u64)],
        });
        put(&directory.join("index.json"), index.to_string().as_bytes());
        put(&directory.join("oci-layout"), br#"{"imageLayoutVersion": "1.0.0"}"#);
    }

    /// Writes it to where a docker-registry keeps its files, as NAME:latest. It would take the half of these images only.
    pub fn write_to_registry(&self, storage: &Path, name: &str) {
        let root = storage.join("docker/registry/v2");
        let repository = root.join("repositories").join(name);
        let _ = fs::remove_dir_all(&repository);
        let (blobs, manifest) = self.blobs();
        for (digest, data) in &blobs {
            let Some((algorithm, hex)) = digest.split_once(':') else { continue };
            put(&root.join("blobs").join(algorithm).join(&hex[..2]).join(hex).join("data"), data);
            put(&repository.join("_layers").join(algorithm).join(hex).join("link"), digest.as_bytes());
        }
        let digest = digest(manifest.as_bytes());
        let hex = digest.trim_start_matches("sha256:");
        for link in [
            format!("revisions/sha256/{hex}"),
            "tags/latest/current".into(),
            format!("tags/latest/index/sha256/{hex}"),
        ] {
            put(&repository.join("_manifests").join(link).join("link"), digest.as_bytes());
        }
    }

    /// What it consists of by digest, true or not, the manifest last; and the manifest.
    pub fn blobs(&self) -> (Vec<(String, Vec<u8>)>, String) {
        let there = self.layers.iter().filter(|layer| !layer.missing);
        let mut blobs: Vec<_> = there.map(|layer| (layer.digest.clone(), layer.blob.clone())).collect();
        let diff_ids = self.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = self.config.clone().unwrap_or_else(|| {
            json!({
                "architecture": "amd64", "os": "linux", "config": {},
                "rootfs": { "type": "layers", "diff_ids": self.diff_ids.clone().unwrap_or(diff_ids) },
            })
            .to_string()
        });
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| {
                let size = layer.declared.unwrap_or(layer.blob.len() as u64);
                descriptor(&layer.media_type, &layer.digest, size)
            })
            .collect();
        let config_digest = digest(config.as_bytes());
        let kind = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(kind, &config_digest, config.len() as u64), "layers": layers,
        })
        .to_string();
        blobs.push((config_digest, config.into_bytes()));
        blobs.push((digest(manifest.as_bytes()), manifest.clone().into_bytes()));
        (blobs, manifest)
    }
}

fn descriptor(kind: &str, digest: &str, size: u64) -> serde_json::Value {
    json!({ "mediaType": kind, "digest": digest, "size": size })
}

fn put(path: &Path, data: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
}
