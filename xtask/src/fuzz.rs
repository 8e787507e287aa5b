//! Fuzzing: builds the targets of `fuzz/` so that libFuzzer sees which code an input reaches, and
//! runs them, as many at a time as there are processors.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::tool::{self, Tool};

/// The manifest of the fuzz workspace, from the project's root.
pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

/// What cargo-fuzz has the compiler do, in the words of LLVM: counters for every edge, a table of
/// where they are, and calls that tell what is compared. That needs no unstable flag.
const INSTRUMENTS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The crates, beside our own, that read what comes from outside. To build the code generator and all
/// the others with instruments takes three times as long, and says nothing about us.
const INSTRUMENTED: [&str; 12] = [
    "flate2",
    "http",
    "httparse",
    "hyper",
    "jsonschema",
    "matchit",
    "percent_encoding",
    "serde_json",
    "toml",
    "toml_parser",
    "wasmparser",
    "wasmtime_environ",
];

/// Set where cargo calls this program in place of the compiler.
pub(crate) const AS_COMPILER: &str = "WASINK_FUZZ_COMPILER";

/// For each target.
const SECONDS: u32 = 60;

/// What is shown of a target that found something.
const LAST_LINES: usize = 60;

/// What a target runs with beside its corpora.
struct Target {
    name: &'static str,
    /// The longest input, in bytes.
    max_len: u32,
    /// No input may take as long, in seconds. It is far above what any takes on a busy machine.
    timeout: u32,
    /// The most memory, in MiB.
    memory: u32,
}

const TARGETS: [Target; 6] = [
    Target { name: "wire", max_len: 4096, timeout: 20, memory: 1024 },
    Target { name: "configuration", max_len: 8192, timeout: 20, memory: 1024 },
    Target { name: "journal", max_len: 2048, timeout: 20, memory: 1024 },
    Target { name: "intake", max_len: 16_384, timeout: 60, memory: 1024 },
    Target { name: "admin", max_len: 4096, timeout: 60, memory: 1024 },
    Target { name: "component", max_len: 65_536, timeout: 60, memory: 2048 },
];

/// Builds the named targets, or all, and runs each for so many seconds: `[--seconds N] [TARGET…]`.
/// What libFuzzer learns stays in `<target>/fuzz`, the next run goes on from there.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (seconds, targets) = chosen(arguments)?;
    let host = host()?;
    let folder = tool::target_directory()?.join("fuzz");
    build(&host, &folder, &targets)?;
    let mut found = Vec::new();
    // Each keeps one processor busy.
    let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
    for targets in targets.chunks(at_once) {
        let ended: Vec<_> = std::thread::scope(|scope| {
            let run = |target: &&'static Target| {
                let (target, host, folder) = (*target, &host, &folder);
                (target, scope.spawn(move || fuzz(target, host, folder, seconds)))
            };
            let running: Vec<_> = targets.iter().map(run).collect();
            running.into_iter().map(|(target, thread)| (target, thread.join())).collect()
        });
        for (target, ended) in ended {
            let ended = ended.unwrap_or_else(|_| bail!("`{}`: its thread panicked", target.name));
            if let Err(error) = ended {
                eprintln!("fuzz: {error:#}");
                found.push(target.name);
            }
        }
    }
    if !found.is_empty() {
        bail!("an input was found that cannot be stood: {}", found.join(", "));
    }
    Ok(())
}

/// Runs one target and tells how far it came.
fn fuzz(target: &Target, host: &str, folder: &Path, seconds: u32) -> Result<()> {
    let name = target.name;
    let corpus = folder.join("corpus").join(name);
    let artifacts = folder.join("artifacts").join(name);
    std::fs::create_dir_all(&corpus)?;
    std::fs::create_dir_all(&artifacts)?;
    let before = files(&artifacts)?;
    // It says something of every input that reaches new code.
    let said = folder.join(format!("{name}.log"));
    let program = folder.join(host).join("release").join(name);
    let status = Command::new(&program)
        .args(limits(target, seconds))
        .arg(prefixed("-artifact_prefix=", &artifacts.join("")))
        .args(dictionary(name))
        .args([&corpus, &tool::root().join("fuzz/corpus").join(name)])
        .current_dir(tool::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said)?)
        .status()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    let text = String::from_utf8_lossy(&std::fs::read(&said)?).into_owned();
    if !status.success() {
        let new: Vec<_> =
            files(&artifacts)?.into_iter().filter(|file| !before.contains(file)).collect();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default();
        eprintln!("{}", last.join("\n"));
        bail!("`{name}` ended with {status}; the input: {new:?}, all that was said: {said:?}");
    }
    let progress = text.lines().rfind(|line| line.contains(" cov: ")).unwrap_or("no progress");
    println!("fuzz: {name}: {}", progress.trim());
    Ok(())
}

fn chosen(arguments: &[String]) -> Result<(u32, Vec<&'static Target>)> {
    let mut seconds = SECONDS;
    let mut targets = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let number = arguments.next().context("`--seconds` needs a number")?;
            seconds = number.parse().with_context(|| format!("`{number}` is no number"))?;
            continue;
        }
        let target = TARGETS.iter().find(|target| target.name == argument);
        let known = || TARGETS.map(|target| target.name).join(", ");
        targets.push(
            target.with_context(|| {
                format!("there is no target `{argument}`; there are: {}", known())
            })?,
        );
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    // Zero would be for ever.
    if seconds == 0 {
        bail!("a target runs for one second at least");
    }
    Ok((seconds, targets))
}

/// The platform that we are on. Only with its name is what cargo builds for itself, such as macros,
/// built without instruments.
fn host() -> Result<String> {
    let version = Tool::named("rustc").args(["-vV"]).output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Calls the compiler, with instruments where the crate is one that gets them.
pub(crate) fn compile(arguments: &[String]) -> Result<()> {
    let (compiler, arguments) = arguments.split_first().context("there is no compiler to call")?;
    let mut command = Command::new(compiler);
    command.args(arguments);
    if is_instrumented(arguments) {
        command.args(INSTRUMENTS);
    }
    let status = command.status().with_context(|| format!("cannot start `{compiler}`"))?;
    if !status.success() {
        bail!("`{compiler}` failed: {status}");
    }
    Ok(())
}

/// What is built for a target that is named is not for the build itself.
fn is_instrumented(arguments: &[String]) -> bool {
    let name = arguments.iter().skip_while(|one| *one != "--crate-name").nth(1);
    let own = |name: &String| {
        name.starts_with("wasink_") || TARGETS.iter().any(|target| target.name == name)
    };
    arguments.iter().any(|one| one == "--target")
        && name.is_some_and(|name| own(name) || INSTRUMENTED.contains(&name.as_str()))
}

fn build(host: &str, folder: &Path, targets: &[&Target]) -> Result<()> {
    let named = targets.iter().flat_map(|target| ["--bin", target.name]);
    Tool::cargo()
        .args(["build", "--release", "--locked", "--manifest-path", MANIFEST])
        .args(["--target", host, "--target-dir"])
        .args([folder])
        .args(named)
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=fuzzing")
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(AS_COMPILER, "1")
        .run()
        .context(
            "the targets do not build (they need a C++ compiler beside all else, for libFuzzer)",
        )
}

fn limits(target: &Target, seconds: u32) -> [String; 5] {
    [
        format!("-max_total_time={seconds}"),
        format!("-max_len={}", target.max_len),
        format!("-timeout={}", target.timeout),
        format!("-rss_limit_mb={}", target.memory),
        "-print_final_stats=1".to_owned(),
    ]
}

fn dictionary(target: &str) -> Option<OsString> {
    let path = tool::root().join("fuzz/dictionaries").join(format!("{target}.dict"));
    path.is_file().then(|| prefixed("-dict=", &path))
}

fn prefixed(flag: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(flag);
    argument.push(path);
    argument
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::{MANIFEST, SECONDS, TARGETS, chosen, is_instrumented};
    use crate::tool;

    fn of(arguments: &[&str]) -> anyhow::Result<(u32, Vec<&'static str>)> {
        let arguments: Vec<_> = arguments.iter().map(|&one| one.to_owned()).collect();
        let (seconds, targets) = chosen(&arguments)?;
        Ok((seconds, targets.iter().map(|target| target.name).collect()))
    }

    #[test]
    fn without_arguments_all_targets_run_for_a_minute() {
        let (seconds, targets) = of(&[]).unwrap();
        assert_eq!((seconds, targets.len()), (SECONDS, TARGETS.len()));
    }

    #[test]
    fn targets_and_their_time_are_chosen() {
        let expected = (5, vec!["wire", "journal"]);
        assert_eq!(of(&["wire", "--seconds", "5", "journal"]).unwrap(), expected);
        for wrong in [&["wir"][..], &["--seconds"], &["--seconds", "x"], &["--seconds", "0"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn our_own_crates_get_instruments_where_they_are_not_for_the_build_itself() {
        let is = |line: &str| {
            let arguments: Vec<_> = line.split(' ').map(str::to_owned).collect();
            is_instrumented(&arguments)
        };
        assert!(is("--crate-name wasink_record --target x"));
        assert!(is("--crate-name journal --target x"));
        assert!(is("--crate-name toml_parser --target x"));
        assert!(!is("--crate-name cranelift_codegen --target x"));
        assert!(!is("--crate-name wasink_record"));
        assert!(!is("-vV"));
    }

    #[test]
    fn the_targets_are_those_of_the_manifest_and_each_has_a_corpus() {
        let text = std::fs::read_to_string(tool::root().join(MANIFEST)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let bins = manifest["bin"].as_array().unwrap();
        let mut named: Vec<_> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
        named.sort_unstable();
        let mut known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        known.sort_unstable();
        assert_eq!(named, known);
        for name in known {
            let corpus = tool::root().join("fuzz/corpus").join(name);
            assert!(std::fs::read_dir(&corpus).unwrap().next().is_some(), "{name}");
        }
    }
}
