//! One call of `write`: requests, until something has become of every record.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wasink_guest::http::{Answer, Client, Error, Request, Url};
use wasink_guest::{Batch, Failure, Outcomes, warn};

use crate::Http;
use crate::body::{self, Pieces};
use crate::fate::{Fate, Fates};
use crate::judge::{self, Verdict};
use crate::key::key;
use crate::settings;

/// So many redirects are followed.
const HOPS: usize = 3;

/// What was not got to comes again at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Records that go into one request.
struct Job {
    records: Vec<usize>,
    /// The request's body, where the host has written it.
    body: Option<Vec<u8>>,
}

struct Run<'a> {
    http: &'a Http,
    batch: &'a Batch<'a>,
    ids: Vec<String>,
    pieces: Option<Pieces>,
    fates: Fates,
    jobs: VecDeque<Job>,
    /// When no further request is begun.
    end: Instant,
}

pub(crate) fn write(http: &mut Http, batch: &Batch) -> Result<Outcomes, Failure> {
    let ids = batch.ids();
    let records = ids.len();
    let mut run = Run {
        http,
        batch,
        pieces: None,
        fates: Fates::new(ids.len()),
        jobs: VecDeque::new(),
        end: Instant::now(),
        ids,
    };
    let stopped = run.all()?;
    let Run { fates, jobs, .. } = run;
    match stopped {
        Some((after, reason)) if fates.in_doubt() == records => Err(match after {
            Some(after) => Failure::in_doubt_for(after, reason),
            None => Failure::in_doubt(reason),
        }),
        Some((after, reason)) if !fates.any_final() && fates.in_doubt() == 0 => {
            // With nothing else to tell, the reason can go with it.
            Err(match after {
                Some(after) => Failure::retry_after(after, reason),
                None => Failure::retry(reason),
            })
        }
        Some((after, reason)) => {
            warn!("part of a batch is not delivered for now"; reason = reason);
            Ok(fates.outcomes(after))
        }
        None => {
            http.narrow = match jobs.front() {
                None => None,
                // All of the call went into splitting; the next one goes on from there.
                Some(job) if !fates.any_final() => Some(job.records.len()),
                Some(_) => http.narrow,
            };
            let after = (!fates.any_retry()).then_some(AT_ONCE);
            Ok(fates.outcomes(after))
        }
    }
}

/// For how long the rest is left, and why.
type Stopped = (Option<Duration>, String);

impl Run<'_> {
    /// Sends requests until all is settled, the receiver wants to be left alone, or there is no time
    /// for more.
    fn all(&mut self) -> Result<Option<Stopped>, Failure> {
        self.first()?;
        let mut requests = 0;
        self.end = Instant::now() + settings::millis(self.http.settings.timeouts.call_ms);
        let max_requests = self.http.settings.max_requests;
        // One at least, so that every call comes further.
        while requests == 0 || requests < max_requests && Instant::now() < self.end {
            let Some(mut job) = self.jobs.pop_front() else { break };
            requests += 1;
            match self.exchange(&mut job)? {
                Verdict::All(fate) => {
                    job.records.iter().for_each(|record| self.fates.set(*record, fate.clone()));
                }
                Verdict::Each(fates) => self.each(&job, fates),
                Verdict::Split { alone } => self.split(job, alone)?,
                Verdict::Later { after, reason, doubt } => {
                    if doubt {
                        let fate = Fate::InDoubt(after);
                        job.records.iter().for_each(|record| self.fates.set(*record, fate.clone()));
                    }
                    return Ok(Some((after, reason)));
                }
            }
        }
        Ok(None)
    }

    /// The first jobs: one for the whole batch if it fits, and as few as possible otherwise.
    fn first(&mut self) -> Result<(), Failure> {
        let records: Vec<usize> = (0..self.ids.len()).collect();
        let most = self.http.narrow.unwrap_or(self.http.max_records).min(self.http.max_records);
        if records.len() <= most
            && let Some(whole) = self.http.writing.whole(self.batch)
            && whole.len() <= self.http.max_bytes
        {
            self.jobs.push_back(Job { records, body: Some(whole.into_vec()) });
            return Ok(());
        }
        let frame = self.http.writing.frame();
        let max_bytes = self.http.max_bytes;
        let mut settled = Vec::new();
        let mut jobs = VecDeque::new();
        let pieces = self.pieces()?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for record in records {
            let length = match pieces.get(record) {
                Ok(piece) => piece.len(),
                Err(fate) => {
                    settled.push((record, fate));
                    continue;
                }
            };
            let alone = frame.length(1, length);
            if alone > max_bytes {
                let reason = format!(
                    "it alone makes a request of {alone} bytes, and `max_bytes` is {max_bytes}"
                );
                settled.push((record, Fate::Rejected(reason)));
                continue;
            }
            if taken.len() >= most || frame.length(taken.len() + 1, bytes + length) > max_bytes {
                jobs.push_back(Job { records: std::mem::take(&mut taken), body: None });
                bytes = 0;
            }
            taken.push(record);
            bytes += length;
        }
        if !taken.is_empty() {
            jobs.push_back(Job { records: taken, body: None });
        }
        self.jobs = jobs;
        settled.into_iter().for_each(|(record, fate)| self.fates.set(record, fate));
        Ok(())
    }

    fn pieces(&mut self) -> Result<&Pieces, Failure> {
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None => self.http.writing.pieces(self.batch, &self.ids)?,
        };
        Ok(self.pieces.insert(pieces))
    }

    fn each(&mut self, job: &Job, fates: Vec<Option<Fate>>) {
        let mut again = Vec::new();
        for (record, fate) in job.records.iter().zip(fates) {
            match fate {
                Some(fate) => self.fates.set(*record, fate),
                None => again.push(*record),
            }
        }
        // Without an end, if none were settled.
        if !again.is_empty() && again.len() < job.records.len() {
            self.jobs.push_front(Job { records: again, body: None });
        }
    }

    /// Halves a request, to find which of its records it was about.
    fn split(&mut self, job: Job, alone: Fate) -> Result<(), Failure> {
        if let [record] = job.records.as_slice() {
            self.fates.set(*record, alone);
            return Ok(());
        }
        self.pieces()?;
        let mut head = job.records;
        let tail = head.split_off(head.len() / 2);
        for records in [tail, head] {
            self.jobs.push_front(Job { records, body: None });
        }
        Ok(())
    }

    fn exchange(&mut self, job: &mut Job) -> Result<Verdict, Failure> {
        let http = self.http;
        let body = match job.body.take() {
            Some(body) => body,
            None => self.pieces()?.body(http.writing.frame(), &job.records),
        };
        let body = body::compressed(body, http.settings.compress)?;
        let ids: Vec<&str> = job
            .records
            .iter()
            .filter_map(|record| self.ids.get(*record))
            .map(String::as_str)
            .collect();
        let mut request = Request::new(http.method, http.url.clone()).body(body);
        request.headers = http.headers.clone();
        let named = [&http.settings.idempotency_header, &http.settings.id_header];
        for name in named.into_iter().flatten() {
            request = request.header(name, key(ids.iter().copied()));
        }
        Ok(match send(http.client, &mut request, self.end) {
            Ok(answer) => judge::answer(http, &answer, &ids),
            Err(error) => judge::without_answer(http, &error),
        })
    }
}

/// Sends a request, and sends it on where it is to be repeated elsewhere on the same origin.
fn send(mut client: Client, request: &mut Request, end: Instant) -> Result<Answer, Error> {
    let most = client.timeouts.total;
    let mut hops = 0;
    loop {
        client.timeouts.total = most.min(end.saturating_duration_since(Instant::now()));
        let answer = client.send(request)?;
        match next(&answer, &request.url).filter(|_| hops < HOPS) {
            Some(url) => request.url = url,
            None => return Ok(answer),
        }
        hops += 1;
    }
}

fn next(answer: &Answer, from: &Url) -> Option<Url> {
    let location = answer.header("Location").filter(|_| matches!(answer.status, 307 | 308))?;
    from.follow(location).ok().filter(|url| url.origin() == from.origin())
}
