/** What PIL makes of a picture: resized, cut, mirrored and jittered; test/reference/data_fixtures.py recorded it. */
import { type ImageTransform, JITTER_ORDERS, type JitterOp } from '../../src/data/augment.js';
import { fixtureJson } from '../data-helpers.js';

interface Recorded {
  readonly width: number;
  readonly height: number;
  /** Base64, as of the cases. */
  readonly rgb: string;
  readonly cases: readonly {
    readonly size: number;
    readonly side: number;
    readonly ox: number;
    readonly oy: number;
    readonly flip: boolean;
    readonly steps: readonly [JitterOp, number][];
    readonly rgb: string;
  }[];
}

const { width, height, rgb, cases } = fixtureJson<Recorded>('pil-resize.json');
const colours = Buffer.from(rgb, 'base64');

export const pilPicture = { width, height, rgba: new Uint8Array(4 * width * height).map((_, i) => (i % 4 === 3 ? 255 : colours[3 * (i >> 2) + (i % 4)]!)) };

/** Result side, side of the whole picture when resized, the transform, and how far colours in 0 … 1 may lie from PIL's bytes. */
export const pilCases = cases.map(({ size, side, ox, oy, flip, steps, rgb: wanted }) => {
  const names = steps.map(([name]) => name);
  const transform: ImageTransform = {
    x0: (ox * width) / side, y0: (oy * height) / side, scaleX: width / side, scaleY: height / side, flip,
    brightness: 1, contrast: 1, saturation: 1, ...Object.fromEntries(steps),
    order: JITTER_ORDERS.findIndex((ops) => ops.filter((op) => names.includes(op)).join() === names.join()),
  };
  const check = (t: { ok(passed: boolean, text: string): boolean }, actual: ArrayLike<number>): void => {
    const worst = Buffer.from(wanted, 'base64').reduce((most, value, i) => Math.max(most, Math.abs(value - 255 * actual[i]!)), 0);
    // PIL rounds to 8 bits after each of the two passes (½ each) and cuts off after each jitter step (1 each, times the
    // factors that follow; contrast and saturation also round their grey).
    const tolerance = 1.01 + 2 * steps.length;
    t.ok(worst <= tolerance, `size ${size}: largest difference ${worst.toFixed(3)} of 255, allowed ${tolerance}`);
  };
  return { size, side, transform, check };
});
