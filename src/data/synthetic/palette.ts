/** Colours. Birds and clutter draw from overlapping lists on purpose: colour alone must not find the bird. */
import type { Colour } from './raster.js';

const rgb = (hex: number): Colour => [((hex >> 16) & 255) / 255, ((hex >> 8) & 255) / 255, (hex & 255) / 255];

export const BACK: readonly Colour[] = [0x7a5a3c, 0x5d6b46, 0x4d6680, 0x6f6f75, 0x9a5a34, 0x3f6f6b, 0x8a7a4c, 0x5a4a62, 0xa0764a, 0x3d4b5c].map(rgb);
export const BELLY: readonly Colour[] = [0xf0e6d0, 0xe8d9a8, 0xd9c2a0, 0xdcdcd8, 0xe9c9a6, 0xd8dfb8, 0xe6b890, 0xcfd6dd].map(rgb);
export const HORN: readonly Colour[] = [0x3a3230, 0x4a403a, 0x33363c, 0x2e2a2a].map(rgb);
export const CRIMSON: readonly Colour[] = [0xc2352c, 0xb52a3a, 0xd0452a].map(rgb);
export const AZURE: readonly Colour[] = [0x3f86d6, 0x4a9be0, 0x3a72c8].map(rgb);
export const LEMON: readonly Colour[] = [0xffd21a, 0xffdc3c, 0xf7c814].map(rgb);
export const ORANGE: readonly Colour[] = [0xe08a28, 0xe89a3c, 0xd97a2a].map(rgb);
export const PALE: readonly Colour[] = [0xf6f1e2, 0xf2e3b0, 0xe9edf0, 0xf3d9b8].map(rgb);
export const BERRY: readonly Colour[] = [0xc2352c, 0xb52a3a, 0xe08a28, 0x5a3f66, 0xf2ead8, 0x3f86d6, 0xb5541f].map(rgb);
export const BARK: readonly Colour[] = [0x5a4636, 0x6e5a48, 0x4a4440, 0x7d6a55, 0x3d352e].map(rgb);

/** A place: colours of the far background, of leaves, and of light spots. */
export interface Habitat {
  far: readonly [Colour, Colour];
  leaves: readonly Colour[];
  light: Colour;
}

const habitat = (top: number, bottom: number, leaves: number[], light: number): Habitat =>
  ({ far: [rgb(top), rgb(bottom)], leaves: leaves.map(rgb), light: rgb(light) });

export const HABITATS: readonly Habitat[] = [
  habitat(0xa9c4d6, 0xd7dfd2, [0x6f8f4a, 0x8aa85c, 0x5d7f50], 0xf4f6ee),
  habitat(0x6f8f58, 0x4c6b45, [0x7fa552, 0x94b566, 0x55803f], 0xcfe09a),
  habitat(0xb78b54, 0x86603c, [0xc4762e, 0xd9a441, 0x8f5a2a], 0xf0d59a),
  habitat(0x8f86a8, 0xd3a79a, [0x5f6f5a, 0x7a7f62, 0x6b5a62], 0xf0c9b0),
  habitat(0xc9b98a, 0x9a8a5a, [0xb3a45c, 0x8f8a4a, 0xcdbb78], 0xf2e8bf),
  habitat(0x7d949c, 0x566b70, [0x5f7f72, 0x7d9a8a, 0x49625e], 0xc9dcd8),
];
