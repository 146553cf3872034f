// A row is stored as whole vec4f; the lanes behind its last element must stay zero.
// `quad` is the index of the vec4f within its row, `width` the logical row length.
fn maskTail(v: vec4f, quad: u32, width: u32) -> vec4f {
  let lane = vec4u(quad * 4u) + vec4u(0u, 1u, 2u, 3u);
  return select(vec4f(0.0), v, lane < vec4u(width));
}
