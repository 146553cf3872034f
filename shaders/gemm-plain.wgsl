// Matrix products and convolutions from registers alone: 8 rows by one vec4f of columns per invocation. For software
// adapters without subgroups, where workgroup memory costs more than it saves.
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail
//# include x
//# include w

@group(0) @binding(31) var<uniform> P: Params;

// A tile of 8 rows by 64 vec4f of columns.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let column = (P.firstColumnTile + group.x) * 64u + lane;
  if (column >= P.width4) { return; }
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * 8u;
  //# for j in 0..8
  let p$j = min(row0 + u32($j), P.rows - 1u);
  let baseX$j = i32(p$j % P.outW) * P.mulX + P.offX;
  let baseY$j = i32((p$j / P.outW) % P.outH) * P.mulY + P.offY;
  let image$j = (p$j / P.outW / P.outH) * P.inH;
  //# end
  var sum: array<vec4f, 8>;
  for (var r = 0u; r < P.kernelH; r++) {
    for (var s = 0u; s < P.kernelW; s++) {
      //# for j in 0..8
      let iy$j = baseY$j + i32(r) * P.stepY;
      let ix$j = baseX$j + i32(s) * P.stepX;
      let inside$j = within(iy$j, P.inH) && within(ix$j, P.inW);
      let at$j = batch * P.xBatch + select(0u, ((image$j + u32(iy$j)) * P.inW + u32(ix$j)) * P.xPitch, inside$j);
      //# end
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      for (var k = 0u; k < P.depth4; k++) {
        //# for j in 0..8
        let a$j = select(vec4f(0.0), loadX(at$j + k * P.xStep), inside$j);
        //# end
        //# for q in 0..4
        let b$q = right(tap, k, $q, column);
        //# end
        //# for j in 0..8
        sum[$j] += a$j.x * b0 + a$j.y * b1 + a$j.z * b2 + a$j.w * b3;
        //# end
      }
    }
  }
  let line = lineOf(column, P.width4);
  for (var i = 0u; i < P.tileRows; i++) {
    if (row0 + i < P.rows) { store(batch * P.yBatch + placeOf(row0 + i) + column, column, P.width, sum[i], line); }
  }
}

// Row 4 k + q of w. Beyond the last row x is zero, but what is not finite would be NaN times 0.
fn right(tap: u32, k: u32, q: u32, column: u32) -> vec4f {
  if (!TRANSPOSED) { return select(loadW(tap + min(4u * k + q, P.depth - 1u) * P.wPitch + column), vec4f(0.0), RAGGED && 4u * k + q >= P.depth); }
  var v: vec4f;
  for (var i = 0u; i < 4u; i++) { v[i] = loadW(tap + min(column * 4u + i, P.width - 1u) * P.wPitch + k)[q]; }
  return v;
}

// A tile of 8 rows c by 64 vec4f of columns n for one tap and one part of the pixels.
@compute @workgroup_size(64)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let taps = P.kernelH * P.kernelW;
  let tile = linearWorkgroup(group, groups);
  let column = (tile % P.columnTiles) * 64u + lane;
  if (tile >= P.columnTiles * P.rowTiles * taps * P.splits * P.batches || column >= P.width4) { return; }
  let block = ((tile / P.columnTiles) % P.rowTiles) * 2u;
  let tap = (tile / (P.columnTiles * P.rowTiles)) % taps;
  let part = tile / (P.columnTiles * P.rowTiles * taps);
  let batch = part / P.splits;
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let per = (P.rows + P.splits - 1u) / P.splits;
  let first = min(part % P.splits * per, P.rows);
  let end = min(first + per, P.rows);
  var sum: array<vec4f, 8>;
  for (var p = first; p < end; p++) {
    let iy = i32((p / P.outW) % P.outH) * P.mulY + tapY;
    let ix = i32(p % P.outW) * P.mulX + tapX;
    if (!within(iy, P.inH) || !within(ix, P.inW)) { continue; }
    let at = batch * P.xBatch + (((p / P.outW / P.outH) * P.inH + u32(iy)) * P.inW + u32(ix)) * P.xPitch;
    let b = loadW(batch * P.wBatch + p * P.wPitch + column);
    //# for j in 0..2
    let a$j = loadX(at + min(block + u32($j), P.depth4 - 1u));
    sum[$j * 4] += a$j.x * b;
    sum[$j * 4 + 1] += a$j.y * b;
    sum[$j * 4 + 2] += a$j.z * b;
    sum[$j * 4 + 3] += a$j.w * b;
    //# end
  }
  let base = (part % P.splits) * P.ySplit + batch * P.yBatch + tap * P.tapX + column;
  for (var i = 0u; i < P.tileRows; i++) {
    let c = block * 4u + i;
    if (c < P.depth) { store(base + c * P.yPitch, column, P.width, sum[i], Line(vec4f(P.scale), vec4f(0.0))); }
  }
}
