// A feed in one file: line n of feed.jsonl is the event with control version n.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

// The version of each event, by its id.
let versions;
let file;
let length;

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
  let text = '';
  for (let offset = 0n, ended = false; !ended;) {
    const [bytes, last] = file.read(65536n, offset);
    text += decoder.decode(bytes, { stream: true });
    offset += BigInt(bytes.length);
    ended = last || bytes.length === 0;
  }
  return text + decoder.decode();
}

// Appends all of it and makes it durable, or nothing.
function append(lines) {
  let end = length;
  try {
    while (lines.length > 0) {
      const written = file.write(lines, end);
      end += written;
      lines = lines.subarray(Number(written));
    }
    file.syncData();
  } catch (error) {
    file.setSize(length);
    throw error;
  }
  length = end;
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
    try {
      file = data[0].openAt({ symlinkFollow: true }, 'feed.jsonl', { create: true }, { read: true, write: true });
      // What is behind the last whole line was cut off while it was written, and not acknowledged.
      const lines = readAll().split('\n');
      const cut = encoder.encode(lines.pop()).length;
      length = file.stat().size - BigInt(cut);
      file.setSize(length);
      lines.forEach((text, index) => {
        try {
          const id = JSON.parse(text).event_id;
          if (typeof id !== 'string') throw 'it has no `event_id`';
          versions.set(id, BigInt(index + 1));
        } catch (error) {
          throw `line ${index + 1}: ${words(error)}`;
        }
      });
    } catch (error) {
      throw `feed.jsonl: ${words(error)}`;
    }
  },

  append(events) {
    const known = BigInt(versions.size);
    let lines = '';
    const results = events.map((event) => {
      if (!versions.has(event.eventId)) {
        versions.set(event.eventId, BigInt(versions.size + 1));
        lines += line(event);
      }
      return { tag: 'ok', val: versions.get(event.eventId) };
    });
    try {
      append(encoder.encode(lines));
    } catch (error) {
      for (const [id, version] of versions) if (version > known) versions.delete(id);
      const failed = { tag: 'err', val: { tag: 'retry', val: { reason: `feed.jsonl: ${words(error)}` } } };
      return results.map((result) => (result.val > known ? failed : result));
    }
    return results;
  },

  close() {
    file = undefined;
  },
};
