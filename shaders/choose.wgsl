// Choosing by a condition that is broadcast, as the operands may be. Works on bits, so it serves every element type.
//# include divide
//# include grid
//# include walk

override HELD_C: bool = false;      // every turn of a walk shows the same vec4
override HELD_A: bool = false;
override HELD_B: bool = false;
override SPLAT_C: bool = false;     // the row has one element, shown to all lanes
override SPLAT_A: bool = false;
override SPLAT_B: bool = false;
override RAGGED: bool = false;      // rows end within a vec4
override KEEPS: bool = false;       // fillWhere: the condition says what stays, not what is filled

struct Params {
  sizes: vec4u,
  aroundY: vec4i,
  aroundC: vec4i,
  aroundA: vec4i,
  aroundB: vec4i,
  sideY: i32,
  sideC: i32,
  sideA: i32,
  sideB: i32,
  walkY: i32,
  walkC: i32,
  walkA: i32,
  walkB: i32,
  side: u32,
  length: u32,
  turns: u32,
  stretches: u32,
  items: u32,
  quadsPerRow: u32,
  width: u32,
  value: u32,         // bits to fill with
}
@group(0) @binding(0) var<storage, read> c: array<vec4u>;        // the condition
@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> other: array<vec4u>;
@group(0) @binding(31) var<uniform> P: Params;

fn shown(v: vec4u, splat: bool) -> vec4u {
  return select(v, v.xxxx, splat);
}
// Not zero, for floats (where minus zero is zero) and integers alike.
fn holds(bits: vec4u) -> vec4<bool> {
  return (bits & vec4u(0x7fffffffu)) != vec4u(0u);
}
fn rowEnd(v: vec4u, walk: Walk, position: i32) -> vec4u {
  if (!RAGGED) { return v; }
  let element = vec4u(columnAt(walk, position, P.quadsPerRow) * 4u) + vec4u(0u, 1u, 2u, 3u);
  return select(vec4u(0u), v, element < vec4u(P.width));
}

@compute @workgroup_size(64)
fn choose(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let atC = startOf(walk, P.aroundC, P.sideC);
  let atA = startOf(walk, P.aroundA, P.sideA);
  let atB = startOf(walk, P.aroundB, P.sideB);
  var given = vec4u(0u);
  var u = vec4u(0u);
  var v = vec4u(0u);
  if (HELD_C) { given = shown(c[u32(atC)], SPLAT_C); }
  if (HELD_A) { u = shown(a[u32(atA)], SPLAT_A); }
  if (HELD_B) { v = shown(b[u32(atB)], SPLAT_B); }
  for (var p = walk.first; p < walk.end; p += HOP) {
    if (!HELD_C) { given = shown(c[placeOf(p, atC, P.walkC)], SPLAT_C); }
    if (!HELD_A) { u = shown(a[placeOf(p, atA, P.walkA)], SPLAT_A); }
    if (!HELD_B) { v = shown(b[placeOf(p, atB, P.walkB)], SPLAT_B); }
    y[placeOf(p, atY, P.walkY)] = rowEnd(select(v, u, holds(given)), walk, p);
  }
}

// a with a constant in place of some elements.
@compute @workgroup_size(64)
fn fillWhere(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let atC = startOf(walk, P.aroundC, P.sideC);
  let atA = startOf(walk, P.aroundA, P.sideA);
  var given = vec4u(0u);
  if (HELD_C) { given = shown(c[u32(atC)], SPLAT_C); }
  for (var p = walk.first; p < walk.end; p += HOP) {
    if (!HELD_C) { given = shown(c[placeOf(p, atC, P.walkC)], SPLAT_C); }
    let filled = select(holds(given), !holds(given), vec4<bool>(KEEPS));
    let v = select(a[placeOf(p, atA, P.walkA)], vec4u(P.value), filled);
    y[placeOf(p, atY, P.walkY)] = rowEnd(v, walk, p);
  }
}

// Where the condition holds a goes to y, else to the other; each has zeros elsewhere.
@compute @workgroup_size(64)
fn split(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let atC = startOf(walk, P.aroundC, P.sideC);
  let atA = startOf(walk, P.aroundA, P.sideA);
  var given = vec4u(0u);
  if (HELD_C) { given = shown(c[u32(atC)], SPLAT_C); }
  for (var p = walk.first; p < walk.end; p += HOP) {
    if (!HELD_C) { given = shown(c[placeOf(p, atC, P.walkC)], SPLAT_C); }
    let v = rowEnd(a[placeOf(p, atA, P.walkA)], walk, p);
    let at = placeOf(p, atY, P.walkY);
    y[at] = select(vec4u(0u), v, holds(given));
    other[at] = select(v, vec4u(0u), holds(given));
  }
}
