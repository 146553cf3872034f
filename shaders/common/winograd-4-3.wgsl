// F(4, 3): 4 results of 3 taps from 6 pixels. Matrices of Lavin and Gray, arXiv 1509.09308, section 4.2.
fn inputLine(d: array<f32, 6>) -> array<f32, 6> {
  let even = d[4] - 4.0 * d[2];
  let odd = d[3] - 4.0 * d[1];
  let outer = d[4] - d[2];
  let inner = 2.0 * (d[3] - d[1]);
  return array<f32, 6>(4.0 * d[0] - 5.0 * d[2] + d[4], even + odd, even - odd, outer + inner, outer - inner, 4.0 * d[1] - 5.0 * d[3] + d[5]);
}

fn weightLine(g: array<f32, 3>) -> array<f32, 6> {
  let near = (g[0] + g[2]) * (-1.0 / 6.0);
  let far = g[0] * (1.0 / 24.0) + g[2] * (1.0 / 6.0);
  return array<f32, 6>(0.25 * g[0], near - g[1] * (1.0 / 6.0), near + g[1] * (1.0 / 6.0), far + g[1] * (1.0 / 12.0), far - g[1] * (1.0 / 12.0), g[2]);
}

fn outputLine(m: array<f32, 6>) -> array<f32, 4> {
  let sumNear = m[1] + m[2];
  let sumFar = m[3] + m[4];
  let near = m[1] - m[2];
  let far = m[3] - m[4];
  return array<f32, 4>(m[0] + sumNear + sumFar, near + 2.0 * far, sumNear + 4.0 * sumFar, near + 8.0 * far + m[5]);
}

fn gradientLine(g: array<f32, 4>) -> array<f32, 6> {
  let even = g[0] + g[2];
  let odd = g[1] + g[3];
  let evenFar = g[0] + 4.0 * g[2];
  let oddFar = 2.0 * g[1] + 8.0 * g[3];
  return array<f32, 6>(g[0], even + odd, even - odd, evenFar + oddFar, evenFar - oddFar, g[3]);
}

fn collectLine(m: array<f32, 6>) -> array<f32, 3> {
  let sumNear = (m[1] + m[2]) * (1.0 / 6.0);
  let sumFar = m[3] + m[4];
  return array<f32, 3>(0.25 * m[0] - sumNear + sumFar * (1.0 / 24.0), (m[2] - m[1]) * (1.0 / 6.0) + (m[3] - m[4]) * (1.0 / 12.0), sumFar * (1.0 / 6.0) - sumNear + m[5]);
}
