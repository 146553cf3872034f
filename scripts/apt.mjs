// What Debian's apt can give us: reads its sources and policy, decides what to install. No side effects here.

/** The oldest Mesa whose lavapipe Dawn accepts. */
const OLDEST_MESA = 24;
const BACKPORTS_FILE = '/etc/apt/sources.list.d/pipit-backports.sources';

/** Options of one-line entries that a derived entry must keep, by their deb822 names. */
const KEPT_OPTIONS = {
  arch: 'Architectures',
  'signed-by': 'Signed-By',
  trusted: 'Trusted',
  'check-valid-until': 'Check-Valid-Until',
};

const words = (text) => text.trim().split(/\s+/).filter(Boolean);

const parseOneLine = (line) => {
  const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(line.replace(/\s#.*$/, '').trim());
  if (!match) return [];
  const options = {};
  for (const pair of words(match[1] ?? '')) {
    const [name, value] = pair.split(/=(.*)/s);
    const field = KEPT_OPTIONS[name.toLowerCase()];
    if (field) options[field] = value.replaceAll(',', ' ');
  }
  return [{ uris: [match[2]], suites: [match[3]], components: words(match[4]), options }];
};

const parseStanza = (text) => {
  const fields = {};
  let name = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const start = /^([A-Za-z-]+):(.*)$/.exec(line);
    if (start) {
      name = start[1].toLowerCase();
      fields[name] = start[2].trim();
    } else if (name && /^\s/.test(line)) {
      fields[name] += `\n${line}`;
    }
  }
  return fields;
};

const parseDeb822 = (text) =>
  text.split(/\n\s*\n/).map(parseStanza)
    .filter((f) => f.uris && words(f.types ?? '').includes('deb') && !/^(no|false|0)$/i.test(f.enabled ?? ''))
    .map((f) => {
      const options = {};
      for (const field of Object.values(KEPT_OPTIONS)) if (f[field.toLowerCase()]) options[field] = f[field.toLowerCase()];
      return { uris: words(f.uris), suites: words(f.suites ?? ''), components: words(f.components ?? ''), options };
    });

/**
 * Reads apt source files into entries.
 *
 * @param {{ name: string, text: string }[]} files `*.sources` is read as deb822, everything else as one-line entries
 */
export function parseAptSources(files) {
  return files.flatMap(({ name, text }) =>
    name.endsWith('.sources') ? parseDeb822(text) : text.split('\n').flatMap(parseOneLine));
}

/** Reads /etc/os-release into an object of its unquoted values. */
export function parseOsRelease(text) {
  const lines = text.split('\n').map((line) => /^([A-Z_]+)=(.*)$/.exec(line.trim())).filter(Boolean);
  return Object.fromEntries(lines.map((m) => [m[1], m[2].replace(/^(["'])(.*)\1$/, '$2')]));
}

/** Reads the answer of `apt-cache policy PACKAGE`: the installed and candidate version, and each version's suites. */
export function parsePolicy(text) {
  const value = (label) => {
    const found = new RegExp(`^\\s+${label}:\\s*(\\S+)`, 'm').exec(text)?.[1];
    return !found || found === '(none)' ? '' : found;
  };
  const versions = [];
  for (const line of text.split('Version table:')[1]?.split('\n') ?? []) {
    const version = /^ (?:\*\*\*|   ) (\S+)/.exec(line);
    const source = /^\s{6,}-?\d+ (\S+) (\S+?)\/\S+/.exec(line);
    if (version) versions.push({ version: version[1], suites: [] });
    else if (source && source[1].includes(':')) versions.at(-1)?.suites.push(source[2]);
  }
  return { installed: value('Installed'), candidate: value('Candidate'), versions };
}

/** Leading number of a Debian version, without its epoch: `1:25.0.7-2` gives 25. */
export const majorVersion = (version) => Number(/^(?:\d+:)?(\d+)/.exec(version)?.[1] ?? 0);

/**
 * The backports entry for this release, made from the machine's own entry for the release.
 *
 * @returns deb822 text, or '' when no entry serves the release
 */
export function backportsSource(sources, codename) {
  const usable = sources.find((s) =>
    s.suites.some((suite) => [codename, 'stable', 'oldstable'].includes(suite)) &&
    s.components.includes('main') && s.uris.some((uri) => !uri.startsWith('cdrom:')));
  if (!usable || !codename) return '';
  const fields = {
    Types: 'deb',
    URIs: usable.uris.filter((uri) => !uri.startsWith('cdrom:')).join(' '),
    Suites: `${codename}-backports`,
    Components: 'main',
    ...usable.options,
  };
  return `${Object.entries(fields).map(([name, value]) => `${name}: ${value}`).join('\n')}\n`;
}

const isDebianLike = (os) => words(`${os.ID ?? ''} ${os.ID_LIKE ?? ''}`).some((id) => id === 'debian' || id === 'ubuntu');

const planSwiftshader = (os, chromium) => {
  // Ubuntu's package of that name only fetches a snap, whose files no other program may load.
  if (os.ID === 'ubuntu' || !(chromium.candidate || chromium.versions.length)) {
    return { problem: 'SwiftShader comes with Debian\'s package "chromium", which this system does not offer.' };
  }
  return { driver: 'SwiftShader', packages: ['chromium', 'libvulkan1'] };
};

const planLavapipe = ({ os, mesa, sources }) => {
  const plan = { driver: 'Mesa lavapipe', packages: ['mesa-vulkan-drivers', 'libvulkan1'] };
  if (majorVersion(mesa.candidate) >= OLDEST_MESA) return plan;
  const newer = mesa.versions.find((v) => majorVersion(v.version) >= OLDEST_MESA && v.suites.length > 0);
  if (newer) return { ...plan, targetRelease: newer.suites[0] };
  const backports = `${os.VERSION_CODENAME}-backports`;
  const known = sources.some((s) => s.suites.includes(backports));
  const text = os.ID === 'debian' && !known ? backportsSource(sources, os.VERSION_CODENAME) : '';
  if (!text) {
    return { problem: `Mesa ${OLDEST_MESA} or newer is needed; apt offers ${mesa.candidate || 'none'} on ${os.PRETTY_NAME ?? 'this system'}.` };
  }
  return { ...plan, targetRelease: backports, addSource: { path: BACKPORTS_FILE, text } };
};

/**
 * Decides how to get a software Vulkan driver.
 *
 * @returns `{ driver, packages, targetRelease?, addSource? }`, or `{ problem }` when apt cannot give one
 */
export function planInstall({ wanted, os, mesa, chromium, sources }) {
  if (!isDebianLike(os)) return { problem: `${os.PRETTY_NAME ?? 'This system'} is not Debian or Ubuntu.` };
  return wanted === 'swiftshader' ? planSwiftshader(os, chromium) : planLavapipe({ os, mesa, sources });
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The arguments of `apt-get` that carry out a plan. */
export const installArguments = (plan) => [
  'install', '-y', '--no-install-recommends', ...(plan.targetRelease ? ['-t', plan.targetRelease] : []), ...plan.packages,
];

/** The same as one line for a person to paste into a shell; `sudo` is set before each step. */
export function shellCommand(plan) {
  const steps = [];
  if (plan.addSource) {
    const lines = plan.addSource.text.trimEnd().split('\n').map(quoted).join(' ');
    steps.push(`printf '%s\\n' ${lines} | sudo tee ${plan.addSource.path} >/dev/null`);
  }
  steps.push('sudo apt-get update', `sudo apt-get ${installArguments(plan).join(' ')}`);
  return steps.join(' && ');
}
