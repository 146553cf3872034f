// PyTorch's layouts and those of libraries with channels last. Data of rank 4 is reordered, the rest left alone.

const reorder = ({ shape, data }, order) => {
  const to = order.map((axis) => shape[axis]);
  const strides = order.map((axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const out = new Float32Array(data.length);
  let at = 0;
  for (let a = 0; a < to[0]; a++) for (let b = 0; b < to[1]; b++) for (let c = 0; c < to[2]; c++) {
    const start = a * strides[0] + b * strides[1] + c * strides[2];
    for (let d = 0; d < to[3]; d++) out[at++] = data[start + d * strides[3]];
  }
  return { shape: to, data: out };
};

const orders = {
  /** Images [N, C, H, W] and [N, H, W, C]. */
  image: { last: [0, 2, 3, 1], first: [0, 3, 1, 2] },
  /** Weights [out, in, rows, columns] and [rows, columns, in, out]. */
  weight: { last: [2, 3, 1, 0], first: [3, 2, 0, 1] },
};

const kindOf = (name, shape) => (shape.length !== 4 ? null : ['w', 'dw'].includes(name) || name.endsWith('weight') ? 'weight' : 'image');

/** From PyTorch's layout, by the name of an input. */
export const channelsLast = (name, array) => {
  const kind = kindOf(name, array.shape);
  return kind ? reorder(array, orders[kind].last) : array;
};

/** Back to PyTorch's layout, by the name of an output. */
export const channelsFirst = (name, array) => {
  const kind = kindOf(name, array.shape);
  return kind ? reorder(array, orders[kind].first) : array;
};
