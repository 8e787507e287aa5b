// A feed in one file: line n of feed.jsonl is the event with control version n.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

// The version of each event, by its id, and that of the last line.
let versions;
let last;
let file;

export const about = {
  describe: () => ({
    version: '1.0.0',
    summary: 'a feed in one file',
    streams: [],
    settingsSchema: '{"type":"object","additionalProperties":false}',
    acknowledges: 'on-write',
    asks: [{ need: { tag: 'directory' }, required: true, reason: 'keeps its file there' }],
  }),
};

const words = (error) => error?.payload ?? error?.message ?? error;

// There is no `node:fs` here: WASI's own calls are used.
function readAll() {
  const all = new Uint8Array(Number(file.stat().size));
  let end = 0;
  while (end < all.length) {
    const [bytes] = file.read(BigInt(Math.min(65536, all.length - end)), BigInt(end));
    if (bytes.length === 0) throw 'it ends too early';
    all.set(bytes, end);
    end += bytes.length;
  }
  return all;
}

function eventId(text) {
  let id;
  try {
    id = JSON.parse(text)?.event_id;
  } catch (error) {
    throw `line ${last}: ${words(error)}`;
  }
  if (typeof id !== 'string') throw `line ${last}: it has no \`event_id\``;
  return id;
}

// Appends all of it and makes it durable, or nothing.
function append(lines) {
  const begin = file.stat().size;
  try {
    for (let end = begin; lines.length > 0;) {
      const written = file.write(lines, end);
      end += written;
      lines = lines.subarray(Number(written));
    }
    file.syncData();
  } catch (error) {
    cut(begin);
    throw error;
  }
}

function cut(length) {
  try {
    file.setSize(length);
  } catch (error) {
    // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
    throw { tag: 'broken', val: `feed.jsonl: ${words(error)}` };
  }
}

// 64-bit numbers are BigInts, which JSON.stringify does not take.
function line(event) {
  const fields = [
    ['event_id', event.eventId], ['event_type', event.eventType], ['tenant_id', event.tenantId],
    ['stack_id', event.stackId], ['version', event.version], ['base_version', event.baseVersion],
    ['artifact_ref', event.artifactRef], ['checksum', event.checksum], ['created_at', event.createdAt],
  ].filter(([, value]) => value !== undefined);
  const texts = fields.map(([key, value]) =>
    `"${key}":${typeof value === 'bigint' ? value : JSON.stringify(value)}`);
  return `{${texts.join(',')}}\n`;
}

export const feedSink = {
  open() {
    const data = getDirectories().find(([, path]) => path === '/data');
    if (!data) throw 'no data directory was granted: write `grants.directory = true`';
    versions = new Map();
    last = 0n;
    try {
      file = data[0].openAt({ symlinkFollow: true }, 'feed.jsonl', { create: true }, { read: true, write: true });
      // What is behind the last whole line was cut off while it was written, and not acknowledged.
      const bytes = readAll();
      const whole = bytes.lastIndexOf(10) + 1;
      file.setSize(BigInt(whole));
      for (const text of decoder.decode(bytes.subarray(0, whole)).split('\n').slice(0, -1)) {
        last += 1n;
        const id = eventId(text);
        if (!versions.has(id)) versions.set(id, last);
      }
    } catch (error) {
      throw `feed.jsonl: ${words(error)}`;
    }
  },

  append(events) {
    const added = new Map();
    let lines = '';
    const given = events.map((event) => {
      let version = versions.get(event.eventId) ?? added.get(event.eventId);
      if (version === undefined) {
        version = last + BigInt(added.size + 1);
        added.set(event.eventId, version);
        lines += line(event);
      }
      return version;
    });
    const results = given.map((version) => ({ tag: 'ok', val: version }));
    if (added.size === 0) return results;
    try {
      append(encoder.encode(lines));
    } catch (error) {
      if (error.tag) throw error;
      // None is appended after the first that fails, and the results of all behind it say so.
      const first = given.findIndex((version) => version > last);
      const retry = { tag: 'err', val: { tag: 'retry', val: { reason: `feed.jsonl: ${words(error)}` } } };
      return results.fill(retry, first);
    }
    for (const [id, version] of added) versions.set(id, version);
    last += BigInt(added.size);
    return results;
  },

  close() {
    file[Symbol.dispose]();
  },
};
