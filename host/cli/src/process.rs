//! What this process asks of its system before it runs plugins.

use wasink::config::Config;

/// As many open files as the system lets this user have, and no core dump where there are secrets.
pub(crate) fn prepare(config: &Config) {
    raise_open_files();
    if !config.secrets.is_empty() {
        forbid_core_dumps();
    }
}

/// Every segment, file and connection is one. The usual bound is meant for programs that use
/// `select`, which this is not.
#[cfg(unix)]
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it can't be, it stays as it is.
    setrlimit(Resource::Nofile, limit).unwrap_or_default();
}

/// A core dump holds all that is in memory, secrets among it.
#[cfg(target_os = "linux")]
pub(crate) fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    // It can't fail with this value.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
}

#[cfg(not(unix))]
fn raise_open_files() {}

#[cfg(not(target_os = "linux"))]
pub(crate) fn forbid_core_dumps() {}
