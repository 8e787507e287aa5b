//! A server in front of a real chassis, whose only sink is plain Rust.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use wasink_chassis::config::{Config, PluginName};
use wasink_chassis::plugin::{
    Acknowledges, CallError, Captured, Demands, Description, Exception, Interrupter, OpenRequest,
    Origin, Plugin, PluginError, PluginVersion, Plugins, SinkPlugin,
};
use wasink_chassis::{Chassis, Parts};
use wasink_journal::Batch;
use wasink_record::Stream;
use wasink_serve::{Limits, Listen, Recorders, Server};

use super::client::{Request, Target, send};
use super::kit::{Lines, PATIENCE, leave_socket, parts, usage};

/// A plugin that tells the ids and the lines of what it is given, and the plugins there are.
#[derive(Clone)]
struct Teller(SyncSender<(String, String)>);

impl Plugins for Teller {
    fn names(&self) -> Vec<PluginName> {
        vec![PluginName::new("teller").unwrap()]
    }

    fn load(
        &self,
        _: &PluginName,
        _: &Origin,
        _: &Demands,
    ) -> Result<Arc<dyn Plugin>, PluginError> {
        Ok(Arc::new(self.clone()))
    }

    fn digest(&self, _: &PluginName) -> Result<String, PluginError> {
        Ok(SinkPlugin::version(self).digest)
    }
}

impl Plugin for Teller {
    fn version(&self) -> PluginVersion {
        SinkPlugin::version(self)
    }

    fn description(&self) -> Arc<Description> {
        SinkPlugin::description(self)
    }

    fn open(&self, _: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkPlugin for Teller {
    fn version(&self) -> PluginVersion {
        PluginVersion { digest: "sha256:00".to_owned(), version: "1.0.0".to_owned(), path: None }
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(Description {
            version: "1.0.0".to_owned(),
            summary: String::new(),
            streams: Stream::ALL.to_vec(),
            settings_schema: None,
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks: Vec::new(),
        })
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        for stamped in batch.records().unwrap() {
            let mut line = Vec::new();
            stamped.record.encode(&mut line);
            drop(self.0.try_send((stamped.id.to_string(), String::from_utf8(line).unwrap())));
        }
        Ok(Vec::new())
    }

    fn flush(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Interrupter::new(|| ())
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        Ok(None)
    }

    fn reset_captured(&mut self) -> Result<bool, CallError> {
        Ok(false)
    }
}

struct Bench {
    chassis: Chassis,
    server: Server,
    target: Target,
    told: Receiver<(String, String)>,
    _directory: TempDir,
}

/// One sink that takes usage records.
fn bench(settings: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let text = format!(
        "data_dir = {data:?}\n{settings}\n[[sink]]\nname = 'teller'\nplugin = 'teller'\n\
         streams = ['usage']\nbatch.age = '0s'\n"
    );
    let mut config = Config::from_toml(&text).unwrap();
    config.sinks.retain(|sink| sink.path_in_config.starts_with("sink["));
    let (tell, told) = sync_channel(1 << 10);
    let lines = Arc::new(Lines::default());
    let mut joined = Parts::new(Arc::new(Teller(tell)));
    joined.logger = lines.clone();
    let chassis = Chassis::open(&config, &joined).unwrap();
    let socket = directory.path().join("socket");
    leave_socket(&socket);
    let listen = Listen { socket: Some(socket.clone()), ..Listen::default() };
    let door = Recorders::new(|stream| chassis.recorder(stream));
    let parts = parts(door, Arc::new(|| Ok(())), lines);
    let server = Server::start(&listen, Limits::default(), &parts).unwrap();
    Bench { chassis, server, target: Target::Unix(socket), told, _directory: directory }
}

#[test]
fn what_is_acknowledged_arrives_at_the_sink_with_the_ids_that_were_told() {
    let bench = bench("");
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (bench, all) = (&bench.target, &all);
            scope.spawn(move || {
                for request in 0..5 {
                    let lines: Vec<_> =
                        (0..3).map(|index| usage(&format!("{client}-{request}-{index}"))).collect();
                    let sent = Request::lines("usage", lines.join("\n"));
                    let sent = match client % 2 {
                        0 => sent,
                        _ => sent.with("Idempotency-Key", &format!("{client}-{request}")),
                    };
                    let answer = send(bench, &sent);
                    assert_eq!(answer.status, 200, "{answer:?}");
                    all.lock().unwrap().extend(answer.ids().into_iter().zip(lines));
                }
            });
        }
    });
    let mut acknowledged = all.into_inner().unwrap();
    assert_eq!(acknowledged.len(), 8 * 5 * 3);
    let mut arrived: Vec<_> =
        (0..acknowledged.len()).map(|_| bench.told.recv_timeout(PATIENCE).unwrap()).collect();
    acknowledged.sort();
    arrived.sort();
    assert_eq!(arrived, acknowledged);
    assert_eq!(bench.chassis.status().streams[0].accepted, 8 * 5 * 3);
}

#[test]
fn what_the_chassis_refuses_is_told_as_it_is() {
    let bench = bench("journal.record = '200B'");
    let event = Request::lines("events", super::kit::event("1", "1"));
    let no_sink = send(&bench.target, &event);
    assert_eq!((no_sink.status, no_sink.problem()), (404, "no-sink".to_owned()));

    let body = format!("{}\n{}", usage("1"), usage(&"x".repeat(200)));
    let too_large = send(&bench.target, &Request::lines("usage", body));
    assert_eq!((too_large.status, too_large.problem()), (413, "record-too-large".to_owned()));
    assert_eq!(too_large.json()["rejected"][0]["index"], 1);
    assert_eq!(bench.chassis.status().streams[0].accepted, 0);

    assert_eq!(send(&bench.target, &Request::lines("usage", usage("1"))).status, 200);
    bench.chassis.close(PATIENCE);
    let closed = send(&bench.target, &Request::lines("usage", usage("2")));
    assert_eq!((closed.status, closed.problem()), (503, "closed".to_owned()));
    assert_eq!(closed.header("retry-after"), Some("5"));
    assert_eq!(bench.server.stop(Duration::from_secs(20)), 0);
}
