// Pointwise functions of two tensors with broadcasting, and their gradients. OP is a number of src/ops/binary.ts.
//# include float
//# include divide
//# include grid
//# include walk
//# include tail

override OP: u32 = 0u;
override INTEGERS: bool = false;    // comparisons: both operands hold int32, or, with UNSIGNED, uint32
override UNSIGNED: bool = false;
override HELD_A: bool = false;      // every turn of a walk shows the same vec4f
override HELD_B: bool = false;
override HELD_G: bool = false;
override SPLAT_A: bool = false;     // the row has one element, shown to all lanes
override SPLAT_B: bool = false;
override SPLAT_G: bool = false;
override RAGGED: bool = false;      // rows end within a vec4f
override TO_B: bool = false;        // gradient: that of b

struct Params {
  sizes: vec4u,
  aroundY: vec4i,
  aroundA: vec4i,
  aroundB: vec4i,
  aroundG: vec4i,
  sideY: i32,
  sideA: i32,
  sideB: i32,
  sideG: i32,
  walkY: i32,
  walkA: i32,
  walkB: i32,
  walkG: i32,
  side: u32,
  length: u32,
  turns: u32,
  stretches: u32,
  items: u32,
  quadsPerRow: u32,
  width: u32,
}
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(3) var<storage, read> g: array<vec4f>;           // gradient of y
@group(0) @binding(4) var<storage, read_write> second: array<vec4f>;
@group(0) @binding(31) var<uniform> P: Params;

fn truth(v: vec4<bool>) -> vec4f {
  return select(vec4f(0.0), vec4f(1.0), v);
}

// Flipping the first bit gives unsigned numbers the order of signed ones.
fn integersOf(v: vec4f) -> vec4i {
  return bitcast<vec4i>(bitcast<vec4u>(v) ^ vec4u(select(0u, 0x80000000u, UNSIGNED)));
}

fn comparedIntegers(u: vec4i, v: vec4i) -> vec4f {
  switch (OP) {
    case 6u: { return truth(u == v); }
    case 7u: { return truth(u != v); }
    case 8u: { return truth(u < v); }
    case 9u: { return truth(u <= v); }
    case 10u: { return truth(u > v); }
    default: { return truth(u >= v); }
  }
}

fn value(u: vec4f, v: vec4f) -> vec4f {
  if (INTEGERS) { return comparedIntegers(integersOf(u), integersOf(v)); }
  switch (OP) {
    case 0u: { return u + v; }
    case 1u: { return u - v; }
    case 2u: { return u * v; }
    case 3u: { return u / v; }
    case 4u: { return max4(u, v); }
    case 5u: { return min4(u, v); }
    case 6u: { return truth(u == v); }
    case 7u: { return truth((u != v) | isNan4(u) | isNan4(v)); }
    case 8u: { return truth(u < v); }
    case 9u: { return truth(u <= v); }
    case 10u: { return truth(u > v); }
    default: { return truth(u >= v); }
  }
}

// What u gets of the gradient d of max(u, v): ties are halved, and beside NaN both get all.
fn share(d: vec4f, u: vec4f, v: vec4f) -> vec4f {
  return select(select(d, 0.5 * d, u == v), blocked(d), u < v);
}

// d is the gradient of value(u, v).
fn gradientOfA(d: vec4f, u: vec4f, v: vec4f) -> vec4f {
  switch (OP) {
    case 2u: { return d * v; }
    case 3u: { return d / v; }
    case 4u: { return share(d, u, v); }
    case 5u: { return share(d, v, u); }
    default: { return d * truth(u == v); }
  }
}
fn gradientOfB(d: vec4f, u: vec4f, v: vec4f) -> vec4f {
  switch (OP) {
    case 2u: { return d * u; }
    case 3u: { return -(d / v) * (u / v); }
    case 4u: { return share(d, v, u); }
    default: { return share(d, u, v); }
  }
}

fn shown(v: vec4f, splat: bool) -> vec4f {
  return select(v, v.xxxx, splat);
}
fn rowEnd(v: vec4f, walk: Walk, position: i32) -> vec4f {
  if (!RAGGED) { return v; }
  return maskTail(v, columnAt(walk, position, P.quadsPerRow), P.width);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let atA = startOf(walk, P.aroundA, P.sideA);
  let atB = startOf(walk, P.aroundB, P.sideB);
  var u = vec4f(0.0);
  var v = vec4f(0.0);
  if (HELD_A) { u = shown(a[u32(atA)], SPLAT_A); }
  if (HELD_B) { v = shown(b[u32(atB)], SPLAT_B); }
  for (var p = walk.first; p < walk.end; p += HOP) {
    if (!HELD_A) { u = shown(a[placeOf(p, atA, P.walkA)], SPLAT_A); }
    if (!HELD_B) { v = shown(b[placeOf(p, atB, P.walkB)], SPLAT_B); }
    y[placeOf(p, atY, P.walkY)] = rowEnd(value(u, v), walk, p);
  }
}

// What both gradients are computed from, walked like y.
struct Operands {
  g: vec4f,
  a: vec4f,
  b: vec4f,
}
struct Origins {
  g: i32,
  a: i32,
  b: i32,
}
fn originsOf(walk: Walk) -> Origins {
  return Origins(startOf(walk, P.aroundG, P.sideG), startOf(walk, P.aroundA, P.sideA), startOf(walk, P.aroundB, P.sideB));
}
fn heldAt(at: Origins) -> Operands {
  var held = Operands(vec4f(0.0), vec4f(0.0), vec4f(0.0));
  if (HELD_G) { held.g = shown(g[u32(at.g)], SPLAT_G); }
  if (HELD_A) { held.a = shown(a[u32(at.a)], SPLAT_A); }
  if (HELD_B) { held.b = shown(b[u32(at.b)], SPLAT_B); }
  return held;
}
fn operandsAt(at: Origins, p: i32, held: Operands) -> Operands {
  var now = held;
  if (!HELD_G) { now.g = shown(g[placeOf(p, at.g, P.walkG)], SPLAT_G); }
  if (!HELD_A) { now.a = shown(a[placeOf(p, at.a, P.walkA)], SPLAT_A); }
  if (!HELD_B) { now.b = shown(b[placeOf(p, at.b, P.walkB)], SPLAT_B); }
  return now;
}

// y becomes the gradient of a, or of b.
@compute @workgroup_size(64)
fn gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let origins = originsOf(walk);
  let held = heldAt(origins);
  for (var p = walk.first; p < walk.end; p += HOP) {
    let now = operandsAt(origins, p, held);
    var w = vec4f(0.0);
    if (TO_B) { w = gradientOfB(now.g, now.a, now.b); } else { w = gradientOfA(now.g, now.a, now.b); }
    y[placeOf(p, atY, P.walkY)] = rowEnd(w, walk, p);
  }
}

// y becomes the gradient of a, `second` that of b.
@compute @workgroup_size(64)
fn gradients(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let walk = walkOf(item);
  let atY = startOf(walk, P.aroundY, P.sideY);
  let origins = originsOf(walk);
  let held = heldAt(origins);
  for (var p = walk.first; p < walk.end; p += HOP) {
    let now = operandsAt(origins, p, held);
    let at = placeOf(p, atY, P.walkY);
    y[at] = rowEnd(gradientOfA(now.g, now.a, now.b), walk, p);
    second[at] = rowEnd(gradientOfB(now.g, now.a, now.b), walk, p);
  }
}

@group(0) @binding(5) var<storage, read_write> total: array<vec4f>;

// total += a, in place.
@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let mine = stretchOf(linearWorkgroup(group, groups), lane, P.turns, P.items);
  for (var i = mine.first; i < mine.end; i += ABREAST) { total[i] = total[i] + a[i]; }
}
