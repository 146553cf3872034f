// Matrix products and convolutions for GPUs, with tiles in workgroup memory. THREADS invocations bring DEPTH products of each sum of a
// tile of WIDTH by HEIGHT vec4f; what the next step needs is loaded while this one is computed. How they are multiplied, and by whom
// sums are kept, says `arithmetic`: common/tile-vectors.wgsl or common/tile-matrices.wgsl.
//# include arithmetic
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail
//# include x
//# include w

@group(0) @binding(31) var<uniform> P: Params;

// Which row, or (weights form) pixel, of the tile the i-th quad belongs to that an invocation brings.
fn broughtRow(lane: u32, i: u32) -> u32 { return lane / QUADS + i * (THREADS / QUADS); }
fn broughtPixel(lane: u32, i: u32) -> u32 { return lane / HEIGHT + i * (THREADS / HEIGHT); }

@compute @workgroup_size(THREADS)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * (4u * HEIGHT);
  let column0 = (P.firstColumnTile + group.x) * WIDTH;
  // Of x this invocation brings one quad of some rows. Where these lie changes from tap to tap only.
  let loadQuad = lane % QUADS;
  //# for i in 0..$LOADS
  let p$i = min(row0 + broughtRow(lane, $i), P.rows - 1u);
  var baseX$i = 0;
  var baseY$i = 0;
  var image$i = 0u;
  if (!PLAIN) {
    baseX$i = i32(p$i % P.outW) * P.mulX + P.offX;
    baseY$i = i32((p$i / P.outW) % P.outH) * P.mulY + P.offY;
    image$i = (p$i / P.outW / P.outH) * P.inH;
  }
  var begin$i = batch * P.xBatch + p$i * P.xPitch;
  var inside$i = true;
  var a$i: Quad;
  //# end
  //# for j in 0..$FETCHES
  var b$j: Quad;
  //# end
  var sum: Sums;
  var r = 0u;
  var s = 0u;
  var k = 0u;
  let steps = P.kernelH * P.kernelW * ((P.depth4 + QUADS - 1u) / QUADS);
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      if (!PLAIN && k == 0u) {
        //# for i in 0..$LOADS
        {
          let iy = baseY$i + i32(r) * P.stepY;
          let ix = baseX$i + i32(s) * P.stepX;
          inside$i = within(iy, P.inH) && within(ix, P.inW);
          begin$i = batch * P.xBatch + select(0u, ((image$i + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside$i);
        }
        //# end
      }
      let quad = k + loadQuad;
      let safe = min(quad, P.depth4 - 1u);
      //# for i in 0..$LOADS
      a$i = select(Quad(), loadX(begin$i + safe * P.xStep), inside$i && quad < P.depth4);
      //# end
      let tap = batch * P.wBatch + P.tapBase + r * P.tapY + s * P.tapX;
      //# for j in 0..$FETCHES
      b$j = ofW(k, tap, column0, lane + u32($j) * THREADS);
      //# end
      k += QUADS;
      if (k >= P.depth4) {
        k = 0u;
        s += 1u;
        if (s == P.kernelW) {
          s = 0u;
          r += 1u;
        }
      }
    }
    if (step > 0u) { multiplyRows(&sum, lane); }
    workgroupBarrier();
    if (step < steps) {
      //# for i in 0..$LOADS
      keepOfRow(broughtRow(lane, $i), loadQuad, a$i);
      //# end
      //# for j in 0..$FETCHES
      keepW(lane + u32($j) * THREADS, b$j);
      //# end
    }
    workgroupBarrier();
  }
  storeRows(&sum, lane, row0, column0, batch * P.yBatch);
}

// Number `at` of the vec4f of w that a step needs; rows beyond the depth are zero.
fn ofW(k: u32, tap: u32, column0: u32, at: u32) -> Quad {
  if (TRANSPOSED) {
    let n = column0 * 4u + at / QUADS;
    let quad = k + at % QUADS;
    return select(Quad(), loadW(tap + min(n, P.width - 1u) * P.wPitch + min(quad, P.depth4 - 1u)), quad < P.depth4);
  }
  let d = k * 4u + at / WIDTH;
  let column = min(column0 + at % WIDTH, P.width4 - 1u);
  return select(Quad(), loadW(tap + min(d, P.depth - 1u) * P.wPitch + column), d < P.depth);
}

// A row of the result is a channel under a tap: (tap, channel / 4), one behind the other.
@compute @workgroup_size(THREADS)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * P.splits * P.batches) { return; }
  let quads = P.kernelH * P.kernelW * P.depth4;
  let column0 = (tile % P.columnTiles) * WIDTH;
  let block = ((tile / P.columnTiles) % P.rowTiles) * HEIGHT;
  let part = tile / (P.columnTiles * P.rowTiles);
  let split = part % P.splits;
  let batch = part / P.splits;
  let per = ((P.rows + P.splits - 1u) / P.splits + 3u) / 4u * 4u;
  let first = min(split * per, P.rows);
  let end = min(first + per, P.rows);
  let steps = (end - first + DEPTH - 1u) / DEPTH;
  // Of x this invocation brings one quad of some pixels.
  let loadQuad = lane % HEIGHT;
  let source = min(block + loadQuad, quads - 1u);
  let tap = source / P.depth4;
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let begin = batch * P.xBatch + source - tap * P.depth4;
  //# for i in 0..$LOADS
  var p$i = first + broughtPixel(lane, $i);
  var ox$i = p$i % P.outW;
  var oy$i = (p$i / P.outW) % P.outH;
  var image$i = (p$i / P.outW / P.outH) * P.inH;
  var a$i: Quad;
  //# end
  //# for j in 0..$FETCHES
  var b$j: Quad;
  //# end
  var sum: Sums;
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      //# for i in 0..$LOADS
      {
        var inside = p$i < end;
        var at = begin + p$i * P.xPitch;
        if (!PLAIN) {
          let iy = i32(oy$i) * P.mulY + tapY;
          let ix = i32(ox$i) * P.mulX + tapX;
          inside = inside && within(iy, P.inH) && within(ix, P.inW);
          at = begin + ((image$i + u32(iy)) * P.inW + u32(ix)) * P.xPitch;
          ox$i += DEPTH;
          if (ox$i >= P.outW) {
            let lines = ox$i / P.outW;
            let images = (oy$i + lines) / P.outH;
            ox$i -= lines * P.outW;
            oy$i += lines - images * P.outH;
            image$i += images * P.inH;
          }
        }
        a$i = select(Quad(), loadX(select(begin, at, inside)), inside);
        p$i += DEPTH;
      }
      //# end
      //# for j in 0..$FETCHES
      {
        let at = lane + u32($j) * THREADS;
        let p = first + step * DEPTH + at / WIDTH;
        b$j = select(Quad(), loadW(batch * P.wBatch + min(p, P.rows - 1u) * P.wPitch + min(column0 + at % WIDTH, P.width4 - 1u)), p < end);
      }
      //# end
    }
    if (step > 0u) { multiplyPixels(&sum, lane); }
    workgroupBarrier();
    if (step < steps) {
      //# for i in 0..$LOADS
      keepOfPixel(broughtPixel(lane, $i), loadQuad, a$i);
      //# end
      //# for j in 0..$FETCHES
      keepW(lane + u32($j) * THREADS, b$j);
      //# end
    }
    workgroupBarrier();
  }
  storeWeights(&sum, lane, block, column0, split * P.ySplit + batch * P.yBatch);
}
