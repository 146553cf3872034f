/** `--precision` through the built commands. */
import t from 'tap';
import { join } from 'node:path';
import type { EpochRecord } from '../src/train/history.js';
import { call } from './support/command.js';
import { readJsonLines } from './support/json-lines.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { half, name: adapter } = runtime.device.report;
runtime.device.close();

t.test('what cannot be meant is refused', async (t) => {
  const traced = await call('train', '--precision', 'mixed', '--debug-nan', '--out', t.testdir({}));
  t.equal(traced.code, 1);
  t.match(traced.errors, /--debug-nan stops at the first infinity.*use it with --precision float32/);
  const unknown = await call('train', '--precision', 'half');
  t.equal(unknown.code, 1);
  t.match(unknown.errors, /--precision.*float32, mixed/);
});

t.test('an adapter without float16 is refused', { skip: half ? `${adapter} has float16` : false }, async (t) => {
  const { code, errors } = await call('train', '--precision', 'mixed', '--out', t.testdir({}));
  t.equal(code, 1);
  t.match(errors, /--precision mixed: the adapter ".*" has no float16 in its shaders \(shader-f16\); use --precision float32/);
});

t.test('a run, and its evaluation in either precision', { skip: half ? false : `${adapter} has no float16` }, async (t) => {
  const out = t.testdir({});
  const small = ['--train-images', '16', '--test-images', '16', '--image-size', '32', '--batch-size', '8', '--attentions', '8', '--report-images', '0', '--workers', '0', '--epochs', '1'];
  const trained = await call('train', '--precision', 'mixed', '--out', out, ...small);
  t.equal(trained.code, 0, trained.errors);
  const [record] = readJsonLines(join(out, 'metrics.jsonl')) as EpochRecord[];
  t.same(record!.scaler, { scale: 65536, skipped: 0 });
  t.ok(Number.isFinite(record!.train.loss) && Number.isFinite(record!.eval!.loss));
  const evaluated = await call('eval', '--out', out, '--precision', 'float32', '--workers', '0');
  t.equal(evaluated.code, 0, evaluated.errors);
  t.match(evaluated.out, /refined/);
});
