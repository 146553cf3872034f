// Float64 values of single output elements, written from the definitions, so that a row of billions of operations can
// be checked in a moment and without any of the peers.
import { count, uniform } from './numbers.mjs';

const SAMPLES = 96;

/** Index [n, c, h, w] (or fewer axes) of element k. */
const unravel = (k, shape) => {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = k % shape[axis];
    k = Math.floor(k / shape[axis]);
  }
  return index;
};

const image = ({ shape: [, c, h, w], data }) => (n, ch, y, x) => (y < 0 || y >= h || x < 0 || x >= w ? 0 : data[((n * c + ch) * h + y) * w + x]);

const sumOver = (from, to, term) => {
  let total = 0;
  for (let i = from; i < to; i++) total += term(i);
  return total;
};

const conv = ({ attrs: { stride, pad }, outputs }, inputs) => {
  const [x, w, dy] = ['x', 'w', 'dy'].map((name) => inputs[name] && image(inputs[name]));
  const [outs, ins, kh, kw] = outputs.dw ?? inputs.w.shape;
  const [, , h, wide] = outputs.y ?? inputs.dy.shape;
  const taps = (term) => sumOver(0, kh, (r) => sumOver(0, kw, (s) => term(r, s)));
  // An output pixel reaches the input pixel only where stride and padding allow it.
  const from = (at, tap, axis) => ((at + pad[axis] - tap) % stride === 0 ? (at + pad[axis] - tap) / stride : -1);
  return {
    y: ([n, o, i, j]) => sumOver(0, ins, (c) => taps((r, s) => x(n, c, i * stride - pad[0] + r, j * stride - pad[1] + s) * w(o, c, r, s))),
    dx: ([n, c, i, j]) => sumOver(0, outs, (o) => taps((r, s) => dy(n, o, from(i, r, 0), from(j, s, 1)) * w(o, c, r, s))),
    dw: ([o, c, r, s]) => sumOver(0, h, (i) => sumOver(0, wide, (j) => dy(0, o, i, j) * x(0, c, i * stride - pad[0] + r, j * stride - pad[1] + s))),
  };
};

const matmul = (_, { a, b }) => ({
  y: ([i, j]) => sumOver(0, a.shape[1], (k) => a.data[i * a.shape[1] + k] * b.data[k * b.shape[1] + j]),
});

const attentionPool = (_, { a, b, dy }) => {
  const [, maps, h, w] = a.shape;
  const channels = b.shape[1];
  const [pa, pb] = [a, b].map(({ shape, data }) => (n, c, p) => data[(n * shape[1] + c) * h * w + p]);
  const grad = (n, m, c) => dy.data[(n * maps + m) * channels + c];
  return {
    y: ([n, m, c]) => sumOver(0, h * w, (p) => pa(n, m, p) * pb(n, c, p)),
    da: ([n, m, i, j]) => sumOver(0, channels, (c) => grad(n, m, c) * pb(n, c, i * w + j)),
    db: ([n, c, i, j]) => sumOver(0, maps, (m) => grad(n, m, c) * pa(n, m, i * w + j)),
  };
};

/** Weight of source pixel `from` in target pixel `to`, corners aligned. */
const resizeWeight = (from, to, size, target) => Math.max(0, 1 - Math.abs((to * (size - 1)) / (target - 1) - from));

const resize = ({ attrs: { size }, outputs }, { x, dy }) => {
  const [, , h, w] = x ? x.shape : outputs.dx;
  const weight = (r, i, c, j) => resizeWeight(r, i, h, size[0]) * resizeWeight(c, j, w, size[1]);
  const [source, grad] = [x && image(x), dy && image(dy)];
  return {
    y: ([n, c, i, j]) => sumOver(0, h, (r) => sumOver(0, w, (s) => weight(r, i, s, j) * source(n, c, r, s))),
    dx: ([n, c, r, s]) => sumOver(0, size[0], (i) => sumOver(0, size[1], (j) => weight(r, i, s, j) * grad(n, c, i, j))),
  };
};

const batchNorm = ({ attrs: { eps } }, { x, gamma, beta, dy }) => {
  const pixels = x.shape[2] * x.shape[3];
  const known = new Map();
  const statistics = (c) => {
    if (known.has(c)) return known.get(c);
    const plane = x.data.subarray(c * pixels, (c + 1) * pixels);
    const mean = sumOver(0, pixels, (p) => plane[p]) / pixels;
    const inverse = 1 / Math.sqrt(sumOver(0, pixels, (p) => (plane[p] - mean) ** 2) / pixels + eps);
    const unit = (p) => (plane[p] - mean) * inverse;
    const sum = dy ? sumOver(0, pixels, (p) => dy.data[c * pixels + p]) : 0;
    const dot = dy ? sumOver(0, pixels, (p) => dy.data[c * pixels + p] * unit(p)) : 0;
    known.set(c, { inverse, unit, sum, dot });
    return known.get(c);
  };
  const at = (i, j) => i * x.shape[3] + j;
  return {
    y: ([, c, i, j]) => statistics(c).unit(at(i, j)) * gamma.data[c] + beta.data[c],
    dx: ([, c, i, j]) => {
      const { inverse, unit, sum, dot } = statistics(c);
      return gamma.data[c] * inverse * (dy.data[c * pixels + at(i, j)] - (sum + unit(at(i, j)) * dot) / pixels);
    },
    dgamma: ([c]) => statistics(c).dot,
    dbeta: ([c]) => statistics(c).sum,
  };
};

const maxPool = ({ attrs: { kernel, stride } }, { x, dy }) => {
  const [source, grad] = [image(x), dy && image(dy)];
  const [, , h, w] = x.shape;
  const best = (n, c, i, j) => {
    let [value, at] = [-Infinity, [0, 0]];
    for (let r = i * stride; r < Math.min(h, i * stride + kernel); r++) for (let s = j * stride; s < Math.min(w, j * stride + kernel); s++) {
      if (source(n, c, r, s) > value) [value, at] = [source(n, c, r, s), [r, s]];
    }
    return { value, at };
  };
  const first = (i) => Math.max(0, Math.ceil((i - kernel + 1) / stride));
  const last = (i, windows) => Math.min(windows, Math.floor(i / stride) + 1);
  return {
    y: ([n, c, i, j]) => best(n, c, i, j).value,
    dx: ([n, c, r, s]) => sumOver(first(r), last(r, dy.shape[2]), (i) => sumOver(first(s), last(s, dy.shape[3]), (j) => {
      const { at } = best(n, c, i, j);
      return at[0] === r && at[1] === s ? grad(n, c, i, j) : 0;
    })),
  };
};

const definitions = { conv, matmul, attentionPool, resize, batchNorm, maxPool };

/**
 * Float64 values at some elements of each output, the first and the last among them.
 *
 * @returns {Record<string, {at: number, value: number}[]> | null} null for rows whose reference is the other peers
 */
export const sampledReference = (row, inputs) => {
  const define = definitions[row.op];
  if (!define) return null;
  const values = define(row, inputs);
  return Object.fromEntries(Object.entries(row.outputs).map(([name, shape]) => {
    const [total, next] = [count(shape), uniform(`${row.id} samples of ${name}`)];
    const places = [0, total - 1, ...Array.from({ length: SAMPLES }, () => Math.floor(next() * total))];
    return [name, places.map((at) => ({ at, value: values[name](unravel(at, shape)) }))];
  }));
};
