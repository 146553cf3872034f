import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { UserError, fail } from '../errors.js';
import { BadImageError } from './decode.js';
import type { DecodeReply, DecodeRequest } from './decode-worker.js';
import { fromFailure, produceImage, sourceName, type ImageSource } from './produce-image.js';
import type { DecodedImage, DecodeLimits } from './types.js';

interface DecodePoolOptions extends Partial<DecodeLimits> {
  /** Worker threads; default one less than the cores, at least 1. 0 decodes on the calling thread. */
  workers?: number;
  /** A picture that takes longer is given up with an error; default 120 s. */
  timeoutSeconds?: number;
  /** Script of the workers; default the built decode-worker.js. */
  workerFile?: string;
}

/** Thrown by jobs whose signal was aborted before they started. */
export class DecodeCancelled extends Error {
  override readonly name = 'DecodeCancelled';
}

interface Job {
  number: number;
  source: ImageSource;
  signal?: AbortSignal;
  resolve(image: DecodedImage): void;
  reject(error: unknown): void;
}

interface Thread {
  worker: Worker;
  /** Jobs handed over, oldest first: the first one is being decoded. */
  running: Job[];
  /** Why the thread is about to end, where known. */
  failure?: string;
  /** It was ended because its picture took too long. */
  gaveUp?: boolean;
  timer?: NodeJS.Timeout;
}

// One job being decoded and one waiting in the worker: it never idles while the main thread is busy.
const JOBS_PER_THREAD = 2;
const GRACE_MS = 1000;

/**
 * Decodes pictures on worker threads. Jobs wait in this pool and are handed over two a worker, so callers bound
 * the memory by how many pictures they ask for at once. A worker that dies costs the picture it was at (an
 * error that names the file); its other jobs go to the rest. Idle workers do not keep the process alive.
 */
export class DecodePool {
  readonly workers: number;
  private readonly limits: DecodeLimits;
  private readonly timeoutMs: number;
  private readonly workerFile: string;
  private readonly threads = new Set<Thread>();
  private queue: Job[] = [];
  private nextNumber = 0;
  private busyHere = false;
  private closed = false;

  constructor(options: DecodePoolOptions = {}) {
    this.workers = options.workers ?? Math.max(1, availableParallelism() - 1);
    if (!Number.isInteger(this.workers) || this.workers < 0) fail(`workers must be a whole number, 0 or more, got ${this.workers}`);
    this.limits = { maxSide: options.maxSide ?? Infinity, ...(options.square === undefined ? {} : { square: options.square }) };
    if (!(this.limits.maxSide >= 1)) fail(`maxSide must be at least 1 pixel, got ${this.limits.maxSide}`);
    this.timeoutMs = (options.timeoutSeconds ?? 120) * 1000;
    this.workerFile = this.workers === 0 ? '' : (options.workerFile ?? findWorkerFile());
  }

  /**
   * Decodes one picture. Rejects with BadImageError (the picture is unusable or takes too long), UserError (the worker
   * died) or DecodeCancelled (`signal` was aborted before the job started).
   */
  decode(source: ImageSource, signal?: AbortSignal): Promise<DecodedImage> {
    if (this.closed) return Promise.reject(new Error('the decode pool is closed'));
    return new Promise((resolve, reject) => {
      this.queue.push({ number: this.nextNumber++, source, signal, resolve, reject });
      this.dispatch();
    });
  }

  /** Ends all workers and rejects what is still waiting. */
  async close(): Promise<void> {
    this.closed = true;
    const threads = [...this.threads];
    const left = [...this.queue, ...threads.flatMap((thread) => thread.running)];
    this.queue = [];
    this.threads.clear();
    for (const job of left) job.reject(new DecodeCancelled('the decode pool was closed'));
    await Promise.all(threads.map((thread) => thread.worker.terminate()));
  }

  private dispatch(): void {
    this.dropCancelled();
    if (this.workers === 0) {
      void this.decodeHere();
      return;
    }
    while (this.queue.length > 0) {
      const thread = this.freeThread();
      if (!thread) return;
      this.hand(this.queue.shift()!, thread);
    }
  }

  private dropCancelled(): void {
    if (!this.queue.some((job) => job.signal?.aborted)) return;
    const cancelled = this.queue.filter((job) => job.signal?.aborted);
    this.queue = this.queue.filter((job) => !job.signal?.aborted);
    for (const job of cancelled) job.reject(new DecodeCancelled('decoding was cancelled'));
  }

  /** Without workers: one at a time, so that breaking off early costs one picture at most. */
  private async decodeHere(): Promise<void> {
    if (this.busyHere) return;
    const job = this.queue.shift();
    if (!job) return;
    this.busyHere = true;
    await produceImage(job.source, this.limits).then(job.resolve, job.reject);
    this.busyHere = false;
    this.dispatch();
  }

  /** The least loaded thread with room, or a new one where all are busy and more are allowed. */
  private freeThread(): Thread | undefined {
    let best: Thread | undefined;
    for (const thread of this.threads) {
      if (thread.failure === undefined && (!best || thread.running.length < best.running.length)) best = thread;
    }
    if (best && best.running.length === 0) return best;
    if (this.threads.size < this.workers) return this.startThread();
    return best && best.running.length < JOBS_PER_THREAD ? best : undefined;
  }

  private startThread(): Thread {
    // Loaders and inspectors of the main process do not belong into the workers.
    const worker = new Worker(this.workerFile, { execArgv: [] });
    const thread: Thread = { worker, running: [] };
    this.threads.add(thread);
    worker.on('message', (reply: DecodeReply) => this.settle(thread, reply));
    worker.on('error', (error: Error) => (thread.failure ??= error.message));
    worker.on('exit', (code) => this.bury(thread, code));
    return thread;
  }

  private hand(job: Job, thread: Thread): void {
    thread.running.push(job);
    thread.worker.ref();
    if (thread.running.length === 1) this.watch(thread);
    thread.worker.postMessage({ job: job.number, source: job.source, limits: this.limits } satisfies DecodeRequest);
  }

  private settle(thread: Thread, reply: DecodeReply): void {
    const index = thread.running.findIndex((job) => job.number === reply.job);
    if (index < 0) return;
    const job = thread.running.splice(index, 1)[0]!;
    if (reply.image) job.resolve(reply.image);
    else job.reject(fromFailure(reply.failure!));
    if (thread.running.length === 0) thread.worker.unref();
    this.watch(thread);
    this.dispatch();
  }

  /** Times the job at the head of the thread. */
  private watch(thread: Thread): void {
    clearTimeout(thread.timer);
    if (thread.running.length === 0) return;
    const giveUp = () => {
      thread.failure = `took longer than ${this.timeoutMs / 1000} s to decode`;
      thread.gaveUp = true;
      void thread.worker.terminate();
    };
    // The reply may be waiting behind this timer if the main thread was blocked: let it through first.
    thread.timer = setTimeout(() => (thread.timer = setTimeout(giveUp, GRACE_MS)), this.timeoutMs);
  }

  private bury(thread: Thread, code: number): void {
    clearTimeout(thread.timer);
    if (!this.threads.delete(thread)) return;
    const [culprit, ...innocent] = thread.running;
    this.queue.unshift(...innocent);
    culprit?.reject(whyItEnded(sourceName(culprit.source), thread, code));
    this.dispatch();
  }
}

/** A worker that ends by itself may lack memory, which is no fault of the picture it was at. */
const whyItEnded = (picture: string, { failure = '', gaveUp }: Thread, code: number): UserError => (gaveUp
  ? new BadImageError(picture, failure)
  : new UserError(`decoding ${picture} ended its worker (${failure || `exit code ${code}`}); remove the file if it is damaged, or use fewer workers if memory is short`));

/** The built worker: decode-worker.js beside this bundle, in a folder above it, or in a dist/ there. */
export function findWorkerFile(from = fileURLToPath(import.meta.url)): string {
  for (let dir = dirname(from); ; dir = dirname(dir)) {
    const found = [join(dir, 'decode-worker.js'), join(dir, 'dist', 'decode-worker.js')].find((file) => existsSync(file));
    if (found) return found;
    if (dir === dirname(dir)) break;
  }
  return fail(`decode-worker.js was not found beside or above ${dirname(from)}; run "npm run build", or decode without workers (0)`);
}
