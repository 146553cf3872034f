// One library in a process of its own: reads requests as lines of JSON from stdin and answers on file descriptor 3, since
// libraries print to stdout. Usage: host.mjs LIBRARY. A library module exports
//   open()                 -> facts to report, such as the version and the adapter
//   prepare(row, inputs)   -> work, or an Error that says why it cannot do the row
//     work.launch()        issues the row's work once
//     work.wait()          resolves when all that was launched has finished
//     work.outputs()       -> {name: {shape, data}} of the last launch, in PyTorch's layout
//     work.release()
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { deviceErrors } from './webgpu.mjs';

const library = await import(`./${process.argv[2]}.mjs`);
let work = null;

const readInput = (file, shape) => {
  const bytes = readFileSync(file);
  return { shape, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) };
};

const release = async () => {
  await work?.release();
  work = null;
};

const commands = {
  open: () => library.open(),

  prepare: async ({ row, folder }) => {
    await release();
    const inputs = Object.fromEntries(Object.entries(row.inputs).map(([name, shape]) => [name, readInput(join(folder, name), shape)]));
    work = await library.prepare(row, inputs);
  },

  /** Times `repeats` launches, from the first until all have finished; processor time is that of all threads. */
  run: async ({ repeats }) => {
    const [start, used] = [performance.now(), process.cpuUsage()];
    for (let i = 0; i < repeats; i++) await work.launch();
    await work.wait();
    const ms = performance.now() - start;
    const { user, system } = process.cpuUsage(used);
    return { ms: ms / repeats, cpuMs: (user + system) / 1000 / repeats };
  },

  outputs: async ({ folder }) => {
    const outputs = await work.outputs();
    for (const [name, { data }] of Object.entries(outputs)) writeFileSync(join(folder, name), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return { shapes: Object.fromEntries(Object.entries(outputs).map(([name, { shape }]) => [name, shape])) };
  },

  release,
};

const answer = async ({ command, ...request }) => {
  try {
    const result = await commands[command](request);
    if (deviceErrors.length) throw new Error(`the device reported: ${deviceErrors.splice(0)[0]}`);
    return { ok: true, ...result };
  } catch (error) {
    return { ok: false, error: String(error?.message ?? error).split('\n')[0] };
  }
};

process.on('unhandledRejection', (error) => console.error(error));
// Reading stdin also keeps the event loop alive; with an empty one Node would first finish its background compilation.
for await (const line of createInterface({ input: process.stdin })) writeSync(3, `${JSON.stringify(await answer(JSON.parse(line)))}\n`);
process.exit(0);
