// The embedded data set: determinism, truth of the boxes, balance of the classes, errors.
import t from 'tap';
import { generateImage, SYNTHETIC_CLASSES, type SyntheticImage } from '../src/data/synthetic.js';
import { Canvas } from '../src/data/synthetic/raster.js';
import { keyOf, Rng } from '../src/data/synthetic/rng.js';
import { mix32 } from '../src/mix32.js';
import { at, bar, ellipse } from '../src/data/synthetic/shapes.js';
import { SPECIES, type Traits } from '../src/data/synthetic/species.js';

/** FNV-1a, to compare pictures with recorded values. */
function fingerprint(bytes: Uint8Array): string {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash.toString(16);
}

const area = (canvas: Canvas): number => canvas.pixels.reduce((sum, v) => sum + v, 0) / 3;

t.test('the hash is the published MurmurHash3 finaliser', async (t) => {
  // Computed with Python's unbounded integers.
  t.equal(mix32(0), 0);
  t.equal(mix32(1), 0x514e28b7);
  t.equal(mix32(0x9e3779b9), 0x92ca2f0e);
  t.not(keyOf(1, 2), keyOf(2, 1), 'order matters');
});

t.test('random numbers cover [0, 1) evenly', async (t) => {
  const rng = new Rng(7);
  const bins = new Array<number>(10).fill(0);
  for (let i = 0; i < 10000; i++) bins[Math.floor(rng.next() * 10)]!++;
  // Binomial(10000, 0.1) has standard deviation 30; five of them are exceeded about once in a million.
  for (const count of bins) t.ok(Math.abs(count - 1000) < 150, `bin holds ${count}`);
});

t.test('polygon coverage is exact', async (t) => {
  const canvas = new Canvas(32);
  canvas.fill([at(3.25, 4.5), at(10.75, 4.5), at(10.75, 9.25), at(3.25, 9.25)], [1, 1, 1]);
  // Float32 accumulation over a few dozen terms: 1e-4 is ample.
  t.ok(Math.abs(area(canvas) - 7.5 * 4.75) < 1e-4, 'a rectangle between pixels');
  t.ok(Math.abs(canvas.pixels[(4 * 32 + 3) * 3]! - 0.75 * 0.5) < 1e-6, 'its corner pixel');
  const tilted = new Canvas(32);
  tilted.fill(bar(at(5, 6), at(22, 19), 3), [1, 1, 1]);
  t.ok(Math.abs(area(tilted) - 3 * Math.sqrt(17 * 17 + 13 * 13)) < 1e-3, 'a tilted bar');
  const disc = new Canvas(32);
  disc.fill(ellipse(at(16, 16), 9, 9), [1, 1, 1]);
  // A regular 24-gon has 98.86 % of its circle's area.
  t.ok(Math.abs(area(disc) - 81 * 12 * 0.25881904510252074) < 1e-3, 'a 24-gon');
  const outside = new Canvas(32);
  outside.fill(ellipse(at(0, 16), 9, 9), [1, 1, 1]);
  t.ok(Math.abs(area(outside) - area(disc) / 2) < 1e-3, 'half of it lies outside the picture');
});

t.test('a picture depends on seed, split and index only', async (t) => {
  const first = generateImage(3, 'train', 12);
  generateImage(3, 'train', 13);
  t.same(generateImage(3, 'train', 12), first, 'repeatable, whatever was painted in between');
  const others = [generateImage(4, 'train', 12), generateImage(3, 'test', 12), generateImage(3, 'train', 20)];
  for (const other of others) t.not(fingerprint(other.pixels), fingerprint(first.pixels));
});

t.test('pictures are the recorded ones', async (t) => {
  // Recorded with Node 20 on x86-64: only exactly rounded operations are used, so every machine must agree.
  t.equal(fingerprint(generateImage(0, 'train', 0).pixels), 'b1be70c1');
  t.equal(fingerprint(generateImage(0, 'test', 5).pixels), '930badfd');
});

t.test('boxes and parts lie where the bird is', async (t) => {
  for (let index = 0; index < 64; index++) {
    const picture = generateImage(0, 'test', index);
    const { x0, y0, x1, y1 } = picture.box;
    const context = `picture ${index}`;
    t.ok(x0 >= 8 && y0 >= 8 && x1 <= 120 && y1 <= 120, `${context}: inside the central 7/8`);
    const width = (x1 - x0) / picture.width;
    t.ok(width > 0.25 && width < 0.65, `${context}: bird covers ${width} of the width`);
    for (const part of picture.parts) {
      t.ok(part.x > x0 - 1 && part.x < x1 + 1 && part.y > y0 - 1 && part.y < y1 + 1, `${context}: ${part.name} inside the box`);
    }
    t.same(picture.parts.map((p) => p.name), ['bill', 'crown', 'wing', 'breast', 'tail']);
  }
});

t.test('the box is tight: repainting the class changes pixels only inside it', async (t) => {
  // Two classes at the same index offset share every random draw except the label, so their pictures differ by parts.
  const plain = paintedAs(0);
  for (let label = 1; label < SPECIES.length; label++) {
    const other = paintedAs(label);
    const box = union(plain, other);
    for (let i = 0; i < plain.pixels.length; i++) {
      if (plain.pixels[i] === other.pixels[i]) continue;
      const x = Math.floor(i / 3) % plain.width;
      const y = Math.floor(i / 3 / plain.width);
      if (x < box.x0 || x >= box.x1 || y < box.y0 || y >= box.y1) return t.fail(`class ${label} differs at ${x}, ${y}`);
    }
    t.not(fingerprint(other.pixels), fingerprint(plain.pixels), `class ${label} looks different`);
  }
});

function paintedAs(label: number): SyntheticImage {
  return generateImage(5, 'test', 40, label);
}

function union(a: SyntheticImage, b: SyntheticImage): SyntheticImage['box'] {
  return { x0: Math.min(a.box.x0, b.box.x0), y0: Math.min(a.box.y0, b.box.y0), x1: Math.max(a.box.x1, b.box.x1), y1: Math.max(a.box.y1, b.box.y1) };
}

t.test('species differ in at least two parts and no part tells a class', async (t) => {
  const parts: (keyof Traits)[] = ['bill', 'crown', 'wing', 'breast', 'tail'];
  t.equal(SYNTHETIC_CLASSES.length, 8);
  t.equal(new Set(SYNTHETIC_CLASSES).size, 8);
  for (const a of SPECIES) {
    for (const b of SPECIES) {
      if (a === b) continue;
      t.ok(parts.filter((part) => a[part] !== b[part]).length >= 2, `${a.name} and ${b.name}`);
    }
  }
  for (const part of parts) t.equal(SPECIES.filter((s) => s[part] === SPECIES[0]![part]).length, 4, `${part} is balanced`);
});

t.test('pictures go round the classes', async (t) => {
  for (let i = 0; i < 20; i++) t.equal(generateImage(2, 'train', i).label, i % SYNTHETIC_CLASSES.length);
});

t.test('bad requests are explained', async (t) => {
  t.throws(() => generateImage(0, 'train', -1), { name: 'UserError', message: /index is -1/ });
});
