// Shrinks images [B, H, W, C] along both axes at once: every output is a mean of source pixels, weighted by a triangle that is as wide
// as two outputs. The padding behind the channels needs no mask: sums of zeros are zero.
//# include divide
//# include grid
//# include tail
//# include taps
//# include pixel

override WIDE: bool = false;     // `forward` needs several turns for what lies side by side, and finds the weights anew in each

struct Params {
  batch: u32,
  inHeight: u32,
  inWidth: u32,
  outHeight: u32,
  outWidth: u32,
  quads: u32,           // vec4f of a pixel
  blocks: u32,          // groups of $ACROSS columns
  runs: u32,            // parts into which columns are cut, of `run` pixels
  run: u32,
  span: u32,            // source columns under the triangles of a block, at most
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> found: array<f32>;
@group(0) @binding(3) var<storage, read> shares: array<f32>;      // `found`: 1 / sum of weights of each output row, then of each output column
@group(0) @binding(31) var<uniform> P: Params;

// Backwards, shrinking is resizing to more elements: those of the source lie in gaps between the centres of outputs, and the two
// triangles that cover a gap rise and fall from one centre to the other.
fn rowsAxis() -> Axis {
  return axisOf(P.outHeight, P.inHeight, false);
}
fn columnsAxis() -> Axis {
  return axisOf(P.outWidth, P.inWidth, false);
}
// The weight of source element i for output o, in parts; 0 behind the last element.
fn height(i: u32, o: u32, axis: Axis) -> f32 {
  let sources = axis.parts / 2u;
  let away = abs(i32((2u * i + 1u) * axis.size) - i32((2u * o + 1u) * sources));
  return select(0.0, f32(max(i32(axis.parts) - away, 0)), i < sources);
}
// The first source element in the gap before output o.
fn firstBefore(o: u32, axis: Axis) -> u32 {
  let sources = axis.parts / 2u;
  return quotient(u32(max(i32(2u * o * sources + axis.size) - i32(sources + 1u), 0)), axis.step);
}

@compute @workgroup_size(64)
fn findShares(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.outHeight + P.outWidth) { return; }
  var axis = rowsAxis();
  var o = i;
  if (i >= P.outHeight) {
    axis = columnsAxis();
    o = i - P.outHeight;
  }
  var total = 0.0;
  let end = firstBefore(o + 2u, axis);
  for (var source = firstBefore(o, axis); source < end; source++) { total += height(source, o, axis); }
  found[i] = 1.0 / total;
}

struct Walk {
  image: u32,
  column: u32,    // the first of the block
  quad: u32,
  first: u32,     // pixel of the column
}
fn walkOf(item: u32) -> Walk {
  let ofPixel = cellOf(item, P.quads);
  let ofRow = cellOf(ofPixel.row, P.blocks);
  let part = cellOf(ofRow.row, P.runs);
  return Walk(part.row, ofRow.column * $ACROSS, ofPixel.column, part.column * P.run);
}

// An invocation walks down the source, beside $ACROSS columns of the result, and reads $TAPS pixels at a time. What it reads belongs to
// the output above and to the one below.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let walk = walkOf(linearWorkgroup(group, groups) * 64u + lane);
  if (walk.image >= P.batch) { return; }
  let columns = columnsAxis();
  let left = firstBefore(walk.column, columns);
  // Where one turn does, all rows have the same weights.
  var kept: array<f32, $ACROSS * $TAPS>;
  //# for t in 0..$TAPS
  //# for k in 0..$ACROSS
  kept[$k * $TAPS + $t] = height(left + $t, walk.column + $k, columns);
  //# end
  //# end
  let rows = rowsAxis();
  let end = min(walk.first + P.run, P.outHeight);
  var j = firstBefore(walk.first, rows);
  // Where heights are equal, the first row lies at the output's centre: at the end of the gap before it.
  let begin = positionOf(j, rows);
  var part = begin.column + (begin.row - walk.first) * rows.parts;
  //# for k in 0..$ACROSS
  var above$k = vec4f(0.0);
  var below$k = vec4f(0.0);
  //# end
  for (var o = walk.first; o <= end; o++) {
    let count = min(outputsFrom(part, rows), P.inHeight - j);
    for (var n = 0u; n < count; n++) {
      let start = (walk.image * P.inHeight + j + n) * P.inWidth * P.quads;
      //# for k in 0..$ACROSS
      var sum$k = vec4f(0.0);
      //# end
      for (var i = left; ; i += $TAPS) {
        //# for t in 0..$TAPS
        {
          let v = pixelAt(start + (min(i + $t, P.inWidth - 1u) * P.quads + walk.quad));
          //# for k in 0..$ACROSS
          var weight$k = kept[$k * $TAPS + $t];
          if (WIDE) { weight$k = height(i + $t, walk.column + $k, columns); }
          sum$k += select(vec4f(0.0), weight$k * v, weight$k > 0.0);
          //# end
        }
        //# end
        if (!WIDE || i + $TAPS >= left + P.span) { break; }
      }
      let far = f32(part + n * rows.step);
      //# for k in 0..$ACROSS
      above$k += (f32(rows.parts) - far) * sum$k;
      below$k += far * sum$k;
      //# end
    }
    j += count;
    part = part + count * rows.step - rows.parts;
    if (o > walk.first) {
      let at = (walk.image * P.outHeight + o - 1u) * P.outWidth + walk.column;
      //# for k in 0..$ACROSS
      if (walk.column + $k < P.outWidth) { y[(at + $k) * P.quads + walk.quad] = above$k * (shares[o - 1u] * shares[P.outHeight + walk.column + $k]); }
      //# end
    }
    //# for k in 0..$ACROSS
    above$k = below$k;
    below$k = vec4f(0.0);
    //# end
  }
}

// x is the gradient of the result here, y that of the source: an invocation walks down $ACROSS columns of it, between the centres of two
// rows of outputs at a time. $TAPS columns of outputs cover the block.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let walk = walkOf(linearWorkgroup(group, groups) * 64u + lane);
  if (walk.image >= P.batch) { return; }
  let columns = columnsAxis();
  let gap = i32(positionOf(walk.column, columns).row) - 1;
  var weights: array<f32, $ACROSS * $TAPS>;
  //# for t in 0..$TAPS
  let o$t = u32(clamp(gap + $t, 0, i32(P.outWidth) - 1));
  let share$t = select(0.0, shares[P.outHeight + o$t], i32(o$t) == gap + $t);
  //# for k in 0..$ACROSS
  weights[$k * $TAPS + $t] = height(walk.column + $k, o$t, columns) * share$t;
  //# end
  //# end
  let rows = rowsAxis();
  let end = min(walk.first + P.run, P.inHeight);
  let position = positionOf(walk.first, rows);
  var j = walk.first;
  var part = position.column + rows.parts;      // the first turn only finds what lies above
  //# for k in 0..$ACROSS
  var below$k = vec4f(0.0);
  //# end
  for (var o = i32(position.row) - 1; j < end; o++) {
    let row = u32(clamp(o, 0, i32(P.outHeight) - 1));
    let share = select(0.0, shares[row], i32(row) == o);
    let start = (walk.image * P.outHeight + row) * P.outWidth * P.quads;
    //# for k in 0..$ACROSS
    let above$k = below$k;
    below$k = vec4f(0.0);
    //# end
    //# for t in 0..$TAPS
    {
      let v = share * pixelAt(start + (o$t * P.quads + walk.quad));
      //# for k in 0..$ACROSS
      if (weights[$k * $TAPS + $t] > 0.0) { below$k += weights[$k * $TAPS + $t] * v; }
      //# end
    }
    //# end
    let count = min(outputsFrom(part, rows), end - j);
    for (var n = 0u; n < count; n++) {
      let far = f32(part + n * rows.step);
      let near = f32(rows.parts) - far;
      let at = ((walk.image * P.inHeight + j + n) * P.inWidth + walk.column) * P.quads + walk.quad;
      //# for k in 0..$ACROSS
      if (walk.column + $k < P.inWidth) { y[at + $k * P.quads] = near * above$k + far * below$k; }
      //# end
    }
    j += count;
    part = part + count * rows.step - rows.parts;
  }
}
