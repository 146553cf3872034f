import t from 'tap';
import { DecodePool } from '../src/data/decode-pool.js';
import { fixture } from './data-helpers.js';

// Never closed, on purpose: this file passes by ending (data-loader.test.ts runs it with a short time limit).
t.test('an idle pool does not keep the process alive', async (t) => {
  const pool = new DecodePool({ workers: 2 });
  const { width, height } = await pool.decode({ path: fixture('images', 'grey.jpg') });
  t.same([width, height], [24, 16]);
});
