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
//# include w-rows

const LANES = u32($LANES);
const GROUPS = u32($GROUPS);
const COLUMNS = LANES / GROUPS;        // lanes side by side

//# include x
//# include w
@group(0) @binding(31) var<uniform> P: Params;

const WIDE = u32($WIDE);               // vec4f of columns per lane, COLUMNS apart
const TALL = u32($TALL);               // weights form: vec4f of rows per lane, likewise

// A tile of (LANES * BLOCKS) rows by (COLUMNS * WIDE * 4) columns.
@compute @workgroup_size($LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * (LANES * u32($BLOCKS));
  let first = lane / COLUMNS * COLUMNS;
  let columnTile = P.firstColumnTile + group.x;
  let leftmost = columnTile * (COLUMNS * WIDE);
  let mine = leftmost + lane % COLUMNS;
  //# for i in 0..$WIDE
  let safeColumn$i = min(mine + COLUMNS * u32($i), P.width4 - 1u);
  let place$i = columnTile * P.wPanel + safeColumn$i - leftmost;
  //# end
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
  var sum: array<vec4f, COLUMNS * WIDE * u32($BLOCKS)>;
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
        //# for i in 0..$WIDE
        let w$i = rowsOfW(tap, k, safeColumn$i, place$i);
        //# end
        //# for j in 0..$BLOCKS
        //# for l in 0..$COLUMNS
        {
          var v: vec4f;
          if (GROUPS == 1u) { v = subgroupBroadcast(a$j, u32($l)); } else { v = subgroupShuffle(a$j, first + u32($l)); }
          //# for i in 0..$WIDE
          sum[(u32($j) * COLUMNS + u32($l)) * WIDE + u32($i)] += v.x * w$i[0] + v.y * w$i[1] + v.z * w$i[2] + v.w * w$i[3];
          //# end
        }
        //# end
        //# end
      }
    }
  }
  for (var i = hidden(WIDE, P.rows); i > 0u; i--) {
    let wide = i - 1u;
    let column = mine + COLUMNS * wide;
    if (column < P.width4) {
      let line = lineOf(column, P.width4);
      // Backwards: a loop that counts up to the length of an array is written out, even if its bound is not known.
      for (var left = P.tileRows; left > 0u; left--) {
        let at = left - 1u;
        let row = row0 + at / COLUMNS * LANES + first + at % COLUMNS;
        if (row < P.rows) { store(batch * P.yBatch + placeOf(row) + column, column, P.width, sum[at * WIDE + wide], line); }
      }
    }
  }
}

// A tile of (COLUMNS * TALL * 4) rows c by (COLUMNS * WIDE * 4) columns n for one tap and one part of the pixels,
// PIXELS of them at a time. Each group of lanes has a part of its own.
@compute @workgroup_size($LANES)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let taps = P.kernelH * P.kernelW;
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * taps * P.splits * P.batches) { return; }
  let first = lane / COLUMNS * COLUMNS;
  let across = cellOf(tile, P.columnTiles);
  let down = cellOf(across.row, P.rowTiles);
  let block = down.column * (COLUMNS * TALL);
  let part = cellOf(down.row, taps);
  let tap = part.column;
  let cut = cellOf(part.row, P.splits);
  let batch = cut.row;
  let split = cut.column * GROUPS + lane / COLUMNS;
  let mine = across.column * (COLUMNS * WIDE) + lane % COLUMNS;
  //# for i in 0..$WIDE
  let place$i = batch * P.wBatch + min(mine + COLUMNS * u32($i), P.width4 - 1u);
  //# end
  //# for t in 0..$TALL
  let safeDepth$t = batch * P.xBatch + min(block + lane % COLUMNS + COLUMNS * u32($t), P.depth4 - 1u);
  //# end
  let place = cellOf(tap, P.kernelW);
  let tapY = i32(place.row) * P.stepY + P.offY;
  let tapX = i32(place.column) * P.stepX + P.offX;
  let parts = P.splits * GROUPS;
  let steps = ((P.rows + parts - 1u) / parts + u32($PIXELS) - 1u) / u32($PIXELS);
  var p = min(split * steps * u32($PIXELS), P.rows);
  let end = min(p + steps * u32($PIXELS), P.rows);
  let line = cellOf(p, P.outW);
  let start = cellOf(line.row, P.outH);
  var ox = line.column;
  var oy = start.column;
  var image = start.row;
  var sum: array<vec4f, COLUMNS * WIDE * TALL * 4u>;
  // The same number of steps for all lanes: those past the end of their part add zeros.
  for (var i = 0u; i < steps; i++) {
    //# for u in 0..$PIXELS
    let row$u = min(p + u32($u), P.rows - 1u);
    var inside$u = p + u32($u) < end;
    var at$u = row$u * P.xPitch;
    if (!PLAIN) {
      let iy$u = i32(oy) * P.mulY + tapY;
      let ix$u = i32(ox) * P.mulX + tapX;
      inside$u = inside$u && within(iy$u, P.inH) && within(ix$u, P.inW);
      at$u = select(0u, ((image * P.inH + u32(iy$u)) * P.inW + u32(ix$u)) * P.xPitch, inside$u);
      ox += 1u;
      let rowEnds$u = ox == P.outW;
      ox = select(ox, 0u, rowEnds$u);
      oy = select(oy, oy + 1u, rowEnds$u);
      let imageEnds$u = oy == P.outH;
      oy = select(oy, 0u, imageEnds$u);
      image = select(image, image + 1u, imageEnds$u);
    }
    //# end
    //# for u in 0..$PIXELS
    //# for t in 0..$TALL
    let a$u$t = select(vec4f(0.0), loadX(safeDepth$t + at$u), inside$u);
    //# end
    //# end
    //# for u in 0..$PIXELS
    //# for i in 0..$WIDE
    let b$u$i = loadW(row$u * P.wPitch + place$i);
    //# end
    //# end
    p += u32($PIXELS);
    //# for t in 0..$TALL
    //# for l in 0..$COLUMNS
    {
      //# for u in 0..$PIXELS
      var v$u: vec4f;
      if (GROUPS == 1u) { v$u = subgroupBroadcast(a$u$t, u32($l)); } else { v$u = subgroupShuffle(a$u$t, first + u32($l)); }
      //# end
      //# for i in 0..$WIDE
      //# for q in 0..4
      {
        var more = v0[$q] * b0$i;
        //# for u in 1..$PIXELS
        more += v$u[$q] * b$u$i;
        //# end
        sum[((u32($t) * COLUMNS + u32($l)) * 4u + $q) * WIDE + $i] += more;
      }
      //# end
      //# end
    }
    //# end
    //# end
  }
  let base = split * P.ySplit + batch * P.yBatch + tap * P.tapX;
  for (var i = hidden(WIDE, P.rows); i > 0u; i--) {
    let wide = i - 1u;
    let column = mine + COLUMNS * wide;
    if (column < P.width4) {
      for (var left = P.tileRows; left > 0u; left--) {
        let at = left - 1u;
        let c = block * 4u + at;
        if (c < P.depth) { store(base + c * P.yPitch + column, column, P.width, sum[at * WIDE + wide], Line(vec4f(P.scale), vec4f(0.0))); }
      }
    }
  }
}
