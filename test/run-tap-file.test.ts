/** What counts as a failed test file: `npm test` believes this. */
import { join } from 'node:path';
import t from 'tap';
import { runTapFile } from '../scripts/run-tap-file.mjs';

t.test('a file fails by its assertions, by how it ends, and by asserting nothing', async (t) => {
  const files: Record<string, { text: string; passed: number; failed: number; report: RegExp }> = {
    'well.mjs': { text: "console.log('TAP version 14\\n# Subtest: s\\n    ok 1 - a\\n    ok 2 - b\\n    1..2\\nok 1 - s\\n1..1')", passed: 2, failed: 0,
      report: /^$/ },
    'wrong.mjs': { text: "console.error('a hint'); console.log('TAP version 14\\n# Subtest: s\\n    ok 1 - a\\n    not ok 2 - b\\n    1..2\\nnot ok 1 - s\\n1..1'); process.exit(1)", passed: 1, failed: 1, report: /^ +s > b[^]*its output:\s+a hint$/ },
    'lies.mjs': { text: "console.log('TAP version 14\\nok 1 - a\\nnot ok 2 - b\\n1..2')", passed: 1, failed: 1, report: /b/ },
    'exits.mjs': { text: "console.log('TAP version 14\\nok 1 - a\\n1..1'); process.exitCode = 3", passed: 1, failed: 1,
      report: /did not end well after 1 assertions: exit code 3/ },
    'dies.mjs': { text: "console.log('TAP version 14\\nok 1 - a\\n1..1'); process.kill(process.pid, 'SIGKILL')", passed: NaN, failed: 1,
      report: /it was ended by SIGKILL/ },
    'empty.mjs': { text: "console.log('TAP version 14\\n1..0')", passed: 0, failed: 1, report: /after 0 assertions: it made no assertion/ },
    'silent.mjs': { text: '', passed: 0, failed: 1, report: /it made no assertion/ },
    'short.mjs': { text: "console.log('TAP version 14\\nok 1 - a\\n1..2')", passed: 1, failed: 1, report: /did not end well after 1 assertions/ },
    'throws.mjs': { text: "throw new Error('at once')", passed: 0, failed: 1, report: /exit code 1[^]*at once/ },
    'told.mjs': { text: "console.log(`TAP version 14\\n${process.env.TOLD === 'yes' && process.env.TAP_TIMEOUT === '60' ? 'ok' : 'not ok'} 1 - a\\n1..1`)",
      passed: 1, failed: 0, report: /^$/ },
  };
  const cwd = t.testdir(Object.fromEntries(Object.entries(files).map(([name, { text }]) => [name, text])));
  for (const [name, { passed, failed, report }] of Object.entries(files)) {
    const found = await runTapFile(join(cwd, name), { cwd, limitSeconds: 60, env: { TOLD: 'yes' } });
    t.equal(found.failed, failed, `${name}: ${found.report}`);
    // What a process says right before it is killed may be lost.
    if (!Number.isNaN(passed)) t.equal(found.passed, passed, name);
    t.match(found.report, report, name);
  }
});
