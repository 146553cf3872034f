import type { AdapterReport } from '../device/gpu.js';
import { fail } from '../errors.js';

/**
 * How matrix products and convolutions are computed.
 * - `broadcast`: a subgroup holds different rows and shares them by subgroupBroadcast. The only way to be
 *   fast on software adapters, where a load costs as much as dozens of multiply-adds.
 * - `tile`: tiles in workgroup memory, the usual way on GPUs; needs no optional feature. Matrix units multiply them where there are some and
 *   the operands are float16.
 * - `plain`: registers only. For software adapters without subgroups, where workgroup memory costs more than it saves.
 */
export type GemmKind = 'broadcast' | 'tile' | 'plain';

export const KINDS: readonly GemmKind[] = ['broadcast', 'tile', 'plain'];

/**
 * Which operands are copied to images, which some drivers read faster than buffers: `all` of which a value may be read more than once, or the
 * `few` without pooling's and without those that weight gradients read in one go.
 */
export type ImageUse = 'all' | 'few' | 'none';

export const IMAGE_USES: readonly ImageUse[] = ['all', 'few', 'none'];

/**
 * broadcast: vec4f multiply-adds in a turn of the loop at most: of products, of those by a transposed matrix (input gradients), and of weight
 * gradients. Long loops load less for each of them, but only some processors run so much machine code at speed.
 */
interface Turns {
  readonly rowsTurn: number;
  readonly transposedTurn: number;
  readonly weightsTurn: number;
}

/** What suits one class of adapters; `node dist/bench.js --tune` measures it. */
export interface Tuning extends Turns {
  readonly kind: GemmKind;
  /** Of broadcast, and of pooling. */
  readonly images: ImageUse;
  /** tile: which of the tiles in src/ops/gemm-tiling.ts every product gets, such as `16×2×1`; `fit`: the one that fits it. */
  readonly tile: string;
  /** tile: whether matrix units multiply float16 operands, where the adapter has them. */
  readonly matrices: boolean;
  /** broadcast, with images: depth of a product, all taps counted, up to which lanes hold their columns of w; 0: never. */
  readonly heldDepth: number;
  /** Fewest channels (mean of input and output) for Winograd's algorithm on 3×3 taps in large images, and more where it gains less; 0: never. */
  readonly winograd: number;
  /** The same for gradients of weights. */
  readonly winogradWeights: number;
}

/** With fewer blocks of rows, w is read too often to be held. Where holding is forced, products of any depth would make long kernels. */
const [HELD_TURNS, FORCED_DEPTH] = [4, 288];

/** Figures: docs/lavapipe.md. */
const TURNS = {
  long: { rowsTurn: 256, transposedTurn: 256, weightsTurn: 192 },
  short: { rowsTurn: 144, transposedTurn: 192, weightsTurn: 128 },
} satisfies Record<string, Turns>;

/** Whether a tuning has these settings already. */
export const hasSettings = (tuning: Tuning, settings: Partial<Tuning>): boolean =>
  Object.entries(settings).every(([name, value]) => tuning[name as keyof Tuning] === value);

/** `long`, `short`, or `tuned` where they are neither. */
export const loopsOf = (gemm: Tuning): string => Object.entries(TURNS).find(([, turns]) => hasSettings(gemm, turns))?.[0] ?? 'tuned';

/** By adapter class; see {@link tuningKey}. Figures: docs/lavapipe.md and docs/h200.md. */
const DEFAULTS = {
  lavapipe: { kind: 'broadcast', images: 'all', tile: 'fit', matrices: true, heldDepth: 288, winograd: 36, winogradWeights: 43 },
  swiftshader: { kind: 'broadcast', images: 'none', tile: 'fit', matrices: true, heldDepth: 0, winograd: 66, winogradWeights: 43 },
  software: { kind: 'broadcast', images: 'none', tile: 'fit', matrices: true, heldDepth: 0, winograd: 66, winogradWeights: 43 },
  gpu: { kind: 'tile', images: 'none', tile: 'fit', matrices: true, heldDepth: 0, winograd: 0, winogradWeights: 0 },
} satisfies Record<string, Omit<Tuning, keyof Turns>>;

/** What a tuning file holds: departures from the defaults by adapter. */
export type TuningTable = Readonly<Record<string, Partial<Tuning>>>;

/** The adapter's key in a tuning file. */
export const tuningKey = ({ driverClass, vendor, architecture }: AdapterReport): string =>
  (driverClass === 'gpu' ? `gpu:${vendor || 'unknown'}-${architecture || 'unknown'}` : driverClass);

export interface GemmFamily extends Tuning {
  /** Lanes of a subgroup, for kernels that use it: broadcast, and tile with matrices. */
  readonly subgroupSize: number;
  /** broadcast: blocks of `subgroupSize` rows in a tile from which holding w pays. */
  readonly heldTurns: number;
  /** Rows and columns of a matrix that matrix units multiply at once. */
  readonly matrixSide: number;
}

/** What computes products, as in "short-loop broadcast kernels". */
export const kernelsOf = (gemm: GemmFamily): string => (gemm.kind === 'broadcast' ? `${loopsOf(gemm)}-loop broadcast` : gemm.kind);

/** What a caller forces, whatever the adapter's tuning says; `on` uses a variant wherever it is possible at all. */
export interface GemmOptions {
  readonly gemm?: string | undefined;
  readonly loops?: string | undefined;
  readonly held?: string | undefined;
  readonly winograd?: string | undefined;
  readonly images?: string | undefined;
  readonly matrices?: string | undefined;
  readonly tuning?: TuningTable | undefined;
}

/** What the caller's choice stands for. @param values by the names that there are */
const chosen = <T>(name: string, choice: string | undefined, values: Readonly<Record<string, T>>, otherwise: T): T => {
  if (choice === undefined || choice === '') return otherwise;
  if (!Object.hasOwn(values, choice)) fail(`${name} must be "${Object.keys(values).join('" or "')}", not "${choice}"`);
  return values[choice]!;
};

const chooseKind = (report: AdapterReport, forced: string | undefined, wanted: GemmKind): GemmKind => {
  if (forced) {
    const kind = KINDS.find((k) => k === forced) ?? fail(`unknown kind of GEMM kernels "${forced}"; use ${KINDS.join(', ')}`);
    if (kind === 'broadcast' && report.subgroupSize === 0) fail(`the broadcast kernels need subgroups of one fixed size, which "${report.name}" does not have; use tile or plain`);
    return kind;
  }
  return wanted === 'broadcast' && report.subgroupSize === 0 ? 'plain' : wanted;
};

const defaultsOf = ({ driverClass, software, longLoops, quickBuffers }: AdapterReport): Tuning => {
  const defaults = DEFAULTS[driverClass === 'gpu' && software ? 'software' : driverClass];
  const images = quickBuffers && defaults.images === 'all' ? 'few' : defaults.images;
  return { ...defaults, images, ...TURNS[longLoops && driverClass !== 'swiftshader' ? 'long' : 'short'] };
};

/** The kernels for an adapter: its class's defaults, what the tuning table says of it, and what the caller forces. */
export const gemmFamily = (report: AdapterReport, { gemm, loops, held, winograd, images, matrices, tuning = {} }: GemmOptions = {}): GemmFamily => {
  const base: Tuning = { ...defaultsOf(report), ...tuning[tuningKey(report)] };
  const kind = chooseKind(report, gemm, base.kind);
  const chosenImages = chosen<ImageUse>('images', images, { on: 'all', few: 'few', off: 'none' }, base.images);
  return {
    ...base, ...chosen<Turns>('loops', loops, TURNS, base), kind, subgroupSize: report.subgroupSize, matrixSide: report.matrixSide,
    matrices: chosen('matrices', matrices, { on: true, off: false }, base.matrices) && report.matrixSide > 0,
    heldDepth: chosen('held', held, { on: FORCED_DEPTH, off: 0 }, base.heldDepth), heldTurns: held === 'on' ? 1 : HELD_TURNS,
    winograd: chosen('winograd', winograd, { on: 1, off: 0 }, base.winograd),
    winogradWeights: chosen('winograd', winograd, { on: 1, off: 0 }, base.winogradWeights),
    images: report.imageOperands ? chosenImages : 'none',
  };
};
