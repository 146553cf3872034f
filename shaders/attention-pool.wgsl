// Bilinear attention pooling by the maximum: maps [B, pixels, M] with features [B, pixels, C] to [B, M, C]. By the mean
// it is a product of matrices (src/ops/attention-pool.ts).
//# include divide
//# include float
//# include grid
//# include tail

struct Params {
  batch: u32,
  pixels: u32,
  maps: u32,
  channels: u32,
  mapQuads: u32,
  channelQuads: u32,
}
@group(0) @binding(0) var<storage, read> features: array<vec4f>;
@group(0) @binding(1) var<storage, read> maps: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> pooled: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> firsts: array<vec4i>;     // pixel of the first maximum
@group(0) @binding(4) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(5) var<storage, read> winners: array<vec4i>;
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read> values: array<f32>;             // what the gradient is multiplied by
@group(1) @binding(0) var<uniform> P: Params;

// Maximum over the pixels, and where it first occurs, of 4 maps and 4 channels; a NaN wins over all numbers.
@compute @workgroup_size(64)
fn maximum(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let row = cellOf(i, P.channelQuads);
  let channel = row.column;
  let block = cellOf(row.row, P.mapQuads);
  let map = block.column;
  let image = block.row;
  if (image >= P.batch) { return; }
  let featureAt = image * P.pixels * P.channelQuads + channel;
  let mapAt = image * P.pixels * P.mapQuads + map;
  //# for k in 0..4
  var best$k = maps[mapAt][$k] * features[featureAt];
  var first$k = vec4i(0);
  //# end
  for (var p = 1u; p < P.pixels; p++) {
    let f = features[featureAt + p * P.channelQuads];
    let a = maps[mapAt + p * P.mapQuads];
    //# for k in 0..4
    let v$k = a[$k] * f;
    let better$k = ((v$k > best$k) | isNan4(v$k)) & !isNan4(best$k);
    best$k = select(best$k, v$k, better$k);
    first$k = select(first$k, vec4i(i32(p)), better$k);
    //# end
  }
  //# for k in 0..4
  if (map * 4u + $k < P.maps) {
    let row = (image * P.maps + map * 4u + $k) * P.channelQuads + channel;
    pooled[row] = maskTail(best$k, channel, P.channels);
    firsts[row] = first$k;
  }
  //# end
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
