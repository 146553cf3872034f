// Tiles multiplied by the adapter's matrix units (NVIDIA: tensor cores): float16 operands, float32 sums. Subgroups lie ACROSS side by side
// and DOWN one below the other; each has ROWS by COLUMNS matrices of SIDE by SIDE sums, of which its lanes hold parts that only the adapter knows.
// A subgroup is taken to be LANES neighbouring invocations. No rule says so, but drivers do it, and the tests of products would fail otherwise.
diagnostic(off, chromium.subgroup_matrix_uniformity);
enable chromium_experimental_subgroup_matrix;
enable subgroups;
enable f16;

alias Quad = vec4<f16>;
const SIDE = u32($SIDE);
const LANES = u32($LANES);
const ACROSS = u32($ACROSS);
const DOWN = u32($DOWN);
const ROWS = u32($ROWS);
const COLUMNS = u32($COLUMNS);
const THREADS = ACROSS * DOWN * LANES;
const QUADS = 8u;
const DEPTH = 32u;
const WIDTH = ACROSS * COLUMNS * SIDE / 4u;
const HEIGHT = DOWN * ROWS * SIDE / 4u;

alias Left = subgroup_matrix_left<f16, $SIDE, $SIDE>;
alias Right = subgroup_matrix_right<f16, $SIDE, $SIDE>;
alias Sums = array<subgroup_matrix_result<f32, $SIDE, $SIDE>, ROWS * COLUMNS>;

// Two quads more than a row needs, so that the rows that are read together lie in different banks. Rows are along the depth, or across it.
const ALONG = QUADS + 2u;
const LEFT = HEIGHT + 2u;
const RIGHT = WIDTH + 2u;
var<workgroup> left: array<Quad, max(4u * HEIGHT * ALONG, DEPTH * LEFT)>;
var<workgroup> right: array<Quad, max(4u * WIDTH * ALONG, DEPTH * RIGHT)>;
// A matrix of sums of each subgroup, on its way to memory.
const ACROSS_MATRIX = SIDE / 4u;
const STAGED = ACROSS_MATRIX + 1u;
var<workgroup> staged: array<vec4f, ACROSS * DOWN * SIDE * STAGED>;

// The first column and row of the tile that a lane's subgroup has.
fn columnOf(lane: u32) -> u32 { return lane / LANES % ACROSS * (COLUMNS * SIDE); }
fn rowOf(lane: u32) -> u32 { return lane / (LANES * ACROSS) * (ROWS * SIDE); }

// Of the rows form, left is [row][depth], as x lies in memory; of the weights form [pixel][row].
fn keepOfRow(row: u32, quad: u32, v: Quad) { left[row * ALONG + quad] = v; }
fn keepOfPixel(pixel: u32, quad: u32, v: Quad) { left[pixel * LEFT + quad] = v; }

fn keepW(at: u32, v: Quad) {
  if (at >= DEPTH * WIDTH) { return; }
  right[select(at / WIDTH * RIGHT + at % WIDTH, at / QUADS * ALONG + at % QUADS, TRANSPOSED)] = v;
}

fn rightOf(depth: u32, column: u32) -> Right {
  if (TRANSPOSED) { return subgroupMatrixLoad<Right, col_major>(&right, column * ALONG + depth / 4u, ALONG); }
  return subgroupMatrixLoad<Right, row_major>(&right, depth * RIGHT + column / 4u, RIGHT);
}

fn multiplyRows(sum: ptr<function, Sums>, lane: u32) {
  for (var d = 0u; d < DEPTH; d += SIDE) {
    //# for m in 0..$ROWS
    let a$m = subgroupMatrixLoad<Left, row_major>(&left, (rowOf(lane) + $m * SIDE) * ALONG + d / 4u, ALONG);
    //# end
    //# for j in 0..$COLUMNS
    let b$j = rightOf(d, columnOf(lane) + $j * SIDE);
    //# end
    //# for m in 0..$ROWS
    //# for j in 0..$COLUMNS
    (*sum)[$m * $COLUMNS + $j] = subgroupMatrixMultiplyAccumulate(a$m, b$j, (*sum)[$m * $COLUMNS + $j]);
    //# end
    //# end
  }
}

fn multiplyPixels(sum: ptr<function, Sums>, lane: u32) {
  for (var d = 0u; d < DEPTH; d += SIDE) {
    //# for m in 0..$ROWS
    let a$m = subgroupMatrixLoad<Left, col_major>(&left, d * LEFT + (rowOf(lane) + $m * SIDE) / 4u, LEFT);
    //# end
    //# for j in 0..$COLUMNS
    let b$j = rightOf(d, columnOf(lane) + $j * SIDE);
    //# end
    //# for m in 0..$ROWS
    //# for j in 0..$COLUMNS
    (*sum)[$m * $COLUMNS + $j] = subgroupMatrixMultiplyAccumulate(a$m, b$j, (*sum)[$m * $COLUMNS + $j]);
    //# end
    //# end
  }
}

// A vec4f of the tile: the i-th of a subgroup's staged matrix, which is the one in row m and column j of its matrices.
struct Piece {
  row: u32,
  column: u32,        // in vec4f
  value: vec4f,
}
fn pieceOf(lane: u32, i: u32, m: u32, j: u32) -> Piece {
  let row = i / ACROSS_MATRIX;
  let column = i % ACROSS_MATRIX;
  let value = staged[(lane / LANES * SIDE + row) * STAGED + column];
  return Piece(rowOf(lane) + m * SIDE + row, (columnOf(lane) + j * SIDE) / 4u + column, value);
}

fn storeRows(sum: ptr<function, Sums>, lane: u32, row0: u32, column0: u32, base: u32) {
  //# for m in 0..$ROWS
  //# for j in 0..$COLUMNS
  {
    subgroupMatrixStore<row_major>(&staged, lane / LANES * SIDE * STAGED, (*sum)[$m * $COLUMNS + $j], STAGED);
    workgroupBarrier();
    for (var i = lane % LANES; i < SIDE * ACROSS_MATRIX; i += LANES) {
      let piece = pieceOf(lane, i, $m, $j);
      let row = row0 + piece.row;
      let column = column0 + piece.column;
      if (row < P.rows && column < P.width4) { store(base + placeOf(row) + column, column, P.width, piece.value, lineOf(column, P.width4)); }
    }
    workgroupBarrier();
  }
  //# end
  //# end
}

fn storeWeights(sum: ptr<function, Sums>, lane: u32, block: u32, column0: u32, base: u32) {
  let line = Line(vec4f(P.scale), vec4f(0.0));
  //# for m in 0..$ROWS
  //# for j in 0..$COLUMNS
  {
    subgroupMatrixStore<row_major>(&staged, lane / LANES * SIDE * STAGED, (*sum)[$m * $COLUMNS + $j], STAGED);
    workgroupBarrier();
    for (var i = lane % LANES; i < SIDE * ACROSS_MATRIX; i += LANES) {
      let piece = pieceOf(lane, i, $m, $j);
      let row = block * 4u + piece.row;
      let column = column0 + piece.column;
      let tap = row / (4u * P.depth4);
      let channel = row - tap * 4u * P.depth4;
      if (tap < P.kernelH * P.kernelW && channel < P.depth && column < P.width4) {
        store(base + tap * P.tapX + channel * P.yPitch + column, column, P.width, piece.value, line);
      }
    }
    workgroupBarrier();
  }
  //# end
  //# end
}
