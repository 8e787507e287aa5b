//! Outboxes and feeds: `wasink serve` publishes and applies, `wasink feed` looks and mends.

use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasink::feed::outbox::sqlite::{append, prepare};
use wasink::record::{ControlEvent, ControlType, Timestamp};

use super::operator::Operator;
use super::service::serve;

/// One process that is the producer's and the node's, with a feed in a directory.
const CONFIG: &str = "
    listen.http = ''

    [[outbox]]
    name = 'admin'
    plugin = 'file'
    database = 'admin.db'
    period = '1s'
    grants.directory = 'feed'

    [[feed]]
    name = 'control'
    plugin = 'file'
    database = 'node.db'
    tables = ['keys']
    period = '1s'
    wait = '200ms'
    grants.directory = 'feed'
    artifacts.url = 'file:///ARTIFACTS'
";

fn operator() -> Operator {
    let operator = Operator::new();
    let artifacts = operator.path("artifacts");
    std::fs::create_dir(&artifacts).unwrap();
    operator.write("wasink.toml", CONFIG.replace("/ARTIFACTS", artifacts.to_str().unwrap()));
    let node = Connection::open(operator.path("node.db")).unwrap();
    node.execute_batch("CREATE TABLE keys (id TEXT PRIMARY KEY, tenant TEXT)").unwrap();
    prepare(&Connection::open(operator.path("admin.db")).unwrap()).unwrap();
    operator
}

/// Puts an event into the outbox, with an artifact of these bytes.
fn produce(operator: &Operator, id: &str, content: Option<&str>) {
    let mut database = Connection::open(operator.path("admin.db")).unwrap();
    let mut event = ControlEvent::builder(id, ControlType::KeyChanged);
    if let Some(content) = content {
        operator.write(&format!("artifacts/{id}"), content);
        event = event.artifact(id, Sha256::digest(content).into());
    }
    let transaction = database.transaction().unwrap();
    append(&transaction, &event.build().unwrap(), Timestamp::from_unix_nanos(0)).unwrap();
    transaction.commit().unwrap();
}

fn key(id: &str) -> String {
    let rows = json!([{ "id": id, "tenant": "acme" }]);
    json!({ "table": "keys", "op": "upsert", "rows": rows }).to_string()
}

fn keys(path: &Path) -> Vec<String> {
    let node = Connection::open(path).unwrap();
    let mut query = node.prepare("SELECT id FROM keys ORDER BY id").unwrap();
    query.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Waits until the node is there.
fn applied(operator: &Operator, up_to: u64) {
    operator.await_json("feed status control --json", |status| {
        status["feeds"][0]["cursor"].as_u64() == Some(up_to)
    });
}

#[test]
fn what_a_producer_commits_is_in_the_tables_of_a_node() {
    let operator = operator();
    produce(&operator, "first", Some(&key("a")));
    let serving = serve(&operator);
    applied(&operator, 1);
    assert_eq!(keys(&operator.path("node.db")), ["a"]);
    // And what comes later, with an event that changes no table.
    produce(&operator, "second", Some(&key("b")));
    produce(&operator, "third", None);
    applied(&operator, 3);
    assert_eq!(keys(&operator.path("node.db")), ["a", "b"]);

    let status = operator.says("feed status").expect(0);
    assert_eq!(
        status.stdout,
        "outboxes\n  admin        file; 0 to be published\n\
         feeds\n  control      file; applied up to 3\n"
    );
    // A running process tells what it has done itself.
    let status = operator.await_json("status --json", |status| status["feeds"][0]["applied"] == 3);
    assert_eq!(status["outboxes"][0]["published"], 3, "{status:#}");
    let status = operator.says("status").expect(0).stdout;
    assert!(status.contains("feeds\n  control      file; applied up to 3\n"), "{status}");

    serving.signal("TERM");
    assert_eq!(serving.end().exit(), 143);
    // Nothing comes twice, whoever starts again.
    let serving = serve(&operator);
    produce(&operator, "fourth", Some(&key("c")));
    applied(&operator, 4);
    let node = Connection::open(operator.path("node.db")).unwrap();
    let inbox: Vec<String> = node
        .prepare("SELECT event_id FROM control_events_inbox")
        .unwrap()
        .query_map((), |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(inbox, ["third"]);
    drop(serving);
}

#[test]
fn an_event_that_can_t_be_applied_halts_the_feed_until_it_is_mended_or_skipped() {
    let operator = operator();
    produce(&operator, "good", Some(&key("a")));
    produce(&operator, "bad", Some(r#"{"table":"secrets","op":"upsert","rows":[{"id":"x"}]}"#));
    produce(&operator, "later", Some(&key("b")));
    let mut serving = serve(&operator);
    serving.await_word("the feed is halted");
    let halted = |status: &Value| status["feeds"][0]["halted"]["version"] == 2;
    let status = operator.await_json("feed status --json", halted);
    assert_eq!(status["feeds"][0]["halted"]["event_id"], "bad");
    let status = operator.says("feed status").expect(0).stdout;
    assert!(status.contains("by `bad` at 2: the artifact `bad`: it changes the table `secrets`"));
    assert_eq!(keys(&operator.path("node.db")), ["a"]);

    // Nothing else is skipped than what halts it, and not without a reason.
    let ended = operator.says("feed skip control --version 3 --reason because").expect(1);
    assert!(ended.stderr.contains("it is event `bad` at 2 that halts the feed"), "{ended:?}");
    let ended = operator.says("feed skip control").expect(2);
    assert!(ended.stderr.contains("--reason"), "{ended:?}");
    operator.says("feed skip control --reason table-of-another-version").expect(0);
    applied(&operator, 3);
    serving.await_word("an event of the feed is skipped");
    assert_eq!(keys(&operator.path("node.db")), ["a", "b"]);
    let ended = operator.says("feed skip control --reason once-more").expect(1);
    assert!(ended.stderr.contains("nothing halts the feed"), "{ended:?}");

    // What was skipped is tried again by a replay, and nothing else: `a` is not put back.
    let node = Connection::open(operator.path("node.db")).unwrap();
    node.execute_batch("DELETE FROM keys; CREATE TABLE secrets (id TEXT PRIMARY KEY)").unwrap();
    serving.signal("TERM");
    assert_eq!(serving.end().exit(), 143);
    let config = operator.read("wasink.toml").replace("'keys'", "'keys', 'secrets'");
    operator.write("wasink.toml", config);
    let ended = operator.says("feed replay control --from 4").expect(1);
    assert!(ended.stderr.contains("is at 3, and to begin behind 4 would leave out"), "{ended:?}");
    operator.says("feed replay control --from 0").expect(0);
    let _serving = serve(&operator);
    applied(&operator, 3);
    let secrets: i64 =
        node.query_row("SELECT count(*) FROM secrets", (), |row| row.get(0)).unwrap();
    assert_eq!((secrets, keys(&operator.path("node.db"))), (1, vec![]));
}

#[test]
fn an_event_that_is_refused_is_a_dead_letter_to_look_at_and_to_bring_back() {
    let operator = operator();
    let config =
        operator.read("wasink.toml").replacen("period = '1s'", "period = '1s'\nattempts = 1", 1);
    operator.write("wasink.toml", config);
    produce(&operator, "bad", None);
    produce(&operator, "good", None);
    let admin = Connection::open(operator.path("admin.db")).unwrap();
    let spoil = "UPDATE control_events_outbox SET payload_json = '{}' WHERE event_id = 'bad'";
    assert_eq!(admin.execute(spoil, ()).unwrap(), 1);
    let _serving = serve(&operator);
    let dead = operator.await_json("feed status admin --json", |status| {
        status["outboxes"][0]["dead"] == 1 && status["outboxes"][0]["pending"] == 0
    });
    assert_eq!(dead["feeds"], json!([]));
    let letters = operator.says("feed dead admin --json").expect(0).json();
    assert_eq!(letters["dead"][0]["row"], 1, "{letters}");
    let text = operator.says("feed dead admin").expect(0).stdout;
    assert!(text.starts_with("1: bad, ") && text.contains("after 1 attempts"), "{text}");
    let ended = operator.says("feed revive admin 1 77").expect(1);
    assert!(ended.stderr.contains("no dead letters of `admin`: 77"), "{ended:?}");
    assert!(ended.stdout.contains("1 is to be published again"), "{ended:?}");
}

#[test]
fn a_database_that_is_not_there_is_made_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let operator = operator();
    let config = operator.read("wasink.toml").replace("'node.db'", "'nodes/of/mine.db'");
    operator.write("wasink.toml", config.replace("tables = ['keys']", ""));
    produce(&operator, "first", Some(&key("a")));
    let _serving = serve(&operator);
    operator.await_json("feed status --json", |status| status["feeds"][0]["cursor"] == 1);
    let path = operator.path("nodes/of/mine.db");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let node = Connection::open(&path).unwrap();
    let mode: String = node.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let inbox = "SELECT artifact FROM control_events_inbox WHERE event_id = 'first'";
    let artifact: Vec<u8> = node.query_row(inbox, (), |row| row.get(0)).unwrap();
    assert_eq!(artifact, key("a").as_bytes());
}

#[test]
fn an_outbox_whose_database_is_not_there_yet_says_so_and_begins_once_it_is() {
    let operator = operator();
    std::fs::remove_file(operator.path("admin.db")).unwrap();
    let _serving = serve(&operator);
    operator.await_json("status --json", |status| {
        let problem = status["outboxes"][0]["problem"].as_str();
        problem.is_some_and(|problem| problem.ends_with("there is no database `admin.db` yet"))
    });
    assert!(!operator.path("admin.db").exists(), "it is its producer's to make");
    let database = operator.path("admin.db");
    prepare(&Connection::open(database).unwrap()).unwrap();
    produce(&operator, "first", Some(&key("a")));
    applied(&operator, 1);
    assert_eq!(keys(&operator.path("node.db")), ["a"]);
}

#[test]
fn an_outbox_or_a_feed_that_has_changed_is_taken_at_the_next_start() {
    let operator = operator();
    let _serving = serve(&operator);
    let config = operator.read("wasink.toml").replace("period = '1s'", "period = '2s'");
    operator.write("wasink.toml", config);
    let ended = operator.says("reload").expect(1);
    let told = "these are only read at the start: `outbox`, `feed`; nothing was changed";
    assert!(ended.stderr.contains(told), "{ended:?}");
}

#[test]
fn who_names_what_there_is_not_is_told_what_there_is() {
    let operator = operator();
    for (command, told) in [
        ("feed status nosuch", "no outbox or feed is named `nosuch`; there are: admin, control"),
        ("feed skip admin --reason x", "no feed is named `admin`; there are: control"),
        ("feed dead control", "no outbox is named `control`; there are: admin"),
    ] {
        let ended = operator.says(command).expect(1);
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    std::fs::remove_file(operator.path("node.db")).unwrap();
    let status = operator.says("feed status control").expect(0).stdout;
    assert!(status.contains("its database is not there yet"), "{status}");
    let ended = operator.says("feed replay control --from 0").expect(1);
    assert!(ended.stderr.contains("node.db: its database is not there yet"), "{ended:?}");
    assert!(!operator.path("node.db").exists());
    // What is no database is neither read nor written over.
    operator
        .write("node.db", "these bytes are no database, and long enough for a header: xxxxxxxx");
    let ended = operator.says("feed status").expect(1);
    assert!(ended.stdout.contains("file is not a database"), "{ended:?}");
}

#[test]
fn a_feed_that_is_configured_wrongly_is_told_of_with_its_line() {
    let operator = Operator::new();
    for (config, told) in [
        ("[[feed]]\nname = 'a'\nplugin = 'file'\n", "feed[0].database: missing"),
        (
            "[[feed]]\nname = 'a'\nplugin = 'file'\ndatabase = 'x'\nwait = '30s'\n",
            "feed[0].wait: expected less than `timeout`, which is 30s",
        ),
        (
            "[[feed]]\nname = 'a'\nplugin = 'nosuch'\ndatabase = 'x'\n",
            "feed `a`: no plugin is named `nosuch`; there are: `file`, `jetstream`, `nop`",
        ),
        (
            "[[feed]]\nname = 'a'\nplugin = 'file'\ndatabase = 'x'\n",
            "plugin `file` needs a data directory",
        ),
        (
            "[[feed]]\nname = 'a'\nplugin = 'file'\ndatabase = 'x'\ngrants.directory = true\n\
             settings.pfad = 'y'\n",
            "feed[0].settings.pfad: unknown key `pfad`; known here: `path`",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'postgres://me:secret@host/db'\n",
            "outbox[0].database: expected no password here",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'postgres://me:my/secret@host/db'\n",
            "outbox[0].database: expected no password here",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'postgres://host/db?nosuch=1'\n",
            "outbox `a`: the URL of the database is not understood: it is `postgres://user:password@",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'postgres://me@host/db'\n\
             password = 'pw'\n[[secret]]\nname = 'pw'\nfile = '/nosuch/password'\n",
            "outbox `a`: secret `pw`: ",
        ),
        (
            "[[feed]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'x'\n\
             artifacts.url = 's3://bucket/keys'\nartifacts.secrets.secret_access_key = 'key'\n\
             [[secret]]\nname = 'key'\nfile = '/nosuch/key'\n",
            "feed `a`: secret `key`: ",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'mysql://host/db'\n",
            "outbox[0].database: expected the path of a file of SQLite, or `postgres://",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'x'\npassword = 'pw'\n",
            "outbox[0].password: no secret is named `pw`",
        ),
        (
            "[[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'x'\n\
             [[outbox]]\nname = 'a'\nplugin = 'nop'\ndatabase = 'y'\n",
            "outbox[1].name: `a` is the name of outbox[0] already",
        ),
    ] {
        operator.write("wasink.toml", config);
        let ended = operator.says("check");
        assert!(matches!(ended.exit(), 64 | 69), "{config}{ended:?}");
        assert!(ended.stderr.contains(told), "{config}{ended:?}");
        assert!(!ended.stderr.contains("secret@"), "{ended:?}");
    }
}
