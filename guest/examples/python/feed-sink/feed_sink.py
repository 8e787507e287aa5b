"""A feed in one file: line n of feed.jsonl is the event with control version n."""

import json
import os

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.about import Acknowledges, Ask, Description, Need_Directory
from wit_world.imports.lifecycle import Again, Failure_Retry

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


class FeedSink(exports.FeedSink):
    file = None
    # The version of each event, by its id.
    versions = {}

    def open(self, context):
        try:
            FeedSink.file = open("/data/feed.jsonl", "a+b", buffering=0)
            FeedSink.file.seek(0)
            lines = FeedSink.file.readall()
            # What is behind the last whole line was cut off while it was written, and not acknowledged.
            whole = lines.rfind(b"\n") + 1
            FeedSink.file.truncate(whole)
        except OSError as error:
            raise Err(str(error))
        FeedSink.versions = {}
        for version, text in enumerate(lines[:whole].splitlines(), 1):
            try:
                FeedSink.versions[json.loads(text)["event_id"]] = version
            except (ValueError, KeyError, TypeError) as error:
                raise Err(f"line {version} of `feed.jsonl`: {error!r}")

    def append(self, events):
        known = len(FeedSink.versions)
        lines, results = [], []
        for event in events:
            version = FeedSink.versions.setdefault(event.event_id, len(FeedSink.versions) + 1)
            if version > known + len(lines):
                lines.append(line(event))
            results.append(version)
        try:
            self.append_lines(b"".join(lines))
        except OSError as error:
            FeedSink.versions = {id: n for id, n in FeedSink.versions.items() if n <= known}
            failed = Err(Failure_Retry(Again(after=None, reason=f"feed.jsonl: {error}")))
            return [Ok(version) if version <= known else failed for version in results]
        return [Ok(version) for version in results]

    def append_lines(self, lines):
        """Appends all of it and makes it durable, or nothing."""
        length = os.fstat(FeedSink.file.fileno()).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[FeedSink.file.write(rest):]
            os.fsync(FeedSink.file.fileno())
        except OSError:
            FeedSink.file.truncate(length)
            raise

    def close(self):
        FeedSink.file.close()
