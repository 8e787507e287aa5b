"""Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
flush before."""

import json
import os
from collections import Counter

# What is imported later, inside of a function, is not in the component.
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Acknowledges, Ask, Description, Need_Directory
from wit_world.imports import log
from wit_world.imports.batches import Encoding
from wit_world.imports.lifecycle import Again, Failure_Broken, Failure_Retry
from wit_world.imports.records import Stream

DATA = "/data/"


class About(exports.About):
    def describe(self):
        return Description(
            version="1.0.0",
            summary="usage as JSON Lines, and how many records each tenant had",
            streams=[Stream.USAGE],
            settings_schema='{"type":"object","additionalProperties":false}',
            acknowledges=Acknowledges.ON_FLUSH,
            dedup_window=None,
            acceptance_window=None,
            asks=[Ask(Need_Directory(), required=True, reason="keeps its files there")],
        )


class Lines:
    """A file of lines that is appended to."""

    def __init__(self, name):
        self.name = name
        try:
            self.file = open(DATA + name, "a+b", buffering=0)
            self.cut_half_line()
        except OSError as error:
            raise Err(f"{name}: {error.strerror}")

    def cut_half_line(self):
        # Half a line at the end is of a write that was cut off: it was never acknowledged, and its
        # record comes again.
        whole = self.file.seek(0, os.SEEK_END)
        while whole > 0:
            self.file.seek(whole - 1)
            if self.file.read(1) == b"\n":
                break
            whole -= 1
        self.file.truncate(whole)

    def append(self, lines, durable=False):
        """Appends all of it or nothing: the batch comes again, and no half line is to stand before it."""
        try:
            length = os.fstat(self.file.fileno()).st_size
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[self.file.write(rest):]
                if durable:
                    os.fsync(self.file.fileno())
            except OSError:
                self.cut(length)
                raise
        except OSError as error:
            raise self.retry(error)

    def cut(self, length):
        try:
            # An error has closed the stream into the file. Another file has another one.
            self.file.close()
            self.file = open(DATA + self.name, "a+b", buffering=0)
            self.file.truncate(length)
        except OSError as error:
            # Nothing is to be appended to half a line: the next instance cuts it off as it opens.
            raise Err(Failure_Broken(f"{self.name}: {error}"))

    def sync(self):
        try:
            os.fsync(self.file.fileno())
        except OSError as error:
            raise self.retry(error)

    def retry(self, error):
        # Anything else than an `Err` would end the instance.
        return Err(Failure_Retry(Again(after=None, reason=f"{self.name}: {error}")))


class Sink(exports.Sink):
    usage = None
    tenants = None
    counts = Counter()

    def open(self, context):
        Sink.usage = Lines("usage.jsonl")
        Sink.tenants = Lines("tenants.jsonl")
        Sink.counts = Counter()
        log.write(log.Level.INFO, "open", [("file", log.Value_Text("usage.jsonl"))])

    def write(self, batch):
        tenants = batch.usage_columns().tenant
        Sink.usage.append(batch.encode(Encoding.JSONL))
        # A tenant is a small number here. Its name is looked up once a batch, not once a record.
        for code, records in Counter(tenants.codes).items():
            Sink.counts[tenants.values[code]] += records
        return []

    def flush(self):
        if not Sink.counts:
            return
        Sink.usage.sync()
        lines = "".join(
            json.dumps({"tenant": tenant, "records": records}, ensure_ascii=False, separators=(",", ":")) + "\n"
            for tenant, records in sorted(Sink.counts.items())
        )
        Sink.tenants.append(lines.encode(), durable=True)
        # Only now: a flush that fails is asked for again.
        Sink.counts = Counter()

    def close(self):
        Sink.usage.file.close()
        Sink.tenants.file.close()
