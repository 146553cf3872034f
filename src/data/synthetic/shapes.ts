/** Outlines as polygons. Only + − × ÷ and square roots, which IEEE 754 fixes to the bit on every machine. */

export interface Point {
  x: number;
  y: number;
}

export type Polygon = Point[];

/** Cosine and sine of 15 degrees: the step of the regular 24-gon that stands for a circle. */
const STEP_COS = 0.9659258262890683;
const STEP_SIN = 0.25881904510252074;

const UNIT_CIRCLE: Polygon = (() => {
  const points: Polygon = [];
  let point = { x: 1, y: 0 };
  for (let i = 0; i < 24; i++) {
    points.push(point);
    point = { x: point.x * STEP_COS - point.y * STEP_SIN, y: point.x * STEP_SIN + point.y * STEP_COS };
  }
  return points;
})();

export const at = (x: number, y: number): Point => ({ x, y });

/** Point on the segment a → b, t = 0 … 1. */
export const between = (a: Point, b: Point, t: number): Point => at(a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t);

/** A rotation as (cos, sin). */
export interface Turn {
  cos: number;
  sin: number;
}

/** Rotation whose half-angle tangent is `t`: t = 0.18 is about 20 degrees, negative turns back. */
export function turnOf(t: number): Turn {
  const square = t * t;
  return { cos: (1 - square) / (1 + square), sin: (2 * t) / (1 + square) };
}

/** Rotates `point` about `centre`. */
export function rotate(point: Point, turn: Turn, centre: Point = { x: 0, y: 0 }): Point {
  const dx = point.x - centre.x;
  const dy = point.y - centre.y;
  return at(centre.x + dx * turn.cos - dy * turn.sin, centre.y + dx * turn.sin + dy * turn.cos);
}

/** Ellipse with half axes `rx`, `ry`; `along` is the direction of the first one. */
export function ellipse(centre: Point, rx: number, ry: number, along: Point = { x: 1, y: 0 }): Polygon {
  return UNIT_CIRCLE.map((p) => at(centre.x + p.x * rx * along.x - p.y * ry * along.y, centre.y + p.x * rx * along.y + p.y * ry * along.x));
}

/** Points of a closed curve between two knots. */
const SAMPLES = 5;

/** Smooth closed curve through all `knots` (Catmull–Rom). */
export function closedCurve(knots: readonly Point[]): Polygon {
  const count = knots.length;
  const knot = (i: number): Point => knots[(i + count) % count]!;
  const points: Polygon = [];
  for (let i = 0; i < count; i++) {
    for (let s = 0; s < SAMPLES; s++) points.push(catmullRom(knot(i - 1), knot(i), knot(i + 1), knot(i + 2), s / SAMPLES));
  }
  return points;
}

function catmullRom(a: Point, b: Point, c: Point, d: Point, t: number): Point {
  const blend = (p: number, q: number, r: number, s: number): number =>
    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t * t * t);
  return at(blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y));
}

/** A line with thickness along a quadratic curve from → bend → to, its width going from `startWidth` to `endWidth`. */
export function stroke(from: Point, bend: Point, to: Point, startWidth: number, endWidth: number, samples = 8): Polygon {
  const left: Polygon = [];
  const right: Polygon = [];
  for (let i = 0; i <= samples; i++) {
    const t = i / samples;
    const p = between(between(from, bend, t), between(bend, to, t), t);
    const tangent = between(at(bend.x - from.x, bend.y - from.y), at(to.x - bend.x, to.y - bend.y), t);
    const length = Math.sqrt(tangent.x * tangent.x + tangent.y * tangent.y) || 1;
    const half = (startWidth + (endWidth - startWidth) * t) / 2 / length;
    left.push(at(p.x - tangent.y * half, p.y + tangent.x * half));
    right.push(at(p.x + tangent.y * half, p.y - tangent.x * half));
  }
  return [...left, ...right.reverse()];
}

/** A straight line with thickness. */
export function bar(from: Point, to: Point, startWidth: number, endWidth = startWidth): Polygon {
  return stroke(from, between(from, to, 0.5), to, startWidth, endWidth, 1);
}

/** A pointed leaf from `base` along `direction`. */
export function leaf(base: Point, direction: Point, length: number, width: number): Polygon {
  const put = (along: number, across: number): Point =>
    at(base.x + direction.x * along * length - direction.y * across * width, base.y + direction.y * along * length + direction.x * across * width);
  const half = [0.1, 0.32, 0.48, 0.5, 0.38, 0.18];
  const upper = half.map((across, i) => put((i + 0.6) / 6.4, across));
  const lower = half.map((across, i) => put((i + 0.6) / 6.4, -across)).reverse();
  return [put(0, 0), ...upper, put(1, 0), ...lower];
}
