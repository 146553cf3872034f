// Work on rows: by a workgroup of 64 per row (few or long rows) or by one invocation per row (many
// short ones; barriers are dear on software adapters). Each entry point runs the same text for both.
override GROUP_PER_ROW: bool = true;

fn rowOf(group: u32, lane: u32) -> u32 {
  return select(group * 64u + lane, group, GROUP_PER_ROW);
}
// The quads firstQuad(), firstQuad() + quadStep(), ... of the row are this invocation's.
fn firstQuad(lane: u32) -> u32 {
  return select(0u, lane, GROUP_PER_ROW);
}
fn quadStep() -> u32 {
  return select(1u, 64u, GROUP_PER_ROW);
}
// Whether this invocation writes what the row has once.
fn isWriter(lane: u32) -> bool {
  return !GROUP_PER_ROW || lane == 0u;
}

var<workgroup> rowLanes: array<vec4f, 64>;

// Sum over a row of each invocation's share, in a fixed order; all invocations of the row get it.
fn rowSum(share: vec4f, lane: u32) -> f32 {
  var total = share;
  if (GROUP_PER_ROW) {
    workgroupBarrier();
    rowLanes[lane] = share;
    workgroupBarrier();
    for (var reach = hidden(32u, P.rows); reach > 0u; reach >>= 1u) {
      if (lane < reach) { rowLanes[lane] += rowLanes[lane + reach]; }
      workgroupBarrier();
    }
    total = rowLanes[0];
  }
  return (total.x + total.y) + (total.z + total.w);
}

// Maximum over a row; NaN wins.
fn rowMax(share: vec4f, lane: u32) -> f32 {
  var best = share;
  if (GROUP_PER_ROW) {
    workgroupBarrier();
    rowLanes[lane] = share;
    workgroupBarrier();
    for (var reach = hidden(32u, P.rows); reach > 0u; reach >>= 1u) {
      if (lane < reach) { rowLanes[lane] = max4(rowLanes[lane], rowLanes[lane + reach]); }
      workgroupBarrier();
    }
    best = rowLanes[0];
  }
  let pair = max4(best, best.zwxy);
  return max4(pair, pair.yxwz).x;
}

// v where the row has elements, `other` in the lanes behind its end.
fn withinRow(v: vec4f, other: f32, quad: u32, width: u32) -> vec4f {
  return select(vec4f(other), v, vec4u(quad * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(width));
}
