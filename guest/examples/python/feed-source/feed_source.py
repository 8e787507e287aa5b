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


def event(text, version):
    fields = json.loads(text)
    return ControlEvent(
        event_id=fields["event_id"],
        event_type=fields["event_type"],
        tenant_id=fields.get("tenant_id"),
        stack_id=fields.get("stack_id"),
        version=fields.get("version"),
        base_version=fields.get("base_version"),
        artifact_ref=fields.get("artifact_ref"),
        checksum=fields.get("checksum"),
        control_version=version,
        created_at=fields.get("created_at"),
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
                    text = file.readline()
                    # What has no end is still being written.
                    if not text.endswith(b"\n"):
                        break
                    FeedSource.version += 1
                    FeedSource.offset += len(text)
                    if FeedSource.version > since:
                        events.append(event(text, FeedSource.version))
        except FileNotFoundError:
            # There is none yet.
            return []
        except OSError as error:
            raise Err(Failure_Retry(Again(after=None, reason=str(error))))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"line {FeedSource.version} of `feed.jsonl`: {error!r}"
            raise Err(Failure_Broken(reason))
        return events

    def close(self):
        pass
