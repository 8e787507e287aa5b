"""A feed in one file: line n of feed.jsonl is the event with control version n."""

import json
import os
from itertools import takewhile

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.about import Acknowledges, Ask, Description, Need_Directory
from wit_world.imports.lifecycle import Again, Failure_Broken, Failure_Retry

PATH = "/data/feed.jsonl"

KEYS = [
    "event_id", "event_type", "tenant_id", "stack_id", "version", "base_version", "artifact_ref",
    "checksum", "created_at",
]


class About(exports.About):
    def describe(self):
        return Description(
            version="1.0.0",
            summary="a feed in one file",
            streams=[],
            settings_schema='{"type":"object","additionalProperties":false}',
            acknowledges=Acknowledges.ON_WRITE,
            dedup_window=None,
            acceptance_window=None,
            asks=[Ask(Need_Directory(), required=True, reason="keeps its file there")],
        )


def line(event):
    fields = {key: getattr(event, key) for key in KEYS if getattr(event, key) is not None}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def event_id(text):
    event = json.loads(text)
    if not isinstance(event, dict) or not isinstance(event.get("event_id"), str):
        raise ValueError("it has no `event_id`")
    return event["event_id"]


class FeedSink(exports.FeedSink):
    file = None
    # The version of each event, by its id, and that of the last line.
    versions = {}
    last = 0

    def open(self, context):
        try:
            FeedSink.file = open(PATH, "a+b", buffering=0)
            FeedSink.file.seek(0)
            lines = FeedSink.file.readall()
            # What is behind the last whole line was cut off while it was written, and not acknowledged.
            whole = lines.rfind(b"\n") + 1
            FeedSink.file.truncate(whole)
        except OSError as error:
            raise Err(f"feed.jsonl: {error.strerror}")
        FeedSink.versions = {}
        FeedSink.last = 0
        for text in lines[:whole].splitlines():
            FeedSink.last += 1
            try:
                FeedSink.versions.setdefault(event_id(text), FeedSink.last)
            except ValueError as error:
                raise Err(f"line {FeedSink.last} of `feed.jsonl`: {error}")

    def append(self, events):
        last = FeedSink.last
        new, lines, versions = {}, [], []
        for event in events:
            version = FeedSink.versions.get(event.event_id) or new.get(event.event_id)
            if version is None:
                version = new[event.event_id] = last + len(new) + 1
                lines.append(line(event))
            versions.append(version)
        if new:
            try:
                self.append_lines(b"".join(lines))
            except OSError as error:
                # None is appended after the first that fails, and the results of all behind it say so.
                failed = Err(Failure_Retry(Again(after=None, reason=f"feed.jsonl: {error}")))
                done = [Ok(version) for version in takewhile(lambda version: version <= last, versions)]
                return done + [failed] * (len(versions) - len(done))
            FeedSink.versions |= new
            FeedSink.last += len(new)
        return [Ok(version) for version in versions]

    def append_lines(self, lines):
        """Appends all of it and makes it durable, or nothing."""
        length = os.fstat(FeedSink.file.fileno()).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[FeedSink.file.write(rest):]
            os.fsync(FeedSink.file.fileno())
        except OSError:
            self.cut(length)
            raise

    def cut(self, length):
        try:
            # An error has closed the stream into the file. Another file has another one.
            FeedSink.file.close()
            FeedSink.file = open(PATH, "a+b", buffering=0)
            FeedSink.file.truncate(length)
        except OSError as error:
            # Nothing is to be appended to half a line: the next instance cuts it off as it opens.
            raise Err(Failure_Broken(f"feed.jsonl: {error}"))

    def close(self):
        FeedSink.file.close()
