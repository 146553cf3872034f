// Matrix products and convolutions for GPUs, with tiles in workgroup memory: (64 ROWS) by (64 COLUMNS) results per
// workgroup of 256, (4 ROWS) by (4 COLUMNS) per invocation, 16 products deep. Needs no optional feature.
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

var<workgroup> left: array<array<vec4f, 16u * ROWS>, 16>;        // [depth][row / 4]
var<workgroup> right: array<array<vec4f, 16u * COLUMNS>, 16>;    // [depth][column / 4]

// Sums of invocation (tx, ty): row quads ty + 16 i and column quads tx + 16 j of the tile, four rows each.
alias Sums = array<vec4f, 4u * ROWS * COLUMNS>;

fn multiply(sum: ptr<function, Sums>, tx: u32, ty: u32) {
  for (var d = 0u; d < 16u; d++) {
    //# for i in 0..$ROWS
    let a$i = left[d][ty + u32($i) * 16u];
    //# end
    //# for j in 0..$COLUMNS
    let b$j = right[d][tx + u32($j) * 16u];
    //# end
    //# for i in 0..$ROWS
    //# for j in 0..$COLUMNS
    (*sum)[($i * $COLUMNS + $j) * 4] += a$i.x * b$j;
    (*sum)[($i * $COLUMNS + $j) * 4 + 1] += a$i.y * b$j;
    (*sum)[($i * $COLUMNS + $j) * 4 + 2] += a$i.z * b$j;
    (*sum)[($i * $COLUMNS + $j) * 4 + 3] += a$i.w * b$j;
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
  // Loads of x: this invocation brings quad lane % 4 of rows lane / 4 + 64 i.
  let loadQuad = lane % 4u;
  //# for i in 0..$ROWS
  let p$i = min(row0 + lane / 4u + u32($i) * 64u, P.rows - 1u);
  let baseX$i = i32(p$i % P.outW) * P.mulX + P.offX;
  let baseY$i = i32((p$i / P.outW) % P.outH) * P.mulY + P.offY;
  let image$i = (p$i / P.outW / P.outH) * P.inH;
  //# end
  var sum: Sums;
  for (var r = 0u; r < P.kernelH; r++) {
    for (var s = 0u; s < P.kernelW; s++) {
      //# for i in 0..$ROWS
      let iy$i = baseY$i + i32(r) * P.stepY;
      let ix$i = baseX$i + i32(s) * P.stepX;
      let inside$i = within(iy$i, P.inH) && within(ix$i, P.inW);
      let at$i = batch * P.xBatch + select(0u, ((image$i + u32(iy$i)) * P.inW + u32(ix$i)) * P.xPitch, inside$i);
      //# end
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      for (var k = 0u; k < P.depth4; k += 4u) {
        let quad = k + loadQuad;
        let safe = min(quad, P.depth4 - 1u);
        //# for i in 0..$ROWS
        {
          let a = select(vec4f(0.0), loadX(at$i + safe * P.xStep), inside$i && quad < P.depth4);
          let row = lane / 4u + u32($i) * 64u;
          for (var c = 0u; c < 4u; c++) { left[loadQuad * 4u + c][row / 4u][row % 4u] = a[c]; }
        }
        //# end
        //# for j in 0..$COLUMNS
        loadRight(k, tap, column0, lane + u32($j) * 256u);
        //# end
        workgroupBarrier();
        multiply(&sum, tx, ty);
        workgroupBarrier();
      }
    }
  }
  //# for j in 0..$COLUMNS
  {
    let column = column0 + tx + u32($j) * 16u;
    if (column < P.width4) {
      let line = lineOf(column, P.width4);
      //# for i in 0..$ROWS
      for (var c = 0u; c < 4u; c++) {
        let row = row0 + (ty + u32($i) * 16u) * 4u + c;
        if (row < P.rows) { store(batch * P.yBatch + placeOf(row) + column, column, P.width, sum[($i * $COLUMNS + $j) * 4 + c], line); }
      }
      //# end
    }
  }
  //# end
}

// Sixteen rows of w by (16 COLUMNS) vec4f of columns, of which this brings number `at`; rows beyond the depth are zero.
fn loadRight(k: u32, tap: u32, column0: u32, at: u32) {
  if (TRANSPOSED) {
    let n = column0 * 4u + at / 4u;
    let quad = k + at % 4u;
    let v = select(vec4f(0.0), loadW(tap + min(n, P.width - 1u) * P.wPitch + min(quad, P.depth4 - 1u)), quad < P.depth4);
    for (var i = 0u; i < 4u; i++) { right[(at % 4u) * 4u + i][at / 16u][(at / 4u) % 4u] = v[i]; }
  } else {
    let row = at / (16u * COLUMNS);
    let d = k * 4u + row;
    let quad = at % (16u * COLUMNS);
    let column = min(column0 + quad, P.width4 - 1u);
    right[row][quad] = select(vec4f(0.0), loadW(tap + min(d, P.depth - 1u) * P.wPitch + column), d < P.depth);
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
  var sum: Sums;
  for (var p0 = first; p0 < end; p0 += 16u) {
    let p = p0 + ty;
    let safe = min(p, P.rows - 1u);
    let iy = i32((safe / P.outW) % P.outH) * P.mulY + tapY;
    let ix = i32(safe % P.outW) * P.mulX + tapX;
    let inside = p < end && within(iy, P.inH) && within(ix, P.inW);
    let pixel = select(0u, (((safe / P.outW / P.outH) * P.inH + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
    //# for i in 0..$ROWS
    left[ty][tx + u32($i) * 16u] = select(vec4f(0.0), loadX(batch * P.xBatch + pixel + min(block + tx + u32($i) * 16u, P.depth4 - 1u)), inside);
    //# end
    //# for j in 0..$COLUMNS
    right[ty][tx + u32($j) * 16u] = select(vec4f(0.0), loadW(batch * P.wBatch + safe * P.wPitch + min(column0 + tx + u32($j) * 16u, P.width4 - 1u)), p < end);
    //# end
    workgroupBarrier();
    multiply(&sum, tx, ty);
    workgroupBarrier();
  }
  let base = split * P.ySplit + batch * P.yBatch + tap * P.tapX;
  //# for j in 0..$COLUMNS
  {
    let column = column0 + tx + u32($j) * 16u;
    if (column < P.width4) {
      //# for i in 0..$ROWS
      for (var q = 0u; q < 4u; q++) {
        let c = (block + ty + u32($i) * 16u) * 4u + q;
        if (c < P.depth) { store(base + c * P.yPitch + column, column, P.width, sum[($i * $COLUMNS + $j) * 4 + q], Line(vec4f(P.scale), vec4f(0.0))); }
      }
      //# end
    }
  }
  //# end
}
