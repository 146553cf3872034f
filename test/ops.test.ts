/**
 * Every op record: forward against float64, gradient against finite differences, on this machine's adapter.
 * `PIPIT_OPS=conv2d,add` checks some of them, `PIPIT_OPS=-conv2d` all others; `PIPIT_PRECISION=mixed` stores the inputs of all ops that take float16
 * as float16.
 */
import t from 'tap';
import { unproved, verifyCase } from '../src/autograd/verify.js';
import { attentionPoolOp, batchNorm2dOp, conv2dOp } from '../src/ops/index.js';
import { inHalf, type OpCase, provingCases } from '../src/ops/cases.js';
import type { Op } from '../src/ops/op.js';
import { ops } from '../src/ops/registry.js';
import { quadCount } from '../src/tensor/shape.js';
import { guardResults } from './support/guards.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const strayed = guardResults(runtime);
const named = (process.env.PIPIT_OPS ?? '').split(',').filter(Boolean);
const without = named.filter((name) => name.startsWith('-')).map((name) => name.slice(1));
const only = named.filter((name) => !name.startsWith('-'));
const isChecked = (name: string): boolean => !without.includes(name) && (only.length === 0 || only.includes(name));
const mixed = process.env.PIPIT_PRECISION === 'mixed';
if (mixed && !runtime.device.report.half) t.bailout(`PIPIT_PRECISION=mixed: "${runtime.device.report.name}" has no float16`);

const stored = ({ precision = 'float32' }: Op, opCase: OpCase): OpCase => (mixed && precision !== 'float32' ? inHalf(opCase) : opCase);

t.test('records are complete', async (t) => {
  const names = ops.map(({ name }) => name);
  t.same(names.filter((name, i) => names.indexOf(name) !== i), [], 'no name stands twice');
  t.same([...only, ...without].filter((name) => !names.includes(name)), [], 'PIPIT_OPS names ops');
  const costOf = ({ cost, infer }: Op, { shapes, attrs }: OpCase) => {
    const result = infer(shapes, attrs);
    return { ...cost(shapes, attrs, result), most: 4 * 16 * [...shapes, result].reduce((sum, shape) => sum + quadCount(shape), 0) };
  };
  for (const op of ops) {
    t.equal(unproved(op), null, `${op.name} has cases that prove it, and its gradient`);
    // In whole vec4f, and not more than four times all there is: norms read their input twice, and pictures may overlap.
    const odd = op.cases.filter((opCase) => {
      const { flops, bytes, most } = costOf(op, opCase);
      return !(flops >= 0 && flops < Infinity && bytes > 0 && bytes <= most);
    });
    t.same(odd.map(({ name }) => name), [], `${op.name} counts bytes and arithmetic that can be`);
  }
});

t.test('costs, counted by hand', async (t) => {
  const plain = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 } as const;
  t.same(conv2dOp.cost([[1, 4, 5, 3], [3, 3, 3, 2]], plain, [1, 2, 3, 2]), { flops: 2 * (6 * 2) * (9 * 3), bytes: 16 * (20 + 27 + 6) },
    'a product and a sum for each tap and channel of each result');
  const pooled = [[1, 2, 2, 5], [1, 2, 2, 3]];
  t.equal(attentionPoolOp.backwardCost!(pooled, { pool: 'GAP' }).flops, 2 * 2 * (4 * 3 * 5), 'for the gradients of both operands');
  t.equal(attentionPoolOp.backwardCost!(pooled, { pool: 'GMP' }).flops, 2 * 2 * (3 * 5), 'at the maxima alone');
  const normed = (training: boolean) => batchNorm2dOp.backwardCost!([[2, 3, 2, 5]], { training, momentum: 0.1, eps: 1e-5, activation: 'none' }).bytes;
  t.same([normed(true), normed(false)], [5 * 16 * 24, 3 * 16 * 24], 'input and gradient are read, in training twice; one result is written');
});

for (const op of ops) {
  if (!isChecked(op.name)) continue;
  await t.test(op.name, async (t) => {
    for (const opCase of provingCases(op, runtime.device.report).map((c) => stored(op, c))) {
      const verdicts = await verifyCase(runtime, op, opCase);
      verdicts.forEach(({ passed, error, tolerance, note }, i) => {
        t.ok(passed, `${opCase.name}: ${i === 0 ? 'forward' : 'gradient'} error ${error.toExponential(1)} (at most ${tolerance}), ${note}`);
      });
      t.same(await strayed(), [], `${opCase.name}: no kernel writes past the end of its results`);
    }
  });
}
runtime.device.close();
