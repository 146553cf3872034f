// F(2, 3): 2 results of 3 taps from 4 pixels. Matrices of Lavin and Gray, arXiv 1509.09308, section 4.1.
fn inputLine(d: array<f32, 4>) -> array<f32, 4> {
  return array<f32, 4>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn weightLine(g: array<f32, 3>) -> array<f32, 4> {
  return array<f32, 4>(g[0], 0.5 * (g[0] + g[1] + g[2]), 0.5 * (g[0] - g[1] + g[2]), g[2]);
}

fn outputLine(m: array<f32, 4>) -> array<f32, 2> {
  return array<f32, 2>(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}

fn gradientLine(g: array<f32, 2>) -> array<f32, 4> {
  return array<f32, 4>(g[0], g[0] + g[1], g[0] - g[1], -g[1]);
}

fn collectLine(m: array<f32, 4>) -> array<f32, 3> {
  let sum = 0.5 * (m[1] + m[2]);
  return array<f32, 3>(m[0] + sum, 0.5 * (m[1] - m[2]), sum + m[3]);
}
