/** The whole way of a picture into the network in evaluation, from the file on, against PIL: test/reference/photos_pil.py. */
import t from 'tap';
import { IMAGENET_MEAN, IMAGENET_STD } from '../src/data/augment.js';
import { decodeFile } from '../src/data/decode.js';
import { DecodePool } from '../src/data/decode-pool.js';
import type { DecodedImage } from '../src/data/types.js';
import { scope } from '../src/tensor/scope.js';
import { uploadBatch } from '../src/train/image-batch.js';
import { evalTransforms } from '../src/train/image-batch.js';
import { decodeLimits } from '../src/train/session.js';
import { configOf } from './support/default-training.js';
import { fixture, fixtureJson } from './data-helpers.js';
import { openRuntime } from './support/runtime.js';

const runtime = await openRuntime();
const { cases } = fixtureJson<{ cases: { picture: string; size: number; rgb: string }[] }>('photos', 'expected.json');

for (const { picture, size, rgb } of cases) {
  await t.test(`${picture} for ${size} pixels`, (t) => scope(async () => {
    const { augment } = configOf('--dataset', 'folder', '--data', 'x', '--image-size', String(size));
    const pool = new DecodePool({ workers: 0, ...decodeLimits(augment) });
    const image: DecodedImage = await pool.decode({ path: fixture('photos', picture) });
    await pool.close();
    const batch = { number: 0, indices: [0], images: [image], labels: Int32Array.of(0), boxes: [undefined] };
    const { images } = uploadBatch(runtime, batch as never, evalTransforms(augment, [image]), augment);
    const own = await images.data();
    const expected = Buffer.from(rgb, 'base64');
    let worst = 0;
    let total = 0;
    for (let i = 0; i < expected.length; i++) {
      const difference = Math.abs(own[i]! - (expected[i]! / 255 - IMAGENET_MEAN[i % 3]!) / IMAGENET_STD[i % 3]!) * IMAGENET_STD[i % 3]! * 255;
      worst = Math.max(worst, difference);
      total += difference;
    }
    t.equal(own.length, expected.length);
    // PIL rounds to 8 bits after each of its two passes, half a step each; the kernel does not round.
    t.ok(worst <= 1, `decoded to ${image.width}×${image.height}: largest difference ${worst.toFixed(3)} of 255, mean ${(total / expected.length).toFixed(3)}`);
  }));
}

await t.test('a picture beyond the decoding limit is resized to the bit as PIL does', async (t) => {
  const { picture, size, rgb } = cases.find((c) => c.picture === 'harbour.png' && c.size === 28)!;
  const { augment } = configOf('--dataset', 'folder', '--data', 'x', '--image-size', String(size));
  const image = await decodeFile(fixture('photos', picture), decodeLimits(augment));
  t.match(image, { width: 32, height: 32, shrink: [275 / 32, 258 / 32] });
  const expected = Buffer.from(rgb, 'base64');
  const centre = Array.from(expected, (_, i) => image.rgba[4 * ((2 + Math.floor(i / 84)) * 32 + 2 + (Math.floor(i / 3) % 28)) + (i % 3)]);
  t.same(centre, [...expected]);
  const windows = decodeLimits(configOf('--dataset', 'folder', '--data', 'x', '--image-size', '28', '--random-resized-crop', '0.3,1').augment);
  t.match(await decodeFile(fixture('photos', picture), windows), { width: 137, height: 129, shrink: [2, 2] }, 'random windows need more of the picture');
});

runtime.device.close();
