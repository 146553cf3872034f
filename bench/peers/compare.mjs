// Pipit beside other libraries, in turns on one adapter. See README.md, or `npm start -- --help`.
import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { prepareVulkanEnvironment } from '../../src/device/vulkan-env.mjs';
import { outputComplaint } from '../../src/io/outputs.mjs';
import { measureRow } from './src/measure.mjs';
import { Peer, PEERS } from './src/peer.mjs';
import { markdown, progressLine, summaryLines } from './src/report.mjs';
import { rows } from './src/rows.mjs';
import { compareRow, summarise } from './src/statistics.mjs';

const HELP = `Usage: npm start -- [options]
  --rows PATTERN     only rows whose name matches (a regular expression); --list prints the names
  --peers NAME,...   of ${Object.keys(PEERS).join(', ')}; default: all that are there
  --rounds N         turns of each peer per row (default 5)
  --slow SECONDS     work that takes longer gets 3 rounds, beyond four times that a single one (default 5)
  --quick            one shape of each kind
  --spin             let TensorFlow.js and jax-js wait as Node does by itself, spinning (default: they nap, as Pipit does)
  --adapter NAME     lavapipe, swiftshader or a part of the adapter's name (default: the best one)
  --json FILE        write all figures to this file
  --markdown FILE    write the tables to this file
  --list             print the rows and end`;

class UsageError extends Error {}

const options = {
  rows: { type: 'string' }, peers: { type: 'string' }, rounds: { type: 'string', default: '5' }, slow: { type: 'string', default: '5' },
  quick: { type: 'boolean', default: false }, spin: { type: 'boolean', default: false }, adapter: { type: 'string', default: process.env.PIPIT_ADAPTER ?? '' },
  json: { type: 'string' }, markdown: { type: 'string' }, list: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
};

const parse = () => {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    throw new UsageError(`${error.message}\n${HELP}`, { cause: error });
  }
};

const positive = (values, name) => {
  const value = Number(values[name]);
  if (!(value >= 1 && value < Infinity)) throw new UsageError(`--${name} must be a number of at least 1, got "${values[name]}"`);
  return value;
};

const rounds = (values) => {
  const value = positive(values, 'rounds');
  if (!Number.isSafeInteger(value)) throw new UsageError(`--rounds must be a whole number, got "${values.rounds}"`);
  return value;
};

const pattern = (text) => {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new UsageError(`--rows: ${error.message}`, { cause: error });
  }
};

const chooseRows = (values) => {
  const wanted = pattern(values.rows ?? '');
  const chosen = rows.filter(({ id, quick }) => wanted.test(id) && (quick || !values.quick));
  if (chosen.length === 0) throw new UsageError(`--rows: no row matches "${values.rows}"; --list prints them`);
  return chosen;
};

const choosePeers = (text) => {
  const names = text?.split(',').map((name) => name.trim()) ?? Object.keys(PEERS);
  const unknown = names.find((name) => !Object.hasOwn(PEERS, name));
  if (unknown !== undefined) throw new UsageError(`--peers: there is no peer "${unknown}"; known: ${Object.keys(PEERS).join(', ')}`);
  return Object.keys(PEERS).filter((name) => names.includes(name));
};

/** Starts the peers one after the other; one that is not there is left out, with its reason. */
const startPeers = async (names) => {
  const started = [];
  for (const name of names) {
    const peer = new Peer(name);
    try {
      const { ok: _, ...facts } = await peer.ask('open');
      Object.assign(peer, { facts });
      console.log(`${peer.title}: ${Object.entries(facts).map(([key, value]) => `${key} ${value}`).join(', ')}`);
      started.push(peer);
    } catch (error) {
      console.log(`${peer.title}: left out, ${error.message}`);
      peer.close();
    }
  }
  if (started.length === 0) throw new UsageError('No peer could be started, so there is nothing to compare; the reasons stand above.');
  return started;
};

const checkAdapters = (peers) => {
  const adapters = new Set(peers.map(({ facts }) => facts.adapter).filter(Boolean));
  if (adapters.size > 1) throw new UsageError(`The peers run on different adapters: ${[...adapters].join('; ')}. Choose one with --adapter.`);
};

/** Measures row after row; `save` sees all results so far, so that a run that is interrupted has not been for nothing. */
const runRows = async (chosen, peers, settings, save) => {
  const results = [];
  for (const row of chosen) {
    const measured = await measureRow(row, peers, settings);
    const result = { id: row.id, group: row.group, flops: row.flops ?? 0, images: row.images ?? 0, ...measured };
    results.push({ ...result, comparison: compareRow(result, peers) });
    console.log(progressLine(results.at(-1), peers));
    save(results);
  }
  return results;
};

const describeRun = (peers, rounds) => ({
  command: ['npm start', ...(process.argv.length > 2 ? ['--'] : []), ...process.argv.slice(2)].join(' '), rounds,
  machine: { processor: cpus()[0]?.model.trim() ?? 'unknown processor', cores: availableParallelism(), node: process.version, date: new Date().toISOString().slice(0, 10) },
  peers: peers.map(({ name, title, webgpu, facts }) => ({ name, title, webgpu, facts })),
});

/** Written beside it first: a run that is ended meanwhile leaves the file as it was. */
const replaceFile = (path, content) => {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
};

const writeReports = (run, values) => {
  if (values.json) replaceFile(values.json, `${JSON.stringify(run, null, 1)}\n`);
  if (values.markdown) replaceFile(values.markdown, markdown(run));
};

/** A folder that goes with this process, however it ends. */
const temporaryFolder = () => {
  const folder = mkdtempSync(join(tmpdir(), 'pipit-peers-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
  return folder;
};

const compare = async (values, chosen) => {
  if (!existsSync(new URL('../../dist/index.js', import.meta.url))) throw new UsageError('Pipit is not built; run "npm ci && npm run build" in its own folder first.');
  const settings = { rounds: rounds(values), slowSeconds: positive(values, 'slow') };
  const names = choosePeers(values.peers);
  const complaint = outputComplaint({ '--json': values.json, '--markdown': values.markdown });
  if (complaint) throw new UsageError(complaint);
  prepareVulkanEnvironment(values.adapter);
  if (values.adapter) process.env.PIPIT_ADAPTER = values.adapter;
  if (values.spin) process.env.PEERS_SPIN = '1';
  const folder = temporaryFolder();
  const peers = await startPeers(names);
  try {
    checkAdapters(peers);
    const base = describeRun(peers, settings.rounds);
    const write = (soFar) => writeReports({ ...base, results: soFar, summary: summarise(soFar) }, values);
    const results = await runRows(chosen, peers, { ...settings, folder }, write);
    console.log(`\nPipit over the fastest WebGPU peer of each row:\n${summaryLines(summarise(results)).join('\n')}`);
  } finally {
    for (const peer of peers) peer.close();
  }
};

try {
  const values = parse();
  // npm changes to the package's folder; files are meant where the command was given.
  if (process.env.INIT_CWD) process.chdir(process.env.INIT_CWD);
  const chosen = chooseRows(values);
  if (values.help) console.log(HELP);
  else if (values.list) console.log(chosen.map(({ id }) => id).join('\n'));
  else await compare(values, chosen);
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
}
