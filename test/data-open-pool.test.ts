import { join } from 'node:path';
import t from 'tap';
import { DecodePool } from '../src/data/decode-pool.js';
import { fixture } from './data-helpers.js';

// Never closed, on purpose: this file passes by ending (data-loader.test.ts runs it with a short time limit).
t.test('an idle pool does not keep the process alive', async (t) => {
  const pool = new DecodePool({ workers: 2 });
  const { width, height } = await pool.decode({ path: fixture('images', 'grey.jpg') });
  t.same([width, height], [24, 16]);
});

t.test('nor does one whose worker has died, or one that is closed', async (t) => {
  const dir = t.testdir({ 'exits.mjs': "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => process.exit(7));",
    'hangs.mjs': "import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => { for (;;); });" });
  const [exits, hangs] = ['exits.mjs', 'hangs.mjs'].map((file) => new DecodePool({ workers: 1, workerFile: join(dir, file) })) as [DecodePool, DecodePool];
  await t.rejects(exits.decode({ path: 'a' }), /exit code 7/);
  const waiting = t.rejects(hangs.decode({ path: 'a' }), /closed/);
  await hangs.close();
  await waiting;
});
