// Lays the rows of a matrix out in the order in which a product reads them: [a][b][c] becomes [a][c][b], in vec4f.
// Where rows are a multiple of 4 KiB apart, the same quad of several rows otherwise falls into one set of the cache.
//# include divide
//# include grid

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

struct Params {
  items: u32,      // vec4f of y
  inner: u32,      // size b, innermost in y
  middle: u32,     // size c
  strideA: u32,    // of x
  strideB: u32,
  strideC: u32,
  last: u32,       // the last vec4f of x: beyond the matrix anything may be read, its results are not stored
}
@group(0) @binding(31) var<uniform> P: Params;

@compute @workgroup_size(64)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let lane = local.x;
  let item = linearWorkgroup(group, groups) * 64u + lane;
  if (item >= P.items) { return; }
  let inner = cellOf(item, P.inner);
  let middle = cellOf(inner.row, P.middle);
  y[item] = x[min(middle.row * P.strideA + inner.column * P.strideB + middle.column * P.strideC, P.last)];
}
