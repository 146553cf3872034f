import { parentPort } from 'node:worker_threads';
import { produceImage, toFailure, type Failure, type ImageSource } from './produce-image.js';
import type { DecodedImage, DecodeLimits } from './types.js';

/** Main thread → worker. */
export interface DecodeRequest {
  job: number;
  source: ImageSource;
  limits: DecodeLimits;
}

/** Worker → main thread; the pixels are handed over, not copied. */
export interface DecodeReply {
  job: number;
  image?: DecodedImage;
  failure?: Failure;
}

// One after the other: a second picture in progress would only cost memory.
let turn: Promise<void> = Promise.resolve();
parentPort?.on('message', (request: DecodeRequest) => {
  turn = turn.then(() => answer(request));
});

async function answer({ job, source, limits }: DecodeRequest): Promise<void> {
  try {
    const image = await produceImage(source, limits);
    parentPort!.postMessage({ job, image } satisfies DecodeReply, [image.rgba.buffer as ArrayBuffer]);
  } catch (error) {
    parentPort!.postMessage({ job, failure: toFailure(error) } satisfies DecodeReply);
  }
}
