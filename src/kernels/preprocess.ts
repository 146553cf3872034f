import { includes } from './includes.js';

/**
 * The little that plain WGSL lacks, as comment lines so that editors still read the file:
 *
 *     //# include NAME              text of shaders/common/NAME.wgsl
 *     //# for i in 0..N             repeats the lines up to `//# end`, with `$i` replaced
 *     $N                            a constant of the kernel, in `for` bounds and in the text
 *
 * Loops exist because some drivers only run fast on unrolled code, or (subgroupBroadcast) need constants.
 */
export const preprocess = (name: string, source: string, values: Readonly<Record<string, number>>): string =>
  substitute(expandLoops(name, source.split('\n'), values).join('\n'), values);

type Parts = Readonly<Record<string, string>>;

const INCLUDE = /^\/\/# include ([\w-]+)$/gm;

/** Replaces the include lines; `parts` says which file stands for a name that leaves a choice. */
export const resolveIncludes = (name: string, source: string, parts: Parts = {}): string =>
  source.replace(INCLUDE, (_, included: string) => {
    const text = includes[parts[included] ?? included];
    if (text === undefined) throw new Error(`${name}: unknown include "${included}"; known: ${Object.keys(includes).join(', ')}`);
    return text;
  });

/** The file and line, as `unary.wgsl:7`, of each line that {@link preprocess} makes of a source once its includes are resolved. */
export const originsOf = (name: string, source: string, parts: Parts, values: Readonly<Record<string, number>>): string[] => {
  const tagged = (file: string, text: string): string[] => text.split('\n').map((line, i) => (/^\s*\/\/# (for |end$)/.test(line) ? line : `${file}:${i + 1}`));
  const own = tagged(name, source);
  const lines = source.split('\n').flatMap((line, i) => {
    const [, included] = [...line.matchAll(INCLUDE)][0] ?? [];
    if (included === undefined) return [own[i]!];
    const file = parts[included] ?? included;
    return tagged(`common/${file}.wgsl`, includes[file]!);
  });
  return expandLoops(name, lines, values);
};

const substitute = (text: string, values: Readonly<Record<string, number>>): string =>
  text.replace(/\$(\w+)/g, (whole, key: string) => (key in values ? String(values[key]) : whole));

const expandLoops = (name: string, lines: string[], values: Readonly<Record<string, number>>): string[] => {
  const out: string[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const loop = /^\s*\/\/# for (\w+) in (\S+)\.\.(\S+)$/.exec(line);
    if (!loop) {
      out.push(line);
      continue;
    }
    const end = matchingEnd(name, lines, at);
    const [from, to] = [loop[2]!, loop[3]!].map((bound) => Number(substitute(bound, values)));
    if (!Number.isInteger(from) || !Number.isInteger(to)) throw new Error(`${name}:${at + 1}: loop bounds must be integers, got "${line.trim()}"`);
    for (let i = from!; i < to!; i++) {
      const inner = { ...values, [loop[1]!]: i };
      out.push(...expandLoops(name, lines.slice(at + 1, end), inner).map((l) => substitute(l, inner)));
    }
    at = end;
  }
  return out;
};

const matchingEnd = (name: string, lines: string[], start: number): number => {
  let depth = 0;
  for (let at = start; at < lines.length; at++) {
    if (/^\s*\/\/# for /.test(lines[at]!)) depth++;
    if (/^\s*\/\/# end$/.test(lines[at]!) && --depth === 0) return at;
  }
  throw new Error(`${name}:${start + 1}: "//# for" without "//# end"`);
};
