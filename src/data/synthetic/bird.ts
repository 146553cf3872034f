/**
 * One bird: a side view built from smooth outlines in its own units (about 2.3 wide and 1.7 high, facing right,
 * y downwards), then posed, scaled, mirrored and painted.
 */
import { AZURE, BACK, BELLY, CRIMSON, HORN, LEMON, ORANGE, PALE } from './palette.js';
import { blend, type Canvas, type Colour, type Coverage } from './raster.js';
import type { Rng } from './rng.js';
import { at, bar, between, closedCurve, ellipse, rotate, stroke, turnOf, type Point, type Polygon, type Turn } from './shapes.js';
import type { Traits } from './species.js';

/** Everything that varies within a species. Angles are half-angle tangents (see turnOf). */
interface Pose {
  centre: Point;
  /** Pixels per unit. */
  scale: number;
  mirrored: boolean;
  tilt: number;
  /** Height of the body relative to its length, about 1. */
  plump: number;
  head: Point;
  tail: number;
  wing: number;
  stance: number;
}

interface Plumage {
  back: Colour;
  belly: Colour;
  wing: Colour;
  horn: Colour;
  orange: Colour;
  bars: Colour;
  crimson: Colour;
  azure: Colour;
  lemon: Colour;
  /** Meaningless markings. */
  vent: boolean;
  crest: boolean;
  mask: boolean;
  ring: boolean;
  streaks: boolean;
}

export interface Part {
  name: string;
  x: number;
  y: number;
}

const HIP = at(-0.6, 0.22);

export function drawPose(rng: Rng, centre: Point, scale: number): Pose {
  return {
    centre,
    scale,
    mirrored: rng.chance(0.5),
    tilt: rng.range(-0.17, 0.2),
    plump: rng.range(0.88, 1.14),
    head: at(rng.range(-0.08, 0.06), rng.range(-0.08, 0.06)),
    tail: rng.range(-0.16, 0.16),
    wing: rng.range(-0.05, 0.06),
    stance: rng.range(-0.1, 0.1),
  };
}

export function drawPlumage(rng: Rng): Plumage {
  const back = blend(rng.pick(BACK), rng.pick(BACK), rng.range(0, 0.5));
  return {
    back,
    belly: blend(rng.pick(BELLY), back, rng.range(0, 0.35)),
    wing: blend(back, [0.12, 0.11, 0.12], rng.range(0.2, 0.5)),
    horn: rng.pick(HORN),
    orange: rng.pick(ORANGE),
    bars: rng.pick(PALE),
    crimson: rng.pick(CRIMSON),
    azure: rng.pick(AZURE),
    lemon: rng.pick(LEMON),
    vent: rng.chance(0.3),
    crest: rng.chance(0.4),
    mask: rng.chance(0.4),
    ring: rng.chance(0.4),
    streaks: rng.chance(0.3),
  };
}

/** Places bird units on the picture. */
export class Body {
  private readonly tilt: Turn;
  /** All outline points put so far, for the true box. */
  readonly outline: Point[] = [];

  constructor(readonly pose: Pose) {
    this.tilt = turnOf(pose.tilt);
  }

  put(p: Point): Point {
    const { centre, scale, mirrored, plump } = this.pose;
    const turned = rotate(at(p.x + 0.15, p.y * plump + 0.1), this.tilt);
    return at(centre.x + (mirrored ? -turned.x : turned.x) * scale, centre.y + turned.y * scale);
  }

  shape(polygon: Polygon): Polygon {
    const placed = polygon.map((p) => this.put(p));
    for (const p of placed) this.outline.push(p);
    return placed;
  }

  /** A shape inside the silhouette, which cannot widen the box. */
  mark(polygon: Polygon): Polygon {
    return polygon.map((p) => this.put(p));
  }

  /** A point of the head, which moves on the neck. */
  head(x: number, y: number): Point {
    return at(x + this.pose.head.x, y + this.pose.head.y);
  }

  tailPoint(x: number, y: number): Point {
    return rotate(at(x, y), turnOf(this.pose.tail), HIP);
  }
}

/** Paints the bird and returns its parts; `body.outline` then holds every point of its outline. */
export function paintBird(canvas: Canvas, body: Body, traits: Traits, plumage: Plumage, rng: Rng): Part[] {
  paintLegs(canvas, body, plumage);
  paintTail(canvas, body, traits.tail, plumage);
  if (plumage.crest) paintCrest(canvas, body, plumage);
  paintBill(canvas, body, traits.bill, plumage);
  const torso = paintTorso(canvas, body, plumage, rng);
  paintMarkings(canvas, body, traits, plumage, torso);
  paintWing(canvas, body, traits.wing, plumage);
  paintFace(canvas, body, plumage, torso);
  return parts(body);
}

function parts(body: Body): Part[] {
  const named = (name: string, p: Point): Part => ({ name, ...body.put(p) });
  return [
    named('bill', body.head(0.92, -0.5)),
    named('crown', body.head(0.5, -0.78)),
    named('wing', at(-0.12, 0.02)),
    named('breast', at(0.52, 0.02)),
    named('tail', body.tailPoint(-1.1, 0.46)),
  ];
}

function torsoOutline(body: Body): Polygon {
  return closedCurve([
    body.head(0.5, -0.83),
    body.head(0.72, -0.72),
    body.head(0.81, -0.53),
    body.head(0.73, -0.36),
    at(0.66, -0.14),
    at(0.62, 0.14),
    at(0.42, 0.4),
    at(0.08, 0.52),
    at(-0.3, 0.46),
    at(-0.66, 0.34),
    at(-0.76, 0.18),
    at(-0.44, -0.1),
    at(-0.04, -0.34),
    body.head(0.2, -0.62),
    body.head(0.32, -0.78),
  ]);
}

function paintTorso(canvas: Canvas, body: Body, plumage: Plumage, rng: Rng): Coverage {
  const torso = canvas.fill(body.shape(torsoOutline(body)),
    { from: plumage.back, to: blend(plumage.back, plumage.belly, 0.25), a: body.put(at(0, -0.6)), b: body.put(at(0.2, 0.4)) });
  const belly = closedCurve([body.head(0.8, -0.46), at(0.6, -0.16), at(0.34, 0.14), at(-0.1, 0.3), at(-0.72, 0.3), at(-0.3, 0.6), at(0.3, 0.6), at(0.75, 0.2)]);
  const light: Colour = blend(plumage.belly, [1, 1, 1], 0.15);
  canvas.fill(body.mark(belly),
    { from: light, to: blend(plumage.belly, plumage.back, 0.3), a: body.put(at(0.4, -0.1)), b: body.put(at(0, 0.56)) }, 0.92, torso);
  if (plumage.streaks) paintStreaks(canvas, body, plumage, torso, rng);
  return torso;
}

/** The diagnostic patches on the body itself. */
function paintMarkings(canvas: Canvas, body: Body, traits: Traits, plumage: Plumage, torso: Coverage): void {
  const cap = closedCurve([
    body.head(0.12, -0.5), body.head(0.22, -0.88), body.head(0.56, -0.98),
    body.head(0.88, -0.76), body.head(0.74, -0.65), body.head(0.44, -0.55), body.head(0.28, -0.44),
  ]);
  canvas.fill(body.mark(cap), plumage[traits.crown], 1, torso);
  if (traits.breast === 'band') {
    const band = stroke(at(0.78, 0.02), at(0.52, 0.0), at(0.28, -0.18), 0.2, 0.15);
    canvas.fill(body.mark(band), [0.13, 0.11, 0.11], 0.95, torso);
  }
  if (plumage.vent) {
    const vent = closedCurve([at(-0.1, 0.6), at(-0.1, 0.4), at(-0.4, 0.28), at(-0.76, 0.24), at(-0.8, 0.5)]);
    canvas.fill(body.mark(vent), blend(plumage.back, [0.65, 0.3, 0.12], 0.7), 0.9, torso);
  }
}

function paintStreaks(canvas: Canvas, body: Body, plumage: Plumage, torso: Coverage, rng: Rng): void {
  for (let i = 0; i < 9; i++) {
    const start = at(rng.range(0.15, 0.6), rng.range(-0.1, 0.34));
    canvas.fill(body.mark(bar(start, at(start.x - 0.05, start.y + 0.13), 0.05, 0.02)), plumage.back, 0.75, torso);
  }
}

function paintTail(canvas: Canvas, body: Body, kind: Traits['tail'], plumage: Plumage): void {
  const tip = (x: number, y: number): Point => body.tailPoint(x, y);
  if (kind === 'fork') {
    const paint = { from: plumage.wing, to: plumage.lemon, a: body.put(tip(-0.6, 0.24)), b: body.put(tip(-0.78, 0.3)) };
    canvas.fill(body.shape([at(-0.5, 0.04), tip(-0.88, 0.04), tip(-1.28, 0.12), tip(-0.92, 0.42), at(-0.56, 0.34)]), paint);
    canvas.fill(body.shape([at(-0.52, 0.14), tip(-0.9, 0.34), tip(-1.16, 0.76), tip(-0.72, 0.64), at(-0.5, 0.42)]), paint);
    return;
  }
  const fan = closedCurve([at(-0.52, 0.1), tip(-0.92, 0.17), tip(-1.24, 0.24), tip(-1.34, 0.46), tip(-1.18, 0.68), tip(-0.82, 0.58), at(-0.5, 0.4)]);
  const feathers = canvas.fill(body.shape(fan), { from: plumage.back, to: plumage.wing, a: body.put(HIP), b: body.put(tip(-1.2, 0.45)) });
  canvas.fill(body.mark(ellipse(tip(-1.31, 0.5), 0.25, 0.34)), plumage.bars, 0.95, feathers);
}

function paintCrest(canvas: Canvas, body: Body, plumage: Plumage): void {
  const crest = [
    body.head(0.64, -0.76), body.head(0.46, -0.95), body.head(0.12, -1.1), body.head(0.24, -0.88),
    body.head(0.06, -0.82), body.head(0.24, -0.66), body.head(0.4, -0.6),
  ];
  canvas.fill(body.shape(crest), blend(plumage.back, plumage.wing, 0.4));
}

function paintBill(canvas: Canvas, body: Body, kind: Traits['bill'], plumage: Plumage): void {
  const upper = kind === 'cone' ? plumage.orange : plumage.horn;
  const lower = blend(upper, [0, 0, 0], 0.25);
  if (kind === 'cone') {
    canvas.fill(body.shape([body.head(0.74, -0.7), body.head(0.95, -0.64), body.head(1.14, -0.45), body.head(0.76, -0.49)]), upper);
    canvas.fill(body.shape([body.head(0.76, -0.49), body.head(1.14, -0.45), body.head(0.97, -0.36), body.head(0.74, -0.33)]), lower);
    return;
  }
  canvas.fill(body.shape(stroke(body.head(0.74, -0.53), body.head(1.02, -0.55), body.head(1.32, -0.41), 0.2, 0.04)), upper);
  canvas.fill(body.mark(stroke(body.head(0.76, -0.49), body.head(1.02, -0.48), body.head(1.27, -0.42), 0.06, 0.01)), lower);
}

function paintWing(canvas: Canvas, body: Body, kind: Traits['wing'], plumage: Plumage): void {
  const shoulder = at(0.3, -0.1);
  const turn = turnOf(body.pose.wing);
  const w = (x: number, y: number): Point => rotate(at(x, y), turn, shoulder);
  const outline = closedCurve([w(0.36, -0.1), w(0.16, -0.27), w(-0.26, -0.13), w(-0.62, 0.1), w(-0.94, 0.3), w(-0.5, 0.32), w(-0.1, 0.27), w(0.2, 0.14)]);
  const wing = canvas.fill(body.mark(outline),
    { from: blend(plumage.wing, plumage.back, 0.35), to: plumage.wing, a: body.put(w(0.3, -0.1)), b: body.put(w(-0.6, 0.2)) });
  for (const shift of [0, 0.09, 0.18]) {
    canvas.fill(
      body.mark(stroke(w(-0.3, 0.26 - shift), w(-0.55, 0.24 - shift * 0.6), w(-0.86, 0.29), 0.025, 0.015, 4)),
      blend(plumage.wing, [0, 0, 0], 0.35), 0.7, wing,
    );
  }
  if (kind === 'plain') return;
  canvas.fill(body.mark(stroke(w(0.16, -0.3), w(0.0, 0.02), w(0.1, 0.28), 0.13, 0.13)), plumage.bars, 0.95, wing);
  canvas.fill(body.mark(stroke(w(-0.14, -0.26), w(-0.28, 0.06), w(-0.14, 0.34), 0.13, 0.13)), plumage.bars, 0.95, wing);
}

function paintFace(canvas: Canvas, body: Body, plumage: Plumage, torso: Coverage): void {
  const eye = body.head(0.6, -0.57);
  if (plumage.mask) canvas.fill(body.mark(stroke(body.head(0.8, -0.53), body.head(0.55, -0.62), body.head(0.26, -0.5), 0.1, 0.07)), plumage.wing, 0.85, torso);
  if (plumage.ring) canvas.fill(body.mark(ellipse(eye, 0.115, 0.115)), blend(plumage.belly, [1, 1, 1], 0.5), 0.95, torso);
  canvas.fill(body.mark(ellipse(eye, 0.075, 0.075)), [0.06, 0.05, 0.05]);
  canvas.fill(body.mark(ellipse(at(eye.x + 0.025, eye.y - 0.03), 0.025, 0.025)), [0.95, 0.95, 0.95]);
}

function paintLegs(canvas: Canvas, body: Body, plumage: Plumage): void {
  for (const x of [0.0, 0.2]) {
    const foot = footOf(body.pose, x);
    canvas.fill(body.shape(bar(at(x, 0.42), foot, 0.06, 0.05)), blend(plumage.horn, [0, 0, 0], 0.15));
    canvas.fill(body.shape(bar(at(foot.x - 0.1, foot.y), at(foot.x + 0.14, foot.y), 0.05)), blend(plumage.horn, [0, 0, 0], 0.25));
  }
}

function footOf(pose: Pose, x: number): Point {
  return at(x + 0.08 + pose.stance, 0.76);
}

/** Where the bird stands, for the branch under it. */
export function perchPoint(body: Body): Point {
  return body.put(between(footOf(body.pose, 0), footOf(body.pose, 0.2), 0.5));
}
