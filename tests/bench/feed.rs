//! Feeds: events a second through pump and applier, how long until one is applied, what a poll costs.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rusqlite::{Connection, Transaction, params};
use tempfile::TempDir;
use wasink::config::Config;
use wasink::feed::applier::sqlite::SqliteStore;
use wasink::feed::applier::{Applier, ApplierOptions, Apply, ApplyError, Follower};
use wasink::feed::artifacts::Artifact;
use wasink::feed::outbox::sqlite::{SqliteOutbox, append_all};
use wasink::feed::pump::{Publisher, Pump, PumpOptions};
use wasink::hooks::NoHooks;
use wasink::logger::{Logger, TracingLogger};
use wasink::record::{ControlEvent, ControlType, SystemClock, Timestamp};
use wasink_chassis::Ends;

use crate::measure::{cost, median, quantile};
use crate::nats::Nats;
use crate::records::directory;
use crate::table::Table;

/// Events in a round.
const EVENTS: usize = 2_000;
/// Rounds of each measurement.
const ROUNDS: usize = 5;
/// Events whose way is timed.
const SAMPLES: usize = 200;
/// Nodes that follow one feed.
const NODES: usize = 20;

/// A feed, its producer and its nodes.
struct Kit {
    directory: TempDir,
    config: Config,
    ends: Ends,
    logger: Arc<dyn Logger>,
    /// How many events there have been.
    made: usize,
    /// Databases that there have been.
    databases: usize,
}

/// Tells of events that are applied.
struct Tells(SyncSender<Instant>);

impl Apply<SqliteStore> for Tells {
    fn apply(
        &mut self,
        event: &ControlEvent,
        _: Option<&Artifact>,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), ApplyError> {
        write(transaction, event.event_id()).map_err(|error| ApplyError::Refused(error.to_string()))
    }

    fn applied(&mut self, _: usize) {
        // Where nobody counts, nothing is lost.
        let _counted = self.0.try_send(Instant::now()).is_ok();
    }
}

/// What an event changes.
fn write(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO changes VALUES (?)")?.execute([id]).map(drop)
}

impl Kit {
    /// With ends that are configured so.
    fn new(end: &str) -> Result<Self> {
        let directory = directory()?;
        let data_dir = directory.path().display();
        let end = end.replace("DIRECTORY", &data_dir.to_string());
        let settings = end.replace("CREATE", "").replace("MORE", "");
        let config = Config::from_toml(&format!(
            "data_dir = '{data_dir}'\n\
             [[outbox]]\nname = 'bench'\ndatabase = '-'\n{}\n\
             [[feed]]\nname = 'bench'\ndatabase = '-'\n{settings}",
            end.replace("CREATE", ", create = {}")
        ))?;
        let logger: Arc<dyn Logger> = Arc::new(TracingLogger);
        let plugins = Arc::new(wasink::plugins(&config, logger.clone())?);
        let ends = Ends::new(&config, plugins, logger.clone(), Arc::new(NoHooks))?;
        Ok(Self { directory, config, ends, logger, made: 0, databases: 0 })
    }

    fn outbox(&self) -> std::path::PathBuf {
        self.directory.path().join("outbox.db")
    }

    /// Commits so many events.
    fn produce(&mut self, count: usize) -> Result<()> {
        drop(SqliteOutbox::open(&self.outbox())?);
        let mut database = Connection::open(self.outbox())?;
        let ids = self.made..self.made + count;
        self.made += count;
        let events = ids.map(|n| event(&format!("evt_{n:08}"))).collect::<Result<Vec<_>>>()?;
        let transaction = database.transaction()?;
        append_all(&transaction, &events, Timestamp::from_unix_nanos(0))?;
        transaction.commit()?;
        Ok(())
    }

    fn publisher(&self) -> Result<Publisher> {
        let outbox = self.config.outboxes.first().context("no outbox")?;
        let sink = self.ends.sink(&outbox.instance)?;
        let outbox = Box::new(SqliteOutbox::open(&self.outbox())?);
        let mut options = PumpOptions::default();
        options.period = Duration::from_secs(3_600);
        Ok(Publisher::new(outbox, sink, options, Arc::new(SystemClock)))
    }

    /// A node with a database of its own, which begins behind this version.
    fn applier(
        &mut self,
        behind: u64,
        wait: Duration,
    ) -> Result<(Applier<SqliteStore>, Receiver<Instant>)> {
        use wasink::feed::applier::Store as _;
        self.databases += 1;
        let path = self.directory.path().join(format!("node-{}.db", self.databases));
        let mut store = SqliteStore::open(&path, "bench")?;
        store.connection().execute_batch("CREATE TABLE changes (event_id TEXT)")?;
        store.replay(behind)?;
        let mut instance = self.config.feeds.first().context("no feed")?.instance.clone();
        if instance.plugin.as_str() == "jetstream" {
            let consumer = format!("node-{}", self.databases);
            instance.settings.insert("consumer".to_owned(), consumer.into());
        }
        let source = self.ends.source(&instance)?;
        let (sender, receiver) = sync_channel(SAMPLES);
        let mut options = ApplierOptions::default();
        options.wait = wait;
        let (apply, clock) = (Box::new(Tells(sender)), Arc::new(SystemClock));
        let logger = self.logger.clone();
        Ok((Applier::new(source, store, apply, None, options, clock, logger), receiver))
    }
}

fn event(id: &str) -> Result<ControlEvent> {
    Ok(ControlEvent::builder(id, ControlType::TenantCreated).tenant_id("acme").build()?)
}

fn a_second(events: usize, took: Duration) -> String {
    format!("{:.0} events/s", events as f64 / took.as_secs_f64())
}

/// Both ends, on a directory and on a server where there is one.
pub(crate) fn feed(table: &mut Table) -> Result<()> {
    let end = "plugin = 'file'\ngrants.directory = 'DIRECTORY/feed'";
    both(table, "file", &mut Kit::new(end)?)?;
    let Some(nats) = Nats::start() else {
        table.alone("feed on JetStream", "left out: no nats-server", "");
        return Ok(());
    };
    let server = nats.address();
    let end = format!(
        "plugin = 'jetstream'\nsettings = {{ servers = ['{server}']CREATE }}\n\
         grants.tcp = ['{server}']"
    );
    both(table, "jetstream", &mut Kit::new(&end)?)
}

fn both(table: &mut Table, name: &str, kit: &mut Kit) -> Result<()> {
    let scratch = directory()?;
    let mut publisher = kit.publisher()?;
    let (mut published, mut files) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        kit.produce(EVENTS)?;
        let ours = cost(|| {
            let pass = publisher.pass()?;
            ensure!(pass.published == EVENTS, "only {} were published", pass.published);
            Ok(())
        })?;
        let peer = cost(|| synced_files(scratch.path(), round))?;
        if round > 0 {
            published.push(ours.wall);
            files.push(peer.wall);
        }
    }
    let (ours, peer) = (median(published), median(files));
    table.row(
        format!("feed `{name}`: outbox, pump, {EVENTS} events"),
        a_second(EVENTS, ours),
        format!("a synced file each: {}", a_second(EVENTS, peer)),
        format!("{:.2}", peer.as_secs_f64() / ours.as_secs_f64()),
        "",
    );

    let (mut applied, mut loops) = (Vec::new(), Vec::new());
    let behind = ((ROUNDS) * EVENTS) as u64;
    for round in 0..=ROUNDS {
        let (mut applier, _receiver) = kit.applier(behind, Duration::ZERO)?;
        let ours = cost(|| {
            let done = applier.pass()?.applied;
            ensure!(done == EVENTS, "only {done} were applied");
            Ok(())
        })?;
        let peer = transactions(&scratch.path().join(format!("{round}.db")))?;
        if round > 0 {
            applied.push(ours.wall);
            loops.push(peer);
        }
    }
    let (ours, peer) = (median(applied), median(loops));
    table.row(
        format!("feed `{name}`: applier, {EVENTS} events, {behind} behind the cursor"),
        a_second(EVENTS, ours),
        format!("a transaction each: {}", a_second(EVENTS, peer)),
        format!("{:.2}", peer.as_secs_f64() / ours.as_secs_f64()),
        "",
    );
    drop(publisher);
    for nodes in [1, NODES] {
        lag(table, name, kit, nodes)?;
    }
    Ok(())
}

/// Each event as a file of its own, as any feed in a directory has to write it.
fn synced_files(directory: &Path, round: usize) -> Result<()> {
    for n in 0..EVENTS {
        let mut file = File::create(directory.join(format!("{round}-{n}")))?;
        file.write_all(&serde_json::to_vec(&event("evt_00000000")?)?)?;
        file.sync_data()?;
    }
    Ok(())
}

/// The same transactions, without a feed and without asking what is known.
fn transactions(path: &Path) -> Result<Duration> {
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    database.execute_batch(
        "CREATE TABLE changes (event_id TEXT); CREATE TABLE place (version INTEGER);
         CREATE TABLE known (event_id TEXT PRIMARY KEY, version INTEGER, at TEXT) WITHOUT ROWID;
         INSERT INTO place VALUES (0)",
    )?;
    let took =
        cost(|| {
            for n in 1..=i64::try_from(EVENTS)? {
                let transaction = database.transaction()?;
                let id = format!("evt_{n:08}");
                transaction.prepare_cached("UPDATE place SET version = ?")?.execute([n])?;
                transaction
                    .prepare_cached("INSERT INTO known VALUES (?, ?, ?)")?
                    .execute(params![id, n, "2026-05-20T01:02:03.000Z"])?;
                write(&transaction, &id)?;
                transaction.commit()?;
            }
            Ok(())
        })?;
    Ok(took.wall)
}

/// From the producer's commit until the last of so many nodes has applied the event.
fn lag(table: &mut Table, name: &str, kit: &mut Kit, nodes: usize) -> Result<()> {
    let pump = Pump::start(kit.publisher()?, kit.logger.clone())?;
    let behind = kit.made as u64;
    let mut fleet = Vec::new();
    for _ in 0..nodes {
        let (applier, receiver) = kit.applier(behind, Duration::from_secs(5))?;
        let period = Duration::from_secs(1);
        fleet.push((Follower::start(applier, period, kit.logger.clone())?, receiver));
    }
    let mut lags = Vec::new();
    for _ in 0..=SAMPLES {
        let committed = {
            kit.produce(1)?;
            Instant::now()
        };
        pump.wake();
        let mut last = committed;
        for (_, receiver) in &fleet {
            last = last.max(receiver.recv_timeout(Duration::from_secs(60))?);
        }
        lags.push(last - committed);
    }
    // The first one waits for everybody to be there.
    lags.remove(0);
    let (half, most) = (quantile(lags.clone(), 0.5), quantile(lags, 0.99));
    let told = format!("{half:.1?} at p50, {most:.1?} at p99");
    let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    table.alone(format!("feed `{name}`: commit to applied, {nodes}"), told, "");
    fleet.iter().for_each(|(follower, _)| follower.stop(Duration::ZERO));
    pump.stop(Duration::from_secs(5));
    Ok(())
}

/// A poll that finds nothing new, with few and with many events behind the cursor.
pub(crate) fn poll(table: &mut Table) -> Result<()> {
    let many: usize = std::env::var("POLL_EVENTS").map_or(Ok(20_000), |many| many.parse())?;
    let mut kit = Kit::new("plugin = 'file'\ngrants.directory = 'DIRECTORY/feed'")?;
    let mut publisher = kit.publisher()?;
    let mut times = Vec::new();
    for count in [1_000, many] {
        let missing = count - kit.made;
        kit.produce(missing)?;
        publisher.pass()?;
        let feed = kit.config.feeds.first().context("no feed")?.instance.clone();
        let mut source = kit.ends.source(&feed)?;
        let opened = cost(|| {
            source.poll(count as u64, 256, Duration::ZERO)?;
            Ok(())
        })?;
        let mut polls = Vec::new();
        for _ in 0..1_000 {
            let one = cost(|| {
                ensure!(source.poll(count as u64, 256, Duration::ZERO)?.is_empty());
                Ok(())
            })?;
            polls.push(one.wall);
        }
        times.push((count, opened.wall, median(polls)));
    }
    let [(few, first_few, poll_few), (many, first_many, poll_many)] = times[..] else {
        return Ok(());
    };
    let ratio = |a: Duration, b: Duration| format!("{:.2}", a.as_secs_f64() / b.as_secs_f64());
    table.row(
        format!("feed `file`: a poll, {many} events behind the cursor"),
        format!("{poll_many:.1?}"),
        format!("{few} events: {poll_few:.1?}"),
        ratio(poll_many, poll_few),
        "1",
    );
    table.row(
        format!("feed `file`: the first poll after opening, {many} events behind the cursor"),
        format!("{first_many:.1?}"),
        format!("{few} events: {first_few:.1?}"),
        ratio(first_many, first_few),
        "",
    );
    Ok(())
}
