// Makes a fresh clone ready: installs, finds an adapter and builds what is missing or out of date.
import { setUp } from './setup-steps.mjs';

try {
  setUp();
} catch (error) {
  console.error(`[setup] ${error.message}`);
  process.exitCode = 1;
}
