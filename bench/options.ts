/** The command line of the benchmark. */
import { adapterOption, choice, flag, int, kebab, type OptionValues, type Parsed, text, texts } from '../src/cli/options.js';
import { DATASET_NAMES } from '../src/data/types.js';
import { fail } from '../src/errors.js';
import { backboneNames } from '../src/nn/models/index.js';
import { DIRECTIONS, type Direction } from './results.js';

export const spec = {
  name: 'bench',
  summary: 'Times every op on the layer shapes of real networks, after checking its results, and says what share of this adapter\'s ceiling it reaches.',
  options: {
    ops: text({ help: 'only these ops, separated by commas', placeholder: 'NAME,...', defaultText: 'all that have bench cases' }),
    case: texts({ help: 'only cases whose name holds one of these', placeholder: 'TEXT,...' }),
    direction: choice(['all', ...DIRECTIONS], { help: 'what is timed; backward stands for every gradient', default: 'all' }),
    repeats: int({ help: 'timed submits, each of many runs; the median counts', min: 5, max: 1000, default: 5 }),
    adapter: adapterOption,
    json: text({ help: 'write all figures to this file', placeholder: 'FILE' }),
    compare: text({ help: 'compare with a file that --json wrote earlier', placeholder: 'FILE' }),
    html: text({ help: 'write a page with the roofline, every kernel a point, and the table', placeholder: 'FILE' }),
    markdown: text({ help: 'write the tables as Markdown', placeholder: 'FILE' }),
    profile: flag({ help: 'profile a training step of WS-DAN by kernel instead' }),
    warmUp: flag({ help: 'measure the time from the start of training to the end of its first step instead, without and with compiled shaders on disk' }),
    tune: flag({ help: 'try the settings of the matrix kernels and write the fastest to the file that training reads, instead' }),
    preset: choice(DATASET_NAMES, { help: 'whose preset --profile and --warm-up train with', default: 'synthetic' }),
    data: text({ help: 'folder of the data set, for --warm-up with a preset other than synthetic', placeholder: 'DIR' }),
    model: choice(backboneNames, { help: 'backbone of --profile and --warm-up', defaultText: 'preset' }),
    imageSize: int({ help: 'side of the images of --profile and --warm-up', min: 16, max: 2048, defaultText: 'preset' }),
    batchSize: int({ help: 'images per step of --profile and --warm-up', min: 2, max: 4096, defaultText: 'preset' }),
    precision: choice(['float32', 'mixed'], { help: 'precision of --profile and --warm-up; without these, mixed times products of float16 operands', default: 'float32' }),
  },
  examples: [
    'node dist/bench.js --ops conv2d,matmul --json before.json', 'node dist/bench.js --ops conv2d,matmul --compare before.json',
    'node dist/bench.js --html roofline.html --markdown table.md', 'node dist/bench.js --profile', 'node dist/bench.js --tune',
  ],
};

export type BenchOptions = OptionValues<typeof spec.options>;

export const wants = (wanted: BenchOptions['direction']) => (direction: Direction): boolean =>
  wanted === 'all' || wanted === direction || (wanted === 'backward' && direction !== 'forward');

type Mode = 'kernels' | 'profile' | 'warm-up' | 'tune';

const MODES = { profile: 'profile', warmUp: 'warm-up', tune: 'tune' } as const satisfies Partial<Record<keyof BenchOptions, Mode>>;
const SWITCHES = Object.keys(MODES) as (keyof typeof MODES)[];

/** The options that mean something to each mode. */
const KNOWN: Readonly<Record<Mode, readonly (keyof BenchOptions)[]>> = {
  'kernels': ['ops', 'case', 'direction', 'repeats', 'adapter', 'json', 'compare', 'html', 'markdown', 'precision'],
  'profile': ['adapter', 'json', 'markdown', 'preset', 'model', 'imageSize', 'batchSize', 'precision'],
  'warm-up': ['adapter', 'json', 'preset', 'data', 'model', 'imageSize', 'batchSize', 'precision'],
  'tune': ['adapter', 'repeats'],
};

const list = (names: readonly string[]): string => names.map((name) => `--${kebab(name)}`).join(', ').replace(/, ([^,]*)$/, ' and $1');

/** Which of the modes was asked for; what another mode would need must not be given, since it would change nothing. */
export const modeOf = ({ values, source }: Pick<Parsed<typeof spec.options>, 'values' | 'source'>): Mode => {
  const asked = SWITCHES.filter((name) => values[name]);
  if (asked.length > 1) fail(`${list(asked)} are different measurements; ask for one at a time`);
  const mode = asked[0] ? MODES[asked[0]] : 'kernels';
  const given = (Object.keys(source) as (keyof BenchOptions)[]).filter((name) => source[name] === 'command line' && !(name in MODES));
  const foreign = given.find((name) => !KNOWN[mode].includes(name));
  if (foreign && mode === 'kernels') fail(`--${kebab(foreign)} goes with ${list(SWITCHES.filter((name) => KNOWN[MODES[name]].includes(foreign)))} only; add one of these or leave it out`);
  if (foreign) fail(`--${kebab(foreign)} does not go with --${mode}, which has ${list(KNOWN[mode])}`);
  return mode;
};
