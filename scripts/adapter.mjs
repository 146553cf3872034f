// Finds a WebGPU adapter in a child process and, on Debian as root, provides a software driver where there is none.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installArguments, parseAptSources, parseOsRelease, parsePolicy, planInstall, shellCommand } from './apt.mjs';

const PROBE = fileURLToPath(new URL('probe-adapter.mjs', import.meta.url));
const PROBE_LIMIT_MS = 120_000;
const MARK = 'PIPIT_PROBE ';
/** Lines of apt's output worth showing. */
const LOG_LINES = 12;

/** What the probe's child process came to, also when it crashed or hung. */
export function interpretProbe({ status, signal, stdout, stderr, error }) {
  const line = String(stdout ?? '').split('\n').find((l) => l.startsWith(MARK));
  if (line) return JSON.parse(line.slice(MARK.length));
  if (error?.code === 'ETIMEDOUT') return { kind: 'crashed', detail: `no answer within ${PROBE_LIMIT_MS / 1000} s` };
  const reason = signal ? `signal ${signal}` : `exit code ${status}`;
  return { kind: 'crashed', detail: `${reason}${stderr ? `: ${String(stderr).trim().split('\n').at(-1)}` : ''}` };
}

const probeAdapter = (wanted) =>
  interpretProbe(spawnSync(process.execPath, [PROBE, wanted], { encoding: 'utf8', timeout: PROBE_LIMIT_MS }));

/** Does the adapter found satisfy the wish (`lavapipe`, `swiftshader`, part of its name, or '' for any)? */
export const satisfies = (found, wanted) =>
  found.kind === 'found' && `${found.software} ${found.vendor} ${found.name}`.toLowerCase().includes(wanted.toLowerCase());

/** Why the native binary could not be loaded, and what helps. */
export function loadRemedy(detail) {
  const glibc = /version `(GLIBC(?:XX)?_[\d.]+)' not found/.exec(detail)?.[1];
  if (glibc) return `The WebGPU binary needs a newer C library (${glibc}). Use Debian 12, Ubuntu 22.04 or a newer system.`;
  const library = /(lib[\w+.-]+\.so[\w.]*): cannot open shared object/.exec(detail)?.[1];
  if (library) return `The WebGPU binary needs the library ${library}. On Debian: apt-get install -y libstdc++6 libgcc-s1`;
  if (/cannot find module/i.test(detail)) {
    return `The package webgpu has no binary for ${process.platform}-${process.arch} here. Run "npm ci" again; it exists for Linux with glibc and Windows (x64, arm64) and for macOS.`;
  }
  return `The WebGPU binary could not be loaded: ${detail}`;
}

const readText = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '');

const aptFiles = () => {
  const folder = '/etc/apt/sources.list.d';
  const listed = existsSync(folder) ? readdirSync(folder).filter((f) => /\.(list|sources)$/.test(f)).map((f) => join(folder, f)) : [];
  return ['/etc/apt/sources.list', ...listed].map((file) => ({ name: basename(file), text: readText(file) }));
};

const policy = (name) => parsePolicy(spawnSync('apt-cache', ['policy', name], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } }).stdout ?? '');

const currentPlan = (wanted) => planInstall({
  wanted,
  os: parseOsRelease(readText('/etc/os-release')),
  mesa: policy('mesa-vulkan-drivers'),
  chromium: policy('chromium'),
  sources: parseAptSources(aptFiles()),
});

const aptGet = (args) => {
  const run = spawnSync('apt-get', ['-qq', ...args], { encoding: 'utf8', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  const log = `${run.stdout ?? ''}${run.stderr ?? ''}`.trim().split('\n').slice(-LOG_LINES).join('\n');
  if (run.status === 0) return log;
  throw new Error(`"apt-get ${args.join(' ')}" failed:\n${log}`);
};

/** A fresh container has no package lists; without them apt knows no version at all. */
const hasPackageLists = () => policy('libvulkan1').versions.some((v) => v.suites.length > 0);

/** `apt-get update` may succeed even when a source cannot be fetched; only the versions known afterwards tell. */
export const addSource = ({ addSource: { path, text }, targetRelease, packages }) => {
  writeFileSync(path, text);
  let log = '';
  try {
    log = aptGet(['update']);
    if (policy(packages[0]).versions.some(({ suites }) => suites.includes(targetRelease))) return;
  } catch (error) {
    log = error.message;
  }
  // Left behind, it would spoil every later update, and pass for a source of the machine's own.
  rmSync(path);
  throw new Error(`apt could not fetch ${targetRelease} from the mirror that this machine uses. Check the network, or the mirror.\n${log}`);
};

const carryOut = (plan) => {
  if (plan.addSource) addSource(plan);
  aptGet(installArguments(plan));
};

const isRoot = () => process.getuid?.() === 0;

/** Installs a software driver; throws an Error that carries the remedy. */
const installSoftwareDriver = (wanted, say) => {
  const byHand = 'Install a Vulkan driver by hand: the one of your GPU, or Mesa 24 or newer with lavapipe and the Vulkan loader.';
  if (process.platform !== 'linux' || !existsSync('/usr/bin/apt-get')) throw new Error(byHand);
  if (isRoot() && !hasPackageLists()) aptGet(['update']);
  const plan = currentPlan(wanted);
  if (plan.problem) throw new Error(`${plan.problem}\n${byHand}`);
  if (!isRoot()) throw new Error(`Without root this script cannot install one. Run this, then try again:\n\n  ${shellCommand(plan)}\n`);
  say(`Installing the software Vulkan driver ${plan.driver} with apt, because no GPU was found (a minute or two) ...`);
  carryOut(plan);
};

const gpuHint = () => {
  const nvidia = existsSync('/dev/nvidiactl');
  if (!nvidia && !existsSync('/dev/dri/renderD128')) return '';
  return nvidia
    ? 'Note: there is an NVIDIA GPU without a Vulkan driver here. In a container start it with NVIDIA_DRIVER_CAPABILITIES=all; otherwise install the GL part of the NVIDIA driver.'
    : 'Note: there is a GPU here (/dev/dri) that no Vulkan driver serves.';
};

const complaint = (found, wanted) => {
  if (found.kind === 'not-loadable') return loadRemedy(found.detail);
  if (found.kind === 'crashed') return `Looking for a WebGPU adapter ended the process (${found.detail}): a Vulkan driver of this machine is broken.`;
  if (found.kind === 'found') return `The adapter "${wanted}" was asked for (PIPIT_ADAPTER), but the one found is "${found.name}".`;
  return `No WebGPU adapter was found.${found.detail ? ` ${found.detail}` : ''}`;
};

/**
 * Makes sure an adapter exists.
 *
 * @param {string} wanted value of PIPIT_ADAPTER: `lavapipe`, `swiftshader`, part of a name, or ''
 * @param {(line: string) => void} say prints a line
 * @returns the adapter found; throws an Error with the remedy where there is none and none can be installed
 */
export function ensureAdapter(wanted, say) {
  let found = probeAdapter(wanted);
  const software = ['', 'lavapipe', 'swiftshader'].includes(wanted);
  if (!satisfies(found, wanted)) {
    if (found.kind === 'not-loadable' || !software) throw new Error(complaint(found, wanted));
    try {
      installSoftwareDriver(wanted, say);
    } catch (error) {
      throw new Error(`${complaint(found, wanted)}\n${error.message}`, { cause: error });
    }
    found = probeAdapter(wanted);
    if (!satisfies(found, wanted)) throw new Error(`A software driver was installed, but: ${complaint(found, wanted)}`);
  }
  if (found.isSoftware && wanted === '' && gpuHint()) say(gpuHint());
  return found;
}
