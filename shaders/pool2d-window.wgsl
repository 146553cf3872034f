// Maximum and mean over small windows that slide over images [n, h, w, c]; their size and stride are known when a kernel is
// compiled. An invocation walks down the rows of the result in $ACROSS neighbouring columns of one vec4f of channels. What a
// row gives to its windows is found once, and kept for the next windows that it belongs to. Padding behind the channels
// needs no mask: windows of zeros give zero.
//# include divide
//# include float
//# include grid

override INDEXED: bool = false;     // maxForward also writes where each maximum stood
override GRADIENT: bool = false;    // average: backward, with a stride of 1

struct Params {
  items: u32,             // invocations
  quads: u32,             // vec4f of a pixel
  blocks: u32,            // groups of $ACROSS columns
  runs: u32,              // parts of a column, of `run` rows
  run: i32,
  h: i32,                 // image that is read
  w: i32,
  oh: i32,                // image that is written
  ow: i32,
  ph: i32,
  pw: i32,
  countIncludePad: u32,
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> taps: array<u32>;       // of each vec4f, the winner's place in the window: a byte each
@group(0) @binding(3) var<storage, read> winners: array<u32>;          // `taps`
@group(1) @binding(0) var<uniform> P: Params;

struct Walk {
  image: i32,
  row: i32,       // the first
  end: i32,       // behind the last
  column: i32,    // the first
  quad: i32,
}

fn walkOf(item: u32, rows: i32) -> Walk {
  let ofPixel = cellOf(item, P.quads);
  let ofLine = cellOf(ofPixel.row, P.blocks);
  let ofImage = cellOf(ofLine.row, P.runs);
  let row = i32(ofImage.column) * P.run;
  return Walk(i32(ofImage.row), row, min(row + P.run, rows), i32(ofLine.column) * $ACROSS, i32(ofPixel.column));
}

struct Best {
  value: vec4f,
  tap: vec4u,
}
// The better of two, of which `a` comes first: a NaN wins over all numbers, among equals the first stays.
fn better(a: Best, b: Best) -> Best {
  let wins = ((b.value > a.value) & !isNan4(a.value)) | isNan4(b.value);
  return Best(select(a.value, b.value, wins), select(a.tap, b.tap, wins));
}

// The place in its window, which begins at column `left`, of the pixel that is read for the k-th.
fn tap(left: i32, k: i32) -> u32 {
  return u32(clamp(left + k, 0, P.w - 1) - left);
}
// A row's best as one of its window's, whose first row is `top`.
fn within(row: Best, top: i32, d: i32) -> Best {
  return Best(row.value, row.tap + vec4u(u32(clamp(top + d, 0, P.h - 1) - top) * $KW));
}

// Beyond the border the pixel at the border stands in: it is in the window, too.
@compute @workgroup_size(64)
fn maxForward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, P.oh);
  let left = walk.column * $SW - P.pw;
  let pitch = i32(P.quads);
  //# for c in 0..$COLUMNS
  let column$c = clamp(left + $c, 0, P.w - 1) * pitch + walk.quad;
  //# end
  var v: array<vec4f, $COLUMNS>;
  var rows: array<Best, $ACROSS * $KH>;
  var o = walk.row;
  let last = (walk.end - 1) * $SH - P.ph + $KH;
  for (var r = o * $SH - P.ph; r < last; r++) {
    let line = (walk.image * P.h + clamp(r, 0, P.h - 1)) * P.w * pitch;
    //# for c in 0..$COLUMNS
    v[$c] = x[line + column$c];
    //# end
    //# for a in 0..$ACROSS
    //# for d in 1..$KH
    rows[$a * $KH + $d - 1] = rows[$a * $KH + $d];
    //# end
    rows[$a * $KH + $KH - 1] = Best(v[$a * $SW], vec4u(tap(left + $a * $SW, 0)));
    //# for k in 1..$KW
    rows[$a * $KH + $KH - 1] = better(rows[$a * $KH + $KH - 1], Best(v[$a * $SW + $k], vec4u(tap(left + $a * $SW, $k))));
    //# end
    //# end
    let top = o * $SH - P.ph;
    if (r - top == $KH - 1) {
      let first = ((walk.image * P.oh + o) * P.ow + walk.column) * pitch + walk.quad;
      //# for a in 0..$ACROSS
      if (walk.column + $a < P.ow) {
        var best = within(rows[$a * $KH], top, 0);
        //# for d in 1..$KH
        best = better(best, within(rows[$a * $KH + $d], top, $d));
        //# end
        y[first + $a * pitch] = best.value;
        if (INDEXED) { taps[first + $a * pitch] = pack4xU8(best.tap); }
      }
      //# end
      o++;
    }
  }
}

// Each block of $SH x $SW pixels belongs to the $DOWN x $ALONG windows whose corners are at most so many steps away. x is the
// gradient of the result here, P.oh and P.ow the size of what is written as before; `walk` counts blocks.
@compute @workgroup_size(64)
fn maxBackward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, (P.oh + P.ph + $SH - 1) / $SH);
  let pitch = i32(P.quads);
  var passed: array<vec4f, $DOWN * $WINDOWS>;
  var place: array<vec4u, $DOWN * $WINDOWS>;
  for (var i = walk.row - $DOWN + 1; i < walk.end; i++) {
    //# for b in 0..$DOWN
    //# for c in 0..$WINDOWS
    if ($DOWN - 1 - $b > 0) {
      passed[max($DOWN - 1 - $b, 0) * $WINDOWS + $c] = passed[max($DOWN - 2 - $b, 0) * $WINDOWS + $c];
      place[max($DOWN - 1 - $b, 0) * $WINDOWS + $c] = place[max($DOWN - 2 - $b, 0) * $WINDOWS + $c];
    }
    //# end
    //# end
    //# for c in 0..$WINDOWS
    {
      let column = walk.column + $c - $ALONG + 1;
      let at = ((walk.image * P.h + clamp(i, 0, P.h - 1)) * P.w + clamp(column, 0, P.w - 1)) * pitch + walk.quad;
      let exists = i >= 0 && i < P.h && column >= 0 && column < P.w;
      passed[$c] = x[at];
      place[$c] = select(vec4u(255u), unpack4xU8(winners[at]), exists);
    }
    //# end
    if (i >= walk.row) {
      //# for c in 0..$ACROSS
      //# for dy in 0..$SH
      //# for dx in 0..$SW
      {
        let row = i * $SH - P.ph + $dy;
        let column = (walk.column + $c) * $SW - P.pw + $dx;
        if (row >= 0 && row < P.oh && column >= 0 && column < P.ow) {
          var total = vec4f(0.0);
          //# for b in 0..$DOWN
          //# for e in 0..$ALONG
          if ($b * $SH + $dy < $KH && $e * $SW + $dx < $KW) {
            total += select(vec4f(0.0), passed[$b * $WINDOWS + $c + $ALONG - 1 - $e], place[$b * $WINDOWS + $c + $ALONG - 1 - $e] == vec4u(($b * $SH + $dy) * $KW + $e * $SW + $dx));
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

// Pixels along one axis of the o-th window that count.
fn counted(o: i32, size: i32, kernel: i32, stride: i32, pad: i32) -> f32 {
  let first = o * stride - pad;
  let end = min(first + kernel, size + pad);
  return f32(select(min(end, size) - max(first, 0), end - first, P.countIncludePad == 1u));
}

// What a pixel that is read counts, by its place along one axis: backward spreads each window's gradient evenly.
fn share(i: i32, size: i32, written: i32, kernel: i32, pad: i32) -> f32 {
  if (GRADIENT) { return 1.0 / counted(clamp(i, 0, size - 1), written, kernel, 1, kernel - 1 - pad); }
  return 1.0;
}

// The gradient of windows with a stride of 1 is a sum over windows, too: x is the gradient of the result then.
@compute @workgroup_size(64)
fn average(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item, P.oh);
  let left = walk.column * $SW - P.pw;
  let pitch = i32(P.quads);
  var v: array<vec4f, $COLUMNS>;
  var rows: array<vec4f, $ACROSS * $KH>;
  //# for a in 0..$ACROSS
  let part$a = select(1.0 / counted(walk.column + $a, P.w, $KW, $SW, P.pw), 1.0, GRADIENT);
  //# end
  //# for c in 0..$COLUMNS
  let column$c = clamp(left + $c, 0, P.w - 1) * pitch + walk.quad;
  let columnShare$c = share(left + $c, P.w, P.ow, $KW, P.pw);
  let columnExists$c = left + $c >= 0 && left + $c < P.w;
  //# end
  var o = walk.row;
  let last = (walk.end - 1) * $SH - P.ph + $KH;
  for (var r = o * $SH - P.ph; r < last; r++) {
    let line = (walk.image * P.h + clamp(r, 0, P.h - 1)) * P.w * pitch;
    let rowExists = r >= 0 && r < P.h;
    let rowShare = share(r, P.h, P.oh, $KH, P.ph);
    //# for c in 0..$COLUMNS
    v[$c] = select(vec4f(0.0), x[line + column$c], rowExists && columnExists$c) * (rowShare * columnShare$c);
    //# end
    //# for a in 0..$ACROSS
    //# for d in 1..$KH
    rows[$a * $KH + $d - 1] = rows[$a * $KH + $d];
    //# end
    rows[$a * $KH + $KH - 1] = v[$a * $SW];
    //# for k in 1..$KW
    rows[$a * $KH + $KH - 1] += v[$a * $SW + $k];
    //# end
    //# end
    if (r - (o * $SH - P.ph) == $KH - 1) {
      let first = ((walk.image * P.oh + o) * P.ow + walk.column) * pitch + walk.quad;
      let part = select(1.0 / counted(o, P.h, $KH, $SH, P.ph), 1.0, GRADIENT);
      //# for a in 0..$ACROSS
      if (walk.column + $a < P.ow) {
        var total = rows[$a * $KH];
        //# for d in 1..$KH
        total += rows[$a * $KH + $d];
        //# end
        y[first + $a * pitch] = total * (part * part$a);
      }
      //# end
      o++;
    }
  }
}
