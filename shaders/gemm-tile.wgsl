// Matrix products and convolutions for GPUs, with tiles in workgroup memory: (64 ROWS) by (64 COLUMNS) results per
// workgroup of 256, (4 ROWS) by (4 COLUMNS) per invocation, 16 products deep. What the next step needs is loaded while
// this one is computed. Needs no optional feature.
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail
//# include x
//# include w

@group(1) @binding(0) var<uniform> P: Params;

const ROWS = u32($ROWS);
const COLUMNS = u32($COLUMNS);

var<workgroup> left: array<vec4f, 256u * ROWS>;
var<workgroup> right: array<vec4f, 256u * COLUMNS>;    // [depth][column / 4]

// Sums of invocation (tx, ty): vec4f tx + 16 j of the tile's columns for each of its (4 ROWS) rows.
alias Sums = array<vec4f, 4u * ROWS * COLUMNS>;

// left is [row][depth / 4], as x lies in memory; the invocation has rows ty + 16 m.
fn multiplyRows(sum: ptr<function, Sums>, tx: u32, ty: u32) {
  for (var q = 0u; q < 4u; q++) {
    //# for m in 0..$HEIGHT
    let a$m = left[(ty + 16u * $m) * 4u + q];
    //# end
    //# for d in 0..4
    //# for j in 0..$COLUMNS
    let b$d$j = right[(q * 4u + $d) * (16u * COLUMNS) + tx + 16u * $j];
    //# end
    //# for m in 0..$HEIGHT
    //# for j in 0..$COLUMNS
    (*sum)[$m * $COLUMNS + $j] += a$m[$d] * b$d$j;
    //# end
    //# end
    //# end
  }
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let tx = lane % 16u;
  let ty = lane / 16u;
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * (64u * ROWS);
  let column0 = group.x * (16u * COLUMNS);
  // Of x this invocation brings quad lane % 4 of rows lane / 4 + 64 i.
  let loadQuad = lane % 4u;
  //# for i in 0..$ROWS
  let p$i = min(row0 + lane / 4u + u32($i) * 64u, P.rows - 1u);
  let baseX$i = i32(p$i % P.outW) * P.mulX + P.offX;
  let baseY$i = i32((p$i / P.outW) % P.outH) * P.mulY + P.offY;
  let image$i = (p$i / P.outW / P.outH) * P.inH;
  var a$i: vec4f;
  //# end
  //# for j in 0..$COLUMNS
  var b$j: vec4f;
  //# end
  var sum: Sums;
  var r = 0u;
  var s = 0u;
  var k = 0u;
  let steps = P.kernelH * P.kernelW * ((P.depth4 + 3u) / 4u);
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      let quad = k + loadQuad;
      let safe = min(quad, P.depth4 - 1u);
      //# for i in 0..$ROWS
      {
        let iy = baseY$i + i32(r) * P.stepY;
        let ix = baseX$i + i32(s) * P.stepX;
        let inside = within(iy, P.inH) && within(ix, P.inW);
        let at = batch * P.xBatch + select(0u, ((image$i + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
        a$i = select(vec4f(0.0), loadX(at + safe * P.xStep), inside && quad < P.depth4);
      }
      //# end
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      //# for j in 0..$COLUMNS
      b$j = ofW(k, tap, column0, lane + u32($j) * 256u);
      //# end
      k += 4u;
      if (k >= P.depth4) {
        k = 0u;
        s += 1u;
        if (s == P.kernelW) {
          s = 0u;
          r += 1u;
        }
      }
    }
    if (step > 0u) { multiplyRows(&sum, tx, ty); }
    workgroupBarrier();
    if (step < steps) {
      //# for i in 0..$ROWS
      left[lane + u32($i) * 256u] = a$i;
      //# end
      //# for j in 0..$COLUMNS
      keepW(lane + u32($j) * 256u, b$j);
      //# end
    }
    workgroupBarrier();
  }
  let place = batch * P.yBatch;
  //# for j in 0..$COLUMNS
  {
    let column = column0 + tx + u32($j) * 16u;
    if (column < P.width4) {
      let line = lineOf(column, P.width4);
      //# for m in 0..$HEIGHT
      {
        let row = row0 + ty + 16u * $m;
        if (row < P.rows) { store(place + placeOf(row) + column, column, P.width, sum[$m * $COLUMNS + $j], line); }
      }
      //# end
    }
  }
  //# end
}

// Number `at` of the vec4f of w that a step needs; rows beyond the depth are zero.
fn ofW(k: u32, tap: u32, column0: u32, at: u32) -> vec4f {
  if (TRANSPOSED) {
    let n = column0 * 4u + at / 4u;
    let quad = k + at % 4u;
    return select(vec4f(0.0), loadW(tap + min(n, P.width - 1u) * P.wPitch + min(quad, P.depth4 - 1u)), quad < P.depth4);
  }
  let d = k * 4u + at / (16u * COLUMNS);
  let column = min(column0 + at % (16u * COLUMNS), P.width4 - 1u);
  return select(vec4f(0.0), loadW(tap + min(d, P.depth - 1u) * P.wPitch + column), d < P.depth);
}

fn keepW(at: u32, v: vec4f) {
  if (TRANSPOSED) {
    for (var i = 0u; i < 4u; i++) { right[((at % 4u) * 4u + i) * (16u * COLUMNS) + at / 16u][(at / 4u) % 4u] = v[i]; }
  } else {
    right[at] = v;
  }
}

// left is [pixel][row / 4]; the invocation has the four rows of each quad ty + 16 i.
fn multiplyPixels(sum: ptr<function, Sums>, tx: u32, ty: u32) {
  for (var d = 0u; d < 16u; d++) {
    //# for i in 0..$ROWS
    let a$i = left[d * (16u * ROWS) + ty + 16u * $i];
    //# end
    //# for j in 0..$COLUMNS
    let b$j = right[d * (16u * COLUMNS) + tx + 16u * $j];
    //# end
    //# for i in 0..$ROWS
    //# for q in 0..4
    //# for j in 0..$COLUMNS
    (*sum)[($i * 4 + $q) * $COLUMNS + $j] += a$i[$q] * b$j;
    //# end
    //# end
    //# end
  }
}

@compute @workgroup_size(256)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let taps = P.kernelH * P.kernelW;
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * taps * P.splits * P.batches) { return; }
  let tx = lane % 16u;
  let ty = lane / 16u;
  let column0 = (tile % P.columnTiles) * (16u * COLUMNS);
  let block = ((tile / P.columnTiles) % P.rowTiles) * (16u * ROWS);
  let tap = (tile / (P.columnTiles * P.rowTiles)) % taps;
  let part = tile / (P.columnTiles * P.rowTiles * taps);
  let split = part % P.splits;
  let batch = part / P.splits;
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let per = ((P.rows + P.splits - 1u) / P.splits + 3u) / 4u * 4u;
  let first = min(split * per, P.rows);
  let end = min(first + per, P.rows);
  let steps = (end - first + 15u) / 16u;
  //# for i in 0..$ROWS
  var a$i: vec4f;
  //# end
  //# for j in 0..$COLUMNS
  var b$j: vec4f;
  //# end
  var sum: Sums;
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      let p = first + step * 16u + ty;
      let safe = min(p, P.rows - 1u);
      let iy = i32((safe / P.outW) % P.outH) * P.mulY + tapY;
      let ix = i32(safe % P.outW) * P.mulX + tapX;
      let inside = p < end && within(iy, P.inH) && within(ix, P.inW);
      let pixel = select(0u, (((safe / P.outW / P.outH) * P.inH + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
      //# for i in 0..$ROWS
      a$i = select(vec4f(0.0), loadX(batch * P.xBatch + pixel + min(block + tx + u32($i) * 16u, P.depth4 - 1u)), inside);
      //# end
      //# for j in 0..$COLUMNS
      b$j = select(vec4f(0.0), loadW(batch * P.wBatch + safe * P.wPitch + min(column0 + tx + u32($j) * 16u, P.width4 - 1u)), p < end);
      //# end
    }
    if (step > 0u) { multiplyPixels(&sum, tx, ty); }
    workgroupBarrier();
    if (step < steps) {
      //# for i in 0..$ROWS
      left[ty * (16u * ROWS) + tx + u32($i) * 16u] = a$i;
      //# end
      //# for j in 0..$COLUMNS
      right[ty * (16u * COLUMNS) + tx + u32($j) * 16u] = b$j;
      //# end
    }
    workgroupBarrier();
  }
  let base = split * P.ySplit + batch * P.yBatch + tap * P.tapX;
  let line = Line(vec4f(P.scale), vec4f(0.0));
  //# for j in 0..$COLUMNS
  {
    let column = column0 + tx + u32($j) * 16u;
    if (column < P.width4) {
      //# for i in 0..$ROWS
      //# for q in 0..4
      {
        let c = (block + ty + u32($i) * 16u) * 4u + $q;
        if (c < P.depth) { store(base + c * P.yPitch + column, column, P.width, sum[($i * 4 + $q) * $COLUMNS + $j], line); }
      }
      //# end
      //# end
    }
  }
  //# end
}
