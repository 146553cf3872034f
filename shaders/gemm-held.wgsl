enable subgroups;
// Products of little depth, all taps counted, for software adapters: in gemm-broadcast.wgsl sums go from one turn of a loop to the next,
// which costs as much as multiplying, and w is read anew for every tile. Here a lane reads once what its four columns of the result need
// of w, and holds it while it goes over rows of x; a row's sum is one stretch of text without a loop. The lanes hold different rows of x and
// share them, in groups that own the same columns where the result has few. Greater depth is cut into parts, one dispatch each.
//# include divide
//# include epilogue
//# include gemm
//# include grid
//# include tail
//# include w-rows

const LANES = u32($LANES);
const COLUMNS = u32($COLUMNS);         // lanes side by side
const DEPTH = u32($DEPTH);             // channels of a tap
const QUADS = u32($QUADS);             // vec4f that they fill
const TAPS = u32($DOWN * $ACROSS);
// Few channels are summed as if the taps were laid out side by side, by fours across their borders, as they are where they are laid out.
const JOINS = $JOINED > 0;
const STEPS = u32($STEPS);             // vec4f of x that count in a sum

//# include x
//# include w
@group(0) @binding(31) var<uniform> P: Params;

// A tile of (LANES * P.turns) rows by (COLUMNS * 4) columns.
@compute @workgroup_size($LANES)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let batch = P.firstBatch + group.z;
  let first = lane / COLUMNS * COLUMNS;
  let columnTile = P.firstColumnTile + group.x;
  let leftmost = columnTile * COLUMNS;
  let column = leftmost + lane % COLUMNS;
  let safeColumn = min(column, P.width4 - 1u);
  let place = columnTile * P.wPanel + safeColumn - leftmost;
  var held: array<vec4f, STEPS * 4u>;
  //# for i in 0..$JOINED
  held[$i] = loadW(P.tapBase + $i * P.wPitch + place);
  //# end
  //# for r in 0..$APART
  //# for s in 0..$ACROSS
  //# for k in 0..$QUADS
  {
    let part = rowsOfW(batch * P.wBatch + P.tapBase + $r * P.tapY + $s * P.tapX, min($k, P.depth4 - 1u), safeColumn, place);
    //# for c in 0..4
    held[(($r * $ACROSS + $s) * QUADS + $k) * 4u + $c] = part[$c];
    //# end
  }
  //# end
  //# end
  //# end
  let line = lineOf(safeColumn, P.width4);
  for (var turn = 0u; turn < P.turns; turn++) {
    let row0 = ((P.firstRowTile + group.y) * P.turns + turn) * LANES;
    let p = min(row0 + lane, P.rows - 1u);
    var at = batch * P.xBatch + p / LANES * P.xPanel + p % LANES * P.xPitch;
    var inside = true;
    var base = vec2i(0);
    var image = 0u;
    if (!PLAIN) {
      let line = cellOf(p, P.outW);
      let image0 = cellOf(line.row, P.outH);
      base = vec2i(i32(line.column) * P.mulX + P.offX, i32(image0.column) * P.mulY + P.offY);
      image = image0.row * P.inH;
    }
    var taps: array<vec4f, TAPS * QUADS>;
    //# for r in 0..$DOWN
    //# for s in 0..$ACROSS
    if (!PLAIN) {
      let iy = base.y + $r * P.stepY;
      let ix = base.x + $s * P.stepX;
      inside = within(iy, P.inH) && within(ix, P.inW);
      at = batch * P.xBatch + select(0u, ((image + u32(iy)) * P.inW + u32(ix)) * P.xPitch, inside);
    }
    //# for k in 0..$QUADS
    taps[($r * $ACROSS + $s) * QUADS + $k] = select(vec4f(0.0), loadX(at + (P.xFirst + $k) * P.xStep), inside && (!PARTS || $k < P.depth4));
    //# end
    //# end
    //# end
    var v: array<vec4f, STEPS>;
    //# for i in 0..$JOINED
    v[$i / 4][$i % 4] = taps[$i / DEPTH * QUADS + $i % DEPTH / 4][$i % DEPTH % 4];
    //# end
    //# for i in 0..$WHOLE
    v[$i] = taps[$i];
    //# end
    for (var l = 0u; l < P.tileRows; l++) {
      let row = row0 + first + l;
      let stored = column < P.width4 && row < P.rows;
      let goal = batch * P.yBatch + placeOf(min(row, P.rows - 1u)) + safeColumn;
      var sum = vec4f(0.0);
      if (PARTS && P.continues == 1u && stored) { sum = y[goal]; }
      //# for i in 0..$STEPS
      {
        var more = subgroupShuffle(v[$i].x, first + l) * held[$i * 4];
        //# for c in 1..4
        if (select($i % QUADS * 4 + $c < DEPTH, $i * 4 + $c < $JOINED, JOINS)) { more += subgroupShuffle(v[$i][$c], first + l) * held[$i * 4 + $c]; }
        //# end
        sum += more;
      }
      //# end
      if (stored) {
        if (BARE) { y[goal] = sum; } else { store(goal, column, P.width, sum, line); }
      }
    }
  }
}
