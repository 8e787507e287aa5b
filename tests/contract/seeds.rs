//! The components in `fuzz/corpus/component`, made of the contract as it is: a change of it that would
//! leave the fuzzing with files that nobody can load is seen here.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

use crate::{BLESS, contract, project};

/// A sink but for `write`: it describes itself with a version, a summary, four streams, a schema and a
/// window, and all other calls do well.
const SINK: &str = r#"
 (import "wasink:plugin/batches@0.1.0" "[resource-drop]batch" (func $drop (param i32)))
 (data (i32.const 16) "1.0.0")
 (data (i32.const 32) "a seed")
 (data (i32.const 64) "\00\01\02\03")
 (data (i32.const 128) "{\"type\":\"object\"}")
 (data (i32.const 256)
   "\10\00\00\00\05\00\00\00\20\00\00\00\06\00\00\00\40\00\00\00\04\00\00\00\01\00\00\00"
   "\80\00\00\00\11\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\10\0e\00\00\00\00\00\00")
 (memory (export "memory") 1)
 (global $top (mut i32) (i32.const 4096))
 (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
   (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
   (global.set $top (i32.add (local.get $at) (local.get 3)))
   (local.get $at))
 (func (export "wasink:plugin/about@0.1.0#describe") (result i32) i32.const 256)
 (func (export "wasink:plugin/sink@0.1.0#open")
   (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 1024)
 (func (export "wasink:plugin/sink@0.1.0#flush") (result i32) i32.const 1024)
 (func (export "wasink:plugin/sink@0.1.0#close") (result i32) i32.const 1024)
"#;

/// Further imports of a sink, what it holds beside the usual, and what it does in `write`.
const SINKS: [(&str, &str, &str, &str); 4] = [
    ("quiet", "", "", "(call $drop (local.get 0)) i32.const 1024"),
    (
        // Rejects the third record, in six letters.
        "answers",
        "",
        r#"(data (i32.const 2048) "\00\00\00\00\00\00\00\00\20\08\00\00\02\00\00\00")
           (data (i32.const 2080)
             "\00\00\00\00\00\00\00\00\02\00\00\00\00\00\00\00"
             "\20\00\00\00\06\00\00\00\00\00\00\00\00\00\00\00")"#,
        "(call $drop (local.get 0)) i32.const 2048",
    ),
    (
        "speaks",
        r#"(import "wasink:plugin/batches@0.1.0" "[method]batch.encode"
             (func $encode (param i32 i32 i32)))
           (import "wasink:plugin/batches@0.1.0" "[method]batch.len"
             (func $len (param i32) (result i32)))
           (import "wasink:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#,
        "",
        "(call $encode (local.get 0) (i32.const 0) (i32.const 3000))
         (call $log (i32.const 1) (i32.load (i32.const 3000)) (i32.load (i32.const 3004))
           (i32.const 0) (i32.const 0))
         (drop (call $len (local.get 0)))
         (call $drop (local.get 0))
         i32.const 1024",
    ),
    ("spins", "", "", "(loop $on (br $on)) i32.const 1024"),
];

fn component(resolve: &Resolve, world: WorldId, mut module: Vec<u8>) -> Vec<u8> {
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// All of them, by name.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (resolve, package) = contract();
    let world = |name: &str| resolve.select_world(&[package], Some(name)).unwrap();
    let mut seeds = Vec::new();
    // All that the contract has, and a trap behind each.
    for (name, of) in [("traps", "sink-plugin"), ("feed", "feed-sink-plugin")] {
        let mangling = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
        let module = dummy_module(&resolve, world(of), mangling);
        seeds.push((name, component(&resolve, world(of), module)));
    }
    for (name, imports, data, write) in SINKS {
        let text = format!(
            "(module {imports} {SINK} {data}
               (func (export \"wasink:plugin/sink@0.1.0#write\") (param i32) (result i32) {write}))"
        );
        let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        seeds.push((name, component(&resolve, world("sink-plugin"), module)));
    }
    let module = "(module (func (export \"write\")))";
    let other = "(component (instance $none) (export \"wasi:cli/run@0.2.3\" (instance $none)))";
    seeds.extend(
        [("module", module), ("other", other)].map(|(n, t)| (n, wat::parse_str(t).unwrap())),
    );
    seeds
}

#[test]
fn the_components_that_fuzzing_starts_from_are_those_of_this_contract() {
    for (name, made) in seeds() {
        let path = project().join("fuzz/corpus/component").join(name).with_extension("wasm");
        if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(there == made, "`{}`: run `cargo xtask bless contract`", path.display());
    }
}
