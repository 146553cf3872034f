/** Which images of operands are kept, and which are overwritten. */
import t from 'tap';
import type { PooledBuffer } from '../src/device/buffers.js';
import type { Device } from '../src/device/device.js';
import { type ImageCopy, OperandImages } from '../src/kernels/operand-images.js';
import type { BufferRange } from '../src/kernels/recorder.js';
import { CaseRandom } from '../src/ops/cases.js';

const MiB = 2 ** 20;
Object.assign(globalThis, { GPUTextureUsage: { STORAGE_BINDING: 8, COPY_DST: 2 } });

/** Images on a device that only keeps count: of the bytes of its textures, and of the copies to them. */
const counted = () => {
  const count = { bytes: 0, copies: 0 };
  const createTexture = ({ size: [width, height] }: { size: [number, number] }) => {
    const bytes = width * height * 16;
    count.bytes += bytes;
    return { createView: () => ({}), destroy: () => { count.bytes -= bytes; } };
  };
  const images = new OperandImages({ gpu: { createTexture }, limits: { maxTextureDimension2D: 16384 } } as unknown as Device, () => { count.copies++; });
  /** Both operands of a product, as the recorder asks for them. */
  const product = (...ranges: BufferRange[]) => {
    for (const range of ranges) images.holding(range);
    return ranges.map((range) => images.holding(range) ?? images.fill(range));
  };
  return { images, count, product };
};

const range = (id: number, bytes: number): BufferRange => ({ buffer: { id, size: bytes } as PooledBuffer, offset: 0, bytes });

t.test('copies cover a range, whole lines where the buffer is long enough, and never read behind its end', async (t) => {
  const cases = [
    [0, 1024, 16384, 1], [0, 1500, 65536, 1], [0, 1500, 32768, 1], [256, 1500, 65536, 1], [32768, 2048, 65536, 1], [40960, 1500, 65536, 2],
    [65536 - 256, 16, 65536, 1], [49152 + 256, 1000, 65536, 1],
  ] as const;
  for (const [offset, texels, size, most] of cases) {
    const copies: ImageCopy[] = [];
    const gpu = { createTexture: () => ({ createView: () => ({}), destroy: () => {} }) };
    const images = new OperandImages({ gpu, limits: { maxTextureDimension2D: 16384 } } as unknown as Device, (copy) => { copies.push(copy); });
    images.fill({ buffer: { id: 1, size } as PooledBuffer, offset, bytes: 16 * texels });
    // Texels of the range that each copy brings, by their place in the image; a line has 1024 of them.
    const brought = copies.flatMap(({ source, target, size: [width, height] }) => {
      const [x = 0, y = 0] = (target.origin ?? []) as number[];
      t.ok(source.offset! + 16 * (1024 * (height - 1) + width) <= size, `${offset}, ${texels} texels: within the buffer`);
      t.equal(source.offset! - offset, 16 * (1024 * y + x), 'each texel at its place');
      return Array.from({ length: width * height }, (_, i) => 1024 * (y + Math.floor(i / width)) + x + (i % width));
    });
    t.equal(copies.length, most, 'in as few copies as that takes');
    t.ok(brought.length >= texels && brought.slice(0, texels).every((place, i) => place === i), `${offset}, ${texels} texels: all are there`);
  }
});

t.test('what forward multiplied is there for backward, until it is written or the work is submitted', async (t) => {
  const { images, count, product } = counted();
  const layers = Array.from({ length: 8 }, (_, i) => [range(3 * i, MiB), range(3 * i + 1, MiB / 4), range(3 * i + 2, MiB / 2)] as const);
  for (const [x, w] of layers) product(x, w);
  t.equal(count.copies, 16);
  for (const [x, w, dy] of layers.toReversed()) {
    product(dy, w);
    product(x, dy);
  }
  t.equal(count.copies, 24, 'only the gradients are new');
  images.forget(0);
  product(layers[0]![0], layers[1]![0]);
  t.equal(count.copies, 25, 'a buffer that was written is copied again');
  images.submitted();
  product(layers[1]![0]);
  t.equal(count.copies, 26);
});

t.test('other parts of a buffer are other operands', async (t) => {
  const { product } = counted();
  const buffer = { id: 1, size: MiB } as PooledBuffer;
  const parts: BufferRange[] = [{ buffer, offset: 0, bytes: 4096 }, { buffer, offset: 256, bytes: 4096 }, { buffer, offset: 0, bytes: 8192 }];
  const images = parts.map((part) => product(part)[0]!);
  t.equal(new Set(images).size, 3);
  parts.forEach((part, i) => t.equal(product({ ...part })[0], images[i]));
});

t.test('no image is higher than the adapter takes', async (t) => {
  const heights: number[] = [];
  const createTexture = ({ size }: { size: [number, number] }) => {
    heights.push(size[1]);
    return { createView: () => ({}), destroy: () => {} };
  };
  const images = new OperandImages({ gpu: { createTexture }, limits: { maxTextureDimension2D: 3000 } } as unknown as Device, () => {});
  for (const lines of [700, 2500]) images.fill(range(lines, lines * 16384));
  t.same(heights, [1024, 3000]);
});

t.test('operands that are larger than all that is kept share three images', async (t) => {
  const { count, product } = counted();
  for (let i = 0; i < 20; i++) product(range(2 * i, 64 * MiB), range(2 * i + 1, 64 * MiB));
  t.same(count, { bytes: 3 * 64 * MiB, copies: 40 });
});

t.test('work that repeats comes to a state in which nothing makes room, and operands of a product never share an image', async (t) => {
  for (let seed = 0; seed < 40; seed++) {
    const random = new CaseRandom(seed);
    const int = (n: number): number => Math.floor(n * random.next());
    const ranges = Array.from({ length: 30 }, (_, id) => range(id, 2 ** (12 + int(15)) * (1 + int(3))));
    const step = Array.from({ length: 100 }, () => ({ x: ranges[int(30)]!, w: ranges[int(30)]!, written: int(30), submits: int(20) === 0 }));
    const { images, count, product } = counted();
    const run = (): number[] => step.flatMap(({ x, w, written, submits }) => {
      const [one, other] = product(x, w);
      if ((one === other) !== (x === w) || one!.source !== x || other!.source !== w) t.fail(`seed ${seed}: operands got the wrong images`);
      images.forget(written);
      if (submits) images.submitted();
      return [one!.number, other!.number];
    });
    const largest = 2 ** Math.ceil(Math.log2(Math.max(...ranges.map(({ bytes }) => bytes))));
    const submitted = (): string => {
      const numbers = run();
      images.submitted();
      return numbers.join();
    };
    for (let i = 0; i < 10; i++) submitted();
    const { replacements } = images;
    const before = submitted();
    if (submitted() !== before || images.replacements !== replacements) t.fail(`seed ${seed}: still changing`);
    if (count.bytes > Math.max(16 * MiB, 3 * largest)) t.fail(`seed ${seed}: ${count.bytes} bytes are held`);
  }
});
