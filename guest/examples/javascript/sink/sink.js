// Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
// flush before.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import { write as log } from 'wasink:plugin/log@0.1.0';

const encoder = new TextEncoder();

let usage, tenants, counts;

export const about = {
  describe: () => ({
    version: '1.0.0',
    summary: 'usage as JSON Lines, and how many records each tenant had',
    streams: ['usage'],
    settingsSchema: '{"type":"object","additionalProperties":false}',
    acknowledges: 'on-flush',
    asks: [{ need: { tag: 'directory' }, required: true, reason: 'keeps its files there' }],
  }),
};

// A file of lines that is appended to. There is no `node:fs` here: WASI's own calls are used.
class Lines {
  constructor(name) {
    this.name = name;
    const data = getDirectories().find(([, path]) => path === '/data');
    if (!data) throw 'no data directory was granted: write `grants.directory = true`';
    try {
      this.file = data[0].openAt({ symlinkFollow: true }, name, { create: true }, { read: true, write: true });
      this.length = this.file.stat().size;
      this.#cutHalfLine();
    } catch (error) {
      throw `${name}: ${words(error)}`;
    }
  }

  // Half a line at the end is of a write that was cut off: it was never acknowledged, and its record
  // comes again.
  #cutHalfLine() {
    let whole = this.length;
    while (whole > 0n && this.file.read(1n, whole - 1n)[0][0] !== 10) whole -= 1n;
    if (whole < this.length) this.file.setSize(whole);
    this.length = whole;
  }

  // Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
  append(lines, durable) {
    let end = this.length;
    try {
      while (lines.length > 0) {
        const written = this.file.write(lines, end);
        end += written;
        lines = lines.subarray(Number(written));
      }
      if (durable) this.file.syncData();
    } catch (error) {
      this.file.setSize(this.length);
      throw this.retry(error);
    }
    this.length = end;
  }

  sync() {
    try {
      this.file.syncData();
    } catch (error) {
      throw this.retry(error);
    }
  }

  // It may pass: the same again. What is thrown is the error of the contract's result.
  retry(error) {
    return { tag: 'retry', val: { reason: `${this.name}: ${words(error)}` } };
  }
}

const words = (error) => error?.payload ?? error?.message ?? error;

export const sink = {
  open() {
    usage = new Lines('usage.jsonl');
    tenants = new Lines('tenants.jsonl');
    counts = new Map();
    log('info', 'open', [['file', { tag: 'text', val: 'usage.jsonl' }]]);
  },

  write(batch) {
    const { values, codes } = batch.usageColumns().tenant;
    usage.append(batch.encode('jsonl'), false);
    // A tenant is a small number here. Its name is looked up once a batch, not once a record.
    const records = new Uint32Array(values.length);
    for (let row = 0; row < codes.length; row++) records[codes[row]]++;
    values.forEach((tenant, code) => {
      if (records[code] > 0) counts.set(tenant, (counts.get(tenant) ?? 0) + records[code]);
    });
    return [];
  },

  flush() {
    if (counts.size === 0) return;
    usage.sync();
    const lines = [...counts.keys()].sort().map((tenant) =>
      `${JSON.stringify({ tenant, records: counts.get(tenant) })}\n`);
    tenants.append(encoder.encode(lines.join('')), true);
    // Only now: a flush that fails is asked for again.
    counts.clear();
  },

  close() {
    usage = tenants = undefined;
  },
};
