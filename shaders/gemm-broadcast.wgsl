enable subgroups;
// Matrix products and convolutions for software adapters. Every load there costs as much as dozens of
// multiply-adds, workgroup memory included, but subgroupBroadcast is free: the LANES lanes of a subgroup
// hold different rows of x and share them, while each lane owns four columns of the result. Where the result
// has few columns, the lanes form GROUPS groups that own the same columns of different rows.
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail

const LANES = u32($LANES);
const GROUPS = u32($GROUPS);
const COLUMNS = LANES / GROUPS;        // lanes side by side

//# include x
//# include w
@group(1) @binding(0) var<uniform> P: Params;

// A tile of (LANES * BLOCKS) rows by (COLUMNS * 4) columns.
@compute @workgroup_size($LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * (LANES * u32($BLOCKS));
  let first = lane / COLUMNS * COLUMNS;
  let column = group.x * COLUMNS + lane % COLUMNS;
  let safeColumn = group.x * P.wPanel + min(lane % COLUMNS, P.width4 - 1u - group.x * COLUMNS);
  let lastPixel = P.rows - 1u;
  //# for j in 0..$BLOCKS
  let p$j = min(row0 + u32($j) * LANES + lane, lastPixel);
  var at$j = batch * P.xBatch + p$j / LANES * P.xPanel + p$j % LANES * P.xPitch;
  var inside$j = true;
  var baseX$j = 0i;
  var baseY$j = 0i;
  var image$j = 0u;
  if (!PLAIN) {
    let line = quotient(p$j, P.outW);
    let n = quotient(line, P.outH);
    baseX$j = i32(p$j - line * P.outW) * P.mulX + P.offX;
    baseY$j = i32(line - n * P.outH) * P.mulY + P.offY;
    image$j = n * P.inH;
  }
  //# end
  var sum: array<vec4f, COLUMNS * u32($BLOCKS)>;
  for (var r = 0u; r < P.kernelH; r++) {
    for (var s = 0u; s < P.kernelW; s++) {
      //# for j in 0..$BLOCKS
      let iy$j = baseY$j + i32(r) * P.stepY;
      let ix$j = baseX$j + i32(s) * P.stepX;
      if (!PLAIN) {
        inside$j = within(iy$j, P.inH) && within(ix$j, P.inW);
        at$j = batch * P.xBatch + select(0u, ((image$j + u32(iy$j)) * P.inW + u32(ix$j)) * P.xPitch, inside$j);
      }
      //# end
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      for (var k = 0u; k < P.depth4; k++) {
        // All loads come first: the compiler otherwise sinks additions across a load's branches.
        //# for j in 0..$BLOCKS
        let a$j = select(vec4f(0.0), loadX(at$j + k * P.xStep), inside$j);
        //# end
        var b0: vec4f;
        var b1: vec4f;
        var b2: vec4f;
        var b3: vec4f;
        if (TRANSPOSED) {
          let n = min(column, P.width4 - 1u) * 4u;
          let last = P.width - 1u;
          let t0 = loadW(tap + min(n, last) * P.wPitch + k);
          let t1 = loadW(tap + min(n + 1u, last) * P.wPitch + k);
          let t2 = loadW(tap + min(n + 2u, last) * P.wPitch + k);
          let t3 = loadW(tap + min(n + 3u, last) * P.wPitch + k);
          b0 = vec4f(t0.x, t1.x, t2.x, t3.x);
          b1 = vec4f(t0.y, t1.y, t2.y, t3.y);
          b2 = vec4f(t0.z, t1.z, t2.z, t3.z);
          b3 = vec4f(t0.w, t1.w, t2.w, t3.w);
        } else {
          // x is zero beyond its depth, so which row of w meets it there does not matter.
          let last = P.depth - 1u;
          b0 = loadW(tap + min(4u * k, last) * P.wPitch + safeColumn);
          b1 = loadW(tap + min(4u * k + 1u, last) * P.wPitch + safeColumn);
          b2 = loadW(tap + min(4u * k + 2u, last) * P.wPitch + safeColumn);
          b3 = loadW(tap + min(4u * k + 3u, last) * P.wPitch + safeColumn);
        }
        //# for j in 0..$BLOCKS
        //# for l in 0..$COLUMNS
        {
          var v: vec4f;
          if (GROUPS == 1u) { v = subgroupBroadcast(a$j, u32($l)); } else { v = subgroupShuffle(a$j, first + u32($l)); }
          sum[u32($j) * COLUMNS + u32($l)] += v.x * b0 + v.y * b1 + v.z * b2 + v.w * b3;
        }
        //# end
        //# end
      }
    }
  }
  if (column >= P.width4) { return; }
  let line = lineOf(column, P.width4);
  for (var i = 0u; i < P.tileRows; i++) {
    let row = row0 + i / COLUMNS * LANES + first + i % COLUMNS;
    if (row < P.rows) { store(batch * P.yBatch + placeOf(row) + column, column, P.width, sum[i], line); }
  }
}

// A tile of (COLUMNS * 4) rows c by (COLUMNS * 4) columns n for one tap and one part of the pixels,
// four pixels at a time. Each group of lanes has a part of its own.
@compute @workgroup_size($LANES)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let taps = P.kernelH * P.kernelW;
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * taps * P.splits * P.batches) { return; }
  let first = lane / COLUMNS * COLUMNS;
  let column = (tile % P.columnTiles) * COLUMNS + lane % COLUMNS;
  let block = ((tile / P.columnTiles) % P.rowTiles) * COLUMNS;
  let tap = (tile / (P.columnTiles * P.rowTiles)) % taps;
  let part = tile / (P.columnTiles * P.rowTiles * taps);
  let split = part % P.splits * GROUPS + lane / COLUMNS;
  let batch = part / P.splits;
  let safeColumn = batch * P.wBatch + min(column, P.width4 - 1u);
  let safeDepth = batch * P.xBatch + min(block + lane % COLUMNS, P.depth4 - 1u);
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let parts = P.splits * GROUPS;
  let steps = ((P.rows + parts - 1u) / parts + 3u) / 4u;
  var p = min(split * steps * 4u, P.rows);
  let end = min(p + steps * 4u, P.rows);
  var ox = p % P.outW;
  var oy = (p / P.outW) % P.outH;
  var image = p / P.outW / P.outH;
  var sum: array<vec4f, COLUMNS * 4u>;
  // The same number of steps for all lanes: those past the end of their part add zeros.
  for (var i = 0u; i < steps; i++) {
    //# for u in 0..4
    let iy$u = i32(oy) * P.mulY + tapY;
    let ix$u = i32(ox) * P.mulX + tapX;
    let inside$u = iy$u >= 0 && iy$u < i32(P.inH) && ix$u >= 0 && ix$u < i32(P.inW) && p + u32($u) < end;
    let at$u = safeDepth + select(0u, ((image * P.inH + u32(iy$u)) * P.inW + u32(ix$u)) * P.xPitch, inside$u);
    ox += 1u;
    let rowEnds$u = ox == P.outW;
    ox = select(ox, 0u, rowEnds$u);
    oy = select(oy, oy + 1u, rowEnds$u);
    let imageEnds$u = oy == P.outH;
    oy = select(oy, 0u, imageEnds$u);
    image = select(image, image + 1u, imageEnds$u);
    //# end
    //# for u in 0..4
    let a$u = select(vec4f(0.0), loadX(at$u), inside$u);
    //# end
    //# for u in 0..4
    let b$u = loadW(min(p + u32($u), P.rows - 1u) * P.wPitch + safeColumn);
    //# end
    p += 4u;
    //# for l in 0..$COLUMNS
    {
      var v0: vec4f;
      if (GROUPS == 1u) { v0 = subgroupBroadcast(a0, u32($l)); } else { v0 = subgroupShuffle(a0, first + u32($l)); }
      var v1: vec4f;
      if (GROUPS == 1u) { v1 = subgroupBroadcast(a1, u32($l)); } else { v1 = subgroupShuffle(a1, first + u32($l)); }
      var v2: vec4f;
      if (GROUPS == 1u) { v2 = subgroupBroadcast(a2, u32($l)); } else { v2 = subgroupShuffle(a2, first + u32($l)); }
      var v3: vec4f;
      if (GROUPS == 1u) { v3 = subgroupBroadcast(a3, u32($l)); } else { v3 = subgroupShuffle(a3, first + u32($l)); }
      sum[u32($l) * 4u] += v0.x * b0 + v1.x * b1 + v2.x * b2 + v3.x * b3;
      sum[u32($l) * 4u + 1u] += v0.y * b0 + v1.y * b1 + v2.y * b2 + v3.y * b3;
      sum[u32($l) * 4u + 2u] += v0.z * b0 + v1.z * b1 + v2.z * b2 + v3.z * b3;
      sum[u32($l) * 4u + 3u] += v0.w * b0 + v1.w * b1 + v2.w * b2 + v3.w * b3;
    }
    //# end
  }
  if (column >= P.width4) { return; }
  let base = split * P.ySplit + batch * P.yBatch + tap * P.tapX + column;
  for (var i = 0u; i < P.tileRows; i++) {
    let c = block * 4u + i;
    if (c < P.depth) { store(base + c * P.yPitch, column, P.width, sum[i], Line(vec4f(P.scale), vec4f(0.0))); }
  }
}
