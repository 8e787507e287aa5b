//! The help of every command, kept in golden files.

use std::path::Path;

use super::operator::Operator;

/// As in `cargo xtask bless`.
const BLESS: &str = "WASINK_BLESS";

const COMMANDS: [&str; 47] = [
    "",
    "run",
    "serve",
    "status",
    "reload",
    "check",
    "config",
    "plugins",
    "plugins build",
    "plugins list",
    "plugins new",
    "plugins inspect",
    "plugins test",
    "plugins bench",
    "plugins pull",
    "plugins push",
    "plugins swap",
    "plugins rollback",
    "plugins history",
    "trial",
    "trial start",
    "trial report",
    "trial promote",
    "trial abort",
    "journal",
    "journal inspect",
    "journal verify",
    "journal export",
    "journal repair",
    "dead",
    "dead list",
    "dead show",
    "dead replay",
    "dead purge",
    "held",
    "held list",
    "held resend",
    "held discard",
    "feed",
    "feed status",
    "feed skip",
    "feed replay",
    "feed dead",
    "feed revive",
    "audit",
    "completions",
    "man",
];

#[test]
fn the_help_of_every_command_is_what_its_golden_file_says() {
    let operator = Operator::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/help");
    for command in COMMANDS {
        let help = operator.says(&format!("{command} --help")).expect(0);
        assert_eq!(help.stderr, "");
        let name = if command.is_empty() { "wasink".to_owned() } else { command.replace(' ', "-") };
        let path = folder.join(name + ".txt");
        if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
            std::fs::write(&path, &help.stdout).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            help.stdout,
            golden,
            "`{}` differs; if the change is meant, run `cargo xtask bless command`",
            path.display()
        );
    }
}

#[test]
fn every_command_has_a_golden_file() {
    let operator = Operator::new();
    for above in COMMANDS {
        let help = operator.says(&format!("{above} --help")).stdout;
        let Some((_, commands)) = help.split_once("Commands:\n") else { continue };
        let (commands, _) = commands.split_once("\n\n").unwrap();
        for name in commands.lines().filter_map(|line| line.split_whitespace().next()) {
            let command = format!("{above} {name}");
            let known = name == "help" || COMMANDS.contains(&command.trim_start());
            assert!(known, "`{command}` has none");
        }
    }
}

#[test]
fn a_command_line_that_is_wrong_exits_with_2_and_says_why() {
    let operator = Operator::new();
    for (arguments, word) in [
        ("", "Usage: wasink"),
        ("walk", "unrecognized subcommand 'walk'"),
        ("run --stream sounds", "possible values: metering, usage, control, events"),
        ("run --close-timeout soon", "write one such as `500ms` or `30s`"),
        ("run --structured --event-source x", "cannot be used with"),
        ("run --log-level loud", "possible values: debug, info, warn, error"),
        ("plugins inspect", "<NAME|FILE>"),
    ] {
        let ended = operator.says(arguments).expect(2);
        assert!(ended.stderr.contains(word), "{arguments}: {ended:?}");
    }
    assert!(!operator.path("wasink-data").exists());
}
