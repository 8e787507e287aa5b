//! Against the registry that Debian packages.

use std::io::Write;

use wasink_registry::{Artifact, Credentials, Digest, Options, Registry, RegistryError};

use crate::support::{PASSWORD, Registry as Server, USER};
use crate::{LIMIT, options, package, reference, registry};

fn fetched(registry: &mut Registry, artifact: &Artifact) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    registry.fetch(artifact, LIMIT, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_is_put_there_is_fetched_by_its_tag_and_by_its_digest() {
    let Some(server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut registry = registry(&tag);
    let mut signed = package("component");
    signed.signature = Some([7; 64]);
    let digest = registry.push(&tag, &signed).unwrap();
    for reference in
        [&tag, &tag.at(digest.clone()), &reference(&server.address(), &format!("@{digest}"))]
    {
        let artifact = registry.resolve(reference).unwrap();
        assert_eq!((&artifact.manifest, artifact.bytes), (&digest, 9));
        assert_eq!(artifact.component, Digest::of(b"component"));
        assert_eq!(artifact.signature, Some([7; 64]));
        assert_eq!(fetched(&mut registry, &artifact).unwrap(), b"component");
    }
    // The same is the same, and no tag is needed for it.
    let untagged = reference(&server.address(), &format!("@{digest}"));
    assert_eq!(registry.push(&untagged, &signed).unwrap(), digest);
    let other = registry.push(&untagged, &package("other")).unwrap_err().to_string();
    assert!(other.contains("was named"), "{other}");
}

#[test]
fn a_large_component_comes_whole_and_one_over_the_limit_not_at_all() {
    let Some(server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut registry = registry(&tag);
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    registry.push(&tag, &package(large.clone())).unwrap();
    let artifact = registry.resolve(&tag).unwrap();
    assert!(fetched(&mut registry, &artifact).unwrap() == large);
    let mut none = Vec::new();
    let error = registry.fetch(&artifact, 19_999_999, &mut none).unwrap_err().to_string();
    assert!(error.contains("20000000 bytes, and 19999999 are taken"), "{error}");
    assert!(none.is_empty());
}

#[test]
fn a_tag_that_is_moved_is_another_digest_and_the_old_one_is_there_still() {
    let Some(server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut registry = registry(&tag);
    let one = registry.push(&tag, &package("one")).unwrap();
    let two = registry.push(&tag, &package("two")).unwrap();
    assert_eq!(registry.resolve(&tag).unwrap().manifest, two);
    let artifact = registry.resolve(&tag.at(one.clone())).unwrap();
    assert_eq!(artifact.manifest, one);
    assert_eq!(fetched(&mut registry, &artifact).unwrap(), b"one");
}

#[test]
fn what_is_not_there_is_told() {
    let Some(mut server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut client = registry(&tag);
    let error = client.resolve(&tag).unwrap_err().to_string();
    assert!(error.starts_with(&format!("there is no `{tag}` (404")), "{error}");
    client.push(&tag, &package("component")).unwrap();
    let other = reference(&server.address(), ":2");
    let error = client.resolve(&other).unwrap_err().to_string();
    assert_eq!(error, format!("there is no `{other}` (404, MANIFEST_UNKNOWN)"));
    let artifact = client.resolve(&tag).unwrap();
    std::fs::remove_file(server.blob(artifact.component.as_str())).unwrap();
    let error = fetched(&mut client, &artifact).unwrap_err();
    assert!(matches!(error, RegistryError::Unknown { .. }), "{error}");
    server.kill();
    let error = registry(&tag).resolve(&tag).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { place, .. } if *place == server.address())
    );
}

#[test]
fn an_image_for_containers_is_told() {
    let Some(server) = Server::start() else { return };
    server.put_image("plugins/file", "image");
    let tag = reference(&server.address(), ":image");
    let error = registry(&tag).resolve(&tag).unwrap_err();
    assert!(matches!(error, RegistryError::NotWasm { .. }), "{error}");
    assert!(error.to_string().contains("is no plugin but an image for containers"), "{error}");
}

#[test]
fn bytes_that_have_changed_on_the_registry_s_disk_are_not_taken() {
    let Some(server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut registry = registry(&tag);
    let digest = registry.push(&tag, &package("component")).unwrap();
    let artifact = registry.resolve(&tag).unwrap();
    let blob = server.blob(artifact.component.as_str());
    for (content, reason) in [
        ("Component", "has the digest"),
        ("compone", "has the digest"),
        ("component!", "gives more"),
    ] {
        std::fs::write(&blob, content).unwrap();
        let error = fetched(&mut registry, &artifact).unwrap_err().to_string();
        assert!(error.contains(reason), "{content}: {error}");
    }
    let manifest = server.blob(digest.as_str());
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("1.0.0", "1.0.1")).unwrap();
    for reference in [tag.clone(), tag.at(digest)] {
        assert!(registry.resolve(&reference).is_err(), "{reference}");
    }
}

#[test]
fn a_registry_that_is_killed_while_it_gives_is_told() {
    /// Kills it at the first bytes.
    struct Killing<'a>(&'a mut Server, usize);

    impl Write for Killing<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.1 == 0 {
                self.0.kill();
            }
            self.1 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let Some(mut server) = Server::start() else { return };
    let tag = reference(&server.address(), ":1");
    let mut registry = registry(&tag);
    // More than the buffers between the two hold.
    registry.push(&tag, &package(vec![7; 40 << 20])).unwrap();
    let artifact = registry.resolve(&tag).unwrap();
    let mut into = Killing(&mut server, 0);
    let error = registry.fetch(&artifact, LIMIT, &mut into).unwrap_err();
    assert!(into.1 > 0 && into.1 < 40 << 20, "{}", into.1);
    assert!(matches!(error, RegistryError::CutOff { .. }), "{error}");
}

#[test]
fn a_registry_that_is_guarded_wants_the_name_and_the_password() {
    let Some(server) = Server::guarded() else { return };
    let tag = reference(&server.address(), ":1");
    let with = |password: &str| {
        let credentials = Some(Credentials::new(USER, password));
        Registry::new(&tag, &options(|options| options.credentials = credentials)).unwrap()
    };
    let nobody = Registry::new(&tag, &Options::default()).unwrap().resolve(&tag).unwrap_err();
    assert!(matches!(nobody, RegistryError::Unauthorized { given: false, .. }), "{nobody}");
    let wrong = with("guessed").push(&tag, &package("component")).unwrap_err();
    assert!(matches!(wrong, RegistryError::Unauthorized { given: true, .. }), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("guessed"), "{wrong:?}");
    with(PASSWORD).push(&tag, &package("component")).unwrap();
    let mut right = with(PASSWORD);
    let artifact = right.resolve(&tag).unwrap();
    assert_eq!(fetched(&mut right, &artifact).unwrap(), b"component");
}

#[test]
fn a_registry_that_speaks_tls_is_trusted_by_the_certificates_that_are_given() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pem = own.cert.pem();
    let Some(server) = Server::encrypted(&pem, &own.signing_key.serialize_pem()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let tag = reference(&server.address(), ":1");
    let trusting = |name: &str, pem: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Registry::new(&tag, &options(|options| options.authorities = Some(path)))
    };
    let mut registry = trusting("ca", &pem).unwrap();
    registry.push(&tag, &package("component")).unwrap();
    let artifact = registry.resolve(&tag).unwrap();
    assert_eq!(fetched(&mut registry, &artifact).unwrap(), b"component");

    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let error = trusting("other", &stranger.cert.pem()).unwrap().resolve(&tag).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { reason, .. } if reason.contains("ertificate")),
        "{error}"
    );
    let error = trusting("none", "").unwrap_err().to_string();
    assert!(error.contains("there is no certificate in"), "{error}");
    // Without encryption, it does not understand.
    assert!(Registry::new(&tag, &Options::default()).unwrap().resolve(&tag).is_err());
}
