// A feed in one file: line n of feed.jsonl is the event with control version n.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import type { Descriptor } from 'wasi:filesystem/types@0.2.12';
import type * as About from 'wasink:plugin/about@0.1.0';
import type * as FeedSource from 'wasink:plugin/feed-source@0.1.0';
import type { Failure } from 'wasink:plugin/lifecycle@0.1.0';
import type { ControlEvent } from 'wasink:plugin/records@0.1.0';

const decoder = new TextDecoder('utf-8', { fatal: true });

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
  (typeof value === 'number' && /^-?\d+$/.test(source ?? '') ? BigInt(source as string) : value);

// What the contract's types have no room for would end the instance.
function text(fields: Record<string, any>, key: string): string | undefined {
  const value = fields[key] ?? undefined;
  if (value !== undefined && !(typeof value === 'string' && value.isWellFormed())) {
    throw new Error(`its \`${key}\` is no text`);
  }
  return value;
}

function number(fields: Record<string, any>, key: string): bigint | undefined {
  const value = fields[key] ?? undefined;
  if (value !== undefined && !(typeof value === 'bigint' && BigInt.asIntN(64, value) === value)) {
    throw new Error(`its \`${key}\` is no number of 64 bits`);
  }
  return value;
}

function required(fields: Record<string, any>, key: string): string {
  const value = text(fields, key);
  if (value === undefined) throw new Error(`it has no \`${key}\``);
  return value;
}

function event(line: Uint8Array, controlVersion: bigint): ControlEvent {
  const fields = JSON.parse(decoder.decode(line), exact) ?? {};
  return {
    eventId: required(fields, 'event_id'),
    eventType: required(fields, 'event_type'),
    tenantId: text(fields, 'tenant_id'),
    stackId: text(fields, 'stack_id'),
    version: number(fields, 'version'),
    baseVersion: number(fields, 'base_version'),
    artifactRef: text(fields, 'artifact_ref'),
    checksum: text(fields, 'checksum'),
    controlVersion,
    createdAt: text(fields, 'created_at'),
  };
}

// Whole lines from an offset on; what has no end is still being written.
function* lines(file: Descriptor, from: bigint): Generator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array();
  for (let at = from, ended = false; !ended;) {
    const [bytes, last] = file.read(65536n, at);
    at += BigInt(bytes.length);
    ended = last || bytes.length === 0;
    const joined = new Uint8Array(rest.length + bytes.length);
    joined.set(rest);
    joined.set(bytes, rest.length);
    rest = joined;
    for (let end = rest.indexOf(10) + 1; end > 0; end = rest.indexOf(10) + 1) {
      yield rest.subarray(0, end);
      rest = rest.subarray(end);
    }
  }
}

// What is thrown is the error of the contract's result.
const failed = (failure: Failure) => failure;

function read(file: Descriptor, since: bigint, max: number): ControlEvent[] {
  const events: ControlEvent[] = [];
  for (const line of lines(file, offset)) {
    if (events.length >= max) break;
    version += 1n;
    offset += BigInt(line.length);
    if (version <= since) continue;
    try {
      events.push(event(line, version));
    } catch (error: any) {
      throw failed({ tag: 'broken', val: `line ${version} of feed.jsonl: ${error.message}` });
    }
  }
  return events;
}

export const feedSource: typeof FeedSource = {
  open() {
    const found = getDirectories().find(([, path]) => path === '/data');
    if (!found) throw 'no data directory was granted: write `grants.directory = true`';
    data = found[0];
    version = offset = 0n;
  },

  poll(since: bigint, max: number) {
    if (since !== version) version = offset = 0n;
    let file: Descriptor | undefined;
    try {
      // Opened anew each time: it may not be there yet, or be put in place of another.
      file = data.openAt({ symlinkFollow: true }, 'feed.jsonl', {}, { read: true });
      return read(file, since, max);
    } catch (error: any) {
      if (!file && error?.payload === 'no-entry') return [];
      if (error?.tag) throw error;
      throw failed({ tag: 'retry', val: { after: undefined, reason: `feed.jsonl: ${error?.payload ?? error}` } });
    } finally {
      // Garbage collection comes too late: an instance may hold so many files, and no more.
      file?.[Symbol.dispose]();
    }
  },

  close() {},
};
