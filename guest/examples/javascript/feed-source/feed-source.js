// A feed in one file: line n of feed.jsonl is the event with control version n.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';

const decoder = new TextDecoder();

// The version of the last line that was read, and where the next one begins.
let version;
let offset;
let data;

export const about = {
  describe: () => ({
    version: '1.0.0',
    summary: 'a feed in one file',
    streams: [],
    settingsSchema: '{"type":"object","additionalProperties":false}',
    acknowledges: 'on-write',
    asks: [{ need: { tag: 'directory' }, required: true, reason: 'its file is there' }],
  }),
};

// Numbers of a feed have 64 bits, and JSON.parse would round them.
const exact = (key, value, { source } = {}) => (typeof value === 'number' ? BigInt(source ?? value) : value);

function event(text, controlVersion) {
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
function* lines(file, from) {
  let rest = new Uint8Array();
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

export const feedSource = {
  open() {
    data = getDirectories().find(([, path]) => path === '/data')?.[0];
    if (!data) throw 'no data directory was granted: write `grants.directory = true`';
    version = offset = 0n;
  },

  poll(since, max) {
    let file;
    try {
      // Opened anew each time: it may not be there yet, or be put in place of another.
      file = data.openAt({ symlinkFollow: true }, 'feed.jsonl', {}, { read: true });
    } catch (error) {
      if (error?.payload === 'no-entry') return [];
      throw { tag: 'retry', val: { reason: `feed.jsonl: ${error?.payload ?? error}` } };
    }
    if (since !== version) version = offset = 0n;
    const events = [];
    for (const [text, length] of lines(file, offset)) {
      if (events.length >= max) break;
      version += 1n;
      offset += length;
      if (version <= since) continue;
      try {
        events.push(event(text, version));
      } catch (error) {
        throw { tag: 'broken', val: `line ${version} of feed.jsonl: ${error?.message ?? error}` };
      }
    }
    return events;
  },

  close() {
    data = undefined;
  },
};
