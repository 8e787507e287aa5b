"""A feed in one file: line n of feed.jsonl is the event with control version n."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.about import Acknowledges, Ask, Description, Need_Directory
from wit_world.imports.lifecycle import Again, Failure_Broken, Failure_Retry
from wit_world.imports.records import ControlEvent


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
            asks=[Ask(Need_Directory(), required=True, reason="its file is there")],
        )


def text(fields, key, required=False):
    value = fields.get(key)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise ValueError(f"its `{key}` is no text")
    # Fails for half of a surrogate pair, which has no UTF-8.
    value.encode()
    return value


def number(fields, key):
    value = fields.get(key)
    if value is not None and (type(value) is not int or not -(2**63) <= value < 2**63):
        raise ValueError(f"its `{key}` is no number of 64 bits")
    return value


# Types are looked at here: what the contract's have no room for would end the instance.
def event(line, version):
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("it is no object")
    return ControlEvent(
        event_id=text(fields, "event_id", required=True),
        event_type=text(fields, "event_type", required=True),
        tenant_id=text(fields, "tenant_id"),
        stack_id=text(fields, "stack_id"),
        version=number(fields, "version"),
        base_version=number(fields, "base_version"),
        artifact_ref=text(fields, "artifact_ref"),
        checksum=text(fields, "checksum"),
        control_version=version,
        created_at=text(fields, "created_at"),
    )


class FeedSource(exports.FeedSource):
    # The version of the last line that was read, and where the next one begins.
    version = 0
    offset = 0

    def open(self, context):
        FeedSource.version = FeedSource.offset = 0

    def poll(self, since, max, wait):
        if since != FeedSource.version:
            FeedSource.version = FeedSource.offset = 0
        events = []
        try:
            # Opened anew each time: it may be put in place of another.
            with open("/data/feed.jsonl", "rb") as file:
                file.seek(FeedSource.offset)
                while len(events) < max:
                    line = file.readline()
                    # What has no end is still being written.
                    if not line.endswith(b"\n"):
                        break
                    FeedSource.version += 1
                    FeedSource.offset += len(line)
                    if FeedSource.version > since:
                        events.append(event(line, FeedSource.version))
        except FileNotFoundError:
            # There is none yet.
            return []
        except OSError as error:
            raise Err(Failure_Retry(Again(after=None, reason=str(error))))
        except ValueError as error:
            raise Err(Failure_Broken(f"line {FeedSource.version} of `feed.jsonl`: {error}"))
        return events

    def close(self):
        pass
