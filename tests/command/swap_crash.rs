//! The daemon, killed or asked to end at random moments of exchanges under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wasink::Config;
use wasink::record::Stream;

use super::crash::whole_lines;
use super::operator::Operator;
use super::service::Client;
use super::swap::{OUTPUT, PATIENCE, PLUGIN, config, place, rid, serve, usage, version};

/// Rounds, unless `WASINK_SWAP_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 10;
/// Records in a post.
const POST: usize = 7;
/// A round is over after fewer milliseconds: a few exchanges fit into them.
const LONGEST: u64 = 250;
/// The versions, to be named in a command.
const FILES: [&str; 2] = ["one.wasm", "two.wasm"];

#[test]
fn a_process_that_ends_in_an_exchange_goes_on_with_one_of_the_versions_and_loses_nothing() {
    let rounds = std::env::var("WASINK_SWAP_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap());
    let operator = Operator::new();
    let text = config("swap.watch = '20ms'\njournal.segment = '64KiB'", "");
    operator.write("wasink.toml", &text);
    let versions = ["one", "two"].map(version);
    for (file, bytes) in FILES.iter().zip(&versions) {
        operator.write(file, bytes);
    }
    operator.write(PLUGIN, &versions[0]);
    let digests = digests(&operator);
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let (mut acknowledged, mut offered) = (Vec::new(), 0);
    // How often the command said yes, no, and did not come to an answer.
    let mut commands = [0; 3];
    for round in 0..rounds {
        let running = serve(&operator);
        let digest = digest(&operator);
        assert!(digests.contains(&digest), "round {round}: {digest}");
        // Whoever is in charge delivers what the round before left.
        await_record(&operator, acknowledged.last());
        let [deployed, asked] = [random.usize(..2), random.usize(..2)];
        let (by_file, by_command) = (random.bool(), random.bool());
        let time = Duration::from_millis(random.u64(..LONGEST));
        let killed = random.u8(..4) > 0;
        let answers = AtomicUsize::new(0);
        let first = offered;
        let told = thread::scope(|scope| {
            let client = scope.spawn(|| post_until_it_is_gone(&operator, first, &answers));
            while answers.load(Ordering::SeqCst) == 0 {
                assert!(!client.is_finished(), "round {round}");
                thread::yield_now();
            }
            let operators = scope.spawn(|| {
                if by_file {
                    place(&operator, PLUGIN, &versions[deployed]);
                }
                if by_command { swap_until_it_is_gone(&operator, asked) } else { [0; 3] }
            });
            // The time of the fault: nothing waits for anything by it.
            thread::sleep(time);
            running.signal(if killed { "KILL" } else { "TERM" });
            let ended = running.end();
            assert!(killed || ended.exit() == 143, "round {round}: {ended:#?}");
            let (taken, sent) = client.join().unwrap();
            acknowledged.extend(taken);
            offered = sent;
            operators.join().unwrap()
        });
        commands.iter_mut().zip(told).for_each(|(sum, count)| *sum += count);
        operator.says("audit").expect(0);
        operator.says("journal verify").expect(0);
    }
    eprintln!("{rounds} rounds; commands: {commands:?} done, turned away, without an answer");
    operator.feed("run --stream usage --quiet", "").expect(0);

    let mut delivered: BTreeMap<usize, Value> = BTreeMap::new();
    let (output, mut twice) = (operator.read(OUTPUT), 0);
    for line in whole_lines(&output, rounds) {
        assert!(rid(line) < offered, "nobody sent {line}");
        let event: Value = serde_json::from_str(line).unwrap();
        // What comes twice is the same, to the byte.
        if let Some(before) = delivered.insert(rid(line), event.clone()) {
            assert_eq!(before, event);
            twice += 1;
        }
    }
    eprintln!("{} records, {twice} of them twice", delivered.len());
    let lost: Vec<_> = acknowledged.iter().filter(|rid| !delivered.contains_key(rid)).collect();
    assert!(lost.is_empty(), "acknowledged and not delivered: {lost:?}");
    let audit = operator.says("audit --json").expect(0).json();
    let lane = &audit["streams"]["usage"]["sinks"]["ledger"];
    assert_eq!(lane["fates"]["delivered"], delivered.len());
    assert_eq!(lane["pending"], 0);
    let changes = check_provenance(&operator, &text, &digests, delivered.len());
    eprintln!("{changes} exchanges");
}

/// The digests of both versions.
fn digests(operator: &Operator) -> [String; 2] {
    let running = serve(operator);
    let one = digest(operator);
    operator.says("plugins swap ledger two.wasm").expect(0);
    let two = digest(operator);
    assert_ne!(one, two);
    running.signal("TERM");
    running.end().expect(143);
    [one, two]
}

fn digest(operator: &Operator) -> String {
    let status = operator.says("status --json").expect(0).json();
    let sink = status["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "ledger");
    sink.unwrap()["version"]["digest"].as_str().unwrap().to_owned()
}

/// Asks for one version and the other until nobody answers. How often it was done, something else was
/// under way, and there was no answer.
fn swap_until_it_is_gone(operator: &Operator, first: usize) -> [usize; 3] {
    let mut commands = [0; 3];
    for number in first.. {
        let ended = operator.says(&format!("plugins swap ledger {}", FILES[number % 2]));
        match ended.exit() {
            0 => commands[0] += 1,
            1 if ended.stderr.contains("is busy") => commands[1] += 1,
            1 => break,
            _ => panic!("{ended:?}"),
        }
    }
    commands[2] += 1;
    commands
}

/// Posts records until nobody answers. Returns those that were acknowledged, and the number after the
/// last that was sent.
fn post_until_it_is_gone(
    operator: &Operator,
    first: usize,
    answers: &AtomicUsize,
) -> (Vec<usize>, usize) {
    let (mut acknowledged, mut next) = (Vec::new(), first);
    let mut client = Client::connect(operator);
    loop {
        let rids = next..next + POST;
        next = rids.end;
        let body: String = rids.clone().map(usage).collect();
        let Some((status, answer)) = client.post("usage", "application/x-ndjson", &body) else {
            return (acknowledged, next);
        };
        match status {
            200 => acknowledged.extend(rids),
            503 => return (acknowledged, next),
            _ => panic!("{status}: {answer}"),
        }
        answers.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until this record is in the output.
fn await_record(operator: &Operator, wanted: Option<&usize>) {
    let Some(wanted) = wanted else { return };
    let (until, begin) = (Instant::now() + PATIENCE, format!("{{\"rid\":\"{wanted}\","));
    while !operator.read(OUTPUT).contains(&begin) {
        assert!(Instant::now() < until, "{wanted} is not delivered");
        thread::yield_now();
    }
}

/// All that was delivered is one version's doing, and nobody's twice. How often another version followed.
fn check_provenance(
    operator: &Operator,
    text: &str,
    digests: &[String],
    delivered: usize,
) -> usize {
    let data_dir = operator.path("wasink-data");
    let config =
        Config::from_toml(&format!("data_dir = '{}'\n{text}", data_dir.display())).unwrap();
    let journal = wasink::open_journal(&config, Stream::Usage).unwrap().unwrap();
    let stretches = journal.provenance("ledger").unwrap();
    let mut end = 0;
    for stretch in &stretches {
        assert!(digests.contains(&stretch.digest), "{stretch:?}");
        for range in &stretch.ranges {
            assert_eq!(range.start, end, "a gap, or an overlap: {stretch:?}");
            end = range.end;
        }
    }
    let settled: u64 = stretches.iter().map(|stretch| stretch.fates.delivered).sum();
    assert_eq!((settled, end), (delivered as u64, delivered as u64));
    let pairs = stretches.iter().zip(stretches.iter().skip(1));
    pairs.filter(|(before, after)| before.digest != after.digest).count()
}
