// Runs one test file as a process of its own and reads the TAP it prints.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';

const { Parser } = createRequire(createRequire(import.meta.url).resolve('tap/package.json'))('tap-parser');

/** Time a file gets to report its own timeout before it is ended. */
const GRACE_MS = 10_000;
const LONGEST_OUTPUT = 4000;
/** Lines every Dawn process prints about limits it lowers by itself. */
const NOISE = /^Warning: max\w+ artificially reduced.*\n?/gm;

const indent = (text) => text.trimEnd().split('\n').map((line) => `        ${line}`).join('\n');

/** A failed assertion as a person wants to read it: where, what differed, which line of the source. */
const describeFailure = ({ fullname, diag }) => {
  const at = diag?.at ? `${diag.at.fileName}:${diag.at.lineNumber}` : '';
  const parts = [diag?.diff, diag?.source, diag?.stack].filter((part) => typeof part === 'string' && part.trim());
  const rest = parts.length ? parts : [JSON.stringify(diag ?? {}, null, 1)];
  return [`      ${fullname}${at ? `  (${at})` : ''}`, ...rest.map(indent)].join('\n');
};

/** Why a file failed although no assertion did. */
const describeEnd = ({ status, signal, late, limitSeconds, parser, passed }) => {
  const reasons = [];
  if (late) reasons.push(`it was ended after ${limitSeconds} s`);
  else if (signal) reasons.push(`it was ended by ${signal}`);
  else if (status !== 0) reasons.push(`exit code ${status}`);
  const broken = parser.results?.failures?.find((failure) => failure.tapError)?.tapError;
  if (broken) reasons.push(broken);
  if (passed === 0) reasons.push('it made no assertion');
  return `      the file did not end well after ${passed} assertions: ${reasons.join(', ') || 'unknown reason'}`;
};

/**
 * @param {string} file path of the built test
 * @param {{ cwd: string, limitSeconds: number, env?: Record<string, string> }} options
 * @returns {Promise<{ file: string, passed: number, failed: number, seconds: number, report: string }>}
 *   `report` is '' when all is well
 */
export const runTapFile = (file, { cwd, limitSeconds, env = {} }) => new Promise((resolve) => {
  const start = performance.now();
  const parser = new Parser();
  const failures = [];
  let [passed, output, late] = [0, '', false];
  const keep = (text) => { output = (output + text).slice(-LONGEST_OUTPUT); };
  parser.on('result', (leaf) => { if (leaf.ok) passed += 1; else failures.push(describeFailure(leaf)); });
  const follow = (stream) => { stream.on('extra', keep); stream.on('child', follow); };
  follow(parser);
  const child = spawn(process.execPath, ['--enable-source-maps', file], { cwd, env: { ...process.env, ...env, TAP_TIMEOUT: String(limitSeconds) }, stdio: ['ignore', 'pipe', 'pipe'] });
  const alarm = setTimeout(() => { late = true; child.kill('SIGKILL'); }, limitSeconds * 1000 + GRACE_MS);
  child.stdout.setEncoding('utf8').on('data', (text) => parser.write(text));
  child.stderr.setEncoding('utf8').on('data', keep);
  child.on('close', (status, signal) => {
    clearTimeout(alarm);
    parser.end();
    const well = status === 0 && parser.results?.ok && passed + failures.length > 0;
    if (!well && failures.length === 0) failures.push(describeEnd({ status, signal, late, limitSeconds, parser, passed }));
    const shown = output.replace(NOISE, '').trim();
    const report = failures.length === 0 ? '' : [...failures, ...(shown ? ['      its output:', indent(shown)] : [])].join('\n');
    resolve({ file, passed, failed: failures.length, seconds: (performance.now() - start) / 1000, report });
  });
});
