//! The contract in `wit/`: what it resolves to is kept in a golden file, and all of it is documented.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "contract/seeds.rs"]
mod seeds;

use std::path::{Path, PathBuf};

use wit_component::WitPrinter;
use wit_parser::{Docs, PackageId, Resolve, Type, TypeDef, TypeDefKind, WorldItem};

/// As in `cargo xtask bless`.
const BLESS: &str = "WASINK_BLESS";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(project().join("wit")).unwrap();
    (resolve, package)
}

/// The contract as text with its docs, and after it the packages that it uses, without theirs.
fn print(resolve: &Resolve, contract: PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer.print(resolve, contract, &[]).unwrap();
    let mut text = String::from(printer.output);
    for (package, _) in resolve.packages.iter().filter(|(package, _)| *package != contract) {
        let mut printer = WitPrinter::default();
        printer.emit_docs(false).print_package(resolve, package, false).unwrap();
        text.push('\n');
        text.push_str(&String::from(printer.output));
    }
    text
}

#[test]
fn the_contract_resolves_to_what_its_golden_file_says() {
    let (resolve, package) = contract();
    let printed = print(&resolve, package);
    let path: PathBuf = project().join("tests/contract/resolved.wit");
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(&path, &printed).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let (mut now, mut then) = (printed.lines(), golden.lines());
    for line in 1.. {
        let (now, then) = (now.next(), then.next());
        assert_eq!(
            now,
            then,
            "line {line} of `{}` differs; if the change is meant, run `cargo xtask bless contract`",
            path.display()
        );
        if now.is_none() {
            break;
        }
    }
}

#[test]
fn everything_in_the_contract_is_documented() {
    let (resolve, package) = contract();
    assert_eq!(undocumented(&resolve, package), [""; 0]);
}

#[test]
fn what_is_not_documented_is_found() {
    let mut resolve = Resolve::default();
    let text = "
        package test:bare;
        interface things {
          type number = u32;
          record pair { left: number, right: number }
          variant choice { one, other(string) }
          enum side { left, right }
          flags marks { red }
          resource thing { constructor(); of: func() -> pair; make: static func() -> thing; }
          free: func(side: side);
        }
        interface users { use things.{pair}; take: func(pair: pair); }
        world all { import things; export run: func(); }
    ";
    let package = resolve.push_str("bare.wit", text).unwrap();
    let mut found = undocumented(&resolve, package);
    found.sort_unstable();
    let expected = [
        "[constructor]thing of things",
        "[method]thing.of of things",
        "[static]thing.make of things",
        "choice of things",
        "free of things",
        "interface things",
        "interface users",
        "marks of things",
        "number of things",
        "package",
        "pair of things",
        "run of all",
        "side of things",
        "take of users",
        "thing of things",
        "world all",
    ];
    assert_eq!(found, expected);
}

/// What must say what it means and does not. Fields and cases may be plain enough.
fn undocumented(resolve: &Resolve, package: PackageId) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |docs: &Docs, name: String| {
        if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
            found.push(name);
        }
    };
    let package = &resolve.packages[package];
    look(&package.docs, "package".to_owned());
    for (name, interface) in &package.interfaces {
        let interface = &resolve.interfaces[*interface];
        look(&interface.docs, format!("interface {name}"));
        for (own, id) in &interface.types {
            let definition = &resolve.types[*id];
            if !is_used_from_elsewhere(definition) {
                look(&definition.docs, format!("{own} of {name}"));
            }
        }
        for (own, function) in &interface.functions {
            look(&function.docs, format!("{own} of {name}"));
        }
    }
    for (name, world) in &package.worlds {
        let world = &resolve.worlds[*world];
        look(&world.docs, format!("world {name}"));
        for item in world.imports.values().chain(world.exports.values()) {
            if let WorldItem::Function(function) = item {
                look(&function.docs, format!("{} of {name}", function.name));
            }
        }
    }
    found
}

/// `use` makes an alias in the interface that uses a type; its docs are at its origin.
fn is_used_from_elsewhere(definition: &TypeDef) -> bool {
    matches!(definition.kind, TypeDefKind::Type(Type::Id(_)))
}
