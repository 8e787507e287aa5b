//! Plugins in a real registry, and what is made of servers that do as they like.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "registry/misbehaving.rs"]
mod misbehaving;
#[path = "registry/real.rs"]
mod real;
#[expect(dead_code, reason = "other tests have it do more")]
#[path = "../../feed/tests/artifacts/server.rs"]
mod server;
#[path = "../../../tests/support/registry.rs"]
mod support;

use wasink_registry::{Options, Package, Patience, Reference, Registry};

/// More than any of these has.
const LIMIT: u64 = 64 << 20;

fn package(component: impl Into<Vec<u8>>) -> Package {
    Package {
        component: component.into(),
        signature: None,
        title: "file".to_owned(),
        version: "1.0.0".to_owned(),
        imports: Vec::new(),
        exports: Vec::new(),
    }
}

fn reference(address: &str, rest: &str) -> Reference {
    format!("{address}/plugins/file{rest}").parse().unwrap()
}

fn registry(reference: &Reference) -> Registry {
    Registry::new(reference, &Options::default()).unwrap()
}

fn options(set: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    set(&mut options);
    options
}

fn short(options: &mut Options) {
    use std::time::Duration;

    options.patience = Patience {
        connect: Duration::from_secs(10),
        word: Duration::from_millis(50),
        whole: Duration::from_secs(60),
    };
}
