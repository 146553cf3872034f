// One row: every peer computes it, its result is checked, and then they take turns.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { count, makeInputs } from './numbers.mjs';
import { sampledReference } from './reference.mjs';
import { CHECKED_STEPS } from './rows.mjs';
import { median } from './statistics.mjs';

/** A turn repeats short work until it lasts this long. */
const TURN_MS = 100;
const MOST_REPEATS = 50;
/** Threads that spin a moment before they sleep are given that moment. */
const PAUSE_MS = 15;
/** Work slower than this gets fewer rounds, and a single one beyond the second limit. */
const SLOW_ROUNDS = 3;

/**
 * Errors allowed, relative to the largest value: float32 rounds sums of up to 50,000 terms to some 1e-6 of their scale, and
 * Winograd's transforms a few times more. Losses feed their rounding back through batch norm and the steps before.
 */
const TOLERANCE = { operation: 2e-5, losses: 1e-3 };

const writeInputs = (inputs, folder) => {
  mkdirSync(folder, { recursive: true });
  for (const [name, { data }] of Object.entries(inputs)) writeFileSync(join(folder, name), new Uint8Array(data.buffer));
};

const readOutput = (folder, name) => {
  const bytes = readFileSync(join(folder, name));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
};

/** Largest difference relative to the largest expected value; NaN where something is not a number. */
const relativeError = (pairs) => {
  let [difference, scale] = [0, 0];
  for (const [actual, expected] of pairs) {
    const d = Math.abs(actual - expected);
    if (!(d <= difference)) difference = d;
    scale = Math.max(scale, Math.abs(expected));
  }
  return difference / scale;
};

const fetchOutputs = async (peer, row, folder) => {
  mkdirSync(folder, { recursive: true });
  const { shapes } = await peer.ask('outputs', { folder });
  return Object.fromEntries(Object.entries(row.outputs).map(([name, shape]) => {
    const data = readOutput(folder, name);
    if (data.length !== count(shape)) throw new Error(`${name} is [${shapes[name]}] instead of [${shape}]`);
    return [name, data];
  }));
};

/** Against float64 at some elements where there is such a reference, and against the first peer's result at all of them. */
const errorOf = (outputs, reference, first) => Math.max(...Object.entries(outputs).flatMap(([name, data]) => [
  ...(reference ? [relativeError(reference[name].map(({ at, value }) => [data[at], value]))] : []),
  ...(first ? [relativeError(function* pairs() { for (let i = 0; i < data.length; i++) yield [data[i], first[name][i]]; }())] : []),
]));

/** Prepares, computes once (that is when shaders are compiled) and checks. */
const admit = async (peer, row, folder, reference, first) => {
  await peer.ask('prepare', { row, folder });
  const { ms: firstMs } = await peer.ask('run', { repeats: 1 });
  if (row.op === 'trainStep') await peer.ask('run', { repeats: CHECKED_STEPS - 1 });
  const outputs = await fetchOutputs(peer, row, join(folder, peer.name));
  const error = errorOf(outputs, reference, first);
  const allowed = reference ? TOLERANCE.operation : TOLERANCE.losses;
  if (!(error <= allowed)) throw Object.assign(new Error(`wrong: error ${error.toExponential(1)}, at most ${allowed} is allowed`), { wrong: error });
  return { cell: { firstMs, error, wall: [], cpu: [] }, outputs };
};

/** How often a turn repeats the work, and how many rounds it takes part in. */
const plan = async (peer, rounds, slowSeconds) => {
  const { ms } = await peer.ask('run', { repeats: 1 });
  const repeats = Math.max(1, Math.min(MOST_REPEATS, Math.ceil(TURN_MS / ms)));
  if (repeats > 1) await peer.ask('run', { repeats });
  const slow = ms > 4 * slowSeconds * 1000 ? 1 : ms > slowSeconds * 1000 ? Math.min(rounds, SLOW_ROUNDS) : rounds;
  return { repeats, rounds: slow };
};

const turn = async (peer, cell) => {
  const { ms, cpuMs } = await peer.ask('run', { repeats: cell.repeats });
  cell.wall.push(ms);
  cell.cpu.push(cpuMs);
  await sleep(PAUSE_MS);
};

/** Runs `work` for a peer; what it throws ends the peer's part in this row and is kept as the reason. */
const orRefuse = async (cells, peer, work) => {
  try {
    return await work();
  } catch (error) {
    cells[peer.name] = { refused: error.message, ...(error.wrong === undefined ? {} : { error: error.wrong }) };
    return null;
  }
};

/**
 * @param {import('./peer.mjs').Peer[]} peers
 * @param {{rounds: number, slowSeconds: number, folder: string}} options
 * @returns {Promise<{load: number, cells: Record<string, object>}>} per peer its times by round, or why it did not take part
 */
export const measureRow = async (row, peers, { rounds, slowSeconds, folder }) => {
  const inputs = makeInputs(row);
  writeInputs(inputs, folder);
  const reference = sampledReference(row, inputs);
  const cells = {};
  const loads = [];
  let [first, active] = [null, []];
  for (const peer of peers) {
    const admitted = await orRefuse(cells, peer, () => admit(peer, row, folder, reference, first));
    if (!admitted) continue;
    first ??= admitted.outputs;
    const planned = await orRefuse(cells, peer, () => plan(peer, rounds, slowSeconds));
    if (!planned) continue;
    cells[peer.name] = { ...admitted.cell, ...planned };
    active.push(peer);
  }
  for (let round = 0; round < rounds; round++) {
    loads.push(loadavg()[0]);
    for (const peer of active.filter(({ name }) => cells[name].rounds > round)) await orRefuse(cells, peer, () => turn(peer, cells[peer.name]));
    active = active.filter(({ name }) => !cells[name].refused);
  }
  for (const peer of active) await orRefuse(cells, peer, () => peer.ask('release'));
  rmSync(folder, { recursive: true, force: true });
  return { load: median(loads), cells };
};
