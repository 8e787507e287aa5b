//! What is in PostgreSQL alone.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use wasink_chassis::config::PluginName;
use wasink_chassis::plugin::{Failure, PluginError};
use wasink_feed::outbox::postgres::{
    PostgresOutbox, append, append_all, append_all_async, append_async, prepare, prepare_async,
};
use wasink_feed::outbox::{AppendError, Failed, Order, Outbox};
use wasink_feed::pump::{Pass, Publisher, PumpOptions};
use wasink_record::{Clock as _, ControlEvent, Timestamp};

use super::kit::{
    Answer, Base, Feed, Kit, PATIENCE, START, always, counts, event, once, retry, trap,
};
use super::server::Postgres;

/// A database of a server.
struct Database {
    server: &'static Postgres,
    name: String,
}

impl Database {
    fn client(&self) -> Client {
        self.server.client(&self.name)
    }
}

impl Base for Database {
    fn outbox(&self) -> Box<dyn Outbox> {
        Box::new(outbox(self.server, &self.name))
    }

    fn append(
        &self,
        events: &[ControlEvent],
        now: Timestamp,
        keep: bool,
    ) -> Result<(), AppendError> {
        let mut client = self.client();
        produce(&mut client, events, now, keep)
    }

    fn execute(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap();
    }

    fn texts(&self, columns: &str, rest: &str) -> Vec<String> {
        texts(&mut self.client(), columns, rest)
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn another(&self) -> Box<dyn Base> {
        Box::new(Self { server: self.server, name: self.server.database("") })
    }
}

/// `None` where there is no server.
pub(crate) fn kit() -> Option<Kit> {
    Some(kit_of(Postgres::shared()?, ""))
}

fn kit_of(server: &'static Postgres, more: &str) -> Kit {
    Kit::new(Box::new(Database { server, name: server.database(more) }))
}

fn outbox(server: &Postgres, database: &str) -> PostgresOutbox {
    PostgresOutbox::connect(&server.url(database, "postgres")).unwrap()
}

fn produce(
    client: &mut Client,
    events: &[ControlEvent],
    now: Timestamp,
    keep: bool,
) -> Result<(), AppendError> {
    let mut transaction = client.transaction().unwrap();
    match events {
        [event] => append(&mut transaction, event, now)?,
        events => append_all(&mut transaction, events, now)?,
    }
    if keep {
        transaction.commit().unwrap();
    }
    Ok(())
}

fn texts(client: &mut Client, columns: &str, rest: &str) -> Vec<String> {
    let text = |column: &str| {
        let value = if column.ends_with("_at") {
            format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
        } else {
            format!("{column}::text")
        };
        format!("coalesce({value}, '-')")
    };
    let columns: Vec<_> = columns.split(", ").map(text).collect();
    let columns = columns.join(" || '|' || ");
    let sql = format!("SELECT {columns} FROM control_events_outbox {rest}");
    client.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn relaxed(batch: usize) -> PumpOptions {
    let mut options = PumpOptions::default();
    (options.order, options.batch) = (Order::Relaxed, batch);
    options
}

fn held(batch: usize) -> PumpOptions {
    let mut options = PumpOptions::default();
    options.batch = batch;
    options
}

/// Passes until nothing is pending.
fn publish_all(mut publisher: Publisher) -> usize {
    let (mut published, until) = (0, Instant::now() + PATIENCE);
    loop {
        published += publisher.pass().unwrap().published;
        if publisher.state().unwrap().pending == 0 {
            return published;
        }
        assert!(Instant::now() < until, "{:?}", publisher.state());
        thread::yield_now();
    }
}

/// What those who look at `wasink` connections of a database are told.
const OTHERS: &str = "FROM pg_stat_activity \
                      WHERE datname = current_database() AND application_name = 'wasink'";

fn ended(client: &mut Client) {
    client.execute(&format!("SELECT pg_terminate_backend(pid) {OTHERS}"), &[]).unwrap();
    none_of(client, "");
}

/// Waits until no connection of an outbox is left, or none that is like that.
fn none_of(client: &mut Client, like: &str) {
    let until = Instant::now() + PATIENCE;
    while !client.query(&format!("SELECT 1 {OTHERS} {like}"), &[]).unwrap().is_empty() {
        assert!(Instant::now() < until, "some are left");
    }
}

#[test]
fn pumps_at_work_at_once_share_the_rows() {
    let Some(kit) = kit() else { return };
    let ids = kit.produce_many(1_000);
    let at_work = Arc::new(AtomicUsize::new(0));
    let pumps = [(); 3].map(|()| {
        let (feed, at_work, mut first) = (Arc::<Mutex<Feed>>::default(), at_work.clone(), true);
        let answer: Answer = Box::new(move |_| {
            // All three have taken rows before one is done with its first.
            if std::mem::take(&mut first) {
                at_work.fetch_add(1, Ordering::SeqCst);
                let until = Instant::now() + PATIENCE;
                while at_work.load(Ordering::SeqCst) < 3 {
                    assert!(Instant::now() < until, "another does not get any");
                    thread::yield_now();
                }
            }
            None
        });
        let mut publisher = kit.publisher_to(&feed, relaxed(16), answer);
        (feed, thread::spawn(move || publisher.pass().unwrap()))
    });
    let (mut seen, mut published) = (Vec::new(), 0);
    for (feed, pump) in pumps {
        let pass = pump.join().unwrap();
        assert!(pass.published >= 16, "each has some: {pass:?}");
        published += pass.published;
        seen.extend(feed.lock().unwrap().calls.iter().flatten().cloned());
    }
    assert_eq!((published, seen.len()), (1_000, 1_000));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), ids.into_iter().collect());
    assert_eq!(kit.outbox().state().unwrap().pending, 0);
}

#[test]
fn where_order_is_held_one_pump_publishes_at_a_time() {
    let Some(kit) = kit() else { return };
    // Whatever others like.
    kit.base.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = \
         ''serializable''', current_database()); END $$",
    );
    let ids = kit.produce_many(300);
    let (begun, has_begun) = sync_channel(1);
    let (let_go, go_on) = sync_channel::<()>(1);
    let mut waits = true;
    let answer: Answer = Box::new(move |_| {
        if std::mem::take(&mut waits) {
            begun.send(()).unwrap();
            go_on.recv_timeout(PATIENCE).unwrap();
        }
        None
    });
    let first = kit.publisher(held(5), answer);
    let other_feed = Arc::<Mutex<Feed>>::default();
    let mut second = kit.publisher_to(&other_feed, held(5), always());
    thread::scope(|scope| {
        let first = scope.spawn(|| publish_all(first));
        has_begun.recv_timeout(PATIENCE).unwrap();
        // The first is within its call.
        assert_eq!(second.pass().unwrap(), Pass::default());
        assert!(other_feed.lock().unwrap().calls.is_empty());
        drop(second);
        let second = scope.spawn(|| publish_all(kit.publisher(held(7), always())));
        let_go.send(()).unwrap();
        let published = first.join().unwrap() + second.join().unwrap();
        assert_eq!(published, 300);
    });
    assert_eq!(kit.calls().concat(), ids, "each once, and in order");
    let versions = kit.base.texts("published_control_version", "ORDER BY id");
    assert_eq!(versions, (1..=300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_pump_whose_connection_is_ended_in_a_call_gives_its_rows_back() {
    for options in [held(4), relaxed(4)] {
        let Some(kit) = kit() else { return };
        let ids = kit.produce_many(10);
        let server = Postgres::shared().unwrap();
        let name = kit.base.name();
        let (mut client, mut first) = (server.client(&name), true);
        let answer: Answer = Box::new(move |_| {
            if std::mem::take(&mut first) {
                ended(&mut client);
            }
            None
        });
        let mut unlucky = kit.publisher(options, answer);
        let error = unlucky.pass().unwrap_err().to_string();
        assert!(error.contains("terminating connection"), "{error}");
        assert!(error.contains(&name), "{error}");
        assert_eq!(kit.row("e000", "published_control_version, attempt_count"), "-|0");
        // Others find them at once, and so does it: on a new connection.
        let mut other = kit.outbox();
        assert_eq!(other.due(10, options.order, kit.clock.now()).unwrap().len(), 10);
        other.settle().unwrap();
        assert_eq!(unlucky.pass().unwrap(), Pass { published: 10, failed: 0 });
        let mut expected = ids[..4].to_vec();
        expected.extend(ids);
        assert_eq!(kit.calls().concat(), expected);
        assert_eq!(kit.row("e009", "published_control_version"), "10");
    }
}

#[test]
fn a_connection_that_was_ended_between_passes_is_made_anew() {
    let Some(kit) = kit() else { return };
    let server = Postgres::shared().unwrap();
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    ended(&mut server.client(&kit.base.name()));
    kit.produce(&["a"]);
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
}

#[test]
fn a_server_that_crashes_and_comes_back_loses_nothing() {
    let Some(server) = Postgres::start() else { return };
    let server: &'static Postgres = Box::leak(Box::new(server));
    let kit = kit_of(server, "");
    let mut ids = kit.produce_many(200);
    let (begun, has_begun) = sync_channel(1);
    let (let_go, go_on) = sync_channel::<()>(1);
    let mut first = true;
    let answer: Answer = Box::new(move |id| {
        if id == "e100" && std::mem::take(&mut first) {
            begun.send(()).unwrap();
            go_on.recv_timeout(PATIENCE).unwrap();
        }
        None
    });
    let mut publisher = kit.publisher(held(8), answer);
    thread::scope(|scope| {
        let pump = scope.spawn(|| {
            let (mut published, mut errors, until) = (0, 0, Instant::now() + PATIENCE);
            while published < 201 - 12 * 8 {
                match publisher.pass() {
                    Ok(pass) => published += pass.published,
                    Err(_) => errors += 1,
                }
                assert!(Instant::now() < until, "{:?}", publisher.state());
                thread::yield_now();
            }
            (published, errors)
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        server.crash();
        let told = PostgresOutbox::connect(&server.url("postgres", "postgres")).unwrap_err();
        assert!(told.to_string().contains("can't connect to "), "{told}");
        let_go.send(()).unwrap();
        server.run();
        kit.base.append(&[event("after")], kit.clock.now(), true).unwrap();
        // Twelve calls were over when it crashed.
        let (published, errors) = pump.join().unwrap();
        assert!(published == 201 - 12 * 8 && errors > 0, "{published}, {errors}");
    });
    ids.push("after".to_owned());
    assert_eq!(kit.base.texts("event_id", "ORDER BY id"), ids);
    let versions = kit.base.texts("published_control_version", "ORDER BY id");
    assert_eq!(versions, (1..=201).map(|n| n.to_string()).collect::<Vec<_>>());
    let feed = kit.feed.lock().unwrap();
    assert!(ids.iter().enumerate().all(|(n, id)| feed.versions[id] == n as u64 + 1));
}

#[test]
fn producers_at_work_at_once_are_published_each_in_its_order() {
    let Some(kit) = kit() else { return };
    let server = Postgres::shared().unwrap();
    let name = kit.base.name();
    let left = AtomicUsize::new(4);
    thread::scope(|scope| {
        for producer in 0..4 {
            let (mut client, left) = (server.client(&name), &left);
            scope.spawn(move || {
                for n in 0..50 {
                    let both = [format!("p{producer}-{n:02}a"), format!("p{producer}-{n:02}b")];
                    let both = both.map(|id| event(&id));
                    let now = Timestamp::from_unix_nanos(START);
                    produce(&mut client, &both, now, n % 10 != 9).unwrap();
                }
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        scope.spawn(|| {
            let mut publisher = kit.publisher(held(8), always());
            loop {
                let was_last = left.load(Ordering::SeqCst) == 0;
                publisher.pass().unwrap();
                if was_last {
                    break;
                }
            }
        });
    });
    let published = kit.calls().concat();
    assert_eq!(published.len(), 4 * 45 * 2, "and none that was rolled back");
    for producer in 0..4 {
        let of = format!("p{producer}-");
        let mine: Vec<_> = published.iter().filter(|id| id.starts_with(&of)).collect();
        assert!(mine.is_sorted() && mine.len() == 90, "{mine:?}");
    }
}

#[test]
fn any_number_of_processes_may_make_the_table_at_once() {
    let Some(server) = Postgres::shared() else { return };
    for _ in 0..3 {
        let name = server.database("");
        let together = Barrier::new(8);
        thread::scope(|scope| {
            for n in 0..8 {
                let (mut client, together, name) = (server.client(&name), &together, &name);
                scope.spawn(move || {
                    together.wait();
                    if n % 2 == 0 {
                        prepare(&mut client).unwrap();
                    } else {
                        outbox(server, name);
                    }
                });
            }
        });
        assert_eq!(outbox(server, &name).state().unwrap().pending, 0);
    }
}

#[test]
fn a_role_that_may_make_no_table_works_with_one_that_is_there() {
    let Some(kit) = kit() else { return };
    let server = Postgres::shared().unwrap();
    let name = kit.base.name();
    kit.produce(&["a"]);
    let role = format!("pump_{name}");
    kit.base.execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE, DELETE ON control_events_outbox TO {role}; \
         CREATE ROLE made_{role} LOGIN; GRANT INSERT ON control_events_outbox TO made_{role}"
    ));
    // A producer needs no more than to insert.
    let mut producer = Client::connect(&server.url(&name, &format!("made_{role}")), NoTls).unwrap();
    prepare(&mut producer).unwrap();
    produce(&mut producer, &[event("b")], kit.clock.now(), true).unwrap();
    let mut outbox = PostgresOutbox::connect(&server.url(&name, &role)).unwrap();
    assert_eq!(outbox.due(10, Order::Held, kit.clock.now()).unwrap().len(), 2);
    outbox.published(&[(1, 1), (2, 2)], kit.clock.now()).unwrap();
    outbox.settle().unwrap();
    assert_eq!(outbox.prune(Duration::ZERO, Timestamp::MAX).unwrap(), 2);

    let empty = server.database("");
    let told = PostgresOutbox::connect(&server.url(&empty, &role)).unwrap_err().to_string();
    assert!(told.contains("permission denied for schema public"), "{told}");
}

#[test]
fn a_table_of_old_gets_the_columns_that_came_later() {
    let Some(server) = Postgres::shared() else { return };
    let name = server.database("");
    server
        .client(&name)
        .batch_execute(
            "CREATE TABLE control_events_outbox (id BIGSERIAL PRIMARY KEY, \
             event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL, tenant_id TEXT, stack_id TEXT, \
             version BIGINT, base_version BIGINT, artifact_ref TEXT, checksum TEXT, \
             payload_json BYTEA NOT NULL, created_at TIMESTAMPTZ NOT NULL, \
             attempt_count INTEGER NOT NULL DEFAULT 0, last_error TEXT, last_attempt_at TIMESTAMPTZ, \
             published_control_version BIGINT, published_at TIMESTAMPTZ);
             INSERT INTO control_events_outbox (event_id, event_type, payload_json, created_at, \
             attempt_count) VALUES ('a', 'tenant.created', '{}', now(), 4);",
        )
        .unwrap();
    let now = Timestamp::from_unix_nanos(START);
    for _ in 0..2 {
        let mut outbox = outbox(server, &name);
        let rows = outbox.due(10, Order::Held, now).unwrap();
        outbox.settle().unwrap();
        assert_eq!((rows[0].event_id.as_str(), rows[0].attempts, rows[0].refusals), ("a", 4, 0));
    }
}

#[test]
fn a_payload_is_read_and_written_in_any_column_that_can_have_it() {
    for kind in ["TEXT", "VARCHAR(900)", "BYTEA", "JSON", "JSONB"] {
        let Some(kit) = kit() else { return };
        kit.base.execute(&format!(
            "ALTER TABLE control_events_outbox ALTER COLUMN payload_json TYPE {kind} \
             USING payload_json::text::{kind}"
        ));
        kit.produce(&["ours"]);
        kit.base.execute(
            "INSERT INTO control_events_outbox (event_id, event_type, tenant_id, payload_json) \
             VALUES ('theirs', 'tenant.created', 'acme', \
             '{\"event_id\": \"theirs\", \"type\": \"tenant.created\", \"tenant_id\": \"acme\"}')",
        );
        let pass = kit.publisher(held(8), always()).pass().unwrap();
        assert_eq!(pass, Pass { published: 2, failed: 0 }, "{kind}");
    }
}

#[test]
fn a_payload_that_is_not_there_is_a_dead_letter() {
    let Some(kit) = kit() else { return };
    kit.base.execute(
        "ALTER TABLE control_events_outbox ALTER COLUMN payload_json DROP NOT NULL, \
             ALTER COLUMN attempt_count DROP NOT NULL",
    );
    kit.base.execute(
        "INSERT INTO control_events_outbox (event_id, event_type, attempt_count) \
         VALUES ('none', 'tenant.created', NULL)",
    );
    kit.produce(&["good"]);
    let mut publisher = kit.publisher(once(), always());
    for _ in 0..2 {
        publisher.pass().unwrap();
    }
    assert_eq!(counts(&mut publisher), (0, 1));
    let dead = publisher.outbox().dead(1).unwrap();
    let error = "its payload is empty, or neither text nor bytes";
    assert_eq!((dead[0].attempts, dead[0].error.as_str()), (1, error));
}

#[test]
fn producers_with_asynchronous_clients_append_too() {
    let Some(server) = Postgres::shared() else { return };
    let name = server.database("");
    let now = Timestamp::from_unix_nanos(START);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = server.url(&name, "postgres");
        let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        prepare_async(&client).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        append_async(&transaction, &event("first"), now).await.unwrap();
        let events: Vec<_> = (0..150).map(|n| event(&format!("e{n}"))).collect();
        append_all_async(&transaction, &events, now).await.unwrap();
        transaction.commit().await.unwrap();
        let transaction = client.transaction().await.unwrap();
        let error = append_async(&transaction, &event("first"), now).await.unwrap_err();
        assert!(error.to_string().contains("(SQLSTATE 23505)"), "{error}");
    });
    let rows = outbox(server, &name).due(1_000, Order::Held, now).unwrap();
    assert_eq!((rows.len(), rows[0].event_id.as_str()), (151, "first"));
    assert!(rows[1..].iter().enumerate().all(|(n, row)| row.event_id == format!("e{n}")));
}

#[test]
fn no_transaction_is_open_once_a_pass_is_over() {
    let Some(server) = Postgres::shared() else { return };
    type Says = fn() -> Answer;
    let says: [(&str, Says); 7] = [
        ("published", always),
        ("later", || Box::new(|_| Some(Err(retry("later").into())))),
        ("refused", || Box::new(|_| Some(Err(Failure::Rejected("odd".to_owned()).into())))),
        ("no version", || Box::new(|_| Some(Ok(0)))),
        ("stopped", || Box::new(|_| Some(Err(trap())))),
        ("interrupted", || {
            Box::new(|_| {
                let plugin = name_of();
                Some(Err(PluginError::Interrupted { plugin, call: "append" }.into()))
            })
        }),
        ("the second later", || Box::new(|id| (id != "e000").then(|| Err(retry("later").into())))),
    ];
    for (what, says) in says {
        for options in [held(4), relaxed(4)] {
            let kit = kit().unwrap();
            let mut client = server.client(&kit.base.name());
            kit.produce_many(10);
            kit.base.execute(
                "INSERT INTO control_events_outbox (event_id, event_type, payload_json) \
                 VALUES ('none', 'tenant.created', '{}')",
            );
            let mut publisher = kit.publisher(options, says());
            for _ in 0..3 {
                publisher.pass().unwrap();
                let open = format!("SELECT state {OTHERS} AND state <> 'idle'");
                let open = client.query(&open, &[]).unwrap();
                assert!(open.is_empty(), "{what}: {:?}", open[0].get::<_, String>(0));
            }
        }
    }
}

#[test]
fn a_call_that_takes_too_long_gives_its_rows_back() {
    let Some(kit) = kit() else { return };
    let server = Postgres::shared().unwrap();
    let name = kit.base.name();
    kit.produce_many(3);
    let mut outbox = outbox(server, &name).longest_call(Duration::ZERO);
    let rows = outbox.due(10, Order::Relaxed, kit.clock.now()).unwrap();
    none_of(&mut server.client(&name), "");
    let others = kit.outbox().due(10, Order::Relaxed, kit.clock.now()).unwrap();
    assert_eq!((rows.len(), others), (3, rows));
    let told = outbox.published(&[(1, 1)], kit.clock.now()).unwrap_err().to_string();
    assert!(told.contains("idle-in-transaction timeout"), "{told}");
    // Nothing is left of it, and it goes on.
    outbox.settle().unwrap();
    assert_eq!(kit.row("e000", "published_control_version"), "-");
}

#[test]
fn what_no_row_can_keep_is_written_down_otherwise() {
    let Some(server) = Postgres::shared() else { return };
    for (more, expected) in [
        ("", "a?b \u{e4} \u{2192}"),
        ("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0", "a?b ? ?"),
    ] {
        let kit = kit_of(server, more);
        kit.produce(&["a"]);
        let answer: Answer = Box::new(|_| Some(Err(retry("a\0b \u{e4} \u{2192}").into())));
        let pass = kit.publisher(PumpOptions::default(), answer).pass().unwrap();
        assert_eq!(pass, Pass { published: 0, failed: 1 });
        assert_eq!(kit.row("a", "last_error"), expected);
    }
}

#[test]
fn rows_are_removed_in_pieces_and_by_several_at_once() {
    let Some(kit) = kit() else { return };
    kit.base.execute(
        "INSERT INTO control_events_outbox (event_id, event_type, payload_json, \
         published_control_version, published_at) \
         SELECT 'e' || n, 'tenant.created', '{}', n, now() - interval '1 hour' \
         FROM generate_series(1, 25000) AS n",
    );
    let mut outboxes = [(); 2].map(|()| kit.outbox());
    let one = outboxes[0].prune(Duration::ZERO, Timestamp::MAX).unwrap();
    assert_eq!(one, 10_000);
    let rest: usize = thread::scope(|scope| {
        let prune = |outbox: &mut Box<dyn Outbox>| outbox.prune(Duration::ZERO, Timestamp::MAX);
        let both = outboxes.each_mut().map(|outbox| scope.spawn(move || prune(outbox).unwrap()));
        both.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert!((10_000..=15_000).contains(&rest), "{rest}");
    while outboxes[0].prune(Duration::ZERO, Timestamp::MAX).unwrap() > 0 {}
    assert!(kit.base.texts("event_id", "").is_empty());
}

#[test]
fn what_was_written_down_before_an_error_is_taken_back_with_it() {
    let Some(kit) = kit() else { return };
    kit.produce_many(2);
    let mut outbox = kit.outbox();
    let rows = outbox.due(10, Order::Held, kit.clock.now()).unwrap();
    outbox.published(&[(rows[0].id, 1)], kit.clock.now()).unwrap();
    kit.base.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND application_name = 'wasink'",
    );
    let (row, error) = (rows[1].id, "no".to_owned());
    let failed = Failed { row, error, own: true, again: None };
    assert!(outbox.failed(&failed, kit.clock.now()).is_err());
    assert_eq!(outbox.due(10, Order::Held, kit.clock.now()).unwrap(), rows);
    // Begun anew without having been settled: nothing of the first is kept.
    outbox.published(&[(rows[0].id, 1)], kit.clock.now()).unwrap();
    assert_eq!(outbox.due(10, Order::Held, kit.clock.now()).unwrap(), rows);
}

#[test]
fn errors_say_where_and_no_password() {
    let Some(server) = Postgres::shared() else { return };
    let empty = tempfile::tempdir().unwrap();
    let url = format!("postgres:///shop?host={}&user=app&password=secret", empty.path().display());
    let told = PostgresOutbox::connect(&url).unwrap_err();
    assert!(told.to_string().contains(&format!("{}/shop", empty.path().display())), "{told}");
    assert!(!format!("{told:?} {told}").contains("secret"), "{told:?}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = PostgresOutbox::connect(&format!("postgres://app:secret@{free}/shop")).unwrap_err();
    assert!(told.to_string().contains(&format!("can't connect to `{free}/shop`: ")), "{told}");
    assert!(told.to_string().contains("refused"), "{told}");

    let name = server.database("");
    guarded(server);
    let url = |password| format!("{}&password={password}", server.url(&name, "guarded"));
    let told = PostgresOutbox::connect(&url("mistaken")).unwrap_err();
    assert!(told.to_string().contains("password authentication failed"), "{told}");
    assert!(!format!("{told:?} {told}").contains("mistaken"), "{told:?}");
    // With the right one it is the table that it may not make.
    let told = PostgresOutbox::connect(&url("secret")).unwrap_err();
    assert!(told.to_string().contains("permission denied"), "{told}");
    server.client(&name).batch_execute("GRANT CREATE ON SCHEMA public TO guarded").unwrap();
    let outbox = PostgresOutbox::connect(&url("secret")).unwrap();
    assert!(!format!("{outbox:?}").contains("secret"), "{outbox:?}");
    let missing = url("secret").replace(&name, "nowhere");
    let told = PostgresOutbox::connect(&missing).unwrap_err();
    assert!(told.to_string().contains("database \"nowhere\" does not exist"), "{told}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("postgres://app:secret@{address}/shop?connect_timeout=1");
    let told = PostgresOutbox::connect(&url).unwrap_err().to_string();
    assert_eq!(told, format!("the outbox: can't connect to `{address}/shop`: no answer in 2s"));
}

#[test]
fn a_connection_is_encrypted_as_the_url_says() {
    let made = |authority: &rcgen::Issuer<'_, rcgen::KeyPair>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (names.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    };
    let authority = || {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (rcgen::Issuer::new(params, key), pem)
    };
    let ((ours, pem), (_, other_pem)) = (authority(), authority());
    let (certificate, key) = made(&ours);
    let Some(server) = Postgres::encrypted(&certificate, &key) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (trusted, other) = (directory.path().join("ours.pem"), directory.path().join("other.pem"));
    std::fs::write(&trusted, pem).unwrap();
    std::fs::write(&other, other_pem).unwrap();
    guarded(&server);
    server.client("postgres").batch_execute("GRANT CREATE ON SCHEMA public TO guarded").unwrap();
    let url = |mode| {
        format!("postgres://guarded:secret@127.0.0.1:{}/postgres?sslmode={mode}", server.port())
    };
    for mode in ["require", "prefer"] {
        let _outbox = PostgresOutbox::connect_trusting(&url(mode), &trusted).unwrap();
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                         WHERE usename = 'guarded'";
        assert!(server.client("postgres").query_one(encrypted, &[]).unwrap().get::<_, bool>(0));
        // Nobody is let in whom nobody answers for.
        for told in [
            PostgresOutbox::connect_trusting(&url(mode), &other).unwrap_err().to_string(),
            PostgresOutbox::connect(&url(mode)).unwrap_err().to_string(),
        ] {
            assert!(told.contains("certificate") && told.contains("SSL_CERT_FILE"), "{told}");
        }
    }
    let told = PostgresOutbox::connect(&url("disable")).unwrap_err().to_string();
    assert!(told.contains("no encryption"), "{told}");
    let missing = directory.path().join("missing.pem");
    let told = PostgresOutbox::connect_trusting(&url("require"), &missing).unwrap_err().to_string();
    assert!(told.contains("missing.pem") && !told.contains("secret"), "{told}");
}

/// A role that has to show its password.
fn guarded(server: &Postgres) {
    let make = "CREATE ROLE guarded LOGIN PASSWORD 'secret'";
    server.client("postgres").batch_execute(make).unwrap();
}

fn name_of() -> PluginName {
    "fake".parse().unwrap()
}
