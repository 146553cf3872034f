/** Smoke test: adapter, one add, one matmul, one backward, and the example of the public surface. Runs in seconds. */
import t from 'tap';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { add, backward, matmul, memoryReport, open, scope, sum, tensor } from '../src/index.js';
import { runNode } from './support/command.js';
import { checkLearning, documentedExample } from './support/example.js';

/** The built public surface, one folder above the built tests. */
const library = new URL('../index.js', import.meta.url).href;
const folder = mkdtempSync(join(tmpdir(), 'pipit-tiny-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a script of its own as a process; it is ended after `limit` seconds. */
const runScript = (name: string, text: string, limit: number, flags: string[] = []): ReturnType<typeof runNode> => {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, text);
  return runNode([...flags, file], limit);
};

t.test('one add, one matmul, one backward', async (t) => {
  const runtime = await open();
  const { name, driverClass, software, subgroupSize, features } = runtime.device.report;
  const { maxStorageBufferBindingSize, maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupStorageSize } = runtime.device.limits;
  t.comment(`adapter: ${name} (${driverClass}${software ? ', software' : ''}), ${runtime.gemm.kind} kernels, subgroups of ${subgroupSize || 'no fixed size'}`);
  t.comment(`limits: binding ${maxStorageBufferBindingSize}, invocations ${maxComputeInvocationsPerWorkgroup}, workgroup memory ${maxComputeWorkgroupStorageSize}`);
  t.comment(`features: ${features.join(', ')}`);
  t.ok(name, 'the adapter has a name');
  await scope(async () => {
    const a = tensor([[1, 2, 3], [4, 5, 6]]).requiresGrad_();
    const b = tensor([[1, 0], [-1, 2], [0.5, 1]]);
    t.strictSame([...await add(a, tensor([10, 20, 30])).data()], [11, 22, 33, 14, 25, 36], 'add with broadcasting');
    const product = matmul(a, b);
    t.strictSame([...await product.data()], [0.5, 7, 2, 16], 'matmul');
    backward(sum(product));
    t.strictSame([...await a.grad!.data()], [1, 1, 1.5, 1, 1, 1.5], 'gradient: the rows of b summed');
    a.grad!.release();
  });
  t.equal(memoryReport().liveBuffers, 0, 'the scope gave all memory back');
  runtime.device.close();
});

t.test('the example of the documentation runs', async (t) => {
  const { code, out, errors } = await runScript('example', documentedExample(library), 180);
  t.equal(code, 0, errors);
  checkLearning(t, out);
});

const work = `import { open, tensor, matmul, backward, sum, scope } from ${JSON.stringify(library)};
const runtime = await open();
const step = () => scope(async () => {
  const x = tensor(new Float32Array(64 * 64).fill(0.5), [64, 64]).requiresGrad_();
  const y = sum(matmul(x, x));
  backward(y);
  x.grad.release();
  return y.item();
});
`;

t.test('an open device neither keeps the process alive nor burns a core', async (t) => {
  const { code, signal, out, seconds } = await runScript('never-closed', `${work}
await step();
const [before, start] = [process.cpuUsage(), performance.now()];
await new Promise((resolve) => setTimeout(resolve, 1500));
const used = process.cpuUsage(before);
console.log(JSON.stringify({ idle: (used.user + used.system) / 1000 / (performance.now() - start) }));
`, 120);
  t.strictSame([code, signal], [0, null], `it ended by itself after ${seconds.toFixed(1)} s`);
  const { idle } = JSON.parse(out) as { idle: number };
  // Waiting by spinning would use one whole core; timers and the driver's idle threads use next to nothing.
  t.ok(idle < 0.15, `while nothing was to do it used ${(100 * idle).toFixed(1)} % of a core`);
});

t.test('the garbage collector cannot take the device away', async (t) => {
  const { code, signal, out, errors } = await runScript('collected', `${work}
let last = 0;
for (let i = 0; i < 12; i++) {
  const pending = step();
  globalThis.gc();
  last = await pending;
  for (let k = 0; k < 3; k++) { globalThis.gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
}
console.log(last);
`, 60, ['--expose-gc']);
  t.strictSame([code, signal], [0, null], errors);
  t.equal(Number(out), 64 * 64 * 64 * 0.25);
});
