/** A headless browser that opens one page, and what the page reports. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { EXAMPLE, LIBRARY, type PageTask, type Report } from './page-task.js';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const built = (name: string): string => readFileSync(fileURLToPath(new URL(name, import.meta.url)), 'utf8');

/** Chromium's path: environment `PIPIT_BROWSER`, or the first that is installed; '' where there is none. */
export const findBrowser = (): string =>
  process.env.PIPIT_BROWSER || (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((path) => existsSync(path)) || '';

/** Without a sandbox, which containers do not have. */
const FLAGS = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--no-first-run'];
/** WebGPU on Chromium's own software adapter, which it does not offer otherwise. */
const SOFTWARE_WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

/** Put behind a page that is opened: reports its text when it is ready. */
const REPORTER = `<script type="module">
  const tell = (report) => fetch('/report', { method: 'POST', body: JSON.stringify(report) });
  const ready = () => document.body.dataset.ready === 'true';
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 50));
  await tell({ kind: 'said', text: document.body.innerText });
  await tell({ kind: 'end' });
</script>`;

const typeOf = (path: string): string => (path.endsWith('.html') ? 'text/html' : path.endsWith('.js') ? 'text/javascript' : 'application/octet-stream');

/** A file of the task; a page gets the reporter. */
const fileOf = (path: string, content: Uint8Array): [type: string, body: string | Uint8Array] =>
  [typeOf(path), path.endsWith('.html') ? Buffer.from(content).toString() + REPORTER : content];

const answer = async (request: IncomingMessage, response: ServerResponse, task: PageTask, take: (report: Report) => void): Promise<void> => {
  if (request.url === '/report') take(JSON.parse(await text(request)) as Report);
  const path = request.url!.replace(/\?.*/, '');
  const [type, body] =
    task.files?.[path] !== undefined ? fileOf(path, task.files[path])
    : request.url === '/task' ? ['application/json', JSON.stringify(task)]
    : request.url === '/page.js' ? ['text/javascript', built('browser/page.js')]
    : request.url === EXAMPLE ? ['text/javascript', task.example ?? '']
    : request.url === LIBRARY ? ['text/javascript', built('../browser.js')]
    : ['text/html', '<!doctype html><script type="module" src="/page.js"></script>'];
  response.setHeader('content-type', type!).end(body);
};

/**
 * Opens the page in `browser` and collects its reports until it ends.
 *
 * @throws when the browser ends by itself, or the page reports nothing for `patienceMs`; the message has the browser's own words
 */
export const runPage = async (browser: string, task: PageTask, patienceMs: number, flags = SOFTWARE_WEBGPU): Promise<Report[]> => {
  const reports: Report[] = [];
  const profile = mkdtempSync(join(tmpdir(), 'pipit-browser-'));
  let [alive, said] = [Date.now(), ''];
  let finish = (): void => {};
  const finished = new Promise<void>((resolve) => { finish = resolve; });
  const server = createServer((request, response) => void answer(request, response, task, (report) => {
    reports.push(report);
    alive = Date.now();
    if (report.kind === 'end') finish();
  })).listen(0, 'localhost');
  await new Promise((resolve) => server.once('listening', resolve));
  const child = spawn(browser, [...FLAGS, ...flags, `--user-data-dir=${profile}`,
    `http://localhost:${(server.address() as AddressInfo).port}${task.page ?? '/'}`], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.setEncoding('utf8').on('data', (piece: string) => { said = `${said}${piece}`.slice(-4000); });
  const ended = new Promise<void>((resolve) => { child.once('close', () => resolve()); });
  child.once('error', (error) => { said += error.message; });
  const watch = setInterval(() => { if (Date.now() - alive > patienceMs) child.kill('SIGKILL'); }, 1000);
  await Promise.race([finished, ended]);
  clearInterval(watch);
  child.kill('SIGKILL');
  await ended;
  server.closeAllConnections();
  server.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  if (reports.at(-1)?.kind !== 'end') throw new Error(`the page fell silent after ${JSON.stringify(reports.at(-1) ?? 'nothing')}; the browser said: ${said}`);
  return reports;
};
