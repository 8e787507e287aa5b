//! Which plugins misbehave how is told by the heads of their files in `guest/misbehaving`. Here is what
//! is expected to become of each.

use wasink_chassis::limits::Limit;

use self::Expected::{
    ClosesBadly, Delivers, DeliversNone, Failing, LeftOut, Logs, Reaches, Rejects, Spares,
};

/// What is expected of a sink.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// It did not open, for a reason with these words.
    LeftOut(&'static str),
    /// Its last call failed, for a reason with these words.
    Failing(&'static str),
    /// At least so many records are dead letters, for reasons with these words.
    Rejects(u64, &'static str),
    /// Records are delivered.
    Delivers,
    /// At the end none is delivered or lost: they wait.
    DeliversNone,
    /// It is counted that it came up against this limit.
    Reaches(Limit),
    /// At the end, it is not.
    Spares(Limit),
    /// A line in its name has these words.
    Logs(&'static str),
    /// When it is closed, a line in its name has these words.
    ClosesBadly(&'static str),
}

/// Plugins, what their sinks' configuration has beside the usual, and what is expected. In the
/// configuration `SILENT` is a port where nobody answers, `INSIDE` one that nobody may come to, and
/// `OUTER` the origin of a receiver that sends whoever comes on to `INSIDE`.
pub(crate) const ZOO: &[(&str, &str, &[Expected])] = &[
    // Traps and descriptions.
    (
        "describe-garbage",
        "",
        &[LeftOut("settings schema that it describes itself with is not JSON")],
    ),
    (
        "describe-panics",
        "",
        &[LeftOut("trapped in `describe`: "), LeftOut("it will not say what it is")],
    ),
    ("describe-spins", "", &[LeftOut("did not return from `describe` within 1s")]),
    ("traps-in-open", "", &[LeftOut("trapped in `open`: "), LeftOut("it will not open")]),
    ("traps-in-write", "", &[Rejects(1, "it stops the plugin: "), Rejects(1, "it will not write")]),
    ("traps-in-flush", "", &[Rejects(1, "trapped in `flush`: "), Rejects(1, "it will not flush")]),
    ("traps-in-close", "", &[Delivers, ClosesBadly("it will not close")]),
    ("changes-its-description", "", &[Delivers]),
    // Time.
    (
        "spins",
        "timeout = '300ms'",
        &[
            Rejects(1, "did not return from `write` within 300ms: it was computing"),
            Reaches(Limit::Call),
        ],
    ),
    // These have more: on a machine that is busy, what comes before their waiting takes a while, and
    // would be held against a record.
    (
        "sleeps-for-ever",
        "timeout = '3s'",
        &[Failing("within 3s: it was waiting"), Reaches(Limit::Call), DeliversNone],
    ),
    (
        "waits-on-a-socket",
        "timeout = '3s'\ngrants.tcp = ['127.0.0.1:SILENT']\nsettings = { to = '127.0.0.1:SILENT' }",
        &[Failing("within 3s: it was waiting"), Reaches(Limit::Call), DeliversNone],
    ),
    // Memory, handles, room.
    (
        "allocates-without-end",
        "limits.memory = '16 MiB'",
        &[Rejects(1, "it came up against `limits.memory`"), Reaches(Limit::Memory)],
    ),
    ("recurses", "", &[Rejects(1, "call stack exhausted")]),
    (
        "opens-files-without-end",
        "grants.directory = true\nlimits.handles = 40",
        &[Rejects(1, "it came up against `limits.handles`"), Reaches(Limit::Handles)],
    ),
    (
        "opens-sockets-without-end",
        "grants.tcp = ['127.0.0.1:SILENT']\nlimits.handles = 40",
        &[Rejects(1, "it came up against `limits.handles`"), Reaches(Limit::Handles)],
    ),
    (
        "opens-handles-without-end",
        "limits.handles = 40",
        &[Rejects(1, "it came up against `limits.handles`"), Reaches(Limit::Handles)],
    ),
    (
        "fills-its-directory",
        "grants.directory = true\nlimits.directory = '256 KiB'",
        &[
            Failing("no more room: "),
            Reaches(Limit::Directory),
            Logs("the data directory is full"),
            DeliversNone,
        ],
    ),
    // Words.
    (
        "floods-the-log",
        "limits.log_rate = 10",
        &[Delivers, Reaches(Limit::LogRate), Logs("a flood"), Logs("lines were left out")],
    ),
    (
        "floods-stderr",
        "limits.log_rate = 10",
        &[Delivers, Reaches(Limit::LogRate), Logs("a flood, line ")],
    ),
    (
        "logs-without-measure",
        "",
        &[Delivers, Reaches(Limit::LogFields), Reaches(Limit::LogLine), Logs("many fields")],
    ),
    (
        "spends-host-memory",
        "limits.host_call = '1 MiB'",
        &[Rejects(1, "it came up against `limits.host_call`"), Reaches(Limit::HostCall)],
    ),
    ("control-characters", "", &[Rejects(1, "gpj.exe")]),
    ("claims-another-name", "", &[Delivers, Logs("the disk is gone")]),
    ("invalid-utf8", "grants.directory = true", &[Rejects(1, "trapped in `write`: ")]),
    (
        "megabyte-strings",
        "",
        &[Rejects(1, "rejected rejected "), Failing("broken broken "), Reaches(Limit::Text)],
    ),
    // Answers.
    (
        "a-million-outcomes",
        "",
        &[Failing("its answer names record 1 of a batch of 1"), DeliversNone],
    ),
    (
        "index-out-of-range",
        "",
        &[Failing("its answer names record 4294967295 of a batch of 1"), DeliversNone],
    ),
    ("duplicate-indices", "", &[Failing("its answer names record 0 twice"), DeliversNone]),
    ("contradictory-outcomes", "", &[Failing("its answer names record 0 twice"), DeliversNone]),
    // Ways out.
    ("reads-etc-passwd", "", &[Rejects(1, "reached []")]),
    ("climbs-out", "grants.directory = true", &[Rejects(1, "reached []")]),
    ("follows-symlinks", "grants.directory = true", &[Rejects(1, "reached []")]),
    ("hard-links-out", "grants.directory = true", &[Rejects(1, "reached []")]),
    (
        "connects-by-name",
        "grants.tcp = ['granted.example:INSIDE']\nsettings = { port = INSIDE }",
        &[Rejects(1, "reached []"), Logs("a connection was refused")],
    ),
    (
        "connects-by-address",
        "grants.tcp = ['10.255.255.1:INSIDE']\nsettings = { port = INSIDE }",
        &[Rejects(1, "reached []"), Logs("a connection was refused")],
    ),
    (
        "connects-by-redirect",
        "grants.http = [{ origin = 'OUTER' }]\nsettings = { url = 'OUTER/' }",
        &[Rejects(1, "reached []"), Logs("a request was refused")],
    ),
    (
        "connects-by-rebinding",
        "grants.http = [{ origin = 'http://rebinding.example:INSIDE' }]\n\
         grants.tcp = ['turning.example:INSIDE']\n\
         settings = { url = 'http://rebinding.example:INSIDE/', name = 'turning.example', port = INSIDE }",
        &[Rejects(1, "reached []"), Logs("refused")],
    ),
    // Functions of ours.
    ("keeps-its-batch", "", &[Rejects(1, "borrow handles still remain"), Spares(Limit::Handles)]),
    ("uses-foreign-handles", "", &[Rejects(16, "handle"), Spares(Limit::Handles)]),
    ("misdirects-its-batch", "grants.directory = true", &[Rejects(1, "reached []")]),
    ("calls-a-million-times", "", &[Delivers]),
    ("asks-for-any-secret", "grants.secrets = ['own']", &[Rejects(1, "reached []")]),
];

/// What all sinks of the zoo have.
const USUAL: &str = "streams = ['usage']\non_open_failure = 'degrade'\nwhen_full = 'drop-oldest'\n\
                     batch = { records = 1, age = '0s' }\n";

/// The sinks' configuration, with each of `places` in the place of its name.
pub(crate) fn configuration(places: &[(&str, String)]) -> String {
    let sink = |(name, more, _): &(&str, &str, _)| {
        format!("\n[[sink]]\nname = '{name}'\nplugin = '{name}'\n{USUAL}{more}\n")
    };
    let all: String = ZOO.iter().map(sink).collect();
    places.iter().fold(all, |text, (name, place)| text.replace(name, place))
}
