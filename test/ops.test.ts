/** Every op record: forward against float64, gradient against finite differences, on this machine's adapter. */
import t from 'tap';
import { gradientMode, verifyForward, verifyGradient } from '../src/autograd/verify.js';
import { ops } from '../src/ops/registry.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const only = process.env.PIPIT_OPS?.split(',');

for (const op of ops) {
  if (only && !only.includes(op.name)) continue;
  await t.test(op.name, async (t) => {
    for (const opCase of op.cases) {
      if (opCase.bench) continue;
      const forward = await verifyForward(runtime, op, opCase);
      t.ok(forward.passed, `${opCase.name}: forward error ${forward.error.toExponential(1)} (at most ${forward.tolerance}), ${forward.note}`);
      if (gradientMode(op, opCase) === 'none') continue;
      const gradient = await verifyGradient(runtime, op, opCase);
      t.ok(gradient.passed, `${opCase.name}: gradient error ${gradient.error.toExponential(1)} (at most ${gradient.tolerance}), ${gradient.note}`);
    }
  });
}
runtime.device.close();
