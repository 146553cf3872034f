// Matrix products and convolutions for GPUs, with tiles in workgroup memory: 64 by 64 results per
// workgroup of 256, 4 by 4 per invocation, 16 products deep. Needs no optional feature.
//# include gemm
//# include grid
//# include tail

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> w: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

var<workgroup> left: array<array<vec4f, 16>, 16>;     // [depth][row / 4]
var<workgroup> right: array<array<vec4f, 16>, 16>;    // [depth][column / 4]

// Invocation (tx, ty) owns rows 4 ty … 4 ty + 3 and columns 4 tx … 4 tx + 3 of the tile.
fn multiply(sum: ptr<function, array<vec4f, 4>>, tx: u32, ty: u32) {
  for (var d = 0u; d < 16u; d++) {
    let a = left[d][ty];
    let b = right[d][tx];
    (*sum)[0] += a.x * b;
    (*sum)[1] += a.y * b;
    (*sum)[2] += a.z * b;
    (*sum)[3] += a.w * b;
  }
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * P.batches) { return; }
  let tx = lane % 16u;
  let ty = lane / 16u;
  let batch = tile / (P.columnTiles * P.rowTiles);
  let row0 = ((tile / P.columnTiles) % P.rowTiles) * 64u;
  let column0 = (tile % P.columnTiles) * 16u;
  // Loads of x: this invocation brings quad lane % 4 of row lane / 4.
  let loadRow = lane / 4u;
  let loadQuad = lane % 4u;
  let p = min(row0 + loadRow, P.rows - 1u);
  let baseX = i32(p % P.outW) * P.mulX + P.offX;
  let baseY = i32((p / P.outW) % P.outH) * P.mulY + P.offY;
  let image = (p / P.outW / P.outH) * P.inH;
  var sum: array<vec4f, 4>;
  for (var r = 0u; r < P.kernelH; r++) {
    for (var s = 0u; s < P.kernelW; s++) {
      let iy = baseY + i32(r) * P.stepY;
      let ix = baseX + i32(s) * P.stepX;
      let inside = within(iy, P.inH) && within(ix, P.inW);
      let at = batch * P.xBatch + select(0u, ((image + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      for (var k = 0u; k < P.depth4; k += 4u) {
        let quad = k + loadQuad;
        let a = select(vec4f(0.0), x[at + min(quad, P.depth4 - 1u)], inside && quad < P.depth4);
        for (var i = 0u; i < 4u; i++) { left[loadQuad * 4u + i][loadRow / 4u][loadRow % 4u] = a[i]; }
        loadRight(k, tap, column0, lane);
        workgroupBarrier();
        multiply(&sum, tx, ty);
        workgroupBarrier();
      }
    }
  }
  let column = column0 + tx;
  if (column >= P.width4) { return; }
  var shift = vec4f(0.0);
  if (BIAS) { shift = bias[column]; }
  for (var i = 0u; i < 4u; i++) {
    let row = row0 + ty * 4u + i;
    if (row < P.rows) { y[batch * P.yBatch + placeOf(row) + column] = maskTail(sum[i] + shift, column, P.width); }
  }
}

// Sixteen rows of w by sixteen vec4f of columns; rows beyond the depth are zero.
fn loadRight(k: u32, tap: u32, column0: u32, lane: u32) {
  if (TRANSPOSED) {
    let n = column0 * 4u + lane / 4u;
    let quad = k + lane % 4u;
    let v = select(vec4f(0.0), w[tap + min(n, P.width - 1u) * P.wPitch + min(quad, P.depth4 - 1u)], quad < P.depth4);
    for (var i = 0u; i < 4u; i++) { right[(lane % 4u) * 4u + i][lane / 16u][(lane / 4u) % 4u] = v[i]; }
  } else {
    let d = k * 4u + lane / 16u;
    let column = min(column0 + lane % 16u, P.width4 - 1u);
    right[lane / 16u][lane % 16u] = select(vec4f(0.0), w[tap + min(d, P.depth - 1u) * P.wPitch + column], d < P.depth);
  }
}

@compute @workgroup_size(256)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let taps = P.kernelH * P.kernelW;
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * taps * P.splits * P.batches) { return; }
  let tx = lane % 16u;
  let ty = lane / 16u;
  let column0 = (tile % P.columnTiles) * 16u;
  let block = ((tile / P.columnTiles) % P.rowTiles) * 16u;
  let tap = (tile / (P.columnTiles * P.rowTiles)) % taps;
  let part = tile / (P.columnTiles * P.rowTiles * taps);
  let split = part % P.splits;
  let batch = part / P.splits;
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let per = ((P.rows + P.splits - 1u) / P.splits + 3u) / 4u * 4u;
  let first = min(split * per, P.rows);
  let end = min(first + per, P.rows);
  var sum: array<vec4f, 4>;
  for (var p0 = first; p0 < end; p0 += 16u) {
    let p = p0 + ty;
    let safe = min(p, P.rows - 1u);
    let iy = i32((safe / P.outW) % P.outH) * P.mulY + tapY;
    let ix = i32(safe % P.outW) * P.mulX + tapX;
    let inside = p < end && iy >= 0 && iy < i32(P.inH) && ix >= 0 && ix < i32(P.inW);
    let pixel = select(0u, (((safe / P.outW / P.outH) * P.inH + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
    left[ty][tx] = select(vec4f(0.0), x[batch * P.xBatch + pixel + min(block + tx, P.depth4 - 1u)], inside);
    right[ty][tx] = select(vec4f(0.0), w[batch * P.wBatch + safe * P.wPitch + min(column0 + tx, P.width4 - 1u)], p < end);
    workgroupBarrier();
    multiply(&sum, tx, ty);
    workgroupBarrier();
  }
  let column = column0 + tx;
  if (column >= P.width4) { return; }
  let base = split * P.ySplit + batch * P.yBatch + tap * P.tapX + column;
  for (var i = 0u; i < 4u; i++) {
    let c = (block + ty) * 4u + i;
    if (c < P.depth) { y[base + c * P.yPitch] = maskTail(sum[i], column, P.width); }
  }
}
