// Matrix products and convolutions for GPUs, with tiles in workgroup memory. The 256 invocations of a workgroup lie ACROSS
// side by side and DOWN one below the other; each has (4 ROWS) by (4 COLUMNS) results, and 16 products are summed in a step.
// What the next step needs is loaded while this one is computed. Needs no optional feature.
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail
//# include x
//# include w

@group(1) @binding(0) var<uniform> P: Params;

const ACROSS = u32($ACROSS);
const DOWN = 256u / ACROSS;
const ROWS = u32($ROWS);
const COLUMNS = u32($COLUMNS);
const WIDTH = ACROSS * COLUMNS;         // of a tile, in vec4f
const HEIGHT = DOWN * ROWS;             // likewise
// One vec4f more than needed, so that the rows that are read or written together lie in different banks.
const LEFT = 5u;
const RIGHT = WIDTH + 1u;

var<workgroup> left: array<vec4f, 4u * HEIGHT * LEFT>;
var<workgroup> right: array<vec4f, 16u * RIGHT>;       // [depth][column / 4]

// Sums of invocation (tx, ty): vec4f tx + ACROSS j of the tile's columns for each of its (4 ROWS) rows.
alias Sums = array<vec4f, 4u * ROWS * COLUMNS>;

// Neighbouring invocations, of which GPUs run 32 or 64 in step, share 8 columns and 4 rows: what they read is little, and read once.
fn columnOf(lane: u32) -> u32 { return lane % 8u + lane / 32u % (ACROSS / 8u) * 8u; }
fn rowOf(lane: u32) -> u32 { return lane / 8u % 4u + lane / (4u * ACROSS) * 4u; }

// left is [row][depth / 4], as x lies in memory; the invocation has rows ty + DOWN m. Spelled out: a tenth faster than as a loop.
fn multiplyRows(sum: ptr<function, Sums>, tx: u32, ty: u32) {
  //# for q in 0..4
  {
    //# for m in 0..$SUMS
    let a$m = left[(ty + DOWN * $m) * LEFT + $q];
    //# end
    //# for d in 0..4
    //# for j in 0..$COLUMNS
    let b$d$j = right[($q * 4u + $d) * RIGHT + tx + ACROSS * $j];
    //# end
    //# for m in 0..$SUMS
    //# for j in 0..$COLUMNS
    (*sum)[$m * $COLUMNS + $j] += a$m[$d] * b$d$j;
    //# end
    //# end
    //# end
  }
  //# end
}

@compute @workgroup_size(256)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let tx = columnOf(lane);
  let ty = rowOf(lane);
  let batch = P.firstBatch + group.z;
  let row0 = (P.firstRowTile + group.y) * (4u * HEIGHT);
  let column0 = group.x * WIDTH;
  // Of x this invocation brings quad lane % 4 of rows lane / 4 + 64 i. Where these lie changes from tap to tap only.
  let loadQuad = lane % 4u;
  //# for i in 0..$LOADS
  let p$i = min(row0 + lane / 4u + u32($i) * 64u, P.rows - 1u);
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
      a$i = select(vec4f(0.0), loadX(begin$i + safe * P.xStep), inside$i && quad < P.depth4);
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
      //# for i in 0..$LOADS
      left[(lane / 4u + u32($i) * 64u) * LEFT + loadQuad] = a$i;
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
    let column = column0 + tx + ACROSS * $j;
    if (column < P.width4) {
      let line = lineOf(column, P.width4);
      //# for m in 0..$SUMS
      {
        let row = row0 + ty + DOWN * $m;
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
  let d = k * 4u + at / WIDTH;
  let column = min(column0 + at % WIDTH, P.width4 - 1u);
  return select(vec4f(0.0), loadW(tap + min(d, P.depth - 1u) * P.wPitch + column), d < P.depth);
}

fn keepW(at: u32, v: vec4f) {
  if (at >= 16u * WIDTH) { return; }
  if (TRANSPOSED) {
    for (var i = 0u; i < 4u; i++) { right[((at % 4u) * 4u + i) * RIGHT + at / 16u][(at / 4u) % 4u] = v[i]; }
  } else {
    right[at / WIDTH * RIGHT + at % WIDTH] = v;
  }
}

// left is [pixel][row / 4]; the invocation has the four rows of each quad ty + DOWN i.
fn multiplyPixels(sum: ptr<function, Sums>, tx: u32, ty: u32) {
  //# for d in 0..16
  {
    //# for i in 0..$ROWS
    let a$i = left[$d * HEIGHT + ty + DOWN * $i];
    //# end
    //# for j in 0..$COLUMNS
    let b$j = right[$d * RIGHT + tx + ACROSS * $j];
    //# end
    //# for i in 0..$ROWS
    //# for q in 0..4
    //# for j in 0..$COLUMNS
    (*sum)[($i * 4 + $q) * $COLUMNS + $j] += a$i[$q] * b$j;
    //# end
    //# end
    //# end
  }
  //# end
}

// A row of the result is a channel under a tap: (tap, channel / 4), one behind the other.
@compute @workgroup_size(256)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let tile = linearWorkgroup(group, groups);
  if (tile >= P.columnTiles * P.rowTiles * P.splits * P.batches) { return; }
  let quads = P.kernelH * P.kernelW * P.depth4;
  let tx = columnOf(lane);
  let ty = rowOf(lane);
  let column0 = (tile % P.columnTiles) * WIDTH;
  let block = ((tile / P.columnTiles) % P.rowTiles) * HEIGHT;
  let part = tile / (P.columnTiles * P.rowTiles);
  let split = part % P.splits;
  let batch = part / P.splits;
  let per = ((P.rows + P.splits - 1u) / P.splits + 3u) / 4u * 4u;
  let first = min(split * per, P.rows);
  let end = min(first + per, P.rows);
  let steps = (end - first + 15u) / 16u;
  // Of x this invocation brings one quad of pixels lane / HEIGHT + (256 / HEIGHT) i.
  let loadQuad = lane % HEIGHT;
  let source = min(block + loadQuad, quads - 1u);
  let tap = source / P.depth4;
  let tapY = i32(tap / P.kernelW) * P.stepY + P.offY;
  let tapX = i32(tap % P.kernelW) * P.stepX + P.offX;
  let begin = batch * P.xBatch + source - tap * P.depth4;
  //# for i in 0..$LOADS
  var p$i = first + lane / HEIGHT + u32($i) * (256u / HEIGHT);
  var ox$i = p$i % P.outW;
  var oy$i = (p$i / P.outW) % P.outH;
  var image$i = (p$i / P.outW / P.outH) * P.inH;
  var a$i: vec4f;
  //# end
  //# for j in 0..$COLUMNS
  var b$j: vec4f;
  //# end
  var sum: Sums;
  for (var step = 0u; step <= steps; step++) {
    if (step < steps) {
      //# for i in 0..$LOADS
      {
        let iy = i32(oy$i) * P.mulY + tapY;
        let ix = i32(ox$i) * P.mulX + tapX;
        let inside = p$i < end && within(iy, P.inH) && within(ix, P.inW);
        a$i = select(vec4f(0.0), loadX(begin + select(0u, ((image$i + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside)), inside);
        p$i += 16u;
        ox$i += 16u;
        if (ox$i >= P.outW) {
          let lines = ox$i / P.outW;
          let images = (oy$i + lines) / P.outH;
          ox$i -= lines * P.outW;
          oy$i += lines - images * P.outH;
          image$i += images * P.inH;
        }
      }
      //# end
      //# for j in 0..$COLUMNS
      {
        let at = lane + u32($j) * 256u;
        let p = first + step * 16u + at / WIDTH;
        b$j = select(vec4f(0.0), loadW(batch * P.wBatch + min(p, P.rows - 1u) * P.wPitch + min(column0 + at % WIDTH, P.width4 - 1u)), p < end);
      }
      //# end
    }
    if (step > 0u) { multiplyPixels(&sum, tx, ty); }
    workgroupBarrier();
    if (step < steps) {
      //# for i in 0..$LOADS
      left[lane + u32($i) * 256u] = a$i;
      //# end
      //# for j in 0..$COLUMNS
      keepW(lane + u32($j) * 256u, b$j);
      //# end
    }
    workgroupBarrier();
  }
  let base = split * P.ySplit + batch * P.yBatch;
  let line = Line(vec4f(P.scale), vec4f(0.0));
  //# for i in 0..$ROWS
  {
    let quad = block + ty + DOWN * $i;
    let tap = quad / P.depth4;
    let channel = (quad - tap * P.depth4) * 4u;
    //# for j in 0..$COLUMNS
    {
      let column = column0 + tx + ACROSS * $j;
      if (column < P.width4 && quad < quads) {
        let at = base + tap * P.tapX + channel * P.yPitch + column;
        //# for q in 0..4
        if (channel + $q < P.depth) { store(at + $q * P.yPitch, column, P.width, sum[($i * 4 + $q) * $COLUMNS + $j], line); }
        //# end
      }
    }
    //# end
  }
  //# end
}
