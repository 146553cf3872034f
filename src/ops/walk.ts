import { fail } from '../errors.js';
import type { Grid } from '../kernels/grid.js';
import type { Runtime } from '../kernels/runtime.js';
import type { Constants } from '../kernels/shader.js';
import { valueAt } from '../kernels/value-at.js';
import { ABREAST, gridFor, stepsFor } from './launch.js';

/** Axes around the walked one among which a kernel can find its place. */
const MAX_AROUND = 4;
/** What it costs an invocation to find its place, in loads or stores of a vec4. */
const PROLOGUE = 16;

/** An axis of the output in vec4, and how far apart neighbours along it lie in each operand. */
export interface WalkAxis {
  readonly size: number;
  readonly strides: readonly number[];
  /** Entries outside of these have no source. */
  readonly lowest: number;
  readonly highest: number;
}

/** How a kernel with `//# include walk` goes over an output. */
export interface Walk {
  readonly constants: Constants;
  readonly params: Readonly<Record<string, number | readonly number[]>>;
  readonly grid: Grid;
  /** Operands that show the same vec4 in every turn. */
  readonly held: readonly boolean[];
  /** What became of the axes. */
  readonly around: readonly WalkAxis[];
  readonly side: WalkAxis;
  readonly walked: WalkAxis;
}

const isWhole = ({ size, lowest, highest }: WalkAxis): boolean => lowest <= 0 && highest >= size;

/** As few axes as can be: those of one entry go, neighbours that every operand passes as one become one, but not the last one if it shall stay `apart`. */
export const mergedAxes = (axes: readonly WalkAxis[], apart = false): WalkAxis[] => {
  const merged: WalkAxis[] = [];
  axes.forEach((axis, i) => {
    if (axis.size === 1 && isWhole(axis)) return;
    const { size, strides } = axis;
    const outer = merged.at(-1);
    if (outer && isWhole(axis) && !(apart && i === axes.length - 1) && outer.strides.every((stride, k) => stride === strides[k]! * size)) {
      merged[merged.length - 1] = { size: outer.size * size, strides, lowest: outer.lowest * size, highest: outer.highest * size };
    } else merged.push(axis);
  });
  return merged;
};

/** Loads and stores per vec4 of the output when walking along an axis: operands that stand still are free, few turns are dear. */
const costOf = ({ size, strides }: WalkAxis, along: boolean, most: number): number => {
  const turns = along ? Math.ceil(size / ABREAST) : size;
  const idle = along ? (turns * ABREAST) / size : 1;
  return idle * (strides.filter((stride) => stride !== 0).length + PROLOGUE / Math.min(turns, most));
};

const cheapest = (axes: readonly WalkAxis[], most: number): number => {
  const last = axes.length - 1;
  // Walking along the last axis leaves all others around.
  const costs = axes.map((axis, i) => (i === last && last > MAX_AROUND ? Infinity : costOf(axis, i === last, most)));
  return costs.lastIndexOf(Math.min(...costs));
};

/**
 * Plans a walk. Entries of the last axis lie side by side in memory, so neighbouring invocations take neighbours of it.
 *
 * @param operands names, in the order of the axes' strides; the kernel's parameters end with them
 * @param along the axis to walk along, where the kernel wants a certain one
 */
export const planWalk = (op: string, runtime: Runtime, operands: readonly string[], axes: readonly WalkAxis[], along?: number): Walk => {
  const none: WalkAxis = { size: 1, strides: operands.map(() => 0), lowest: 0, highest: 1 };
  const list = axes.length ? axes : [none];
  const last = list.length - 1;
  const most = stepsFor(runtime, list.reduce((product, { size }) => product * size, 1));
  const at = along ?? cheapest(list, most);
  const walked = list[at]!;
  const [side, hop] = at === last ? [{ ...none, size: ABREAST, highest: ABREAST }, ABREAST] : [list[last]!, 1];
  const others = list.filter((_, i) => i !== at && i !== last);
  if (others.length > MAX_AROUND) fail(`${op}: more than ${MAX_AROUND + 1} axes that cannot be passed as one; reshape or permute first`);
  const around = [...new Array<WalkAxis>(MAX_AROUND - others.length).fill(none), ...others];
  const turns = Math.ceil(walked.size / hop);
  const stretches = Math.ceil(turns / most);
  const items = others.reduce((product, { size }) => product * size, 1) * stretches * side.size;
  const params: Record<string, number | readonly number[]> = {
    sizes: around.map(({ size }) => size), side: side.size, length: walked.size, turns: Math.ceil(turns / stretches), stretches, items,
  };
  operands.forEach((name, i) => {
    params[`around${name}`] = around.map(({ strides }) => strides[i]!);
    params[`side${name}`] = side.strides[i]!;
    params[`walk${name}`] = walked.strides[i]!;
  });
  const plain = last === 0 && walked.strides.every((stride) => stride === 1);
  const constants = { ALONG: at === last ? 1 : 0, PLAIN: plain ? 1 : 0, AXES: others.length };
  return { constants, params, grid: gridFor(items), held: walked.strides.map((stride) => stride === 0), around, side, walked };
};

/** A program meets few shapes; one that meets more begins anew. */
const MOST_PLANS = 4096;

/** Plans by what they were made from: making one takes longer than recording a dispatch. */
export class Plans<T> {
  private readonly kept = new WeakMap<Runtime, Map<string, T>>();

  get(runtime: Runtime, key: string, make: () => T): T {
    let known = this.kept.get(runtime);
    if (!known || known.size >= MOST_PLANS) this.kept.set(runtime, (known = new Map<string, T>()));
    return valueAt(known, key, make);
  }
}
