//! Where a guest was when it trapped, in the names of its functions.

use wasink_chassis::logger::printable;
use wasmtime::WasmBacktrace;

/// So many functions are named, the innermost first.
const FUNCTIONS: usize = 6;
/// Of each name so many characters.
const LONGEST: usize = 100;
/// How functions begin that only lead to the trap: those of Rust's libraries.
const MACHINERY: [&str; 8] =
    ["<alloc::", "<core::", "<std::", "__rust", "alloc::", "core::", "rust_", "std::"];

/// The functions that a guest was in, as far as its file has names for them; `None` where it has none,
/// as most that are released.
pub(crate) fn of(error: &wasmtime::Error) -> Option<String> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    let names = trace.frames().iter().filter_map(|frame| {
        let name = frame.func_name()?;
        // What the contract calls it by is said already, and is all that a file without names has.
        let is_export = name.contains('#') || name.starts_with("cabi_");
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let leads = name == "abort" || MACHINERY.iter().any(|begin| name.starts_with(begin));
        let name: String = name.chars().take(LONGEST).collect();
        (!is_export && !leads).then(|| format!("`{}`", printable(&name)))
    });
    let names: Vec<_> = names.take(FUNCTIONS).collect();
    (!names.is_empty()).then(|| names.join(" < "))
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::of;

    fn trapped(module: &str) -> wasmtime::Error {
        let engine = Engine::default();
        let module = Module::new(&engine, wat::parse_str(module).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap_err()
    }

    #[test]
    fn functions_are_named_from_within_and_what_terminals_act_on_is_told_by_its_number() {
        let error = trapped(
            r#"(module
                (func $_ZN4core9panicking9panic_fmt17h0123456789abcdefE unreachable)
                (func $_ZN5tally5write17h0123456789abcdefE
                    call $_ZN4core9panicking9panic_fmt17h0123456789abcdefE)
                (func $"wasink:plugin/sink@0.1.0#write" call $_ZN5tally5write17h0123456789abcdefE)
                (func $"evil\1b[2J" (export "run") call $"wasink:plugin/sink@0.1.0#write"))"#,
        );
        let expected = "`tally::write` < `evil\\u{1b}[2J`";
        assert_eq!(of(&error).as_deref(), Some(expected));
    }

    #[test]
    fn what_recurses_or_has_long_names_is_cut() {
        let name = "f".repeat(1_000);
        let error = trapped(&format!(r#"(module (func ${name} (export "run") call ${name}))"#));
        let said = of(&error).unwrap();
        assert_eq!(said.matches(" < ").count(), 5, "{said}");
        assert!(said.len() < 700, "{said}");
    }

    #[test]
    fn where_there_are_no_names_nothing_is_said() {
        let error = trapped(
            r#"(module (func unreachable) (func (export "a#run") call 0) (export "run" (func 1)))"#,
        );
        assert_eq!(of(&error), None);
    }
}
