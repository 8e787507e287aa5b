//! The project's chores, in Rust so that they run wherever the project builds: `cargo xtask`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a chore says is its output")]

mod bindings;
mod check;
mod fuzz;
mod golden;
mod guests;
mod tidy;
mod tool;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::tool::Tool;

const HELP: &str = "\
Usage: cargo xtask <chore> [arguments]

  check        everything that must hold before a change is taken, except the tests
    fmt          formatting of all workspaces
    tidy         what the compiler cannot see: names, sizes, arrows between crates, paths in prose
    deny         licences, sources and doubled versions of dependencies
    clippy       lints of both workspaces, the guests natively and for WebAssembly
    rustdoc      the documentation builds without a warning
  advisories   known vulnerabilities of dependencies (needs the network)
  guests       builds all plugins of the guest workspace
  test         all tests: the product's, the chores', the guests'; arguments go to the first `cargo test`
  bless        rewrites the golden files; name test targets to rewrite only theirs
  bindings     regenerates the guest SDK's bindings from wit/; `--check` only compares
  fuzz         looks for inputs that cannot be stood: `--seconds N` for each target, 60 without,
               and names of targets for only these; needs a C++ compiler
  bench        the benchmarks; arguments go to `cargo bench`
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    if std::env::var_os(fuzz::AS_COMPILER).is_some() {
        return fuzz::compile(arguments);
    }
    let Some((chore, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match chore.as_str() {
        "test" => return test(rest),
        "bless" => return golden::bless(rest),
        "fuzz" => return fuzz::run(rest),
        "bench" => return Tool::cargo().args(["bench"]).args(rest).run(),
        "bindings" => return bindings::run(only_check(rest)?),
        _ => {}
    }
    if let Some(extra) = rest.first() {
        bail!("`{chore}` takes no argument, but was given `{extra}`");
    }
    match chore.as_str() {
        "check" => check::all(),
        "fmt" => check::fmt(),
        "tidy" => tidy::run(),
        "deny" => check::deny(),
        "clippy" => check::clippy(),
        "rustdoc" => check::rustdoc(),
        "advisories" => check::advisories(),
        "guests" => guests::build(),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("there is no chore `{chore}`; `cargo xtask help` lists them"),
    }
}

fn test(arguments: &[String]) -> Result<()> {
    guests::ensure_target()?;
    Tool::cargo().args(["test"]).args(arguments).run()?;
    Tool::cargo().args(["test", "--profile", "xtask", "--package", "xtask"]).run()?;
    guests::test()
}

fn only_check(arguments: &[String]) -> Result<bool> {
    match arguments {
        [] => Ok(false),
        [flag] if flag == "--check" => Ok(true),
        _ => bail!("expected nothing or `--check`, not `{}`", arguments.join(" ")),
    }
}
