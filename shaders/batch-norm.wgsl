// Batch normalisation of rows [rows, channels] by channel. Each invocation keeps one vec4f of
// channels and walks down a block of rows, so that per-channel values are loaded once per block.
// Partial results and `statistics` hold two rows each: first row, second row.
//# include divide
//# include grid
//# include tail

override RELU: bool = false;
override RESIDUAL: bool = false;    // is added before the ReLU

struct Params {
  rows: u32,
  quads: u32,         // vec4f of a row
  width: u32,         // channels
  per: u32,           // rows of a block
  blocks: u32,
  momentum: f32,
  eps: f32,
  accumulate: u32,    // 1: gradients of weight and bias are added to what is there
}
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> inputParts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;    // mean, 1 / standard deviation
@group(0) @binding(4) var<storage, read_write> runningMean: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> runningVariance: array<vec4f>;
@group(0) @binding(6) var<storage, read> moments: array<vec4f>;             // `statistics` when only read
@group(0) @binding(7) var<storage, read> weight: array<vec4f>;
@group(0) @binding(8) var<storage, read> bias: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(10) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(11) var<storage, read> sums: array<vec4f>;               // of dy, and of dy times the normalised input
@group(0) @binding(12) var<storage, read_write> sumsOut: array<vec4f>;
@group(0) @binding(13) var<storage, read_write> biasOut: array<vec4f>;
@group(0) @binding(14) var<storage, read_write> weightOut: array<vec4f>;
@group(0) @binding(15) var<storage, read> frozenMean: array<vec4f>;
@group(0) @binding(16) var<storage, read> frozenVariance: array<vec4f>;
@group(0) @binding(17) var<storage, read> residual: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

// A team of lanes shares out a block's rows, and joins what each found; teams for TEAMS neighbouring vec4f of channels are a workgroup. On
// software adapters, where lanes must not wait for each other, a team is one lane.
const TEAM = u32($TEAM);
const TEAMS = u32($TEAMS);

struct Seat {
  item: u32,          // what the team is about
  member: u32,
}

fn seatOf(group: u32, lane: u32) -> Seat { return Seat(group * TEAMS + lane % TEAMS, lane / TEAMS); }

// Rows that are summed apart from the rest: long chains of additions would gather rounding errors.
const CHUNK = 32u * TEAM;

struct Moments {
  mean: vec4f,
  squares: vec4f,     // sum of squared distances from the mean
  count: f32,         // rows
}

const NOTHING = Moments(vec4f(0.0), vec4f(0.0), 0.0);

// Two groups of rows as one (Chan, Golub and LeVeque's update).
fn joined(a: Moments, b: Moments) -> Moments {
  let count = a.count + b.count;
  let away = b.mean - a.mean;
  let share = b.count / max(count, 1.0);
  return Moments(a.mean + away * share, a.squares + b.squares + away * away * (a.count * share), count);
}

// Left out of the text, not only skipped, where a lane is a team: workgroup memory that is named is set to zero, and waited for.
//# for shared in 0..$SHARED
var<workgroup> held: array<Moments, TEAM * TEAMS>;
var<workgroup> heldSums: array<Sums, TEAM * TEAMS>;
//# end

// What a team holds together; its first member gets it. All lanes of the workgroup must come here.
fn joinedByTeam(lane: u32, own: Moments) -> Moments {
  var all = own;
  //# for shared in 0..$SHARED
  held[lane] = own;
  for (var half = TEAM / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half * TEAMS) { held[lane] = joined(held[lane], held[lane + half * TEAMS]); }
  }
  all = held[lane];
  //# end
  return all;
}

// Statistics of every TEAM-th of a few rows. Sums are taken relative to the first of them, so that a mean far from zero costs no
// digits of the variance.
fn momentsOf(first: u32, last: u32, quad: u32) -> Moments {
  let count = f32((last - first + TEAM - 1u) / TEAM);
  let pitch = TEAM * P.quads;
  let shift = x[first * P.quads + quad];
  var sum = vec4f(0.0);
  var squares = vec4f(0.0);
  var r = first + TEAM;
  for (; r + 3u * TEAM < last; r += 4u * TEAM) {
    let at = r * P.quads + quad;
    let a = x[at] - shift;
    let b = x[at + pitch] - shift;
    let c = x[at + 2u * pitch] - shift;
    let d = x[at + 3u * pitch] - shift;
    sum += (a + b) + (c + d);
    squares += (a * a + b * b) + (c * c + d * d);
  }
  for (; r < last; r += TEAM) {
    let a = x[r * P.quads + quad] - shift;
    sum += a;
    squares += a * a;
  }
  let away = sum / count;
  return Moments(shift + away, squares - sum * away, count);
}

// Where a block's rows end; teams beyond the last block have none.
fn endOf(block: u32) -> u32 {
  return select(0u, min((block + 1u) * P.per, P.rows), block < P.blocks);
}

// Statistics of a block of rows.
@compute @workgroup_size(TEAM * TEAMS)
fn blockMoments(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let seat = seatOf(linearWorkgroup(group, groups), lane);
  let block = cellOf(seat.item, P.quads);
  let last = endOf(block.row);
  var own = NOTHING;
  for (var start = block.row * P.per + seat.member; start < last; start += CHUNK) {
    own = joined(own, momentsOf(start, min(start + CHUNK, last), block.column));
  }
  let total = joinedByTeam(lane, own);
  if (block.row < P.blocks && seat.member == 0u) {
    parts[seat.item] = total.mean;
    parts[P.blocks * P.quads + seat.item] = total.squares;
  }
}

// Blocks that a team joins: none beyond the last vec4f of channels, which would be many where there are few channels.
fn blocksFor(seat: Seat) -> u32 {
  return select(0u, P.blocks, seat.item < P.quads);
}

// Statistics for normalising (biased variance) and the running ones (unbiased), of all blocks together.
@compute @workgroup_size(TEAM * TEAMS)
fn finishMoments(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let seat = seatOf(linearWorkgroup(group, groups), lane);
  let quad = min(seat.item, P.quads - 1u);
  var own = NOTHING;
  for (var block = seat.member; block < blocksFor(seat); block += TEAM) {
    let count = f32(min((block + 1u) * P.per, P.rows) - block * P.per);
    own = joined(own, Moments(inputParts[block * P.quads + quad], inputParts[(P.blocks + block) * P.quads + quad], count));
  }
  let total = joinedByTeam(lane, own);
  if (seat.item >= P.quads || seat.member > 0u) { return; }
  let rows = f32(P.rows);
  statistics[quad] = maskTail(total.mean, quad, P.width);
  statistics[P.quads + quad] = maskTail(1.0 / sqrt(total.squares / rows + P.eps), quad, P.width);
  runningMean[quad] = maskTail((1.0 - P.momentum) * runningMean[quad] + P.momentum * total.mean, quad, P.width);
  runningVariance[quad] = maskTail((1.0 - P.momentum) * runningVariance[quad] + P.momentum * (total.squares / (rows - 1.0)), quad, P.width);
}

@compute @workgroup_size(64)
fn frozenStatistics(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let quad = linearWorkgroup(group, groups) * 64u + lane;
  if (quad >= P.quads) { return; }
  statistics[quad] = frozenMean[quad];
  statistics[P.quads + quad] = maskTail(1.0 / sqrt(frozenVariance[quad] + P.eps), quad, P.width);
}

// A NaN must come through ReLU; max(NaN, 0) is 0 on some drivers.
fn activated(v: vec4f) -> vec4f {
  return select(v, vec4f(0.0), vec4<bool>(RELU) & (v < vec4f(0.0)));
}

@compute @workgroup_size(64)
fn normalize(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let block = cellOf(i, P.quads);
  let quad = block.column;
  let first = block.row * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let scale = moments[P.quads + quad] * weight[quad];
  let shift = bias[quad];
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    var v = (x[at] - mean) * scale + shift;
    if (RESIDUAL) { v += residual[at]; }
    y[at] = activated(v);
  }
}

// The gradient before the ReLU: the sign of its input is computed again, which is cheaper than to
// keep the output in memory and read it.
fn passed(at: u32, centred: vec4f, scale: vec4f, shift: vec4f) -> vec4f {
  if (!RELU) { return gradient[at]; }
  return select(gradient[at], vec4f(0.0), centred * scale + shift <= vec4f(0.0));
}

// Sums of dy, and of dy times the normalised input.
struct Sums {
  plain: vec4f,
  weighted: vec4f,
}

fn added(a: Sums, b: Sums) -> Sums { return Sums(a.plain + b.plain, a.weighted + b.weighted); }

fn addedByTeam(lane: u32, own: Sums) -> Sums {
  var all = own;
  //# for shared in 0..$SHARED
  heldSums[lane] = own;
  for (var half = TEAM / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half * TEAMS) { heldSums[lane] = added(heldSums[lane], heldSums[lane + half * TEAMS]); }
  }
  all = heldSums[lane];
  //# end
  return all;
}

// Over a block of rows.
@compute @workgroup_size(TEAM * TEAMS)
fn blockGradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let seat = seatOf(linearWorkgroup(group, groups), lane);
  let i = seat.item;
  let block = cellOf(i, P.quads);
  let quad = block.column;
  let last = endOf(block.row);
  let pitch = TEAM * P.quads;
  let mean = moments[quad];
  let inverse = moments[P.quads + quad];
  let scale = inverse * weight[quad];
  let shift = bias[quad];
  var own = Sums(vec4f(0.0), vec4f(0.0));
  for (var start = block.row * P.per + seat.member; start < last; start += CHUNK) {
    let end = min(start + CHUNK, last);
    var part = Sums(vec4f(0.0), vec4f(0.0));
    var r = start;
    for (; r + TEAM < end; r += 2u * TEAM) {
      let at = r * P.quads + quad;
      let c0 = x[at] - mean;
      let c1 = x[at + pitch] - mean;
      let g0 = passed(at, c0, scale, shift);
      let g1 = passed(at + pitch, c1, scale, shift);
      part = added(part, Sums(g0 + g1, g0 * c0 + g1 * c1));
    }
    if (r < end) {
      let at = r * P.quads + quad;
      let c0 = x[at] - mean;
      let g0 = passed(at, c0, scale, shift);
      part = added(part, Sums(g0, g0 * c0));
    }
    own = added(own, part);
  }
  let total = addedByTeam(lane, own);
  if (i < P.blocks * P.quads && seat.member == 0u) {
    parts[i] = total.plain;
    parts[P.blocks * P.quads + i] = total.weighted * inverse;
  }
}

// Of all blocks.
@compute @workgroup_size(TEAM * TEAMS)
fn finishGradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let seat = seatOf(linearWorkgroup(group, groups), lane);
  let quad = min(seat.item, P.quads - 1u);
  var own = Sums(vec4f(0.0), vec4f(0.0));
  for (var block = seat.member; block < blocksFor(seat); block += TEAM) {
    own = added(own, Sums(inputParts[block * P.quads + quad], inputParts[(P.blocks + block) * P.quads + quad]));
  }
  let total = addedByTeam(lane, own);
  if (seat.item >= P.quads || seat.member > 0u) { return; }
  let toBias = maskTail(total.plain, quad, P.width);
  let toWeight = maskTail(total.weighted, quad, P.width);
  sumsOut[quad] = toBias;
  sumsOut[P.quads + quad] = toWeight;
  if (P.accumulate == 1u) {
    biasOut[quad] = biasOut[quad] + toBias;
    weightOut[quad] = weightOut[quad] + toWeight;
  } else {
    biasOut[quad] = toBias;
    weightOut[quad] = toWeight;
  }
}

@compute @workgroup_size(64)
fn inputGradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let block = cellOf(i, P.quads);
  let quad = block.column;
  let first = block.row * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let inverse = moments[P.quads + quad];
  let scale = inverse * weight[quad];
  let shift = bias[quad];
  let common1 = sums[quad] / f32(P.rows);
  let common2 = inverse * (sums[P.quads + quad] / f32(P.rows));
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    let centred = x[at] - mean;
    y[at] = scale * (passed(at, centred, scale, shift) - common1 - centred * common2);
  }
}

// With frozen statistics each element depends on its own input alone.
@compute @workgroup_size(64)
fn frozenInputGradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let i = linearWorkgroup(group, groups) * 64u + lane;
  if (i >= P.blocks * P.quads) { return; }
  let block = cellOf(i, P.quads);
  let quad = block.column;
  let first = block.row * P.per;
  let last = min(first + P.per, P.rows);
  let mean = moments[quad];
  let scale = moments[P.quads + quad] * weight[quad];
  let shift = bias[quad];
  for (var r = first; r < last; r++) {
    let at = r * P.quads + quad;
    y[at] = scale * passed(at, x[at] - mean, scale, shift);
  }
}
