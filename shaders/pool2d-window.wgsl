// Maximum and mean over small windows that slide over images [n, h, w, c]; their size and stride are known when a kernel is
// compiled. An invocation walks along $ACROSS neighbouring lines of the result in one vec4f of channels, so that memory is read as it
// lies there. Each turn reads the columns that a window does not share with the one before; of the others what they give to the window
// is kept, and the first turns only fill that. Padding behind the channels needs no mask: windows of zeros give zero.
// x is the image that is read, or in backward the gradient of the result.
//# include divide
//# include float
//# include grid

override INDEXED: bool = false;     // maxForward also writes where each maximum stood
override GRADIENT: bool = false;    // average: backward, with a stride of 1
override TO_MAXIMA: bool = true;    // backward: all to the window's maximum, or in equal parts to its pixels

struct Params {
  items: u32,             // invocations
  quads: u32,             // vec4f of a pixel
  blocks: u32,            // groups of $ACROSS lines
  runs: u32,              // parts of a line, of `run` columns
  run: i32,
  h: i32,                 // image that is read
  w: i32,
  oh: i32,                // image that is written
  ow: i32,
  ph: i32,
  pw: i32,
  countIncludePad: u32,
}
//# include x
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> taps: array<u32>;       // of each vec4f, the winner's place in the window: a byte each
@group(0) @binding(3) var<storage, read> winners: array<u32>;          // `taps`
@group(0) @binding(31) var<uniform> P: Params;

struct Walk {
  image: i32,
  row: i32,       // the first
  column: i32,    // the first
  end: i32,       // behind the last
  quad: i32,
}

fn walkOf(item: u32, columns: i32) -> Walk {
  let ofPixel = cellOf(item, P.quads);
  let ofLine = cellOf(ofPixel.row, P.runs);
  let ofImage = cellOf(ofLine.row, P.blocks);
  let column = i32(ofLine.column) * P.run;
  return Walk(i32(ofImage.row), i32(ofImage.column) * $ACROSS, column, min(column + P.run, columns), i32(ofPixel.column));
}

struct Best {
  value: vec4f,
  tap: vec4u,     // INDEXED: its place in the window
  size: vec4u,    // otherwise: the largest of all without its sign, as bits, which tells whether one was NaN
}
fn one(v: vec4f, tap: u32) -> Best {
  return Best(v, vec4u(tap), bitcast<vec4u>(v) & vec4u(0x7fffffffu));
}
// The better of two: a NaN wins over all numbers, and the last of several; among equal numbers the first of the window.
fn better(a: Best, b: Best) -> Best {
  if (INDEXED) {
    let earlier = b.tap < a.tap;
    let aCounts = !isNan4(a.value);
    let wins = (isNan4(b.value) & (aCounts | !earlier)) | (aCounts & ((b.value > a.value) | ((b.value == a.value) & earlier)));
    return Best(select(a.value, b.value, wins), select(a.tap, b.tap, wins), a.size);
  }
  return Best(select(a.value, b.value, b.value > a.value), a.tap, max(a.size, b.size));
}
fn valueOf(best: Best) -> vec4f {
  if (INDEXED) { return best.value; }
  let size = bitcast<vec4f>(best.size);
  return select(best.value, size, isNan4(size));
}

// How far into its window the pixel lies that is read for the k-th along an axis: beyond the border the one at the border stands
// in, which is in the window, too.
fn place(first: i32, k: i32, size: i32) -> u32 {
  return u32(clamp(first + k, 0, size - 1) - first);
}
// A column's best as one of its window's, whose first column is `left`.
fn within(column: Best, left: i32, c: i32) -> Best {
  return Best(column.value, column.tap + vec4u(place(left, c, P.w)), column.size);
}

@compute @workgroup_size(64)
fn maxForward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, P.ow);
  let top = walk.row * $SH - P.ph;
  let pitch = i32(P.quads);
  //# for r in 0..$LINES
  let line$r = (walk.image * P.h + clamp(top + $r, 0, P.h - 1)) * P.w * pitch + walk.quad;
  //# end
  var kept: array<Best, $ACROSS * $KW>;
  for (var o = walk.column - $WARM; o < walk.end; o++) {
    let left = o * $SW - P.pw;
    var v: array<vec4f, $SW * $LINES>;
    //# for c in 0..$SW
    let column$c = clamp(left + $KEPT + $c, 0, P.w - 1) * pitch;
    //# for r in 0..$LINES
    v[$c * $LINES + $r] = loadX(u32(line$r + column$c));
    //# end
    //# end
    let first = ((walk.image * P.oh + walk.row) * P.ow + o) * pitch + walk.quad;
    //# for a in 0..$ACROSS
    {
      var columns: array<Best, $KW>;
      //# for c in 0..$KEPT
      columns[$c] = kept[$a * $KW + $c];
      //# end
      //# for c in 0..$SW
      columns[$KEPT + $c] = one(v[$c * $LINES + $a * $SH], place(top + $a * $SH, 0, P.h) * $KW);
      //# for k in 1..$KH
      columns[$KEPT + $c] = better(columns[$KEPT + $c], one(v[$c * $LINES + $a * $SH + $k], place(top + $a * $SH, $k, P.h) * $KW));
      //# end
      //# end
      if (o >= walk.column && walk.row + $a < P.oh) {
        var best = within(columns[0], left, 0);
        //# for c in 1..$KW
        best = better(best, within(columns[$c], left, $c));
        //# end
        let at = first + $a * P.ow * pitch;
        y[at] = valueOf(best);
        if (INDEXED) { taps[at] = pack4xU8(best.tap); }
      }
      //# for c in 0..$KEPT
      kept[$a * $KW + $c] = columns[$SW + $c];
      //# end
    }
    //# end
  }
}

// Pixels along one axis of the o-th window that count.
fn counted(o: i32, size: i32, kernel: i32, stride: i32, pad: i32) -> f32 {
  let first = o * stride - pad;
  let end = min(first + kernel, size + pad);
  return f32(select(min(end, size) - max(first, 0), end - first, P.countIncludePad == 1u));
}

// Each block of $SH x $SW pixels belongs to the $DOWN x $ALONG windows whose corners are at most so many steps away. x is the
// gradient of the result here, P.oh and P.ow the size of what is written as before; `walk` counts blocks.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, (P.ow + P.pw + $SW - 1) / $SW);
  let pitch = i32(P.quads);
  // Of the windows of a column of blocks, and of the columns before it: the first is the last one read.
  var passed: array<vec4f, $ALONG * $WINDOWS>;
  var winner: array<vec4u, $ALONG * $WINDOWS>;
  for (var i = walk.column - $ALONG + 1; i < walk.end; i++) {
    //# for e in 1..$ALONG
    //# for r in 0..$WINDOWS
    passed[($ALONG - $e) * $WINDOWS + $r] = passed[($ALONG - $e - 1) * $WINDOWS + $r];
    winner[($ALONG - $e) * $WINDOWS + $r] = winner[($ALONG - $e - 1) * $WINDOWS + $r];
    //# end
    //# end
    //# for r in 0..$WINDOWS
    {
      let row = walk.row + $r - $DOWN + 1;
      let at = ((walk.image * P.h + clamp(row, 0, P.h - 1)) * P.w + clamp(i, 0, P.w - 1)) * pitch + walk.quad;
      let exists = i >= 0 && i < P.w && row >= 0 && row < P.h;
      passed[$r] = loadX(u32(at));
      if (TO_MAXIMA) {
        winner[$r] = select(vec4u(255u), unpack4xU8(winners[at]), exists);
      } else {
        let count = counted(row, P.oh, $KH, $SH, P.ph) * counted(i, P.ow, $KW, $SW, P.pw);
        passed[$r] = select(vec4f(0.0), passed[$r] / count, exists);
      }
    }
    //# end
    if (i >= walk.column) {
      //# for a in 0..$ACROSS
      //# for dy in 0..$SH
      //# for dx in 0..$SW
      {
        let row = (walk.row + $a) * $SH - P.ph + $dy;
        let column = i * $SW - P.pw + $dx;
        if (row >= 0 && row < P.oh && column >= 0 && column < P.ow) {
          var total = vec4f(0.0);
          //# for b in 0..$DOWN
          //# for e in 0..$ALONG
          if ($b * $SH + $dy < $KH && $e * $SW + $dx < $KW) {
            let takes = (winner[$e * $WINDOWS + $a + $DOWN - 1 - $b] == vec4u(($b * $SH + $dy) * $KW + $e * $SW + $dx)) | vec4<bool>(!TO_MAXIMA);
            total += select(vec4f(0.0), passed[$e * $WINDOWS + $a + $DOWN - 1 - $b], takes);
          }
          //# end
          //# end
          y[((walk.image * P.oh + row) * P.ow + column) * pitch + walk.quad] = total;
        }
      }
      //# end
      //# end
      //# end
    }
  }
}

// What a pixel that is read counts, by its place along one axis: backward spreads each window's gradient evenly.
fn share(i: i32, size: i32, written: i32, kernel: i32, pad: i32) -> f32 {
  if (GRADIENT) { return 1.0 / counted(clamp(i, 0, size - 1), written, kernel, 1, kernel - 1 - pad); }
  return 1.0;
}

// Zero where a pixel does not count, whatever stands in for it there.
fn portion(v: vec4f, share: f32) -> vec4f {
  return select(vec4f(0.0), v * share, share > 0.0);
}

// The gradient of windows with a stride of 1 is a sum over windows, too: x is the gradient of the result then.
@compute @workgroup_size(64)
fn average(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, P.ow);
  let top = walk.row * $SH - P.ph;
  let pitch = i32(P.quads);
  //# for r in 0..$LINES
  let line$r = (walk.image * P.h + clamp(top + $r, 0, P.h - 1)) * P.w * pitch + walk.quad;
  let lineShare$r = select(0.0, share(top + $r, P.h, P.oh, $KH, P.ph), top + $r >= 0 && top + $r < P.h);
  //# end
  //# for a in 0..$ACROSS
  let part$a = select(1.0 / counted(walk.row + $a, P.h, $KH, $SH, P.ph), 1.0, GRADIENT);
  //# end
  var kept: array<vec4f, $ACROSS * $KW>;
  for (var o = walk.column - $WARM; o < walk.end; o++) {
    let left = o * $SW - P.pw;
    var v: array<vec4f, $SW * $LINES>;
    //# for c in 0..$SW
    let c$c = left + $KEPT + $c;
    let column$c = clamp(c$c, 0, P.w - 1) * pitch;
    //# for r in 0..$LINES
    v[$c * $LINES + $r] = loadX(u32(line$r + column$c));
    //# end
    let columnShare$c = select(0.0, share(c$c, P.w, P.ow, $KW, P.pw), c$c >= 0 && c$c < P.w);
    //# for r in 0..$LINES
    v[$c * $LINES + $r] = portion(v[$c * $LINES + $r], lineShare$r * columnShare$c);
    //# end
    //# end
    let first = ((walk.image * P.oh + walk.row) * P.ow + o) * pitch + walk.quad;
    let part = select(1.0 / counted(o, P.w, $KW, $SW, P.pw), 1.0, GRADIENT);
    //# for a in 0..$ACROSS
    {
      var columns: array<vec4f, $KW>;
      //# for c in 0..$KEPT
      columns[$c] = kept[$a * $KW + $c];
      //# end
      //# for c in 0..$SW
      columns[$KEPT + $c] = v[$c * $LINES + $a * $SH];
      //# for k in 1..$KH
      columns[$KEPT + $c] += v[$c * $LINES + $a * $SH + $k];
      //# end
      //# end
      if (o >= walk.column && walk.row + $a < P.oh) {
        var total = columns[0];
        //# for c in 1..$KW
        total += columns[$c];
        //# end
        y[first + $a * P.ow * pitch] = total * (part * part$a);
      }
      //# for c in 0..$KEPT
      kept[$a * $KW + $c] = columns[$SW + $c];
      //# end
    }
    //# end
  }
}
