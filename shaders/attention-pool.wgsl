// Bilinear attention pooling by the maximum: maps [B, pixels, M] with features [B, pixels, C] to [B, M, C]. By the mean
// it is a product of matrices (src/ops/attention-pool.ts). Each invocation computes 4 x 4 results.
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
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(1) @binding(0) var<uniform> P: Params;

// Maximum over the pixels, and where it first occurs; a NaN wins over all numbers.
@compute @workgroup_size(64)
fn maximum(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let channel = i % P.channelQuads;
  let map = (i / P.channelQuads) % P.mapQuads;
  let image = i / (P.channelQuads * P.mapQuads);
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

// Gradient of the features: for 4 pixels x 4 channels, the sum over the maps.
@compute @workgroup_size(64)
fn toFeatures(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let down = (P.pixels + 3u) / 4u;
  let channel = i % P.channelQuads;
  let pixel = ((i / P.channelQuads) % down) * 4u;
  let image = i / (P.channelQuads * down);
  if (image >= P.batch) { return; }
  //# for p in 0..4
  let mapAt$p = (image * P.pixels + min(pixel + $p, P.pixels - 1u)) * P.mapQuads;
  //# end
  var sum = mat4x4f();
  for (var m = 0u; m < P.mapQuads; m++) {
    //# for p in 0..4
    let a$p = maps[mapAt$p + m];
    //# end
    //# for k in 0..4
    {
      // The lanes of the maps behind the last one are zero, so any row may stand in for theirs.
      let row = (image * P.maps + min(m * 4u + $k, P.maps - 1u)) * P.channelQuads + channel;
      let g = gradient[row];
      let winner = winners[row];
      //# for p in 0..4
      sum[$p] += select(vec4f(0.0), a$p[$k] * g, winner == vec4i(i32(pixel) + $p));
      //# end
    }
    //# end
  }
  //# for p in 0..4
  if (pixel + $p < P.pixels) { result[(image * P.pixels + pixel + $p) * P.channelQuads + channel] = maskTail(sum[$p], channel, P.channels); }
  //# end
}

// Gradient of the maps: for 4 pixels x 4 maps, the sum over the channels.
@compute @workgroup_size(64)
fn toMaps(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = linearWorkgroup(group, groups) * 64u + lane;
  let down = (P.pixels + 3u) / 4u;
  let map = i % P.mapQuads;
  let pixel = ((i / P.mapQuads) % down) * 4u;
  let image = i / (P.mapQuads * down);
  if (image >= P.batch) { return; }
  //# for p in 0..4
  let featureAt$p = (image * P.pixels + min(pixel + $p, P.pixels - 1u)) * P.channelQuads;
  let row$p = (image * P.maps + min(map * 4u + $p, P.maps - 1u)) * P.channelQuads;
  //# end
  var sum = mat4x4f();
  for (var c = 0u; c < P.channelQuads; c++) {
    //# for p in 0..4
    let f$p = features[featureAt$p + c];
    //# end
    //# for k in 0..4
    {
      let g = gradient[row$k + c];
      let winner = winners[row$k + c];
      //# for p in 0..4
      sum[$p][$k] += dot(select(vec4f(0.0), f$p, winner == vec4i(i32(pixel) + $p)), g);
      //# end
    }
    //# end
  }
  //# for p in 0..4
  if (pixel + $p < P.pixels) { result[(image * P.pixels + pixel + $p) * P.mapQuads + map] = maskTail(sum[$p], map, P.maps); }
  //# end
}
