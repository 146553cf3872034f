/** What surrounds the bird: light, foliage, twigs, and decoys that look a little like parts of a bird. */
import { BACK, BARK, BELLY, BERRY, HORN, ORANGE, PALE, type Habitat } from './palette.js';
import { blend, type Canvas, type Colour } from './raster.js';
import type { Rng } from './rng.js';
import { at, bar, between, ellipse, leaf, stroke, type Point } from './shapes.js';

const anywhere = (rng: Rng, size: number): Point => at(rng.range(-0.05, 1.05) * size, rng.range(-0.05, 1.05) * size);

/** Out-of-focus background: a gradient and soft blobs. */
export function paintDistance(canvas: Canvas, habitat: Habitat, rng: Rng): void {
  const size = canvas.size;
  const tilt = rng.direction();
  const half = at((tilt.x * size) / 2, (tilt.y * size) / 2);
  canvas.flood({ from: habitat.far[0], to: habitat.far[1], a: at(size / 2 - half.x, size / 2 - half.y), b: at(size / 2 + half.x, size / 2 + half.y) });
  for (let i = 0; i < 12; i++) canvas.blob(anywhere(rng, size), rng.range(0.1, 0.4) * size, rng.pick(habitat.leaves), rng.range(0.25, 0.7));
  for (let i = 0; i < 5; i++) canvas.blob(anywhere(rng, size), rng.range(0.05, 0.18) * size, habitat.light, rng.range(0.2, 0.6));
}

/** Pieces of clutter: leaves mostly, then twigs, berries and decoys. */
export function paintClutter(canvas: Canvas, habitat: Habitat, rng: Rng): void {
  for (let i = 0; i < 14; i++) {
    const kind = rng.next();
    if (kind < 0.45) paintLeaf(canvas, habitat, anywhere(rng, canvas.size), rng);
    else if (kind < 0.68) paintTwig(canvas, rng);
    else if (kind < 0.84) paintBerry(canvas, rng);
    else paintDecoy(canvas, rng);
  }
}

export function paintLeaf(canvas: Canvas, habitat: Habitat, base: Point, rng: Rng): void {
  const size = canvas.size;
  const direction = rng.direction();
  const length = rng.range(0.08, 0.2) * size;
  const colour = blend(rng.pick(habitat.leaves), rng.chance(0.5) ? [0, 0, 0] : habitat.light, rng.range(0, 0.35));
  canvas.fill(leaf(base, direction, length, length * rng.range(0.3, 0.5)), colour, rng.range(0.75, 1));
  const tip = at(base.x + direction.x * length, base.y + direction.y * length);
  canvas.fill(bar(base, tip, size * 0.008, size * 0.003), blend(colour, habitat.light, 0.4), 0.8);
}

function paintTwig(canvas: Canvas, rng: Rng): void {
  const size = canvas.size;
  const from = anywhere(rng, size);
  const way = rng.direction();
  const length = rng.range(0.2, 0.6) * size;
  const to = at(from.x + way.x * length, from.y + way.y * length);
  const bend = at((from.x + to.x) / 2 + rng.range(-0.08, 0.08) * size, (from.y + to.y) / 2 + rng.range(-0.08, 0.08) * size);
  const colour = rng.pick(BARK);
  const width = rng.range(0.008, 0.022) * size;
  canvas.fill(stroke(from, bend, to, width, width * 0.5), colour);
  // A fork at the end, since forked tails must not be the only forks about.
  const side = rng.direction();
  canvas.fill(bar(between(from, to, 0.7), at(to.x + side.x * 0.08 * size, to.y + side.y * 0.08 * size), width * 0.6, width * 0.3), colour);
}

function paintBerry(canvas: Canvas, rng: Rng): void {
  const radius = rng.range(0.012, 0.045) * canvas.size;
  const centre = anywhere(rng, canvas.size);
  const colour = rng.pick(BERRY);
  canvas.fill(ellipse(centre, radius, radius), {
    from: blend(colour, [1, 1, 1], 0.25), to: blend(colour, [0, 0, 0], 0.3),
    a: at(centre.x - radius, centre.y - radius), b: at(centre.x + radius, centre.y + radius),
  });
  canvas.fill(ellipse(at(centre.x - radius * 0.35, centre.y - radius * 0.35), radius * 0.2, radius * 0.2), [1, 1, 1], 0.7);
}

/** A plump two-toned stone, a striped seed or a horn-coloured thorn: bird colours and part shapes without a bird. */
function paintDecoy(canvas: Canvas, rng: Rng): void {
  const size = canvas.size;
  const centre = anywhere(rng, size);
  const way = rng.direction();
  const kind = rng.int(3);
  if (kind === 0) {
    const radius = rng.range(0.04, 0.09) * size;
    canvas.fill(ellipse(centre, radius, radius * 0.7, way),
      { from: rng.pick(BACK), to: rng.pick(BELLY), a: at(centre.x, centre.y - radius * 0.7), b: at(centre.x, centre.y + radius * 0.7) });
  } else if (kind === 1) {
    const radius = rng.range(0.03, 0.07) * size;
    const seed = canvas.fill(ellipse(centre, radius, radius * 0.55, way), blend(rng.pick(BACK), [0, 0, 0], 0.3));
    for (const t of [-0.3, 0.3]) stripe(canvas, at(centre.x + way.x * radius * t, centre.y + way.y * radius * t), way, radius, rng.pick(PALE), seed);
  } else {
    const length = rng.range(0.03, 0.09) * size;
    const tip = at(centre.x + way.x * length, centre.y + way.y * length);
    canvas.fill(bar(centre, tip, rng.range(0.015, 0.05) * size, 0.5), rng.pick(rng.chance(0.5) ? HORN : ORANGE));
  }
}

function stripe(canvas: Canvas, p: Point, way: Point, radius: number, colour: Colour, clip: ReturnType<Canvas['fill']>): void {
  canvas.fill(bar(at(p.x - way.y * radius, p.y + way.x * radius), at(p.x + way.y * radius, p.y - way.x * radius), radius * 0.25), colour, 0.9, clip);
}

/** The branch the bird stands on. */
export function paintPerch(canvas: Canvas, foot: Point, thickness: number, rng: Rng): void {
  const size = canvas.size;
  const slope = rng.range(-0.25, 0.25);
  const left = at(foot.x - rng.range(0.25, 0.6) * size, 0);
  const right = at(foot.x + rng.range(0.25, 0.6) * size, 0);
  left.y = foot.y + (left.x - foot.x) * slope;
  right.y = foot.y + (right.x - foot.x) * slope;
  const colour = rng.pick(BARK);
  const drop = at(0, thickness * 0.45);
  const branch = stroke(at(left.x, left.y + drop.y), at(foot.x, foot.y + drop.y), at(right.x, right.y + drop.y), thickness, thickness * rng.range(0.5, 1));
  canvas.fill(branch, { from: blend(colour, [1, 1, 1], 0.15), to: blend(colour, [0, 0, 0], 0.35), a: at(foot.x, foot.y), b: at(foot.x, foot.y + thickness) });
}
