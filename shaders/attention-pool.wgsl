// Bilinear attention pooling by the maximum: maps [B, pixels, M] with features [B, pixels, C] to [B, M, C]. By the mean
// it is a product of matrices (src/ops/attention-pool.ts). Features are x, maps are w.
//# include divide
//# include float
//# include grid
//# include tail
//# include w
//# include x

struct Params {
  batch: u32,
  pixels: u32,
  maps: u32,
  channels: u32,
  mapQuads: u32,
  channelQuads: u32,
}
@group(0) @binding(2) var<storage, read_write> pooled: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> firsts: array<vec4i>;     // pixel of the first maximum, or the first of the turn that it is in
@group(0) @binding(4) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read> winners: array<vec4i>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read> values: array<f32>;             // what the gradient is multiplied by
@group(0) @binding(31) var<uniform> P: Params;

// An invocation's tile: MAPS vec4f of maps by CHANNELS vec4f of channels.
const MAPS = u32($MAPS);
const CHANNELS = u32($CHANNELS);
const TILE = MAPS * 4u * CHANNELS;

struct Tile {
  image: u32,
  map: u32,           // the first of them
  channel: u32,       // the first vec4f
}
struct Maximum {
  best: vec4f,
  first: vec4i,       // as in firsts
}

// Writes what was found for the t-th vec4f of a tile, unless it lies beyond the last map or channel.
fn put(tile: Tile, t: u32, found: Maximum) {
  let map = tile.map + t / CHANNELS;
  let channel = tile.channel + t % CHANNELS;
  if (map >= P.maps || channel >= P.channelQuads) { return; }
  let row = (tile.image * P.maps + map) * P.channelQuads + channel;
  pooled[row] = maskTail(found.best, channel, P.channels);
  firsts[row] = found.first;
}

// The maximum where an operand is not finite: a NaN wins over all numbers.
fn maximumWithNan(tile: Tile, t: u32) -> Maximum {
  let map = min(tile.map + t / CHANNELS, P.maps - 1u);
  let mapAt = tile.image * P.pixels * P.mapQuads + map / 4u;
  let featureAt = tile.image * P.pixels * P.channelQuads + min(tile.channel + t % CHANNELS, P.channelQuads - 1u);
  var result = Maximum(loadW(mapAt)[map % 4u] * loadX(featureAt), vec4i(0));
  for (var p = 1u; p < P.pixels; p++) {
    let v = loadW(mapAt + p * P.mapQuads)[map % 4u] * loadX(featureAt + p * P.channelQuads);
    let better = ((v > result.best) | isNan4(v)) & !isNan4(result.best);
    result.best = select(result.best, v, better);
    result.first = select(result.first, vec4i(i32(p)), better);
  }
  return result;
}

// Maximum over the pixels for a tile of maps and channels, and in which turn of the loop it first occurs: to keep the pixel would double the
// work on each product. Finite numbers have no product that is NaN, so that the loop need not test for it; whether all are finite it finds out
// on the way. The tile's places are spelled out, so that compilers keep it in registers.
@compute @workgroup_size($GROUP)
fn maximum(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * u32($GROUP) + lane;
  // Blocks of as many tiles side by side as a workgroup has invocations: what it reads of the features the next workgroups read for other
  // maps, while it is still in a processor's cache.
  let tiles = (P.channelQuads + CHANNELS - 1u) / CHANNELS;
  let blocks = (tiles + u32($GROUP) - 1u) / u32($GROUP);
  let beside = quotient(tiles + blocks - 1u, blocks);
  let across = cellOf(i, beside);
  let down = cellOf(across.row, (P.mapQuads + MAPS - 1u) / MAPS);
  let block = cellOf(down.row, blocks);
  let tile = Tile(block.row, down.column * MAPS * 4u, (block.column * beside + across.column) * CHANNELS);
  if (tile.image >= P.batch || tile.channel >= P.channelQuads) { return; }
  // Beyond the last of them stands the last again.
  //# for c in 0..$CHANNELS
  let featureAt$c = tile.image * P.pixels * P.channelQuads + min(tile.channel + u32($c), P.channelQuads - 1u);
  //# end
  //# for m in 0..$MAPS
  let mapAt$m = tile.image * P.pixels * P.mapQuads + min(tile.map / 4u + u32($m), P.mapQuads - 1u);
  //# end
  var best: array<vec4f, TILE>;
  var first: array<vec4i, TILE>;
  //# for m in 0..$MAPS
  //# for k in 0..4
  //# for c in 0..$CHANNELS
  best[(u32($m) * 4u + $k) * CHANNELS + $c] = vec4f(-infinity(min(P.pixels, 1u)));
  //# end
  //# end
  //# end
  var magnitude = vec4u(0u);
  for (var turn = 0u; turn < P.pixels; turn += u32($PIXELS)) {
    //# for u in 0..$PIXELS
    let p$u = min(turn + u32($u), P.pixels - 1u);
    //# for c in 0..$CHANNELS
    let f$u$c = loadX(featureAt$c + p$u * P.channelQuads);
    magnitude = max(magnitude, bitcast<vec4u>(f$u$c) & vec4u(0x7fffffffu));
    //# end
    //# for m in 0..$MAPS
    let a$u$m = loadW(mapAt$m + p$u * P.mapQuads);
    magnitude = max(magnitude, bitcast<vec4u>(a$u$m) & vec4u(0x7fffffffu));
    //# end
    //# end
    //# for m in 0..$MAPS
    //# for k in 0..4
    //# for c in 0..$CHANNELS
    {
      const t = (u32($m) * 4u + $k) * CHANNELS + $c;
      var largest = a0$m[$k] * f0$c;
      //# for u in 1..$PIXELS
      {
        let v = a$u$m[$k] * f$u$c;
        largest = select(largest, v, v > largest);
      }
      //# end
      let better = largest > best[t];
      best[t] = select(best[t], largest, better);
      first[t] = select(first[t], vec4i(i32(turn)), better);
    }
    //# end
    //# end
    //# end
  }
  let finite = all(magnitude < vec4u(0x7f800000u));
  // Backwards, as in gemm-broadcast.wgsl: a loop that counts up to the length of an array is written out.
  for (var left = hidden(TILE, P.pixels); left > 0u; left--) {
    let t = left - 1u;
    var found = Maximum(best[t], first[t]);
    if (!finite) { found = maximumWithNan(tile, t); }
    put(tile, t, found);
  }
}

// Of each maximum the pixel: one of the turn that is known. The pixels of a turn are all read, without a branch, and the first of the largest
// products is taken; where a NaN has won, it is the first.
@compute @workgroup_size(64)
fn locate(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let row = linearWorkgroup(group, groups) * 64u + local.x;
  let across = cellOf(row, P.channelQuads);
  let down = cellOf(across.row, P.maps);
  if (down.row >= P.batch) { return; }
  let first = firsts[row];
  let mapsAt = down.row * P.pixels * P.mapQuads + down.column / 4u;
  let featuresAt = down.row * P.pixels * P.channelQuads + across.column;
  var found = first;
  var largest: vec4f;
  //# for u in 0..$PIXELS
  {
    let p = min(vec4u(first) + vec4u($u), vec4u(P.pixels - 1u));
    var v: vec4f;
    //# for k in 0..4
    v[$k] = loadW(mapsAt + p[$k] * P.mapQuads)[down.column % 4u] * loadX(featuresAt + p[$k] * P.channelQuads)[$k];
    //# end
    if ($u == 0) { largest = v; }
    let better = (v > largest) & !isNan4(largest);
    found = select(found, vec4i(p), better);
    largest = select(largest, v, better);
  }
  //# end
  firsts[row] = found;
}

// Gradients go to the pixels of the maxima alone: they are added to what `result` holds, by invocations that own their part of it.
fn addAt(place: u32, value: u32, gradient: f32) {
  result[place] += values[value] * gradient;
}

// Of one vec4f of channels of an image. `values` are the maps.
@compute @workgroup_size(8)
fn toFeatures(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 8u + lane;
  let at = cellOf(i, P.channelQuads);
  let image = at.row;
  let channel = at.column;
  if (image >= P.batch) { return; }
  for (var map = 0u; map < P.maps; map++) {
    let row = (image * P.maps + map) * P.channelQuads + channel;
    let pixels = vec4u(image * P.pixels) + vec4u(winners[row]);
    let g = gradient[row];
    //# for k in 0..4
    if (channel * 4u + $k < P.channels) { addAt((pixels[$k] * P.channelQuads + channel) * 4u + $k, pixels[$k] * P.mapQuads * 4u + map, g[$k]); }
    //# end
  }
}

// Of one map of an image. `values` are the features.
@compute @workgroup_size(8)
fn toMaps(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 8u + lane;
  let at = cellOf(i, P.maps);
  let image = at.row;
  let map = at.column;
  if (image >= P.batch) { return; }
  for (var channel = 0u; channel < P.channelQuads; channel++) {
    let row = i * P.channelQuads + channel;
    let pixels = vec4u(image * P.pixels) + vec4u(winners[row]);
    let g = gradient[row];
    //# for k in 0..4
    if (channel * 4u + $k < P.channels) { addAt(pixels[$k] * P.mapQuads * 4u + map, (pixels[$k] * P.channelQuads + channel) * 4u + $k, g[$k]); }
    //# end
  }
}
