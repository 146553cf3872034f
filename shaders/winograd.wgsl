// Convolutions without stride by Winograd's algorithm, with square taps or taps along one axis: input and weights are
// transformed, multiplied as DOWN_EDGE * EDGE matrix products (src/ops/gemm.ts), and the products transformed back. EDGE = RESULT +
// TAPS - 1 pixels of input give RESULT pixels of output along the first axis. Along the second it is the same, or, for taps of one line,
// all is 1; lines run down the image where the taps do. Per result and axis, TAPS products become EDGE / RESULT. The gradient of the
// weights is the transpose of the same algorithm: as many products of transformed input and output gradient.
//# include divide
//# include epilogue
//# include grid
//# include tail
//# include down
//# include toom-cook

@group(0) @binding(0) var<storage, read> source: array<Value>;

struct Params {
  inH: u32, inW: u32,     // input pixels along the second and the first axis
  inLine: u32,            // between them, in pixels as they are stored
  inPixel: u32,
  outH: u32, outW: u32,   // output pixels, likewise
  outLine: u32,
  outPixel: u32,
  tilesY: u32, tilesX: u32,
  firstTile: u32,         // of those in this part
  tiles: u32,             // in this part
  padY: i32, padX: i32,
  channels: u32,          // of input (input), of output (output); rows of the weight matrix (weights)
  lanes: u32,             // Values in a row
  scale: f32,             // the epilogue's, from here on
  biased: u32,
  adds: u32,
  relu: u32,
}
@group(1) @binding(0) var<uniform> P: Params;

override FLIP: bool = false;   // taps in reverse order, for the gradient of the input

const RESULT = u32($RESULT);
const EDGE = u32($EDGE);
const DOWN_RESULT = u32($DOWN_RESULT);
const DOWN_EDGE = u32($DOWN_EDGE);

// Column, row and image of an item's tile, and its channel.
fn tileOf(item: u32, width: u32) -> vec4u {
  let place = quotient(item, width);
  let tile = P.firstTile + place;
  let line = quotient(tile, P.tilesX);
  let image = quotient(line, P.tilesY);
  return vec4u(tile - line * P.tilesX, line - image * P.tilesY, image, item - place * width);
}

// y[e][tile][channel] = (Bt d B)[e] for the DOWN_EDGE * EDGE pixels d of each tile.
@compute @workgroup_size(64)
fn input(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.tiles * P.lanes) { return; }
  let t = tileOf(item, P.lanes);
  let x0 = i32(t.x * RESULT) - P.padX;
  let y0 = i32(t.y * DOWN_RESULT) - P.padY;
  let image = t.z * P.inH * P.inW;
  let channel = t.w;
  //# for c in 0..$EDGE
  let inside$c = x0 + $c >= 0 && x0 + $c < i32(P.inW);
  let column$c = u32(clamp(x0 + $c, 0, i32(P.inW) - 1)) * P.inPixel;
  //# end
  //# for r in 0..$DOWN_EDGE
  let within$r = y0 + $r >= 0 && y0 + $r < i32(P.inH);
  let row$r = image + u32(clamp(y0 + $r, 0, i32(P.inH) - 1)) * P.inLine;
  var d$r: array<Value, EDGE>;
  //# for c in 0..$EDGE
  d$r[$c] = select(Value(), source[(row$r + column$c) * P.lanes + channel], within$r && inside$c);
  //# end
  let h$r = inputLine(d$r);
  //# end
  //# for c in 0..$EDGE
  {
    var line: array<Value, DOWN_EDGE>;
    //# for r in 0..$DOWN_EDGE
    line[$r] = h$r[$c];
    //# end
    let v = inputDown(line);
    //# for r in 0..$DOWN_EDGE
    y[(u32($r) * EDGE + u32($c)) * P.tiles * P.lanes + item] = v[$r];
    //# end
  }
  //# end
}

// y[e][row of the weight matrix] = (G g Gt)[e] for the taps g.
@compute @workgroup_size(64)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.channels * P.lanes;
  if (item >= items) { return; }
  //# for r in 0..$DOWN_TAPS
  var g$r: array<Value, $TAPS>;
  //# for c in 0..$TAPS
  g$r[$c] = source[select(u32($r * $TAPS + $c), u32($DOWN_TAPS * $TAPS - 1 - $r * $TAPS - $c), FLIP) * items + item];
  //# end
  let h$r = weightLine(g$r);
  //# end
  //# for c in 0..$EDGE
  {
    var line: array<Value, $DOWN_TAPS>;
    //# for r in 0..$DOWN_TAPS
    line[$r] = h$r[$c];
    //# end
    let u = weightDown(line);
    //# for r in 0..$DOWN_EDGE
    y[(u32($r) * EDGE + u32($c)) * items + item] = u[$r];
    //# end
  }
  //# end
}

// y[pixels of the tile][channel] = At m A for the products m, and what the epilogue adds.
@compute @workgroup_size(64)
fn output(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.tiles * P.lanes;
  if (item >= items) { return; }
  let t = tileOf(item, P.lanes);
  let x0 = t.x * RESULT;
  let y0 = t.y * DOWN_RESULT;
  let image = t.z * P.outH * P.outW;
  let channel = t.w;
  //# for r in 0..$DOWN_EDGE
  var m$r: array<Value, EDGE>;
  //# for c in 0..$EDGE
  m$r[$c] = source[u32($r * $EDGE + $c) * items + item];
  //# end
  let h$r = outputLine(m$r);
  //# end
  //# for r in 0..$DOWN_RESULT
  //# for c in 0..$RESULT
  let inside$r$c = y0 + u32($r) < P.outH && x0 + u32($c) < P.outW;
  let at$r$c = (image + min(y0 + u32($r), P.outH - 1u) * P.outLine + min(x0 + u32($c), P.outW - 1u) * P.outPixel) * P.lanes + channel;
  //# end
  //# end
  // One branch for all: one around each load makes the kernel slow to compile.
  var more: array<Value, DOWN_RESULT * RESULT>;
  if (P.adds != 0u) {
    //# for r in 0..$DOWN_RESULT
    //# for c in 0..$RESULT
    more[$r * RESULT + $c] = earlier(at$r$c);
    //# end
    //# end
  }
  let line = lineOf(channel, P.lanes);
  //# for c in 0..$RESULT
  {
    var strip: array<Value, DOWN_EDGE>;
    //# for r in 0..$DOWN_EDGE
    strip[$r] = h$r[$c];
    //# end
    let v = outputDown(strip);
    //# for r in 0..$DOWN_RESULT
    if (inside$r$c) { y[at$r$c] = finished(channel, P.channels, v[$r], line, more[$r * RESULT + $c]); }
    //# end
  }
  //# end
}

// y[e][tile][channel] = (A g At)[e] for the DOWN_RESULT * RESULT pixels g of each tile of the output's gradient.
@compute @workgroup_size(64)
fn gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.tiles * P.lanes) { return; }
  let t = tileOf(item, P.lanes);
  let x0 = t.x * RESULT;
  let y0 = t.y * DOWN_RESULT;
  let image = t.z * P.outH * P.outW;
  let channel = t.w;
  //# for r in 0..$DOWN_RESULT
  let row$r = image + min(y0 + u32($r), P.outH - 1u) * P.outLine;
  var g$r: array<Value, RESULT>;
  //# for c in 0..$RESULT
  g$r[$c] = select(Value(), source[(row$r + min(x0 + u32($c), P.outW - 1u) * P.outPixel) * P.lanes + channel], y0 + u32($r) < P.outH && x0 + u32($c) < P.outW);
  //# end
  let h$r = gradientLine(g$r);
  //# end
  //# for c in 0..$EDGE
  {
    var line: array<Value, DOWN_RESULT>;
    //# for r in 0..$DOWN_RESULT
    line[$r] = h$r[$c];
    //# end
    let v = gradientDown(line);
    //# for r in 0..$DOWN_EDGE
    y[(u32($r) * EDGE + u32($c)) * P.tiles * P.lanes + item] = v[$r];
    //# end
  }
  //# end
}

// y[tap][row of the weight's gradient] = (Gt m G)[tap] for the products m, or that and what y holds.
@compute @workgroup_size(64)
fn collect(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = linearWorkgroup(group, groups) * 64u + lane;
  let items = P.channels * P.lanes;
  if (item >= items) { return; }
  //# for r in 0..$DOWN_EDGE
  var m$r: array<Value, EDGE>;
  //# for c in 0..$EDGE
  m$r[$c] = source[u32($r * $EDGE + $c) * items + item];
  //# end
  let h$r = collectLine(m$r);
  //# end
  var more: array<Value, $DOWN_TAPS * $TAPS>;
  if (P.adds != 0u) {
    //# for r in 0..$DOWN_TAPS
    //# for c in 0..$TAPS
    more[$r * $TAPS + $c] = y[u32($r * $TAPS + $c) * items + item];
    //# end
    //# end
  }
  //# for c in 0..$TAPS
  {
    var line: array<Value, DOWN_EDGE>;
    //# for r in 0..$DOWN_EDGE
    line[$r] = h$r[$c];
    //# end
    let v = collectDown(line);
    //# for r in 0..$DOWN_TAPS
    y[u32($r * $TAPS + $c) * items + item] = v[$r] + more[$r * $TAPS + $c];
    //# end
  }
  //# end
}
