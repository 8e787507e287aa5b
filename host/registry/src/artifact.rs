//! The layout: a manifest, a configuration, one layer.
//!
//! A signature is an annotation of the manifest, so its digest covers it, and tools that want exactly
//! one layer still take the artifact.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::reference::Reference;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// So that what is no plugin is shown to us, and can be told.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// Base64 of the bytes of an Ed25519 signature over the component.
const SIGNATURE: &str = "wasink.plugin.signature";
const VERSION: &str = "org.opencontainers.image.version";
const TITLE: &str = "org.opencontainers.image.title";
/// The layout wants a time. This one is the same for everybody, so the same component with the same
/// signature is the same artifact whoever makes it, and whenever.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Size of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// A plugin that a registry has, as its manifest says. Nothing of the component has been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Artifact {
    /// What was asked for.
    pub reference: Reference,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the component.
    pub component: Digest,
    /// Size of the component, in bytes.
    pub bytes: u64,
    /// The signature over the component.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
}

/// A plugin that is to be put into a registry.
#[derive(Debug, Clone)]
pub struct Package {
    /// The component.
    pub component: Vec<u8>,
    /// The signature over it.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
    /// Its name, for people.
    pub title: String,
    /// Its version, for people.
    pub version: String,
    /// Interfaces that it wants from its host.
    pub imports: Vec<String>,
    /// Interfaces that it offers.
    pub exports: Vec<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [&'a Digest; 1],
    component: Component<'a>,
}

#[derive(Serialize)]
struct Component<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

impl Artifact {
    /// Reads a manifest, whose bytes have this digest.
    pub(crate) fn read(
        reference: &Reference,
        manifest: Digest,
        bytes: &[u8],
    ) -> Result<Self, RegistryError> {
        let wrong =
            |reason: String| RegistryError::Manifest { reference: reference.to_string(), reason };
        let other =
            |found: String| RegistryError::NotWasm { reference: reference.to_string(), found };
        let parsed: Manifest =
            serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let Some(config) = parsed.config else {
            return Err(other(match parsed.media_type {
                Some(kind) if is_index(&kind) => {
                    "an index of images for several platforms".to_owned()
                }
                kind => format!("`{}`", shown(kind.as_deref().unwrap_or("nothing"))),
            }));
        };
        if config.media_type != CONFIG {
            let kind = &config.media_type;
            let image = kind.contains(".image.config.") || kind.contains(".container.image.");
            let what = if image { "an image for containers" } else { "something else" };
            return Err(other(format!("{what} (`{}`)", shown(kind))));
        }
        let [layer] = parsed.layers.as_slice() else {
            return Err(wrong(format!(
                "it has {} layers, and a plugin is one",
                parsed.layers.len()
            )));
        };
        if layer.media_type != LAYER {
            return Err(other(format!("a layer of the type `{}`", shown(&layer.media_type))));
        }
        let component = layer.digest.parse();
        let component = component.map_err(|error: crate::DigestError| wrong(error.to_string()))?;
        let signature = parsed.annotations.get(SIGNATURE).map(|text| {
            let decoded = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            decoded.ok_or_else(|| wrong(format!("`{SIGNATURE}` is not the Base64 of 64 bytes")))
        });
        Ok(Self {
            reference: reference.clone(),
            manifest,
            component,
            bytes: layer.size,
            signature: signature.transpose()?,
        })
    }
}

impl Package {
    /// The configuration, and the manifest that names it and the component.
    pub(crate) fn documents(&self) -> Result<(Vec<u8>, Vec<u8>), serde_json::Error> {
        let component = Digest::of(&self.component);
        let config = serde_json::to_vec(&WasmConfig {
            created: CREATED,
            architecture: "wasm",
            os: "wasip2",
            layer_digests: [&component],
            component: Component { exports: &self.exports, imports: &self.imports },
        })?;
        let describe = |media_type: &str, digest: &Digest, size: usize| Descriptor {
            media_type: media_type.to_owned(),
            digest: digest.to_string(),
            size: size as u64,
        };
        let mut annotations = BTreeMap::new();
        let mut annotate = |key: &str, value: String| annotations.insert(key.to_owned(), value);
        annotate(TITLE, self.title.clone());
        annotate(VERSION, self.version.clone());
        if let Some(signature) = &self.signature {
            annotate(SIGNATURE, STANDARD.encode(signature));
        }
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: Some(describe(CONFIG, &Digest::of(&config), config.len())),
            layers: vec![describe(LAYER, &component, self.component.len())],
            annotations,
        })?;
        Ok((config, manifest))
    }
}

fn is_index(media_type: &str) -> bool {
    media_type.contains(".image.index.") || media_type.contains(".manifest.list.")
}

/// Words of a registry, cut where they are long.
fn shown(text: &str) -> String {
    text.chars().take(120).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(signature: Option<[u8; 64]>) -> Package {
        Package {
            component: b"component".to_vec(),
            signature,
            title: "file".to_owned(),
            version: "1.2.3".to_owned(),
            imports: vec!["wasi:io/streams@0.2.0".to_owned()],
            exports: vec!["wasink:plugin/sink@0.1.0".to_owned()],
        }
    }

    fn read(manifest: &[u8]) -> Result<Artifact, RegistryError> {
        let reference = "r.example/file:1".parse().unwrap();
        Artifact::read(&reference, Digest::of(manifest), manifest)
    }

    #[test]
    fn what_is_packed_is_read_again_and_always_packed_alike() {
        for signature in [None, Some([7; 64])] {
            let (config, manifest) = package(signature).documents().unwrap();
            assert_eq!(package(signature).documents().unwrap(), (config, manifest.clone()));
            let artifact = read(&manifest).unwrap();
            assert_eq!(artifact.component, Digest::of(b"component"));
            assert_eq!((artifact.bytes, artifact.signature), (9, signature));
        }
    }

    #[test]
    fn the_documents_are_laid_out_as_other_tools_want_them() {
        let (config, manifest) = package(None).documents().unwrap();
        let config_digest = Digest::of(&config);
        let component = Digest::of(b"component");
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            config,
            serde_json::json!({
                "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2",
                "layerDigests": [component],
                "component": {
                    "exports": ["wasink:plugin/sink@0.1.0"], "imports": ["wasi:io/streams@0.2.0"],
                },
            })
        );
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(
            manifest,
            serde_json::json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.wasm.config.v0+json", "digest": config_digest,
                    "size": config.to_string().len(),
                },
                "layers": [{ "mediaType": "application/wasm", "digest": component, "size": 9 }],
                "annotations": {
                    "org.opencontainers.image.title": "file",
                    "org.opencontainers.image.version": "1.2.3",
                },
            })
        );
    }

    #[test]
    fn what_is_no_plugin_is_told_by_what_it_is() {
        let digest = Digest::of(b"");
        let layer =
            |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1}}"#);
        let (config, wasm) = (layer(CONFIG), layer(LAYER));
        let image = layer("application/vnd.oci.image.config.v1+json");
        let docker = layer("application/vnd.docker.container.image.v1+json");
        let tar = layer("application/vnd.oci.image.layer.v1.tar+gzip");
        let of = |config: &str, layers: &str, more: &str| {
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]{more}}}"#)
        };
        let signed = r#","annotations":{"wasink.plugin.signature":"AAAA"}"#;
        let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#;
        for (manifest, reason) in [
            (index.to_owned(), "an index of images"),
            (r#"{"schemaVersion":1}"#.to_owned(), "`nothing`"),
            (of(&image, &tar, ""), "an image for containers"),
            (of(&docker, &tar, ""), "an image for containers"),
            (of(&layer("a/b"), &wasm, ""), "something else (`a/b`)"),
            (of(&config, &tar, ""), "a layer of the type"),
            (of(&config, "", ""), "it has 0 layers"),
            (of(&config, &format!("{wasm},{wasm}"), ""), "it has 2 layers"),
            (of(&config, &wasm.replace("sha256", "md5"), ""), "is no digest"),
            (of(&config, &wasm.replace("\"size\":1", "\"size\":-1"), ""), "invalid value"),
            (of(&config, &wasm, signed), "not the Base64 of 64 bytes"),
            ("[".to_owned(), "EOF"),
        ] {
            let error = read(manifest.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("r.example/file:1"), "{error}");
        }
    }
}
