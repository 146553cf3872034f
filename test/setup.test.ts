import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { addSource, interpretProbe, loadRemedy, satisfies } from '../scripts/adapter.mjs';
import {
  backportsSource, installArguments, majorVersion, parseAptSources, parseOsRelease, parsePolicy, type Plan, planInstall, shellCommand,
} from '../scripts/apt.mjs';
import { isInstalled } from '../scripts/lockfile.mjs';
import { type Machine, vulkanEnvironment } from '../src/device/vulkan-env.mjs';
import { scratch } from './data-helpers.js';

const MIRROR = 'http://mirror.example/debian';

const DEB822 = `# The main archive
Types: deb deb-src
URIs: ${MIRROR}
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://mirror.example/off
Suites: bookworm
Components: main

Types: deb-src
URIs: http://mirror.example/source
Suites: bookworm
Components: main
`;

const ONE_LINE = `
# deb http://mirror.example/commented bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb-src ${MIRROR} bookworm main
deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/a.gpg trusted=yes lang=de ] ${MIRROR} bookworm main non-free-firmware # ours
deb ${MIRROR} bookworm-updates main
`;

const policyText = (candidate: string, table: [string, string[]][]) => `mesa-vulkan-drivers:
  Installed: (none)
  Candidate: ${candidate}
  Version table:
${table.map(([version, suites]) => `     ${version} 500\n${suites.map((suite) => `        500 ${MIRROR} ${suite}/main amd64 Packages`).join('\n')}`).join('\n')}
`;

const NONE = parsePolicy('');
const DEBIAN = { ID: 'debian', VERSION_CODENAME: 'bookworm', PRETTY_NAME: 'Debian GNU/Linux 12 (bookworm)' };
const OLD_MESA = parsePolicy(policyText('22.3.6-1+deb12u1', [['22.3.6-1+deb12u1', ['bookworm']]]));
const CHROMIUM = parsePolicy(policyText('150.0-1', [['150.0-1', ['bookworm']]]));

t.test('apt sources in both formats', async (t) => {
  const deb822 = parseAptSources([{ name: 'debian.sources', text: DEB822 }]);
  t.equal(deb822.length, 2, 'disabled and source-only stanzas are left out');
  t.same(deb822[0], {
    uris: [MIRROR], suites: ['bookworm', 'bookworm-updates'], components: ['main', 'contrib'],
    options: { 'Signed-By': '/usr/share/keyrings/debian-archive-keyring.gpg' },
  });
  const oneLine = parseAptSources([{ name: 'sources.list', text: ONE_LINE }]);
  t.same(oneLine.at(-2), {
    uris: [MIRROR], suites: ['bookworm'], components: ['main', 'non-free-firmware'],
    options: { Architectures: 'amd64 arm64', 'Signed-By': '/usr/share/keyrings/a.gpg', Trusted: 'yes' },
  });
  t.notOk(oneLine.some((s) => s.uris[0]!.includes('commented')));
});

t.test('the backports entry keeps mirror, keyring and options of the release', async (t) => {
  const from = (name: string, text: string) => backportsSource(parseAptSources([{ name, text }]), 'bookworm');
  t.equal(from('debian.sources', DEB822),
    `Types: deb\nURIs: ${MIRROR}\nSuites: bookworm-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n`);
  t.equal(from('sources.list', ONE_LINE),
    `Types: deb\nURIs: ${MIRROR}\nSuites: bookworm-backports\nComponents: main\nArchitectures: amd64 arm64\nSigned-By: /usr/share/keyrings/a.gpg\nTrusted: yes\n`);
  t.equal(backportsSource(parseAptSources([{ name: 'x.list', text: `deb ${MIRROR} stable main` }]), 'bookworm').split('\n')[2], 'Suites: bookworm-backports');
  t.equal(backportsSource(parseAptSources([{ name: 'x.list', text: 'deb http://mirror.example/s bookworm-security main' }]), 'bookworm'), '',
    'security is no base');
});

t.test('a key inside the source file survives as a whole', async (t) => {
  const key = 'Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----';
  const sources = parseAptSources([{ name: 'd.sources', text: `Types: deb\nURIs: ${MIRROR}\nSuites: bookworm\nComponents: main\n${key}\n` }]);
  const made = backportsSource(sources, 'bookworm');
  t.ok(made.includes('\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----\n'));
  t.same(parseAptSources([{ name: 'made.sources', text: made }])[0]!.options, sources[0]!.options, 'and reads back the same');
});

t.test('apt-cache policy', async (t) => {
  const parsed = parsePolicy(`mesa-vulkan-drivers:
  Installed: 25.0.7-2~bpo12+1
  Candidate: 25.0.7-2~bpo12+1
  Version table:
 *** 25.0.7-2~bpo12+1 100
        100 ${MIRROR} bookworm-backports/main amd64 Packages
        100 /var/lib/dpkg/status
     22.3.6-1+deb12u2 500
        500 ${MIRROR} bookworm/main amd64 Packages
`);
  t.same(parsed, {
    installed: '25.0.7-2~bpo12+1', candidate: '25.0.7-2~bpo12+1',
    versions: [{ version: '25.0.7-2~bpo12+1', suites: ['bookworm-backports'] }, { version: '22.3.6-1+deb12u2', suites: ['bookworm'] }],
  });
  t.same(parsePolicy('x:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n'), { installed: '', candidate: '', versions: [] });
  t.same([majorVersion('1:25.0.7-2'), majorVersion('22.3.6'), majorVersion('')], [25, 22, 0]);
});

t.test('os-release', async (t) => {
  t.same(parseOsRelease('ID=debian\nPRETTY_NAME="Debian 12"\nVERSION_CODENAME=\'bookworm\'\n# x\n'),
    { ID: 'debian', PRETTY_NAME: 'Debian 12', VERSION_CODENAME: 'bookworm' });
});

const lavapipe = (known: Partial<Parameters<typeof planInstall>[0]>) => planInstall({
  wanted: '', os: DEBIAN, mesa: OLD_MESA, chromium: CHROMIUM, sources: parseAptSources([{ name: 'debian.sources', text: DEB822 }]), ...known,
});

t.test('which packages: lavapipe', async (t) => {
  const onBookworm = lavapipe({}) as Plan;
  t.same(onBookworm.packages, ['mesa-vulkan-drivers', 'libvulkan1']);
  t.equal(onBookworm.targetRelease, 'bookworm-backports');
  t.match(onBookworm.addSource?.text, /Suites: bookworm-backports/);
  const newer = parsePolicy(policyText('25.0.7-2', [['25.0.7-2', ['trixie']]]));
  t.strictSame(lavapipe({ mesa: newer, os: { ID: 'debian', VERSION_CODENAME: 'trixie' } }),
    { driver: 'Mesa lavapipe', packages: ['mesa-vulkan-drivers', 'libvulkan1'] });
  const known = parsePolicy(policyText('22.3.6-1', [['25.0.7-2~bpo12+1', ['bookworm-backports']], ['22.3.6-1', ['bookworm']]]));
  const second = lavapipe({ mesa: known }) as Plan;
  t.equal(second.targetRelease, 'bookworm-backports');
  t.equal(second.addSource, undefined, 'the suite is known already');
  t.match(lavapipe({ sources: [] }), { problem: /Mesa 24 or newer is needed; apt offers 22\.3\.6/ });
  t.match(lavapipe({ os: { ID: 'fedora', PRETTY_NAME: 'Fedora 42' } }), { problem: /Fedora 42 is not Debian or Ubuntu/ });
  t.match(lavapipe({ os: { ID: 'ubuntu', ID_LIKE: 'debian', VERSION_CODENAME: 'jammy', PRETTY_NAME: 'Ubuntu 22.04' } }), { problem: /apt offers 22\.3/ });
  t.match(lavapipe({ mesa: newer, os: { ID: 'linuxmint', ID_LIKE: 'ubuntu debian' } }), { packages: ['mesa-vulkan-drivers', 'libvulkan1'] });
});

t.test('which packages: SwiftShader', async (t) => {
  t.match(lavapipe({ wanted: 'swiftshader' }), { packages: ['chromium', 'libvulkan1'] });
  t.match(lavapipe({ wanted: 'swiftshader', chromium: NONE }), { problem: /package "chromium"/ });
  t.match(lavapipe({ wanted: 'swiftshader', os: { ID: 'ubuntu', ID_LIKE: 'debian' } }), { problem: /package "chromium"/ });
});

t.test('the plan as arguments and as a line to paste', async (t) => {
  const plan = lavapipe({}) as Plan;
  t.same(installArguments(plan), ['install', '-y', '--no-install-recommends', '-t', 'bookworm-backports', 'mesa-vulkan-drivers', 'libvulkan1']);
  const line = shellCommand(plan);
  t.notOk(line.includes('\n'), 'one line');
  t.equal(line, `printf '%s\\n' 'Types: deb' 'URIs: ${MIRROR}' 'Suites: bookworm-backports' 'Components: main' 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'` +
    ' | sudo tee /etc/apt/sources.list.d/pipit-backports.sources >/dev/null && sudo apt-get update && sudo apt-get install -y --no-install-recommends -t bookworm-backports mesa-vulkan-drivers libvulkan1');
});

/** Stands in for apt's programs, for as long as the test runs. */
const withApt = (t: Parameters<typeof scratch>[0], update: string, policy: string): string => {
  const folder = scratch(t);
  writeFileSync(join(folder, 'policy'), policy);
  for (const [name, body] of [['apt-get', update], ['apt-cache', `cat '${join(folder, 'policy')}'`]] as const) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const before = process.env.PATH;
  t.teardown(() => { process.env.PATH = before; });
  process.env.PATH = `${folder}:${before}`;
  return folder;
};

t.test('a source that apt cannot use does not stay behind', { skip: process.platform === 'win32' }, async (t) => {
  const plan = lavapipe({}) as Plan;
  const old = policyText('22.3.6-1', [['22.3.6-1', ['bookworm']]]);
  const known = policyText('22.3.6-1', [['25.0.7-2~bpo12+1', ['bookworm-backports']], ['22.3.6-1', ['bookworm']]]);
  for (const [name, update, policy, message] of [
    ['refused', "echo 'E: no Release file' >&2; exit 100", old, /could not fetch bookworm-backports from the mirror.*\n.*\nE: no Release file/],
    ['not fetched', "echo 'W: some index files failed'", old, /could not fetch bookworm-backports from the mirror.*\nW: some index files failed/],
    ['fetched', 'exit 0', known, null],
  ] as const) {
    await t.test(name, async (t) => {
      const path = join(withApt(t, update, policy), 'added.sources');
      const add = () => addSource({ ...plan, addSource: { path, text: plan.addSource!.text } });
      if (message) {
        t.throws(add, { message });
        t.notOk(existsSync(path));
      } else {
        add();
        t.equal(readFileSync(path, 'utf8'), plan.addSource!.text);
      }
    });
  }
});

t.test('what the probe came to', async (t) => {
  const run = { status: 0, signal: null, stderr: '' };
  const found = interpretProbe({ ...run,
    stdout: 'noise\nPIPIT_PROBE {"kind":"found","name":"llvmpipe","vendor":"mesa","software":"lavapipe","isSoftware":true}\n' });
  t.match(found, { kind: 'found', isSoftware: true });
  t.ok(satisfies(found, '') && satisfies(found, 'lavapipe') && satisfies(found, 'LLVMpipe'));
  t.notOk(satisfies(found, 'nvidia'));
  t.notOk(satisfies({ kind: 'none' }, ''));
  t.match(interpretProbe({ ...run, status: null, signal: 'SIGSEGV' }), { kind: 'crashed', detail: 'signal SIGSEGV' });
  t.match(interpretProbe({ ...run, status: 127, stderr: 'a\nlast line\n' }), { kind: 'crashed', detail: 'exit code 127: last line' });
  t.match(interpretProbe({ ...run, status: null, error: { code: 'ETIMEDOUT' } }), { kind: 'crashed', detail: /no answer within 120 s/ });
});

t.test('remedies when the binary does not load', async (t) => {
  t.match(loadRemedy("/lib/libm.so.6: version `GLIBC_2.35' not found (required by dawn.node)"), /needs a newer C library \(GLIBC_2\.35\)\. Use Debian 12/);
  t.match(loadRemedy('libstdc++.so.6: cannot open shared object file: No such file'), /needs the library libstdc\+\+\.so\.6\. On Debian: apt-get install/);
  t.match(loadRemedy("Cannot find module '../dist/linux-riscv64/dawn.node'"), /has no binary for/);
  t.match(loadRemedy('something else'), /could not be loaded: something else/);
});

t.test('packages are compared by version, optional ones may be absent', async (t) => {
  const lock = (packages: object) => JSON.stringify({ packages });
  const wanted = lock({ '': {}, 'node_modules/a': { version: '1.0.0' }, 'node_modules/mac': { version: '2.0.0', optional: true } });
  t.equal(isInstalled(wanted, lock({ 'node_modules/a': { version: '1.0.0' } })), true);
  t.equal(isInstalled(wanted, lock({ 'node_modules/a': { version: '1.0.1' } })), false);
  t.equal(isInstalled(wanted, lock({})), false);
  t.equal(isInstalled(wanted, lock({ 'node_modules/a': { version: '1.0.0' }, 'node_modules/mac': { version: '1.0.0' } })), false);
});

const ICD = '/usr/share/vulkan/icd.d';
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';
const NVIDIA = '/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json';

/** A machine with these files; a lavapipe manifest announces the Vulkan version given. */
const machine = (files: string[], { env = {}, lavapipeVersion = '1.4.305', platform = 'linux' }: { env?: Record<string, string>; lavapipeVersion?: string; platform?: string } = {}): Machine => ({
  env, platform, homeFolder: '/home/me', temporaryFolder: '/tmp',
  exists: (path) => files.includes(path),
  list: (folder) => files.filter((file) => file.startsWith(`${folder}/`)).map((file) => file.slice(folder.length + 1)),
  read: () => JSON.stringify({ ICD: { api_version: lavapipeVersion } }),
});

/** Only the variables that name drivers. */
const drivers = (wanted: string, on: Machine) => Object.fromEntries(Object.entries(vulkanEnvironment(wanted, on)).filter(([name]) => name.startsWith('VK_')));

t.test('which Vulkan drivers the loader is shown', async (t) => {
  const lvp = `${ICD}/lvp_icd.json`;
  const both = machine([lvp, SWIFTSHADER, `${ICD}/intel_icd.json`]);
  t.same(drivers('lavapipe', both), { VK_DRIVER_FILES: lvp, VK_ICD_FILENAMES: lvp });
  t.same(drivers('SwiftShader', both), { VK_DRIVER_FILES: SWIFTSHADER, VK_ICD_FILENAMES: SWIFTSHADER });
  t.same(drivers('', both), {}, 'a good lavapipe: the loader finds everything itself');
  t.same(drivers('', machine([SWIFTSHADER])), { VK_ADD_DRIVER_FILES: SWIFTSHADER }, 'nothing but SwiftShader');
  t.same(drivers('', machine([lvp, SWIFTSHADER], { lavapipeVersion: '1.1.230' })), { VK_ADD_DRIVER_FILES: SWIFTSHADER }, 'a lavapipe that Dawn refuses');
  t.same(drivers('', machine([lvp, NVIDIA])), { VK_ADD_DRIVER_FILES: NVIDIA }, 'a GPU driver the loader would miss');
  t.same(drivers('', machine([SWIFTSHADER], { env: { VK_DRIVER_FILES: '/mine.json' } })), {}, 'the user\'s own choice stays');
  t.same(drivers('lavapipe', machine([`${ICD}/lvp_icd.x86_64.json`])).VK_DRIVER_FILES, `${ICD}/lvp_icd.x86_64.json`);
  t.same(drivers('radeon', both), {});
});

t.test('the rest of the environment', async (t) => {
  t.match(vulkanEnvironment('', machine([])), { XDG_RUNTIME_DIR: '/tmp', MESA_SHADER_CACHE_DISABLE: 'false' });
  t.same(vulkanEnvironment('', machine([], { env: { XDG_RUNTIME_DIR: '/run/user/1', MESA_SHADER_CACHE_DISABLE: 'true' } })), {}, 'what is set stays');
  t.same(vulkanEnvironment('lavapipe', machine([SWIFTSHADER], { platform: 'darwin' })), {});
});

t.test('another vector width of lavapipe has a cache of its own', async (t) => {
  const cache = (env: Record<string, string>) => vulkanEnvironment('', machine([], { env })).MESA_SHADER_CACHE_DIR;
  t.equal(cache({}), undefined);
  t.equal(cache({ LP_NATIVE_VECTOR_WIDTH: '512' }), '/home/me/.cache/mesa-512-bits');
  t.equal(cache({ LP_NATIVE_VECTOR_WIDTH: '128', XDG_CACHE_HOME: '/cache' }), '/cache/mesa-128-bits');
  t.equal(cache({ LP_NATIVE_VECTOR_WIDTH: '512', MESA_SHADER_CACHE_DIR: '/mine' }), undefined, 'the user\'s own choice stays');
  t.equal(cache({ LP_NATIVE_VECTOR_WIDTH: '../x' }), undefined);
});
