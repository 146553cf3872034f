// Checks that every import below src points downward; exits with 1 and names each wrong arrow otherwise.
//   node scripts/check-layers.mjs [ROOT]
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkLayers } from './layers.mjs';

const complaints = checkLayers(resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url))));
for (const complaint of complaints) console.error(complaint);
if (complaints.length > 0) process.exitCode = 1;
else console.log('layers: every import points downward');
