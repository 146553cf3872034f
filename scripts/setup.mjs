// Makes a fresh clone ready:
//   node scripts/setup.mjs          what is missing or out of date
//   node scripts/setup.mjs --test   the same, and always a fresh build
import { setUp } from './set-up.mjs';

try {
  setUp({ alwaysBuild: process.argv.includes('--test') });
} catch (error) {
  console.error(`[setup] ${error.message}`);
  process.exitCode = 1;
}
