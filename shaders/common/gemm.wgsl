// One description for matrix products and convolutions (src/ops/gemm.ts fills it in).
//
// Rows form:    y[p, n]       = sum over taps (r, s) and k of x[pixel(p, r, s), k] * w[r, s, k, n]
// Weights form: y[r, s, c, n] = sum over p of x[pixel(p, r, s), c] * w[p, n]
//
// p counts output pixels (image, oy, ox). The source row of a tap is oy * mulY + offY + r * stepY; outside
// of the image the tap contributes zero; likewise in x. A forward convolution has mul = stride and
// step = dilation. Its input gradient has mul = 1 and step = -dilation; with a stride, the input's pixels fall into
// stride * stride phases, each with its own part of the taps. A matrix product has one line of pixels. Lengths
// are in vec4f unless said otherwise.
struct Params {
  rows: u32,          // output pixels, all images
  outH: u32, outW: u32,
  inH: u32, inW: u32,
  kernelH: u32, kernelW: u32,
  mulY: i32, mulX: i32,
  offY: i32, offX: i32,
  stepY: i32, stepX: i32,
  depth: u32,         // logical k (rows form) or c (weights form), in elements
  depth4: u32,
  width: u32,         // logical n, in elements
  width4: u32,
  xPitch: u32,        // between pixels of x
  xStep: u32,         // between quads of a pixel (rows form)
  xFirst: u32,        // held: the first quad that counts
  xPanel: u32,        // between blocks of LANES rows (rows form of broadcast, with PLAIN)
  wPitch: u32,        // between rows of w
  wPanel: u32,        // between the columns of neighbouring tiles (rows form; as many as a tile has, where w is not packed)
  tapBase: u32,       // first tap of w, and what lies between taps downwards and sideways
  tapY: u32,
  tapX: u32,
  yPitch: u32,        // between rows of y
  yOrigin: u32,       // rows form with SCATTER: where pixels of y lie instead
  yImage: u32,
  yLine: u32,
  xBatch: u32,        // between batches or groups, in x, w and y
  wBatch: u32,
  yBatch: u32,
  columnTiles: u32,
  rowTiles: u32,
  batches: u32,
  firstColumnTile: u32,
  firstRowTile: u32,  // rows form: of this dispatch, whose grid is (column tiles, row tiles, batches)
  firstBatch: u32,
  splits: u32,        // weights form: parts into which the pixels are cut
  ySplit: u32,        // between their results
  turns: u32,         // held: blocks of LANES rows of a tile
  continues: u32,     // held, PARTS: 1 where sums begin with what y holds
  tileRows: u32,      // a loop bound the compiler must not know, so that it does not unroll
  scale: f32,         // the epilogue's, from here on
  biased: u32,        // rows of bias
  adds: u32,          // 1: residual is added, 2: what y holds
  relu: u32,
}

override TRANSPOSED: bool = false;     // w is [n][k] instead of [k][n]
override PLAIN: bool = false;          // x is a matrix of P.rows rows, pitch xPitch: no pixels to find
override RAGGED: bool = false;         // rows form: the depth ends within a quad, and w is not transposed
override SCATTER: bool = false;        // the rows of y are not one behind the other
override BARE: bool = false;           // held: sums are stored as they are, and fill whole vec4f
override PARTS: bool = false;          // held: the depth is cut into parts, each of which goes on with the sums of the one before

fn within(at: i32, size: u32) -> bool {
  return at >= 0 && at < i32(size);
}

// Where a pixel of the result lies.
fn placeOf(row: u32) -> u32 {
  if (!SCATTER) { return row * P.yPitch; }
  let line = quotient(row, P.outW);
  let image = quotient(line, P.outH);
  return P.yOrigin + image * P.yImage + (line - image * P.outH) * P.yLine + (row - line * P.outW) * P.yPitch;
}
