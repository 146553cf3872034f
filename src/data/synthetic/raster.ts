/** A small antialiased painter: polygons with exact area coverage, over a float RGB picture. */
import type { Point, Polygon } from './shapes.js';

/** Red, green, blue in 0 … 1. */
export type Colour = readonly [number, number, number];

/** One colour, or a linear change from `from` (at point `a`) to `to` (at point `b`). */
type Paint = Colour | { from: Colour; to: Colour; a: Point; b: Point };

/** Share of each pixel that a shape covers: `values` row by row over the half-open pixel rectangle, 0 outside it. */
export interface Coverage {
  values: Float32Array;
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

export const blend = (a: Colour, b: Colour, t: number): Colour => [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];

const clamp01 = (value: number): number => (value < 0 ? 0 : value > 1 ? 1 : value);

/** A square picture of `size` × `size` pixels being painted. */
export class Canvas {
  /** RGB, row-major, 0 … 1. */
  readonly pixels: Float32Array;
  private readonly scratch: Float32Array;
  private readonly pitch: number;

  constructor(readonly size: number) {
    this.pixels = new Float32Array(size * size * 3);
    // Two spare columns: the edge of a pixel in the last column spills into the next one.
    this.pitch = size + 2;
    this.scratch = new Float32Array(this.pitch * size);
  }

  /** Coverage of a polygon: signed edge areas are accumulated, then summed along each row. Opposite windings add. */
  cover(polygon: Polygon): Coverage {
    const box = pixelBox(polygon, this.size);
    for (let i = 0; i < polygon.length; i++) this.addEdge(polygon[i]!, polygon[(i + 1) % polygon.length]!);
    const values = new Float32Array(Math.max(0, (box.x1 - box.x0) * (box.y1 - box.y0)));
    let i = 0;
    for (let y = box.y0; y < box.y1; y++) {
      let sum = 0;
      for (let x = box.x0; x < box.x1; x++) {
        sum += this.scratch[y * this.pitch + x]!;
        values[i++] = Math.min(Math.abs(sum), 1);
      }
      this.scratch.fill(0, y * this.pitch, (y + 1) * this.pitch);
    }
    return { values, ...box };
  }

  /** Paints a polygon with opacity `alpha`, inside `clip` when given. */
  fill(polygon: Polygon, paint: Paint, alpha = 1, clip?: Coverage): Coverage {
    const shape = this.cover(polygon);
    const brush = new Brush(paint);
    let i = 0;
    for (let y = shape.y0; y < shape.y1; y++) {
      for (let x = shape.x0; x < shape.x1; x++) {
        const weight = shape.values[i++]! * alpha * (clip ? coverageAt(clip, x, y) : 1);
        if (weight > 0) this.mix(y * this.size + x, brush.at(x, y), weight);
      }
    }
    return shape;
  }

  /** A soft round blob: full strength in the middle, fading smoothly to nothing at `radius`. */
  blob(centre: Point, radius: number, colour: Colour, alpha: number): void {
    const x0 = Math.max(0, Math.floor(centre.x - radius));
    const x1 = Math.min(this.size, Math.ceil(centre.x + radius));
    const y0 = Math.max(0, Math.floor(centre.y - radius));
    const y1 = Math.min(this.size, Math.ceil(centre.y + radius));
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const dx = (x + 0.5 - centre.x) / radius;
        const dy = (y + 0.5 - centre.y) / radius;
        const rest = 1 - dx * dx - dy * dy;
        if (rest > 0) this.mix(y * this.size + x, colour, alpha * rest * rest);
      }
    }
  }

  /** Sets every pixel. */
  flood(paint: Paint): void {
    const brush = new Brush(paint);
    for (let y = 0; y < this.size; y++) {
      for (let x = 0; x < this.size; x++) this.mix(y * this.size + x, brush.at(x, y), 1);
    }
  }

  private mix(pixel: number, colour: Colour, weight: number): void {
    const i = pixel * 3;
    const p = this.pixels;
    p[i]! += (colour[0] - p[i]!) * weight;
    p[i + 1]! += (colour[1] - p[i + 1]!) * weight;
    p[i + 2]! += (colour[2] - p[i + 2]!) * weight;
  }

  private addEdge(p: Point, q: Point): void {
    if (p.y === q.y) return;
    const sign = p.y < q.y ? 1 : -1;
    const [top, end] = p.y < q.y ? [p, q] : [q, p];
    const slope = (end.x - top.x) / (end.y - top.y);
    const last = Math.min(this.size, Math.ceil(end.y));
    const begin = Math.max(0, top.y);
    let x = top.x + (begin - top.y) * slope;
    for (let y = Math.floor(begin); y < last; y++) {
      const height = Math.min(y + 1, end.y) - Math.max(y, begin);
      const next = x + slope * height;
      this.addSpan(y, this.insideX(Math.min(x, next)), this.insideX(Math.max(x, next)), height * sign);
      x = next;
    }
  }

  private insideX(x: number): number {
    return x < 0 ? 0 : x > this.size ? this.size : x;
  }

  /** An edge crossing row `y` from `left` to `right`: everything to its right is covered by `amount` of the row. */
  private addSpan(y: number, left: number, right: number, amount: number): void {
    const acc = this.scratch;
    const first = Math.floor(left);
    const base = y * this.pitch;
    const width = right - left;
    for (let cell = first; cell === first || cell < right; cell++) {
      // Covered share of this cell and its neighbours: the mean of the edge's position inside the cell.
      const from = Math.max(left, cell);
      const to = Math.min(right, cell + 1);
      const part = width > 0 ? (amount * (to - from)) / width : amount;
      const spill = part * ((from + to) / 2 - cell);
      acc[base + cell]! += part - spill;
      acc[base + cell + 1]! += spill;
    }
  }
}

/** Coverage of pixel (x, y), 0 outside the shape's rectangle. */
function coverageAt(shape: Coverage, x: number, y: number): number {
  if (x < shape.x0 || x >= shape.x1 || y < shape.y0 || y >= shape.y1) return 0;
  return shape.values[(y - shape.y0) * (shape.x1 - shape.x0) + x - shape.x0]!;
}

/** A paint prepared for many pixels: one reused colour, no allocation per pixel. */
class Brush {
  private readonly colour: [number, number, number];
  private readonly change: Colour | undefined;
  private readonly slopeX: number = 0;
  private readonly slopeY: number = 0;
  private readonly start: number = 0;

  constructor(private readonly paint: Paint) {
    if (!('from' in paint)) {
      this.colour = [...paint];
      return;
    }
    const { from, to, a, b } = paint;
    const dx = b.x - a.x;
    const dy = b.y - a.y;
    const square = dx * dx + dy * dy;
    this.colour = [...from];
    this.change = [to[0] - from[0], to[1] - from[1], to[2] - from[2]];
    this.slopeX = dx / square;
    this.slopeY = dy / square;
    this.start = (0.5 - a.x) * this.slopeX + (0.5 - a.y) * this.slopeY;
  }

  /** Colour in the middle of pixel (x, y); the result is valid until the next call. */
  at(x: number, y: number): Colour {
    if (!this.change) return this.colour;
    const { from } = this.paint as { from: Colour };
    const t = clamp01(this.start + x * this.slopeX + y * this.slopeY);
    for (let c = 0; c < 3; c++) this.colour[c] = from[c]! + this.change[c]! * t;
    return this.colour;
  }
}

/** The whole pixels of a picture of `size` × `size` that a polygon touches: half-open. */
export function pixelBox(polygon: readonly Point[], size: number): Rectangle {
  const { x0, y0, x1, y1 } = extent(polygon);
  const inside = (value: number): number => Math.max(0, Math.min(size, value));
  return { x0: inside(Math.floor(x0)), y0: inside(Math.floor(y0)), x1: inside(Math.ceil(x1)), y1: inside(Math.ceil(y1)) };
}

interface Rectangle {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** Smallest rectangle around a polygon, in continuous coordinates. */
function extent(polygon: readonly Point[]): Rectangle {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const p of polygon) {
    x0 = Math.min(x0, p.x);
    x1 = Math.max(x1, p.x);
    y0 = Math.min(y0, p.y);
    y1 = Math.max(y1, p.y);
  }
  return { x0, y0, x1, y1 };
}
