// Appends usage to usage.jsonl, and to tenants.jsonl how many records each tenant had since the
// flush before.

import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import type { Descriptor } from 'wasi:filesystem/types@0.2.12';
import type * as About from 'wasink:plugin/about@0.1.0';
import type { Failure } from 'wasink:plugin/lifecycle@0.1.0';
import { write as log } from 'wasink:plugin/log@0.1.0';
import type * as Sink from 'wasink:plugin/sink@0.1.0';

const encoder = new TextEncoder();

let usage: Lines;
let tenants: Lines;
let counts: Map<string, number>;

export const about: typeof About = {
  describe: () => ({
    version: '1.0.0',
    summary: 'usage as JSON Lines, and how many records each tenant had',
    streams: ['usage'],
    settingsSchema: '{"type":"object","additionalProperties":false}',
    acknowledges: 'on-flush',
    dedupWindow: undefined,
    acceptanceWindow: undefined,
    asks: [{ need: { tag: 'directory' }, required: true, reason: 'keeps its files there' }],
  }),
};

// A file of lines that is appended to. There is no `node:fs` here: WASI's own calls are used.
class Lines {
  private file: Descriptor;

  constructor(private name: string) {
    const data = getDirectories().find(([, path]) => path === '/data');
    if (!data) throw 'no data directory was granted: write `grants.directory = true`';
    try {
      this.file = data[0].openAt({ symlinkFollow: true }, name, { create: true }, { read: true, write: true });
      this.cutHalfLine();
    } catch (error) {
      throw `${name}: ${words(error)}`;
    }
  }

  // Half a line at the end is of a write that was cut off: it was never acknowledged, and its record
  // comes again.
  private cutHalfLine(): void {
    const length = this.file.stat().size;
    let whole = length;
    while (whole > 0n && this.file.read(1n, whole - 1n)[0][0] !== 10) whole -= 1n;
    if (whole < length) this.file.setSize(whole);
  }

  // Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
  append(lines: Uint8Array, durable: boolean): void {
    try {
      // Asked for each time: another version of this plugin may append to the same file.
      const begin = this.file.stat().size;
      try {
        for (let end = begin; lines.length > 0;) {
          const written = this.file.write(lines, end);
          end += written;
          lines = lines.subarray(Number(written));
        }
        if (durable) this.file.syncData();
      } catch (error) {
        this.cut(begin);
        throw error;
      }
    } catch (error: any) {
      throw error.tag ? error : this.retry(error);
    }
  }

  sync(): void {
    try {
      this.file.syncData();
    } catch (error) {
      throw this.retry(error);
    }
  }

  close(): void {
    this.file[Symbol.dispose]();
  }

  private cut(length: bigint): void {
    try {
      this.file.setSize(length);
    } catch (error) {
      // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
      throw this.broken(error);
    }
  }

  // What is thrown is the error of the contract's result.
  private broken(error: unknown): Failure {
    return { tag: 'broken', val: `${this.name}: ${words(error)}` };
  }

  // It may pass: the same again.
  private retry(error: unknown): Failure {
    return { tag: 'retry', val: { after: undefined, reason: `${this.name}: ${words(error)}` } };
  }
}

const words = (error: any): string => String(error?.payload ?? error?.message ?? error);

// As UTF-8 sorts, and every other language: JavaScript's own order is by UTF-16.
function byBytes(one: string, other: string): number {
  const [a, b] = [encoder.encode(one), encoder.encode(other)];
  const at = a.findIndex((byte, index) => byte !== b[index]);
  return at < 0 ? a.length - b.length : a[at] - (b[at] ?? -1);
}

export const sink: typeof Sink = {
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
    const lines = [...counts.keys()].sort(byBytes).map((tenant) =>
      `${JSON.stringify({ tenant, records: counts.get(tenant) })}\n`);
    tenants.append(encoder.encode(lines.join('')), true);
    // Only now: a flush that fails is asked for again.
    counts.clear();
  },

  close() {
    usage.close();
    tenants.close();
  },
};
