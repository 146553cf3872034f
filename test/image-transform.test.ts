/** The fused image kernel against the float64 reference of the data layer, with drawn transforms, and against PIL. */
import t from 'tap';
import { worstError } from '../src/autograd/verify.js';
import { drawTrainTransform, evalTransform, resizedSide } from '../src/data/augment.js';
import { CaseRandom } from '../src/ops/cases.js';
import { type ImageRow, imageTransform, imageTransformOp } from '../src/ops/image-transform.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/scope.js';
import { uploadImages } from '../src/train/image-batch.js';
import { defaultAugment } from './data-helpers.js';
import { referenceTransform, type ReferenceSource } from './reference-image.js';
import { pilCases, pilPicture } from './support/pil.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const random = new CaseRandom(4);

const picture = (width: number, height: number): ReferenceSource =>
  ({ width, height, rgba: Uint8Array.from({ length: 4 * width * height }, (_, i) => (i % 4 === 3 ? 255 : Math.floor(random.next() * 256))) });

const packedWords = (pictures: readonly ReferenceSource[]): Uint32Array => {
  const bytes = new Uint8Array(pictures.reduce((sum, { rgba }) => sum + rgba.length, 0));
  pictures.reduce((at, { rgba }) => (bytes.set(rgba, at), at + rgba.length), 0);
  return new Uint32Array(bytes.buffer);
};

for (const contrast of [0, 0.4]) {
  await t.test(`transforms as training draws them, ${contrast ? 'with' : 'without'} contrast`, (t) => scope(async () => {
    const options = { ...defaultAugment(24), contrast };
    const pictures = [picture(61, 40), picture(27, 27), picture(5, 90), picture(130, 111)];
    let offset = 0;
    const transforms = pictures.map(({ width, height }, i) =>
      (i === 3 ? evalTransform(options, width, height) : drawTrainTransform(options, 7, 1, i, width, height)));
    const rows = pictures.map(({ width, height }, i): ImageRow => {
      offset += i === 0 ? 0 : pictures[i - 1]!.width * pictures[i - 1]!.height;
      return { offset, width, height, ...transforms[i]! };
    });
    const words = packedWords(pictures);
    const actual = await imageTransform(tensor(words, [words.length]), rows, { size: 24, mean: options.mean, std: options.std }).data();
    pictures.forEach((source, i) => {
      const expected = referenceTransform(source, transforms[i]!, options);
      // Positions up to 130 are rounded by 8e-6 of a pixel; pixels of noise differ by half the range and more.
      t.ok(worstError(actual.subarray(i * 24 * 24 * 3, (i + 1) * 24 * 24 * 3), expected).error < 1e-5, `${source.width}×${source.height}`);
    });
  }));
}

await t.test('pictures that are uploaded in parts each keep their transform', (t) => scope(async () => {
  const options = defaultAugment(24);
  const pictures = [picture(40, 30), picture(33, 50), picture(28, 28), picture(60, 25)];
  const transforms = pictures.map(({ width, height }, i) => drawTrainTransform(options, 7, 2, i, width, height));
  const whole = await uploadImages(runtime, pictures, transforms, options).data();
  const { limits } = runtime.device;
  const before = limits.maxStorageBufferBindingSize;
  // Two parts of a picture and more, and one of each.
  for (const most of [12_000, 6600]) {
    Object.assign(limits, { maxStorageBufferBindingSize: most });
    const dispatches = runtime.recorder.statistics.dispatches;
    const parts = uploadImages(runtime, pictures, transforms, options);
    const ops = runtime.recorder.statistics.dispatches - dispatches;
    Object.assign(limits, { maxStorageBufferBindingSize: before });
    t.ok(ops > 2, `${ops} dispatches`);
    t.ok((await parts.data()).every((value, i) => value === whole[i]), `at most ${most} bytes`);
  }
}));

await t.test('PIL: resize, crop, flip and jitter', (t) => scope(async () => {
  const packed = tensor(packedWords([pilPicture]), [pilPicture.width * pilPicture.height]);
  for (const { size, side, transform, check } of pilCases) {
    t.equal(resizedSide(defaultAugment(size)), side);
    const row: ImageRow = { offset: 0, width: pilPicture.width, height: pilPicture.height, ...transform };
    check(t, await imageTransform(packed, [row], { size, mean: [0, 0, 0], std: [1, 1, 1] }).data());
  }
}));

const asItIs = { x0: 0, y0: 0, scaleX: 1, scaleY: 1, flip: false, brightness: 1, contrast: 1, saturation: 1, order: 0 };

await t.test('pictures outside the packed pixels are refused', (t) => scope(async () => {
  const row: ImageRow = { ...asItIs, offset: 1, width: 2, height: 2 };
  const options = { size: 2, mean: [0, 0, 0], std: [1, 1, 1] } as const;
  t.throws(() => imageTransform(tensor(new Uint32Array(4)), [row], options), /picture 0 \(2×2 from pixel 1\) does not lie within the 4 packed pixels/);
  t.throws(() => imageTransform(tensor(new Uint32Array(8)), [{ ...row, order: 6 }], options), /orders 0 … 5/);
  t.throws(() => imageTransform(tensor(new Uint32Array(8)), [], options), /no pictures/);
}));

runtime.device.close();

t.test('its cost counts what the definition asks for', async (t) => {
  const row: ImageRow = { ...asItIs, offset: 0, width: 80, height: 60, scaleX: 2, scaleY: 1.5 };
  const size = 20;
  const costOf = (change: Partial<ImageRow>) =>
    imageTransformOp.cost([[80 * 60]], { rows: [{ ...row, ...change }], size, mean: [0, 0, 0], std: [1, 1, 1] }, [1, size, size, 3]);
  // A triangle of twice the scale: 4 taps on each of 1.5 source lines a pixel, and 3 such lines; a multiply and an add each, for three colours.
  const resized = 3 * 2 * (4 * 1.5 + 3);
  const normalised = 6;
  t.equal(costOf({}).flops, size * size * (resized + normalised));
  t.equal(costOf({ brightness: 1.1, saturation: 0.7 }).flops, size * size * (resized + 3 + (5 + 9) + normalised));
  t.equal(costOf({ contrast: 1.1 }).flops, size * size * (resized + (5 + 1 + 9) + normalised));
  t.equal(costOf({}).bytes, 4 * (40 * 30) + 16 * size * size, 'of the picture only the window is read');
});
