// A feed in one file: line n of feed.jsonl is the event with control version n.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import type { Descriptor } from 'wasi:filesystem/types@0.2.12';
import type * as About from 'wasink:plugin/about@0.1.0';
import type * as FeedSource from 'wasink:plugin/feed-source@0.1.0';
import type { Failure } from 'wasink:plugin/lifecycle@0.1.0';
import type { ControlEvent } from 'wasink:plugin/records@0.1.0';

const decoder = new TextDecoder();

// The version of the last line that was read, and where the next one begins.
let version: bigint;
let offset: bigint;
let data: Descriptor;

export const about: typeof About = {
  describe: () => ({
    version: '1.0.0',
    summary: 'a feed in one file',
    streams: [],
    settingsSchema: '{"type":"object","additionalProperties":false}',
    acknowledges: 'on-write',
    dedupWindow: undefined,
    acceptanceWindow: undefined,
    asks: [{ need: { tag: 'directory' }, required: true, reason: 'its file is there' }],
  }),
};

// Numbers of a feed have 64 bits, and JSON.parse would round them.
const exact = (_key: string, value: unknown, { source }: { source?: string } = {}) =>
  (typeof value === 'number' ? BigInt(source ?? value) : value);

function event(text: string, controlVersion: bigint): ControlEvent {
  const fields = JSON.parse(text, exact);
  for (const key of ['event_id', 'event_type']) {
    if (typeof fields?.[key] !== 'string') throw new Error(`it has no \`${key}\``);
  }
  return {
    eventId: fields.event_id,
    eventType: fields.event_type,
    tenantId: fields.tenant_id,
    stackId: fields.stack_id,
    version: fields.version,
    baseVersion: fields.base_version,
    artifactRef: fields.artifact_ref,
    checksum: fields.checksum,
    controlVersion,
    createdAt: fields.created_at,
  };
}

// Whole lines from an offset on, with their lengths; what has no end is still being written.
function* lines(file: Descriptor, from: bigint): Generator<[string, bigint]> {
  let rest: Uint8Array = new Uint8Array();
  for (let at = from, ended = false; !ended;) {
    const [bytes, last] = file.read(65536n, at);
    at += BigInt(bytes.length);
    ended = last || bytes.length === 0;
    const joined = new Uint8Array(rest.length + bytes.length);
    joined.set(rest);
    joined.set(bytes, rest.length);
    rest = joined;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      yield [decoder.decode(rest.subarray(0, end)), BigInt(end + 1)];
      rest = rest.subarray(end + 1);
    }
  }
}

// What is thrown is the error of the contract's result.
const failed = (failure: Failure) => failure;

export const feedSource: typeof FeedSource = {
  open() {
    const found = getDirectories().find(([, path]) => path === '/data');
    if (!found) throw 'no data directory was granted: write `grants.directory = true`';
    data = found[0];
    version = offset = 0n;
  },

  poll(since: bigint, max: number) {
    let file: Descriptor;
    try {
      // Opened anew each time: it may not be there yet, or be put in place of another.
      file = data.openAt({ symlinkFollow: true }, 'feed.jsonl', {}, { read: true });
    } catch (error: any) {
      if (error?.payload === 'no-entry') return [];
      throw failed({ tag: 'retry', val: { after: undefined, reason: `feed.jsonl: ${error?.payload ?? error}` } });
    }
    if (since !== version) version = offset = 0n;
    const events: ControlEvent[] = [];
    for (const [text, length] of lines(file, offset)) {
      if (events.length >= max) break;
      version += 1n;
      offset += length;
      if (version <= since) continue;
      try {
        events.push(event(text, version));
      } catch (error: any) {
        throw failed({ tag: 'broken', val: `line ${version} of feed.jsonl: ${error?.message ?? error}` });
      }
    }
    return events;
  },

  close() {},
};
