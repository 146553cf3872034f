/**
 * The progress of an epoch. On a terminal a bar in the manner of the reference program; elsewhere a line now and
 * then, so that a log file stays readable.
 */
import { Presets, SingleBar } from 'cli-progress';
import type { Accuracy } from './accuracy.js';

/** Means over the epoch so far; what is not known yet is left out. */
export interface ProgressMetrics {
  loss?: number;
  /** What the loss is made of, unweighted. */
  terms?: Readonly<Record<string, number>>;
  raw?: Accuracy;
  crop?: Accuracy;
  drop?: Accuracy;
}

interface ProgressOptions {
  /** What stands in front, such as `Epoch 3/30`. */
  label: string;
  /** Number of batches. */
  total: number;
  /** Batches done before, after a resume in the middle of an epoch. */
  done?: number;
  /** Where it is written; standard output by default. */
  stream?: ProgressStream;
  /** Seconds between lines when the stream is no terminal. */
  quietSeconds?: number;
  /** Clock in milliseconds. */
  now?: () => number;
}

type ProgressStream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

const QUIET_SECONDS = 15;
const BAR_WIDTH = 24;
/** Weight of the newest batch in the mean duration: a compile in the first batches is soon forgotten. */
const FRESHNESS = 0.1;
const SECONDS_PER_HOUR = 3600;

/** `75.4` gives `01:15`, `3700` gives `1:01:40`. */
export const formatSeconds = (seconds: number): string => {
  if (!Number.isFinite(seconds)) return '--:--';
  const whole = Math.round(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  const rest = `${two(Math.floor((whole % SECONDS_PER_HOUR) / 60))}:${two(whole % 60)}`;
  return whole >= SECONDS_PER_HOUR ? `${Math.floor(whole / SECONDS_PER_HOUR)}:${rest}` : rest;
};

const accuracyText = (name: string, accuracy: Accuracy | undefined): string =>
  accuracy ? `${name} ${accuracy.top1.toFixed(2)} (${accuracy.top5.toFixed(2)})` : '';

const termsText = (terms: Readonly<Record<string, number>>): string => {
  const parts = Object.entries(terms);
  return parts.length > 1 ? ` (${parts.map(([name, value]) => `${name} ${value.toFixed(4)}`).join(', ')})` : '';
};

/** Loss, then top-1 (top-5) of the raw, crop and drop branches, as far as known. */
export const metricsText = ({ loss, terms = {}, raw, crop, drop }: ProgressMetrics): string =>
  [loss === undefined ? '' : `loss ${loss.toFixed(4)}${termsText(terms)}`, accuracyText('raw', raw), accuracyText('crop', crop), accuracyText('drop', drop)]
    .filter(Boolean).join(', ');

/** Progress of one epoch; call {@link EpochProgress.update} after each batch and {@link EpochProgress.finish} once. */
export class EpochProgress {
  private readonly stream: ProgressStream;
  private readonly now: () => number;
  private readonly bar: SingleBar | undefined;
  private readonly startedAt: number;
  private readonly first: number;
  private metrics: ProgressMetrics = {};
  private done: number;
  private lastAt: number;
  private lastLineAt: number;
  private secondsPerBatch = NaN;

  constructor(private readonly options: ProgressOptions) {
    this.stream = options.stream ?? process.stdout;
    this.now = options.now ?? (() => performance.now());
    this.first = this.done = options.done ?? 0;
    this.startedAt = this.lastAt = this.lastLineAt = this.now();
    if (!this.stream.isTTY) return;
    this.bar = new SingleBar({
      format: '{label} {bar} {value}/{total} {tail}',
      barsize: BAR_WIDTH,
      stream: this.stream,
      hideCursor: true,
      // A terminal narrower than the line cuts it; a second line would be left behind at each redraw.
      linewrap: false,
      gracefulExit: false,
    }, Presets.shades_classic);
    this.bar.start(options.total, this.first, { label: options.label, tail: '' });
  }

  /**
   * Reports that `done` batches are through.
   *
   * @param metrics new means; without them the previous ones stay (the device is read only every few steps)
   */
  update(done: number, metrics?: ProgressMetrics): void {
    const at = this.now();
    if (done > this.done) {
      const each = (at - this.lastAt) / 1000 / (done - this.done);
      this.secondsPerBatch = Number.isNaN(this.secondsPerBatch) ? each : this.secondsPerBatch + FRESHNESS * (each - this.secondsPerBatch);
      this.done = done;
      this.lastAt = at;
    }
    if (metrics) this.metrics = metrics;
    if (this.bar) this.bar.update(this.done, { label: this.options.label, tail: this.tail() });
    else if (at - this.lastLineAt >= (this.options.quietSeconds ?? QUIET_SECONDS) * 1000) this.writeLine(at, this.tail());
  }

  /** Ends the bar and leaves one line with the epoch's duration, mean speed and final metrics. */
  finish(metrics?: ProgressMetrics): void {
    if (metrics) this.metrics = metrics;
    const seconds = (this.now() - this.startedAt) / 1000;
    const speed = seconds > 0 ? (this.done - this.first) / seconds : 0;
    const tail = this.join(`[${formatSeconds(seconds)}, ${speed.toFixed(2)} batches/s]`);
    if (this.bar) {
      this.bar.update(this.done, { label: this.options.label, tail });
      this.bar.stop();
    } else {
      this.writeLine(this.now(), tail);
    }
  }

  /** Writes a line of its own without tearing the bar. */
  log(line: string): void {
    if (this.stream.isTTY) this.stream.write('\r\u001b[K');
    this.stream.write(`${line}\n`);
  }

  private tail(): string {
    const left = (this.options.total - this.done) * this.secondsPerBatch;
    const elapsed = (this.lastAt - this.startedAt) / 1000;
    const speed = this.secondsPerBatch > 0 ? (1 / this.secondsPerBatch).toFixed(2) : '-';
    return this.join(`[${formatSeconds(elapsed)}, ETA ${formatSeconds(left)}, ${speed} batches/s]`);
  }

  private join(time: string): string {
    const metrics = metricsText(this.metrics);
    return metrics ? `${time} ${metrics}` : time;
  }

  private writeLine(at: number, tail: string): void {
    this.lastLineAt = at;
    this.stream.write(`${this.options.label}  ${this.done}/${this.options.total} ${tail}\n`);
  }
}
