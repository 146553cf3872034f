// Tiles multiplied by vec4f multiply-adds. The 256 invocations lie ACROSS side by side and DOWN one below the other; each has (4 ROWS) by
// (4 COLUMNS) sums. Needs no optional feature.
alias Quad = vec4f;
const THREADS = 256u;
const QUADS = 4u;
const DEPTH = 16u;
const ACROSS = u32($ACROSS);
const DOWN = THREADS / ACROSS;
const ROWS = u32($ROWS);
const COLUMNS = u32($COLUMNS);
const WIDTH = ACROSS * COLUMNS;
const HEIGHT = DOWN * ROWS;
// One vec4f more than needed, so that the rows that are read or written together lie in different banks.
const LEFT = QUADS + 1u;
const RIGHT = WIDTH + 1u;

var<workgroup> left: array<vec4f, 4u * HEIGHT * LEFT>;
var<workgroup> right: array<vec4f, DEPTH * RIGHT>;     // [depth][column / 4]

// Sums of invocation (tx, ty): vec4f tx + ACROSS j of the tile's columns for each of its (4 ROWS) rows.
alias Sums = array<vec4f, 4u * ROWS * COLUMNS>;

// Neighbouring invocations, of which GPUs run 32 or 64 in step, share 8 columns and 4 rows: what they read is little, and read once.
fn columnOf(lane: u32) -> u32 { return lane % 8u + lane / 32u % (ACROSS / 8u) * 8u; }
fn rowOf(lane: u32) -> u32 { return lane / 8u % 4u + lane / (4u * ACROSS) * 4u; }

// Of the rows form, left is [row][depth / 4], as x lies in memory; of the weights form [pixel][row / 4].
fn keepOfRow(row: u32, quad: u32, v: vec4f) { left[row * LEFT + quad] = v; }
fn keepOfPixel(pixel: u32, quad: u32, v: vec4f) { left[pixel * HEIGHT + quad] = v; }

fn keepW(at: u32, v: vec4f) {
  if (at >= DEPTH * WIDTH) { return; }
  if (TRANSPOSED) {
    for (var i = 0u; i < 4u; i++) { right[((at % QUADS) * 4u + i) * RIGHT + at / (4u * QUADS)][(at / QUADS) % 4u] = v[i]; }
  } else {
    right[at / WIDTH * RIGHT + at % WIDTH] = v;
  }
}

// The invocation has rows ty + DOWN m. Spelled out: a tenth faster than as a loop.
fn multiplyRows(sum: ptr<function, Sums>, lane: u32) {
  let tx = columnOf(lane);
  let ty = rowOf(lane);
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

// The invocation has the four rows of each quad ty + DOWN i.
fn multiplyPixels(sum: ptr<function, Sums>, lane: u32) {
  let tx = columnOf(lane);
  let ty = rowOf(lane);
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

fn storeRows(sum: ptr<function, Sums>, lane: u32, row0: u32, column0: u32, base: u32) {
  let ty = rowOf(lane);
  //# for j in 0..$COLUMNS
  {
    let column = column0 + columnOf(lane) + ACROSS * $j;
    if (column < P.width4) {
      let line = lineOf(column, P.width4);
      //# for m in 0..$SUMS
      {
        let row = row0 + ty + DOWN * $m;
        if (row < P.rows) { store(base + placeOf(row) + column, column, P.width, (*sum)[$m * $COLUMNS + $j], line); }
      }
      //# end
    }
  }
  //# end
}

fn storeWeights(sum: ptr<function, Sums>, lane: u32, block: u32, column0: u32, base: u32) {
  let line = Line(vec4f(P.scale), vec4f(0.0));
  //# for i in 0..$ROWS
  {
    let quad = block + rowOf(lane) + DOWN * $i;
    let tap = quad / P.depth4;
    let channel = (quad - tap * P.depth4) * 4u;
    //# for j in 0..$COLUMNS
    {
      let column = column0 + columnOf(lane) + ACROSS * $j;
      if (column < P.width4 && quad < P.kernelH * P.kernelW * P.depth4) {
        let at = base + tap * P.tapX + channel * P.yPitch + column;
        //# for q in 0..4
        if (channel + $q < P.depth) { store(at + $q * P.yPitch, column, P.width, (*sum)[($i * 4 + $q) * $COLUMNS + $j], line); }
        //# end
      }
    }
    //# end
  }
  //# end
}
